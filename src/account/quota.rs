//! The account's quota as HubSpot's headers report it, and the end of the account's day.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Account;
use crate::hubspot::api::response::{Exchange, QuotaHeaders};
use crate::policy::day::AccountDay;
use crate::policy::gate::{Reason, reserve_reached};
use crate::telemetry::events;
use crate::telemetry::metrics::{Operation, Window};

/// The account's day, as far as HubSpot reported it.
#[derive(Debug, Default)]
pub(super) struct KnownDay {
    day: AccountDay,
    /// When its end was last requested from HubSpot.
    requested_at: Option<Instant>,
}

/// The interval between two requests for the end of the day, until HubSpot reports it.
const DAY_END_REQUEST_INTERVAL: Duration = Duration::from_mins(15);
/// The end of the day is requested once less than this fraction (1/n) of the daily quota is left beyond the reserve.
/// HubSpot might refuse the request once the quota is used up.
const LOW_QUOTA_DIVISOR: u64 = 5;

impl Account {
    /// Stores the quota headers of a request, and pauses if only the daily reserve is left.
    pub(super) fn on_quota(&self, quota: Option<&QuotaHeaders>, began: Instant) {
        let Some(quota) = quota else { return };
        self.store_quota(quota);
        if let Some(incident) = reserve_reached(quota, |daily| self.daily_reserve.of(daily)) {
            self.begin_pause(Operation::Create, &incident, began);
        }
    }

    pub(super) fn day(&self) -> MutexGuard<'_, KnownDay> {
        self.day.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn day_left(&self) -> Option<Duration> {
        self.day().day.remaining(Timestamp::now(), fastrand::f64())
    }

    /// Whether to request the end of the account's day from HubSpot: the quota is low or used up, and the end is unknown.
    /// True at most once per [`DAY_END_REQUEST_INTERVAL`].
    pub(crate) fn should_request_day_end(&self) -> bool {
        let quota = self.quota();
        let is_low = quota.daily.zip(quota.daily_remaining).is_some_and(|(daily, left)| {
            left <= self.daily_reserve.of(daily).saturating_add(daily / LOW_QUOTA_DIVISOR)
        });
        let is_useful = {
            let gates = self.gates();
            match (gates.shared.active().as_slice(), gates.create.active().is_empty()) {
                ([], true) => is_low,
                // A pause that an earlier process saved may contain the end.
                ([(Reason::DailyQuota, pause)], true) => pause.ends.is_none(),
                _ => false,
            }
        };
        let mut day = self.day();
        let is_time = day.requested_at.is_none_or(|at| at.elapsed() >= DAY_END_REQUEST_INTERVAL);
        let is_due = is_useful && is_time && day.day.end(Timestamp::now()).is_none();
        if is_due {
            day.requested_at = Some(Instant::now());
        }
        is_due
    }

    /// Sets when the daily quota is reset, as HubSpot reported it. Ignores a time that is not plausible.
    pub(crate) fn set_day_end(&self, resets_at: Timestamp) {
        if !self.day().day.set_reset(resets_at, Timestamp::now()) {
            return;
        }
        let left = self.day_left();
        self.gates().shared.set_day_end(left.map(|left| Instant::now() + left));
        tracing::info!(
            event = events::DAILY_QUOTA_RESET_LEARNED,
            resets_at = %resets_at,
            "daily quota reset learned"
        );
        self.gate_changes.notify_one();
    }

    /// Stores the quota headers of a response, and has no other effect.
    pub(crate) fn observe_quota(&self, exchange: &Exchange) {
        if let Some(quota) = exchange.quota() {
            self.store_quota(quota);
        }
    }

    fn store_quota(&self, headers: &QuotaHeaders) {
        if let Some(left) = headers.remaining {
            self.metrics.set_quota_remaining(Window::Interval, u64::from(left));
        }
        if let Some(left) = headers.daily_remaining {
            self.metrics.set_quota_remaining(Window::Daily, left);
        }
        // A header that this response lacks keeps its last value.
        let mut quota = self.quota.lock().unwrap_or_else(PoisonError::into_inner);
        *quota = QuotaHeaders {
            max: headers.max.or(quota.max),
            remaining: headers.remaining.or(quota.remaining),
            interval_ms: headers.interval_ms.or(quota.interval_ms),
            daily: headers.daily.or(quota.daily),
            daily_remaining: headers.daily_remaining.or(quota.daily_remaining),
        };
    }

    /// The latest quota headers.
    #[must_use]
    pub fn quota(&self) -> QuotaHeaders {
        *self.quota.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
