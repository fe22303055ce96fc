//! Every metric, in one struct.
//!
//! A metric belongs here where its labels come from a closed set; every combination is present at 0
//! from the start. What concerns one course belongs into its row, the history and the logs.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::course::Status;
use crate::policy::interpret::RequestOutcome;
use crate::policy::pause::Reason;
use crate::telemetry::trend::{DelayCounter, Delays};

/// What became of a course, as counted in `courses_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum CourseOutcome {
    Synced,
    Adopted,
    Failed,
    Deferred,
    Unconfirmed,
}

impl CourseOutcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Synced, Self::Adopted, Self::Failed, Self::Deferred, Self::Unconfirmed];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Adopted => "adopted",
            Self::Failed => "failed",
            Self::Deferred => "deferred",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

/// What a request to HubSpot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Operation {
    Create,
    Read,
    Schema,
    Token,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 4] = [Self::Create, Self::Read, Self::Schema, Self::Token];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Schema => "schema",
            Self::Token => "token",
        }
    }
}

/// Why the daemon looked at the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Wakeup {
    Notify,
    Poll,
    Completion,
    Resume,
}

impl Wakeup {
    /// Every cause.
    pub const ALL: [Self; 4] = [Self::Notify, Self::Poll, Self::Completion, Self::Resume];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Poll => "poll",
            Self::Completion => "completion",
            Self::Resume => "resume",
        }
    }
}

/// Which of the account's quotas a gauge shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Window {
    Interval,
    Daily,
}

impl Window {
    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::Daily => "daily",
        }
    }
}

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
}

type Seconds = Gauge<f64, AtomicU64>;

/// The metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    courses: Family<ByOutcome, Counter>,
    outbox_courses: Family<ByStatus, Gauge>,
    outbox_oldest: Family<ByStatus, Seconds>,
    sync_delay: Histogram,
    /// The same, finely: the console tells quantiles of any stretch of time.
    delays: DelayCounter,
    requests: Family<ByRequest, Counter>,
    request_duration: Family<ByOperation, Histogram>,
    batch_courses: Histogram,
    rate_limit_wait: Histogram,
    quota_remaining: Family<ByWindow, Gauge>,
    paused: Family<ByReason, Gauge>,
    leader: Gauge,
    wakeups: Family<ByReason, Counter>,
    lost_guards: Counter,
}

