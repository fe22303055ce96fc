//! The possible next steps: of the catalogue, the daemons and HubSpot, and every fault.
//!
//! Each step is atomic because it represents an atomic action. Any time may pass between two steps. The check of the
//! lease and the write of the request are one step: a daemon that is suspended between them is a slow network.

use stateright::{Model, Property};

use super::properties;
use super::state::{Content, Intent, RequestId, State, Status, Task, Verdict, Wire};
use super::variants::{Part, Protocol};

/// One step, with the function that it represents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The catalogue writes the row: `course_outbox_revise`. It need not: no step is waited for.
    Revise(Content),
    /// `outbox::claim::claim` of the leader, and `pipeline::claim`: a claim that needs no request has its result at once.
    Claim,
    /// `pipeline::send::send`: the lease is valid, and the request is written.
    Send(RequestId),
    /// `pipeline::send::send`: the lease is not valid, so nothing is sent.
    LeaseCheckFails(RequestId),
    /// HubSpot executes the request, at any time after it was sent.
    Execute(RequestId),
    /// A request whose sender does not wait any more is never executed.
    Vanish(RequestId),
    /// `pipeline::interpret::interpret`: the response arrives.
    Receive(RequestId),
    /// `outbox::record::record`, and `course_outbox_go_on`. Not guarded by the lease.
    Record(RequestId),
    /// `outbox::recover::mark_orphans_unconfirmed`: for a request of an earlier term.
    MarkUnconfirmed(RequestId),
    /// `outbox::changes::due_records` or `outbox::recover::due_lookups`, the reads, and the decision
    /// (`reconcile::record_meaning`, `reconcile::meaning`). One step, because a settlement is refused if the row or its
    /// request has changed since.
    LookUp,
    /// The same for a row whose recheck is due.
    Recheck,
    /// `outbox::changes::settle_changes` or `outbox::recover::settle_unconfirmed`: guarded by the lease, the request and
    /// the revision.
    Settle,
    /// Fault: the other instance becomes the leader. The earlier one is suspended, and records what it receives.
    TakeOver,
    /// Fault: the leader dies, and the other instance becomes the leader.
    Crash,
    /// Fault: HubSpot refuses the request, for a reason that does not concern the course (such as 429).
    Refuse(RequestId),
    /// Fault: the request times out, or its response is lost. HubSpot may execute it later, or has executed it.
    TimeOut(RequestId),
    /// Fault: the result is committed, but the acknowledgement is lost, so it will be recorded again.
    RecordAcknowledgementLost(RequestId),
}

impl Protocol {
    /// The possible steps without a write of the catalogue and without a fault. If there are none, the system is at rest.
    pub fn regular_steps(&self, state: &State) -> Vec<Action> {
        let mut steps = Vec::new();
        let is_claimable = state.open() == 0 || !self.has(Part::OpenRequestsAreLeftOut);
        if state.row.status == Status::Pending && is_claimable && state.open() < 2 {
            steps.push(Action::Claim);
        }
        match (&state.reading, state.row.status) {
            (Some(_), _) => steps.push(Action::Settle),
            (None, Status::Unconfirmed) if state.unknown().is_some() => steps.push(Action::LookUp),
            (None, Status::Synced | Status::Unconfirmed) if is_recheck_due(state) => {
                steps.push(Action::Recheck);
            }
            (None, _) => {}
        }
        for (id, request) in state.requests.iter().enumerate() {
            if request.wire == Wire::Open {
                steps.push(Action::Execute(id));
                if request.task != Task::Sent {
                    steps.push(Action::Vanish(id));
                }
            }
            match (request.task, request.wire) {
                (Task::Claimed, _) if request.is_current => steps.push(Action::Send(id)),
                (Task::Claimed, _) => steps.push(Action::LeaseCheckFails(id)),
                (Task::Sent, Wire::Done(_)) => steps.push(Action::Receive(id)),
                (Task::Answered(_), _) => steps.push(Action::Record(id)),
                (Task::Sent | Task::Ended, _) => {}
            }
            if request.intent == Intent::Open && !request.is_current && self.has(Part::MarkOrphans) {
                steps.push(Action::MarkUnconfirmed(id));
            }
        }
        steps
    }

    /// The possible writes of the catalogue. A withdrawal keeps the value.
    fn writes(&self, state: &State) -> Vec<Action> {
        let now = state.row.content;
        let content = |to: &Content| Content { value: if to.archived { now.value } else { to.value }, ..*to };
        let mut contents: Vec<Content> = self.contents.iter().map(content).collect();
        contents.retain(|content| *content != now && state.writes_left > 0);
        contents.into_iter().map(Action::Revise).collect()
    }
}

/// The possible faults.
fn faults(state: &State) -> Vec<Action> {
    let mut faults = Vec::new();
    let is_running = |task| !matches!(task, Task::Ended);
    if state.requests.iter().any(|it| it.is_current && is_running(it.task)) || state.reading.is_some() {
        faults.extend([Action::TakeOver, Action::Crash]);
    }
    for (id, request) in state.requests.iter().enumerate() {
        if request.task == Task::Sent {
            faults.push(Action::TimeOut(id));
            if request.wire == Wire::Open {
                faults.push(Action::Refuse(id));
            }
        }
        if let Task::Answered(_) = request.task {
            faults.push(Action::RecordAcknowledgementLost(id));
        }
    }
    faults
}

/// Whether the requests that the recheck waits for have been executed, or never will be.
fn is_recheck_due(state: &State) -> bool {
    state.row.recheck && !state.requests.iter().any(|request| request.is_awaited)
}

/// Whether the step is a fault.
pub fn is_fault(action: &Action) -> bool {
    matches!(
        action,
        Action::TakeOver
            | Action::Crash
            | Action::Refuse(_)
            | Action::TimeOut(_)
            | Action::RecordAcknowledgementLost(_)
    )
}

/// What the task receives if the request was refused.
pub const REFUSED: Wire = Wire::Done(Verdict::NotTaken);

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.is_new, self.writes, self.faults)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(self.regular_steps(state));
        actions.extend(self.writes(state));
        if state.faults_left > 0 {
            actions.extend(faults(state));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(self.apply(state, &action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::properties_of(self)
    }
}
