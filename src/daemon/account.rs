//! What HubSpot says against the whole account: the pauses, told once in log and metric.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use tokio::sync::Notify;

use crate::config::Percent;
use crate::policy::answer::{Exchange, QuotaHeaders};
use crate::policy::day::{self, Agree, Day, UsedUp};
use crate::policy::interpret::Signal;
use crate::policy::pause::{Gate, Pauses, Reason, Trouble, reserve_reached};
use crate::policy::retry::RetryPolicy;
use crate::telemetry::metrics::{Metrics, Window};

/// The state of one account.
#[derive(Debug)]
pub struct Account {
    pauses: Mutex<Pauses>,
    quota: Mutex<QuotaHeaders>,
    day: Mutex<KnownDay>,
    changed: Notify,
    news: Notify,
    metrics: Arc<Metrics>,
    daily_reserve: Percent,
}

/// What is known of the account's day.
#[derive(Debug, Default)]
struct KnownDay {
    day: Day,
    /// When HubSpot was last asked.
    asked_at: Option<Instant>,
    /// The row of a used-up day as it was last written or read.
    noted: Option<UsedUp>,
}

/// How often HubSpot is asked when the day ends, until it tells.
const ASK_AGAIN: Duration = Duration::from_mins(15);
/// The day's end is asked for while so much of the day is left beyond the reserve: one part in so many. Later
/// there might be nobody to answer.
const ASK_AHEAD: u64 = 5;

/// A pause as `status`, `/readyz` and the leader's report show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PauseView {
    /// Why.
    pub reason: &'static str,
    /// What happened.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
    /// When the next try is due; absent where only a person ends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When it is over, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
}

