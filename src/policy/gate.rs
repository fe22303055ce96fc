//! The gate: when all sending pauses, and how it starts again. Pure.
//!
//! A state machine. An incident closes the gate for its reason. After the pause, the gate opens for one request of one
//! course (a probe), and for larger batches with each success.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::course::MAX_COURSES;
use crate::hubspot::api::response::QuotaHeaders;
use crate::policy::backoff::RetryPolicy;

/// Why sending is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// An operator paused it.
    Operator,
    /// HubSpot does not accept the access token.
    Token,
    /// The token lacks a scope.
    Scopes,
    /// The account has no such object type: courses are not enabled, or the path is wrong.
    ObjectType,
    /// The quota of the rolling window is used up.
    IntervalQuota,
    /// The quota of the day is used up.
    DailyQuota,
    /// HubSpot, or the network to it, fails.
    Unavailable,
    /// The property that carries the course key cannot be used.
    Schema,
    /// HubSpot refuses every course for the same reason.
    Rejected,
    /// Too many archives are pending at once.
    ArchiveLimit,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::Operator,
        Self::Token,
        Self::Scopes,
        Self::ObjectType,
        Self::IntervalQuota,
        Self::DailyQuota,
        Self::Unavailable,
        Self::Schema,
        Self::Rejected,
        Self::ArchiveLimit,
    ];

    /// The reason's name in metrics, `status` and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Token => "token",
            Self::Scopes => "scopes",
            Self::ObjectType => "object_type",
            Self::IntervalQuota => "interval_quota",
            Self::DailyQuota => "daily_quota",
            Self::Unavailable => "unavailable",
            Self::Schema => "schema",
            Self::Rejected => "rejected",
            Self::ArchiveLimit => "archive_limit",
        }
    }

    /// Whether an operator has to fix the cause.
    #[must_use]
    pub fn needs_operator(self) -> bool {
        match self {
            Self::Operator
            | Self::Token
            | Self::Scopes
            | Self::ObjectType
            | Self::Schema
            | Self::Rejected
            | Self::ArchiveLimit => true,
            Self::IntervalQuota | Self::DailyQuota | Self::Unavailable => false,
        }
    }

    /// Whether one course may be the cause, so that other requests are needed as evidence.
    #[must_use]
    pub fn may_be_caused_by_course(self) -> bool {
        match self {
            Self::Token | Self::Scopes | Self::ObjectType | Self::Unavailable => true,
            Self::Operator
            | Self::IntervalQuota
            | Self::DailyQuota
            | Self::Schema
            | Self::Rejected
            | Self::ArchiveLimit => false,
        }
    }

    /// Whether it pauses all operations, not only the one that failed.
    #[must_use]
    pub fn is_shared(self) -> bool {
        matches!(self, Self::Operator | Self::IntervalQuota | Self::DailyQuota)
    }

    /// Whether it is temporary and ends without a probe: it concerns the state of HubSpot or of the network.
    fn is_outage(self) -> bool {
        matches!(self, Self::IntervalQuota | Self::Unavailable)
    }

    /// Whether sending starts again with a probe.
    fn is_followed_by_probe(self) -> bool {
        !matches!(self, Self::Operator | Self::IntervalQuota)
    }
}

/// A failure that concerns the whole account, or HubSpot itself, rather than one course.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// The reason of the pause that it begins.
    pub reason: Reason,
    /// The wait that HubSpot requests, if any.
    pub retry_after: Option<Duration>,
    /// What happened, for operators.
    pub message: String,
}

/// The incident, if only the reserve of the daily quota is left. `reserve`: the reserved part of a daily quota.
#[must_use]
pub fn reserve_reached(quota: &QuotaHeaders, reserve: impl Fn(u64) -> u64) -> Option<Incident> {
    let (daily, left) = (quota.daily?, quota.daily_remaining?);
    let reserved = reserve(daily);
    (left <= reserved && reserved > 0).then(|| Incident {
        reason: Reason::DailyQuota,
        retry_after: None,
        message: format!(
            "{left} of the account's {daily} daily calls are left, and {reserved} of them are reserved for other \
             integrations (rate_limit.daily_reserve)"
        ),
    })
}

