//! When the account's daily quota starts afresh. One request, which counts like any other. Read tolerantly: what cannot
//! be read is not known.

use jiff::Timestamp;
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

impl Client {
    /// When the account's daily quota starts afresh, where HubSpot tells. It does so to private apps.
    pub async fn quota_resets_at(&self) -> (Exchange, Option<Timestamp>) {
        let (exchange, bytes) = self.get(self.urls.daily_usage()).await;
        let resets_at = resets_at(&bytes);
        (exchange, resets_at)
    }
}

fn resets_at(body: &[u8]) -> Option<Timestamp> {
    let usages: Usages = serde_json::from_slice(body).ok()?;
    usages.results.iter().find_map(|usage| usage.resets_at.as_deref()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

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
