//! When to stand still for the whole account, how to begin again, and how wide to open.
//!
//! One small state machine. Trouble closes the gate for its reason; the gate opens again by itself
//! when the reason's time is over, first for a single request of a single course, then wider with
//! every success. Imports `retry` for the backoff.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::answer::QuotaHeaders;
use super::batch::MAX_COURSES;
use super::retry::RetryPolicy;

/// Why nothing is sent: a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A person said so.
    Operator,
    /// HubSpot does not accept the access token.
    Token,
    /// The token lacks a scope.
    Scopes,
    /// The account has no such object type: courses are not switched on, or the path is wrong.
    ObjectType,
    /// The quota of the rolling window is used up.
    IntervalQuota,
    /// The quota of the day is used up.
    DailyQuota,
    /// HubSpot, or the way to it, is in trouble.
    Unavailable,
    /// The property that carries the course key cannot be used.
    Schema,
    /// HubSpot refuses every course for the same reason.
    Rejected,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Operator,
        Self::Token,
        Self::Scopes,
        Self::ObjectType,
        Self::IntervalQuota,
        Self::DailyQuota,
        Self::Unavailable,
        Self::Schema,
        Self::Rejected,
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
        }
    }

    /// Whether the account itself forbids the work, so that only a person can mend it.
    #[must_use]
    pub fn needs_a_person(self) -> bool {
        match self {
            Self::Operator
            | Self::Token
            | Self::Scopes
            | Self::ObjectType
            | Self::Schema
            | Self::Rejected => true,
            Self::IntervalQuota | Self::DailyQuota | Self::Unavailable => false,
        }
    }

    /// Whether a course may be the cause, so that it is held against the evidence of other requests.
    #[must_use]
    pub fn may_be_a_courses(self) -> bool {
        match self {
            Self::Token | Self::Scopes | Self::ObjectType | Self::Unavailable => true,
            Self::Operator | Self::IntervalQuota | Self::DailyQuota | Self::Schema | Self::Rejected => false,
        }
    }

    /// Whether it is one for all operations, rather than of the one that met it.
    #[must_use]
    pub fn is_shared(self) -> bool {
        matches!(self, Self::Operator | Self::IntervalQuota | Self::DailyQuota)
    }

    /// Whether it is about HubSpot or the way to it at present.
    fn is_of_the_world(self) -> bool {
        matches!(self, Self::IntervalQuota | Self::Unavailable)
    }

    /// Whether what follows is uncertain, so that it is tried out with little.
    fn is_followed_by_a_probe(self) -> bool {
        !matches!(self, Self::Operator | Self::IntervalQuota)
    }
}

/// What an answer says against the whole account or the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Why.
    pub reason: Reason,
    /// How long HubSpot asks to wait, if it does.
    pub retry_after: Option<Duration>,
    /// What happened, for a person.
    pub message: String,
}

/// Whether the account's day is used up as far as this integration may use it: `reserve` gives the
/// calls left to others, of so many a day.
#[must_use]
pub fn reserve_reached(quota: &QuotaHeaders, reserve: impl Fn(u64) -> u64) -> Option<Trouble> {
    let (daily, left) = (quota.daily?, quota.daily_remaining?);
    let kept = reserve(daily);
    (left <= kept && kept > 0).then(|| Trouble {
        reason: Reason::DailyQuota,
        retry_after: None,
        message: format!(
            "{left} of the account's {daily} calls a day are left, and {kept} are reserved for its other \
             integrations (rate_limit.daily_reserve)"
        ),
    })
}

/// One reason that holds at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// When it began.
    pub since: Instant,
    /// When the next try is due; `None` where only a person ends it.
    pub until: Option<Instant>,
    /// When it is over, where that is known: the end of a used-up day. Tries before it are hopes.
    pub ends: Option<Instant>,
    /// What happened, for a person.
    pub message: String,
    /// Tries that failed for this reason in a row.
    strikes: u32,
}

/// What may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Nothing, until then at least; `None`: until a person acts.
    Closed(Option<Instant>),
    /// This much at once.
    Open {
        /// Courses in one request.
        courses: u16,
        /// Whether a request may start while another is open.
        concurrent: bool,
    },
}

impl Gate {
    /// What both allow.
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

