//! The state that the tasks of the daemon share, in parts, so that a function takes only the part that it uses.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio_util::task::TaskTracker;

use super::log_limits::LogLimits;
use super::settings::Settings;
use crate::account::Account;
use crate::course::InstanceId;
use crate::hubspot::Client;
use crate::outbox::Database;
use crate::runtime::database_health::{DatabaseHealth, DatabaseTask};
use crate::runtime::heartbeat::Heartbeat;
use crate::runtime::lifecycle::Shutdown;
use crate::runtime::unrecorded::Unrecorded;
use crate::runtime::wake::Wake;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

/// Everything that the tasks of one daemon share.
#[derive(Debug)]
pub struct Context {
    /// The settings that the daemon uses.
    pub settings: Settings,
    /// The database and HubSpot.
    pub edges: Edges,
    /// The state of the HubSpot account: pauses, quota, batch size, unique property.
    pub account: Account,
    /// Metrics, traces, limits on log lines, the health of the database.
    pub reporting: Reporting,
    /// Shutdown, wake-ups, heartbeat.
    pub runtime: Runtime,
    /// This instance, and whether it is the leader.
    pub leadership: Leadership,
}

/// The two external systems.
#[derive(Debug)]
pub struct Edges {
    /// The outbox.
    pub database: Database,
    /// HubSpot.
    pub client: Client,
}

/// What operators see: metrics, traces, limits on log lines, the health of the database.
#[derive(Debug)]
pub struct Reporting {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    pub(crate) traces: Traces,
    pub(crate) log_limits: LogLimits,
    /// Which tasks fail at the database.
    pub database_health: DatabaseHealth,
}

/// What the daemon's tasks use to start, wait and stop.
#[derive(Debug)]
pub struct Runtime {
    /// The two stages of a shutdown.
    pub shutdown: Shutdown,
    pub(crate) wake: Wake,
    /// Results that are not recorded yet.
    pub(crate) unrecorded: Unrecorded,
    /// Tasks that record outcomes whose rows cannot be written at first.
    pub(crate) late_recordings: TaskTracker,
    /// Whether the main loop is running.
    pub heartbeat: Heartbeat,
}

/// This instance, and whether it is the leader.
#[derive(Debug)]
pub struct Leadership {
    pub(crate) instance: InstanceId,
    since: Mutex<Option<Timestamp>>,
}

impl Leadership {
    fn new() -> Self {
        Self { instance: InstanceId(uuid::Uuid::new_v4()), since: Mutex::default() }
    }

    /// Since when this instance is the leader; `None` while it is not.
    #[must_use]
    pub fn since(&self) -> Option<Timestamp> {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets whether this instance is the leader.
    pub(crate) fn set(&self, is_leader: bool, metrics: &Metrics) {
        metrics.set_leader(is_leader);
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = is_leader.then(Timestamp::now);
    }
}

impl Context {
    /// Whether claims wait for results to be recorded: the database takes none, or as many courses wait as all requests in
    /// flight can hold. Single rows that cannot be written do not stop the claims.
    pub(crate) fn must_record_first(&self) -> bool {
        let round = self.account.rate_limiter.max_open_requests() * usize::from(self.settings.max_size);
        self.reporting.database_health.is_failing(DatabaseTask::Record)
            || self.runtime.unrecorded.courses() >= round
    }

    /// Creates the shared state. Starts no task.
    #[must_use]
    pub fn new(
        settings: Settings,
        max_in_flight: usize,
        edges: Edges,
        metrics: Arc<Metrics>,
        traces: Traces,
        shutdown: Shutdown,
    ) -> Arc<Self> {
        let account = Account::new(&settings.account_settings(max_in_flight), Arc::clone(&metrics));
        Arc::new(Self {
            settings,
            edges,
            account,
            reporting: Reporting {
                metrics,
                traces,
                log_limits: LogLimits::default(),
                database_health: DatabaseHealth::default(),
            },
            runtime: Runtime {
                shutdown,
                wake: Wake::default(),
                unrecorded: Unrecorded::default(),
                late_recordings: TaskTracker::new(),
                heartbeat: Heartbeat::default(),
            },
            leadership: Leadership::new(),
        })
    }
}
