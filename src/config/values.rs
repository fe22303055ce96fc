//! Reads one value from its text: durations, sizes, percentages, names. Pure.
//!
//! Each function answers with the value, or with what would have been accepted.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use url::{Host, ParseError, Url};

use super::settings::ApiVersion;

/// A share of a whole, exact to a hundredth of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent {
    hundredths: u16,
}

impl Percent {
    /// Whole percents; anything above 100 counts as 100.
    #[must_use]
    pub const fn new(percent: u8) -> Self {
        let percent = if percent > 100 { 100 } else { percent };
        Self { hundredths: percent as u16 * 100 }
    }

    /// This share of `whole`, rounded up.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        let share = (u128::from(whole) * u128::from(self.hundredths)).div_ceil(10_000);
        u64::try_from(share).unwrap_or(whole)
    }

    /// 0.05 for `5%`.
    #[must_use]
    pub fn as_fraction(self) -> f64 {
        f64::from(self.hundredths) / 10_000.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.hundredths) / 100.0)
    }
}

/// `5%`, `2.5%`; from 0% to below 100%.
pub(super) fn percent(text: &str) -> Result<Percent, String> {
    let parsed = text.strip_suffix('%').and_then(|number| {
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let part = match part.len() {
            1 => digits(part)? * 10,
            2 => digits(part)?,
            _ => return None,
        };
        digits(whole)?.checked_mul(100)?.checked_add(part)
    });
    match parsed.and_then(|hundredths| u16::try_from(hundredths).ok()) {
        Some(hundredths) if hundredths < 10_000 => Ok(Percent { hundredths }),
        _ => Err("a percentage from \"0%\" to below \"100%\", such as \"5%\"".to_owned()),
    }
}

/// `50ms`, `10s`, `1h 30m`, `90d`.
pub(super) fn duration(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let (least, most) =
        (humantime::format_duration(*range.start()), humantime::format_duration(*range.end()));
    // humantime takes a bare 0; one rule for all numbers is easier to remember.
    if digits(text).is_some() {
        return Err(format!(
            "a unit after the number, such as \"{text}s\" or \"{text}ms\", from {least} to {most}"
        ));
    }
    match humantime::parse_duration(text) {
        Ok(duration) if range.contains(&duration) => Ok(duration),
        _ => Err(format!("a duration such as \"50ms\", \"10s\", \"5m\" or \"90d\", from {least} to {most}")),
    }
}

/// `2MiB`, `512KiB`, `2MB`, or a bare number of bytes.
pub(super) fn size(text: &str, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit: Option<u64> = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "kb" => Some(1000),
        "kib" => Some(1024),
        "mb" => Some(1000 * 1000),
        "mib" => Some(1024 * 1024),
        _ => None,
    };
    match unit.and_then(|unit| digits(number)?.checked_mul(unit)) {
        Some(bytes) if range.contains(&bytes) => Ok(bytes),
        _ => Err(format!(
            "a size such as \"2MiB\", \"512KiB\" or a number of bytes, from {} to {} bytes",
            range.start(),
            range.end()
        )),
    }
}

/// Decimal digits and nothing else: no sign, no space, no underscore.
pub(super) fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// An https URL, or an http one of this machine; without a slash at its end.
pub(super) fn base_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|_| "a URL such as \"https://api.hubapi.com\"".to_owned())?;
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        _ => {
            return Err("https, since the token travels with each request; http only to this machine \
             (127.0.0.1, [::1], localhost)"
                .to_owned());
        }
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "no user or password in this URL; the token has its own setting, hubspot.access_token".to_owned()
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("a URL without \"?\" and \"#\"".to_owned());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// `v3`, or a date such as `2026-03` or `2026-03-beta`.
pub(super) fn api_version(text: &str) -> Result<ApiVersion, String> {
    let is_date = |date: &str| {
        date.split_once('-').is_some_and(|(year, month)| {
            year.len() == 4
                && month.len() == 2
                && digits(year).is_some()
                && digits(month).is_some_and(|month| (1..=12).contains(&month))
        })
    };
    match text {
        "v3" => Ok(ApiVersion::V3),
        date if is_date(date.strip_suffix("-beta").unwrap_or(date)) => Ok(ApiVersion::Dated(date.to_owned())),
        _ => Err("\"v3\" or a date such as \"2026-03\"".to_owned()),
    }
}

/// A HubSpot property's internal name.
pub(super) fn property_name(text: &str) -> Result<String, String> {
    let valid = text.len() <= 100
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if valid {
        Ok(text.to_owned())
    } else {
        Err("a property's internal name: lower-case letters, digits and underscores, a letter first, \
             100 characters at most"
            .to_owned())
    }
}

/// A host name or address as a browser would ask for it, without scheme and port; made lower case.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    match Host::parse(text) {
        Ok(host) => Ok(host.to_string()),
        Err(_) => Err("host names without scheme and port, such as \"courses.example.com\"".to_owned()),
    }
}

/// The URL of a Postgres database.
pub(super) fn database_url(text: &str) -> Result<(), &'static str> {
    const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        return Err("must start with postgres:// or postgresql://");
    }
    let url = Url::parse(text).map_err(|error| match error {
        ParseError::InvalidPort => {
            "has no valid port; special characters in the password must be percent-encoded"
        }
        _ => "is not a valid URL; special characters in the password must be percent-encoded",
    })?;
    let is_unknown =
        |(name, value): (Cow<'_, str>, Cow<'_, str>)| name == "sslmode" && !SSL_MODES.contains(&&*value);
    if url.query_pairs().any(is_unknown) {
        return Err(
            "has an unknown sslmode; it is disable, allow, prefer, require, verify-ca or verify-full",
        );
    }
    Ok(())
}
