//! Every metric, in one struct.
//!
//! Labels come from closed sets, and every combination is present at 0 from the start. Data about a single course
//! belongs in its row, in the history and in the log. docs/metrics.md is generated from the help texts here.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::logging;
use super::process::Process;
use crate::course::Status;
use crate::hubspot::api::outcome::RequestOutcome;
use crate::policy::drift::{AuditSummary, DriftClass};
use crate::policy::gate::Reason;
pub use crate::telemetry::labels::{CourseOutcome, Operation, Wakeup, Window};
use crate::telemetry::trend::{DelayCounts, DelayRecorder};

macro_rules! labels {
    ($($name:ident { $($field:ident),+ })+) => { $(
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        struct $name { $($field: &'static str),+ }
    )+ };
}

labels! {
    ByOutcome { outcome }
    ByStatus { status }
    ByRequest { operation, outcome }
    ByOperation { operation }
    ByWindow { window }
    ByReason { reason }
    ByClass { class }
    ByResult { result }
}

type Seconds = Gauge<f64, AtomicU64>;

/// The counters that progress reports are made of, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CounterSnapshot {
    /// Courses, in the order of [`CourseOutcome::ALL`].
    pub courses: [u64; CourseOutcome::ALL.len()],
    /// Requests, in the order of [`Operation::ALL`] and [`RequestOutcome::ALL`].
    pub requests: [[u64; RequestOutcome::ALL.len()]; Operation::ALL.len()],
    /// Delays of the synced courses.
    pub delays: DelayCounts,
}

/// The metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    courses: Family<ByOutcome, Counter>,
    outbox_courses: Family<ByStatus, Gauge>,
    outbox_oldest: Family<ByStatus, Seconds>,
    sync_delay: Histogram,
    /// The same with finer buckets, for the console's quantiles.
    delays: DelayRecorder,
    requests: Family<ByRequest, Counter>,
    request_duration: Family<ByOperation, Histogram>,
    batch_courses: Histogram,
    rate_limit_wait: Histogram,
    quota_remaining: Family<ByWindow, Gauge>,
    paused: Family<ByReason, Gauge>,
    leader: Gauge,
    wakeups: Family<ByReason, Counter>,
    stale_results: Counter,
    refused_courses: Gauge,
    audit_differences: Family<ByClass, Gauge>,
    audit_ended: Family<ByResult, Gauge>,
}