    /// Whether a request of so many courses, which was claimed earlier, may still be sent.
    #[must_use]
    pub fn lets(self, courses: usize) -> bool {
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
    /// Courses that the next probe may carry; `None` when fully open.
    probe: Option<u16>,
    /// When the account's day is over, where that is known.
    day_ends: Option<Instant>,
    /// Times that HubSpot was unavailable since it last created as it should.
    outage: u32,
}

/// The longest wait for a world that does not answer: longer gains nothing and delays recovery.
const UNAVAILABLE_MAX: Duration = Duration::from_secs(30);
/// How long after the next try was due an outage counts as over, where there is nothing to try it with.
const OVERDUE: Duration = UNAVAILABLE_MAX;
/// How often a fault that a person must mend is tried again, since the mend is not announced.
const PERSON_INTERVAL: Duration = Duration::from_mins(1);
/// How often a used-up day is tried again before it ends: somebody may have bought more of it, or it ends
/// earlier than was thought. A try is one request of one course.
const DAILY_INTERVAL: Duration = Duration::from_mins(15);
/// The longest wait that an answer can ask for. HubSpot's migrations of an account take up to a day and
/// are tried again meanwhile, which costs a request an hour; anything in between may have written it.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

impl Pauses {
    /// No pause. `interval` is the length of the account's rolling window.
    #[must_use]
    pub fn new(retry: RetryPolicy, interval: Duration) -> Self {
        Self { retry, interval, active: BTreeMap::new(), probe: None, day_ends: None, outage: 0 }
    }

    /// A request that started at `sent_at` met trouble. True where that is news: the reason did
    /// not hold before. `jitter` is drawn from 0..1.
    pub fn trouble(&mut self, trouble: &Trouble, sent_at: Instant, now: Instant, jitter: f64) -> bool {
        let before = self.active.get(&trouble.reason);
        // What was already under way when the pause began says nothing new.
        if before
            .is_some_and(|pause| sent_at < pause.since || pause.until.is_some_and(|until| sent_at < until))
        {
            return false;
        }
        let strikes = match trouble.reason {
            Reason::Unavailable => self.outage,
            _ => before.map_or(0, |pause| pause.strikes),
        };
        let strikes = strikes.saturating_add(1);
        let since = before.map_or(now, |pause| pause.since);
        let mut until = now + self.wait(trouble, strikes, jitter);
        // A day that is known to be used up keeps the end that was told, until that has passed.
        let ends = match trouble.reason {
            Reason::DailyQuota => {
                let told = before.and_then(|pause| pause.ends);
                told.filter(|ends| *ends > now).or(self.day_ends.filter(|ends| *ends > now))
            }
            _ => None,
        };
        if let Some(ends) = ends {
            until = until.min(ends);
        }
        let is_news = before.is_none();
        if trouble.reason == Reason::Unavailable {
            self.outage = strikes;
        }
        // Only reading the property's definition shows that it can be used; no create is spent on it.
        let until = (trouble.reason != Reason::Schema).then_some(until);
        self.active
            .insert(trouble.reason, Pause { since, until, ends, message: trouble.message.clone(), strikes });
        if trouble.reason.is_followed_by_a_probe() {
            self.probe = Some(1);
        }
        is_news
    }

    fn wait(&self, trouble: &Trouble, strikes: u32, jitter: f64) -> Duration {
        if let Some(asked) = trouble.retry_after.filter(|asked| !asked.is_zero()) {
            let asked = asked.min(RETRY_AFTER_MAX) + self.retry.backoff(1, jitter) / 4;
            // A day does not come back in seconds, whatever an answer says.
            return if trouble.reason == Reason::DailyQuota { asked.max(DAILY_INTERVAL) } else { asked };
        }
        match trouble.reason {
            Reason::IntervalQuota => self.interval + self.interval.mul_f64(jitter / 10.0),
            Reason::DailyQuota => DAILY_INTERVAL + DAILY_INTERVAL.mul_f64(jitter / 10.0),
            // Half of it is a floor: a herd is spread, and nobody comes back at once.
            Reason::Unavailable => self.retry.equal_jitter(strikes, jitter, UNAVAILABLE_MAX),
            Reason::Operator
            | Reason::Token
            | Reason::Scopes
            | Reason::ObjectType
            | Reason::Schema
            | Reason::Rejected => self.retry.equal_jitter(strikes, jitter, PERSON_INTERVAL),
        }
    }

    /// A term of the lease begins: its first request is a probe.
    pub fn begin_term(&mut self) {
        self.probe = Some(1);
    }

    /// The next request has to be a probe.
    pub fn probe(&mut self) {
        self.probe = Some(1);
    }

    /// A request that started at `sent_at` was answered as it should be: as many were created as asked for, or the
    /// courses were judged at least. Returns the reasons that end, and widens the gate. That courses are judged does
    /// not end a refusal of every course.
    pub fn success(&mut self, sent_at: Instant, creates: bool) -> Vec<Reason> {
        let ended = self.end(sent_at, |reason| match reason {
            Reason::Operator | Reason::Schema => false,
            Reason::Rejected => creates,
            Reason::Token
            | Reason::Scopes
            | Reason::ObjectType
            | Reason::IntervalQuota
            | Reason::DailyQuota
            | Reason::Unavailable => true,
        });
        if self.active.is_empty() {
            self.outage = 0;
            self.probe = self.probe.and_then(|courses| match courses {
                ..10 => Some(10),
                10..MAX_COURSES => Some(MAX_COURSES),
                MAX_COURSES.. => None,
            });
        }
        ended
    }