/// From the linger of an idle daemon to a backlog of days.
const DELAY_BUCKETS: [f64; 14] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 10_800.0, 86_400.0];
/// From a fast read to HubSpot's edge giving up.
const DURATION_BUCKETS: [f64; 11] = [0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];
/// Up to HubSpot's largest batch.
const SIZE_BUCKETS: [f64; 7] = [1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0];
/// From no wait to a whole window.
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
            registry: Registry::with_prefix("course_sync"),
            courses: Family::default(),
            outbox_courses: Family::default(),
            outbox_oldest: Family::default(),
            sync_delay: Histogram::new(DELAY_BUCKETS),
            delays: DelayCounter::default(),
            requests: Family::default(),
            request_duration,
            batch_courses: Histogram::new(SIZE_BUCKETS),
            rate_limit_wait: Histogram::new(WAIT_BUCKETS),
            quota_remaining: Family::default(),
            paused: Family::default(),
            leader: Gauge::default(),
            wakeups: Family::default(),
            lost_guards: Counter::default(),
        };
        metrics.register();
        metrics.touch();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("courses", "Courses by what became of them", self.courses.clone());
        registry.register("outbox_courses", "Courses in the outbox", self.outbox_courses.clone());
        registry.register(
            "outbox_oldest_seconds",
            "Age of the oldest course in this status",
            self.outbox_oldest.clone(),
        );
        registry.register(
            "sync_delay_seconds",
            "From the catalogue's insert to the course in HubSpot",
            self.sync_delay.clone(),
        );
        registry.register("requests", "Requests to HubSpot by outcome", self.requests.clone());
        registry.register(
            "request_duration_seconds",
            "Time until a request ended",
            self.request_duration.clone(),
        );
        registry.register("batch_courses", "Courses per create request", self.batch_courses.clone());
        registry.register(
            "rate_limit_wait_seconds",
            "Time waited for a permit of the quota",
            self.rate_limit_wait.clone(),
        );
        registry.register(
            "quota_remaining",
            "Calls left, as HubSpot's headers say",
            self.quota_remaining.clone(),
        );
        registry.register("paused", "1 while nothing is sent for this reason", self.paused.clone());
        registry.register("leader", "1 on the instance that sends", self.leader.clone());
        registry.register("wakeups", "Looks at the outbox by cause", self.wakeups.clone());
        registry.register(
            "lost_guards",
            "Answers that found their row no longer waiting for them",
            self.lost_guards.clone(),
        );
        let commit = option_env!("COURSE_SYNC_COMMIT").unwrap_or("unknown");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("commit", commit)]);
        registry.register("build", "The running program", build);
    }

    /// Makes every label combination present.
    fn touch(&self) {
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
        for cause in Wakeup::ALL {
            drop(self.wakeups.get_or_create(&ByReason { reason: cause.as_str() }));
        }
    }

    /// `count` courses came to this end.
    pub fn courses(&self, outcome: CourseOutcome, count: u64) {
        self.courses.get_or_create(&ByOutcome { outcome: outcome.as_str() }).inc_by(count);
    }

    /// What `courses_total` shows for this outcome.
    #[must_use]
    pub fn courses_so_far(&self, outcome: CourseOutcome) -> u64 {
        self.courses.get_or_create(&ByOutcome { outcome: outcome.as_str() }).get()
    }

    /// Courses that came to HubSpot so far, in whatever way.
    #[must_use]
    pub fn synced_so_far(&self) -> u64 {
        self.courses_so_far(CourseOutcome::Synced) + self.courses_so_far(CourseOutcome::Adopted)
    }

    /// The outbox holds `count` courses in this status; the oldest has been there for `oldest`.
    pub fn outbox(&self, status: Status, count: i64, oldest: Duration) {
        self.outbox_courses.get_or_create(&ByStatus { status: status.as_str() }).set(count);
        if !matches!(status, Status::Synced | Status::Failed) {
            self.outbox_oldest.get_or_create(&ByStatus { status: status.as_str() }).set(oldest.as_secs_f64());
        }
    }

    /// A course reached HubSpot this long after the catalogue enqueued it.
    pub fn sync_delay(&self, delay: Duration) {
        self.sync_delay.observe(delay.as_secs_f64());
        self.delays.observe(delay);
    }

    /// The delays so far, by size.
    #[must_use]
    pub fn delays(&self) -> Delays {
        self.delays.so_far()
    }

    /// A request ended.
    pub fn request(&self, operation: Operation, outcome: RequestOutcome, took: Duration) {
        let operation = operation.as_str();
        self.requests.get_or_create(&ByRequest { operation, outcome: outcome.as_str() }).inc();
        self.request_duration.get_or_create(&ByOperation { operation }).observe(took.as_secs_f64());
    }

    /// A create request carries `courses`.
    #[allow(clippy::cast_precision_loss)] // at most 100
    pub fn batch(&self, courses: usize) {
        self.batch_courses.observe(courses as f64);
    }

    /// A permit was waited for.
    pub fn rate_limit_wait(&self, waited: Duration) {
        self.rate_limit_wait.observe(waited.as_secs_f64());
    }

    /// HubSpot's headers say that so many calls are left.
    pub fn quota_remaining(&self, window: Window, calls: u64) {
        let gauge = self.quota_remaining.get_or_create(&ByWindow { window: window.as_str() });
        gauge.set(i64::try_from(calls).unwrap_or(i64::MAX));
    }

    /// The reason holds, or no longer does.
    pub fn paused(&self, reason: Reason, holds: bool) {
        self.paused.get_or_create(&ByReason { reason: reason.as_str() }).set(i64::from(holds));
    }

    /// This instance leads, or does not.
    pub fn leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// The daemon looks at the outbox.
    pub fn wakeup(&self, cause: Wakeup) {
        self.wakeups.get_or_create(&ByReason { reason: cause.as_str() }).inc();
    }

    /// `count` answers found their row no longer waiting for them.
    pub fn lost_guards(&self, count: u64) {
        self.lost_guards.inc_by(count);
    }

    /// The metrics as OpenMetrics text, or as the older Prometheus text format 0.0.4.
    #[must_use]
    pub fn encode(&self, open_metrics: bool) -> String {
        let mut encoded = String::new();
        // Writing to a string cannot fail.
        if text::encode(&mut encoded, &self.registry).is_err() || open_metrics {
            return encoded;
        }
        as_prometheus_text(&encoded)
    }
}

/// The older format names a counter in full where OpenMetrics leaves out `_total`, likewise `_info`,
/// and knows neither the unit nor the end mark.
fn as_prometheus_text(open_metrics: &str) -> String {
    let suffix = |kind: &str| match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    let kinds = || open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let mut classic = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let about = line.strip_prefix("# HELP ").map(|rest| ("HELP", rest));
        let about = about.or_else(|| line.strip_prefix("# TYPE ").map(|rest| ("TYPE", rest)));
        // Writing to a string cannot fail.
        let _written = match about.and_then(|(word, rest)| Some((word, rest.split_once(' ')?))) {
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
