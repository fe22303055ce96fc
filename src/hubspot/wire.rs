//! From the bytes of an answer to its meaning-free value. Pure.

use std::time::Duration;

use jiff::fmt::rfc2822;
use reqwest::header::{HeaderMap, HeaderName};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::course::clip;
use crate::policy::answer::{Body, Meta, QuotaHeaders, Unreadable};

/// The longest body read, in bytes. A hundred records of the largest values that HubSpot stores
/// stay below it.
pub const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// The most values in one body: a hundred records of several hundred properties. More would be read into
/// many times the memory that their text takes.
const MAX_VALUES: usize = 100_000;

/// How much of a foreign body is kept for a person.
const EXCERPT_BYTES: usize = 200;

/// Reads a whole body.
#[must_use]
pub fn read_body(bytes: &[u8]) -> Body {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Body::Unreadable(Unreadable::Empty);
    }
    // A value takes a byte at least, so that a usual body need not be looked through.
    if bytes.len() > MAX_VALUES && values(bytes) > MAX_VALUES {
        return Body::Unreadable(Unreadable::TooLong);
    }
    let foreign = || Body::Unreadable(Unreadable::Foreign(excerpt(bytes)));
    let Ok(value @ Value::Object(_)) = serde_json::from_slice(bytes) else { return foreign() };
    let is_text = |name: &str| value.get(name).is_some_and(Value::is_string);
    let is_batch = value.get("results").is_some_and(Value::is_array)
        || value
            .get("status")
            .and_then(Value::as_str)
            .is_some_and(|status| status != "error" && !is_text("message"));
    if is_batch {
        read_as(value, Body::Batch).unwrap_or_else(foreign)
    } else if ["message", "category", "errorType", "correctHublet"].into_iter().any(is_text)
        || value.get("validationResults").is_some_and(Value::is_array)
    {
        read_as(value, Body::Error).unwrap_or_else(foreign)
    } else {
        foreign()
    }
}

/// How many values a JSON text holds at most, without reading it: each but the first follows one of these.
fn values(json: &[u8]) -> usize {
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

fn read_as<T: DeserializeOwned>(value: Value, body: fn(Box<T>) -> Body) -> Option<Body> {
    serde_json::from_value(value).ok().map(|read| body(Box::new(read)))
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
        retry_after: number(headers, "retry-after").map(Duration::from_secs).or_else(|| until_date(headers)),
        location: text(headers, "location").map(location),
        quota,
        answered_at: None,
    }
}

/// Where a redirect leads, fit to be shown: without the query, without a user's password, and without the token that
/// one of HubSpot's paths contains.
fn location(text: &str) -> String {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let shown = text.get(..end).unwrap_or_default();
    let shown = match shown.split_once("/access-tokens/") {
        Some((before, _)) => format!("{before}/access-tokens/…"),
        None => shown.to_owned(),
    };
    let shown = match shown.split_once("://").and_then(|(scheme, rest)| {
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Some((scheme, authority.rsplit_once('@')?.1, path))
    }) {
        Some((scheme, host, path)) => format!("{scheme}://{host}{path}"),
        None => shown,
    };
    clip(&shown, EXCERPT_BYTES)
}

/// How long until the date that `Retry-After` gives, counted from the answer's own date, so that no clock of
/// ours matters. What is neither seconds nor a date to come reads as absent.
fn until_date(headers: &HeaderMap) -> Option<Duration> {
    let date = |name| rfc2822::parse(text(headers, name)?).ok();
    let ahead = date("retry-after")?.timestamp().duration_since(date("date")?.timestamp());
    Duration::try_from(ahead).ok()
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
    fn deep_nesting_is_refused_rather_than_followed() {
        let body = format!(r#"{{"results":[],"links":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(kind(&body), "foreign");
    }

    #[test]
    fn many_values_are_refused_and_many_commas_in_a_text_are_not() {
        let body = format!(r#"{{"results":[{}0]}}"#, "0,".repeat(MAX_VALUES));
        assert!(matches!(read_body(body.as_bytes()), Body::Unreadable(Unreadable::TooLong)));
        let body = format!(
            r#"{{"results":[{{"id":"1","properties":{{"a":"{}"}}}}]}}"#,
            r#",\","#.repeat(MAX_VALUES)
        );
        assert_eq!(kind(&body), "batch");
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
    fn retry_after_is_seconds_or_a_date_to_come() {
        let date = Some("Wed, 21 Oct 2026 07:28:00 GMT");
        for (value, answered_at, expected) in [
            ("30", None, Some(30)),
            (" 7 ", date, Some(7)),
            ("0", None, Some(0)),
            ("1000000000", None, Some(1_000_000_000)),
            ("Wed, 21 Oct 2026 07:30:00 GMT", date, Some(120)),
            ("Thu, 22 Oct 2026 07:28:00 GMT", date, Some(86_400)),
            ("Wed, 21 Oct 2026 07:28:00 GMT", date, Some(0)),
            // In the past, without anything to count from, or rubbish.
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
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", value.parse().unwrap());
            if let Some(date) = answered_at {
                headers.insert("date", date.parse().unwrap());
            }
            let read = read_meta(429, &headers).retry_after;
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
            let mut headers = HeaderMap::new();
            headers.insert("location", given.parse().unwrap());
            assert_eq!(read_meta(302, &headers).location.as_deref(), Some(shown));
        }
        assert_eq!(read_meta(302, &HeaderMap::new()).location, None);
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
