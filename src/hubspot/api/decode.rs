//! Decodes the bytes and headers of a response into plain types, without judging them. Pure.

use std::time::Duration;

use jiff::fmt::rfc2822;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::response::{Body, Meta, QuotaHeaders, Unreadable};
use crate::course::clip;

/// The longest body that is read, in bytes. A hundred records with the largest values that HubSpot stores are smaller.
pub const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// The most JSON values in one body: a hundred records with several hundred properties each. Decoded values take many
/// times the memory of their text, so the length of the text alone is not a bound.
const MAX_VALUES: usize = 100_000;

/// How much of a body that is not HubSpot's JSON is kept for the error message.
const EXCERPT_BYTES: usize = 200;

/// Decodes a complete body.
#[must_use]
pub fn decode_body(bytes: &[u8]) -> Body {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Body::Unreadable(Unreadable::Empty);
    }
    // A value takes at least one byte, so short bodies need not be counted.
    if bytes.len() > MAX_VALUES && count_values(bytes) > MAX_VALUES {
        return Body::Unreadable(Unreadable::TooLong);
    }
    let Ok(value @ Value::Object(_)) = serde_json::from_slice(bytes) else { return foreign(bytes) };
    if is_batch(&value) {
        decoded(value, Body::Batch).unwrap_or_else(|| foreign(bytes))
    } else if is_error(&value) {
        decoded(value, Body::Error).unwrap_or_else(|| foreign(bytes))
    } else {
        foreign(bytes)
    }
}

/// A body that is not HubSpot's JSON.
fn foreign(bytes: &[u8]) -> Body {
    Body::Unreadable(Unreadable::Foreign(excerpt(bytes)))
}

fn is_batch(value: &Value) -> bool {
    let status = value.get("status").and_then(Value::as_str);
    value.get("results").is_some_and(Value::is_array)
        || status.is_some_and(|status| status != "error" && !has_text(value, "message"))
}

fn is_error(value: &Value) -> bool {
    ["message", "category", "errorType", "correctHublet"].into_iter().any(|name| has_text(value, name))
        || value.get("validationResults").is_some_and(Value::is_array)
}

fn has_text(value: &Value, name: &str) -> bool {
    value.get(name).is_some_and(Value::is_string)
}

/// An upper bound of the number of values in a JSON text, without decoding it: every value but the first follows a
/// comma, a colon or an opening bracket.
fn count_values(json: &[u8]) -> usize {
    let (mut count, mut is_text, mut is_escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b',' | b':' | b'[' | b'{' if !is_text => count += 1,
            _ => {}
        }
    }
    count
}

fn decoded<T: DeserializeOwned>(value: Value, body: fn(Box<T>) -> Body) -> Option<Body> {
    serde_json::from_value(value).ok().map(|value| body(Box::new(value)))
}

/// The beginning of a body on one line, without control characters.
fn excerpt(bytes: &[u8]) -> String {
    let start = bytes.get(..bytes.len().min(4 * EXCERPT_BYTES)).unwrap_or_default();
    let text = String::from_utf8_lossy(start);
    let words: Vec<_> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    clip(&words.join(" "), EXCERPT_BYTES)
}

/// Decodes the status and the headers. `header` looks a header up by its lower-case name.
#[must_use]
pub fn decode_meta<'h>(status: u16, header: impl Fn(&'static str) -> Option<&'h str>) -> Meta {
    let quota = QuotaHeaders {
        max: number(&header, "x-hubspot-ratelimit-max"),
        remaining: number(&header, "x-hubspot-ratelimit-remaining"),
        interval_ms: number(&header, "x-hubspot-ratelimit-interval-milliseconds"),
        daily: number(&header, "x-hubspot-ratelimit-daily"),
        daily_remaining: number(&header, "x-hubspot-ratelimit-daily-remaining"),
    };
    Meta {
        status,
        correlation_id: header("x-hubspot-correlation-id").map(|id| clip(id.trim(), 100)),
        retry_after: number(&header, "retry-after").map(Duration::from_secs).or_else(|| until_date(&header)),
        location: header("location").map(|location| redacted_location(location.trim())),
        quota,
        answered_at: None,
    }
}

/// Where a redirect leads, without secrets: no query, no user or password, and not the token that one of HubSpot's
/// paths contains.
fn redacted_location(text: &str) -> String {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let without_query = text.get(..end).unwrap_or_default();
    let without_token = match without_query.split_once("/access-tokens/") {
        Some((before, _)) => format!("{before}/access-tokens/…"),
        None => without_query.to_owned(),
    };
    clip(&without_user(&without_token).unwrap_or(without_token), EXCERPT_BYTES)
}

/// The URL without user and password; `None` where it holds none.
fn without_user(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (_, host) = authority.rsplit_once('@')?;
    Some(format!("{scheme}://{host}{path}"))
}

/// The time until the date in `Retry-After`, counted from the response's own `Date`, so that the local clock does not
/// matter. Anything but a date in the future reads as absent.
fn until_date<'h>(header: &impl Fn(&'static str) -> Option<&'h str>) -> Option<Duration> {
    let retry_at = rfc2822::parse(header("retry-after")?.trim()).ok()?;
    let sent_at = rfc2822::parse(header("date")?.trim()).ok()?;
    Duration::try_from(retry_at.timestamp().duration_since(sent_at.timestamp())).ok()
}

