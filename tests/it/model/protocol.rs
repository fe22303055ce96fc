//! The possible next steps: of the daemons, the database and HubSpot, and every fault.
//!
//! Each step is atomic because it represents an atomic action: one statement, one access to memory, one action of
//! HubSpot. Any time may pass between two steps, so a daemon may be suspended between any two of them, also past its
//! lease.

use stateright::{Model, Property};

use super::properties;
use super::state::{
    BatchId, Course, CreateProgress, Holder, Instance, Intent, Leadership, Request, State, Status, Task,
};
use super::variants::{Claiming, Protocol, UnconfirmedPolicy};

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
    /// `outbox::recover::mark_orphans_unconfirmed`, as a new leader calls it before the first claim, for courses that
    /// earlier terms left in flight. It is not guarded by the lease.
    MarkOrphansUnconfirmed(Instance),
    /// `outbox::recover::mark_orphans_unconfirmed`, for an own batch whose task has ended.
    MarkOverdueUnconfirmed(BatchId),
    /// Fault: the same while the task is only suspended, or by an earlier leader that was suspended between the renewal
    /// of its lease and this statement.
    MarkUnconfirmedEarly(BatchId),
    /// `outbox::claim::claim`, guarded by the lease.
    Claim(Instance, Vec<Course>),
    /// Fault: the claim commits, but its acknowledgement is lost.
    ClaimAcknowledgementLost(Instance, Vec<Course>),
    /// The claim after the send, with [`Claiming::AfterSend`] only.
    ClaimLate(BatchId),
    /// `pipeline::send::deliver`: the lease is valid. The write follows later, without another check.
    CheckLease(BatchId),
    /// `pipeline::send::deliver`: the lease is not valid. The courses are released unsent.
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
    /// `outbox::record::record`, guarded by the batch and the status.
    Record(BatchId),
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
            regular_steps_of_batch(state, batch, &mut steps);
        }
        steps
    }

    fn regular_steps_of(&self, state: &State, instance: Instance, steps: &mut Vec<Action>) {
        let daemon = &state.daemons[instance];
        if state.lease.is_expired {
            steps.push(Action::AcquireLease(instance));
        }
        if matches!(daemon.leadership, Leadership::Taken(_)) {
            steps.push(Action::MarkOrphansUnconfirmed(instance));
        }
        match &daemon.look_up {
            Some(look_up) if look_up.found.is_none() => steps.push(Action::Read(instance)),
            Some(_) => steps.push(Action::Settle(instance)),
            None => {}
        }
        if !state.leads(instance) {
            return;
        }
        for courses in choices(&self.claimable(state)) {
            steps.push(Action::Claim(instance, courses));
        }
        let has_unconfirmed = !state.courses_in(Status::Unconfirmed).is_empty();
        if has_unconfirmed && daemon.look_up.is_none() && self.unconfirmed != UnconfirmedPolicy::Hold {
            steps.push(Action::StartLookUp(instance));
        }
    }

    /// The pending courses. With claims after the send, those without courses that are being sent: a daemon would send
    /// them again without end.
    fn claimable(&self, state: &State) -> Vec<Course> {
        let mut pending = state.courses_in(Status::Pending);
        if self.claiming == Claiming::AfterSend {
            let is_live = |course: &Course| {
                state.batches.iter().any(|batch| {
                    batch.task != Task::Ended
                        && batch.intent == Intent::Missing
                        && batch.courses.contains(course)
                })
            };
            pending.retain(|course| !is_live(course));
        }
        pending
    }

    /// The possible faults.
    pub fn faults(&self, state: &State) -> Vec<Action> {
        let mut faults = Vec::new();
        if matches!(state.lease.holder, Holder::Alive(_)) && !state.lease.is_expired {
            faults.push(Action::ExpireLeaseEarly);
        }
        for instance in 0..state.daemons.len() {
            if state.has_volatile_state(instance) {
                faults.push(Action::Crash(instance));
            }
            if state.leads(instance) && self.claiming == Claiming::BeforeSend {
                let choices = choices(&state.courses_in(Status::Pending));
                faults.extend(
                    choices.into_iter().map(|courses| Action::ClaimAcknowledgementLost(instance, courses)),
                );
            }
        }
        for batch in 0..state.batches.len() {
            faults_of_batch(state, batch, &mut faults);
        }
        faults
    }
}

fn regular_steps_of_batch(state: &State, id: BatchId, steps: &mut Vec<Action>) {
    let batch = &state.batches[id];
    if let Request::Open(progress) = &batch.request {
        for (course, create_progress) in batch.courses.iter().zip(progress) {
            if matches!(create_progress, CreateProgress::Untouched | CreateProgress::KeyFree) {
                steps.push(Action::Process(id, *course));
            }
        }
    }
    match &batch.task {
        Task::Claimed if state.grants(batch.sender, batch.term) => steps.push(Action::CheckLease(id)),
        Task::Claimed => steps.push(Action::LeaseCheckFails(id)),
        Task::Checked => steps.push(Action::Write(id)),
        Task::Sent if batch.intent == Intent::Missing && state.leads(batch.sender) => {
            steps.push(Action::ClaimLate(id));
        }
        Task::Sent if batch.has_response() => steps.push(Action::ReceiveResponse(id)),
        Task::Sent if batch.request == Request::Ended => steps.push(Action::StopWaiting(id)),
        Task::Sent => {}
        Task::ResponseReceived(_) => steps.push(Action::Record(id)),
        Task::Ended if batch.intent == Intent::Open && is_own_of_leader(state, id) => {
            steps.push(Action::MarkOverdueUnconfirmed(id));
        }
        Task::Ended => {}
    }
}

fn faults_of_batch(state: &State, id: BatchId, faults: &mut Vec<Action>) {
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
    match &batch.task {
        Task::Sent => {
            if batch.request != Request::Ended {
                faults.push(Action::TimeOut(id));
            }
            if batch.has_response() && batch.courses.len() > 1 {
                faults.extend(batch.courses.iter().map(|course| Action::ReceivePartialResponse(id, *course)));
            }
        }
        Task::ResponseReceived(_) => faults.push(Action::RecordAcknowledgementLost(id)),
        Task::Claimed | Task::Checked | Task::Ended => {}
    }
    if batch.intent == Intent::Open {
        faults.push(Action::MarkUnconfirmedEarly(id));
    }
}

/// Whether the batch was claimed in the current term.
fn is_own_of_leader(state: &State, id: BatchId) -> bool {
    let batch = &state.batches[id];
    batch.term == state.lease.term && state.leads(batch.sender)
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
