//! The main loop: each turn starts all work that can start, then waits at one place for the next event.
//!
//! Permits are reserved before each claim, so a claimed course never waits for the quota. One claim runs at a time, and
//! each of its batches has a task of its own. The engine makes no decisions: `policy::backlog` decides whether to claim,
//! `policy::queues` which courses, and `policy::gate` whether to send.

mod poll;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::account::rate_limiter::ReservedPermit;
use crate::account::unique_property::CheckDue;
use crate::course::Write;
use crate::daemon::property_check;
use crate::pipeline::claim::ClaimRequest;
use crate::pipeline::context::Context;
use crate::pipeline::{reconcile, sync_claim};
use crate::policy::attribution::{ClaimOrder, Lane};
use crate::policy::backlog::{BegunClaim, ClaimEnd};
use crate::policy::gate::{Gate, Reason};
use crate::policy::poll::PollTimes;
use crate::policy::queues::{Queue, Queues};
use crate::runtime::lease::HeldLease;
use crate::telemetry::events;
use crate::telemetry::metrics::Wakeup;

struct Engine {
    context: Arc<Context>,
    lease: watch::Receiver<Option<HeldLease>>,
    /// Claims, each with its create requests, until all of them are recorded.
    requests: JoinSet<()>,
    /// The reconciler: one run at a time.
    reconciliation: JoinSet<()>,
    /// Reads of the account's settings, one at a time.
    account_reads: JoinSet<()>,
    queues: Queues,
    /// The claim whose statement has not ended.
    claim: Option<OpenClaim>,
    /// Unconfirmed courses may be due.
    may_be_unconfirmed: bool,
    /// When courses were last looked for only because the poll interval had passed.
    last_scan: Instant,
    /// When the outbox is polled. No event postpones a poll.
    polls: PollTimes,
    /// When the operator's pause was last read; `None`: not yet.
    operator_read_at: Option<Instant>,
    /// The operator's pause was not read since the last poll.
    must_read_operator: bool,
    /// The gate was closed when it was last read.
    was_gate_closed: bool,
}

/// A claim whose statement has not ended.
struct OpenClaim {
    queue: Queue,
    begun: BegunClaim,
    ended: oneshot::Receiver<ClaimEnd>,
}

/// What the engine waits for. Shutdown ends every wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WaitFor {
    /// The lease. If this instance has held it, also a timer, because the expiry sends no notification.
    Lease,
    /// The first check of the unique property in this term.
    PropertyCheck,
    /// The gate to open.
    Gate,
    /// The end of an open request, while requests are sent one at a time.
    Probe,
    /// The end of the claim: until then it is unknown whether more courses can be claimed.
    ClaimEnd,
    /// A permit to send these courses.
    Permit(Queue, ClaimOrder),
    /// New work.
    Work,
    /// More courses to fill a short batch.
    Linger,
}

/// What ended a wait.
enum EngineEvent {
    Shutdown,
    LeaseChanged,
    GateChanged,
    TaskEnded,
    ClaimEnded(ClaimEnd),
    Permit(ReservedPermit),
    Wakeup(Wakeup),
    /// The wait has reached its time limit.
    Timer,
}

/// Runs until the shutdown begins, then until all work has ended or the shutdown is forced. True if all work has ended.
pub(super) async fn run(context: &Arc<Context>, lease: watch::Receiver<Option<HeldLease>>) -> bool {
    let mut engine = Engine::new(Arc::clone(context), lease);
    let turns = async {
        while !context.runtime.shutdown.has_begun() {
            engine.turn().await;
        }
    };
    // A turn may hang while the database does not respond. Its statement runs in a task of its own, so dropping the turn
    // here cancels nothing.
    tokio::select! {
        () = turns => {}
        () = context.runtime.shutdown.forced() => {}
        () = context.runtime.heartbeat.run() => {}
    }
    context.runtime.heartbeat.stop();
    let lease_task_runs = engine.lease.has_changed().is_ok();
    engine.drain().await && lease_task_runs
}

impl Engine {
    fn new(context: Arc<Context>, lease: watch::Receiver<Option<HeldLease>>) -> Self {
        let polls = PollTimes::new(context.settings.poll_interval, Instant::now());
        Self {
            context,
            lease,
            requests: JoinSet::new(),
            reconciliation: JoinSet::new(),
            account_reads: JoinSet::new(),
            queues: Queues::default(),
            claim: None,
            may_be_unconfirmed: true,
            last_scan: Instant::now(),
            polls,
            operator_read_at: None,
            must_read_operator: true,
            was_gate_closed: false,
        }
    }

