//! The loop: one wait point, a permit before each claim, a task for each batch.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::leader::{Deadline, Held};
use super::pace::Permit;
use super::trouble::Work;
use super::{Shared, day, doubts, schema};
use crate::course::{Category, CourseError};
use crate::outbox::claim::{self, Bookmark, Limits, Taken};
use crate::outbox::{OutboxError, pause};
use crate::policy::batch::Batch;
use crate::policy::pause::Gate;
use crate::telemetry::metrics::Wakeup;

/// How long to wait before a claim that was not found is taken back again.
const WITHDRAW_AGAIN: Duration = Duration::from_secs(1);
/// How long its statement may run on at the server, which ends every statement earlier.
const WITHDRAW_FOR: Duration = Duration::from_secs(40);

struct Engine {
    shared: Arc<Shared>,
    lease: watch::Receiver<Option<Held>>,
    tasks: JoinSet<()>,
    doubts: JoinSet<()>,
    bookmark: Bookmark,
    /// There may be something to claim.
    is_hungry: bool,
    /// There may be doubts that are due.
    may_be_doubts: bool,
    doubts_since: Instant,
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
        bookmark: Bookmark::default(),
        is_hungry: true,
        may_be_doubts: true,
        doubts_since: Instant::now(),
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

        // A backlog that never lets the loop wait must not keep doubts from being settled.
        let is_time = self.doubts_since.elapsed() > self.shared.settings.poll_interval;
        if (self.may_be_doubts || is_time) && self.doubts.is_empty() {
            self.may_be_doubts = false;
            self.doubts_since = Instant::now();
            self.doubts.spawn(doubts::settle_due(Arc::clone(&self.shared), held));
        }
        if !self.is_hungry {
            return self.wait().await;
        }
        let shared = Arc::clone(&self.shared);
        let permit = tokio::select! {
            () = shared.shutdown.begun() => return,
            permit = shared.pace.permit() => permit,
        };
        // While the permit was waited for, the gate may have closed, and the lease was renewed.
        let held = (*self.lease.borrow()).filter(Held::is_valid);
        match (held, shared.account.gate()) {
            (Some(held), Gate::Open { courses, .. }) => self.claim(held, permit, courses).await,
            (None, _) | (_, Gate::Closed(_)) => permit.unused(),
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
        self.is_hungry = true;
        self.may_be_doubts = true;
        self.bookmark.forget();
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
            cause = shared.wake.wait() => cause,
        };
        shared.metrics.wakeup(cause);
        self.is_hungry = true;
        match cause {
            // A short batch waits for company.
            Wakeup::Notify => {
                tokio::select! {
                    () = shared.shutdown.begun() => {}
                    () = tokio::time::sleep(shared.settings.linger) => {}
                }
            }
            Wakeup::Poll | Wakeup::Completion => self.may_be_doubts = true,
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

    /// Claims a batch and begins to send it.
    async fn claim(&mut self, held: Held, permit: Permit, courses: u16) {
        let batch = Uuid::now_v7();
        let begin_by = held.valid_until.min(Deadline::after(self.shared.settings.request_timeout));
        let (since, began) = (SystemTime::now(), Instant::now());
        let taken = self.take(held, batch, courses).await;
        let taken = match taken {
            Some(Ok(taken)) => taken,
            Some(Err(error)) => {
                permit.unused();
                self.shared.trouble.failed(Work::Claim, &error);
                if error.may_have_happened() {
                    self.tasks.spawn(withdraw(Arc::clone(&self.shared), batch));
                }
                self.is_hungry = false;
                return;
            }
            None => return permit.unused(),
        };
        self.shared.trouble.is_well(Work::Claim);
        self.is_hungry = taken.is_full;
        self.bookmark.set(taken.cursor, began.elapsed());
        if taken.courses.is_empty() && taken.unreadable.is_empty() {
            return permit.unused();
        }
        self.shared.metrics.rate_limit_wait(permit.waited);
        let now = jiff::Timestamp::now();
        let (batch, mut unfit) =
            Batch::assemble(batch, taken.courses, self.shared.settings.unique_property.as_deref(), now);
        unfit.extend(
            taken
                .unreadable
                .into_iter()
                .map(|(id, error)| (id, CourseError::new(Category::InvalidRow, &error.to_string(), now))),
        );
        let shared = Arc::clone(&self.shared);
        let span = shared.traces.batch(batch.id(), held.lease.term, batch.courses().len(), since);
        self.tasks.spawn(schema::sift_and_deliver(shared, begin_by, batch, unfit, permit, span));
    }

    async fn take(&mut self, held: Held, batch: Uuid, courses: u16) -> Option<Result<Taken, OutboxError>> {
        let (shared, cursor) = (Arc::clone(&self.shared), self.bookmark.cursor(Instant::now()));
        in_task(async move {
            let settings = &shared.settings;
            let limits = Limits {
                courses: courses.min(settings.max_size),
                bytes: settings.max_bytes,
                unique_property: settings.unique_property.as_deref(),
            };
            let (margin, window) = (settings.margin(), settings.send_window());
            claim::claim(&shared.database, held.lease, margin, batch, limits, cursor, window).await
        })
        .await
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

/// Takes back a claim whose answer was lost, unless it proves never to have been committed: its courses
/// were not sent, and would count as in doubt.
async fn withdraw(shared: Arc<Shared>, batch: Uuid) {
    let began = Instant::now();
    while began.elapsed() < WITHDRAW_FOR {
        match claim::withdraw(&shared.database, batch).await {
            Ok(0) => {}
            Ok(courses) => {
                tracing::info!(%batch, courses, "a claim whose answer was lost was taken back");
                shared.wake.complete();
                break;
            }
            Err(error) => shared.trouble.failed(Work::TakeBack, &error),
        }
        tokio::select! {
            () = tokio::time::sleep(WITHDRAW_AGAIN) => {}
            () = shared.shutdown.begun() => break,
        }
    }
    shared.trouble.is_well(Work::TakeBack);
}

/// Runs database work in a task of its own, so that it always runs to its end. `None`: it panicked,
/// or the runtime is ending.
pub(super) async fn in_task<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    tokio::spawn(work).await.ok()
}
