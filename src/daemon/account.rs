//! What HubSpot says against the whole account: the pauses, told once in log and metric.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Notify;

use crate::config::Percent;
use crate::policy::answer::QuotaHeaders;
use crate::policy::interpret::Signal;
use crate::policy::pause::{Gate, Pauses, Reason, Trouble, reserve_reached};
use crate::policy::retry::RetryPolicy;
use crate::telemetry::metrics::{Metrics, Window};

/// The state of one account.
#[derive(Debug)]
pub struct Account {
    pauses: Mutex<Pauses>,
    quota: Mutex<QuotaHeaders>,
    changed: Notify,
    metrics: Arc<Metrics>,
    daily_reserve: Percent,
}

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
            changed: Notify::new(),
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

    /// Takes in what the request that started at `sent_at` says of the account: by its answer's meaning
    /// and by the quota headers, where an answer came.
    pub(super) fn heard(&self, signal: &Signal, quota: Option<&QuotaHeaders>, sent_at: Instant) {
        let reserve = quota.and_then(|quota| {
            self.quota_seen(quota);
            reserve_reached(quota, |daily| self.daily_reserve.of(daily))
        });
        match (signal, reserve) {
            (Signal::Pause(trouble), _) => self.trouble(trouble, sent_at),
            (Signal::Proceed | Signal::Reachable | Signal::Silence, Some(reserve)) => {
                self.trouble(&reserve, sent_at)
            }
            (Signal::Silence, None) => {}
            (Signal::Proceed | Signal::Reachable, None) => {
                let creates = *signal == Signal::Proceed;
                for reason in self.pauses().success(sent_at, creates) {
                    self.metrics.paused(reason, false);
                    tracing::info!(reason = reason.as_str(), "sending again");
                }
            }
        }
        self.changed.notify_one();
    }

    fn trouble(&self, trouble: &Trouble, sent_at: Instant) {
        if !self.pauses().trouble(trouble, sent_at, Instant::now(), fastrand::f64()) {
            return;
        }
        self.metrics.paused(trouble.reason, true);
        let (reason, message) = (trouble.reason.as_str(), trouble.message.as_str());
        if trouble.reason.needs_a_person() {
            tracing::error!(reason, message, "paused: a person has to mend this");
        } else {
            tracing::warn!(reason, message, "paused");
        }
    }

    /// Takes in what a person said: `Some` pauses, `None` resumes.
    pub(super) fn operator(&self, word: Option<&str>) {
        if self.pauses().operator(word, Instant::now()) {
            self.metrics.paused(Reason::Operator, word.is_some());
            match word {
                Some(message) => tracing::warn!(reason = Reason::Operator.as_str(), message, "paused"),
                None => tracing::info!(reason = Reason::Operator.as_str(), "sending again"),
            }
            self.changed.notify_one();
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
            .filter(|(reason, _)| is_wanted(*reason))
            .map(|(reason, pause)| PauseView {
                reason: reason.as_str(),
                message: pause.message.clone(),
                since: wall(pause.since).unwrap_or(clock),
                until: pause.until.and_then(|until| wall(until).ok()),
            })
            .collect()
    }
}