    /// One turn: starts what can start, waits for one event, applies it.
    async fn turn(&mut self) {
        if self.lease.has_changed().is_err() {
            tracing::error!(event = events::LEASE_TASK_ENDED, "lease task ended");
            return self.context.runtime.shutdown.begin();
        }
        let (wait, until) = self.start_work().await;
        let event = self.wait(wait, until).await;
        self.apply(wait, event).await;
    }

    /// Starts all work that can start now, except a claim, which needs a permit. Returns what to wait for, and until when.
    async fn start_work(&mut self) -> (WaitFor, Option<Instant>) {
        let next_poll = Instant::now() + self.context.settings.poll_interval;
        let held = *self.lease.borrow_and_update();
        let Some(held) = held.filter(HeldLease::is_valid) else {
            return (WaitFor::Lease, held.map(|_| next_poll));
        };
        // An operator's pause survives restarts, so nothing is sent before it has been read once.
        if !self.read_operator_pause().await {
            return (WaitFor::Work, Some(self.polls.next()));
        }
        self.forget_ended_tasks();
        if !self.check_property(held) {
            return (WaitFor::PropertyCheck, Some(next_poll));
        }
        self.scan().await;
        self.start_reconciliation(held);
        let is_probe = match self.read_gate() {
            Gate::Closed(until) => {
                return (WaitFor::Gate, Some(until.map_or(next_poll, |until| until.min(next_poll))));
            }
            Gate::Open { concurrent: false, .. } if !self.requests.is_empty() => {
                return (WaitFor::Probe, Some(next_poll));
            }
            Gate::Open { concurrent, .. } => !concurrent,
        };
        self.collect_ended_claim();
        if self.claim.is_some() {
            return (WaitFor::ClaimEnd, None);
        }
        if self.context.must_record_first() {
            return (WaitFor::Work, Some(self.next_timer()));
        }
        let probe = is_probe.then(|| self.context.account.next_probe());
        let may_archive = self.context.account.may_look_up();
        match self.queues.next(probe.map(|(lane, _)| lane), may_archive, Instant::now()) {
            Some(queue) => {
                let order = probe.map_or(ClaimOrder::Oldest, |(_, order)| order);
                (WaitFor::Permit(queue, order), None)
            }
            None => (WaitFor::Work, Some(self.next_timer())),
        }
    }

    /// The only wait point. Each branch is cancel-safe: an event that it does not return is available at the next wait.
    async fn wait(&mut self, wait: WaitFor, until: Option<Instant>) -> EngineEvent {
        let Context { runtime, account, .. } = &*self.context;
        let is_idle = wait == WaitFor::Work;
        let tasks = match wait {
            WaitFor::PropertyCheck => Some(&mut self.account_reads),
            WaitFor::Probe => Some(&mut self.requests),
            _ => None,
        };
        tokio::select! {
            () = runtime.shutdown.begun() => EngineEvent::Shutdown,
            // On error the lease task has ended. The next turn handles that.
            _ = self.lease.changed(), if is_idle || wait == WaitFor::Lease => EngineEvent::LeaseChanged,
            () = account.gate_changed(), if is_idle || wait == WaitFor::Gate => EngineEvent::GateChanged,
            () = next_ended_task(tasks) => EngineEvent::TaskEnded,
            ended = next_ended_claim(self.claim.as_mut()), if wait == WaitFor::ClaimEnd => EngineEvent::ClaimEnded(ended),
            permit = account.rate_limiter.reserve(), if matches!(wait, WaitFor::Permit(..)) => EngineEvent::Permit(permit),
            cause = runtime.wake.wait(), if is_idle => EngineEvent::Wakeup(cause),
            () = sleep_until(until) => EngineEvent::Timer,
        }
    }

