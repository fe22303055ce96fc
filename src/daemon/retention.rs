//! Maintains the tables while this instance is the leader: deletes old rows, finds courses and requests that the journal
//! and the outbox do not agree about, and reports long transactions, which prevent vacuum.

mod kept;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use self::kept::KeptRows;
use crate::course::RowId;
use crate::outbox::{OutboxError, journal, long_transactions, retention, stranded};
use crate::pipeline::context::Context;
use crate::runtime::lease::HeldLease;
use crate::telemetry::events;

/// The interval between two cleanups.
const INTERVAL: Duration = Duration::from_mins(10);
/// A transaction that is open for longer is reported: until it ends, vacuum cannot remove dead rows.
const LONG_TRANSACTION: Duration = Duration::from_mins(15);
/// The pause between two chunks, which gives precedence to claims and records.
const CHUNK_PAUSE: Duration = Duration::from_millis(200);
/// The most chunks in one cleanup. The next cleanup continues where this one ended.
const CHUNKS: usize = 100;

/// How far the passes over the outbox have got.
#[derive(Default)]
struct CleanupProgress {
    /// Where the last cleanup ended.
    cleaned: Option<RowId>,
    /// Where the search for courses without an intent ended.
    searched: Option<RowId>,
    kept: KeptRows,
}

/// Runs until the shutdown begins.
pub(super) async fn run(context: Arc<Context>, mut lease: watch::Receiver<Option<HeldLease>>) {
    let mut progress = CleanupProgress::default();
    while !context.runtime.shutdown.has_begun() {
        let Some(held) = *lease.borrow_and_update() else {
            tokio::select! {
                changed = lease.changed() => if changed.is_err() { return },
                () = context.runtime.shutdown.begun() => {}
            }
            continue;
        };
        // One failure does not prevent the other tasks.
        let results = [
            settle_journal(&context, held, &mut progress).await,
            delete_courses(&context, &mut progress).await,
            delete_history(&context).await,
        ];
        progress.kept.log_new_rows();
        for error in results.into_iter().filter_map(Result::err) {
            tracing::warn!(event = events::RETENTION_CLEANUP_FAILED, %error, "retention cleanup failed");
        }
        report_long_transactions(&context).await;
        pause(&context, INTERVAL.min(context.settings.shortest_retention())).await;
    }
}

/// Finds courses without an intent, and closes requests none of whose courses is left to settle.
async fn settle_journal(
    context: &Context,
    held: HeldLease,
    progress: &mut CleanupProgress,
) -> Result<(), OutboxError> {
    let (database, settings) = (&context.edges.database, &context.settings);
    // As for other requests: a sender counts as dead one send window after the latest end of its request.
    let grace = settings.send_window() * 2;
    let mut found = 0;
    for _ in chunks(context) {
        let after = progress.searched.unwrap_or(RowId(0));
        let chunk =
            stranded::mark_stranded_unconfirmed(database, held.lease, after, settings.settle, grace).await?;
        found += chunk.courses;
        progress.searched = chunk.next;
        if chunk.next.is_none() {
            break;
        }
        pause(context, CHUNK_PAUSE).await;
    }
    if found > 0 {
        tracing::warn!(event = events::STRANDED_COURSES_FOUND, courses = found, "stranded courses found");
        context.runtime.wake.notify_completion();
    }
    journal::close_settled_batches(database).await
}

/// Logs the oldest long transaction. course-sync never ends a transaction of another client.
async fn report_long_transactions(context: &Context) {
    if let Ok(Some(transaction)) =
        long_transactions::oldest_transaction(&context.edges.database, LONG_TRANSACTION).await
    {
        let (user, program) =
            (transaction.usename.unwrap_or_default(), transaction.application_name.unwrap_or_default());
        tracing::warn!(
            event = events::LONG_TRANSACTION_FOUND,
            pid = transaction.pid,
            user,
            program,
            open_seconds = transaction.seconds.round(),
            hint = "the outbox's tables grow until it ends: end it, or call pg_terminate_backend(pid)",
            "long transaction found"
        );
    }
}

/// Deletes old synced courses, in chunks.
async fn delete_courses(context: &Context, progress: &mut CleanupProgress) -> Result<(), OutboxError> {
    let Some(age) = context.settings.retention else { return Ok(()) };
    for _ in chunks(context) {
        progress.cleaned = delete_chunk(context, progress, age).await?;
        if progress.cleaned.is_none() {
            break;
        }
        pause(context, CHUNK_PAUSE).await;
    }
    Ok(())
}

/// Deletes the old courses of one chunk. If the database refuses, in smaller and smaller parts, until the row that it
/// refuses is on its own. Returns where the next chunk starts; `None` at the end of the table.
async fn delete_chunk(
    context: &Context,
    progress: &mut CleanupProgress,
    age: Duration,
) -> Result<Option<RowId>, OutboxError> {
    let database = &context.edges.database;
    let mut after = progress.cleaned.unwrap_or(RowId(0));
    let (mut left, mut rows) = (retention::CHUNK_ROWS, retention::CHUNK_ROWS);
    while left > 0 && !context.runtime.shutdown.has_begun() {
        rows = rows.min(left);
        let kept = progress.kept.after(after);
        match retention::delete_synced(database, after, rows, age, &kept).await {
            Ok(Some(last)) => (after, left, rows) = (last, left - rows, rows * 2),
            Ok(None) => return Ok(None),
            Err(error) if !error.is_refusal_of_a_row() => return Err(error),
            Err(_) if rows > 1 => rows /= 2,
            Err(error) => {
                let Some((row, key)) = retention::first_row_after(database, after).await? else {
                    return Ok(None);
                };
                progress.kept.add(row, key, &error);
                (after, left) = (row, left - 1);
            }
        }
    }
    Ok(Some(after))
}

/// Deletes old requests and history, in chunks.
async fn delete_history(context: &Context) -> Result<(), OutboxError> {
    let Some(age) = context.settings.history_retention else { return Ok(()) };
    let database = &context.edges.database;
    for _ in chunks(context) {
        let requests = retention::delete_requests(database, age).await;
        let history = retention::delete_history(database, age).await;
        if !(requests? | history?) {
            break;
        }
        pause(context, CHUNK_PAUSE).await;
    }
    Ok(())
}

/// The chunks of one cleanup, until the shutdown begins.
fn chunks(context: &Context) -> impl Iterator<Item = usize> {
    (0..CHUNKS).take_while(|_| !context.runtime.shutdown.has_begun())
}

async fn pause(context: &Context, length: Duration) {
    tokio::select! {
        () = tokio::time::sleep(length) => {}
        () = context.runtime.shutdown.begun() => {}
    }
}