fn number<'h, T: std::str::FromStr>(
    header: &impl Fn(&'static str) -> Option<&'h str>,
    name: &'static str,
) -> Option<T> {
    header(name)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(body: &str) -> &'static str {
        match decode_body(body.as_bytes()) {
            Body::Batch(_) => "batch",
            Body::Error(_) => "error",
            Body::Unreadable(Unreadable::Empty) => "empty",
            Body::Unreadable(_) => "foreign",
        }
    }

    #[test]
    fn a_body_is_a_batch_an_error_or_foreign() {
        for (body, expected) in [
            ("", "empty"),
            (" \r\n", "empty"),
            (r#"{"status":"COMPLETE","results":[]}"#, "batch"),
            (r#"{"status":"COMPLETE"}"#, "batch"),
            (r#"{"results":[{"id":"1"}]}"#, "batch"),
            (r#"{"status":"error","message":"no"}"#, "error"),
            (r#"{"status":"BAD_REFRESH_TOKEN","message":"missing or invalid refresh token"}"#, "error"),
            (r#"{"message":"Unable to infer object type from: widgets"}"#, "error"),
            (r#"{"status":"error","validationResults":[{"error":"INVALID_DATE","name":"a"}]}"#, "error"),
            (r#"{"status":"error","correctHublet":"eu1"}"#, "error"),
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
    fn deeply_nested_json_is_not_decoded() {
        let body = format!(r#"{{"results":[],"links":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(kind(&body), "foreign");
    }

    #[test]
    fn too_many_values_are_refused_but_commas_within_a_string_do_not_count() {
        let body = format!(r#"{{"results":[{}0]}}"#, "0,".repeat(MAX_VALUES));
        assert!(matches!(decode_body(body.as_bytes()), Body::Unreadable(Unreadable::TooLong)));
        let body = format!(
            r#"{{"results":[{{"id":"1","properties":{{"a":"{}"}}}}]}}"#,
            r#",\","#.repeat(MAX_VALUES)
        );
        assert_eq!(kind(&body), "batch");
    }

    #[test]
    fn one_unreadable_item_does_not_lose_the_others() {
        let body = br#"{"status":"COMPLETE","results":[{"id":"1","properties":{"a":"x"}},7,{"id":2}],"numErrors":"?",
            "errors":[{"message":"m","subCategory":"S","context":{"ids":["a",1]},"errors":[{"code":"C"},null]},"x"]}"#;
        let Body::Batch(reply) = decode_body(body) else { panic!("not a batch") };
        assert_eq!(reply.results.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(reply.num_errors, None);
        let error = reply.errors[0].as_ref().unwrap();
        assert_eq!(error.context["ids"], ["a"]);
        assert_eq!(error.errors[0].as_ref().unwrap().code.as_deref(), Some("C"));
        assert!(reply.errors[1].is_none());
    }

    #[test]
    fn retry_after_is_seconds_or_a_future_date() {
        let date = Some("Wed, 21 Oct 2026 07:28:00 GMT");
        for (value, answered_at, expected) in [
            ("30", None, Some(30)),
            (" 7 ", date, Some(7)),
            ("0", None, Some(0)),
            ("1000000000", None, Some(1_000_000_000)),
            ("Wed, 21 Oct 2026 07:30:00 GMT", date, Some(120)),
            ("Thu, 22 Oct 2026 07:28:00 GMT", date, Some(86_400)),
            ("Wed, 21 Oct 2026 07:28:00 GMT", date, Some(0)),
            // In the past, without a `Date` to count from, or unreadable.
            ("Wed, 21 Oct 2026 07:27:59 GMT", date, None),
            ("Wed, 21 Oct 2026 07:30:00 GMT", None, None),
            ("Wed, 21 Oct 2026 07:30:00 GMT", Some("today"), None),
            ("Wed, 41 Oct 2026 07:30:00 GMT", date, None),
            ("2026-10-21T07:30:00Z", date, None),
            ("-1", date, None),
            ("1.5", date, None),
            ("1e3", date, None),
            ("30, 60", date, None),
            ("99999999999999999999999", date, None),
            ("soon", date, None),
            ("", date, None),
        ] {
            let header = |name: &str| match name {
                "retry-after" => Some(value),
                "date" => answered_at,
                _ => None,
            };
            let read = decode_meta(429, header).retry_after;
            assert_eq!(read, expected.map(Duration::from_secs), "{value:?} answered at {answered_at:?}");
        }
    }

    #[test]
    fn a_location_is_shown_without_secrets() {
        for (given, shown) in [
            ("https://login.example.com/portal", "https://login.example.com/portal"),
            ("https://user:pw@host.example/a@b?next=token#x", "https://host.example/a@b"),
            ("/oauth/v1/access-tokens/sekret", "/oauth/v1/access-tokens/…"),
            ("https://host.example", "https://host.example"),
        ] {
            let meta = decode_meta(302, |name| (name == "location").then_some(given));
            assert_eq!(meta.location.as_deref(), Some(shown));
        }
        assert_eq!(decode_meta(302, |_| None).location, None);
    }

    #[test]
    fn an_excerpt_is_short_and_on_one_line() {
        let Body::Unreadable(Unreadable::Foreign(text)) =
            decode_body("<p>\u{1b}[31m\n".repeat(1000).as_bytes())
        else {
            panic!("readable")
        };
        assert!(text.len() <= EXCERPT_BYTES && !text.contains(char::is_control), "{text}");
    }
}