/// From a fast response to a daemon with little load, to a backlog of days.
const DELAY_BUCKETS: [f64; 14] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 10_800.0, 86_400.0];
/// From a fast read to the timeout of HubSpot's edge.
const DURATION_BUCKETS: [f64; 11] = [0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];
/// Up to HubSpot's largest batch.
const SIZE_BUCKETS: [f64; 7] = [1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0];
/// From no wait to a full interval of the quota.
const WAIT_BUCKETS: [f64; 9] = [0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at 0.
    #[must_use]
    pub fn new() -> Self {
        let request_duration: Family<ByOperation, Histogram> =
            Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS));
        let mut metrics = Self {
            registry: Registry::default(),
            courses: Family::default(),
            outbox_courses: Family::default(),
            outbox_oldest: Family::default(),
            sync_delay: Histogram::new(DELAY_BUCKETS),
            delays: DelayRecorder::default(),
            requests: Family::default(),
            request_duration,
            batch_courses: Histogram::new(SIZE_BUCKETS),
            rate_limit_wait: Histogram::new(WAIT_BUCKETS),
            quota_remaining: Family::default(),
            paused: Family::default(),
            leader: Gauge::default(),
            wakeups: Family::default(),
            stale_results: Counter::default(),
            refused_courses: Gauge::default(),
            audit_differences: Family::default(),
            audit_ended: Family::default(),
        };
        metrics.register();
        metrics.create_series();
        metrics
    }

    fn register(&mut self) {
        self.registry.register_collector(Box::new(Process::start()));
        let registry = self.registry.sub_registry_with_prefix("course_sync");
        registry.register(
            "courses",
            "Courses by outcome. adopted: a record with the course's key existed already; deferred: will be sent again",
            self.courses.clone(),
        );
        registry.register("outbox_courses", "Courses in the outbox by status", self.outbox_courses.clone());
        registry.register(
            "outbox_oldest_seconds",
            "Age of the oldest course with this status; 0 if there is none",
            self.outbox_oldest.clone(),
        );
        registry.register(
            "sync_delay_seconds",
            "Time from the catalogue's insert or last change to the course in HubSpot",
            self.sync_delay.clone(),
        );
        registry.register(
            "requests",
            "Requests to HubSpot by outcome. partial: some of the courses were refused",
            self.requests.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "Time until a request ended, with any outcome",
            self.request_duration.clone(),
        );
        registry.register(
            "batch_courses",
            "Courses per request that writes them",
            self.batch_courses.clone(),
        );
        registry.register(
            "rate_limit_wait_seconds",
            "Time that a request waited for the quota",
            self.rate_limit_wait.clone(),
        );
        registry.register(
            "quota_remaining",
            "Calls left according to HubSpot's latest headers; 0 until the first response",
            self.quota_remaining.clone(),
        );
        registry.register(
            "paused",
            "1 while sending is paused for this reason; archive_limit: while archives are held. A pause of look-ups only is not counted",
            self.paused.clone(),
        );
        registry.register("leader", "1 on the instance that sends", self.leader.clone());
        registry.register("wakeups", "Checks of the outbox for courses, by reason", self.wakeups.clone());
        registry.register(
            "lost_guards",
            "Results discarded because another writer had changed the row. Expected only after a leader change",
            self.stale_results.clone(),
        );
        registry.register(
            "refused_courses",
            "Courses of attached tables that the outbox cannot hold, up to 1000",
            self.refused_courses.clone(),
        );
        registry.register(
            "audit_differences",
            "Differences between HubSpot and the outbox that the last audits found and did not repair",
            self.audit_differences.clone(),
        );
        registry.register(
            "audit_timestamp_seconds",
            "End of the last audit, in seconds since 1970; 0 if there was none. complete: of the last one that covered everything; partial: of the last one, if it did not",
            self.audit_ended.clone(),
        );
        registry.register_collector(Box::new(logging::DroppedLinesMetric));
        let commit = option_env!("COURSE_SYNC_COMMIT").unwrap_or("unknown");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("commit", commit)]);
        registry.register("build", "1; the version that is running", build);
    }

    /// Creates every combination of labels, at 0.
    fn create_series(&self) {
        for outcome in CourseOutcome::ALL {
            drop(self.courses.get_or_create(&ByOutcome { outcome: outcome.as_str() }));
        }
        for status in Status::ALL {
            drop(self.outbox_courses.get_or_create(&ByStatus { status: status.as_str() }));
        }
        for status in [Status::Pending, Status::InFlight, Status::Unconfirmed] {
            drop(self.outbox_oldest.get_or_create(&ByStatus { status: status.as_str() }));
        }
        for operation in Operation::ALL {
            drop(self.request_duration.get_or_create(&ByOperation { operation: operation.as_str() }));
            for outcome in RequestOutcome::ALL {
                drop(
                    self.requests.get_or_create(&ByRequest {
                        operation: operation.as_str(),
                        outcome: outcome.as_str(),
                    }),
                );
            }
        }
        for window in [Window::Interval, Window::Daily] {
            drop(self.quota_remaining.get_or_create(&ByWindow { window: window.as_str() }));
        }
        for reason in Reason::ALL {
            drop(self.paused.get_or_create(&ByReason { reason: reason.as_str() }));
        }
        self.set_audit(None);
        for reason in Wakeup::ALL {
            drop(self.wakeups.get_or_create(&ByReason { reason: reason.as_str() }));
        }
    }

    /// Counts courses with this outcome.
    pub fn count_courses(&self, outcome: CourseOutcome, count: u64) {
        self.courses.get_or_create(&ByOutcome { outcome: outcome.as_str() }).inc_by(count);
    }

    /// The value of `courses_total` for this outcome.
    #[must_use]
    pub fn courses_so_far(&self, outcome: CourseOutcome) -> u64 {
        self.courses.get_or_create(&ByOutcome { outcome: outcome.as_str() }).get()
    }

    /// Courses that are in HubSpot: synced or adopted by this process.
    #[must_use]
    pub fn synced_so_far(&self) -> u64 {
        self.courses_so_far(CourseOutcome::Synced) + self.courses_so_far(CourseOutcome::Adopted)
    }

    /// The current counters.
    #[must_use]
    pub fn snapshot(&self) -> CounterSnapshot {
        let requests = |operation: Operation, outcome: RequestOutcome| {
            let (operation, outcome) = (operation.as_str(), outcome.as_str());
            self.requests.get_or_create(&ByRequest { operation, outcome }).get()
        };
        CounterSnapshot {
            courses: CourseOutcome::ALL.map(|outcome| self.courses_so_far(outcome)),
            requests: Operation::ALL
                .map(|operation| RequestOutcome::ALL.map(|outcome| requests(operation, outcome))),
            delays: self.delays(),
        }
    }

    /// Sets the number of courses with this status and the age of the oldest one.
    pub fn set_outbox(&self, status: Status, count: i64, oldest: Duration) {
        self.outbox_courses.get_or_create(&ByStatus { status: status.as_str() }).set(count);
        if !matches!(status, Status::Synced | Status::Failed | Status::Archived) {
            self.outbox_oldest.get_or_create(&ByStatus { status: status.as_str() }).set(oldest.as_secs_f64());
        }
    }

    /// Records the time from a course's insert or last change to its sync.
    pub fn observe_sync_delay(&self, delay: Duration) {
        self.sync_delay.observe(delay.as_secs_f64());
        self.delays.observe(delay);
    }

    /// The sync delays so far.
    #[must_use]
    pub fn delays(&self) -> DelayCounts {
        self.delays.counts()
    }

    /// Counts a request that ended.
    pub fn observe_request(&self, operation: Operation, outcome: RequestOutcome, took: Duration) {
        let operation = operation.as_str();
        self.requests.get_or_create(&ByRequest { operation, outcome: outcome.as_str() }).inc();
        self.request_duration.get_or_create(&ByOperation { operation }).observe(took.as_secs_f64());
    }

    /// Records the size of a request with courses.
    #[allow(clippy::cast_precision_loss)] // at most 100
    pub fn observe_batch(&self, courses: usize) {
        self.batch_courses.observe(courses as f64);
    }

    /// Records the time that a request waited for the quota.
    pub fn observe_rate_limit_wait(&self, waited: Duration) {
        self.rate_limit_wait.observe(waited.as_secs_f64());
    }

    /// Sets the calls that are left according to HubSpot's headers.
    pub fn set_quota_remaining(&self, window: Window, calls: u64) {
        let gauge = self.quota_remaining.get_or_create(&ByWindow { window: window.as_str() });
        gauge.set(i64::try_from(calls).unwrap_or(i64::MAX));
    }

    /// Sets whether sending is paused for this reason.
    pub fn set_paused(&self, reason: Reason, is_paused: bool) {
        self.paused.get_or_create(&ByReason { reason: reason.as_str() }).set(i64::from(is_paused));
    }

    /// Sets whether this instance is the leader.
    pub fn set_leader(&self, is_leader: bool) {
        self.leader.set(i64::from(is_leader));
    }

    /// Counts a check of the outbox.
    pub fn count_wakeup(&self, reason: Wakeup) {
        self.wakeups.get_or_create(&ByReason { reason: reason.as_str() }).inc();
    }

    /// Counts results that were discarded because another writer had changed the row.
    pub fn count_stale_results(&self, count: u64) {
        self.stale_results.inc_by(count);
    }

    /// Sets the number of courses of attached tables that the outbox cannot hold.
    pub fn set_refused_courses(&self, count: i64) {
        self.refused_courses.set(count);
    }

    /// Sets what the last audits showed; `None`: there were none.
    pub fn set_audit(&self, audit: Option<&AuditSummary>) {
        for class in DriftClass::ALL {
            let left = audit.and_then(|audit| audit.left.get(&class)).copied().unwrap_or_default();
            let gauge = self.audit_differences.get_or_create(&ByClass { class: class.as_str() });
            gauge.set(i64::try_from(left).unwrap_or(i64::MAX));
        }
        let completed = audit.and_then(|audit| audit.completed_at);
        let partial = audit.filter(|audit| !audit.last.is_complete).map(|audit| audit.ended_at);
        for (result, ended_at) in [("complete", completed), ("partial", partial)] {
            let gauge = self.audit_ended.get_or_create(&ByResult { result });
            gauge.set(ended_at.map_or(0, Timestamp::as_second));
        }
    }

    /// The metrics as OpenMetrics text, or as the older Prometheus text format 0.0.4.
    #[must_use]
    pub fn encode(&self, open_metrics: bool) -> String {
        let mut encoded = String::new();
        // Writing to a string cannot fail.
        if text::encode(&mut encoded, &self.registry).is_err() || open_metrics {
            return encoded;
        }
        to_prometheus_text(&encoded)
    }
}

