//! The possible next steps: of the daemons, the database and HubSpot, and every fault.
//!
//! Each step is atomic because it represents an atomic action: one statement, one access to memory, one action of
//! HubSpot. Any time may pass between two steps, so a daemon may be suspended between any two of them, also past its
//! lease.

use stateright::{Model, Property};

use super::properties;
use super::state::{
    Batch, BatchId, Course, CreateProgress, Holder, Instance, Intent, Request, State, Status, Task, Verdict,
};
use super::variants::{ClaimCheck, Claiming, LockedRows, Orphans, Protocol, Retention, UnconfirmedPolicy};

/// One step, with the function that it represents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The lease of a dead daemon expires.
    ExpireLease,
    /// Fault: the lease of a running daemon expires, because it is suspended or disconnected.
    ExpireLeaseEarly,
    /// Fault: the process dies and loses its memory. It restarts with a new identity. Requests that it has written
    /// continue.
    Crash(Instance),
    /// `outbox::lease::acquire_or_renew`: takes an expired lease, or renews its own expired one.
    AcquireLease(Instance),
    /// `outbox::recover::mark_orphans_unconfirmed` of the leader, guarded by the lease: for a batch of another term, or
    /// for an own one whose task has ended.
    MarkUnconfirmed(BatchId),
    /// Fault: the same for an own batch while its task is only suspended.
    MarkUnconfirmedEarly(BatchId),
    /// Fault: the same, also early, without one course, because another session holds its row. The course stays in flight.
    MarkUnconfirmedPart(BatchId, Course),
    /// `outbox::claim::claim` starts, and chooses from the courses in its snapshot. Guarded by the lease. A daemon waits
    /// for the end of its claim before it starts the next one.
    StartClaim(Instance, Vec<Course>),
    /// The claim is committed. Guarded by the term of the lease (a takeover waits for claims that have found the lease
    /// valid) and by the number of the claim.
    CommitClaim(BatchId),
    /// The claim fails: another one has its number, the lease is not valid, or its daemon is not connected any more.
    RefuseClaim(BatchId),
    /// Fault: the acknowledgement of a claim is lost. Its statement may be committed before or after that, or never.
    ClaimAcknowledgementLost(BatchId),
    /// `outbox::claim::withdraw`, for a claim whose acknowledgement was lost. Not guarded by the lease.
    Withdraw(BatchId),
    /// Fault: retention deletes the last claim, with [`Retention::DeletesLastClaim`] only.
    DeleteLastClaim,
    /// `pipeline::send::send`: the lease is valid. The write follows later, without another check.
    CheckLease(BatchId),
    /// `pipeline::send::send`: the lease is not valid, so nothing is sent.
    LeaseCheckFails(BatchId),
    /// `hubspot::client::create` writes the request. Not guarded.
    Write(BatchId),
    /// HubSpot executes the request for one course, at any time after the write.
    Process(BatchId, Course),
    /// Fault: HubSpot refuses the whole request, for a reason that does not concern a course (such as 429).
    Refuse(BatchId),
    /// Fault: the request, or the rest of it, never reaches HubSpot.
    Lose(BatchId),
    /// `pipeline::interpret::interpret`: the response arrives.
    ReceiveResponse(BatchId),
    /// Fault: the response arrives without one course.
    ReceivePartialResponse(BatchId, Course),
    /// `pipeline::interpret::interpret`: no response can arrive any more.
    StopWaiting(BatchId),
    /// Fault: the request times out, or the response is lost. HubSpot may still execute the request.
    TimeOut(BatchId),
    /// `outbox::record::record`: for courses in flight for this batch, or unconfirmed because of it. Not guarded by the
    /// lease.
    Record(BatchId),
    /// Fault: the same without one course, because another session holds its row. If the course is in flight, it stays so,
    /// and the task records it again. If it is unconfirmed, the result is lost.
    RecordPart(BatchId, Course),
    /// Fault: the result is committed, but the acknowledgement is lost, so it will be recorded again.
    RecordAcknowledgementLost(BatchId),
    /// `outbox::recover::due_lookups`: the unconfirmed courses, guarded by the lease.
    StartLookUp(Instance),
    /// `pipeline::reconcile::lookup::look_up`: HubSpot returns the records with these keys. Not guarded.
    Read(Instance),
    /// `pipeline::reconcile::meaning::settle`, then `outbox::recover::settle_unconfirmed` and `close`: guarded by the
    /// lease, the batch and the status.
    Settle(Instance),
}

