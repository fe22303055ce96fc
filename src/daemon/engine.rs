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
use super::properties::{self, Due};
use super::tasks::in_task;
use super::trouble::Work;
use super::{Shared, doubts, durable};
use crate::outbox::pause;
use crate::policy::attribution::{Lane, Sample};
use crate::policy::backlog::{Backlog, Begun, Ended};
use crate::policy::pause::Gate;
use crate::policy::turns::{Turns, Waiting};
use crate::telemetry::metrics::Wakeup;

struct Engine {
    shared: Arc<Shared>,
    lease: watch::Receiver<Option<Held>>,
    /// Creates, from their claim until they are recorded.
    tasks: JoinSet<()>,
    /// Everything else that asks HubSpot, one of a kind at a time.
    doubts: JoinSet<()>,
    questions: JoinSet<()>,
    fresh: Backlog,
    suspects: Backlog,
    turns: Turns,
    /// Claims whose end is to be heard yet, in the order in which they began.
    claims: VecDeque<UnderWay>,
    /// There may be doubts that are due.
    may_be_doubts: bool,
    /// When doubts and suspects were last looked for without any other reason.
    looked_at: Instant,
    /// When the outbox is looked at without any other reason. It stands over whatever else ends the waiting.
    poll_at: Instant,
    /// When it was last asked whether a person paused; `None`: never yet.
    operator_asked: Option<Instant>,
    /// The gate was closed when it was last looked at.
    was_closed: bool,
}

/// A claim under way.
struct UnderWay {
    lane: Lane,
    begun: Begun,
    ended: oneshot::Receiver<Ended>,
}