    /// Ends what is about the world and has had its next try due for long, because there is nothing to try it with.
    /// Returns the reasons. The next request is a probe all the same.
    pub fn expire(&mut self, now: Instant) -> Vec<Reason> {
        let is_long_due = |reason: &Reason, pause: &mut Pause| {
            reason.is_of_the_world() && pause.until.is_some_and(|until| until + OVERDUE <= now)
        };
        self.active.extract_if(.., is_long_due).map(|(reason, _)| reason).collect()
    }

    /// Ends one reason. True where it held.
    pub fn lift(&mut self, reason: Reason) -> bool {
        self.active.remove(&reason).is_some()
    }

    /// Ends those of these reasons whose next try was due when a request started.
    fn end(&mut self, sent_at: Instant, is_meant: impl Fn(Reason) -> bool) -> Vec<Reason> {
        let is_over = |reason: &Reason, pause: &mut Pause| {
            is_meant(*reason) && sent_at >= pause.until.unwrap_or(pause.since)
        };
        self.active.extract_if(.., is_over).map(|(reason, _)| reason).collect()
    }

    /// When the account's day is over is known, or no longer.
    pub fn day_ends(&mut self, ends: Option<Instant>) {
        self.day_ends = ends;
        if let (Some(ends), Some(pause)) = (ends, self.active.get_mut(&Reason::DailyQuota)) {
            pause.ends = Some(ends);
            pause.until = pause.until.map(|until| until.min(ends));
        }
    }

    /// A pause holds, as an earlier process noted. Nothing is tried at once: otherwise a process that ends again and
    /// again would try each time. `ends`: when it is over, where that is known. True where that is news.
    pub fn adopt(&mut self, reason: Reason, message: &str, ends: Option<Instant>, now: Instant) -> bool {
        if self.active.contains_key(&reason) {
            return false;
        }
        let wait = match reason {
            Reason::DailyQuota => DAILY_INTERVAL,
            _ => self.retry.equal_jitter(1, 1.0, PERSON_INTERVAL),
        };
        let until = Some(ends.map_or(now + wait, |ends| ends.min(now + wait)));
        let pause = Pause { since: now, until, ends, message: message.to_owned(), strikes: 1 };
        self.active.insert(reason, pause);
        self.probe = Some(1);
        true
    }

    /// The pause for this reason, if it holds.
    #[must_use]
    pub fn held(&self, reason: Reason) -> Option<&Pause> {
        self.active.get(&reason)
    }

    /// Something was done about a reason: the next try is due now.
    pub fn try_again(&mut self, reason: Reason, now: Instant) {
        if let Some(until) = self.active.get_mut(&reason).and_then(|pause| pause.until.as_mut()) {
            *until = now.min(*until);
        }
    }

    /// A person pauses (`Some`, with the reason given) or resumes. True where that is a change.
    pub fn operator(&mut self, word: Option<&str>, now: Instant) -> bool {
        match word {
            Some(message)
                if self.active.get(&Reason::Operator).is_some_and(|pause| pause.message == message) =>
            {
                false
            }
            Some(message) => {
                let pause =
                    Pause { since: now, until: None, ends: None, message: message.to_owned(), strikes: 0 };
                self.active.insert(Reason::Operator, pause);
                true
            }
            None => self.active.remove(&Reason::Operator).is_some(),
        }
    }

    /// What may be sent now.
    #[must_use]
    pub fn gate(&self, now: Instant) -> Gate {
        if self.active.values().any(|pause| pause.until.is_none()) {
            return Gate::Closed(None);
        }
        match self.active.values().filter_map(|pause| pause.until).max() {
            Some(until) if until > now => Gate::Closed(Some(until)),
            _ => Gate::Open { courses: self.probe.unwrap_or(MAX_COURSES), concurrent: self.probe.is_none() },
        }
    }

    /// The reasons that hold, the strongest first: a person's word, then what only a person can mend, then
    /// what lasts longest.
    #[must_use]
    pub fn active(&self) -> Vec<(Reason, &Pause)> {
        let mut active: Vec<_> = self.active.iter().map(|(reason, pause)| (*reason, pause)).collect();
        active.sort_by_key(|(reason, pause)| {
            (pause.until.is_some(), !reason.needs_a_person(), Reverse(pause.ends.max(pause.until)))
        });
        active
    }
}

#[cfg(test)]
mod tests;
