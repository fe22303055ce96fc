//! The loop: one wait point, a permit before each claim, a task for each batch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::claim::{self, Claim};
use super::leader::Held;
use super::pace::Reserved;
use super::trouble::Work;
use super::{Shared, day, doubts};
use crate::outbox::pause;
use crate::policy::backlog::{Backlog, Begun, Ended};
use crate::policy::pause::Gate;
use crate::telemetry::metrics::Wakeup;

struct Engine {
    shared: Arc<Shared>,
    lease: watch::Receiver<Option<Held>>,
    tasks: JoinSet<()>,
    doubts: JoinSet<()>,
    backlog: Backlog,
    /// Claims whose end is to be heard yet, in the order in which they began.
    claims: VecDeque<(Begun, oneshot::Receiver<Ended>)>,
    /// There may be doubts that are due.
    may_be_doubts: bool,
    doubts_since: Instant,
    /// When the outbox is looked at without any other reason. It stands over whatever else ends the waiting.
    poll_at: Instant,
    /// When it was last asked whether a person paused; `None`: never yet.
    operator_asked: Option<Instant>,
    /// The gate was closed when it was last looked at.
    was_closed: bool,
}

/// Runs until the shutdown begins, then until what is under way is finished or the shutdown is
/// forced. True where everything is finished.
pub(super) async fn run(shared: &Arc<Shared>, lease: watch::Receiver<Option<Held>>) -> bool {
    let mut engine = Engine {
        shared: Arc::clone(shared),
        lease,
        tasks: JoinSet::new(),
        doubts: JoinSet::new(),
        backlog: Backlog::default(),
        claims: VecDeque::new(),
        may_be_doubts: true,
        doubts_since: Instant::now(),
        poll_at: Instant::now() + shared.settings.poll_interval,
        operator_asked: None,
        was_closed: false,
    };
    let turns = async {
        while !shared.shutdown.has_begun() {
            engine.turn().await;
        }
    };
    // A turn may hang in a database that does not answer; its statement is a task of its own.
    tokio::select! {
        () = turns => {}
        () = shared.shutdown.forced() => {}
        () = shared.pulse.keep() => {}
    }
    shared.pulse.rest();
    let is_led = engine.lease.has_changed().is_ok();
    engine.drain().await && is_led
}

impl Engine {
    /// One turn: wait until something may be sent and may be there to send, then begin to send it.
    async fn turn(&mut self) {
        if self.lease.has_changed().is_err() {
            tracing::error!("the task that keeps the lease has ended: stopping");
            return self.shared.shutdown.begin();
        }
        let Some(held) = self.leading().await else { return };
        // A person's pause outlives a restart: until it was asked for, nothing is sent.
        if !self.hear_operator().await {
            return self.wait().await;
        }
        if !self.open_gate().await {
            return;
        }
        while self.tasks.try_join_next().is_some() || self.doubts.try_join_next().is_some() {}
        self.hear_claims();

        // A backlog that never lets the loop wait must not keep doubts from being settled.
        let is_time = self.doubts_since.elapsed() > self.shared.settings.poll_interval;
        if (self.may_be_doubts || is_time) && self.doubts.is_empty() {
            self.may_be_doubts = false;
            self.doubts_since = Instant::now();
            self.doubts.spawn(doubts::settle_due(Arc::clone(&self.shared), held));
        }
        if !self.backlog.wants_claim(self.claims.len()) {
            return if self.claims.is_empty() { self.wait().await } else { self.hear_claim().await };
        }
        let shared = Arc::clone(&self.shared);
        let permit = tokio::select! {
            () = shared.shutdown.begun() => return,
            permit = shared.pace.reserve() => permit,
        };
        // While the permit was waited for, the gate may have closed, and the lease was renewed.
        let held = (*self.lease.borrow()).filter(Held::is_valid);
        match (held, shared.account.gate()) {
            (Some(held), Gate::Open { courses, .. }) => self.claim(held, permit, courses),
            (None, _) | (_, Gate::Closed(_)) => permit.unused(),
        }
    }

    /// Begins to claim a batch, and to send it.
    fn claim(&mut self, held: Held, permit: Reserved, courses: u16) {
        let begun = self.backlog.begin(Instant::now());
        let (ended, end) = oneshot::channel();
        self.claims.push_back((begun, end));
        let claim = Claim { held, courses, from: begun.cursor, ended };
        self.tasks.spawn(claim::claim_and_deliver(Arc::clone(&self.shared), claim, permit));
    }

