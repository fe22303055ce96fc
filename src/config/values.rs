//! Reads one value: durations, sizes, percentages, names. Pure.
//!
//! The functions that take a deserializer are for `settings`. Every error states what would be accepted;
//! `load` adds the key, the value and its source.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use config::{Value, ValueKind};
use serde::de::{Deserialize, Deserializer, Error as _};
use tracing_subscriber::filter::Targets;
use url::{Host, Url};

/// A part of a whole, in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(u16);

impl Percent {
    /// 0%.
    pub const ZERO: Self = Self(0);

    /// This part of `whole`, rounded up.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        let part = (u128::from(whole) * u128::from(self.0)).div_ceil(10_000);
        u64::try_from(part).unwrap_or(whole)
    }
}

/// `5%`, `2.5%`; from 0% to below 100%.
pub(super) fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Percent, D::Error> {
    let expected = "a percentage from \"0%\" to below \"100%\", such as \"5%\"";
    parse_plain(deserializer, |text| parse_percent(text).ok_or(expected))
}

fn parse_percent(text: &str) -> Option<Percent> {
    let number = text.strip_suffix('%')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let fraction = match fraction.len() {
        1 => digits(fraction)? * 10,
        2 => digits(fraction)?,
        _ => return None,
    };
    let hundredths = u16::try_from(digits(whole)?.checked_mul(100)?.checked_add(fraction)?).ok()?;
    (hundredths < 10_000).then_some(Percent(hundredths))
}

/// `50ms`, `10s`, `1h 30m`, `90d`; the bounds are in milliseconds.
pub(super) fn duration<'de, const MIN: u64, const MAX: u64, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    parse_plain(deserializer, parse_duration::<MIN, MAX>)
}

/// How long something is kept; `None`, written "keep", for good.
pub(super) fn retention<'de, const MAX: u64, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    parse_plain(deserializer, |text| match text {
        "keep" => Ok(None),
        text => {
            parse_duration::<1, MAX>(text).map(Some).map_err(|expected| format!("\"keep\" or {expected}"))
        }
    })
}

fn parse_duration<const MIN: u64, const MAX: u64>(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(MIN)..=Duration::from_millis(MAX);
    let (min, max) = (humantime::format_duration(*range.start()), humantime::format_duration(*range.end()));
    // humantime takes 0 without a unit; one rule for all numbers is easier to remember.
    if digits(text).is_some() {
        return Err(format!(
            "a unit after the number, such as \"{text}s\" or \"{text}ms\", from {min} to {max}"
        ));
    }
    match humantime::parse_duration(text) {
        Ok(duration) if range.contains(&duration) => Ok(duration),
        _ => Err(format!("a duration such as \"50ms\", \"10s\", \"5m\" or \"90d\", from {min} to {max}")),
    }
}

/// `2MiB`, `512KiB`, `2MB`, or a number of bytes without a unit.
pub(super) fn size<'de, const MIN: u64, const MAX: u64, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<u64, D::Error> {
    parse_plain(deserializer, |text| {
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let unit = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => Some(1),
            "kb" => Some(1000),
            "kib" => Some(1024),
            "mb" => Some(1000 * 1000),
            "mib" => Some(1024 * 1024),
            _ => None,
        };
        let bytes = unit.and_then(|unit| digits(number)?.checked_mul(unit));
        bytes.filter(|bytes| (MIN..=MAX).contains(bytes)).ok_or_else(|| {
            format!("a size such as \"2MiB\", \"512KiB\" or a number of bytes, from {MIN} to {MAX} bytes")
        })
    })
}

pub(super) fn whole<'de, const MIN: u64, const MAX: u64, T: TryFrom<u64>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    parse_plain(deserializer, |text| {
        digits(text)
            .filter(|number| (MIN..=MAX).contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("a whole number from {MIN} to {MAX}"))
    })
}

/// A finite number from 1 to 100, without an exponent.
pub(super) fn factor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    parse_plain(deserializer, |text| {
        let number = text.parse().ok().filter(|number| (1.0..=100.0).contains(number));
        number.filter(|_| !text.contains(['e', 'E'])).ok_or("a number from 1 to 100")
    })
}

pub(super) fn switch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    parse_plain(deserializer, |text| text.parse().map_err(|_| "true or false"))
}

/// A type whose values are a few words.
pub(super) trait Words: Copy + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

pub(super) fn word<'de, T: Words, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    parse_text(deserializer, |text| {
        let found = T::WORDS.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            T::WORDS.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(" or ")
        })
    })
}

/// An https URL, or an http one of this machine; without a slash at its end.
pub(super) fn base_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    parse_text(deserializer, parse_base_url)
}

