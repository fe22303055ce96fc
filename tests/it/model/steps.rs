//! The effect of each step.

use super::protocol::Action;
use super::state::{
    Batch, BatchId, Course, CreateProgress, Daemon, Holder, Instance, Intent, LookUp, RecordId, Request, Row,
    State, Status, Task, Verdict,
};
use super::variants::{Claiming, Guard, LockedRows, Orphans, Protocol, UnconfirmedPolicy, Uniqueness};

impl Protocol {
    /// The state after this step, which must be a possible one.
    pub fn apply(&self, state: &State, action: &Action) -> State {
        let mut next = state.clone();
        next.faults_left -= u8::from(is_fault(action));
        match action {
            Action::ExpireLease | Action::ExpireLeaseEarly => next.lease.is_expired = true,
            Action::Crash(instance) => next.crash(*instance),
            Action::AcquireLease(instance) => next.lead(*instance),
            Action::MarkUnconfirmed(batch) | Action::MarkUnconfirmedEarly(batch) => {
                self.mark_unconfirmed(&mut next, *batch, None);
            }
            Action::MarkUnconfirmedPart(batch, left_out) => {
                self.mark_unconfirmed(&mut next, *batch, Some(*left_out));
            }
            Action::StartClaim(instance, courses) => self.start_claim(&mut next, *instance, courses),
            Action::CommitClaim(batch) => next.commit_claim(*batch),
            Action::RefuseClaim(batch) => next.refuse_claim(*batch),
            Action::ClaimAcknowledgementLost(batch) => next.batches[*batch].task = Task::ClaimLost,
            Action::Withdraw(batch) => next.withdraw(*batch),
            Action::DeleteLastClaim => next.last_claim -= 1,
            Action::CheckLease(batch) => next.batches[*batch].task = Task::Checked,
            Action::LeaseCheckFails(batch) => next.set_verdicts(*batch, |_| Verdict::NotSent),
            Action::Write(batch) => next.write(*batch),
            Action::Process(batch, course) => self.process(&mut next, *batch, *course),
            Action::Refuse(batch) => next.batches[*batch].request = Request::Refused,
            Action::Lose(batch) => next.batches[*batch].request = Request::Ended,
            Action::ReceiveResponse(batch) => {
                let batch = *batch;
                let verdicts = verdicts_of(&next.batches[batch]);
                next.set_verdicts(batch, |place| verdicts[place]);
            }
            Action::ReceivePartialResponse(batch, left_out) => {
                let batch = *batch;
                let (verdicts, courses) =
                    (verdicts_of(&next.batches[batch]), next.batches[batch].courses.clone());
                let verdict = |place: usize| {
                    if courses[place] == *left_out { Verdict::Unknown } else { verdicts[place] }
                };
                next.set_verdicts(batch, verdict);
            }
            Action::StopWaiting(batch) | Action::TimeOut(batch) => {
                next.set_verdicts(*batch, |_| Verdict::Unknown);
            }
            Action::Record(batch) => {
                self.record(&mut next, *batch, None);
                next.batches[*batch].task = Task::Ended;
            }
            Action::RecordPart(batch, left_out) => {
                self.record(&mut next, *batch, Some(*left_out));
                if !next.batches[*batch].is_in_flight(*left_out) {
                    next.batches[*batch].task = Task::Ended;
                }
            }
            Action::RecordAcknowledgementLost(batch) => self.record(&mut next, *batch, None),
            Action::StartLookUp(instance) => next.start_look_up(*instance),
            Action::Read(instance) => self.read(&mut next, *instance),
            Action::Settle(instance) => next.settle(*instance),
        }
        next.end_requests_without_effect();
        next
    }

    /// The courses in flight for this batch become unconfirmed, except one whose row is locked.
    fn mark_unconfirmed(&self, next: &mut State, id: BatchId, left_out: Option<Course>) {
        for course in next.batches[id].in_flight.clone() {
            let (is_locked, is_pending) =
                (Some(course) == left_out, next.rows[course].status == Status::Pending);
            if !is_locked && is_pending && self.orphans == Orphans::Unconfirmed {
                next.set(course, id, Status::Unconfirmed, None);
            }
            if !is_locked || self.locked_rows == LockedRows::DroppedByMark {
                next.batches[id].in_flight.retain(|other| *other != course);
            }
        }
        next.update_intent(id);
    }

    fn start_claim(&self, next: &mut State, instance: Instance, courses: &[Course]) {
        next.batches.push(Batch {
            sender: instance,
            term: next.lease.term,
            courses: courses.to_vec(),
            in_flight: Vec::new(),
            intent: Intent::Missing { number: next.last_claim + 1 },
            task: match self.claiming {
                Claiming::BeforeSend => Task::Claiming,
                Claiming::AfterSend => Task::Claimed,
            },
            request: Request::NotWritten,
        });
    }

