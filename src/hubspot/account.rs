//! What the account says of its day: when the daily quota starts afresh, and its time zone. Each is one request,
//! which counts like any other. Read tolerantly: what cannot be read is not known.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use serde::Deserialize;

use super::client::Client;
use crate::policy::answer::Exchange;

#[derive(Deserialize)]
struct Usages {
    results: Vec<Usage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    resets_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Details {
    time_zone: Option<String>,
    utc_offset_milliseconds: Option<i64>,
}

impl Client {
    /// When the account's daily quota starts afresh, where HubSpot tells. It does so to private apps.
    pub async fn quota_resets_at(&self) -> (Exchange, Option<Timestamp>) {
        let (exchange, bytes) = self.get(self.urls.daily_usage()).await;
        let resets_at = resets_at(&bytes);
        (exchange, resets_at)
    }

    /// The account's time zone.
    pub async fn time_zone(&self) -> (Exchange, Option<TimeZone>) {
        let (exchange, bytes) = self.get(self.urls.account_details()).await;
        let zone = time_zone(&bytes);
        (exchange, zone)
    }
}

fn resets_at(body: &[u8]) -> Option<Timestamp> {
    let usages: Usages = serde_json::from_slice(body).ok()?;
    usages.results.iter().find_map(|usage| usage.resets_at.as_deref()?.parse().ok())
}

/// By its name; by its present offset where the name is one that nobody here knows.
fn time_zone(body: &[u8]) -> Option<TimeZone> {
    let details: Details = serde_json::from_slice(body).ok()?;
    let named = details.time_zone.and_then(|name| TimeZone::get(&name).ok());
    named.or_else(|| {
        let seconds = i32::try_from(details.utc_offset_milliseconds? / 1_000).ok()?;
        Some(Offset::from_seconds(seconds).ok()?.to_time_zone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accounts_time_zone_by_name_or_by_offset() {
        let noon: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
        for (body, offset) in [
            (
                r#"{"timeZone":"US/Eastern","utcOffset":"-04:00","utcOffsetMilliseconds":-14400000}"#,
                Some(-4 * 3600),
            ),
            (r#"{"portalId":1,"timeZone":"Europe/Berlin"}"#, Some(2 * 3600)),
            (r#"{"timeZone":"Asia/Kathmandu"}"#, Some(20_700)),
            (r#"{"timeZone":"Mars/Olympus","utcOffsetMilliseconds":3600000}"#, Some(3600)),
            (r#"{"timeZone":"Mars/Olympus"}"#, None),
            (r#"{"timeZone":"../../etc/passwd","utcOffsetMilliseconds":0}"#, Some(0)),
            (r#"{"timeZone":null,"utcOffsetMilliseconds":99999999999999}"#, None),
            (r#"{"timeZone":7}"#, None),
            ("<html>", None),
            ("", None),
        ] {
            let zone = time_zone(body.as_bytes());
            assert_eq!(zone.map(|zone| zone.to_offset(noon).seconds()), offset, "{body}");
        }
    }

    /// Such as an image without a file of its own holds.
    #[test]
    fn the_time_zones_are_built_in() {
        let bundled = jiff::tz::TimeZoneDatabase::bundled();
        for name in ["US/Eastern", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"] {
            assert!(bundled.get(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn when_the_quota_starts_afresh() {
        for (body, at) in [
            (
                r#"{"results":[{"collectedAt":"2020-04-10T06:46:40.789Z","currentUsage":1,"fetchStatus":"SUCCESS","name":"private-apps-api-calls-daily","resetsAt":"2020-04-10T04:00:00Z","usageLimit":500000}]}"#,
                Some("2020-04-10T04:00:00Z"),
            ),
            (
                r#"{"results":[{"fetchStatus":"TIMEOUT"},{"resetsAt":"2026-04-10T04:00:00Z"}]}"#,
                Some("2026-04-10T04:00:00Z"),
            ),
            (r#"{"results":[{"resetsAt":"soon"}]}"#, None),
            (r#"{"results":[]}"#, None),
            (r#"{"status":"error","message":"no"}"#, None),
            ("", None),
        ] {
            assert_eq!(resets_at(body.as_bytes()), at.map(|at| at.parse().unwrap()), "{body}");
        }
    }
}
