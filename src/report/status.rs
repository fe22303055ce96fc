//! The state of the outbox and of the account, as `status --json` and `/status` print it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::config::{Config, RateLimit};
use crate::course::{InstanceId, Status, Term};
use crate::outbox::overview::{self, Leader, OutboxFindings, RecentRequests, StatusCount};
use crate::outbox::pause::{self, DurablePause};
use crate::outbox::{DatabaseRef, OutboxError};
use crate::policy::drift::{AuditSummary, DriftCounts};
use crate::policy::leader_report::{PauseReport, ReportedQuota};
use crate::report::pauses::merge_pauses;

/// The quota and the batch size as configured.
#[derive(Debug, Clone, Copy)]
pub struct QuotaSettings {
    /// The quota of the account.
    pub rate_limit: RateLimit,
    /// Courses in a full batch.
    pub batch_size: usize,
}

impl QuotaSettings {
    /// The quota and the batch size of a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { rate_limit: config.rate_limit, batch_size: config.batch.max_size }
    }
}

/// The state of the outbox and of the account.
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
    /// Seconds since the oldest request with an unknown outcome was claimed.
    pub oldest_unconfirmed_seconds: Option<f64>,
    /// What was sent in the last minute.
    pub last_minute: LastMinute,
    /// The account's quota.
    pub quota: QuotaStatus,
    /// The leader, if there is one.
    pub leader: Option<LeaderStatus>,
    /// The pauses in effect.
    pub pauses: Vec<PauseReport>,
    /// What the last audits showed; absent if there were none.
    pub audit: Option<AuditStatus>,
    /// Courses of attached tables that the outbox cannot hold, up to 1000.
    pub refused_courses: i64,
    /// The largest batch that is sent at present: less than configured while large requests fail.
    pub batch_size: u64,
    /// Seconds until no course is pending, at the rate of the quota; absent while nothing is sent.
    pub seconds_to_empty: Option<f64>,
}

/// What the last audits showed.
#[derive(Debug, Clone, Serialize)]
pub struct AuditStatus {
    /// When the last audit ended or stopped.
    pub ended_at: Timestamp,
    /// Whether it covered all courses and all records.
    pub complete: bool,
    /// When the last complete audit ended; absent if there was none.
    pub completed_at: Option<Timestamp>,
    /// Courses that the last audit read.
    pub courses: u64,
    /// The differences that are left, by class.
    pub differences: DriftCounts,
}

impl From<AuditSummary> for AuditStatus {
    fn from(summary: AuditSummary) -> Self {
        Self {
            ended_at: summary.ended_at,
            complete: summary.last.is_complete,
            completed_at: summary.completed_at,
            courses: summary.last.courses,
            differences: summary.left,
        }
    }
}

/// What was sent in the last minute.
#[derive(Debug, Clone, Serialize)]
pub struct LastMinute {
    /// Requests of every kind.
    pub requests: i64,
    /// Courses in create requests.
    pub courses: i64,
}

/// The account's quota.
#[derive(Debug, Clone, Serialize)]
pub struct QuotaStatus {
    /// Requests allowed in the rolling window.
    pub requests: u32,
    /// The window's length in seconds.
    pub per_seconds: f64,
    /// Requests sent within the window.
    pub used: i64,
    /// The quota as last reported by HubSpot; absent if no leader has reported it.
    pub hubspot: Option<ReportedQuota>,
}

/// The instance that sends.
#[derive(Debug, Clone, Serialize)]
pub struct LeaderStatus {
    /// The id of the instance.
    pub holder: InstanceId,
    /// The host it runs on.
    pub host: Option<String>,
    /// Its term.
    pub term: Term,
    /// When its lease ends unless it is renewed.
    pub expires_at: Option<Timestamp>,
}

