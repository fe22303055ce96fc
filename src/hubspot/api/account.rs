//! What HubSpot reports about an account: token, details, property groups, object library, quota. Read tolerantly. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::OBJECT_TYPE;

/// The account and the scopes of an access token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenInfo {
    /// The account's number.
    #[serde(alias = "hub_id")]
    pub hub_id: Option<u64>,
    /// The scopes; empty where HubSpot does not list them.
    pub scopes: Vec<String>,
    /// Whether the token is valid, where the endpoint reports it.
    pub active: Option<bool>,
}

/// The account's details.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccountDetails {
    /// The account's number.
    pub portal_id: Option<u64>,
    /// `STANDARD`, `SANDBOX`, `DEVELOPER_TEST`, …
    pub account_type: Option<String>,
    /// The time zone in which the account's days end.
    pub time_zone: Option<String>,
}

/// A group in which HubSpot shows properties.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PropertyGroup {
    /// Its internal name.
    pub name: String,
    /// Whether it accepts no further properties.
    pub archived: bool,
}

/// The property groups of courses, in no order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PropertyGroups {
    /// The groups.
    pub results: Vec<PropertyGroup>,
}

/// Which objects of HubSpot's library are switched on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Enablement {
    enablement_by_object_type_id: BTreeMap<String, bool>,
}

impl Enablement {
    /// Whether courses are switched on; `None` where HubSpot does not report it.
    #[must_use]
    pub fn courses(&self) -> Option<bool> {
        self.enablement_by_object_type_id.get(OBJECT_TYPE).copied()
    }
}

/// The definition of a property that was just created.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CreatedProperty {
    /// Whether HubSpot keeps its values unique.
    pub has_unique_value: bool,
}

/// The records that a create made.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CreatedRecords {
    results: Vec<Value>,
}

impl CreatedRecords {
    /// The ids of the records.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.results.iter().filter_map(|record| record.get("id")?.as_str().map(str::to_owned)).collect()
    }
}

/// The account's use of its daily quota.
#[derive(Deserialize)]
pub(crate) struct DailyUsage {
    results: Vec<DailyUsageEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DailyUsageEntry {
    resets_at: Option<String>,
}

impl DailyUsage {
    /// When the daily quota resets; `None` where HubSpot does not report it.
    pub(crate) fn resets_at(&self) -> Option<Timestamp> {
        self.results.iter().find_map(|usage| usage.resets_at.as_deref()?.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_quota_reset_is_read_tolerantly() {
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
            let usage: DailyUsage = serde_json::from_str(body).unwrap();
            assert_eq!(usage.resets_at(), at.map(|at| at.parse().unwrap()), "{body}");
        }
        for body in [r#"{"status":"error","message":"no"}"#, ""] {
            assert!(serde_json::from_str::<DailyUsage>(body).is_err(), "{body}");
        }
    }
}
