//! Applies faults: replaces or modifies the normal response.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use serde_json::Value;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio_util::io::ReaderStream;

use super::connection::ConnectionControl;
use super::faults::{Answer, Commit, Dialect, ErrorForm, Fault};
use super::input_fault::InputFault;
use super::operations::execute;
use super::pending_response::{PendingResponse, build_response};
use super::quota::Exceeded;
use super::received;
use super::refusal::{APP, PORTAL};
use super::state::{Call, Shared};
use super::wire::{ErrorBody, Kind, Reply};

/// Responds to `call` according to `fault`.
pub(super) async fn respond_with_fault(
    shared: &Arc<Shared>,
    connection: &ConnectionControl,
    mut call: Call,
    fault: Fault,
    pending: PendingResponse,
) -> Response {
    let correlation = call.correlation.clone();
    let cleared = shared.faults_cleared.notified();
    call.input_fault = input_fault(shared, &call, &fault);
    // An answer that is made from the normal response needs the request executed, whatever `commit` is.
    let uses_normal = uses_normal_response(&fault.answer);
    let commit = if uses_normal { Commit::Yes } else { fault.commit };
    let normal = execute_request(shared, call, commit).await;
    // The delay ends early if the faults are cleared.
    tokio::time::timeout(Duration::from_millis(fault.delay_ms), cleared).await.ok();
    let reply = normal.filter(|_| uses_normal).unwrap_or_else(|| Reply::empty(201));
    match fault.answer {
        Answer::Real | Answer::InputError { .. } => pending.finish(reply),
        Answer::Hang => std::future::pending().await,
        Answer::Reset | Answer::ResetUnread => {
            connection.reset();
            pending.withhold()
        }
        Answer::Close => {
            connection.close();
            pending.withhold()
        }
        Answer::Cut { at } => cut(pending, reply, at),
        Answer::Trickle { bytes, every_ms } => trickle(pending, reply, bytes.max(1), every_ms),
        Answer::Huge { bytes } => huge(pending, bytes),
        Answer::Literal { status, headers, body } => {
            pending.finish_with(literal_reply(status, body), headers.into_iter().collect())
        }
        Answer::RateLimited { dialect, retry_after } => {
            let error = exceeded_limit(dialect).error(PORTAL, APP, shared.lock().uuid());
            pending.finish_with(Reply::refusal(429, error, &correlation), retry_header(retry_after))
        }
        Answer::Error { status, body, retry_after } => {
            pending.finish_with(error_reply(status, body, &correlation), retry_header(retry_after))
        }
        Answer::Garbage => pending.finish(unreadable_reply((0_u8..=255).rev().cycle().take(2_000).collect())),
        Answer::BrokenJson => {
            pending.finish(unreadable_reply(br#"{"status":"COMPLETE","results":[{"id":"1","#.to_vec()))
        }
        Answer::EmptyBody => pending.finish(Reply::empty(201)),
        Answer::Patched(_) | Answer::DropResults(_) | Answer::DuplicateResult | Answer::ForeignResult => {
            pending.finish(modified(reply, &fault.answer))
        }
    }
}

/// A response as configured. Its body decides the content type.
fn literal_reply(status: u16, body: String) -> Reply {
    let kind = match body.trim_start() {
        "" => Kind::Empty,
        page if page.starts_with('<') => Kind::Page,
        _ => Kind::Json,
    };
    Reply { status, kind, body: body.into_bytes() }
}

/// A success whose body is not JSON.
fn unreadable_reply(body: Vec<u8>) -> Reply {
    Reply { status: 201, kind: Kind::Json, body }
}

fn exceeded_limit(dialect: Dialect) -> Exceeded {
    match dialect {
        Dialect::Daily => Exceeded::Daily,
        Dialect::TenSecondlyRolling => Exceeded::Interval,
        Dialect::Secondly => Exceeded::Search,
    }
}

/// Whether the answer is made from the normal response.
fn uses_normal_response(answer: &Answer) -> bool {
    match answer {
        Answer::Real
        | Answer::Cut { .. }
        | Answer::Trickle { .. }
        | Answer::Patched(_)
        | Answer::DropResults(_)
        | Answer::DuplicateResult
        | Answer::ForeignResult
        | Answer::InputError { .. } => true,
        Answer::Literal { .. }
        | Answer::RateLimited { .. }
        | Answer::Error { .. }
        | Answer::Hang
        | Answer::ResetUnread
        | Answer::Reset
        | Answer::Close
        | Answer::Huge { .. }
        | Answer::Garbage
        | Answer::BrokenJson
        | Answer::EmptyBody => false,
    }
}

/// The inputs that an [`Answer::InputError`] applies to.
fn input_fault(shared: &Shared, call: &Call, fault: &Fault) -> Option<InputFault> {
    let Answer::InputError { error, commit, named } = &fault.answer else { return None };
    let inputs = received::inputs(&call.target, &call.body);
    let state = shared.lock();
    let unique: Vec<&str> = state.schema.unique_names().collect();
    Some(InputFault::new(&fault.on, &inputs, &unique, error.clone()).with(*commit, *named))
}

/// Runs in its own task: HubSpot also completes a request when the client disconnects.
async fn execute_request(shared: &Arc<Shared>, call: Call, commit: Commit) -> Option<Reply> {
    let shared = Arc::clone(shared);
    match commit {
        Commit::No => None,
        Commit::Yes => tokio::spawn(async move { execute(&shared, &call).await }).await.ok(),
        Commit::Late { after_ms } => {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                execute(&shared, &call).await
            });
            None
        }
    }
}

