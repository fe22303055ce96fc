//! The gates of creates and of look-ups: which pauses are in effect, and what may be sent.
//!
//! Creates and look-ups have separate gates, so that failing look-ups never stop creates that succeed. The operator's
//! pause and the quota apply to both.

use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;

use super::Account;
use crate::policy::gate::{Gate, Incident, Pauses, Reason};
use crate::telemetry::events;
use crate::telemetry::metrics::Operation;

/// The pauses, by the requests that they stop.
#[derive(Debug)]
pub(super) struct Gates {
    /// Pauses of all requests: by the operator, or by the quota.
    pub shared: Pauses,
    /// Pauses of all requests that write courses.
    pub create: Pauses,
    /// Of archives alone.
    pub archive: Pauses,
    pub read: Pauses,
}

impl Gates {
    /// The pauses to which a pause of this operation for this reason belongs.
    pub fn for_reason(&mut self, operation: Operation, reason: Reason) -> &mut Pauses {
        if reason.is_shared() { &mut self.shared } else { self.for_operation(operation) }
    }

    /// The pauses of this operation only.
    pub fn for_operation(&mut self, operation: Operation) -> &mut Pauses {
        match operation {
            Operation::Read => &mut self.read,
            Operation::Create
            | Operation::Update
            | Operation::Archive
            | Operation::Schema
            | Operation::Token => &mut self.create,
        }
    }
}

impl Account {
    pub(super) fn gates(&self) -> MutexGuard<'_, Gates> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which create requests may be sent now.
    pub(crate) fn gate(&self) -> Gate {
        let (mut gates, now) = (self.gates(), Instant::now());
        let ended: Vec<Reason> =
            gates.create.expire(now).into_iter().chain(gates.shared.expire(now)).collect();
        // All three must permit a request: the shared pauses, those of creates, and the attribution of failures.
        let gate = gates.shared.gate(now).and(gates.create.gate(now));
        drop(gates);
        self.log_resumed(Operation::Create, ended);
        let attribution = self.attribution();
        gate.and(Gate::Open { courses: attribution.limit(), concurrent: !attribution.is_cautious() })
    }

    /// Whether look-ups may be sent now.
    pub(crate) fn may_look_up(&self) -> bool {
        let (mut gates, now) = (self.gates(), Instant::now());
        let ended = gates.read.expire(now);
        let gate = gates.shared.gate(now).and(gates.read.gate(now));
        drop(gates);
        self.log_resumed(Operation::Read, ended);
        matches!(gate, Gate::Open { .. })
    }

    /// Whether the account's settings may be read now.
    pub(crate) fn may_read_account(&self) -> bool {
        matches!(self.gates().shared.gate(Instant::now()), Gate::Open { .. })
    }

    /// Whether creates are paused for a reason that a single course may have caused.
    pub(super) fn is_create_paused(&self) -> bool {
        self.gates().create.active().iter().any(|(reason, _)| reason.may_be_caused_by_course())
    }

    /// Pauses because the unique property is not usable. The pause ends when a later check finds it usable.
    pub(crate) fn pause_for_property(&self, message: &str) {
        let incident = Incident { reason: Reason::Schema, retry_after: None, message: message.to_owned() };
        self.begin_pause(Operation::Create, &incident, Instant::now());
        self.gate_changes.notify_one();
    }

    /// Holds archives because of this, or ends the hold.
    pub(crate) fn hold_archives(&self, why: Option<&str>) {
        let now = Instant::now();
        match why {
            Some(detail) => {
                if self.gates().archive.adopt(Reason::ArchiveLimit, detail, None, now) {
                    self.metrics.set_paused(Reason::ArchiveLimit, true);
                    tracing::error!(event = events::ARCHIVES_HELD, detail, "archives held");
                    self.pause_changes.notify_one();
                }
            }
            None => {
                if self.gates().archive.lift(Reason::ArchiveLimit) {
                    self.metrics.set_paused(Reason::ArchiveLimit, false);
                    tracing::info!(event = events::ARCHIVES_RELEASED, "archives released");
                    self.pause_changes.notify_one();
                }
            }
        }
    }

