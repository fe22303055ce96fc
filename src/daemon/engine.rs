//! The loop: one wait point, a permit before each claim, a task for each batch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::leader::Held;
use super::pace::Permit;
use super::{Shared, deliver, doubts};
use crate::course::{Category, CourseError};
use crate::outbox::claim::{self, Cursor, Limits, Taken};
use crate::outbox::{OutboxError, report};
use crate::policy::batch::Batch;
use crate::policy::pause::Gate;
use crate::telemetry::metrics::Wakeup;

/// The cursor is forgotten at least so often, so that a row which committed behind it is found.
const CURSOR_MAX_AGE: Duration = Duration::from_secs(5);

struct Engine {
    shared: Arc<Shared>,
    lease: watch::Receiver<Option<Held>>,
    tasks: JoinSet<()>,
    doubts: JoinSet<()>,
    cursor: Cursor,
    cursor_since: Instant,
    /// There may be something to claim.
    is_hungry: bool,
    /// There may be doubts that are due.
    may_be_doubts: bool,
    doubts_since: Instant,
}

/// Runs until the shutdown begins, then until what is under way is finished or the shutdown is
/// forced. True where everything is finished.
pub(super) async fn run(shared: &Arc<Shared>, lease: watch::Receiver<Option<Held>>) -> bool {
    let mut engine = Engine {
        shared: Arc::clone(shared),
        lease,
        tasks: JoinSet::new(),
        doubts: JoinSet::new(),
        cursor: Cursor::default(),
        cursor_since: Instant::now(),
        is_hungry: true,
        may_be_doubts: true,
        doubts_since: Instant::now(),
    };
    while !shared.shutdown.has_begun() {
        engine.turn().await;
    }
    engine.drain().await
}

impl Engine {
    /// One turn: wait until something may be sent and may be there to send, then begin to send it.
    async fn turn(&mut self) {
        let Some(held) = self.leading().await else { return };
        let Some(courses) = self.open_gate().await else { return };
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
        // The gate may have closed while the permit was waited for.
        match shared.account.gate() {
            Gate::Open { .. } => self.claim(held, permit, courses).await,
            Gate::Closed(_) => permit.unused(),
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
        self.is_hungry = true;
        self.may_be_doubts = true;
        self.cursor = Cursor::default();
        None
    }

    /// How many courses one request may carry, once one may be sent.
    async fn open_gate(&mut self) -> Option<u16> {
        let shared = Arc::clone(&self.shared);
        match shared.account.gate() {
            Gate::Open { concurrent: true, courses } => return Some(courses),
            Gate::Open { concurrent: false, courses } if shared.pace.open() == 0 => return Some(courses),
            Gate::Open { concurrent: false, .. } => {
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
                    () = tokio::time::sleep(left.min(shared.settings.poll_interval)) => self.hear_operator().await,
                }
                if matches!(shared.account.gate(), Gate::Open { .. }) {
                    shared.metrics.wakeup(Wakeup::Resume);
                    self.is_hungry = true;
                    self.may_be_doubts = true;
                    self.cursor = Cursor::default();
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
            cause = shared.wake.wait() => cause,
        };
        shared.metrics.wakeup(cause);
        self.is_hungry = true;
        match cause {
            Wakeup::Poll => {
                self.may_be_doubts = true;
                self.hear_operator().await;
            }
            // A short batch waits for company.
            Wakeup::Notify => {
                tokio::select! {
                    () = shared.shutdown.begun() => {}
                    () = tokio::time::sleep(shared.settings.linger) => {}
                }
            }
            Wakeup::Completion => self.may_be_doubts = true,
            Wakeup::Resume => {}
        }
    }

    async fn hear_operator(&self) {
        let shared = Arc::clone(&self.shared);
        let pauses = in_task(async move { report::pauses(&shared.pool).await }).await;
        match pauses {
            Some(Ok(pauses)) => {
                let word = pauses.iter().find(|pause| pause.reason == "operator");
                self.shared.account.operator(word.map(|pause| pause.message.as_str()));
            }
            Some(Err(error)) => tracing::warn!(%error, "cannot tell whether a person paused"),
            None => {}
        }
    }

    /// Claims a batch and begins to send it.
    async fn claim(&mut self, held: Held, permit: Permit, courses: u16) {
        let batch = Uuid::now_v7();
        let taken = self.take(held, batch, courses).await;
        let taken = match taken {
            Some(Ok(taken)) => taken,
            Some(Err(error)) => {
                permit.unused();
                tracing::warn!(%error, "claiming nothing for now");
                self.is_hungry = false;
                return;
            }
            None => return permit.unused(),
        };
        self.is_hungry = taken.is_full;
        self.cursor = taken.cursor;
        if self.cursor == Cursor::default() {
            self.cursor_since = Instant::now();
        }
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
        self.tasks.spawn(deliver::deliver(Arc::clone(&self.shared), held, batch, unfit, permit));
    }

    async fn take(&mut self, held: Held, batch: Uuid, courses: u16) -> Option<Result<Taken, OutboxError>> {
        if self.cursor_since.elapsed() > CURSOR_MAX_AGE {
            self.cursor = Cursor::default();
        }
        let (shared, cursor) = (Arc::clone(&self.shared), self.cursor);
        let settings = &self.shared.settings;
        let limits = Limits {
            courses: courses.min(settings.max_size),
            bytes: settings.max_bytes,
            distinct: settings.unique_property.is_none(),
        };
        in_task(async move {
            let settings = &shared.settings;
            let (margin, window) = (settings.margin(), settings.send_window());
            claim::claim(&shared.pool, held.lease, margin, batch, limits, cursor, window).await
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

/// Runs database work in a task of its own, so that it always runs to its end. `None`: it panicked,
/// or the runtime is ending.
async fn in_task<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    tokio::spawn(work).await.ok()
}
