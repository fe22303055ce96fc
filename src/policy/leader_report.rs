//! The report that the leader stores in its lease row, so that any instance and any command can show it.
//! Plain values and their JSON form; no I/O.
//!
//! Instances of different versions share the row. So a field that is missing or cannot be read counts as absent,
//! a reason of a newer version is kept as text, and unknown fields are ignored.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::policy::gate::Reason;

/// What the leader reports about itself with each renewal of the lease.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaderReport {
    /// When this instance became the leader.
    #[serde(deserialize_with = "absent_if_unreadable")]
    pub since: Option<Timestamp>,
    /// The pauses in effect, those that stop creates first.
    #[serde(deserialize_with = "readable_items")]
    pub pauses: Vec<PauseReport>,
    /// The account's quota.
    #[serde(deserialize_with = "absent_if_unreadable")]
    pub quota: Option<ReportedQuota>,
    /// Requests allowed in the rolling window, as configured.
    #[serde(deserialize_with = "absent_if_unreadable")]
    pub requests: Option<u32>,
    /// Length of the rolling window in seconds, as configured.
    #[serde(deserialize_with = "absent_if_unreadable")]
    pub per_seconds: Option<f64>,
    /// The largest batch that is sent at present.
    #[serde(deserialize_with = "absent_if_unreadable")]
    pub batch_size: Option<u64>,
    /// Requests of each window that are left to commands such as `audit`; absent if this version cannot do that.
    #[serde(deserialize_with = "absent_if_unreadable")]
    pub reserved: Option<u32>,
}

/// The quota as HubSpot's last headers showed it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReportedQuota {
    /// Requests that HubSpot allows in its rolling window.
    pub max: Option<u32>,
    /// Requests left in HubSpot's window.
    pub remaining: Option<u32>,
    /// Calls that HubSpot allows in a day.
    pub daily: Option<u64>,
    /// Calls left today.
    pub daily_remaining: Option<u64>,
    /// Requests that course-sync uses in a window at present; less than configured while others use the account.
    pub limit: Option<u32>,
}

/// The operation of a pause that stops only archives.
const ARCHIVE: &str = "archive";

/// A pause as `status`, `/readyz`, the console and the leader's report show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseReport {
    /// Why sending is paused.
    pub reason: ReportedReason,
    /// What happened.
    #[serde(default)]
    pub message: String,
    /// When the pause began.
    #[serde(default, deserialize_with = "absent_if_unreadable", skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Who paused; known for pauses that are stored in the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// `read` if the pause stops only look-ups, `archive` if only archives; absent if it stops creates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// When the next attempt is due; absent if only an operator ends the pause.
    #[serde(default, deserialize_with = "absent_if_unreadable", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When the pause ends, if that is known.
    #[serde(default, deserialize_with = "absent_if_unreadable", skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
}

impl PauseReport {
    /// Whether the pause stops creates, and not only look-ups or archives.
    #[must_use]
    pub fn stops_creates(&self) -> bool {
        self.operation.is_none()
    }

    /// Whether the pause stops only archives.
    #[must_use]
    pub fn stops_only_archives(&self) -> bool {
        self.operation.as_deref() == Some(ARCHIVE)
    }

    /// What the pause stops, if it does not stop everything.
    #[must_use]
    pub fn scope(&self) -> Option<&'static str> {
        match self.operation.as_deref() {
            None => None,
            Some(ARCHIVE) => Some("archives only"),
            Some(_) => Some("look-ups only"),
        }
    }
}

/// The reason of a pause. Another instance may report a reason that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum ReportedReason {
    /// A reason that this version knows.
    Known(Reason),
    /// The text of any other reason.
    Unknown(String),
}

impl ReportedReason {
    /// The reason's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(reason) => reason.as_str(),
            Self::Unknown(text) => text,
        }
    }

    /// The reason, if this version knows it.
    #[must_use]
    pub fn known(&self) -> Option<Reason> {
        match self {
            Self::Known(reason) => Some(*reason),
            Self::Unknown(_) => None,
        }
    }
}

impl From<Reason> for ReportedReason {
    fn from(reason: Reason) -> Self {
        Self::Known(reason)
    }
}

impl From<String> for ReportedReason {
    fn from(text: String) -> Self {
        match Reason::ALL.into_iter().find(|reason| reason.as_str() == text) {
            Some(reason) => Self::Known(reason),
            None => Self::Unknown(text),
        }
    }
}

impl From<ReportedReason> for String {
    fn from(reason: ReportedReason) -> Self {
        reason.as_str().to_owned()
    }
}

/// A value that counts as absent if it cannot be read.
fn absent_if_unreadable<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}

/// The items of a list that can be read.
fn readable_items<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let Value::Array(items) = Value::deserialize(deserializer)? else { return Ok(Vec::new()) };
    Ok(items.into_iter().filter_map(|item| serde_json::from_value(item).ok()).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pause(reason: impl Into<ReportedReason>) -> PauseReport {
        PauseReport {
            reason: reason.into(),
            message: "m".into(),
            since: Some(Timestamp::UNIX_EPOCH),
            author: None,
            operation: None,
            until: None,
            ends: None,
        }
    }

    #[test]
    fn a_report_keeps_its_json_form() {
        let report = LeaderReport {
            since: Some(Timestamp::UNIX_EPOCH),
            pauses: vec![pause(Reason::Token)],
            quota: Some(ReportedQuota { max: Some(190), limit: Some(100), ..ReportedQuota::default() }),
            requests: Some(190),
            per_seconds: Some(10.0),
            batch_size: Some(100),
            reserved: Some(19),
        };
        let expected = json!({
            "since": "1970-01-01T00:00:00Z",
            "pauses": [{ "reason": "token", "message": "m", "since": "1970-01-01T00:00:00Z" }],
            "quota": { "max": 190, "remaining": null, "daily": null, "daily_remaining": null, "limit": 100 },
            "requests": 190, "per_seconds": 10.0, "batch_size": 100, "reserved": 19,
        });
        assert_eq!(serde_json::to_value(&report).unwrap(), expected);
        assert_eq!(serde_json::from_value::<LeaderReport>(expected).unwrap(), report);
    }

    #[test]
    fn reports_of_other_versions_are_read_as_far_as_possible() {
        assert_eq!(serde_json::from_value::<LeaderReport>(json!({})).unwrap(), LeaderReport::default());
        let newer = json!({
            "since": 7, "batch_size": "many", "quota": "plenty", "new": true,
            "pauses": ["text", { "reason": "token", "message": "m", "since": "1970-01-01T00:00:00Z", "until": "soon" },
                       { "reason": "a new one", "message": "m", "since": "1970-01-01T00:00:00Z", "more": 1 }],
        });
        let report: LeaderReport = serde_json::from_value(newer).unwrap();
        let pauses = vec![pause(Reason::Token), pause("a new one".to_owned())];
        assert_eq!(report, LeaderReport { pauses, ..LeaderReport::default() });
        assert_eq!(report.pauses[1].reason.known(), None);
        assert_eq!(serde_json::to_value(&report.pauses[1].reason).unwrap(), "a new one");
    }
}
