//! What may happen next: every step of a daemon, of the database, of HubSpot, and every fault.
//!
//! Each step is atomic because what it stands for is: one statement, one read of memory, one act of
//! HubSpot. Everything between two steps may take any time at all, so each daemon may stand still
//! between any two of them, past its lease too.

use stateright::{Model, Property};

use super::properties;
use super::state::{BatchId, Course, Fate, Holder, Instance, Intent, Leads, Request, State, Status, Task};
use super::variants::{Claiming, Doubts, Protocol};

/// One step. Where it stands for code, that is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The lease of a dead daemon runs out.
    Expire,
    /// Fault: the lease of a living daemon runs out, because it stands still or is cut off.
    ExpireEarly,
    /// Fault: the process dies, its memory is lost, and it starts again as somebody new. What it
    /// has written to a socket goes on.
    Crash(Instance),
    /// `outbox::lease::lead`: takes a lease that has expired, or wakes one's own up again.
    Lead(Instance),
    /// `outbox::recover::orphan`, as `daemon::leader::take` calls it before anything is claimed: what
    /// older terms left in flight. It is not guarded by the lease.
    Orphan(Instance),
    /// `outbox::recover::orphan`, of one's own batch whose task is gone.
    Overdue(BatchId),
    /// Fault: the same while the task only stands still; or by an earlier leader that stood still
    /// between renewing its lease and this statement.
    DoubtEarly(BatchId),
    /// `outbox::claim::claim`, guarded by the lease.
    Claim(Instance, Vec<Course>),
    /// Fault: the claim commits, and its sender never learns of it.
    ClaimUnanswered(Instance, Vec<Course>),
    /// The claim that [`Claiming::AfterSend`] makes up for.
    ClaimLate(BatchId),
    /// `daemon::deliver::deliver`: `Held::is_valid` says yes. The write comes later, and nothing checks then.
    Check(BatchId),
    /// `daemon::deliver::deliver`: `Held::is_valid` says no; the courses go back unsent.
    CheckFails(BatchId),
    /// `hubspot::client::create` writes the request. Guarded by nothing.
    Write(BatchId),
    /// HubSpot works on one course of a request, at any time after the write.
    Process(BatchId, Course),
    /// Fault: HubSpot turns the request away for a reason that is not a course's (429 and the like).
    Refuse(BatchId),
    /// Fault: the request, or what is left of it, never reaches HubSpot.
    Lose(BatchId),
    /// `policy::interpret::interpret`: the answer arrives.
    Answer(BatchId),
    /// Fault: the answer arrives and leaves one course out.
    AnswerWithout(BatchId, Course),
    /// `policy::interpret::interpret`: no answer comes any more.
    GiveUp(BatchId),
    /// Fault: no answer in time, or it is lost. HubSpot may still be working on the request.
    GiveUpEarly(BatchId),
    /// `outbox::record::record`, guarded by the batch and the status.
    Record(BatchId),
    /// Fault: the record commits, its sender does not learn of it, and will record again.
    RecordUnanswered(BatchId),
    /// `outbox::recover::due`: what is in doubt, under the lease.
    Look(Instance),
    /// `daemon::doubts::look_up`: HubSpot answers who holds the keys. Guarded by nothing.
    Read(Instance),
    /// `policy::reconcile::settle`, then `outbox::recover::settle` and `close`: guarded by the lease, the
    /// batch and the status.
    Settle(Instance),
}

impl Protocol {
    /// What goes on by itself, without a fault. Where there is nothing, the system is at rest.
    pub fn moves(&self, state: &State) -> Vec<Action> {
        let mut moves = Vec::new();
        let lease = &state.lease;
        if lease.holder == Holder::Dead && !lease.is_expired {
            moves.push(Action::Expire);
        }
        for instance in 0..state.daemons.len() {
            self.moves_of(state, instance, &mut moves);
        }
        for batch in 0..state.batches.len() {
            moves_of_batch(state, batch, &mut moves);
        }
        moves
    }

    fn moves_of(&self, state: &State, instance: Instance, moves: &mut Vec<Action>) {
        let daemon = &state.daemons[instance];
        if state.lease.is_expired {
            moves.push(Action::Lead(instance));
        }
        if matches!(daemon.leads, Leads::Taken(_)) {
            moves.push(Action::Orphan(instance));
        }
        match &daemon.look {
            Some(look) if look.found.is_none() => moves.push(Action::Read(instance)),
            Some(_) => moves.push(Action::Settle(instance)),
            None => {}
        }
        if !state.leads(instance) {
            return;
        }
        for courses in choices(&self.claimable(state)) {
            moves.push(Action::Claim(instance, courses));
        }
        let in_doubt = !state.courses_in(Status::Unconfirmed).is_empty();
        if in_doubt && daemon.look.is_none() && self.doubts != Doubts::Hold {
            moves.push(Action::Look(instance));
        }
    }

