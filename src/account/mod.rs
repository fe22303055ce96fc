//! The state of one HubSpot account in this process: pauses (`gate`, `durable_pauses`), quota (`quota`, `rate_limiter`),
//! the evidence that attributes failures, and the unique property.
//!
//! Applies the decisions of `policy`, and logs and counts each change once. Sends no request and runs no statement.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::config::{Percent, RateLimit};
use crate::hubspot::api::response::QuotaHeaders;
use crate::policy::attribution::{Attribution, ClaimOrder, Decision, GateEffect, Lane, SentRequest};
use crate::policy::backoff::RetryPolicy;
use crate::policy::day::StoredPause;
use crate::policy::gate::{Pauses, Reason};
use crate::policy::lookup_size::{LookupFailure, LookupSize};
use crate::policy::signal::{Interpretation, Signal};
use crate::telemetry::events;
use crate::telemetry::metrics::{Metrics, Operation};

mod durable_pauses;
mod gate;
mod quota;
pub mod rate_limiter;
pub(crate) mod unique_property;
mod view;

pub(crate) use durable_pauses::DURABLE_REASONS;

use gate::Gates;
use quota::KnownDay;
use rate_limiter::RateLimiter;
use unique_property::UniqueProperty;

/// The state of one account.
#[derive(Debug)]
pub struct Account {
    gates: Mutex<Gates>,
    attribution: Mutex<Attribution>,
    lookup_size: Mutex<LookupSize>,
    quota: Mutex<QuotaHeaders>,
    day: Mutex<KnownDay>,
    /// The rows of durable pauses, as they were last written or read.
    stored_pauses: Mutex<BTreeMap<Reason, StoredPause>>,
    /// Notified when the gate may have changed.
    gate_changes: Notify,
    /// Notified when a pause or a reservation began or ended, so that the leader reports it.
    pause_changes: Notify,
    /// Permits to send within the quota.
    pub rate_limiter: RateLimiter,
    pub(crate) unique_property: UniqueProperty,
    metrics: Arc<Metrics>,
    daily_reserve: Percent,
}

/// The settings that concern the account.
#[derive(Debug, Clone)]
pub(crate) struct AccountSettings {
    pub retry: RetryPolicy,
    pub max_size: u16,
    pub rate_limit: RateLimit,
    pub max_in_flight: usize,
}

impl Account {
    pub(crate) fn new(settings: &AccountSettings, metrics: Arc<Metrics>) -> Self {
        let pauses = Pauses::new(settings.retry.clone(), settings.rate_limit.per);
        Self {
            gates: Mutex::new(Gates {
                shared: pauses.clone(),
                create: pauses.clone(),
                archive: pauses.clone(),
                read: pauses,
            }),
            attribution: Mutex::new(Attribution::new(settings.max_size)),
            lookup_size: Mutex::default(),
            quota: Mutex::default(),
            day: Mutex::default(),
            stored_pauses: Mutex::default(),
            gate_changes: Notify::new(),
            pause_changes: Notify::new(),
            rate_limiter: RateLimiter::new(settings.rate_limit, settings.max_in_flight),
            unique_property: UniqueProperty::default(),
            metrics,
            daily_reserve: settings.rate_limit.daily_reserve,
        }
    }

    fn attribution(&self) -> MutexGuard<'_, Attribution> {
        self.attribution.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_lookup_size(&self) -> MutexGuard<'_, LookupSize> {
        self.lookup_size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a term of the lease. Its first request is a probe, and earlier evidence is dropped, because another instance
    /// may have sent requests in between.
    pub(crate) fn begin_term(&self) {
        self.gates().create.begin_term();
        self.attribution().begin_term();
    }

    /// The largest number of keys in the next look-up.
    pub(crate) fn lookup_size(&self) -> u16 {
        self.lock_lookup_size().size()
    }

    /// The batch size in use: smaller than configured while large requests fail.
    pub(crate) fn batch_size(&self) -> u16 {
        self.attribution().batch_size()
    }

    /// The courses that the next probe should contain.
    pub(crate) fn next_probe(&self) -> (Lane, ClaimOrder) {
        self.attribution().next_probe()
    }

    /// Waits until the gate may have changed. A change since the last call counts.
    pub(crate) async fn gate_changed(&self) {
        self.gate_changes.notified().await;
    }

    /// Waits until a pause or a reservation begins or ends that must be reported. A change since the last call counts.
    pub(crate) async fn pause_changed(&self) {
        self.pause_changes.notified().await;
    }

    /// Leaves so many requests of each window to commands of course-sync. A change is reported at once: they wait for it.
    pub(crate) fn set_reserved(&self, requests: u32) {
        if self.rate_limiter.set_reserved(requests) {
            self.pause_changes.notify_one();
        }
    }

    /// Applies the end of a request with courses to evidence, pauses and quota.
    pub(crate) fn on_write_response(
        &self,
        sent: SentRequest,
        interpretation: &Interpretation,
        quota: Option<&QuotaHeaders>,
    ) -> Decision {
        let is_paused = self.is_create_paused();
        let decision = self.attribution().on_response(sent, interpretation, is_paused, Instant::now());
        // Before the success below, which must not end a pause that these headers prolong.
        self.on_quota(quota, sent.began);
        match &decision.effect {
            GateEffect::Pause(incident) => self.begin_pause(Operation::Create, incident, sent.began),
            GateEffect::Probe => self.gates().create.require_probe(),
            GateEffect::Passed => self.record_success(Operation::Create, sent.began, true),
            GateEffect::Judged => self.record_success(Operation::Create, sent.began, false),
            GateEffect::None => {}
        }
        if let Some(courses) = decision.reduced_batch_size {
            tracing::warn!(event = events::BATCH_SIZE_REDUCED, courses, "batch size reduced");
        }
        self.gate_changes.notify_one();
        decision
    }

    /// Applies the end of a look-up of this many keys to pauses and quota. Returns how to treat the keys if it failed.
    pub(crate) fn on_lookup_response(
        &self,
        keys: usize,
        signal: &Signal,
        quota: Option<&QuotaHeaders>,
        began: Instant,
    ) -> Option<LookupFailure> {
        self.on_quota(quota, began);
        let failure = match signal {
            Signal::Passed | Signal::Judged => {
                self.lock_lookup_size().record_success();
                self.record_success(Operation::Read, began, false);
                None
            }
            Signal::Pause(incident) => {
                self.begin_pause(Operation::Read, incident, began);
                None
            }
            Signal::Failed(incident) => {
                let failure = self.lock_lookup_size().record_failure(keys);
                if failure == LookupFailure::SetAsideAndPause {
                    self.begin_pause(Operation::Read, incident, began);
                }
                if incident.reason == Reason::Token {
                    // Creates use the same token. A probe shows whether they still work.
                    self.gates().create.require_probe();
                }
                Some(failure)
            }
        };
        self.gate_changes.notify_one();
        failure
    }
}
