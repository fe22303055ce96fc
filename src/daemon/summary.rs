//! The log of work under way: a line for each course that failed, up to so many a minute, and a line a minute for
//! everything together, if anything happened.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Shared;
use crate::course::{CourseError, CourseKey, Status};
use crate::outbox::report;
use crate::policy::batch::RowId;
use crate::telemetry::summary::{Allowance, Counted, Summary};

const EVERY: Duration = Duration::from_mins(1);
/// Failed courses that a minute's log names.
const FAILURES: u64 = 20;
/// Requests that did not go well, likewise.
const REQUESTS: u64 = 30;

/// What may still be said in this minute.
#[derive(Debug)]
pub(super) struct Allowances {
    failures: Mutex<Allowance>,
    requests: Mutex<Allowance>,
}

impl Default for Allowances {
    fn default() -> Self {
        Self {
            failures: Mutex::new(Allowance::new(FAILURES)),
            requests: Mutex::new(Allowance::new(REQUESTS)),
        }
    }
}

impl Allowances {
    /// A course failed for good. `key` is absent where the row could not be read.
    pub(super) fn failed(&self, batch: Uuid, row: RowId, key: Option<&CourseKey>, error: &CourseError) {
        if !lock(&self.failures).take() {
            return;
        }
        tracing::warn!(
            %batch,
            course_key = key.map(CourseKey::as_str),
            row = row.0,
            category = error.category.as_str(),
            code = error.code.as_deref(),
            property = error.property.as_deref(),
            correlation_id = error.correlation_id.as_deref(),
            "course failed"
        );
    }

    /// Whether one more request that did not go well may have a line of its own.
    pub(super) fn may_tell_request(&self) -> bool {
        lock(&self.requests).take()
    }
}

fn lock(allowance: &Mutex<Allowance>) -> MutexGuard<'_, Allowance> {
    allowance.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The task that tells.
pub(super) struct Telling {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Begins to tell.
pub(super) fn spawn(shared: Arc<Shared>) -> Telling {
    let stop = CancellationToken::new();
    let task = tokio::spawn(tell(shared, stop.clone()));
    Telling { stop, task }
}

impl Telling {
    /// Tells what happened since the last line, and ends.
    pub(super) async fn end(self) {
        self.stop.cancel();
        // It waits for nothing once it is told to stop.
        self.task.await.ok();
    }
}

async fn tell(shared: Arc<Shared>, stop: CancellationToken) {
    let (mut before, mut since) = (Counted::default(), Instant::now());
    while !stop.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => {}
        }
        let (now, seconds) = (shared.metrics.counted(), since.elapsed().as_secs());
        since = Instant::now();
        if let Some(summary) = Summary::between(&before, &now) {
            let pending = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                pending = pending(&shared) => pending,
            };
            say(&shared, &summary, seconds, pending);
        }
        before = now;
        let held_back = lock(&shared.allowances.failures).renew();
        if held_back > 0 {
            tracing::warn!(courses = held_back, "further courses failed; see course-sync failures");
        }
        lock(&shared.allowances.requests).renew();
    }
}

fn say(shared: &Shared, summary: &Summary, seconds: u64, pending: Option<i64>) {
    let (quota, pauses) = (shared.account.quota(), shared.account.view());
    let reasons: Vec<&str> = pauses.iter().map(|pause| pause.reason).collect();
    tracing::info!(
        seconds,
        synced = summary.synced,
        adopted = summary.adopted,
        failed = summary.failed,
        deferred = summary.deferred,
        unconfirmed = summary.unconfirmed,
        requests = summary.requests,
        outcomes = summary.outcomes,
        delay_p50_seconds = summary.delay_p50_seconds,
        delay_p95_seconds = summary.delay_p95_seconds,
        pending,
        quota_interval = quota.remaining,
        quota_daily = quota.daily_remaining,
        paused = (!reasons.is_empty()).then(|| reasons.join(", ")),
        "summary"
    );
}

/// How many courses are pending, where the database tells. The statement is a task of its own: it runs to its end.
async fn pending(shared: &Shared) -> Option<i64> {
    let database = shared.database.clone();
    let counts = tokio::spawn(async move { report::counts(&database).await }).await.ok()?.ok()?;
    counts.iter().find(|count| count.status == Status::Pending).map(|count| count.courses)
}