impl Protocol {
    /// The possible steps without a fault. If there are none, the system is at rest.
    pub fn regular_steps(&self, state: &State) -> Vec<Action> {
        let mut steps = Vec::new();
        let lease = &state.lease;
        if lease.holder == Holder::Dead && !lease.is_expired {
            steps.push(Action::ExpireLease);
        }
        for instance in 0..state.daemons.len() {
            self.regular_steps_of(state, instance, &mut steps);
        }
        for batch in 0..state.batches.len() {
            self.regular_steps_of_batch(state, batch, &mut steps);
        }
        steps
    }

    fn regular_steps_of(&self, state: &State, instance: Instance, steps: &mut Vec<Action>) {
        let daemon = &state.daemons[instance];
        if state.lease.is_expired {
            steps.push(Action::AcquireLease(instance));
        }
        match &daemon.look_up {
            Some(look_up) if look_up.found.is_none() => steps.push(Action::Read(instance)),
            Some(_) => steps.push(Action::Settle(instance)),
            None => {}
        }
        if !state.leads(instance) {
            return;
        }
        if !state.batches.iter().any(|batch| batch.sender == instance && batch.task == Task::Claiming) {
            let choices = choices(&self.claimable(state)).into_iter();
            steps.extend(choices.map(|courses| Action::StartClaim(instance, courses)));
        }
        let has_unconfirmed = !state.courses_in(Status::Unconfirmed).is_empty();
        if has_unconfirmed && daemon.look_up.is_none() && self.unconfirmed != UnconfirmedPolicy::Hold {
            steps.push(Action::StartLookUp(instance));
        }
    }

    /// The pending courses that are not in flight. With claims after the send, also without the courses that are being
    /// sent: a daemon would send them again without end.
    fn claimable(&self, state: &State) -> Vec<Course> {
        let mut claimable = state.courses_in(Status::Pending);
        if self.claim_check != ClaimCheck::NumberOnly {
            claimable.retain(|course| state.batches_in_flight(*course) == 0);
        }
        if self.claiming == Claiming::AfterSend {
            let is_being_sent = |batch: &Batch| batch.task != Task::Ended && batch.is_being_claimed();
            claimable.retain(|course| {
                !state.batches.iter().any(|batch| is_being_sent(batch) && batch.courses.contains(course))
            });
        }
        claimable
    }

    fn regular_steps_of_batch(&self, state: &State, id: BatchId, steps: &mut Vec<Action>) {
        let batch = &state.batches[id];
        if let Request::Open(progress) = &batch.request {
            for (course, create_progress) in batch.courses.iter().zip(progress) {
                if matches!(create_progress, CreateProgress::Untouched | CreateProgress::KeyFree) {
                    steps.push(Action::Process(id, *course));
                }
            }
        }
        self.steps_of_claim(state, id, steps);
        let is_orphan = batch.term != state.lease.term || matches!(batch.task, Task::ClaimLost | Task::Ended);
        if is_orphan && self.can_mark(state, batch) {
            steps.push(Action::MarkUnconfirmed(id));
        }
        match &batch.task {
            Task::ClaimLost if !batch.is_being_claimed() => steps.push(Action::Withdraw(id)),
            Task::Claimed if state.grants(batch.term) => steps.push(Action::CheckLease(id)),
            Task::Claimed => steps.push(Action::LeaseCheckFails(id)),
            Task::Checked => steps.push(Action::Write(id)),
            // The claim after the send: the response is read once the claim is committed, or cannot be any more.
            Task::Sent if batch.is_being_claimed() && batch.term == state.lease.term => {}
            Task::Sent if batch.has_response() => steps.push(Action::ReceiveResponse(id)),
            Task::Sent if batch.request == Request::Ended => steps.push(Action::StopWaiting(id)),
            Task::ResponseReceived(_) => steps.push(Action::Record(id)),
            Task::Claiming | Task::ClaimLost | Task::Sent | Task::Ended => {}
        }
    }

