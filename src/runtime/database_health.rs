//! Which of the daemon's tasks fail at the database, logged as one outage for all of them, and the reason for
//! `/readyz`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::outbox::OutboxError;
use crate::policy::outage::{Outage, OutageEvent};
use crate::telemetry::events;

/// What the daemon does with the database again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DatabaseTask {
    /// Bring the schema up to date, at the start.
    PrepareSchema,
    /// Take or renew the lease.
    KeepLease,
    /// Claim courses.
    Claim,
    /// Record results.
    Record,
    /// Read whether an operator paused.
    ReadPauses,
    /// Save or delete the daemon's own pauses, such as the one of a used-up day.
    SavePauses,
    /// Reconcile unconfirmed courses.
    Reconcile,
    /// Mark what stopped instances left in flight.
    MarkOrphans,
    /// Withdraw a claim whose acknowledgement was lost.
    WithdrawClaim,
    /// Listen for new courses.
    Listen,
}

impl DatabaseTask {
    /// What its failure means for the operator.
    fn consequence(self) -> &'static str {
        match self {
            Self::PrepareSchema => "the daemon waits for the database",
            Self::KeepLease => "the lease could not be renewed; when it expires, nothing new is sent",
            Self::Claim => "no courses are claimed",
            Self::Record => "a result could not be recorded; it is kept and recorded later",
            Self::ReadPauses => "it is not known whether an operator paused sending",
            Self::SavePauses => "a pause is not saved yet and would be lost by a restart",
            Self::Reconcile => "unconfirmed courses are not reconciled",
            Self::MarkOrphans => "courses that a stopped instance left in flight are not looked up yet",
            Self::WithdrawClaim => "a claim may have to be withdrawn",
            Self::Listen => "not listening for new courses; polling instead",
        }
    }

    /// Whether the daemon is not ready while this task fails.
    fn is_vital(self) -> bool {
        !matches!(self, Self::SavePauses | Self::MarkOrphans | Self::WithdrawClaim | Self::Listen)
    }
}

/// The state of the database, as the daemon's tasks find it.
#[derive(Debug, Default)]
pub struct DatabaseHealth(Mutex<HealthState>);

#[derive(Debug, Default)]
struct HealthState {
    outage: Outage<DatabaseTask>,
    last_error: String,
    /// Why the schema is not prepared yet although the database works.
    waiting: Option<String>,
}

impl DatabaseHealth {
    fn lock(&self) -> MutexGuard<'_, HealthState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a task failed; it will be retried. Logs the outage at its beginning and once a minute.
    pub fn record_failure(&self, task: DatabaseTask, error: &OutboxError) {
        let (event, affected) = {
            let mut state = self.lock();
            state.last_error = error.to_string();
            let event = state.outage.record_failure(task, Instant::now());
            (event, state.outage.failing().map(DatabaseTask::consequence).collect::<Vec<_>>())
        };
        match event {
            Some(OutageEvent::Ongoing(lasts)) => {
                let affected = affected.join(" | ");
                tracing::warn!(
                    event = events::DATABASE_STILL_UNAVAILABLE,
                    %error,
                    lasts_seconds = lasts.as_secs(),
                    affected,
                    "database still unavailable"
                );
            }
            Some(OutageEvent::Began | OutageEvent::Ended(_)) => {
                tracing::warn!(
                    event = events::DATABASE_UNAVAILABLE,
                    %error,
                    consequence = task.consequence(),
                    "database unavailable"
                );
            }
            None => {
                tracing::debug!(
                    event = events::DATABASE_RETRY_FAILED,
                    %error,
                    consequence = task.consequence(),
                    "database retry failed"
                );
            }
        }
    }

    /// Records that a task succeeded, or is not needed any more. Logs the end of the outage.
    pub fn record_success(&self, task: DatabaseTask) {
        let event = self.lock().outage.record_success(task, Instant::now());
        if let Some(OutageEvent::Ended(lasted)) = event {
            tracing::info!(
                event = events::DATABASE_RECOVERED,
                lasted_seconds = lasted.as_secs_f64(),
                "database recovered"
            );
        }
    }

    /// Sets why the schema is not prepared yet although the database works. The daemon is not ready meanwhile.
    pub fn set_waiting(&self, reason: Option<String>) {
        self.lock().waiting = reason;
    }

    /// Forgets the failures of tasks that only a leader has: this instance does not lead any more.
    pub(crate) fn clear_leader_tasks(&self) {
        use DatabaseTask::{Claim, MarkOrphans, ReadPauses, Reconcile};
        for task in [Claim, MarkOrphans, ReadPauses, Reconcile] {
            self.record_success(task);
        }
    }

    /// Whether the last attempt of this task failed.
    pub(crate) fn is_failing(&self, task: DatabaseTask) -> bool {
        self.lock().outage.failing().any(|failing| failing == task)
    }

    /// Why the daemon cannot work, as the database reported it; `None` if it can.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let state = self.lock();
        let is_failing = state.outage.failing().any(DatabaseTask::is_vital);
        if is_failing { Some(state.last_error.clone()) } else { state.waiting.clone() }
    }
}
