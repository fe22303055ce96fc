//! Deletes old rows while this instance is the leader, and reports long transactions, which prevent vacuum.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::course::RowId;
use crate::outbox::{OutboxError, long_transactions, retention};
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

/// Runs until the shutdown begins.
pub(super) async fn run(context: Arc<Context>, lease: watch::Receiver<Option<HeldLease>>) {
    let mut position = RowId(0);
    while !context.runtime.shutdown.has_begun() {
        if lease.borrow().is_some()
            && let Err(error) = clean_up(&context, &mut position).await
        {
            tracing::warn!(event = events::RETENTION_CLEANUP_FAILED, %error, "retention cleanup failed");
        }
        if lease.borrow().is_some() {
            report_long_transactions(&context).await;
        }
        pause(&context, INTERVAL.min(context.settings.shortest_retention())).await;
    }
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

/// One cleanup, in chunks. `position`: where the last cleanup ended.
async fn clean_up(context: &Context, position: &mut RowId) -> Result<(), OutboxError> {
    let database = &context.edges.database;
    if let Some(age) = context.settings.retention {
        for _ in chunks(context) {
            let next = retention::delete_synced(database, *position, age).await?;
            *position = next.unwrap_or(RowId(0));
            if next.is_none() {
                break;
            }
            pause(context, CHUNK_PAUSE).await;
        }
    }
    if let Some(age) = context.settings.history_retention {
        for _ in chunks(context) {
            let more_requests = retention::delete_requests(database, age).await?;
            if !(retention::delete_history(database, age).await? || more_requests) {
                break;
            }
            pause(context, CHUNK_PAUSE).await;
        }
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
