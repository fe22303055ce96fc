//! Handles a request: journal, token, quota, faults, operation, response headers.

use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{ConnectInfo, Request, State as AxumState};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::Response;
use jiff::Timestamp;

use super::account::{Caller, authenticate};
use super::connection::ConnectionControl;
use super::fault_response::respond_with_fault;
use super::faults::Answer;
use super::journal::{Entry, token_hash};
use super::operations::execute;
use super::pending_response::PendingResponse;
use super::quota::Arrival;
use super::refusal::{APP, PORTAL};
use super::route::{Operation, Route, Target, resolve};
use super::state::{Call, Shared, State};
use super::wire::Reply;
use super::write::note_received;

/// Maximum size of a body: ten times that of 100 inputs with the longest texts.
const BODY_MAX: usize = 64 * 1024 * 1024;

/// Handles all requests except those to the control API and the page.
pub(super) async fn handle_request(
    AxumState(shared): AxumState<Arc<Shared>>,
    ConnectInfo(connection): ConnectInfo<ConnectionControl>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let (pending, admitted) = arrive(&shared, &parts);
    let (target, now, at_us) = match admitted {
        Ok(admitted) => admitted,
        Err(reply) => return pending.finish(reply),
    };
    // Only a fault that resets the connection before the body is read applies without a body.
    if shared.lock().fault(&target, None).is_some() {
        pending.mark_faulted();
        connection.reset();
        return pending.withhold();
    }
    if too_large(&parts) {
        return pending.finish(Reply::html(413, "Error 413 Payload Too Large"));
    }
    let Ok(body) = to_bytes(body, BODY_MAX).await else {
        return pending.withhold();
    };
    let fault = shared.lock().fault(&target, Some(&body));
    let correlation = pending.correlation().to_owned();
    let call = Call { seq: pending.seq(), target, body, correlation, now, at_us, input_fault: None };
    if let Some(fault) = fault {
        pending.mark_faulted();
        // HubSpot does not read the body of a request that exceeds the quota.
        if !matches!(fault.answer, Answer::RateLimited { .. }) {
            note_received(&mut shared.lock(), &call);
        }
        return respond_with_fault(&shared, &connection, call, fault, pending).await;
    }
    if let Some(reply) = unsupported(&parts, call.target.operation) {
        return pending.finish(reply);
    }
    pending.finish(execute_with_latency(shared, call).await)
}

/// Executes a request in its own task, because HubSpot also completes a request when the client disconnects.
async fn execute_with_latency(shared: Arc<Shared>, call: Call) -> Reply {
    let (before, after) = shared.lock().latency();
    let work = tokio::spawn(async move {
        tokio::time::sleep(before).await;
        let reply = execute(&shared, &call).await;
        tokio::time::sleep(after).await;
        reply
    });
    work.await.unwrap_or_else(|_| Reply::html(500, "Error 500 Internal Server Error"))
}

type Admitted = (Target, Timestamp, u64);

/// Everything that is decided from the request's head, under one lock.
fn arrive(shared: &Arc<Shared>, parts: &Parts) -> (PendingResponse, Result<Admitted, Reply>) {
    let mut state = shared.lock();
    let (now, at_us) = (Timestamp::now(), shared.now_us());
    let token = bearer(parts);
    let route = resolve(&parts.method, &parts.uri);
    let operation = match &route {
        Route::To(target) => target.operation,
        Route::WrongMethod | Route::Nowhere => Operation::Unknown,
    };
    let correlation = state.uuid();
    let caller = authenticate(&state, token.as_deref(), now);
    let counted = needs_token(operation) && caller.is_ok() && operation != Operation::Unknown;
    let seq = state.journal.begin(Entry {
        seq: 0,
        received_us: at_us,
        received_at: now,
        finished_us: None,
        method: parts.method.to_string(),
        path: shown_path(parts, operation),
        operation,
        status: None,
        inputs: Vec::new(),
        token: token.as_deref().map(token_hash),
        counted: counted && operation != Operation::Search,
        answered: false,
        faulted: false,
    });
    state.open += 1;
    state.max_open = state.max_open.max(state.open);

    let mut headers = Vec::new();
    let admitted = match (route, caller) {
        (Route::Nowhere, _) => Err(unknown_url(parts)),
        (Route::WrongMethod, _) => Err(Reply::html(405, "Error 405 Method Not Allowed")),
        (Route::To(target), _) if !needs_token(operation) => Ok(target),
        (Route::To(_), Err(error)) => Err(Reply::refusal(401, *error, &correlation)),
        (Route::To(target), Ok(caller)) => {
            let (result, rate) = state.charge(operation, caller, now, at_us, &correlation);
            headers = rate;
            result.map(|()| target)
        }
    };
    let pending = PendingResponse::new(Arc::clone(shared), seq, correlation, headers);
    (pending, admitted.map(|target| (target, now, at_us)))
}

