//! The progress report: one log line per minute, if any counter has changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::course::Status;
use crate::outbox::overview;
use crate::pipeline::context::Context;
use crate::telemetry::events;
use crate::telemetry::metrics::CounterSnapshot;
use crate::telemetry::progress::Progress;

/// The interval between two lines.
const INTERVAL: Duration = Duration::from_mins(1);

/// The task that logs progress.
pub(super) struct ProgressTask {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Starts the task.
pub(super) fn spawn(context: Arc<Context>) -> ProgressTask {
    let stop = CancellationToken::new();
    let task = tokio::spawn(log_progress(context, stop.clone()));
    ProgressTask { stop, task }
}

impl ProgressTask {
    /// Logs the progress since the last line, and ends.
    pub(super) async fn finish(self) {
        self.stop.cancel();
        self.task.await.ok();
    }
}

async fn log_progress(context: Arc<Context>, stop: CancellationToken) {
    let (mut before, mut since) = (CounterSnapshot::default(), Instant::now());
    while !stop.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = stop.cancelled() => {}
        }
        let (now, seconds) = (context.reporting.metrics.snapshot(), since.elapsed().as_secs());
        since = Instant::now();
        if let Some(progress) = Progress::between(&before, &now) {
            let pending = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                pending = count_pending(&context) => pending,
            };
            log_line(&context, &progress, seconds, pending);
        }
        before = now;
        let unlogged = context.reporting.log_limits.renew();
        if unlogged > 0 {
            tracing::warn!(
                event = events::FURTHER_COURSES_FAILED,
                courses = unlogged,
                hint = "run `course-sync failures`",
                "further courses failed"
            );
        }
    }
}

fn log_line(context: &Context, progress: &Progress, seconds: u64, pending: Option<i64>) {
    let (quota, pauses) = (context.account.quota(), context.account.pauses());
    let reasons: Vec<&str> = pauses.iter().map(|pause| pause.reason.as_str()).collect();
    tracing::info!(
        event = events::PROGRESS_REPORTED,
        seconds,
        synced = progress.synced,
        adopted = progress.adopted,
        updated = progress.updated,
        archived = progress.archived,
        failed = progress.failed,
        deferred = progress.deferred,
        unconfirmed = progress.unconfirmed,
        requests = progress.requests,
        outcomes = progress.outcomes,
        delay_p50_seconds = progress.delay_p50_seconds,
        delay_p95_seconds = progress.delay_p95_seconds,
        pending,
        quota_interval = quota.remaining,
        quota_daily = quota.daily_remaining,
        paused = (!reasons.is_empty()).then(|| reasons.join(", ")),
        "progress reported"
    );
}

/// The number of pending courses; `None` if the database is unavailable. The statement runs in a task of its own, so that
/// it is never cancelled.
async fn count_pending(context: &Context) -> Option<i64> {
    let database = context.edges.database.clone();
    let counts = tokio::spawn(async move { overview::count_courses(&database).await }).await.ok()?.ok()?;
    counts.iter().find(|count| count.status == Status::Pending).map(|count| count.courses)
}
