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

use self::console::Reader;
use self::host::AllowedHosts;
use crate::daemon::Shared;
use crate::daemon::status::{self, StatusReport};
use crate::outbox::{Database, OutboxError, connect};
use crate::telemetry::trend::Trend;

/// What the pages need.
#[derive(Clone)]
struct Admin {
    shared: Arc<Shared>,
    quota: QuotaSettings,
    reader: Arc<Reader>,
    trend: Arc<Trend>,
}

/// The quota and the batches as configured, for the arithmetic of `status`.
#[derive(Debug, Clone, Copy)]
pub struct QuotaSettings {
    /// Requests in a window.
    pub requests: u32,
    /// The window's length.
    pub per: Duration,
    /// Courses in a full batch.
    pub batch_size: usize,
}

/// The longest that a page waits for the database.
const DATABASE_PATIENCE: Duration = Duration::from_secs(2);

/// Serves until `stop` is over.
///
/// # Errors
/// The listener has no address.
pub async fn serve(
    listener: TcpListener,
    hosts: &[String],
    shared: Arc<Shared>,
    quota: QuotaSettings,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let allowed = Arc::new(AllowedHosts::new(listener.local_addr()?, hosts));
    let trend = Arc::new(Trend::new(Instant::now()));
    let guarded = Router::new()
        .route("/status", get(status_json))
        .route("/", get(console::show))
        .route("/console.css", get(console::style))
        .route("/console.js", get(console::script))
        .layer(from_fn_with_state(allowed, host::check));
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .merge(guarded)
        .layer(from_fn(harden))
        .with_state(Admin {
            reader: Arc::new(Reader::new(shared.database.clone(), quota.per)),
            trend: Arc::clone(&trend),
            shared: Arc::clone(&shared),
            quota,
        });
    tokio::select! {
        () = connections::serve(listener, router, stop) => {}
        () = console::sample(&shared, &trend) => {}
    }
    Ok(())
}

/// Binds the admin address.
///
/// # Errors
/// Says which address, and how to choose another.
pub async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.map_err(|error| {
        anyhow::anyhow!(
            "admin.listen: cannot listen on {listen}: {error}; stop what uses it, or set another address"
        )
    })
}

/// Headers that every page carries.
async fn harden(request: Request, next: Next) -> Response {
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

/// Whether the process turns. Nothing of the world counts here: a restart would mend none of it.
async fn livez(State(admin): State<Admin>) -> (StatusCode, String) {
    match admin.shared.pulse.stuck_for(Instant::now()) {
        None => (StatusCode::OK, "alive\n".into()),
        Some(silence) => {
            let message = format!("the engine has not turned for {} s\n", silence.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, message)
        }
    }
}

/// Whether the daemon could do its work.
async fn readyz(State(admin): State<Admin>) -> Response {
    let mut reasons = Vec::new();
    let database = admin.shared.database.clone();
    let answered = patiently(async move { usable(&database).await }).await;
    // It may answer and yet take nothing: a full disk, a lock. Those who write know, and know the reason
    // where it does not answer at all.
    if let Some(message) = admin.shared.trouble.reason().or(answered.err()) {
        reasons.push(json!({ "reason": "database", "message": message }));
    }
    if admin.shared.shutdown.has_begun() {
        reasons.push(json!({ "reason": "stopping", "message": "the daemon is stopping" }));
    }
    reasons.extend(admin.shared.account.stops().into_iter().map(|stop| json!(stop)));
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body =
        json!({ "ready": reasons.is_empty(), "reasons": reasons, "pauses": admin.shared.account.view() });
    (status, Json(body)).into_response()
}

/// Whether the database answers and its schema is there. A newer one is no reason: while versions are
/// exchanged, the one that goes works on.
async fn usable(database: &Database) -> Result<(), OutboxError> {
    match connect::verify(database).await {
        Err(OutboxError::Newer(_)) => Ok(()),
        verified => verified,
    }
}

/// The metrics, with the outbox's gauges brought up to date. Where the database does not answer, they
/// show what it said last.
async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let shared = Arc::clone(&admin.shared);
    let refreshed =
        patiently(async move { status::refresh_gauges(&shared.database, &shared.metrics).await }).await;
    if let Err(error) = refreshed {
        tracing::debug!(error, "the outbox's gauges are not up to date");
    }
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let open_metrics = accepts.contains("application/openmetrics-text");
    let content_type = if open_metrics {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8"
    };
    ([(header::CONTENT_TYPE, content_type)], admin.shared.metrics.encode(open_metrics)).into_response()
}

async fn status_json(State(admin): State<Admin>) -> Response {
    match read_status(&admin).await {
        Ok(report) => Json(report).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": error }))).into_response(),
    }
}

async fn read_status(admin: &Admin) -> Result<StatusReport, String> {
    let (pool, quota) = (admin.shared.database.clone(), admin.quota);
    patiently(async move { status::read(&pool, quota.requests, quota.per, quota.batch_size).await }).await
}

/// Runs database work in a task of its own, to its end, but waits for it only so long.
async fn patiently<T: Send + 'static>(
    work: impl Future<Output = Result<T, OutboxError>> + Send + 'static,
) -> Result<T, String> {
    match tokio::time::timeout(DATABASE_PATIENCE, tokio::spawn(work)).await {
        Ok(Ok(result)) => result.map_err(|error| error.to_string()),
        Ok(Err(_)) => Err("reading the database was interrupted".into()),
        Err(_) => Err(format!("the database did not answer within {} s", DATABASE_PATIENCE.as_secs())),
    }
}
