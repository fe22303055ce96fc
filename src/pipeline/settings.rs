//! The part of the configuration that the daemon uses, in the types of `policy`.

use std::time::Duration;

use crate::account::AccountSettings;
use crate::config::{Config, RateLimit, Unconfirmed};
use crate::policy::backoff::RetryPolicy;
use crate::policy::explain::UnconfirmedPolicy;

/// How long after a request with an unknown outcome HubSpot is asked once more, in multiples of `outbox.settle`: the request may
/// be executed late.
pub(crate) const RECHECK_FACTOR: u32 = 4;

/// The settings of the daemon.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(crate) verify_first: bool,
    pub(crate) unique_property: Option<String>,
    pub(crate) unconfirmed: Unconfirmed,
    pub(crate) max_size: u16,
    pub(crate) max_bytes: u64,
    /// The longest wait of a short batch.
    pub(crate) linger: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) poll_interval: Duration,
    pub(crate) listen: bool,
    pub(crate) lease: Duration,
    pub(crate) settle: Duration,
    pub(crate) archive_limit: u32,
    pub(crate) retention: Option<Duration>,
    pub(crate) history_retention: Option<Duration>,
    pub(crate) rate_limit: RateLimit,
}

impl Settings {
    /// Takes the settings from the configuration. `verify_first`: pending courses are looked up before they are sent.
    #[must_use]
    pub fn new(config: &Config, verify_first: bool) -> Self {
        Self {
            verify_first,
            unique_property: config.hubspot.unique_property.clone(),
            unconfirmed: config.outbox.unconfirmed,
            max_size: u16::try_from(config.batch.max_size).unwrap_or(u16::MAX),
            max_bytes: config.batch.max_bytes,
            linger: config.batch.linger,
            request_timeout: config.hubspot.request_timeout,
            retry: RetryPolicy {
                initial_interval: config.retry.initial_interval,
                max_interval: config.retry.max_interval,
                multiplier: config.retry.multiplier,
                max_attempts: config.retry.max_attempts,
            },
            poll_interval: config.outbox.poll_interval,
            listen: config.outbox.listen,
            lease: config.outbox.lease,
            settle: config.outbox.settle,
            archive_limit: config.outbox.archive_limit,
            retention: config.outbox.retention,
            history_retention: config.outbox.history_retention,
            rate_limit: config.rate_limit,
        }
    }

    pub(crate) fn account_settings(&self, max_in_flight: usize) -> AccountSettings {
        AccountSettings {
            retry: self.retry.clone(),
            max_size: self.max_size,
            rate_limit: self.rate_limit,
            max_in_flight,
        }
    }

    /// How a course with an unknown outcome is treated.
    #[must_use]
    pub fn unconfirmed_policy(&self) -> UnconfirmedPolicy {
        match (&self.unique_property, self.unconfirmed) {
            (Some(unique), _) => UnconfirmedPolicy::LookUp { by: unique.clone() },
            (None, Unconfirmed::Hold) => UnconfirmedPolicy::Hold,
            (None, Unconfirmed::Resend) => {
                UnconfirmedPolicy::Resend { max_attempts: self.retry.max_attempts }
            }
        }
    }

    /// Whether courses with an unknown outcome are sent again without proof that HubSpot has no record of them.
    pub(crate) fn accepts_duplicates(&self) -> bool {
        self.unique_property.is_none() && self.unconfirmed == Unconfirmed::Resend
    }

    /// How long before the end of a lease nothing new may start.
    pub(crate) fn lease_margin(&self) -> Duration {
        (self.lease / 5).min(Duration::from_secs(5))
    }

    /// The longest time from the claim of a request to its end: it starts within one timeout of the claim, and ends within
    /// another.
    pub(crate) fn send_window(&self) -> Duration {
        self.request_timeout * 2
    }

    /// The shorter of the two retentions, but at least a second: how often rows may reach their age limit.
    pub(crate) fn shortest_retention(&self) -> Duration {
        let ages = [self.retention, self.history_retention].into_iter().flatten();
        ages.min().unwrap_or(Duration::MAX).max(Duration::from_secs(1))
    }

    /// What this configuration guarantees about duplicates. Logged at the start.
    pub(crate) fn delivery_guarantee(&self) -> &'static str {
        match (&self.unique_property, self.unconfirmed) {
            (Some(_), _) => {
                "each course is created exactly once: HubSpot refuses a second record with the same key, and a course with \
                 an unknown outcome is looked up by its key"
            }
            (None, Unconfirmed::Hold) => {
                "no course is created twice: a course with an unknown outcome is held until an operator decides, because \
                 without hubspot.unique_property course-sync cannot check whether HubSpot created it"
            }
            (None, Unconfirmed::Resend) => {
                "each course is created at least once: a course with an unknown outcome is sent again and may be created \
                 twice, because hubspot.unique_property is not set and outbox.unconfirmed = resend"
            }
        }
    }
}
