//! Carries faults out: what the client gets instead of, or made from, the real answer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use serde_json::Value;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio_util::io::ReaderStream;

use super::connection::Line;
use super::exchange::{Exchange, respond};
use super::faults::{Answer, Commit, Dialect, ErrorForm, Fault};
use super::input_fault::InputFault;
use super::operations::execute;
use super::quota::Exceeded;
use super::received;
use super::refusal::{APP, PORTAL};
use super::state::{Call, Shared};
use super::wire::{ErrorBody, Kind, Reply};

/// Answers `call` as `fault` wants it.
pub(super) async fn deliver(
    shared: &Arc<Shared>,
    line: &Line,
    mut call: Call,
    fault: Fault,
    exchange: Exchange,
) -> Response {
    let correlation = call.correlation.clone();
    call.input_fault = input_fault(shared, &call, &fault);
    let made_from_real = is_made_from_real(&fault.answer);
    let commit = if made_from_real { Commit::Yes } else { fault.commit };
    let real = carry_out(shared, call, commit).await;
    tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
    let reply = real.filter(|_| made_from_real).unwrap_or_else(|| Reply::empty(201));
    match fault.answer {
        Answer::Real | Answer::InputError { .. } => exchange.finish(reply),
        Answer::Hang => std::future::pending().await,
        Answer::Reset | Answer::ResetUnread => {
            line.reset();
            exchange.withhold()
        }
        Answer::Close => {
            line.close();
            exchange.withhold()
        }
        Answer::Cut { at } => cut(exchange, reply, at),
        Answer::Trickle { bytes, every_ms } => trickle(exchange, reply, bytes.max(1), every_ms),
        Answer::Huge { bytes } => huge(exchange, bytes),
        Answer::Literal { status, headers, body } => {
            let kind = match body.trim_start() {
                "" => Kind::Empty,
                page if page.starts_with('<') => Kind::Page,
                _ => Kind::Json,
            };
            let headers = headers.into_iter().collect();
            exchange.finish_with(Reply { status, kind, body: body.into_bytes() }, headers)
        }
        Answer::RateLimited { dialect, retry_after } => {
            let limit = match dialect {
                Dialect::Daily => Exceeded::Daily,
                Dialect::TenSecondlyRolling => Exceeded::Interval,
                Dialect::Secondly => Exceeded::Search,
            };
            let error = limit.error(PORTAL, APP, shared.lock().uuid());
            exchange.finish_with(Reply::refusal(429, error, &correlation), retry(retry_after))
        }
        Answer::Error { status, body, retry_after } => {
            exchange.finish_with(error(status, body, &correlation), retry(retry_after))
        }
        Answer::Garbage => {
            let body = (0_u8..=255).rev().cycle().take(2_000).collect();
            exchange.finish(Reply { status: 201, kind: Kind::Json, body })
        }
        Answer::BrokenJson => {
            let body = br#"{"status":"COMPLETE","results":[{"id":"1","#.to_vec();
            exchange.finish(Reply { status: 201, kind: Kind::Json, body })
        }
        Answer::EmptyBody => exchange.finish(Reply::empty(201)),
        Answer::Patched(_) | Answer::DropResults(_) | Answer::DuplicateResult | Answer::ForeignResult => {
            exchange.finish(altered(reply, &fault.answer))
        }
    }
}

/// Whether the answer takes the real one as its material.
fn is_made_from_real(answer: &Answer) -> bool {
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

/// The inputs that an [`Answer::InputError`] hits.
fn input_fault(shared: &Shared, call: &Call, fault: &Fault) -> Option<InputFault> {
    let Answer::InputError { error, commit, named } = &fault.answer else { return None };
    let inputs = received::inputs(&call.target, &call.body);
    let state = shared.lock();
    let unique: Vec<&str> = state.schema.unique_names().collect();
    Some(InputFault::new(&fault.on, &inputs, &unique, error.clone()).with(*commit, *named))
}

/// In a task of its own: a client that leaves does not stop HubSpot.
async fn carry_out(shared: &Arc<Shared>, call: Call, commit: Commit) -> Option<Reply> {
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

fn retry(seconds: Option<u64>) -> Vec<(String, String)> {
    seconds.map(|seconds| ("Retry-After".to_owned(), seconds.to_string())).into_iter().collect()
}

fn error(status: u16, form: ErrorForm, correlation: &str) -> Reply {
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

/// The real answer, tampered with.
fn altered(reply: Reply, how: &Answer) -> Reply {
    let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body) else { return reply };
    if let Answer::Patched(patch) = how {
        apply(&mut body, patch);
    }
    if let Some(results) = body.get_mut("results").and_then(Value::as_array_mut) {
        match how {
            Answer::DropResults(count) => results.truncate(results.len().saturating_sub(*count)),
            Answer::DuplicateResult => results.extend(results.first().cloned()),
            Answer::ForeignResult => results.extend(results.first().cloned().map(foreign)),
            _ => {}
        }
    }
    Reply { body: body.to_string().into_bytes(), ..reply }
}

/// JSON Merge Patch (RFC 7396): members replace, `null` removes.
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
fn foreign(mut result: Value) -> Value {
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

/// A body of `length` bytes that `write` writes as the client takes them.
fn streamed<F: Future<Output = ()> + Send + 'static>(
    headers: Vec<(&'static str, String)>,
    status: u16,
    length: u64,
    write: impl FnOnce(DuplexStream) -> F,
) -> Response {
    let (sender, receiver) = tokio::io::duplex(64 * 1024);
    tokio::spawn(write(sender));
    let body = Body::from_stream(ReaderStream::new(receiver));
    respond(headers, status, Kind::Json, vec![("Content-Length".to_owned(), length.to_string())], body)
}

fn cut(exchange: Exchange, reply: Reply, at: usize) -> Response {
    let (status, whole) = (reply.status, length(&reply.body));
    let (headers, open) = exchange.begin(status);
    streamed(headers, status, whole, async move |mut pipe| {
        let part = reply.body.get(..at).unwrap_or(&reply.body);
        if pipe.write_all(part).await.is_ok() {
            // What was written leaves before the missing rest is noticed.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        open.end(false);
    })
}

fn trickle(exchange: Exchange, reply: Reply, bytes: usize, every_ms: u64) -> Response {
    let (status, whole) = (reply.status, length(&reply.body));
    let (headers, open) = exchange.begin(status);
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

fn huge(exchange: Exchange, bytes: u64) -> Response {
    let (headers, open) = exchange.begin(201);
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