    /// Pending courses; without those that are on their way unclaimed, or one daemon would send them
    /// without end.
    fn claimable(&self, state: &State) -> Vec<Course> {
        let mut pending = state.courses_in(Status::Pending);
        if self.claiming == Claiming::AfterSend {
            let is_live = |course: &Course| {
                state.batches.iter().any(|batch| {
                    batch.task != Task::Gone
                        && batch.intent == Intent::Missing
                        && batch.courses.contains(course)
                })
            };
            pending.retain(|course| !is_live(course));
        }
        pending
    }

    /// What may go wrong.
    pub fn faults(&self, state: &State) -> Vec<Action> {
        let mut faults = Vec::new();
        if matches!(state.lease.holder, Holder::Alive(_)) && !state.lease.is_expired {
            faults.push(Action::ExpireEarly);
        }
        for instance in 0..state.daemons.len() {
            if state.has_something_to_lose(instance) {
                faults.push(Action::Crash(instance));
            }
            if state.leads(instance) && self.claiming == Claiming::BeforeSend {
                let choices = choices(&state.courses_in(Status::Pending));
                faults.extend(choices.into_iter().map(|courses| Action::ClaimUnanswered(instance, courses)));
            }
        }
        for batch in 0..state.batches.len() {
            faults_of_batch(state, batch, &mut faults);
        }
        faults
    }
}

fn moves_of_batch(state: &State, id: BatchId, moves: &mut Vec<Action>) {
    let batch = &state.batches[id];
    if let Request::Open(fates) = &batch.request {
        for (course, fate) in batch.courses.iter().zip(fates) {
            if matches!(fate, Fate::Untouched | Fate::Free) {
                moves.push(Action::Process(id, *course));
            }
        }
    }
    match &batch.task {
        Task::Claimed if state.grants(batch.sender, batch.term) => moves.push(Action::Check(id)),
        Task::Claimed => moves.push(Action::CheckFails(id)),
        Task::Checked => moves.push(Action::Write(id)),
        Task::Sent if batch.intent == Intent::Missing && state.leads(batch.sender) => {
            moves.push(Action::ClaimLate(id));
        }
        Task::Sent if batch.is_answered() => moves.push(Action::Answer(id)),
        Task::Sent if batch.request == Request::Over => moves.push(Action::GiveUp(id)),
        Task::Sent => {}
        Task::Answered(_) => moves.push(Action::Record(id)),
        Task::Gone if batch.intent == Intent::Open && is_own_of_leader(state, id) => {
            moves.push(Action::Overdue(id));
        }
        Task::Gone => {}
    }
}

fn faults_of_batch(state: &State, id: BatchId, faults: &mut Vec<Action>) {
    let batch = &state.batches[id];
    if let Request::Open(fates) = &batch.request {
        if fates.iter().any(|fate| matches!(fate, Fate::Untouched | Fate::Free)) {
            faults.push(Action::Lose(id));
        }
        if fates.iter().all(|fate| *fate == Fate::Untouched) {
            faults.push(Action::Refuse(id));
        }
    }
    match &batch.task {
        Task::Sent => {
            if batch.request != Request::Over {
                faults.push(Action::GiveUpEarly(id));
            }
            if batch.is_answered() && batch.courses.len() > 1 {
                faults.extend(batch.courses.iter().map(|course| Action::AnswerWithout(id, *course)));
            }
        }
        Task::Answered(_) => faults.push(Action::RecordUnanswered(id)),
        Task::Claimed | Task::Checked | Task::Gone => {}
    }
    if batch.intent == Intent::Open {
        faults.push(Action::DoubtEarly(id));
    }
}

/// Whether the batch was claimed under the lease that is held now.
fn is_own_of_leader(state: &State, id: BatchId) -> bool {
    let batch = &state.batches[id];
    batch.term == state.lease.term && state.leads(batch.sender)
}

/// Every company in which a claim may take some of these courses.
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
        actions.extend(self.moves(state));
        if state.faults_left > 0 {
            actions.extend(self.faults(state));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(self.after(state, &action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::of(self)
    }
}
