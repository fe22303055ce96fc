//! The effect of each step.

use super::protocol::{Action, REFUSED, is_fault};
use super::settle;
use super::state::{
    Content, Held, Intent, Late, LateValue, Record, Request, RequestId, Revision, State, Status, Task, Value,
    Verdict, Wire, Write,
};
use super::variants::{Part, Protocol};

impl Protocol {
    /// The state after this step, which must be a possible one.
    pub fn apply(&self, state: &State, action: &Action) -> State {
        let mut next = state.clone();
        next.faults_left -= u8::from(is_fault(action));
        match action {
            Action::Revise(content) => next.revise(*content),
            Action::Claim => self.claim(&mut next),
            Action::Send(id) => next.send(*id),
            Action::LeaseCheckFails(id) => next.requests[*id].task = Task::Answered(Verdict::NotTaken),
            Action::Execute(id) => next.execute(*id),
            Action::Vanish(id) => next.requests[*id].wire = Wire::Nothing,
            Action::Receive(id) => next.receive(*id),
            Action::Refuse(id) => next.requests[*id].wire = REFUSED,
            Action::TimeOut(id) => next.requests[*id].task = Task::Answered(Verdict::Unknown),
            Action::Record(id) => {
                self.record(&mut next, *id);
                next.requests[*id].task = Task::Ended;
            }
            Action::RecordAcknowledgementLost(id) => self.record(&mut next, *id),
            Action::MarkUnconfirmed(id) => self.mark_unconfirmed(&mut next, *id),
            Action::LookUp => next.reading = settle::look_up(self, &next),
            Action::Recheck => next.reading = Some(settle::recheck(&next)),
            Action::Settle => self.settle(&mut next),
            Action::TakeOver => next.change_leader(),
            Action::Crash => {
                for request in next.requests.iter_mut().filter(|request| request.is_current) {
                    request.task = Task::Ended;
                }
                next.change_leader();
            }
        }
        next.forget();
        next
    }

    fn mark_unconfirmed(&self, next: &mut State, id: RequestId) {
        let request = next.requests[id];
        if request.write == Write::Archive(None) {
            next.requests[id].intent = Intent::Closed;
        } else {
            self.leave_unconfirmed(next, id, false);
        }
    }

    /// The outcome is unknown, or only a read shows it.
    fn leave_unconfirmed(&self, next: &mut State, id: RequestId, answered: bool) {
        next.row.doubts |= next.requests[id].write == Write::Create;
        if self.has(Part::LookUp) {
            next.row.status = Status::Unconfirmed;
            next.requests[id].intent = Intent::Unknown { answered };
        } else {
            next.row.status = Status::Pending;
            next.requests[id].intent = Intent::Closed;
        }
    }

    /// `outbox::record::record`: for a course in flight for this request, or unconfirmed because of it.
    fn record(&self, next: &mut State, id: RequestId) {
        let request = next.requests[id];
        let Task::Answered(verdict) = request.task else { return };
        let is_in_flight = next.row.status == Status::Pending && request.intent == Intent::Open;
        let is_unconfirmed = matches!(request.intent, Intent::Unknown { .. });
        if !is_in_flight && !is_unconfirmed {
            next.requests[id].intent = Intent::Closed;
            return;
        }
        next.reading = None;
        next.requests[id].intent = Intent::Closed;
        let is_newer = next.row.revision > request.revision;
        match verdict {
            Verdict::Applied(record) => {
                next.row.record = Some(record);
                let knows_content = !is_unconfirmed || self.has(Part::HeldOfLateAnswer);
                let held = match (is_newer, knows_content) {
                    (true, true) if self.has(Part::HeldIsWhatWasSent) => Held::Is(request.value),
                    (true, true) => Held::Is(next.row.content.value),
                    (true, false) | (false, _) => Held::Null,
                };
                self.synced(next, request.revision, held);
            }
            Verdict::Archived => next.archived(request.revision),
            Verdict::NotTaken => next.row.status = Status::Pending,
            Verdict::Exists | Verdict::NotFound => self.leave_unconfirmed(next, id, true),
            Verdict::Unknown => self.leave_unconfirmed(next, id, false),
            Verdict::LookUpFirst => {
                next.row.status = Status::Unconfirmed;
                next.schedule_recheck();
            }
        }
    }

    /// A request of the kind that the row needs.
    fn claim(&self, next: &mut State) {
        let row = &next.row;
        let write = match row.record {
            record if row.content.archived => Write::Archive(record),
            Some(record) => Write::Update(record, patch(row.held, row.content.value)),
            None => Write::Create,
        };
        let task = match write {
            Write::Archive(_) if row.doubts && self.has(Part::LookUpOfWithdrawn) => {
                Task::Answered(Verdict::LookUpFirst)
            }
            Write::Archive(None) => Task::Answered(Verdict::Archived),
            Write::Update(record, None) => Task::Answered(Verdict::Applied(record)),
            _ => Task::Claimed,
        };
        if matches!(task, Task::Answered(Verdict::Archived | Verdict::Applied(_))) {
            next.history.reached = next.history.reached.max(row.revision);
        }
        next.requests.push(Request {
            write,
            revision: row.revision,
            value: row.content.value,
            is_current: true,
            intent: Intent::Open,
            task,
            wire: Wire::Nothing,
            is_awaited: false,
        });
    }

