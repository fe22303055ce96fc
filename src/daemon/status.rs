//! What `status` shows: read from the database alone, so that any instance, and none, can tell it.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::course::Status;
use crate::outbox::pause::DurablePause;
use crate::outbox::report::{Count, Leader, Oldest, Recent};
use crate::outbox::{OutboxError, Reach, pause, report};
use crate::telemetry::metrics::Metrics;

/// The state of the outbox and of the account, as `status --json` and `/status` print it.
#[derive(Debug, Clone, Serialize)]
pub struct StatusReport {
    /// Courses by status.
    pub counts: BTreeMap<&'static str, i64>,
    /// The statuses whose count is an estimate.
    pub estimated: Vec<&'static str>,
    /// Seconds since the oldest pending course was enqueued.
    pub oldest_pending_seconds: Option<f64>,
    /// Seconds since the oldest open request was claimed.
    pub oldest_in_flight_seconds: Option<f64>,
    /// Seconds since the oldest doubt.
    pub oldest_unconfirmed_seconds: Option<f64>,
    /// What was sent in the last minute.
    pub last_minute: LastMinute,
    /// The account's quota.
    pub quota: Quota,
    /// Who sends; absent where nobody does.
    pub leader: Option<LeaderView>,
    /// Why nothing is sent, as the leader said last, and a person's pause.
    pub pauses: Vec<Value>,
    /// Courses that a request may carry at present: fewer than configured while large requests fail.
    pub batch_size: u64,
    /// Seconds until nothing is pending at the quota's rate; absent while nothing is sent.
    pub seconds_to_empty: Option<f64>,
}

/// What was sent in the last minute.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct LastMinute {
    pub requests: i64,
    pub courses: i64,
}

/// The account's quota.
#[derive(Debug, Clone, Serialize)]
pub struct Quota {
    /// Requests allowed in the rolling window.
    pub requests: u32,
    /// The window's length in seconds.
    pub per_seconds: f64,
    /// Requests sent within it.
    pub used: i64,
    /// What HubSpot's headers said last.
    pub hubspot: Value,
}

/// Who sends.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct LeaderView {
    pub holder: String,
    pub host: Option<String>,
    pub term: i64,
    pub expires_at: Option<Timestamp>,
}

/// What the database says, before it becomes a report.
#[derive(Debug, Clone)]
pub struct Readings {
    /// Courses by status.
    pub counts: Vec<Count>,
    /// Since when the oldest wait.
    pub oldest: Oldest,
    /// What was sent lately.
    pub recent: Recent,
    /// Who leads; absent where nobody does.
    pub leader: Option<Leader>,
    /// The pauses that outlive a restart.
    pub durable: Vec<DurablePause>,
}

/// The pauses that hold: those that the leader reports, and those that outlive a restart and it has not heard of.
pub(super) fn pauses(leader: Option<&Leader>, durable: &[DurablePause]) -> Vec<Value> {
    let reported = leader.and_then(|leader| leader.report.get("pauses")).and_then(Value::as_array);
    let mut pauses = reported.cloned().unwrap_or_default();
    for pause in durable {
        let reason = Some(pause.reason.as_str());
        let said = pauses.iter_mut().find(|said| said.get("reason").and_then(Value::as_str) == reason);
        match said.and_then(Value::as_object_mut) {
            Some(said) => {
                // Who it was and since when, the leader does not know.
                said.insert("author".to_owned(), serde_json::json!(pause.author));
                said.insert("since".to_owned(), serde_json::json!(pause.since));
            }
            None => pauses.push(serde_json::json!({
                "reason": pause.reason,
                "message": pause.message,
                "author": pause.author,
                "since": pause.since,
                "ends": pause.until,
            })),
        }
    }
    pauses
}

/// Reads it. `requests` and `per` are the quota as configured here.
pub async fn read(
    database: impl Into<Reach<'_>>,
    requests: u32,
    per: Duration,
    batch_size: usize,
) -> Result<StatusReport, OutboxError> {
    Ok(Readings::take(database, per).await?.report(requests, per, batch_size))
}

impl Readings {
    /// Reads them. `per` is the length of the account's rolling window.
    pub async fn take(database: impl Into<Reach<'_>>, per: Duration) -> Result<Self, OutboxError> {
        let reach = database.into();
        Ok(Self {
            counts: report::counts(reach).await?,
            oldest: report::oldest(reach).await?,
            recent: report::recent(reach, per).await?,
            leader: report::leader(reach).await?.filter(|leader| leader.is_current),
            durable: pause::active(reach).await?,
        })
    }

    /// What they come to, with the quota as configured here.
    #[must_use]
    pub fn report(self, requests: u32, per: Duration, batch_size: usize) -> StatusReport {
        let Self { counts, oldest, recent, leader, durable } = self;
        let said = |name: &str| leader.as_ref().and_then(|leader| leader.report.get(name)).cloned();
        let pauses = pauses(leader.as_ref(), &durable);
        let pending =
            counts.iter().find(|count| count.status == Status::Pending).map_or(0, |count| count.courses);
        let stops_creates = |pause: &Value| pause.get("operation").is_none();
        let is_sending = leader.is_some() && !pauses.iter().any(stops_creates);
        let in_use = said("batch_size").and_then(|size| size.as_u64());
        let batch_size = in_use.unwrap_or(batch_size as u64);
        StatusReport {
            estimated: counts
                .iter()
                .filter(|count| !count.is_exact)
                .map(|count| count.status.as_str())
                .collect(),
            counts: counts.into_iter().map(|count| (count.status.as_str(), count.courses)).collect(),
            oldest_pending_seconds: oldest.pending.map(age),
            oldest_in_flight_seconds: oldest.in_flight.map(age),
            oldest_unconfirmed_seconds: oldest.unconfirmed.map(age),
            last_minute: LastMinute { requests: recent.requests, courses: recent.courses },
            quota: Quota {
                requests,
                per_seconds: per.as_secs_f64(),
                used: recent.in_window,
                hubspot: said("quota").unwrap_or_default(),
            },
            batch_size,
            seconds_to_empty: is_sending.then(|| seconds_to_empty(pending, batch_size, requests, per)),
            leader: leader.map(|leader| LeaderView {
                holder: leader.holder.to_string(),
                host: leader.host,
                term: leader.term,
                expires_at: leader.expires_at,
            }),
            pauses,
        }
    }
}

fn age(since: Timestamp) -> f64 {
    Timestamp::now().duration_since(since).as_secs_f64().max(0.0)
}

/// At the quota's rate, in full batches.
#[allow(clippy::cast_precision_loss)] // an estimate
fn seconds_to_empty(pending: i64, batch_size: u64, requests: u32, per: Duration) -> f64 {
    let batches = (pending as f64 / batch_size.max(1) as f64).ceil();
    batches / f64::from(requests.max(1)) * per.as_secs_f64()
}

/// Brings the gauges of the outbox up to date.
pub async fn refresh_gauges(database: impl Into<Reach<'_>>, metrics: &Metrics) -> Result<(), OutboxError> {
    let reach = database.into();
    let counts = report::counts(reach).await?;
    let oldest = report::oldest(reach).await?;
    for count in counts {
        let since = match count.status {
            Status::Pending => oldest.pending,
            Status::InFlight => oldest.in_flight,
            Status::Unconfirmed => oldest.unconfirmed,
            Status::Synced | Status::Failed => None,
        };
        let oldest = since.map_or(Duration::ZERO, |since| Duration::from_secs_f64(age(since)));
        metrics.outbox(count.status, count.courses, oldest);
    }
    Ok(())
}