    /// Updates the state by an event.
    async fn apply(&mut self, wait: WaitFor, event: EngineEvent) {
        match (wait, event) {
            (_, EngineEvent::Shutdown) => {}
            // Another instance may have been the leader in between.
            (WaitFor::Lease, _) => {
                self.reset_backlog();
                // The database granted a lease, so it works again.
                self.queues.forget_failures();
            }
            (_, EngineEvent::ClaimEnded(ended)) => self.end_claim(ended),
            (WaitFor::Permit(queue, order), EngineEvent::Permit(permit)) => {
                self.use_permit(permit, queue, order);
            }
            (_, EngineEvent::Permit(permit)) => permit.release_unused(),
            (_, EngineEvent::Wakeup(cause)) => self.wake_up(cause).await,
            (WaitFor::Work, EngineEvent::Timer) if Instant::now() >= self.polls.next() => {
                self.wake_up(Wakeup::Poll).await;
            }
            (
                _,
                EngineEvent::LeaseChanged
                | EngineEvent::GateChanged
                | EngineEvent::TaskEnded
                | EngineEvent::Timer,
            ) => {}
        }
    }

    /// Expects new work, for this reason.
    async fn wake_up(&mut self, cause: Wakeup) {
        self.context.reporting.metrics.count_wakeup(cause);
        if cause == Wakeup::Poll {
            return self.poll().await;
        }
        self.polls.record_event(Instant::now());
        self.queues.expect(Write::Create, Lane::Fresh);
        if self.context.runtime.wake.take_changes() {
            self.queues.expect_all(Lane::Fresh);
        }
        match cause {
            Wakeup::Notify => self.wait_for_more_courses().await,
            Wakeup::Completion => {
                self.may_be_unconfirmed = true;
                self.queues.expect_all(Lane::Fresh);
                self.queues.expect_all(Lane::Suspects);
            }
            Wakeup::Poll | Wakeup::Resume => {}
        }
    }

    /// Claims courses with this permit, unless the lease has ended, the gate has closed or too many results wait to be recorded
    /// since the permit was requested.
    fn use_permit(&mut self, permit: ReservedPermit, queue: Queue, order: ClaimOrder) {
        if self.context.must_record_first() {
            return permit.release_unused();
        }
        let held = (*self.lease.borrow()).filter(HeldLease::is_valid);
        match (held, self.context.account.gate()) {
            (Some(held), Gate::Open { courses, concurrent }) => {
                let mut permits = vec![permit];
                // While the batch size is reduced, or suspects are sent, each response decides about the next request. Archives
                // need more permits for their reads.
                let may_be_many = queue.lane == Lane::Fresh && queue.write != Write::Archive;
                if concurrent && may_be_many && courses >= self.context.settings.max_size {
                    let has_waited = !self.linger().is_zero();
                    let batches = self.queues.backlog(queue).batches(has_waited);
                    let more = std::iter::from_fn(|| self.context.account.rate_limiter.reserve_if_free());
                    permits.extend(more.take(batches - 1));
                }
                self.start_claim(held, queue, order, courses, permits);
            }
            (None, _) | (_, Gate::Closed(_)) => permit.release_unused(),
        }
    }

    fn forget_ended_tasks(&mut self) {
        for tasks in [&mut self.requests, &mut self.reconciliation, &mut self.account_reads] {
            while tasks.try_join_next().is_some() {}
        }
    }

    /// Starts a check of the unique property if one is due. False if nothing may be sent before its result.
    fn check_property(&mut self, held: HeldLease) -> bool {
        let due = self.property_check_due(held);
        let may_read = self.context.account.may_read_account() && self.account_reads.is_empty();
        if matches!(due, CheckDue::FirstNow | CheckDue::Now) && may_read {
            self.account_reads.spawn(property_check::verify(Arc::clone(&self.context), held));
        }
        matches!(due, CheckDue::No | CheckDue::Now)
    }

    fn property_check_due(&self, held: HeldLease) -> CheckDue {
        if self.context.settings.unique_property.is_none() {
            return CheckDue::No;
        }
        let account = &self.context.account;
        account.unique_property.check_due(held.lease.term, account.is_paused_for(Reason::Schema))
    }

    /// Looks at regular intervals for courses that are due without an event. While there is a large backlog, the
    /// engine never waits for work, so it never polls: then the outbox is read here.
    async fn scan(&mut self) {
        if self.last_scan.elapsed() <= self.polls.wait() {
            return;
        }
        self.last_scan = Instant::now();
        self.may_be_unconfirmed = true;
        if self.queues.should_claim(Instant::now()) {
            self.expect_due_courses().await;
        }
    }

    /// Starts the reconciler if unconfirmed courses may be due, even while creates are paused.
    fn start_reconciliation(&mut self, held: HeldLease) {
        if self.may_be_unconfirmed && self.reconciliation.is_empty() {
            self.may_be_unconfirmed = false;
            self.reconciliation.spawn(reconcile::reconcile_due(Arc::clone(&self.context), held));
        }
    }

