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
    /// The property that carries the course key does not exist.
    Schema,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Operator,
        Self::Token,
        Self::Scopes,
        Self::ObjectType,
        Self::IntervalQuota,
        Self::DailyQuota,
        Self::Unavailable,
        Self::Schema,
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
        }
    }

    /// Whether the account itself forbids the work, so that only a person can mend it.
    #[must_use]
    pub fn needs_a_person(self) -> bool {
        match self {
            Self::Operator | Self::Token | Self::Scopes | Self::ObjectType | Self::Schema => true,
            Self::IntervalQuota | Self::DailyQuota | Self::Unavailable => false,
        }
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
const UNAVAILABLE_MAX: Duration = Duration::from_mins(1);
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
        self.active.insert(
            trouble.reason,
            Pause { since, until: Some(until), ends, message: trouble.message.clone(), strikes },
        );
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
            Reason::Operator | Reason::Token | Reason::Scopes | Reason::ObjectType | Reason::Schema => {
                self.retry.equal_jitter(strikes, jitter, PERSON_INTERVAL)
            }
        }
    }

    /// A request that started at `sent_at` was answered as it should be. Returns the reasons that end. Only
    /// one that `creates` proves that creating works, and widens the gate.
    pub fn success(&mut self, sent_at: Instant, creates: bool) -> Vec<Reason> {
        let ended: Vec<_> = self
            .active
            .iter()
            .filter(|(reason, pause)| {
                **reason != Reason::Operator && sent_at >= pause.until.unwrap_or(pause.since)
            })
            .map(|(reason, _)| *reason)
            .collect();
        for reason in &ended {
            self.active.remove(reason);
        }
        if self.active.is_empty() && creates {
            self.outage = 0;
            self.probe = self.probe.and_then(|courses| match courses {
                ..10 => Some(10),
                10..MAX_COURSES => Some(MAX_COURSES),
                MAX_COURSES.. => None,
            });
        }
        ended
    }

    /// When the account's day is over is known, or no longer.
    pub fn day_ends(&mut self, ends: Option<Instant>) {
        self.day_ends = ends;
        if let (Some(ends), Some(pause)) = (ends, self.active.get_mut(&Reason::DailyQuota)) {
            pause.ends = Some(ends);
            pause.until = pause.until.map(|until| until.min(ends));
        }
    }

    /// The day is used up, as an earlier process knew. It ends at `ends`; nothing is tried at once, lest a
    /// process that falls again and again tries each time. True where that is news.
    pub fn day_was_used_up(&mut self, message: &str, ends: Instant, now: Instant) -> bool {
        if self.active.contains_key(&Reason::DailyQuota) {
            return false;
        }
        let until = Some(ends.min(now + DAILY_INTERVAL));
        let pause = Pause { since: now, until, ends: Some(ends), message: message.to_owned(), strikes: 1 };
        self.active.insert(Reason::DailyQuota, pause);
        self.probe = Some(1);
        true
    }

    /// The used-up day is over, by a person's word or by its time. True where that is a change. What
    /// follows is tried out as ever.
    pub fn day_is_over(&mut self) -> bool {
        self.active.remove(&Reason::DailyQuota).is_some()
    }

    /// The pause of a used-up day, if it holds.
    #[must_use]
    pub fn used_up_day(&self) -> Option<&Pause> {
        self.active.get(&Reason::DailyQuota)
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
mod tests {
    use super::*;

    fn pauses() -> Pauses {
        Pauses::new(RetryPolicy::default(), Duration::from_secs(10))
    }

    fn trouble(reason: Reason) -> Trouble {
        Trouble { reason, retry_after: None, message: "why".into() }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_outage_closes_the_gate_and_a_probe_opens_it_step_by_step() {
        let (mut pauses, start) = (pauses(), Instant::now());
        assert!(pauses.trouble(&trouble(Reason::Unavailable), start, start, 0.5));
        assert!(matches!(pauses.gate(start), Gate::Closed(Some(until)) if until > start));
        let later = start + 60 * SECOND;
        let mut widths = Vec::new();
        for _ in 0..4 {
            let Gate::Open { courses, concurrent } = pauses.gate(later) else { panic!("closed") };
            widths.push((courses, concurrent));
            pauses.success(later, true);
        }
        assert_eq!(widths, [(1, false), (10, false), (100, false), (100, true)]);
    }

    #[test]
    fn a_read_ends_an_outage_and_proves_nothing_of_creating() {
        let (mut pauses, mut now) = (pauses(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..5 {
            pauses.trouble(&trouble(Reason::Unavailable), now, now, 0.5);
            let Gate::Closed(Some(until)) = pauses.gate(now) else { panic!("open") };
            waits.push(until - now);
            now = until;
            assert_eq!(pauses.success(now, false), [Reason::Unavailable]);
            assert_eq!(pauses.gate(now), Gate::Open { courses: 1, concurrent: false });
        }
        assert!(waits.is_sorted() && waits[4] > 8 * waits[0], "{waits:?}");
    }

    #[test]
    fn what_was_under_way_neither_lengthens_nor_ends_a_pause() {
        let (mut pauses, start) = (pauses(), Instant::now());
        pauses.trouble(&trouble(Reason::Unavailable), start, start + SECOND, 0.0);
        let gate = pauses.gate(start + SECOND);
        assert!(!pauses.trouble(&trouble(Reason::Unavailable), start, start + SECOND, 0.9));
        assert!(pauses.success(start, true).is_empty());
        assert_eq!(pauses.gate(start + SECOND), gate);
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        let (mut pauses, mut now) = (pauses(), Instant::now());
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            pauses.trouble(&trouble(Reason::Unavailable), now, now, 0.999);
            let Gate::Closed(Some(until)) = pauses.gate(now) else { panic!("open") };
            assert!(until - now >= longest.min(UNAVAILABLE_MAX / 2), "a wait shrank");
            longest = until - now;
            now = until;
        }
        assert!(longest <= UNAVAILABLE_MAX);
    }

    #[test]
    fn a_mend_is_tried_at_once_and_by_a_single_course() {
        let (mut pauses, start) = (pauses(), Instant::now());
        pauses.trouble(&trouble(Reason::Token), start, start, 0.9);
        pauses.try_again(Reason::Scopes, start);
        assert!(matches!(pauses.gate(start), Gate::Closed(_)));
        pauses.try_again(Reason::Token, start);
        assert_eq!(pauses.gate(start), Gate::Open { courses: 1, concurrent: false });
        assert_eq!(pauses.success(start, true), [Reason::Token]);
    }

    #[test]
    fn hubspots_own_word_is_kept_within_reason() {
        let start = Instant::now();
        for (asked, at_least, at_most) in [(30, 30, 31), (1_000_000_000, 3_600, 3_601), (0, 10, 11)] {
            let mut pauses = pauses();
            let asked = Some(Duration::from_secs(asked));
            pauses.trouble(
                &Trouble { retry_after: asked, ..trouble(Reason::IntervalQuota) },
                start,
                start,
                0.9,
            );
            let Gate::Closed(Some(until)) = pauses.gate(start) else { panic!("open") };
            let wait = (until - start).as_secs();
            assert!((at_least..=at_most).contains(&wait), "{asked:?} gave {wait} s");
        }
    }

    #[test]
    fn a_quota_pause_is_not_followed_by_a_probe() {
        let (mut pauses, start) = (pauses(), Instant::now());
        pauses.trouble(&trouble(Reason::IntervalQuota), start, start, 0.0);
        assert_eq!(pauses.gate(start + 11 * SECOND), Gate::Open { courses: 100, concurrent: true });
    }

    #[test]
    fn a_used_up_day_is_tried_now_and_then_until_it_ends() {
        let (mut pauses, start) = (pauses(), Instant::now());
        let minutes = |minutes| Duration::from_mins(minutes);
        let next = |pauses: &Pauses, now| match pauses.gate(now) {
            Gate::Closed(Some(until)) => until - now,
            other => panic!("{other:?}"),
        };
        pauses.trouble(&trouble(Reason::DailyQuota), start, start, 0.0);
        assert_eq!(next(&pauses, start), minutes(15), "nobody knows its end");
        pauses.day_ends(Some(start + minutes(20)));
        assert_eq!(next(&pauses, start), minutes(15));
        let mut now = start + minutes(15);
        let said = Trouble { retry_after: Some(SECOND), ..trouble(Reason::DailyQuota) };
        assert!(!pauses.trouble(&said, now, now, 0.9), "a try that fails is no news");
        assert_eq!(next(&pauses, now), minutes(5), "it ends before the next try");
        now = start + minutes(20);
        assert_eq!(pauses.gate(now), Gate::Open { courses: 1, concurrent: false });
        // HubSpot's midnight is a little later, and ours is now told to be tomorrow's.
        pauses.day_ends(Some(now + minutes(24 * 60)));
        pauses.trouble(&trouble(Reason::DailyQuota), now, now, 0.0);
        assert_eq!(next(&pauses, now), minutes(15), "no day is lost by a clock that differs");
        now += minutes(15);
        assert_eq!(pauses.success(now, true), [Reason::DailyQuota]);
    }

    #[test]
    fn a_restart_goes_on_with_the_used_up_day_and_tries_nothing_at_once() {
        let (mut pauses, start) = (pauses(), Instant::now());
        assert!(pauses.day_was_used_up("why", start + 3600 * SECOND, start));
        assert!(!pauses.day_was_used_up("why", start + 3600 * SECOND, start));
        assert_eq!(pauses.gate(start), Gate::Closed(Some(start + DAILY_INTERVAL)));
        assert!(pauses.day_is_over());
        assert_eq!(pauses.gate(start), Gate::Open { courses: 1, concurrent: false });
        assert!(!pauses.day_is_over());
    }

    #[test]
    fn the_reserve_of_the_day_is_left_to_others() {
        let at = |daily, left| {
            let quota = QuotaHeaders { daily, daily_remaining: left, ..QuotaHeaders::default() };
            reserve_reached(&quota, |daily| daily / 20).map(|trouble| trouble.reason)
        };
        assert_eq!(at(Some(1000), Some(51)), None);
        assert_eq!(at(Some(1000), Some(50)), Some(Reason::DailyQuota));
        assert_eq!(at(None, None), None, "OAuth's answers do not tell");
        assert_eq!(at(Some(10), Some(0)), None, "without a reserve the day ends with HubSpot's own word");
    }

    #[test]
    fn only_a_person_ends_a_persons_pause() {
        let (mut pauses, start) = (pauses(), Instant::now());
        assert!(pauses.operator(Some("spring cleaning"), start));
        assert!(!pauses.operator(Some("spring cleaning"), start));
        assert!(pauses.success(start + SECOND, true).is_empty());
        assert_eq!(pauses.gate(start + 3600 * SECOND), Gate::Closed(None));
        assert!(pauses.operator(None, start));
        assert_eq!(pauses.gate(start), Gate::Open { courses: 100, concurrent: true });
    }
}
