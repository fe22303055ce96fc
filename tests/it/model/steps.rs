//! What each step does.

use super::protocol::Action;
use super::state::{
    Batch, BatchId, Course, Daemon, Fate, Holder, Instance, Intent, Leads, Look, RecordId, Request, State,
    Status, Task, Verdict,
};
use super::variants::{Claiming, Doubts, Guard, Orphans, Protocol, Uniqueness};

impl Protocol {
    /// The state after this step, which must be possible.
    pub fn after(&self, state: &State, action: &Action) -> State {
        let mut next = state.clone();
        next.faults_left -= u8::from(is_fault(action));
        match action {
            Action::Expire | Action::ExpireEarly => next.lease.is_expired = true,
            Action::Crash(instance) => next.crash(*instance),
            Action::Lead(instance) => next.lead(*instance),
            Action::Orphan(instance) => self.orphan(&mut next, *instance),
            Action::Overdue(batch) | Action::DoubtEarly(batch) => self.doubt(&mut next, *batch),
            Action::Claim(instance, courses) => self.claim(&mut next, *instance, courses, Task::Claimed),
            Action::ClaimUnanswered(instance, courses) => {
                self.claim(&mut next, *instance, courses, Task::Gone);
            }
            Action::ClaimLate(batch) => next.commit_claim(*batch),
            Action::Check(batch) => next.batches[*batch].task = Task::Checked,
            Action::CheckFails(batch) => next.answer(*batch, |_| Verdict::NotTaken),
            Action::Write(batch) => next.write(*batch),
            Action::Process(batch, course) => self.process(&mut next, *batch, *course),
            Action::Refuse(batch) => next.batches[*batch].request = Request::Refused,
            Action::Lose(batch) => next.batches[*batch].request = Request::Over,
            Action::Answer(batch) => {
                let batch = *batch;
                let heard = heard(&next.batches[batch]);
                next.answer(batch, |place| heard[place]);
            }
            Action::AnswerWithout(batch, left_out) => {
                let batch = *batch;
                let (heard, courses) = (heard(&next.batches[batch]), next.batches[batch].courses.clone());
                let verdict = |place: usize| {
                    if courses[place] == *left_out { Verdict::Unknown } else { heard[place] }
                };
                next.answer(batch, verdict);
            }
            Action::GiveUp(batch) | Action::GiveUpEarly(batch) => {
                next.answer(*batch, |_| Verdict::Unknown);
            }
            Action::Record(batch) => {
                self.record(&mut next, *batch);
                next.batches[*batch].task = Task::Gone;
            }
            Action::RecordUnanswered(batch) => self.record(&mut next, *batch),
            Action::Look(instance) => next.look(*instance),
            Action::Read(instance) => self.read(&mut next, *instance),
            Action::Settle(instance) => next.settle(*instance),
        }
        for batch in &mut next.batches {
            let unheard = batch.task != Task::Sent
                && (batch.is_answered() || (batch.request == Request::Unwritten && batch.task == Task::Gone));
            if unheard {
                batch.request = Request::Over;
            }
        }
        next
    }

    fn orphan(&self, next: &mut State, instance: Instance) {
        let Leads::Taken(term) = next.daemons[instance].leads else { return };
        for id in 0..next.batches.len() {
            if next.batches[id].intent == Intent::Open && next.batches[id].term != term {
                self.doubt(next, id);
            }
        }
        next.daemons[instance].leads = Leads::Held(term);
    }

    /// What is in flight for this batch is in doubt.
    fn doubt(&self, next: &mut State, id: BatchId) {
        next.batches[id].intent = Intent::Unknown;
        for row in next.rows.iter_mut().filter(|row| row.batch == Some(id) && row.status == Status::InFlight)
        {
            row.status = match self.orphans {
                Orphans::Unconfirmed => Status::Unconfirmed,
                Orphans::Pending => Status::Pending,
                Orphans::InFlight => Status::InFlight,
            };
        }
    }

    fn claim(&self, next: &mut State, instance: Instance, courses: &[Course], task: Task) {
        next.batches.push(Batch {
            sender: instance,
            term: next.lease.term,
            courses: courses.to_vec(),
            intent: Intent::Missing,
            task,
            request: Request::Unwritten,
        });
        if self.claiming == Claiming::BeforeSend {
            next.commit_claim(next.batches.len() - 1);
        }
    }

    fn process(&self, next: &mut State, id: BatchId, course: Course) {
        let held = next.record_of(course).is_some();
        let new = next.records.len();
        let place = next.batches[id].courses.iter().position(|other| *other == course);
        let Request::Open(fates) = &mut next.batches[id].request else { return };
        let Some(fate) = place.and_then(|place| fates.get_mut(place)) else { return };
        *fate = match (self.uniqueness, *fate) {
            (Uniqueness::Atomic | Uniqueness::LooksFirst, Fate::Untouched) if held => Fate::Conflict,
            (Uniqueness::LooksFirst, Fate::Untouched) => Fate::Free,
            _ => Fate::Created(new),
        };
        if *fate == Fate::Created(new) {
            next.records.push(course);
        }
    }