fn retry_header(seconds: Option<u64>) -> Vec<(String, String)> {
    seconds.map(|seconds| ("Retry-After".to_owned(), seconds.to_string())).into_iter().collect()
}

fn error_reply(status: u16, form: ErrorForm, correlation: &str) -> Reply {
    match form {
        ErrorForm::Empty => Reply::empty(status),
        ErrorForm::Html => Reply::html(status, &format!("{status} {}", page_title(status))),
        ErrorForm::Json => {
            let message = match status {
                423 => "Resource is locked",
                477 => "Migration in progress",
                _ => "internal error",
            };
            Reply::refusal(status, ErrorBody::new(message), correlation)
        }
    }
}

fn page_title(status: u16) -> &'static str {
    match status {
        502 => "Bad Gateway",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        521 => "Web server is down",
        522 => "Connection timed out",
        523 => "Origin is unreachable",
        524 => "Origin Time-out",
        _ => "Error",
    }
}

/// Modifies the normal response.
fn modified(reply: Reply, how: &Answer) -> Reply {
    let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body) else { return reply };
    if let Answer::Patched(patch) = how {
        apply(&mut body, patch);
    }
    if let Some(results) = body.get_mut("results").and_then(Value::as_array_mut) {
        match how {
            Answer::DropResults(count) => results.truncate(results.len().saturating_sub(*count)),
            Answer::DuplicateResult => results.extend(results.first().cloned()),
            Answer::ForeignResult => results.extend(results.first().cloned().map(foreign_result)),
            _ => {}
        }
    }
    Reply { body: body.to_string().into_bytes(), ..reply }
}

/// Applies a JSON Merge Patch (RFC 7396): members are replaced, `null` removes one.
fn apply(body: &mut Value, patch: &Value) {
    match (body, patch) {
        (Value::Object(body), Value::Object(patch)) => {
            for (name, value) in patch {
                if value.is_null() {
                    body.remove(name);
                } else {
                    apply(body.entry(name.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (body, patch) => *body = patch.clone(),
    }
}

/// A result that belongs to no input.
fn foreign_result(mut result: Value) -> Value {
    if let Some(result) = result.as_object_mut() {
        result.insert("id".to_owned(), Value::from("1"));
        result.remove("objectWriteTraceId");
        if let Some(properties) = result.get_mut("properties").and_then(Value::as_object_mut) {
            for value in properties.values_mut() {
                *value = Value::from("of another record");
            }
        }
    }
    result
}

/// A response with `length` bytes, written by `write` as fast as the client reads.
fn streamed<F: Future<Output = ()> + Send + 'static>(
    headers: Vec<(&'static str, String)>,
    status: u16,
    length: u64,
    write: impl FnOnce(DuplexStream) -> F,
) -> Response {
    let (sender, receiver) = tokio::io::duplex(64 * 1024);
    tokio::spawn(write(sender));
    let body = Body::from_stream(ReaderStream::new(receiver));
    build_response(headers, status, Kind::Json, vec![("Content-Length".to_owned(), length.to_string())], body)
}

fn cut(pending: PendingResponse, reply: Reply, at: usize) -> Response {
    let (status, whole) = (reply.status, length(&reply.body));
    let (headers, open) = pending.begin(status);
    streamed(headers, status, whole, async move |mut pipe| {
        let part = reply.body.get(..at).unwrap_or(&reply.body);
        if pipe.write_all(part).await.is_ok() {
            // Give hyper time to send the written part before it notices that the rest is missing.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        open.end(false);
    })
}

fn trickle(pending: PendingResponse, reply: Reply, bytes: usize, every_ms: u64) -> Response {
    let (status, whole) = (reply.status, length(&reply.body));
    let (headers, open) = pending.begin(status);
    streamed(headers, status, whole, async move |mut pipe| {
        for chunk in reply.body.chunks(bytes) {
            if pipe.write_all(chunk).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(every_ms)).await;
        }
        open.end(true);
    })
}

fn huge(pending: PendingResponse, bytes: u64) -> Response {
    let (headers, open) = pending.begin(201);
    streamed(headers, 201, bytes, async move |mut pipe| {
        let mut left = bytes;
        let mut chunk: &[u8] = br#"{"status":"COMPLETE","results":[],"padding":""#;
        let filler = vec![b'x'; 16 * 1024];
        while left > 0 {
            let part = chunk.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(chunk);
            if pipe.write_all(part).await.is_err() {
                return;
            }
            left = left.saturating_sub(length(part));
            chunk = &filler;
        }
        open.end(true);
    })
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