fn parse_base_url(text: &str) -> Result<String, &'static str> {
    let url = Url::parse(text).map_err(|_| "a URL such as \"https://api.hubapi.com\"")?;
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback) {
        return Err("https, because every request carries the token; http only to this machine (127.0.0.1, \
                    [::1], localhost)");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("no user or password in this URL; the token has its own setting, hubspot.access_token");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("a URL without \"?\" and \"#\"");
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// A version of HubSpot's API, which decides the paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiVersion {
    /// `/crm/v3/objects/…`
    V3,
    /// `/crm/objects/2026-03/…`; the date is `YYYY-MM` or `YYYY-MM-beta`.
    Dated(String),
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V3 => "v3",
            Self::Dated(date) => date,
        })
    }
}

pub(super) fn api_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ApiVersion, D::Error> {
    parse_text(deserializer, |text| match text {
        "v3" => Ok(ApiVersion::V3),
        date if is_date(date.strip_suffix("-beta").unwrap_or(date)) => Ok(ApiVersion::Dated(date.to_owned())),
        _ => Err("\"v3\" or a date such as \"2026-03\""),
    })
}

/// Whether `text` is `YYYY-MM`.
fn is_date(text: &str) -> bool {
    text.split_once('-').is_some_and(|(year, month)| {
        year.len() == 4
            && month.len() == 2
            && digits(year).is_some()
            && digits(month).is_some_and(|month| (1..=12).contains(&month))
    })
}

/// The internal name of a HubSpot property.
pub(super) fn property_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    parse_text(deserializer, |text| {
        let is_valid = text.len() <= 100
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        is_valid.then(|| Some(text.to_owned())).ok_or(
            "a property's internal name: lower-case letters, digits and underscores, a letter first, at most \
             100 characters",
        )
    })
}

pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let expected = "an address with its port, such as \"127.0.0.1:9464\" or \"0.0.0.0:9464\"";
    parse_text(deserializer, |text| text.parse().map_err(|_| expected))
}

/// A list of host names, or one text with commas between them; made lower case.
pub(super) fn hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    parse_value(deserializer, |value| match value {
        ValueKind::String(text) => text.split(',').map(parse_host).collect(),
        ValueKind::Array(items) => items
            .iter()
            .map(|item| match &item.kind {
                ValueKind::String(text) => parse_host(text),
                _ => Err("a list of texts in quotes".to_owned()),
            })
            .collect(),
        _ => Err("a list of texts, or one text with commas between".to_owned()),
    })
}

fn parse_host(text: &str) -> Result<String, String> {
    match Host::parse(text.trim()) {
        Ok(host) => Ok(host.to_string()),
        Err(_) => Err("host names without scheme and port, such as \"courses.example.com\"".to_owned()),
    }
}

/// A filter in the syntax of `tracing`.
pub(super) fn log_filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    parse_text(deserializer, |text| match parse_log_filter(text) {
        Some(_) => Ok(text.to_owned()),
        None => {
            Err("a level (error, warn, info, debug, trace) or directives such as \"info,course_sync=debug\"")
        }
    })
}

/// Parses a filter such as `info,course_sync=debug`; `None` if it is invalid. `EnvFilter` would also accept
/// directives for spans, which this program does not log, and needs a regex engine for them.
pub(crate) fn parse_log_filter(text: &str) -> Option<Targets> {
    let directives: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let is_valid = !directives.is_empty() && directives.iter().all(|directive| is_log_directive(directive));
    if is_valid { directives.join(",").parse().ok() } else { None }
}

/// `Targets` would read an empty level as `error`, an empty target as every target, and `*` or `[span]` as the name of
/// a target that never logs.
fn is_log_directive(directive: &str) -> bool {
    let (target, level) = directive.split_once('=').unwrap_or((directive, "trace"));
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':');
    !target.is_empty() && !level.is_empty() && target.chars().all(is_name)
}

pub(super) fn client_id(text: &str) -> Result<String, &'static str> {
    let is_valid = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    is_valid.then(|| text.to_owned()).ok_or("the app's client id")
}

pub(super) fn path(text: &str) -> Result<PathBuf, &'static str> {
    if text.is_empty() { Err("the path of a file") } else { Ok(PathBuf::from(text)) }
}

/// Decimal digits and nothing else: no sign, no space, no underscore.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn parse_value<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: impl FnOnce(&ValueKind) -> Result<T, String>,
) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    parse(&value.kind).map_err(D::Error::custom)
}

/// Text in quotes only: the number 00123 would become 123.
fn parse_text<'de, D: Deserializer<'de>, T, E: Display>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    parse_value(deserializer, |value| match value {
        ValueKind::String(text) => parse(text).map_err(|expected| expected.to_string()),
        _ => Err("text in quotes".to_owned()),
    })
}

/// Text, a number or a switch: in the environment, all of them are text.
fn parse_plain<'de, D: Deserializer<'de>, T, E: Display>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    let parse = |text: &str| parse(text).map_err(|expected| expected.to_string());
    parse_value(deserializer, |value| match value {
        ValueKind::Array(_) | ValueKind::Table(_) => parse(""),
        // Keeps the point of 6.0, which is not a whole number.
        ValueKind::Float(number) => parse(&format!("{number:?}")),
        other => parse(&other.to_string()),
    })
}
