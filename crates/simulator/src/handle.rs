//! Controls and inspects a running simulator: used by tests, the demo, the control API and the page.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::behaviour::Behaviour;
use super::faults::Fault;
use super::journal::Entry;
use super::quota::{Arrival, worst_window};
use super::schema::{Property, PropertyType};
use super::state::{Shared, State};
use super::store::Record;
use super::summary::Summary;

/// Controls and inspects a simulator. Cheap to clone; does not keep the socket open.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
    pub(super) address: SocketAddr,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Handle {
    /// `http://ADDR:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The current switches.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        self.shared.lock().behaviour.clone()
    }

    /// Replaces the switches.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.shared.lock().switch(behaviour);
    }

    /// Changes some switches.
    pub fn change_behaviour(&self, change: impl FnOnce(&mut Behaviour)) {
        let mut state = self.shared.lock();
        let mut behaviour = state.behaviour.clone();
        change(&mut behaviour);
        state.switch(behaviour);
    }

    /// Adds a fault after the existing ones; the first that matches a request applies.
    pub fn add_fault(&self, fault: Fault) {
        self.shared.lock().faults.add(fault);
    }

    /// The faults that are still active.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        self.shared.lock().faults.list()
    }

    /// Removes all faults. Responses that a fault delays are sent at once.
    pub fn clear_faults(&self) {
        self.shared.faults_cleared.notify_waiters();
        self.shared.lock().faults.clear();
    }

    /// All requests since the start or the last reset, in the order of arrival.
    #[must_use]
    pub fn journal(&self) -> Vec<Entry> {
        self.shared.lock().journal.entries().cloned().collect()
    }

    /// The highest number of requests in any rolling window of this length, among those that count towards the
    /// interval. The window is half open: it never contains two requests exactly `window` apart.
    #[must_use]
    pub fn worst_window(&self, window: Duration) -> usize {
        let state = self.shared.lock();
        let counted = state.journal.entries().filter(|entry| entry.counted).map(|entry| entry.received_us);
        worst_window(counted, u64::try_from(window.as_micros()).unwrap_or(u64::MAX))
    }

    /// All records by ID, including archived ones, without those that were merged into another.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.act(|state, _| state.store.all().cloned().collect())
    }

    /// Creates a property, as in HubSpot's user interface. Replaces one with the same name.
    pub fn create_property(&self, name: &str, kind: PropertyType, unique: bool) {
        let mut property = Property::new(name, kind, Timestamp::now());
        property.has_unique_value = unique;
        self.shared.lock().schema.put(property);
    }

    /// Makes the values of a property read-only or writable. Returns whether the property exists.
    #[expect(clippy::must_use_candidate, reason = "the effect is what it is called for")]
    pub fn set_read_only(&self, property: &str, read_only: bool) -> bool {
        let mut state = self.shared.lock();
        let property = state.schema.any_mut(property);
        property.is_some_and(|property| {
            property.modification_metadata.read_only_value = read_only;
            true
        })
    }

    /// Creates a record without checking rules and quotas. Returns its ID.
    #[expect(clippy::must_use_candidate, reason = "the effect is what it is called for")]
    pub fn create_record(&self, properties: BTreeMap<String, String>) -> u64 {
        self.act(|state, cause| {
            let id = state.allocate(1).first().copied().unwrap_or_default();
            let State { store, schema, .. } = state;
            let record = Record {
                id,
                properties,
                associations: Vec::new(),
                trace_id: None,
                created_at: cause.now,
                updated_at: cause.now,
                archived: false,
                created_us: cause.now_us,
            };
            store.insert(record, schema.unique_names(), cause);
            id
        })
    }

    /// Uses quota as another integration would, by this many requests now.
    pub fn spend_quota(&self, requests: u64) {
        let at_us = self.shared.now_us();
        let mut state = self.shared.lock();
        let State { quota, zone, behaviour, .. } = &mut *state;
        for _ in 0..requests {
            let arrival = Arrival {
                at_us,
                now: Timestamp::now(),
                zone,
                limits: behaviour.limits,
                neighbour: behaviour.neighbour,
                refused_count: behaviour.refused_count,
            };
            if quota.take(arrival).is_err() && !behaviour.refused_count {
                break;
            }
        }
    }

    /// Resets the daily quota, as the account's midnight does.
    pub fn reset_daily_quota(&self) {
        self.shared.lock().quota.reset_day();
    }

    /// Replaces the token of the private app; the old one becomes invalid.
    pub fn set_token(&self, token: &str) {
        token.clone_into(&mut self.shared.lock().settings.token);
    }

    /// Replaces the scopes of every token.
    pub fn set_scopes(&self, scopes: BTreeSet<String>) {
        self.shared.lock().settings.scopes = scopes;
    }

    /// Expires all OAuth access tokens.
    pub fn expire_tokens(&self) {
        let now = Timestamp::now();
        for issued in &mut self.shared.lock().issued {
            issued.expires_at = issued.expires_at.min(now);
        }
    }

    /// Removes records, journal, faults and used quota, and restores the initial switches and properties.
    pub fn reset(&self) {
        let mut state = self.shared.lock();
        let open = state.open;
        let mut journal = std::mem::take(&mut state.journal);
        journal.clear();
        *state = State::new(state.settings.clone(), Timestamp::now());
        state.open = open;
        state.journal = journal;
    }

    /// The newest requests, newest first.
    pub(super) fn latest_requests(&self, count: usize) -> Vec<Entry> {
        self.shared.lock().journal.entries().rev().take(count).cloned().collect()
    }

    /// The newest records, newest first, each with the number of changes of each kind.
    pub(super) fn latest_records(&self, count: usize) -> Vec<(Record, BTreeMap<&'static str, usize>)> {
        self.act(|State { store, .. }, _| {
            let newest = store.all().rev().take(count);
            newest.map(|record| (record.clone(), store.versions.counts(record.id))).collect()
        })
    }

    /// Counts of requests and records.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary::of(&self.shared.lock())
    }
}
