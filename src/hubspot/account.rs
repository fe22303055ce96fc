//! When the account's daily quota starts afresh. One request, which counts like any other. Read tolerantly: what cannot
//! be read is not known.

use jiff::Timestamp;
use serde::Deserialize;

use super::client::Client;
use crate::policy::schema::Asked;

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
    /// When the account's daily quota starts afresh; `None` where HubSpot does not show it. It does to private apps.
    pub async fn quota_resets_at(&self) -> Asked<Option<Timestamp>> {
        let (exchange, bytes) = self.get(self.urls.daily_usage()).await;
        Asked { told: serde_json::from_slice(&bytes).ok().map(|usages| resets_at(&usages)), exchange }
    }
}

fn resets_at(usages: &Usages) -> Option<Timestamp> {
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
        ] {
            let usages = serde_json::from_str(body).unwrap();
            assert_eq!(resets_at(&usages), at.map(|at| at.parse().unwrap()), "{body}");
        }
        for body in [r#"{"status":"error","message":"no"}"#, ""] {
            assert!(serde_json::from_str::<Usages>(body).is_err(), "{body}");
        }
    }
}