    /// Which create requests may be sent now. After a pause, the outbox is read from its beginning.
    fn read_gate(&mut self) -> Gate {
        let gate = self.context.account.gate();
        let is_closed = matches!(gate, Gate::Closed(_));
        if std::mem::replace(&mut self.was_gate_closed, is_closed) == is_closed {
            return gate;
        }
        self.polls.record_event(Instant::now());
        if !is_closed {
            self.context.reporting.metrics.count_wakeup(Wakeup::Resume);
            self.reset_backlog();
        }
        gate
    }

    /// The next poll, or an earlier claim that waits because the last one failed.
    fn next_timer(&self) -> Instant {
        let now = Instant::now();
        // A wait that has ended starts no claim while the other courses have their turn.
        self.queues.waits().filter(|at| *at > now).fold(self.polls.next(), Instant::min)
    }

    /// Starts a task that claims up to one batch per permit, sends them and records the outcomes.
    fn start_claim(
        &mut self,
        held: HeldLease,
        queue: Queue,
        order: ClaimOrder,
        courses: u16,
        permits: Vec<ReservedPermit>,
    ) {
        let batches = permits.len();
        self.queues.record(queue, batches);
        let begun = self.queues.backlog(queue).begin_claim(Instant::now());
        let (sender, ended) = oneshot::channel();
        self.claim = Some(OpenClaim { queue, begun, ended });
        let (Queue { write, lane }, from) = (queue, begun.cursor);
        let claim = ClaimRequest { held, write, lane, order, courses, batches, from, ended: sender };
        self.requests.spawn(sync_claim(Arc::clone(&self.context), claim, permits));
    }

    /// Applies the end of the claim, if it has ended.
    fn collect_ended_claim(&mut self) {
        let Some(claim) = &mut self.claim else { return };
        match claim.ended.try_recv() {
            Ok(ended) => self.end_claim(ended),
            Err(TryRecvError::Closed) => self.end_claim(ClaimEnd::Lost),
            Err(TryRecvError::Empty) => {}
        }
    }

    fn end_claim(&mut self, ended: ClaimEnd) {
        if let Some(claim) = self.claim.take() {
            let (linger, now) = (self.linger(), Instant::now());
            let backlog = self.queues.backlog(claim.queue);
            backlog.end_claim(claim.begun, ended, now);
            backlog.postpone_reread(now + linger);
        }
    }

    /// Forgets the state of the outbox.
    fn reset_backlog(&mut self) {
        self.polls.record_event(Instant::now());
        self.queues.reset();
        self.may_be_unconfirmed = true;
    }

    /// Waits until all work has ended. False if the shutdown was forced before.
    async fn drain(mut self) -> bool {
        let shutdown = self.context.runtime.shutdown.clone();
        let late_recordings = &self.context.runtime.late_recordings;
        let drained = async {
            for tasks in [&mut self.requests, &mut self.reconciliation, &mut self.account_reads] {
                while tasks.join_next().await.is_some() {}
            }
            late_recordings.close();
            late_recordings.wait().await;
        };
        let is_finished = tokio::select! {
            () = drained => true,
            () = shutdown.forced() => false,
        };
        if !is_finished {
            // Tasks that have received a response log it as soon as the shutdown is forced.
            let last_logs = async {
                while self.requests.join_next().await.is_some() {}
                late_recordings.close();
                late_recordings.wait().await;
            };
            if tokio::time::timeout(Duration::from_millis(500), last_logs).await.is_err() {
                tracing::warn!(
                    event = events::OPEN_REQUESTS_ABANDONED,
                    requests = self.requests.len(),
                    "open requests abandoned"
                );
            }
            self.requests.detach_all();
        }
        is_finished
    }
}

/// Waits for the end of the claim; forever, if there is none.
async fn next_ended_claim(claim: Option<&mut OpenClaim>) -> ClaimEnd {
    match claim {
        Some(claim) => (&mut claim.ended).await.unwrap_or(ClaimEnd::Lost),
        None => std::future::pending().await,
    }
}

/// Waits for the end of one of these tasks; forever, if there is none.
async fn next_ended_task(tasks: Option<&mut JoinSet<()>>) {
    match tasks {
        Some(tasks) if !tasks.is_empty() => {
            tasks.join_next().await;
        }
        Some(_) | None => std::future::pending().await,
    }
}

/// Sleeps until this time; forever, if there is none.
async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}
