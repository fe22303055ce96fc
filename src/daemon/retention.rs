//! Lets go of what is old enough, while this instance leads; tells of what keeps the server from it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Shared;
use super::leader::Held;
use crate::outbox::{OutboxError, horizon, retention};

/// How often it is looked for something old.
const EVERY: Duration = Duration::from_mins(10);
/// A transaction that is open for longer is told of: while it is, no dead row is cleared away.
const OLD: Duration = Duration::from_mins(15);
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
        if lease.borrow().is_some() {
            tell_of_old_transactions(&shared).await;
        }
        pause(&shared, EVERY.min(shared.settings.shortest_retention())).await;
    }
}

/// A person has to see to it: course-sync ends nobody's transaction.
async fn tell_of_old_transactions(shared: &Shared) {
    if let Ok(Some(old)) = horizon::oldest_transaction(&shared.database, OLD).await {
        let (user, program) = (old.usename.unwrap_or_default(), old.application_name.unwrap_or_default());
        tracing::warn!(
            pid = old.pid,
            user,
            program,
            open_seconds = old.seconds.round(),
            "a transaction has been open for long, and the outbox's tables grow until it ends; end it, or see \
             pg_terminate_backend"
        );
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
