//! Lets go of what is old enough, while this instance leads.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Shared;
use super::leader::Held;
use crate::outbox::{OutboxError, retention};

/// How often it is looked for something old.
const EVERY: Duration = Duration::from_mins(10);
/// Between two bites, so that the work at hand goes first.
const BREATH: Duration = Duration::from_millis(200);
/// Bites of one sweep at most. The next one goes on where it ended, so a large table is walked over
/// days rather than on a schedule.
const BITES: usize = 100;

/// Runs until the shutdown begins.
pub(super) async fn run(shared: Arc<Shared>, lease: watch::Receiver<Option<Held>>) {
    let mut walked = 0;
    while !shared.shutdown.has_begun() {
        if lease.borrow().is_some()
            && let Err(error) = sweep(&shared, &mut walked).await
        {
            tracing::warn!(%error, "what is old enough is not deleted for now");
        }
        pause(&shared, EVERY.min(shared.settings.shortest_retention())).await;
    }
}

/// `walked` is how far along the outbox the last sweep came.
async fn sweep(shared: &Shared, walked: &mut i64) -> Result<(), OutboxError> {
    let database = &shared.database;
    if let Some(age) = shared.settings.retention {
        for _ in bites(shared) {
            let next = retention::delete_synced(database, *walked, age).await?;
            *walked = next.unwrap_or(0);
            if next.is_none() {
                break;
            }
            pause(shared, BREATH).await;
        }
    }
    if let Some(age) = shared.settings.history_retention {
        for _ in bites(shared) {
            let more = retention::delete_requests(database, age).await?;
            if !(retention::delete_history(database, age).await? || more) {
                break;
            }
            pause(shared, BREATH).await;
        }
    }
    Ok(())
}

/// As many as a sweep may take, until the shutdown begins.
fn bites(shared: &Shared) -> impl Iterator<Item = usize> {
    (0..BITES).take_while(|_| !shared.shutdown.has_begun())
}

async fn pause(shared: &Shared, length: Duration) {
    tokio::select! {
        () = tokio::time::sleep(length) => {}
        () = shared.shutdown.begun() => {}
    }
}