    /// Takes in how claims ended, as far as they have.
    fn hear_claims(&mut self) {
        while let Some((_, end)) = self.claims.front_mut() {
            match end.try_recv() {
                Ok(ended) => self.heard(ended),
                Err(TryRecvError::Closed) => self.heard(Ended::Lost),
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    /// Waits until the first of them has.
    async fn hear_claim(&mut self) {
        let Some((_, end)) = self.claims.front_mut() else { return };
        tokio::select! {
            ended = end => self.heard(ended.unwrap_or(Ended::Lost)),
            () = self.shared.shutdown.begun() => {}
        }
    }

    /// Takes in how the first of them ended.
    fn heard(&mut self, ended: Ended) {
        if let Some((begun, _)) = self.claims.pop_front() {
            self.backlog.ended(begun, ended);
        }
    }

    /// The lease, once it is ours.
    async fn leading(&mut self) -> Option<Held> {
        let held = *self.lease.borrow_and_update();
        if let Some(held) = held.filter(Held::is_valid) {
            return Some(held);
        }
        tokio::select! {
            () = self.shared.shutdown.begun() => {}
            _ = self.lease.changed() => {}
            // A lease that ran out is not announced before the database has answered.
            () = tokio::time::sleep(self.shared.settings.poll_interval), if held.is_some() => {}
        }
        self.look_anew();
        None
    }

    /// Forgets what was learnt of the outbox.
    fn look_anew(&mut self) {
        self.backlog.look_anew();
        self.may_be_doubts = true;
    }

    /// Whether a request may be sent; waits for a change where not.
    async fn open_gate(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let gate = shared.account.gate();
        let is_closed = matches!(gate, Gate::Closed(_));
        if std::mem::replace(&mut self.was_closed, is_closed) && !is_closed {
            shared.metrics.wakeup(Wakeup::Resume);
            self.look_anew();
        }
        match gate {
            Gate::Open { concurrent, .. } if concurrent || shared.pace.open() == 0 => return true,
            Gate::Open { .. } => {
                tokio::select! {
                    () = shared.shutdown.begun() => {}
                    () = shared.pace.closed() => {}
                    () = tokio::time::sleep(shared.settings.poll_interval) => {}
                }
            }
            Gate::Closed(until) => {
                let left =
                    until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
                tokio::select! {
                    () = shared.shutdown.begun() => {}
                    () = shared.account.changed() => {}
                    () = tokio::time::sleep(left.min(shared.settings.poll_interval)) => {}
                }
            }
        }
        false
    }

    /// The one wait point of an idle daemon.
    async fn wait(&mut self) {
        let shared = Arc::clone(&self.shared);
        let cause = tokio::select! {
            () = shared.shutdown.begun() => return,
            _ = self.lease.changed() => return,
            () = shared.account.changed() => return,
            cause = shared.wake.wait(self.poll_at) => cause,
        };
        shared.metrics.wakeup(cause);
        self.backlog.stir();
        match cause {
            // A short batch waits for company.
            Wakeup::Notify => {
                tokio::select! {
                    () = shared.shutdown.begun() => {}
                    () = tokio::time::sleep(shared.settings.linger) => {}
                }
            }
            Wakeup::Poll => {
                self.poll_at = Instant::now() + shared.settings.poll_interval;
                self.may_be_doubts = true;
            }
            Wakeup::Completion => self.may_be_doubts = true,
            Wakeup::Resume => {}
        }
    }

    /// Asks, once in a poll's interval, whether a person paused. False where nobody could tell yet.
    async fn hear_operator(&mut self) -> bool {
        let is_known = self.operator_asked;
        if is_known.is_some_and(|asked| asked.elapsed() < self.shared.settings.poll_interval) {
            return true;
        }
        let shared = Arc::clone(&self.shared);
        let pauses = in_task(async move { pause::active(&shared.database).await }).await;
        match pauses {
            Some(Ok(pauses)) => {
                let word = pauses.iter().find(|pause| pause.reason == "operator");
                self.shared.account.operator(word.map(|pause| pause.message.as_str()));
                self.operator_asked = Some(Instant::now());
                self.shared.trouble.is_well(Work::HearOperator);
                day::agree(&self.shared, &pauses).await;
                let held = *self.lease.borrow();
                if let Some(held) = held.filter(|_| self.shared.account.wants_day()) {
                    self.tasks.spawn(day::learn(Arc::clone(&self.shared), held));
                }
            }
            Some(Err(error)) => {
                self.shared.trouble.failed(Work::HearOperator, &error);
                self.operator_asked = is_known.map(|_| Instant::now());
            }
            None => {}
        }
        self.operator_asked.is_some()
    }

    /// Finishes what is under way.
    async fn drain(mut self) -> bool {
        let shutdown = self.shared.shutdown.clone();
        let drained = async {
            while self.tasks.join_next().await.is_some() {}
            while self.doubts.join_next().await.is_some() {}
        };
        let is_finished = tokio::select! {
            () = drained => true,
            () = shutdown.forced() => false,
        };
        if !is_finished {
            // A task that still has something to tell does so at once when forced.
            let last_words = async { while self.tasks.join_next().await.is_some() {} };
            if tokio::time::timeout(Duration::from_millis(500), last_words).await.is_err() {
                tracing::warn!(
                    requests = self.tasks.len(),
                    "let go of open requests; their courses will be looked up"
                );
            }
            self.tasks.detach_all();
        }
        is_finished
    }
}

/// Runs database work in a task of its own, so that it always runs to its end. `None`: it panicked,
/// or the runtime is ending.
pub(super) async fn in_task<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    tokio::spawn(work).await.ok()
}
