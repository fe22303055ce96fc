//! Reads after an unknown outcome, and rechecks: what a read shows, and what follows from it.

use super::state::{
    Held, Intent, Late, LateValue, Reading, Request, Settlement, State, Status, Value, Write,
};
use super::steps::{late_value, patch};
use super::variants::{Part, Protocol};

/// The read of a record whose last request has an unknown outcome.
pub fn look_up(protocol: &Protocol, state: &State) -> Option<Reading> {
    let request = &state.requests[state.unknown()?];
    let settlement = match request.write {
        Write::Create => match state.live() {
            Some(record) => Settlement::Found {
                record,
                revision: request.revision,
                is_sent: is_content_known(protocol, state, request),
            },
            None => Settlement::Absent,
        },
        Write::Update(record, _) | Write::Archive(Some(record)) => {
            let found = state.records[record];
            let is_late_archive = state.row.late.archives && protocol.has(Part::LateArchive);
            let is_archived_by_us = matches!(request.write, Write::Archive(_)) || is_late_archive;
            match request.write {
                _ if !found.is_live && state.row.content.archived => Settlement::Archived,
                _ if !found.is_live && is_archived_by_us => Settlement::ArchivedBefore,
                _ if !found.is_live => Settlement::Failed,
                Write::Archive(_) => {
                    let archives = protocol.has(Part::LateArchive);
                    resend(state, request, state.row.held, Late { archives, ..Late::default() })
                }
                _ => compare(protocol, state, request, found.value),
            }
        }
        Write::Archive(None) => return None,
    };
    Some(Reading { revision: state.row.revision, settlement })
}

/// `record_meaning::compare`: the record is live and holds this value.
fn compare(protocol: &Protocol, state: &State, request: &Request, actual: Value) -> Settlement {
    let row = &state.row;
    if request.revision != row.revision {
        return resend(state, request, Held::Is(actual), Late { value: LateValue::Any, archives: false });
    }
    let sent = patch(row.held, row.content.value);
    match sent {
        Some(value) if value != actual => resend(state, request, Held::Is(actual), late_value(value)),
        Some(value) => {
            // Executed, if the record had another value before, and no other request can have written this one.
            let is_proved = row.late == Late::default() && matches!(row.held, Held::Is(_));
            let is_remembered = !is_proved && protocol.has(Part::RecheckAfterUnprovedSuccess);
            Settlement::Synced { late: is_remembered.then(|| row.late.or(late_value(value))) }
        }
        None => Settlement::Synced { late: None },
    }
}

/// The change is sent again. If HubSpot answered the request, it cannot come late.
fn resend(state: &State, request: &Request, held: Held, late: Late) -> Settlement {
    let is_answered = request.intent == Intent::Unknown { answered: true };
    Settlement::Resend { held, late: (!is_answered).then(|| state.row.late.or(late)) }
}

/// Whether a record that is found by its key certainly holds what this request sent: no earlier request can have created
/// it with another revision.
fn is_content_known(protocol: &Protocol, state: &State, request: &Request) -> bool {
    if !protocol.has(Part::ContentOfFoundRecord) {
        return true;
    }
    state.row.held == Held::Null && request.intent != Intent::Unknown { answered: true }
}

/// `record_meaning::recheck`: whether a late request was executed.
pub fn recheck(state: &State) -> Reading {
    let row = &state.row;
    let record = row.record.map(|record| state.records[record]);
    let settlement = match record {
        _ if row.status == Status::Unconfirmed => {
            state.live().map_or(Settlement::AbsentFirst, Settlement::FoundFirst)
        }
        Some(record) if record.is_live => {
            let is_late = match row.late.value {
                LateValue::None => false,
                LateValue::Is(value) => value == record.value,
                LateValue::Any => true,
            };
            if is_late && record.value != row.content.value {
                Settlement::Repair(record.value)
            } else {
                Settlement::Checked
            }
        }
        _ if row.late.archives => Settlement::ArchivedBefore,
        _ => Settlement::Checked,
    };
    Reading { revision: row.revision, settlement }
}

impl Protocol {
    /// Records the decision. Guarded by the lease, the request and the revision.
    pub fn settle(&self, next: &mut State) {
        let Some(Reading { revision, settlement }) = next.reading.take() else { return };
        // `settle_unconfirmed` notes the revision that was sent instead.
        let is_first = matches!(settlement, Settlement::FoundFirst(_) | Settlement::AbsentFirst);
        let is_by_key = is_first || matches!(settlement, Settlement::Found { .. } | Settlement::Absent);
        if next.row.revision != revision && !is_by_key && self.has(Part::RevisionOfSettlement) {
            return;
        }
        let unknown = next.unknown();
        let is_recheck = is_first || matches!(settlement, Settlement::Repair(_) | Settlement::Checked);
        let is_still_due = match unknown {
            Some(_) => !is_recheck,
            None if is_first => next.row.status == Status::Unconfirmed,
            None => next.row.recheck && next.row.status == Status::Synced,
        };
        if !is_still_due {
            return;
        }
        match settlement {
            Settlement::Synced { late } => {
                let revision = next.row.revision;
                self.synced(next, revision, Held::Null);
                if let Some(late) = late {
                    self.remember(next, late);
                }
            }
            Settlement::Archived => next.archived(revision),
            Settlement::ArchivedBefore if self.has(Part::RevisionOfArchive) => {
                let revision = next.row.synced_revision.min(revision - 1);
                next.archived(revision);
            }
            Settlement::ArchivedBefore => next.archived(revision - 1),
            Settlement::Resend { held, late } => {
                next.row.status = Status::Pending;
                next.row.held = held;
                if let Some(late) = late {
                    self.remember(next, late);
                }
            }
            Settlement::Found { record, revision, is_sent } => {
                next.row.record = Some(record);
                let held = next.row.held;
                self.synced(next, if is_sent { revision } else { 0 }, held);
            }
            Settlement::Absent => next.row.status = Status::Pending,
            Settlement::Repair(actual) => {
                next.row.status = Status::Pending;
                next.row.held = Held::Is(actual);
                next.forget_late();
            }
            Settlement::Checked => next.forget_late(),
            Settlement::FoundFirst(record) => {
                // What the record holds is not certain.
                next.row.synced_revision = 0;
                next.row.record = Some(record);
                next.end_doubts();
            }
            Settlement::AbsentFirst => next.end_doubts(),
            Settlement::Failed => next.row.status = Status::Failed,
        }
        if let Some(id) = unknown {
            next.requests[id].intent = Intent::Closed;
        }
    }

    /// What requests may still do, until the recheck.
    fn remember(&self, next: &mut State, late: Late) {
        if self.has(Part::Recheck) {
            next.row.late = late;
            next.schedule_recheck();
        }
    }
}

impl State {
    /// The look-up of a withdrawn course has settled it.
    fn end_doubts(&mut self) {
        self.row.status = Status::Pending;
        self.row.doubts = false;
        self.row.recheck = self.row.late != Late::default();
    }

    fn forget_late(&mut self) {
        self.row.late = Late::default();
        self.row.recheck = false;
    }
}
