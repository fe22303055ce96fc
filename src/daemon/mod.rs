//! The daemon: drives the edges and decides nothing itself.
//!
//! One task leads (`leader`), one loop claims (`engine`), each batch is sent and recorded by a task of
//! its own (`deliver`); doubts are looked up one batch at a time (`doubts`), and the unique property is verified before
//! anything is sent (`properties`). The holder of a permit of `pace` may send one request. `account` keeps the pauses
//! and what attributes failures.

pub mod account;
mod claim;
mod credentials;
mod deliver;
mod doubts;
mod durable;
mod engine;
pub mod explain;
mod leader;
pub mod lifecycle;
pub mod pace;
mod properties;
pub mod pulse;
mod question;
mod retention;
pub mod status;
mod summary;
mod tasks;
pub mod trouble;
mod verify;
mod wake;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use self::account::Account;
use self::lifecycle::Shutdown;
use self::pace::Pace;
use self::properties::UniqueProperty;
use self::pulse::Pulse;
use self::trouble::Trouble;
use self::wake::Wake;
use crate::config::{Config, Percent, Unconfirmed};
use crate::hubspot::Client;
use crate::outbox::Database;
use crate::policy::retry::RetryPolicy;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

/// What the daemon needs to know of the configuration, in the policy's terms.
#[derive(Debug, Clone)]
pub struct Settings {
    verify_first: bool,
    unique_property: Option<String>,
    unconfirmed: Unconfirmed,
    max_size: u16,
    max_bytes: u64,
    linger: Duration,
    request_timeout: Duration,
    retry: RetryPolicy,
    poll_interval: Duration,
    listen: bool,
    lease: Duration,
    settle: Duration,
    retention: Option<Duration>,
    history_retention: Option<Duration>,
    requests: u32,
    per: Duration,
    daily_reserve: Percent,
}

impl Settings {
    /// What the configuration says. `verify_first`: pending courses are looked up before they are sent.
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
            retention: config.outbox.retention,
            history_retention: config.outbox.history_retention,
            requests: config.rate_limit.requests,
            per: config.rate_limit.per,
            daily_reserve: config.rate_limit.daily_reserve,
        }
    }

    /// How long before its end a lease no longer permits to begin anything.
    fn margin(&self) -> Duration {
        (self.lease / 5).min(Duration::from_secs(5))
    }

    /// The longest that a request can take from its claim to its end: it begins within one timeout
    /// of the claim, and ends within another.
    fn send_window(&self) -> Duration {
        self.request_timeout * 2
    }

    /// The shorter of the retentions, a second at least: how often something may become old.
    fn shortest_retention(&self) -> Duration {
        let ages = [self.retention, self.history_retention].into_iter().flatten();
        ages.min().unwrap_or(Duration::MAX).max(Duration::from_secs(1))
    }

    /// The promise that this configuration gives, in plain words.
    fn promise(&self) -> &'static str {
        match (&self.unique_property, self.unconfirmed) {
            (Some(_), _) => {
                "each course is created exactly once: HubSpot refuses a second record with the same key, and what is \
                 in doubt is looked up by it"
            }
            (None, Unconfirmed::Hold) => {
                "no course is created twice, but one whose outcome is unknown is held for a person, because without \
                 hubspot.unique_property nothing can prove whether HubSpot created it"
            }
            (None, Unconfirmed::Resend) => {
                "each course is created at least once: one whose outcome is unknown is sent again and may be created \
                 twice, because hubspot.unique_property is not set and outbox.unconfirmed = resend"
            }
        }
    }
}

/// What all tasks of the daemon share.
#[derive(Debug)]
pub struct Shared {
    /// The database.
    pub database: Database,
    /// What is configured.
    pub settings: Settings,
    /// What HubSpot says against the account.
    pub account: Account,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The beginning and the end of the end.
    pub shutdown: Shutdown,
    traces: Traces,
    allowances: summary::Allowances,
    /// How the database is doing.
    pub trouble: Trouble,
    /// Whether the engine turns.
    pub pulse: Pulse,
    client: Client,
    pace: Pace,
    wake: Wake,
    unique: UniqueProperty,
    instance: Uuid,
    leads_since: Mutex<Option<Timestamp>>,
    has_verified: AtomicBool,
}

impl Shared {
    /// Puts the parts together. Nothing runs yet.
    #[must_use]
    pub fn new(
        settings: Settings,
        max_in_flight: usize,
        database: Database,
        client: Client,
        metrics: Arc<Metrics>,
        traces: Traces,
        shutdown: Shutdown,
    ) -> Arc<Self> {
        let account = Account::new(
            &settings.retry,
            settings.per,
            settings.max_size,
            settings.daily_reserve,
            Arc::clone(&metrics),
        );
        let pace = Pace::new(settings.requests, settings.per, max_in_flight);
        Arc::new(Self {
            database,
            account,
            metrics,
            shutdown,
            traces,
            allowances: summary::Allowances::default(),
            trouble: Trouble::default(),
            pulse: Pulse::default(),
            client,
            pace,
            wake: Wake::default(),
            unique: UniqueProperty::default(),
            instance: Uuid::new_v4(),
            leads_since: Mutex::default(),
            has_verified: AtomicBool::new(false),
            settings,
        })
    }

    /// Since when it leads; `None` while it does not.
    #[must_use]
    pub fn leads_since(&self) -> Option<Timestamp> {
        *self.leads_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It leads from now on, or no longer.
    fn leads(&self, leads: bool) {
        self.metrics.leader(leads);
        *self.leads_since.lock().unwrap_or_else(PoisonError::into_inner) = leads.then(Timestamp::now);
    }

    /// Requests that count against the account's rolling window now, as this instance knows.
    #[must_use]
    pub fn quota_used(&self) -> usize {
        self.pace.used()
    }

    /// Requests that a window may hold at present: fewer than configured while others use the account.
    #[must_use]
    pub fn quota_limit(&self) -> u32 {
        self.pace.limit()
    }
}

/// Runs until the shutdown is asked for, then finishes what is under way. True where everything
/// that was sent is recorded.
pub async fn run(shared: Arc<Shared>) -> bool {
    tracing::info!(
        holder = %shared.instance,
        requests = shared.settings.requests,
        per = ?shared.settings.per,
        promise = shared.settings.promise(),
        "started"
    );
    let leadership = leader::spawn(Arc::clone(&shared));
    let listener = shared.settings.listen.then(|| wake::spawn_listener(Arc::clone(&shared)));
    let retention = tokio::spawn(retention::run(Arc::clone(&shared), leadership.lease()));
    let telling = summary::spawn(Arc::clone(&shared));
    let credentials = tokio::spawn(credentials::watch(Arc::clone(&shared)));
    let finished = engine::run(&shared, leadership.lease()).await;
    leadership.hand_over().await;
    // They stop by themselves, the first at the next bite.
    drop((retention, credentials));
    if let Some(listener) = listener {
        listener.abort();
    }
    telling.end().await;
    tracing::info!(finished, "stopped");
    finished
}
