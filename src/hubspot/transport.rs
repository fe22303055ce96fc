//! Parts of sending that the client and the token endpoint share: receiving bodies, classifying transport errors,
//! redacting the token. The distinction between `NotSent` and `NoAnswer` is made here.

use memchr::memmem;
use reqwest::Response;
use reqwest::header::HeaderValue;

use crate::hubspot::advice::with_advice;
use crate::hubspot::api::decode;
use crate::hubspot::api::response::{Exchange, Meta, NoAnswer, NotSent, Unreadable};

const REDACTED: &[u8] = b"[redacted]";
/// HubSpot's tokens are longer. A shorter text may occur in a body by chance and is not redacted.
const MIN_TOKEN_BYTES: usize = 12;

/// Decodes the status and the headers of a response.
pub(super) fn decode_headers(response: &Response) -> Meta {
    let headers = response.headers();
    decode::decode_meta(response.status().as_u16(), |name| headers.get(name)?.to_str().ok())
}

/// Receives the bytes of a short body. Fails where it is longer than `limit`.
pub(super) async fn receive_short_body(mut response: Response, limit: usize) -> Result<Vec<u8>, Unreadable> {
    let mut bytes = Vec::new();
    while receive_chunk(&mut response, &mut bytes, limit).await? {}
    Ok(bytes)
}

/// Receives the next chunk of a body. False at its end.
pub(super) async fn receive_chunk(
    response: &mut Response,
    bytes: &mut Vec<u8>,
    limit: usize,
) -> Result<bool, Unreadable> {
    let Some(chunk) = response.chunk().await.map_err(|error| Unreadable::Cut(chain(error)))? else {
        return Ok(false);
    };
    if bytes.len() + chunk.len() > limit {
        return Err(Unreadable::TooLong);
    }
    bytes.extend_from_slice(&chunk);
    Ok(true)
}

/// Removes the request's access token from a body, in case HubSpot repeats it: parts of bodies are stored and logged.
pub(super) fn redact_token(bytes: Vec<u8>, authorization: &HeaderValue) -> Vec<u8> {
    let token = authorization.as_bytes().strip_prefix(b"Bearer ").unwrap_or_default();
    let finder = memmem::Finder::new(token);
    if token.len() < MIN_TOKEN_BYTES || finder.find(&bytes).is_none() {
        return bytes;
    }
    let (mut clean, mut rest) = (Vec::with_capacity(bytes.len()), bytes.as_slice());
    while let Some((before, from)) = finder.find(rest).and_then(|at| rest.split_at_checked(at)) {
        clean.extend_from_slice(before);
        clean.extend_from_slice(REDACTED);
        rest = from.get(token.len()..).unwrap_or_default();
    }
    clean.extend_from_slice(rest);
    clean
}

/// Whether a request without a response was certainly not sent, or may have been executed.
pub(super) fn classify_error(error: reqwest::Error) -> Exchange {
    // A connect timeout is both `is_connect` and `is_timeout`. The failed connection proves that nothing was sent, so
    // `is_connect` is tested first.
    if error.is_builder() {
        Exchange::NotSent(NotSent::Unbuildable(chain(error)))
    } else if error.is_connect() {
        let text = format!("HubSpot could not be reached: {}", chain(error));
        Exchange::NotSent(NotSent::Unreachable(with_advice(text)))
    } else if error.is_timeout() {
        Exchange::NoAnswer(NoAnswer::Timeout)
    } else {
        Exchange::NoAnswer(NoAnswer::Lost(chain(error)))
    }
}

/// An error with its causes on one line, without the URL.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let mut parts: Vec<String> = Vec::new();
    for text in causes.map(ToString::to_string) {
        // Some errors of these libraries already contain the text of their cause.
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}