    /// The possible ends of a claim whose statement is running.
    fn steps_of_claim(&self, state: &State, id: BatchId, steps: &mut Vec<Action>) {
        let batch = &state.batches[id];
        let Intent::Missing { number } = batch.intent else { return };
        let has_number = state.is_free(number) || self.claim_check == ClaimCheck::CoursesOnly;
        let has_begun = self.claiming == Claiming::BeforeSend || batch.task == Task::Sent;
        if has_begun && has_number && batch.term == state.lease.term {
            steps.push(Action::CommitClaim(id));
        }
        let is_disconnected = matches!(batch.task, Task::ClaimLost | Task::Ended);
        if self.claiming == Claiming::BeforeSend
            && (is_disconnected || !has_number || !state.grants(batch.term))
        {
            steps.push(Action::RefuseClaim(id));
        }
    }

    /// Whether the leader can mark the courses of this batch unconfirmed.
    fn can_mark(&self, state: &State, batch: &Batch) -> bool {
        batch.intent == Intent::Open && state.grants(state.lease.term) && self.orphans != Orphans::InFlight
    }

    /// The possible faults.
    pub fn faults(&self, state: &State) -> Vec<Action> {
        let mut faults = Vec::new();
        if matches!(state.lease.holder, Holder::Alive(_)) && !state.lease.is_expired {
            faults.push(Action::ExpireLeaseEarly);
        }
        let is_closed = |batch: &Batch| !matches!(batch.intent, Intent::Open | Intent::Unknown);
        if self.retention == Retention::DeletesLastClaim && state.batches.iter().all(is_closed) {
            faults.push(Action::DeleteLastClaim);
        }
        for instance in 0..state.daemons.len() {
            if state.has_volatile_state(instance) {
                faults.push(Action::Crash(instance));
            }
        }
        for batch in 0..state.batches.len() {
            faults_of_request(state, batch, &mut faults);
            self.faults_of_journal(state, batch, &mut faults);
        }
        faults
    }

    fn faults_of_journal(&self, state: &State, id: BatchId, faults: &mut Vec<Action>) {
        let batch = &state.batches[id];
        if batch.task == Task::Claiming {
            faults.push(Action::ClaimAcknowledgementLost(id));
        }
        let is_running = !matches!(batch.task, Task::ClaimLost | Task::Ended);
        if batch.term == state.lease.term && is_running && self.can_mark(state, batch) {
            faults.push(Action::MarkUnconfirmedEarly(id));
        }
        // If no other course is left, a locked row only delays the statement.
        let has_others = batch.in_flight.len() > 1;
        if (has_others || self.locked_rows == LockedRows::DroppedByMark) && self.can_mark(state, batch) {
            faults.extend(batch.in_flight.iter().map(|course| Action::MarkUnconfirmedPart(id, *course)));
        }
        if let Task::ResponseReceived(verdicts) = &batch.task {
            faults.push(Action::RecordAcknowledgementLost(id));
            for (course, verdict) in batch.courses.iter().zip(verdicts) {
                let is_left_in_flight = batch.is_in_flight(*course)
                    && (has_others || self.locked_rows == LockedRows::DroppedByRecord);
                // A row is not written if its course was not sent.
                if *verdict != Verdict::NotSent && (is_left_in_flight || state.is_unconfirmed_by(*course, id))
                {
                    faults.push(Action::RecordPart(id, *course));
                }
            }
        }
    }
}

fn faults_of_request(state: &State, id: BatchId, faults: &mut Vec<Action>) {
    let batch = &state.batches[id];
    if let Request::Open(progress) = &batch.request {
        if progress.iter().any(|create_progress| {
            matches!(create_progress, CreateProgress::Untouched | CreateProgress::KeyFree)
        }) {
            faults.push(Action::Lose(id));
        }
        if progress.iter().all(|create_progress| *create_progress == CreateProgress::Untouched) {
            faults.push(Action::Refuse(id));
        }
    }
    if batch.task == Task::Sent {
        if batch.request != Request::Ended {
            faults.push(Action::TimeOut(id));
        }
        if batch.has_response() && batch.courses.len() > 1 {
            faults.extend(batch.courses.iter().map(|course| Action::ReceivePartialResponse(id, *course)));
        }
    }
}

/// All non-empty combinations of these courses, each a possible claim.
fn choices(courses: &[Course]) -> Vec<Vec<Course>> {
    let mut choices = vec![Vec::new()];
    for course in courses {
        for shorter in choices.clone() {
            choices.push([shorter, vec![*course]].concat());
        }
    }
    choices.retain(|choice: &Vec<Course>| !choice.is_empty());
    choices
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.courses, self.faults)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(self.regular_steps(state));
        if state.faults_left > 0 {
            actions.extend(self.faults(state));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(self.apply(state, &action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::properties_of(self)
    }
}
