//! From the bytes of an answer to its meaning-free value. Pure.

use reqwest::header::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::course::clip;
use crate::policy::answer::{Body, Meta, QuotaHeaders, Unreadable};

/// The longest body read, in bytes. A hundred records of the largest values that HubSpot stores
/// stay below it.
pub const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// How much of a foreign body is kept for a person.
const EXCERPT_BYTES: usize = 200;

/// What a body must be known by before it is read, each value as it stands in the text.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Shape<'a> {
    #[serde(borrow)]
    results: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    category: Option<&'a RawValue>,
    #[serde(borrow)]
    error_type: Option<&'a RawValue>,
}

/// Reads a whole body.
#[must_use]
pub fn read_body(bytes: &[u8]) -> Body {
    let Some(first) = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) else {
        return Body::Unreadable(Unreadable::Empty);
    };
    let foreign = || Body::Unreadable(Unreadable::Foreign(excerpt(bytes)));
    let Some(shape) = (*first == b'{').then(|| serde_json::from_slice::<Shape<'_>>(bytes).ok()).flatten()
    else {
        return foreign();
    };
    let begins = |value: Option<&RawValue>, with| value.is_some_and(|value| value.get().starts_with(with));
    let is_text = |value| begins(value, '"');
    let is_error = shape.status.is_some_and(|status| status.get() == r#""error""#);
    let is_batch =
        begins(shape.results, '[') || is_text(shape.status) && !is_error && !is_text(shape.message);
    if is_batch {
        read_as(bytes, Body::Batch).unwrap_or_else(foreign)
    } else if is_text(shape.message) || is_text(shape.category) || is_text(shape.error_type) {
        read_as(bytes, Body::Error).unwrap_or_else(foreign)
    } else {
        foreign()
    }
}

fn read_as<T: DeserializeOwned>(bytes: &[u8], body: fn(Box<T>) -> Body) -> Option<Body> {
    serde_json::from_slice(bytes).ok().map(|read| body(Box::new(read)))
}

/// The beginning of a foreign body on one line.
fn excerpt(bytes: &[u8]) -> String {
    let start = bytes.get(..bytes.len().min(4 * EXCERPT_BYTES)).unwrap_or_default();
    let text = String::from_utf8_lossy(start);
    let words: Vec<_> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    clip(&words.join(" "), EXCERPT_BYTES)
}

/// Reads the status line and the headers.
#[must_use]
pub fn read_meta(status: u16, headers: &HeaderMap) -> Meta {
    let quota = QuotaHeaders {
        max: number(headers, "x-hubspot-ratelimit-max"),
        remaining: number(headers, "x-hubspot-ratelimit-remaining"),
        interval_ms: number(headers, "x-hubspot-ratelimit-interval-milliseconds"),
        daily: number(headers, "x-hubspot-ratelimit-daily"),
        daily_remaining: number(headers, "x-hubspot-ratelimit-daily-remaining"),
    };
    Meta {
        status,
        correlation_id: text(headers, "x-hubspot-correlation-id").map(|id| clip(id, 100)),
        // A date, a negative number or a word is no number of seconds and reads as absent.
        retry_after: number(headers, "retry-after").map(std::time::Duration::from_secs),
        quota,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    headers.get(HeaderName::from_static(name))?.to_str().ok().map(str::trim)
}

fn number<T: std::str::FromStr>(headers: &HeaderMap, name: &'static str) -> Option<T> {
    text(headers, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(body: &str) -> &'static str {
        match read_body(body.as_bytes()) {
            Body::Batch(_) => "batch",
            Body::Error(_) => "error",
            Body::Unreadable(Unreadable::Empty) => "empty",
            Body::Unreadable(_) => "foreign",
        }
    }

    #[test]
    fn what_a_body_is() {
        for (body, expected) in [
            ("", "empty"),
            (" \r\n", "empty"),
            (r#"{"status":"COMPLETE","results":[]}"#, "batch"),
            (r#"{"status":"COMPLETE"}"#, "batch"),
            (r#"{"results":[{"id":"1"}]}"#, "batch"),
            (r#"{"status":"error","message":"no"}"#, "error"),
            (r#"{"status":"BAD_REFRESH_TOKEN","message":"missing or invalid refresh token"}"#, "error"),
            (r#"{"message":"Unable to infer object type from: widgets"}"#, "error"),
            ("{}", "foreign"),
            ("[]", "foreign"),
            ("null", "foreign"),
            (r#"{"results":[{"id":"1""#, "foreign"),
            ("<html><title>524 Origin Time-out</title></html>", "foreign"),
            ("\u{1f}\u{8b}", "foreign"),
        ] {
            assert_eq!(kind(body), expected, "{body:?}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_rather_than_followed() {
        let body = format!(r#"{{"results":[],"links":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(kind(&body), "foreign");
    }

    #[test]
    fn one_strange_element_costs_only_itself() {
        let body = br#"{"status":"COMPLETE","results":[{"id":"1","properties":{"a":"x"}},7,{"id":2}],"numErrors":"?",
            "errors":[{"message":"m","subCategory":"S","context":{"ids":["a",1]},"errors":[{"code":"C"},null]},"x"]}"#;
        let Body::Batch(reply) = read_body(body) else { panic!("not a batch") };
        assert_eq!(reply.results.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(reply.num_errors, None);
        let error = reply.errors[0].as_ref().unwrap();
        assert_eq!(error.context["ids"], ["a"]);
        assert_eq!(error.errors[0].as_ref().unwrap().code.as_deref(), Some("C"));
        assert!(reply.errors[1].is_none());
    }

    #[test]
    fn headers_that_are_no_numbers_read_as_absent() {
        let meta = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", value.parse().unwrap());
            read_meta(429, &headers).retry_after.map(|wait| wait.as_secs())
        };
        for (value, expected) in [
            ("30", Some(30)),
            (" 7 ", Some(7)),
            ("-1", None),
            ("soon", None),
            ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ] {
            assert_eq!(meta(value), expected, "{value}");
        }
    }

    #[test]
    fn an_excerpt_is_short_and_on_one_line() {
        let Body::Unreadable(Unreadable::Foreign(text)) =
            read_body("<p>\u{1b}[31m\n".repeat(1000).as_bytes())
        else {
            panic!("readable")
        };
        assert!(text.len() <= EXCERPT_BYTES && !text.contains(char::is_control), "{text}");
    }
}