/// Runs until the shutdown begins, then until what is under way is finished or the shutdown is
/// forced. True where everything is finished.
pub(super) async fn run(shared: &Arc<Shared>, lease: watch::Receiver<Option<Held>>) -> bool {
    let mut engine = Engine {
        shared: Arc::clone(shared),
        lease,
        tasks: JoinSet::new(),
        doubts: JoinSet::new(),
        questions: JoinSet::new(),
        fresh: Backlog::default(),
        suspects: Backlog::default(),
        turns: Turns::default(),
        claims: VecDeque::new(),
        may_be_doubts: true,
        looked_at: Instant::now(),
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
        self.reap();
        if !self.verify_property(held).await {
            return;
        }
        self.look_around(held);
        let Some(is_probe) = self.open_gate().await else { return };
        self.hear_claims();
        let probe = is_probe.then(|| self.shared.account.probe());
        let Some(lane) = self.next_lane(probe.map(|(lane, _)| lane)) else {
            return if self.claims.is_empty() { self.wait().await } else { self.hear_claim().await };
        };
        let sample = probe.map_or(Sample::Oldest, |(_, sample)| sample);
        let shared = Arc::clone(&self.shared);
        let permit = tokio::select! {
            () = shared.shutdown.begun() => return,
            permit = shared.pace.reserve() => permit,
        };
        // While the permit was waited for, the gate may have closed, and the lease was renewed.
        let held = (*self.lease.borrow()).filter(Held::is_valid);
        match (held, shared.account.gate()) {
            (Some(held), Gate::Open { courses, .. }) => {
                self.claim(held, lane, sample, permit, courses);
            }
            (None, _) | (_, Gate::Closed(_)) => permit.unused(),
        }
    }

    /// Forgets tasks that have ended.
    fn reap(&mut self) {
        for tasks in [&mut self.tasks, &mut self.doubts, &mut self.questions] {
            while tasks.try_join_next().is_some() {}
        }
    }

    /// Has the unique property verified. False while nothing may be sent before that.
    async fn verify_property(&mut self, held: Held) -> bool {
        let due = self.shared.unique.due(&self.shared, held.lease.term);
        let may_ask = self.shared.account.lets_ask() && self.questions.is_empty();
        match due {
            Due::No => true,
            Due::Now => {
                if may_ask {
                    self.questions.spawn(properties::verify(Arc::clone(&self.shared), held));
                }
                true
            }
            Due::First | Due::Wait => {
                if due == Due::First && may_ask {
                    self.questions.spawn(properties::verify(Arc::clone(&self.shared), held));
                }
                let shared = Arc::clone(&self.shared);
                tokio::select! {
                    () = shared.shutdown.begun() => {}
                    Some(_) = self.questions.join_next() => {}
                    () = tokio::time::sleep(shared.settings.poll_interval) => {}
                }
                false
            }
        }
    }

    /// Has doubts settled that may be due, whether or not courses may be created; and looks for suspects now and then,
    /// since a backlog may never let the loop wait.
    fn look_around(&mut self, held: Held) {
        let is_time = self.looked_at.elapsed() > self.shared.settings.poll_interval;
        if is_time {
            self.looked_at = Instant::now();
            self.suspects.stir();
        }
        if (self.may_be_doubts || is_time) && self.doubts.is_empty() {
            self.may_be_doubts = false;
            self.doubts.spawn(doubts::settle_due(Arc::clone(&self.shared), held));
        }
    }

    /// Which courses are claimed next. `probe`: which ones the next probe should take, if it is one.
    fn next_lane(&self, probe: Option<Lane>) -> Option<Lane> {
        let under_way = |lane| self.claims.iter().filter(|claim| claim.lane == lane).count();
        let waiting = Waiting {
            fresh: self.fresh.wants_claim(under_way(Lane::Fresh)),
            may_be_fresh: under_way(Lane::Fresh) > 0,
            suspects: self.suspects.wants_claim(under_way(Lane::Suspects)),
        };
        self.turns.next(probe, waiting)
    }

    fn backlog(&mut self, lane: Lane) -> &mut Backlog {
        match lane {
            Lane::Fresh => &mut self.fresh,
            Lane::Suspects => &mut self.suspects,
        }
    }

    /// Begins to claim a batch, and to send it.
    fn claim(&mut self, held: Held, lane: Lane, sample: Sample, permit: Reserved, courses: u16) {
        self.turns.took(lane);
        let begun = self.backlog(lane).begin(Instant::now());
        let (sender, ended) = oneshot::channel();
        self.claims.push_back(UnderWay { lane, begun, ended });
        let claim = Claim { held, lane, sample, courses, from: begun.cursor, ended: sender };
        self.tasks.spawn(claim::claim_and_deliver(Arc::clone(&self.shared), claim, permit));
    }

    /// Takes in how claims ended, as far as they have.
    fn hear_claims(&mut self) {
        while let Some(claim) = self.claims.front_mut() {
            match claim.ended.try_recv() {
                Ok(ended) => self.heard(ended),
                Err(TryRecvError::Closed) => self.heard(Ended::Lost),
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    /// Waits until the first of them has.
    async fn hear_claim(&mut self) {
        let Some(claim) = self.claims.front_mut() else { return };
        tokio::select! {
            ended = &mut claim.ended => self.heard(ended.unwrap_or(Ended::Lost)),
            () = self.shared.shutdown.begun() => {}
        }
    }

    /// Takes in how the first of them ended.
    fn heard(&mut self, ended: Ended) {
        if let Some(claim) = self.claims.pop_front() {
            self.backlog(claim.lane).ended(claim.begun, ended);
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
        self.fresh.look_anew();
        self.suspects.look_anew();
        self.may_be_doubts = true;
    }

    /// Whether the next request is a probe, where one may be sent; waits for a change where not.
    async fn open_gate(&mut self) -> Option<bool> {
        let shared = Arc::clone(&self.shared);
        let gate = shared.account.gate();
        let is_closed = matches!(gate, Gate::Closed(_));
        if std::mem::replace(&mut self.was_closed, is_closed) && !is_closed {
            shared.metrics.wakeup(Wakeup::Resume);
            self.look_anew();
        }
        match gate {
            Gate::Open { concurrent, .. } if concurrent || self.tasks.is_empty() => return Some(!concurrent),
            Gate::Open { .. } => {
                tokio::select! {
                    () = shared.shutdown.begun() => {}
                    Some(_) = self.tasks.join_next() => {}
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
        None
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
        self.fresh.stir();
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
                self.suspects.stir();
            }
            Wakeup::Completion => {
                self.may_be_doubts = true;
                self.suspects.stir();
            }
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
                durable::agree(&self.shared, &pauses).await;
                let held = *self.lease.borrow();
                if let Some(held) =
                    held.filter(|_| self.questions.is_empty() && self.shared.account.wants_day())
                {
                    self.questions.spawn(durable::learn_reset(Arc::clone(&self.shared), held));
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
            while self.questions.join_next().await.is_some() {}
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
