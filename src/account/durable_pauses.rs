//! Durable pauses: pauses of the daemon that survive a restart, because a row in the database holds each of them.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Account;
use crate::policy::day::{self, PauseSync, StoredPause};
use crate::policy::gate::Reason;
use crate::telemetry::metrics::Operation;

/// The reasons whose pauses survive a restart.
pub(crate) const DURABLE_REASONS: [Reason; 2] = [Reason::DailyQuota, Reason::Rejected];

impl Account {
    pub(super) fn stored_pauses(&self) -> MutexGuard<'_, BTreeMap<Reason, StoredPause>> {
        self.stored_pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pause for this reason in memory: its message, and what its row must contain.
    pub(crate) fn durable_pause(&self, reason: Reason) -> Option<(String, StoredPause)> {
        let mut gates = self.gates();
        let pause = gates.for_reason(Operation::Create, reason).pause_for(reason)?;
        Some((pause.message.clone(), StoredPause { ends: pause.ends }))
    }

    /// Compares a pause in memory with its row (its message, and its remaining time if known). Applies changes of the row
    /// to memory, and returns the change that the caller must apply to the row.
    pub(crate) fn sync_durable_pause(
        &self,
        reason: Reason,
        row: Option<(&str, Option<Duration>)>,
    ) -> PauseSync {
        let stored = self.stored_pauses().get(&reason).copied();
        let in_memory = self.durable_pause(reason).map(|(_, pause)| pause);
        let change = day::compare_pause(in_memory, stored, row.is_some());
        match (change, row) {
            (PauseSync::Adopt, Some((message, left))) => {
                let now = Instant::now();
                let ends = left.map(|left| now + left);
                if reason == Reason::Rejected {
                    self.attribution().adopt_rejection(now);
                }
                if self.gates().for_reason(Operation::Create, reason).adopt(reason, message, ends, now) {
                    self.log_pause(Operation::Create, reason, message);
                }
                self.set_stored_pause(reason, Some(StoredPause { ends }));
            }
            (PauseSync::Lift, _) => {
                if reason == Reason::Rejected {
                    self.attribution().end_rejection(Instant::now());
                }
                if self.gates().for_reason(Operation::Create, reason).lift(reason) {
                    self.log_resumed(Operation::Create, [reason]);
                }
                self.set_stored_pause(reason, None);
                self.gate_changes.notify_one();
            }
            (PauseSync::InSync, None) => self.set_stored_pause(reason, None),
            (PauseSync::InSync | PauseSync::Write | PauseSync::Delete | PauseSync::Adopt, _) => {}
        }
        change
    }

    /// Sets what the row of a pause contains now; `None`: there is no row.
    pub(crate) fn set_stored_pause(&self, reason: Reason, row: Option<StoredPause>) {
        let mut stored = self.stored_pauses();
        match row {
            Some(row) => stored.insert(reason, row),
            None => stored.remove(&reason),
        };
    }
}