    fn process(&self, next: &mut State, id: BatchId, course: Course) {
        let key_exists = next.record_of(course).is_some();
        let new = next.records.len();
        let place = next.batches[id].courses.iter().position(|other| *other == course);
        let Request::Open(progress) = &mut next.batches[id].request else { return };
        let Some(create_progress) = place.and_then(|place| progress.get_mut(place)) else { return };
        *create_progress = match (self.uniqueness, *create_progress) {
            (Uniqueness::Atomic | Uniqueness::LooksFirst, CreateProgress::Untouched) if key_exists => {
                CreateProgress::Conflict
            }
            (Uniqueness::LooksFirst, CreateProgress::Untouched) => CreateProgress::KeyFree,
            _ => CreateProgress::Created(new),
        };
        if *create_progress == CreateProgress::Created(new) {
            next.records.push(course);
        }
    }

    /// Records the result of a batch, except for a course whose row is locked.
    fn record(&self, next: &mut State, id: BatchId, left_out: Option<Course>) {
        let Task::ResponseReceived(verdicts) = next.batches[id].task.clone() else { return };
        for (course, verdict) in next.batches[id].courses.clone().into_iter().zip(verdicts) {
            let is_locked = Some(course) == left_out;
            if !is_locked && verdict != Verdict::NotSent && self.may_record(next, id, course) {
                next.history.stale_write |= !is_own(next, id, course);
                let (status, hubspot_id) = transition(verdict);
                next.set(course, id, status, hubspot_id);
            }
            if !is_locked || self.locked_rows == LockedRows::DroppedByRecord {
                next.batches[id].in_flight.retain(|other| *other != course);
            }
        }
        next.update_intent(id);
    }

    /// Whether the row may be changed by a result of this batch.
    fn may_record(&self, state: &State, id: BatchId, course: Course) -> bool {
        match self.guard {
            Guard::IntentAndBatch => is_own(state, id, course),
            Guard::StatusOnly => state.rows[course].status != Status::Synced,
            Guard::BatchOnly => {
                state.batches[id].is_in_flight(course) || state.rows[course].batch == Some(id)
            }
        }
    }

    fn read(&self, next: &mut State, instance: Instance) {
        let Some(look_up) = next.daemons[instance].look_up.clone() else { return };
        let find = |(course, _): &(Course, BatchId)| match self.unconfirmed {
            UnconfirmedPolicy::LookUp => next.record_of(*course),
            // No read is sent.
            UnconfirmedPolicy::Hold | UnconfirmedPolicy::Resend => None,
        };
        let found = look_up.courses.iter().map(find).collect();
        next.daemons[instance].look_up = Some(LookUp { found: Some(found), ..look_up });
    }
}

impl State {
    fn crash(&mut self, instance: Instance) {
        self.daemons[instance] = Daemon::default();
        if self.lease.holder == Holder::Alive(instance) {
            self.lease.holder = Holder::Dead;
        }
        for batch in self.batches.iter_mut().filter(|batch| batch.sender == instance) {
            batch.task = Task::Ended;
        }
    }

    fn lead(&mut self, instance: Instance) {
        let holder = Holder::Alive(instance);
        self.lease.term += u8::from(self.lease.holder != holder);
        self.lease.holder = holder;
        self.lease.is_expired = false;
    }

    /// The intent is in the journal, and the number of the claim is taken. The rows stay as they are.
    fn commit_claim(&mut self, id: BatchId) {
        let batch = &mut self.batches[id];
        if let Intent::Missing { number } = batch.intent {
            self.last_claim = self.last_claim.max(number);
        }
        batch.intent = Intent::Open;
        batch.in_flight = batch.courses.clone();
        if batch.task == Task::Claiming {
            batch.task = Task::Claimed;
        }
    }

    fn refuse_claim(&mut self, id: BatchId) {
        self.batches[id].intent = Intent::Closed;
        self.batches[id].task = Task::Ended;
    }

    fn withdraw(&mut self, id: BatchId) {
        for course in self.batches[id].courses.clone() {
            if self.is_unconfirmed_by(course, id) {
                self.set(course, id, Status::Pending, None);
            }
        }
        let batch = &mut self.batches[id];
        batch.intent = Intent::Closed;
        batch.in_flight = Vec::new();
        batch.task = Task::Ended;
    }