/// What the database holds for a status report.
#[derive(Debug, Clone)]
pub struct StatusReadings {
    /// Courses by status.
    pub counts: Vec<StatusCount>,
    /// Since when the oldest courses wait, the last audits, and refused courses.
    pub findings: OutboxFindings,
    /// What was sent lately.
    pub recent: RecentRequests,
    /// The leader, if there is one.
    pub leader: Option<Leader>,
    /// The pauses that are stored in the database.
    pub stored_pauses: Vec<DurablePause>,
}

/// Reads the database and makes the report.
///
/// # Errors
/// The database cannot be read.
pub async fn read_status(
    database: impl Into<DatabaseRef<'_>>,
    quota: QuotaSettings,
) -> Result<StatusReport, OutboxError> {
    Ok(StatusReadings::read(database, quota.rate_limit.per).await?.into_report(quota))
}

impl StatusReadings {
    /// Reads the database. `per` is the length of the account's rolling window.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn read(database: impl Into<DatabaseRef<'_>>, per: Duration) -> Result<Self, OutboxError> {
        let database = database.into();
        Ok(Self {
            counts: overview::count_courses(database).await?,
            findings: overview::read_findings(database).await?,
            recent: overview::read_recent_requests(database, per).await?,
            leader: overview::read_leader(database).await?.filter(|leader| leader.is_current),
            stored_pauses: pause::read_active(database).await?,
        })
    }

    /// Makes the report.
    #[must_use]
    pub fn into_report(self, settings: QuotaSettings) -> StatusReport {
        let Self { counts, findings, recent, leader, stored_pauses } = self;
        let OutboxFindings { oldest, audit, refused_courses } = findings;
        let QuotaSettings { rate_limit, batch_size } = settings;
        let RateLimit { requests, per, .. } = rate_limit;
        let (leader, report) = match leader {
            Some(leader) => {
                let status = LeaderStatus {
                    holder: leader.holder,
                    host: leader.host,
                    term: leader.term,
                    expires_at: leader.expires_at,
                };
                (Some(status), Some(leader.report))
            }
            None => (None, None),
        };
        let batch_size = report.as_ref().and_then(|report| report.batch_size).unwrap_or(batch_size as u64);
        let hubspot = report.as_ref().and_then(|report| report.quota.clone());
        let pauses = merge_pauses(report.map(|report| report.pauses), &stored_pauses);
        let is_sending = leader.is_some() && !pauses.iter().any(PauseReport::stops_creates);
        let pending =
            counts.iter().find(|count| count.status == Status::Pending).map_or(0, |count| count.courses);
        let estimated = counts.iter().filter(|count| !count.is_exact);
        StatusReport {
            estimated: estimated.map(|count| count.status.as_str()).collect(),
            counts: counts.iter().map(|count| (count.status.as_str(), count.courses)).collect(),
            oldest_pending_seconds: oldest.pending.map(age_seconds),
            oldest_in_flight_seconds: oldest.in_flight.map(age_seconds),
            oldest_unconfirmed_seconds: oldest.unconfirmed.map(age_seconds),
            last_minute: LastMinute { requests: recent.requests, courses: recent.courses },
            quota: QuotaStatus { requests, per_seconds: per.as_secs_f64(), used: recent.in_window, hubspot },
            leader,
            pauses,
            audit: audit.map(AuditStatus::from),
            refused_courses,
            batch_size,
            seconds_to_empty: is_sending.then(|| seconds_to_empty(pending, batch_size, rate_limit)),
        }
    }
}

/// Seconds since then; 0 if the clocks of database and host disagree.
pub(crate) fn age_seconds(since: Timestamp) -> f64 {
    Timestamp::now().duration_since(since).as_secs_f64().max(0.0)
}

/// The time for full batches at the rate of the quota.
#[allow(clippy::cast_precision_loss)] // an estimate
fn seconds_to_empty(pending: i64, batch_size: u64, rate_limit: RateLimit) -> f64 {
    let batches = (pending as f64 / batch_size.max(1) as f64).ceil();
    batches / f64::from(rate_limit.requests.max(1)) * rate_limit.per.as_secs_f64()
}
