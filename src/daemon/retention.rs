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

/// Runs until the shutdown begins.
pub(super) async fn run(shared: Arc<Shared>, lease: watch::Receiver<Option<Held>>) {
    while !shared.shutdown.has_begun() {
        if lease.borrow().is_some()
            && let Err(error) = sweep(&shared).await
        {
            tracing::warn!(%error, "what is old enough is not deleted for now");
        }
        pause(&shared, EVERY.min(shared.settings.shortest_retention())).await;
    }
}

async fn sweep(shared: &Shared) -> Result<(), OutboxError> {
    if let Some(age) = shared.settings.retention {
        let mut after = Some(0);
        while let Some(id) = after.filter(|_| !shared.shutdown.has_begun()) {
            after = retention::delete_synced(&shared.pool, id, age).await?;
            pause(shared, BREATH).await;
        }
    }
    if let Some(age) = shared.settings.history_retention {
        while !shared.shutdown.has_begun() && retention::delete_requests(&shared.pool, age).await? {
            pause(shared, BREATH).await;
        }
        while !shared.shutdown.has_begun() && retention::delete_history(&shared.pool, age).await? {
            pause(shared, BREATH).await;
        }
    }
    Ok(())
}

async fn pause(shared: &Shared, length: Duration) {
    tokio::select! {
        () = tokio::time::sleep(length) => {}
        () = shared.shutdown.begun() => {}
    }
}