    /// The intent is open until each course has an outcome, then unknown until no row is unconfirmed because of it.
    fn update_intent(&mut self, id: BatchId) {
        let is_unknown = self.batches[id].courses.iter().any(|course| self.is_unconfirmed_by(*course, id));
        let batch = &mut self.batches[id];
        if batch.in_flight.is_empty() {
            batch.intent = if is_unknown { Intent::Unknown } else { Intent::Closed };
        }
    }

    /// Ends requests that were never written and never will be, and requests whose response is not received.
    fn end_requests_without_effect(&mut self) {
        for batch in &mut self.batches {
            let is_never_written =
                batch.request == Request::NotWritten && matches!(batch.task, Task::ClaimLost | Task::Ended);
            if is_never_written || (batch.task != Task::Sent && batch.has_response()) {
                batch.request = Request::Ended;
            }
        }
    }

    fn write(&mut self, id: BatchId) {
        let batch = &mut self.batches[id];
        self.history.sent_unclaimed |= batch.is_being_claimed();
        batch.request = Request::Open(vec![CreateProgress::Untouched; batch.courses.len()]);
        batch.task = Task::Sent;
    }

    fn set_verdicts(&mut self, id: BatchId, verdict: impl Fn(usize) -> Verdict) {
        let batch = &mut self.batches[id];
        batch.task = Task::ResponseReceived((0..batch.courses.len()).map(verdict).collect());
    }

    fn start_look_up(&mut self, instance: Instance) {
        let courses = self.courses_in(Status::Unconfirmed).into_iter();
        let courses = courses.filter_map(|course| Some((course, self.rows[course].batch?))).collect();
        self.daemons[instance].look_up = Some(LookUp { courses, found: None });
    }

    fn settle(&mut self, instance: Instance) {
        let Some(LookUp { courses, found: Some(found) }) = self.daemons[instance].look_up.take() else {
            return;
        };
        if !self.leads(instance) {
            return;
        }
        for ((course, batch), found) in courses.into_iter().zip(found) {
            if self.is_unconfirmed_by(course, batch) {
                self.set(course, batch, found.map_or(Status::Pending, |_| Status::Synced), found);
            }
        }
        // `outbox::journal::close_settled_batches`.
        for id in 0..self.batches.len() {
            if self.batches[id].intent == Intent::Unknown {
                self.update_intent(id);
            }
        }
    }

    fn set(&mut self, course: Course, batch: BatchId, status: Status, hubspot_id: Option<RecordId>) {
        let row = &mut self.rows[course];
        self.history.synced_was_left |= row.status == Status::Synced && status != Status::Synced;
        *row = Row { status, batch: Some(batch), hubspot_id };
    }
}

/// Whether the course is in flight for this batch, or unconfirmed because of it.
fn is_own(state: &State, id: BatchId, course: Course) -> bool {
    match state.rows[course].status {
        Status::Pending => state.batches[id].is_in_flight(course),
        Status::Unconfirmed => state.is_unconfirmed_by(course, id),
        Status::Synced => false,
    }
}

/// `pipeline::interpret`: the verdict for each course of a batch.
fn verdicts_of(batch: &Batch) -> Vec<Verdict> {
    let verdict = |create_progress: &CreateProgress| match create_progress {
        CreateProgress::Created(id) => Verdict::Created(*id),
        CreateProgress::Conflict => Verdict::Exists,
        CreateProgress::Untouched | CreateProgress::KeyFree => Verdict::Unknown,
    };
    match &batch.request {
        Request::Open(progress) => progress.iter().map(verdict).collect(),
        Request::Refused => vec![Verdict::NotTaken; batch.courses.len()],
        Request::NotWritten | Request::Ended => vec![Verdict::Unknown; batch.courses.len()],
    }
}

/// `pipeline::transition::transition`: the new status and record of a row.
fn transition(verdict: Verdict) -> (Status, Option<RecordId>) {
    match verdict {
        Verdict::Created(id) => (Status::Synced, Some(id)),
        // Only a read can show which record has the key.
        Verdict::Exists | Verdict::Unknown => (Status::Unconfirmed, None),
        Verdict::NotTaken | Verdict::NotSent => (Status::Pending, None),
    }
}

fn is_fault(action: &Action) -> bool {
    matches!(
        action,
        Action::ExpireLeaseEarly
            | Action::Crash(_)
            | Action::MarkUnconfirmedEarly(_)
            | Action::MarkUnconfirmedPart(..)
            | Action::ClaimAcknowledgementLost(_)
            | Action::DeleteLastClaim
            | Action::Refuse(_)
            | Action::Lose(_)
            | Action::ReceivePartialResponse(..)
            | Action::TimeOut(_)
            | Action::RecordPart(..)
            | Action::RecordAcknowledgementLost(_)
    )
}