/// A pause for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// When it began.
    pub since: Instant,
    /// When the next probe is due; `None`: no probe ends it.
    pub until: Option<Instant>,
    /// When it ends, if known: the end of the day. Probes before that may succeed.
    pub ends: Option<Instant>,
    /// What happened, for operators.
    pub message: String,
    /// Consecutive failed probes.
    failures: u32,
}

/// Which requests may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Nothing, until this time at least; `None`: until an operator acts.
    Closed(Option<Instant>),
    /// Requests may be sent, within these limits.
    Open {
        /// The most courses in one request.
        courses: u16,
        /// Whether a request may start while another is open.
        concurrent: bool,
    },
}

impl Gate {
    /// What both gates permit.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Closed(None), _) | (_, Self::Closed(None)) => Self::Closed(None),
            (Self::Closed(one), Self::Closed(other)) => Self::Closed(one.max(other)),
            (closed @ Self::Closed(_), Self::Open { .. }) | (Self::Open { .. }, closed @ Self::Closed(_)) => {
                closed
            }
            (
                Self::Open { courses, concurrent },
                Self::Open { courses: other_courses, concurrent: other_concurrent },
            ) => {
                Self::Open { courses: courses.min(other_courses), concurrent: concurrent && other_concurrent }
            }
        }
    }

    /// Whether a request of this many courses, claimed earlier, may still be sent.
    #[must_use]
    pub fn permits(self, courses: usize) -> bool {
        match self {
            Self::Closed(_) => false,
            Self::Open { courses: most, .. } => courses <= usize::from(most),
        }
    }
}

/// The pauses of one account.
#[derive(Debug, Clone)]
pub struct Pauses {
    retry: RetryPolicy,
    interval: Duration,
    active: BTreeMap<Reason, Pause>,
    /// The most courses in the next request; `None`: the gate is fully open.
    probe_size: Option<u16>,
    /// When the account's day ends, if known.
    day_ends: Option<Instant>,
    /// Failed probes since a request last succeeded with no pause in effect.
    outage_failures: u32,
}

/// The longest wait in an outage: a longer one would only delay the recovery.
const UNAVAILABLE_MAX: Duration = Duration::from_secs(30);
/// An outage ends this long after its next probe was due, if there was no course to send.
const OVERDUE_AFTER: Duration = UNAVAILABLE_MAX;
/// The longest wait for a probe if an operator must fix the cause, because the daemon is not notified of the fix.
const OPERATOR_RETRY_INTERVAL: Duration = Duration::from_mins(1);
/// The interval of probes while the daily quota is used up: the quota may have been raised, or the day may end earlier than
/// expected.
const DAILY_RETRY_INTERVAL: Duration = Duration::from_mins(15);
/// The longest wait that a response can request. HubSpot's migration of an account takes up to a day, but a probe per hour
/// costs little, and a longer `Retry-After` may come from a proxy.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

impl Pauses {
    /// No pause. `interval` is the length of the account's rolling window.
    #[must_use]
    pub fn new(retry: RetryPolicy, interval: Duration) -> Self {
        Self {
            retry,
            interval,
            active: BTreeMap::new(),
            probe_size: None,
            day_ends: None,
            outage_failures: 0,
        }
    }

    /// Records the incident of a request that was sent at `sent_at`. True if it begins a pause for a new reason.
    /// `jitter`: a random number from 0 to 1.
    pub fn record_incident(
        &mut self,
        incident: &Incident,
        sent_at: Instant,
        now: Instant,
        jitter: f64,
    ) -> bool {
        let before = self.active.get(&incident.reason);
        // A request that was in flight when the pause began proves nothing about the time after it.
        if before
            .is_some_and(|pause| sent_at < pause.since || pause.until.is_some_and(|until| sent_at < until))
        {
            return false;
        }
        // A pause may end while the outage continues, so the failures of an outage are counted across its pauses.
        let failures = match incident.reason {
            Reason::Unavailable => self.outage_failures,
            _ => before.map_or(0, |pause| pause.failures),
        };
        let failures = failures.saturating_add(1);
        let since = before.map_or(now, |pause| pause.since);
        let mut until = now + self.probe_delay(incident, failures, jitter);
        let ends = self.known_end(incident.reason, before, now);
        if let Some(ends) = ends {
            until = until.min(ends);
        }
        let is_new = before.is_none();
        if incident.reason == Reason::Unavailable {
            self.outage_failures = failures;
        }
        // Only a check of the property ends this pause; no create is sent as a probe.
        let until = (incident.reason != Reason::Schema).then_some(until);
        self.active.insert(
            incident.reason,
            Pause { since, until, ends, message: incident.message.clone(), failures },
        );
        if incident.reason.is_followed_by_probe() {
            self.probe_size = Some(1);
        }
        is_new
    }

