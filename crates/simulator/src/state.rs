//! The simulator's state behind one lock, and its clock.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::Notify;

use super::Settings;
use super::behaviour::Behaviour;
use super::fault_rules::Faults;
use super::input_fault::InputFault;
use super::journal::Journal;
use super::quota::Quota;
use super::route::Target;
use super::schema::{Property, PropertyType, Schema};
use super::store::{Archived, Lookup, Record, Store};

/// Record IDs start slightly above this.
const FIRST_ID: u64 = 49_130_000_000;

/// Shared by all requests.
pub(super) struct Shared {
    started: Instant,
    state: Mutex<State>,
    /// Signals that all faults were removed.
    pub(super) faults_cleared: Notify,
}

/// The simulator's state.
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) behaviour: Behaviour,
    pub(super) zone: TimeZone,
    pub(super) schema: Schema,
    pub(super) store: Store,
    pub(super) quota: Quota,
    pub(super) faults: Faults,
    pub(super) journal: Journal,
    pub(super) issued: Vec<IssuedToken>,
    pub(super) rng: fastrand::Rng,
    pub(super) open: usize,
    pub(super) max_open: usize,
    last_id: u64,
    /// When HubSpot itself will move the modification date of which record.
    pub(super) touches: BTreeSet<(Timestamp, u64)>,
}

/// An access token issued by the OAuth endpoint.
#[derive(Clone)]
pub(super) struct IssuedToken {
    pub(super) token: String,
    pub(super) expires_at: Timestamp,
}

/// A request that passed authentication and quota.
pub(super) struct Call {
    pub(super) seq: u64,
    pub(super) target: Target,
    pub(super) body: axum::body::Bytes,
    pub(super) correlation: String,
    pub(super) now: Timestamp,
    pub(super) at_us: u64,
    /// An error for some of its inputs.
    pub(super) input_fault: Option<InputFault>,
}

impl Shared {
    pub(super) fn new(settings: Settings) -> Self {
        let state = Mutex::new(State::new(settings, Timestamp::now()));
        Self { started: Instant::now(), state, faults_cleared: Notify::new() }
    }

    /// Microseconds since the start.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Locks the state. Ignores poisoning: the simulator continues after a panic in another request.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn new(settings: Settings, now: Timestamp) -> Self {
        let mut schema = Schema::of_hubspot(now);
        if let Some(name) = &settings.unique_property {
            let mut property = Property::new(name, PropertyType::String, now);
            property.has_unique_value = true;
            schema.put(property);
        }
        let behaviour = settings.behaviour.clone();
        Self {
            zone: zone(&behaviour.time_zone),
            behaviour,
            schema,
            store: Store::default(),
            quota: Quota::default(),
            faults: Faults::default(),
            journal: Journal::default(),
            issued: Vec::new(),
            rng: fastrand::Rng::with_seed(settings.seed),
            open: 0,
            max_open: 0,
            last_id: FIRST_ID,
            touches: BTreeSet::new(),
            settings,
        }
    }

    /// Replaces the switches.
    pub(super) fn switch(&mut self, behaviour: Behaviour) {
        self.zone = zone(&behaviour.time_zone);
        self.behaviour = behaviour;
    }

    /// New record IDs, not in ascending order.
    pub(super) fn allocate(&mut self, count: usize) -> Vec<u64> {
        let mut ids: Vec<u64> = Vec::with_capacity(count);
        for _ in 0..count {
            self.last_id += self.rng.u64(1..400);
            ids.push(self.last_id);
        }
        self.rng.shuffle(&mut ids);
        ids
    }

    /// A random UUID, for correlation and request IDs.
    pub(super) fn uuid(&mut self) -> String {
        uuid::Builder::from_random_bytes(self.rng.u128(..).to_be_bytes()).into_uuid().to_string()
    }

    /// How an existing record with a unique value is looked up for the uniqueness check.
    pub(super) fn holding(&self) -> Lookup {
        let archived = if self.behaviour.archived_hold_unique { Archived::Too } else { Archived::No };
        Lookup { compare: self.behaviour.unique_compare, archived }
    }

    /// Whether a request that arrived at this time can read the record.
    pub(super) fn is_readable(&self, record: &Record, at_us: u64) -> bool {
        let lag_us = self.behaviour.read_lag_ms.saturating_mul(1_000);
        lag_us == 0 || record.created_us.saturating_add(lag_us) <= at_us
    }

    /// How a read request looks up a record by a unique value.
    pub(super) fn reading(&self, archived: bool) -> Lookup {
        let archived = if archived { Archived::Only } else { Archived::No };
        Lookup { compare: self.behaviour.unique_compare, archived }
    }
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
}