    /// The row becomes synced with this revision; `course_outbox_go_on` makes it pending if there is a newer one. `held`:
    /// what the record holds.
    pub fn synced(&self, next: &mut State, revision: Revision, held: Held) {
        let row = &mut next.row;
        row.synced_revision = if self.has(Part::RevisionOfRecord) { revision } else { row.revision };
        row.held = held;
        row.status = if row.synced_revision < row.revision { Status::Pending } else { Status::Synced };
        if row.status == Status::Synced {
            row.held = Held::Null;
        }
    }
}

impl State {
    /// The record is in the recycle bin. If the course has been offered again, it gets a new one.
    pub fn archived(&mut self, revision: Revision) {
        self.row.held = Held::Null;
        if self.row.content.archived {
            self.row.status = Status::Archived;
            self.row.synced_revision = self.row.revision;
        } else {
            self.row.synced_revision = revision;
            self.row.status = Status::Pending;
            self.offer();
        }
    }

    fn change_leader(&mut self) {
        self.reading = None;
        for request in &mut self.requests {
            request.is_current = false;
        }
    }

    /// `course_outbox_revise`.
    fn revise(&mut self, content: Content) {
        let row = &mut self.row;
        let old = row.content;
        self.writes_left -= 1;
        row.revision += 1;
        row.content = content;
        match row.status {
            Status::Pending | Status::Unconfirmed => row.held = unknown_or(old.value, row.held),
            Status::Synced => row.held = Held::Is(old.value),
            Status::Archived if content.archived => {
                row.synced_revision = row.revision;
                return;
            }
            Status::Archived => self.offer(),
            Status::Failed => {}
        }
        if self.row.status != Status::Unconfirmed {
            self.row.status = Status::Pending;
        }
    }

    /// The course is offered again: it gets a new record.
    fn offer(&mut self) {
        self.row.record = None;
        self.row.late = Late::default();
        self.row.recheck = false;
    }

    fn send(&mut self, id: RequestId) {
        let may_be_unnoticed = |(other, request): (usize, &Request)| {
            other != id
                && request.wire == Wire::Open
                && !request.is_awaited
                && self.may_have_effect(request.write)
        };
        let is_unsettled = |request: &Request| matches!(request.intent, Intent::Unknown { .. });
        self.history.sent_unnoticed |=
            self.requests.iter().any(is_unsettled) || self.requests.iter().enumerate().any(may_be_unnoticed);
        let revision = self.requests[id].revision;
        self.history.sent_older |= revision < self.history.sent;
        self.history.sent = self.history.sent.max(revision);
        self.requests[id].task = Task::Sent;
        self.requests[id].wire = Wire::Open;
    }

    /// Whether the request changes a record that is live. A second create is refused, so it does no harm.
    fn may_have_effect(&self, write: Write) -> bool {
        match write {
            Write::Update(record, _) | Write::Archive(Some(record)) => self.records[record].is_live,
            Write::Create | Write::Archive(None) => false,
        }
    }

    fn receive(&mut self, id: RequestId) {
        let request = &mut self.requests[id];
        if let Wire::Done(verdict) = request.wire {
            request.task = Task::Answered(verdict);
            request.wire = Wire::Nothing;
        }
    }

    fn execute(&mut self, id: RequestId) {
        let request = self.requests[id];
        let has_effect = match request.write {
            Write::Create => self.live().is_none(),
            write => self.may_have_effect(write),
        };
        // An archive of a record in the recycle bin changes nothing, but HubSpot holds what it wanted.
        if has_effect || matches!(request.write, Write::Archive(_)) {
            self.history.reached = self.history.reached.max(request.revision);
        }
        let verdict = match request.write {
            Write::Create if has_effect => {
                self.records.push(Record { is_live: true, value: request.value });
                Verdict::Applied(self.records.len() - 1)
            }
            Write::Create => Verdict::Exists,
            Write::Update(record, Some(value)) if has_effect => {
                self.records[record].value = value;
                Verdict::Applied(record)
            }
            Write::Update(..) => Verdict::NotFound,
            Write::Archive(record) => {
                if let Some(record) = record {
                    self.records[record].is_live = false;
                }
                Verdict::Archived
            }
        };
        self.requests[id].wire = Wire::Done(verdict);
    }
}

/// `course::patch::patch`: what must be sent so that HubSpot holds the value.
pub fn patch(held: Held, wanted: Value) -> Option<Value> {
    let is_held = match held {
        Held::Null => wanted == 0,
        Held::Unknown => false,
        Held::Is(held) => held == wanted,
    };
    (!is_held).then_some(wanted)
}

/// What is known after a change of a row that may be in flight: a value that the column does not name is not known, if
/// the row had one.
fn unknown_or(old: Value, held: Held) -> Held {
    match held {
        Held::Null | Held::Is(0) if old != 0 => Held::Unknown,
        Held::Null => Held::Is(0),
        held => held,
    }
}

/// A late request may write this value.
pub fn late_value(value: Value) -> Late {
    Late { value: LateValue::Is(value), archives: false }
}