    /// The time at which a pause for this reason certainly ends, if known: a pause for the daily quota ends with the
    /// account's day.
    fn known_end(&self, reason: Reason, before: Option<&Pause>, now: Instant) -> Option<Instant> {
        if reason != Reason::DailyQuota {
            return None;
        }
        // Until the known end of the day has passed, it does not change.
        let known = before.and_then(|pause| pause.ends);
        known.filter(|ends| *ends > now).or(self.day_ends.filter(|ends| *ends > now))
    }

    /// The wait before the next probe.
    fn probe_delay(&self, incident: &Incident, failures: u32, jitter: f64) -> Duration {
        if let Some(requested) = incident.retry_after.filter(|wait| !wait.is_zero()) {
            let requested = requested.min(RETRY_AFTER_MAX) + self.retry.backoff(1, jitter) / 4;
            // A daily quota is not reset within seconds, whatever the response requests.
            return if incident.reason == Reason::DailyQuota {
                requested.max(DAILY_RETRY_INTERVAL)
            } else {
                requested
            };
        }
        match incident.reason {
            Reason::IntervalQuota => self.interval + self.interval.mul_f64(jitter / 10.0),
            Reason::DailyQuota => DAILY_RETRY_INTERVAL + DAILY_RETRY_INTERVAL.mul_f64(jitter / 10.0),
            // Equal jitter, so that instances are spread and none retries at once.
            Reason::Unavailable => self.retry.equal_jitter(failures, jitter, UNAVAILABLE_MAX),
            Reason::Operator
            | Reason::Token
            | Reason::Scopes
            | Reason::ObjectType
            | Reason::Schema
            | Reason::Rejected
            | Reason::ArchiveLimit => self.retry.equal_jitter(failures, jitter, OPERATOR_RETRY_INTERVAL),
        }
    }

    /// Starts a term of the lease: its first request is a probe.
    pub fn begin_term(&mut self) {
        self.probe_size = Some(1);
    }

    /// Makes the next request a probe.
    pub fn require_probe(&mut self) {
        self.probe_size = Some(1);
    }

    /// Records the success of a request that was sent at `sent_at`: HubSpot created a course (`creates`), or judged the
    /// courses. Ends pauses, returns their reasons, and opens the gate further. Only a created course ends a rejection of
    /// every course.
    pub fn record_success(&mut self, sent_at: Instant, creates: bool) -> Vec<Reason> {
        let ended = self.end_due(sent_at, |reason| match reason {
            Reason::Operator | Reason::Schema | Reason::ArchiveLimit => false,
            Reason::Rejected => creates,
            Reason::Token
            | Reason::Scopes
            | Reason::ObjectType
            | Reason::IntervalQuota
            | Reason::DailyQuota
            | Reason::Unavailable => true,
        });
        if self.active.is_empty() {
            self.outage_failures = 0;
            self.probe_size = self.probe_size.and_then(|courses| match courses {
                ..10 => Some(10),
                10..MAX_COURSES => Some(MAX_COURSES),
                MAX_COURSES.. => None,
            });
        }
        ended
    }

    /// Ends outages whose next probe has been overdue for long, because there is no course to send. Returns the reasons.
    /// The next request is still a probe.
    pub fn expire(&mut self, now: Instant) -> Vec<Reason> {
        let overdue = self.active.extract_if(.., |reason, pause| {
            reason.is_outage() && pause.until.is_some_and(|until| until + OVERDUE_AFTER <= now)
        });
        overdue.map(|(reason, _)| reason).collect()
    }

