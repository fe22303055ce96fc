//! The effect of each step.

use super::protocol::Action;
use super::state::{
    Batch, BatchId, Course, CreateProgress, Daemon, Holder, Instance, Intent, Leadership, LookUp, RecordId,
    Request, State, Status, Task, Verdict,
};
use super::variants::{Claiming, Guard, Orphans, Protocol, UnconfirmedPolicy, Uniqueness};

impl Protocol {
    /// The state after this step, which must be a possible one.
    pub fn apply(&self, state: &State, action: &Action) -> State {
        let mut next = state.clone();
        next.faults_left -= u8::from(is_fault(action));
        match action {
            Action::ExpireLease | Action::ExpireLeaseEarly => next.lease.is_expired = true,
            Action::Crash(instance) => next.crash(*instance),
            Action::AcquireLease(instance) => next.lead(*instance),
            Action::MarkOrphansUnconfirmed(instance) => self.mark_orphans_unconfirmed(&mut next, *instance),
            Action::MarkOverdueUnconfirmed(batch) | Action::MarkUnconfirmedEarly(batch) => {
                self.mark_unconfirmed(&mut next, *batch);
            }
            Action::Claim(instance, courses) => self.claim(&mut next, *instance, courses, Task::Claimed),
            Action::ClaimAcknowledgementLost(instance, courses) => {
                self.claim(&mut next, *instance, courses, Task::Ended);
            }
            Action::ClaimLate(batch) => next.commit_claim(*batch),
            Action::CheckLease(batch) => next.batches[*batch].task = Task::Checked,
            Action::LeaseCheckFails(batch) => next.set_verdicts(*batch, |_| Verdict::NotTaken),
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
                self.record(&mut next, *batch);
                next.batches[*batch].task = Task::Ended;
            }
            Action::RecordAcknowledgementLost(batch) => self.record(&mut next, *batch),
            Action::StartLookUp(instance) => next.start_look_up(*instance),
            Action::Read(instance) => self.read(&mut next, *instance),
            Action::Settle(instance) => next.settle(*instance),
        }
        for batch in &mut next.batches {
            let is_unread = batch.task != Task::Sent
                && (batch.has_response()
                    || (batch.request == Request::NotWritten && batch.task == Task::Ended));
            if is_unread {
                batch.request = Request::Ended;
            }
        }
        next
    }

    fn mark_orphans_unconfirmed(&self, next: &mut State, instance: Instance) {
        let Leadership::Taken(term) = next.daemons[instance].leadership else { return };
        for id in 0..next.batches.len() {
            if next.batches[id].intent == Intent::Open && next.batches[id].term != term {
                self.mark_unconfirmed(next, id);
            }
        }
        next.daemons[instance].leadership = Leadership::Held(term);
    }

    /// The courses that are in flight for this batch become unconfirmed.
    fn mark_unconfirmed(&self, next: &mut State, id: BatchId) {
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
            request: Request::NotWritten,
        });
        if self.claiming == Claiming::BeforeSend {
            next.commit_claim(next.batches.len() - 1);
        }
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

    fn record(&self, next: &mut State, id: BatchId) {
        let Task::ResponseReceived(verdicts) = next.batches[id].task.clone() else { return };
        for (course, verdict) in next.batches[id].courses.clone().into_iter().zip(&verdicts) {
            let row = &next.rows[course];
            let (is_own, is_open) = (row.batch == Some(id), row.is_open());
            let is_recorded = match self.guard {
                Guard::BatchAndStatus => is_own && is_open,
                Guard::StatusOnly => is_open,
                Guard::BatchOnly => is_own,
            };
            if is_recorded {
                let (status, hubspot_id) = transition(*verdict);
                next.history.stale_write |= !is_own;
                next.set(course, status, hubspot_id);
            }
        }
        let has_unconfirmed =
            verdicts.iter().any(|verdict| matches!(verdict, Verdict::Exists | Verdict::Unknown));
        next.batches[id].intent = if has_unconfirmed { Intent::Unknown } else { Intent::Closed };
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
        let term = self.lease.term;
        if self.daemons[instance].leadership != Leadership::Held(term) {
            self.daemons[instance].leadership = Leadership::Taken(term);
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
            let row = &self.rows[course];
            if row.batch == Some(batch) && row.status == Status::Unconfirmed {
                self.set(course, found.map_or(Status::Pending, |_| Status::Synced), found);
            }
        }
        for id in 0..self.batches.len() {
            let has_open_rows = self.rows.iter().any(|row| row.batch == Some(id) && row.is_open());
            if self.batches[id].intent == Intent::Unknown && !has_open_rows {
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
        Verdict::NotTaken => (Status::Pending, None),
    }
}

fn is_fault(action: &Action) -> bool {
    matches!(
        action,
        Action::ExpireLeaseEarly
            | Action::Crash(_)
            | Action::MarkUnconfirmedEarly(_)
            | Action::ClaimAcknowledgementLost(..)
            | Action::Refuse(_)
            | Action::Lose(_)
            | Action::ReceivePartialResponse(..)
            | Action::TimeOut(_)
            | Action::RecordAcknowledgementLost(_)
    )
}