impl Account {
    pub(super) fn new(
        retry: RetryPolicy,
        per: Duration,
        daily_reserve: Percent,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            pauses: Mutex::new(Pauses::new(retry, per)),
            quota: Mutex::default(),
            day: Mutex::default(),
            changed: Notify::new(),
            news: Notify::new(),
            metrics,
            daily_reserve,
        }
    }

    fn pauses(&self) -> MutexGuard<'_, Pauses> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What may be sent now.
    pub(super) fn gate(&self) -> Gate {
        self.pauses().gate(Instant::now())
    }

    /// Waits until a pause began or ended. A change since the last call counts.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits until a reason to pause came or went, for whoever tells others. News since the last call count.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// Whether the next try after an outage has been due for long.
    pub(super) fn is_overdue(&self) -> bool {
        self.pauses().is_overdue(Instant::now())
    }

    /// Takes in what the request that started at `sent_at` says of the account: by its answer's meaning
    /// and by the quota headers, where an answer came.
    pub(super) fn heard(&self, signal: &Signal, quota: Option<&QuotaHeaders>, sent_at: Instant) {
        let reserve = quota.and_then(|quota| {
            self.quota_seen(quota);
            reserve_reached(quota, |daily| self.daily_reserve.of(daily))
        });
        // Before what ends pauses, which must not end what this prolongs.
        match (signal, &reserve) {
            (Signal::Pause(trouble), _) | (_, Some(trouble)) => self.trouble(trouble, sent_at),
            (Signal::Proceed | Signal::Reachable | Signal::Answering | Signal::Silence, None) => {}
        }
        let ended = match signal {
            Signal::Proceed => self.pauses().success(sent_at, true),
            Signal::Reachable => self.pauses().success(sent_at, false),
            Signal::Answering => self.pauses().answered(sent_at),
            Signal::Pause(_) | Signal::Silence => Vec::new(),
        };
        for reason in ended {
            self.ended(reason);
        }
        self.changed.notify_one();
    }

    fn trouble(&self, trouble: &Trouble, sent_at: Instant) {
        let is_news = {
            let (mut pauses, now) = (self.pauses(), Instant::now());
            if trouble.reason == Reason::DailyQuota {
                let ends = pauses.used_up_day().and_then(|pause| pause.ends);
                if ends.is_none_or(|ends| ends <= now) {
                    pauses.day_ends(self.day_left().map(|left| now + left));
                }
            }
            pauses.trouble(trouble, sent_at, now, fastrand::f64())
        };
        if is_news {
            self.began(trouble.reason, &trouble.message);
        }
    }

    fn began(&self, reason: Reason, detail: &str) {
        self.metrics.paused(reason, true);
        self.news.notify_one();
        let view = self.view_of(|other| other == reason).into_iter().next();
        let ends = view.and_then(|view| view.ends).map(|ends| ends.to_string());
        if reason.needs_a_person() {
            tracing::error!(reason = reason.as_str(), detail, "paused: a person has to mend this");
        } else {
            tracing::warn!(reason = reason.as_str(), detail, ends, "paused");
        }
    }

    fn ended(&self, reason: Reason) {
        self.metrics.paused(reason, false);
        self.news.notify_one();
        tracing::info!(reason = reason.as_str(), "sending again");
    }

    fn day(&self) -> MutexGuard<'_, KnownDay> {
        self.day.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn day_left(&self) -> Option<Duration> {
        self.day().day.left(Timestamp::now(), fastrand::f64())
    }

    /// Whether HubSpot is to be asked when the account's day ends: it matters soon, and nobody knows. True
    /// at most once in a while.
    pub(super) fn wants_day(&self) -> bool {
        let quota = self.quota();
        let is_low = quota.daily.zip(quota.daily_remaining).is_some_and(|(daily, left)| {
            left <= self.daily_reserve.of(daily).saturating_add(daily / ASK_AHEAD)
        });
        let may_ask = match self.pauses().active().as_slice() {
            [] => is_low,
            // The row of an earlier process may have told.
            [(Reason::DailyQuota, pause)] => pause.ends.is_none(),
            _ => false,
        };
        let mut day = self.day();
        let is_time = day.asked_at.is_none_or(|at| at.elapsed() >= ASK_AGAIN);
        let is_wanted = may_ask && is_time && day.day.end(Timestamp::now()).is_none();
        if is_wanted {
            day.asked_at = Some(Instant::now());
        }
        is_wanted
    }

    /// HubSpot says when the daily quota starts afresh. False where that cannot be.
    pub(super) fn learn_reset(&self, resets_at: Timestamp) -> bool {
        let is_credible = self.day().day.learn_reset(resets_at, Timestamp::now());
        if is_credible {
            self.day_learnt();
        }
        is_credible
    }

    /// The account's time zone.
    pub(super) fn learn_zone(&self, zone: TimeZone) {
        self.day().day.learn_zone(zone);
        self.day_learnt();
    }

    fn day_learnt(&self) {
        let left = self.day_left();
        let mut pauses = self.pauses();
        pauses.day_ends(left.map(|left| Instant::now() + left));
        drop(pauses);
        let end = self.day().day.end(Timestamp::now()).map(|end| end.to_string());
        tracing::info!(end, "the account's day");
        self.changed.notify_one();
    }

    /// The used-up day as this process knows it, and why it stopped.
    pub(super) fn used_up_day(&self) -> Option<(String, UsedUp)> {
        let pauses = self.pauses();
        pauses.used_up_day().map(|pause| (pause.message.clone(), UsedUp { ends: pause.ends }))
    }

    /// What is to be done so that the row of a used-up day, which says `message` and holds for `row_left`, and
    /// this process agree. What concerns this process alone is done.
    pub(super) fn agree(&self, message: &str, row_left: Option<Duration>) -> Agree {
        let noted = self.day().noted;
        let work = day::agree(self.used_up_day().map(|(_, used_up)| used_up), noted, row_left.is_some());
        match work {
            Agree::Adopt => {
                let now = Instant::now();
                let ends = now + row_left.unwrap_or_default();
                if self.pauses().day_was_used_up(message, ends, now) {
                    self.began(Reason::DailyQuota, message);
                }
                self.noted(Some(UsedUp { ends: Some(ends) }));
            }
            Agree::Lift => {
                if self.pauses().day_is_over() {
                    self.ended(Reason::DailyQuota);
                }
                self.noted(None);
                self.changed.notify_one();
            }
            Agree::Already if row_left.is_none() => self.noted(None),
            Agree::Already | Agree::Write | Agree::Erase => {}
        }
        work
    }

    /// The row of a used-up day says so now.
    pub(super) fn noted(&self, row: Option<UsedUp>) {
        self.day().noted = row;
    }

    /// Takes in what an answer that means nothing else says of the quota.
    pub(super) fn quota_heard(&self, exchange: &Exchange) {
        if let Some(quota) = exchange.quota() {
            self.quota_seen(quota);
        }
    }

    /// Something was done about a reason: it is tried again at once.
    pub(super) fn try_again(&self, reason: Reason) {
        self.pauses().try_again(reason, Instant::now());
        self.changed.notify_one();
    }

    /// Whether a reason holds.
    pub(super) fn holds(&self, reason: Reason) -> bool {
        self.pauses().active().iter().any(|(active, _)| *active == reason)
    }

    /// Takes in what a person said: `Some` pauses, `None` resumes.
    pub(super) fn operator(&self, word: Option<&str>) {
        if self.pauses().operator(word, Instant::now()) {
            self.metrics.paused(Reason::Operator, word.is_some());
            match word {
                Some(detail) => tracing::warn!(reason = Reason::Operator.as_str(), detail, "paused"),
                None => tracing::info!(reason = Reason::Operator.as_str(), "sending again"),
            }
            self.changed.notify_one();
            self.news.notify_one();
        }
    }

    fn quota_seen(&self, seen: &QuotaHeaders) {
        if let Some(left) = seen.remaining {
            self.metrics.quota_remaining(Window::Interval, u64::from(left));
        }
        if let Some(left) = seen.daily_remaining {
            self.metrics.quota_remaining(Window::Daily, left);
        }
        let mut quota = self.quota.lock().unwrap_or_else(PoisonError::into_inner);
        *quota = QuotaHeaders {
            max: seen.max.or(quota.max),
            remaining: seen.remaining.or(quota.remaining),
            interval_ms: seen.interval_ms.or(quota.interval_ms),
            daily: seen.daily.or(quota.daily),
            daily_remaining: seen.daily_remaining.or(quota.daily_remaining),
        };
    }

    /// The quota headers seen last.
    #[must_use]
    pub fn quota(&self) -> QuotaHeaders {
        *self.quota.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reasons that stop the account and that it cannot end by itself.
    #[must_use]
    pub fn stops(&self) -> Vec<PauseView> {
        self.view_of(|reason| match reason {
            Reason::Token | Reason::Scopes | Reason::ObjectType | Reason::Schema | Reason::DailyQuota => true,
            Reason::Operator | Reason::IntervalQuota | Reason::Unavailable => false,
        })
    }

    /// The pauses that hold.
    #[must_use]
    pub fn view(&self) -> Vec<PauseView> {
        self.view_of(|_| true)
    }

    fn view_of(&self, is_wanted: impl Fn(Reason) -> bool) -> Vec<PauseView> {
        let (now, clock) = (Instant::now(), Timestamp::now());
        let wall = |at: Instant| match at.checked_duration_since(now) {
            Some(ahead) => clock.checked_add(ahead),
            None => clock.checked_sub(now.saturating_duration_since(at)),
        };
        self.pauses()
            .active()
            .into_iter()
            .filter(|(reason, _)| is_wanted(*reason))
            .map(|(reason, pause)| PauseView {
                reason: reason.as_str(),
                message: pause.message.clone(),
                since: wall(pause.since).unwrap_or(clock),
                until: pause.until.and_then(|until| wall(until).ok()),
                ends: pause.ends.and_then(|ends| wall(ends).ok()),
            })
            .collect()
    }
}