    /// Ends the pause of the unique property, which is usable now.
    pub(crate) fn resume_for_property(&self) {
        if self.gates().create.lift(Reason::Schema) {
            self.log_resumed(Operation::Create, [Reason::Schema]);
        }
        self.gate_changes.notify_one();
    }

    /// Applies the success of a request to the pauses. `creates`: HubSpot created a course.
    pub(super) fn record_success(&self, operation: Operation, began: Instant, creates: bool) {
        let mut gates = self.gates();
        let own = gates.for_operation(operation).record_success(began, creates);
        let shared = gates.shared.record_success(began, creates);
        drop(gates);
        self.log_resumed(operation, own.into_iter().chain(shared));
    }

    /// Pauses for this incident of a request that was sent at `sent_at`. Logs only the beginning of a pause.
    pub(super) fn begin_pause(&self, operation: Operation, incident: &Incident, sent_at: Instant) {
        let is_new = {
            let (mut gates, now) = (self.gates(), Instant::now());
            let pauses = gates.for_reason(operation, incident.reason);
            if incident.reason == Reason::DailyQuota {
                let ends = pauses.pause_for(Reason::DailyQuota).and_then(|pause| pause.ends);
                // An end that has passed belongs to yesterday.
                if ends.is_none_or(|ends| ends <= now) {
                    pauses.set_day_end(self.day_left().map(|left| now + left));
                }
            }
            pauses.record_incident(incident, sent_at, now, fastrand::f64())
        };
        if is_new {
            self.log_pause(operation, incident.reason, &incident.message);
        }
    }

    pub(super) fn log_pause(&self, operation: Operation, reason: Reason, detail: &str) {
        self.pause_changes.notify_one();
        if operation == Operation::Read && !reason.is_shared() {
            tracing::warn!(
                event = events::LOOKUPS_PAUSED,
                reason = reason.as_str(),
                detail,
                "lookups paused"
            );
            return;
        }
        self.metrics.set_paused(reason, true);
        let ends = self.pause_end(reason).map(|ends| ends.to_string());
        if reason.needs_operator() {
            tracing::error!(
                event = events::SENDING_BLOCKED,
                reason = reason.as_str(),
                detail,
                "sending blocked"
            );
        } else {
            tracing::warn!(
                event = events::SENDING_PAUSED,
                reason = reason.as_str(),
                detail,
                ends,
                "sending paused"
            );
        }
    }

    pub(super) fn log_resumed(&self, operation: Operation, reasons: impl IntoIterator<Item = Reason>) {
        for reason in reasons {
            self.pause_changes.notify_one();
            if operation == Operation::Read && !reason.is_shared() {
                tracing::info!(event = events::LOOKUPS_RESUMED, reason = reason.as_str(), "lookups resumed");
                continue;
            }
            self.metrics.set_paused(reason, false);
            tracing::info!(event = events::SENDING_RESUMED, reason = reason.as_str(), "sending resumed");
        }
    }

    /// The cause of a pause may be fixed: makes its next probe due now.
    pub(crate) fn retry_pause_now(&self, reason: Reason) {
        let (mut gates, now) = (self.gates(), Instant::now());
        gates.create.retry_now(reason, now);
        gates.read.retry_now(reason, now);
        drop(gates);
        self.gate_changes.notify_one();
    }

    /// Whether creates or look-ups are paused for this reason.
    pub(crate) fn is_paused_for(&self, reason: Reason) -> bool {
        let gates = self.gates();
        [&gates.shared, &gates.create, &gates.read].iter().any(|pauses| pauses.pause_for(reason).is_some())
    }

    /// Applies the operator's decision: `Some` pauses with this message, `None` resumes.
    pub(crate) fn set_operator_pause(&self, message: Option<&str>) {
        if self.gates().shared.set_operator(message, Instant::now()) {
            self.metrics.set_paused(Reason::Operator, message.is_some());
            match message {
                Some(detail) => tracing::warn!(
                    event = events::SENDING_PAUSED,
                    reason = Reason::Operator.as_str(),
                    detail,
                    "sending paused"
                ),
                None => tracing::info!(
                    event = events::SENDING_RESUMED,
                    reason = Reason::Operator.as_str(),
                    "sending resumed"
                ),
            }
            self.gate_changes.notify_one();
            self.pause_changes.notify_one();
        }
    }
}