    fn record(&self, next: &mut State, id: BatchId) {
        let Task::Answered(verdicts) = next.batches[id].task.clone() else { return };
        for (course, verdict) in next.batches[id].courses.clone().into_iter().zip(&verdicts) {
            let row = &next.rows[course];
            let (is_own, is_open) = (row.batch == Some(id), row.is_open());
            let is_recorded = match self.guard {
                Guard::BatchAndStatus => is_own && is_open,
                Guard::StatusOnly => is_open,
                Guard::BatchOnly => is_own,
            };
            if is_recorded {
                let (status, hubspot_id) = recorded(*verdict);
                next.history.stale_write |= !is_own;
                next.set(course, status, hubspot_id);
            }
        }
        let in_doubt = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Exists | Verdict::Unknown));
        next.batches[id].intent = if in_doubt { Intent::Unknown } else { Intent::Closed };
    }

    fn read(&self, next: &mut State, instance: Instance) {
        let Some(look) = next.daemons[instance].look.clone() else { return };
        let find = |(course, _): &(Course, BatchId)| match self.doubts {
            Doubts::LookUp => next.record_of(*course),
            // Nobody is asked.
            Doubts::Hold | Doubts::Resend => None,
        };
        let found = look.doubted.iter().map(find).collect();
        next.daemons[instance].look = Some(Look { found: Some(found), ..look });
    }
}

impl State {
    fn crash(&mut self, instance: Instance) {
        self.daemons[instance] = Daemon::default();
        if self.lease.holder == Holder::Alive(instance) {
            self.lease.holder = Holder::Dead;
        }
        for batch in self.batches.iter_mut().filter(|batch| batch.sender == instance) {
            batch.task = Task::Gone;
        }
    }

    fn lead(&mut self, instance: Instance) {
        let me = Holder::Alive(instance);
        self.lease.term += u8::from(self.lease.holder != me);
        self.lease.holder = me;
        self.lease.is_expired = false;
        let term = self.lease.term;
        if self.daemons[instance].leads != Leads::Held(term) {
            self.daemons[instance].leads = Leads::Taken(term);
        }
    }

    fn commit_claim(&mut self, id: BatchId) {
        self.batches[id].intent = Intent::Open;
        for course in self.batches[id].courses.clone() {
            let row = &mut self.rows[course];
            if row.status == Status::Pending {
                row.status = Status::InFlight;
                row.batch = Some(id);
            }
        }
    }

    fn write(&mut self, id: BatchId) {
        let batch = &mut self.batches[id];
        self.history.sent_unclaimed |= batch.intent == Intent::Missing;
        batch.request = Request::Open(vec![Fate::Untouched; batch.courses.len()]);
        batch.task = Task::Sent;
    }

    fn answer(&mut self, id: BatchId, verdict: impl Fn(usize) -> Verdict) {
        let batch = &mut self.batches[id];
        batch.task = Task::Answered((0..batch.courses.len()).map(verdict).collect());
    }

    fn look(&mut self, instance: Instance) {
        let courses = self.courses_in(Status::Unconfirmed).into_iter();
        let doubted = courses.filter_map(|course| Some((course, self.rows[course].batch?))).collect();
        self.daemons[instance].look = Some(Look { doubted, found: None });
    }

    fn settle(&mut self, instance: Instance) {
        let Some(Look { doubted, found: Some(found) }) = self.daemons[instance].look.take() else { return };
        if !self.leads(instance) {
            return;
        }
        for ((course, batch), found) in doubted.into_iter().zip(found) {
            let row = &self.rows[course];
            if row.batch == Some(batch) && row.status == Status::Unconfirmed {
                self.set(course, found.map_or(Status::Pending, |_| Status::Synced), found);
            }
        }
        for id in 0..self.batches.len() {
            let is_awaited = self.rows.iter().any(|row| row.batch == Some(id) && row.is_open());
            if self.batches[id].intent == Intent::Unknown && !is_awaited {
                self.batches[id].intent = Intent::Closed;
            }
        }
    }

    fn set(&mut self, course: Course, status: Status, hubspot_id: Option<RecordId>) {
        let row = &mut self.rows[course];
        self.history.synced_was_left |= row.status == Status::Synced && status != Status::Synced;
        row.status = status;
        row.hubspot_id = hubspot_id;
    }
}

/// `policy::interpret`: what an answer says of each course of its batch.
fn heard(batch: &Batch) -> Vec<Verdict> {
    let verdict = |fate: &Fate| match fate {
        Fate::Created(id) => Verdict::Created(*id),
        Fate::Conflict => Verdict::Exists,
        Fate::Untouched | Fate::Free => Verdict::Unknown,
    };
    match &batch.request {
        Request::Open(fates) => fates.iter().map(verdict).collect(),
        Request::Refused => vec![Verdict::NotTaken; batch.courses.len()],
        Request::Unwritten | Request::Over => vec![Verdict::Unknown; batch.courses.len()],
    }
}

/// `policy::retry::transition`: what a verdict makes of a row.
fn recorded(verdict: Verdict) -> (Status, Option<RecordId>) {
    match verdict {
        Verdict::Created(id) => (Status::Synced, Some(id)),
        // Only a read can tell who holds the key.
        Verdict::Exists | Verdict::Unknown => (Status::Unconfirmed, None),
        Verdict::NotTaken => (Status::Pending, None),
    }
}

fn is_fault(action: &Action) -> bool {
    matches!(
        action,
        Action::ExpireEarly
            | Action::Crash(_)
            | Action::DoubtEarly(_)
            | Action::ClaimUnanswered(..)
            | Action::Refuse(_)
            | Action::Lose(_)
            | Action::AnswerWithout(..)
            | Action::GiveUpEarly(_)
            | Action::RecordUnanswered(_)
    )
}