impl State {
    /// Counts the request towards the quota. Returns the rate limit headers.
    fn charge(
        &mut self,
        operation: Operation,
        caller: Caller,
        now: Timestamp,
        at_us: u64,
        correlation: &str,
    ) -> (Result<(), Reply>, Vec<(&'static str, String)>) {
        let limits = self.behaviour.limits;
        let refused_count = self.behaviour.refused_count;
        let neighbour = self.behaviour.neighbour;
        let arrival = Arrival { at_us, now, zone: &self.zone, limits, neighbour, refused_count };
        let search = operation == Operation::Search;
        let taken = if search { self.quota.take_search(arrival) } else { self.quota.take(arrival) };
        let headers = self.quota.remaining(limits).headers(caller == Caller::OauthApp, search);
        let request_id = self.uuid();
        let verdict = taken
            .map_err(|exceeded| Reply::refusal(429, exceeded.error(PORTAL, APP, request_id), correlation));
        (verdict, headers)
    }

    /// The fault for this request, if any.
    fn fault(&mut self, target: &Target, body: Option<&[u8]>) -> Option<super::Fault> {
        let Self { faults, rng, schema, .. } = self;
        let unique: Vec<&str> = schema.unique_names().collect();
        faults.pick(target, body, &unique, rng)
    }

    /// How long to wait before and after executing the request.
    fn latency(&mut self) -> (Duration, Duration) {
        let range = self.behaviour.latency;
        let total = self.rng.u64(range.min_ms..=range.max_ms.max(range.min_ms));
        let before = self.rng.u64(0..=total);
        (Duration::from_millis(before), Duration::from_millis(total - before))
    }
}

/// Whether an operation needs a bearer token, and so counts towards the quota.
fn needs_token(operation: Operation) -> bool {
    !matches!(
        operation,
        Operation::TokenInfo
            | Operation::TokenRefresh
            | Operation::AccessTokenInfo
            | Operation::TokenIntrospect
    )
}

fn bearer(parts: &Parts) -> Option<String> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::to_owned)
}

fn shown_path(parts: &Parts, operation: Operation) -> String {
    match operation {
        Operation::AccessTokenInfo => "/oauth/v1/access-tokens/…".to_owned(),
        _ => parts.uri.path().to_owned(),
    }
}

fn too_large(parts: &Parts) -> bool {
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).is_some_and(|length: usize| length > BODY_MAX)
}

/// The response to an unknown URL: a page of the servlet container, or an empty body if only JSON is accepted.
fn unknown_url(parts: &Parts) -> Reply {
    let accept = parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accept == Some("application/json") {
        Reply::empty(404)
    } else {
        Reply::html(404, "Error 404 Not Found")
    }
}

/// The response to a body whose content type is not JSON, if the operation needs JSON.
fn unsupported(parts: &Parts, operation: Operation) -> Option<Reply> {
    let is_form = matches!(operation, Operation::TokenRefresh | Operation::TokenIntrospect);
    let wanted = matches!(parts.method.as_str(), "POST" | "PATCH") && !is_form;
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let json = kind.is_some_and(|kind| kind.starts_with("application/json"));
    (wanted && !json).then(|| Reply::html(415, "Error 415 Unsupported Media Type"))
}