/// In the older format, `# HELP` and `# TYPE` name a counter with `_total` and an info with `_info`, and there are
/// neither units nor an end mark.
fn to_prometheus_text(open_metrics: &str) -> String {
    let suffix = |kind: &str| match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    let kinds = || open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let mut classic = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let comment = line.strip_prefix("# HELP ").map(|rest| ("HELP", rest));
        let comment = comment.or_else(|| line.strip_prefix("# TYPE ").map(|rest| ("TYPE", rest)));
        // Writing to a string cannot fail.
        let _written = match comment.and_then(|(word, rest)| Some((word, rest.split_once(' ')?))) {
            Some((word, (name, rest))) => {
                let kind = kinds().find(|(named, _)| *named == name).map_or("", |(_, kind)| kind);
                let rest = if word == "TYPE" && kind == "info" { "gauge" } else { rest };
                writeln!(classic, "# {word} {name}{} {rest}", suffix(kind))
            }
            None => writeln!(classic, "{line}"),
        };
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_present_at_zero() {
        let text = Metrics::new().encode(false);
        for line in [
            "course_sync_courses_total{outcome=\"adopted\"} 0",
            "course_sync_outbox_courses{status=\"in_flight\"} 0",
            "course_sync_outbox_oldest_seconds{status=\"unconfirmed\"} 0.0",
            "course_sync_sync_delay_seconds_count 0",
            "course_sync_requests_total{operation=\"token\",outcome=\"unreachable\"} 0",
            "course_sync_request_duration_seconds_count{operation=\"schema\"} 0",
            "course_sync_batch_courses_count 0",
            "course_sync_rate_limit_wait_seconds_count 0",
            "course_sync_quota_remaining{window=\"daily\"} 0",
            "course_sync_paused{reason=\"object_type\"} 0",
            "course_sync_leader 0",
            "course_sync_wakeups_total{reason=\"completion\"} 0",
            "# TYPE course_sync_courses_total counter",
            "# TYPE course_sync_build_info gauge",
        ] {
            assert!(text.lines().any(|it| it == line), "missing: {line}\n{text}");
        }
        assert!(text.contains("course_sync_build_info{version=\""));
        assert!(!text.contains("# EOF"));
    }
}