    /// Ends the pause for one reason. True if there was one.
    pub fn lift(&mut self, reason: Reason) -> bool {
        self.active.remove(&reason).is_some()
    }

    /// Ends the pauses for these reasons whose next probe was due at `sent_at`.
    fn end_due(&mut self, sent_at: Instant, is_affected: impl Fn(Reason) -> bool) -> Vec<Reason> {
        let ended = self.active.extract_if(.., |reason, pause| {
            is_affected(*reason) && sent_at >= pause.until.unwrap_or(pause.since)
        });
        ended.map(|(reason, _)| reason).collect()
    }

    /// Sets when the account's day ends; `None`: unknown.
    pub fn set_day_end(&mut self, ends: Option<Instant>) {
        self.day_ends = ends;
        if let (Some(ends), Some(pause)) = (ends, self.active.get_mut(&Reason::DailyQuota)) {
            pause.ends = Some(ends);
            pause.until = pause.until.map(|until| until.min(ends));
        }
    }

    /// Takes over a pause that an earlier process saved. No probe is sent at once, because a process that restarts in a
    /// loop would send one at each start. `ends`: when it ends, if known. True if the pause is new.
    pub fn adopt(&mut self, reason: Reason, message: &str, ends: Option<Instant>, now: Instant) -> bool {
        if self.active.contains_key(&reason) {
            return false;
        }
        let wait = match reason {
            Reason::DailyQuota => DAILY_RETRY_INTERVAL,
            _ => self.retry.equal_jitter(1, 1.0, OPERATOR_RETRY_INTERVAL),
        };
        let until = Some(ends.map_or(now + wait, |ends| ends.min(now + wait)));
        let pause = Pause { since: now, until, ends, message: message.to_owned(), failures: 1 };
        self.active.insert(reason, pause);
        self.probe_size = Some(1);
        true
    }

    /// The pause for this reason, if there is one.
    #[must_use]
    pub fn pause_for(&self, reason: Reason) -> Option<&Pause> {
        self.active.get(&reason)
    }

    /// The cause may be fixed: makes the next probe due now.
    pub fn retry_now(&mut self, reason: Reason, now: Instant) {
        if let Some(until) = self.active.get_mut(&reason).and_then(|pause| pause.until.as_mut()) {
            *until = now.min(*until);
        }
    }

    /// Sets or removes the operator's pause. True if that is a change.
    pub fn set_operator(&mut self, message: Option<&str>, now: Instant) -> bool {
        match message {
            Some(message)
                if self.active.get(&Reason::Operator).is_some_and(|pause| pause.message == message) =>
            {
                false
            }
            Some(message) => {
                let pause =
                    Pause { since: now, until: None, ends: None, message: message.to_owned(), failures: 0 };
                self.active.insert(Reason::Operator, pause);
                true
            }
            None => self.active.remove(&Reason::Operator).is_some(),
        }
    }

    /// Which requests may be sent now.
    #[must_use]
    pub fn gate(&self, now: Instant) -> Gate {
        if self.active.values().any(|pause| pause.until.is_none()) {
            return Gate::Closed(None);
        }
        match self.active.values().filter_map(|pause| pause.until).max() {
            Some(until) if until > now => Gate::Closed(Some(until)),
            _ => Gate::Open {
                courses: self.probe_size.unwrap_or(MAX_COURSES),
                concurrent: self.probe_size.is_none(),
            },
        }
    }

    /// The pauses in effect: first those without a probe, then those whose cause an operator must fix, then the longest.
    #[must_use]
    pub fn active(&self) -> Vec<(Reason, &Pause)> {
        let mut active: Vec<_> = self.active.iter().map(|(reason, pause)| (*reason, pause)).collect();
        active.sort_by_key(|(reason, pause)| {
            (pause.until.is_some(), !reason.needs_operator(), Reverse(pause.ends.max(pause.until)))
        });
        active
    }
}

#[cfg(test)]
mod tests;
