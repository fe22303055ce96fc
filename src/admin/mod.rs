//! The HTTP surface for operators on `admin.listen`: health, metrics, status and the console.
//!
//! GET only; nothing can be changed over it. The console and `/status` check the Host header, so that
//! a page from elsewhere cannot read them through a visitor's browser.

mod connections;
mod console;
mod host;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;

use self::console::SnapshotReader;
use self::host::AllowedHosts;
use crate::outbox::{Database, OutboxError, connect};
use crate::pipeline::context::Context;
use crate::report::gauges::refresh_gauges;
pub use crate::report::status::QuotaSettings;
use crate::report::status::{StatusReport, read_status};
use crate::telemetry::events;
use crate::telemetry::trend::Trend;

/// What the handlers need.
#[derive(Clone)]
struct AdminState {
    context: Arc<Context>,
    quota: QuotaSettings,
    reader: Arc<SnapshotReader>,
    trend: Arc<Trend>,
}

/// How long a response waits for the database.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves until `stop` completes.
///
/// # Errors
/// The listener has no address.
pub async fn serve(
    listener: TcpListener,
    hosts: &[String],
    context: Arc<Context>,
    quota: QuotaSettings,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let allowed = Arc::new(AllowedHosts::new(listener.local_addr()?, hosts));
    let trend = Arc::new(Trend::new(Instant::now()));
    let guarded = Router::new()
        .route("/status", get(status_json))
        .route("/", get(console::serve_page))
        .route("/console.css", get(console::serve_style))
        .route("/console.js", get(console::serve_script))
        .layer(from_fn_with_state(allowed, host::check_host));
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .merge(guarded)
        .layer(from_fn(add_security_headers))
        .with_state(AdminState {
            reader: Arc::new(SnapshotReader::new(context.edges.database.clone(), quota.rate_limit.per)),
            trend: Arc::clone(&trend),
            context: Arc::clone(&context),
            quota,
        });
    tokio::select! {
        () = connections::serve(listener, router, stop) => {}
        () = console::collect_samples(&context, &trend) => {}
    }
    Ok(())
}

/// Binds the admin address.
///
/// # Errors
/// The address cannot be bound; the message names it and how to choose another.
pub async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.map_err(|error| {
        anyhow::anyhow!(
            "admin.listen: cannot listen on {listen}: {error}; stop the program that uses it, or set another address"
        )
    })
}

/// Adds the security headers to every response.
async fn add_security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
    );
    response
}

/// Whether the main loop runs. Database and HubSpot do not count: a restart would not fix them.
async fn livez(State(admin): State<AdminState>) -> (StatusCode, String) {
    match admin.context.runtime.heartbeat.stuck_for(Instant::now()) {
        None => (StatusCode::OK, "alive\n".into()),
        Some(stuck) => {
            let message = format!("the main loop has not run for {} s\n", stuck.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, message)
        }
    }
}

/// Whether the daemon can work: database reachable, not stopping, not blocked by the account.
async fn readyz(State(admin): State<AdminState>) -> Response {
    let mut reasons = Vec::new();
    let database = admin.context.edges.database.clone();
    let checked = with_timeout(async move { check_database(&database).await }).await;
    // A database may respond and still refuse writes (a full disk, a lock). `database_health` has the error of the last
    // failed statement, which is also more specific than a timeout.
    if let Some(message) = admin.context.reporting.database_health.reason().or(checked.err()) {
        reasons.push(json!({ "reason": "database", "message": message }));
    }
    if admin.context.runtime.shutdown.has_begun() {
        reasons.push(json!({ "reason": "stopping", "message": "the daemon is stopping" }));
    }
    reasons.extend(admin.context.account.blocking_pauses().into_iter().map(|pause| json!(pause)));
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body =
        json!({ "ready": reasons.is_empty(), "reasons": reasons, "pauses": admin.context.account.pauses() });
    (status, Json(body)).into_response()
}

/// Checks that the database responds and has the schema. A newer schema is accepted: during a rolling restart the old
/// version keeps working.
async fn check_database(database: &Database) -> Result<(), OutboxError> {
    match connect::verify_schema(database).await {
        Err(OutboxError::Newer(_)) => Ok(()),
        verified => verified,
    }
}

/// The metrics, with current outbox gauges. If the database does not respond, the gauges keep their last values.
async fn metrics(State(admin): State<AdminState>, headers: HeaderMap) -> Response {
    let context = Arc::clone(&admin.context);
    let refreshed =
        with_timeout(
            async move { refresh_gauges(&context.edges.database, &context.reporting.metrics).await },
        )
        .await;
    if let Err(error) = refreshed {
        tracing::debug!(event = events::OUTBOX_GAUGES_NOT_REFRESHED, error, "outbox gauges not refreshed");
    }
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let open_metrics = accepts.contains("application/openmetrics-text");
    let content_type = if open_metrics {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8"
    };
    ([(header::CONTENT_TYPE, content_type)], admin.context.reporting.metrics.encode(open_metrics))
        .into_response()
}

async fn status_json(State(admin): State<AdminState>) -> Response {
    match current_status(&admin).await {
        Ok(report) => Json(report).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": error }))).into_response(),
    }
}

async fn current_status(admin: &AdminState) -> Result<StatusReport, String> {
    let (database, quota) = (admin.context.edges.database.clone(), admin.quota);
    with_timeout(async move { read_status(&database, quota).await }).await
}

/// Runs database work in its own task, so that it always completes, and waits for the result with a timeout.
async fn with_timeout<T: Send + 'static>(
    work: impl Future<Output = Result<T, OutboxError>> + Send + 'static,
) -> Result<T, String> {
    match tokio::time::timeout(DATABASE_TIMEOUT, tokio::spawn(work)).await {
        Ok(Ok(result)) => result.map_err(|error| error.to_string()),
        Ok(Err(_)) => Err("reading the database was interrupted".into()),
        Err(_) => Err(format!("the database did not respond within {} s", DATABASE_TIMEOUT.as_secs())),
    }
}
