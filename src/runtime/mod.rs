//! What all tasks of the daemon use: shutdown, wake-ups, the heartbeat, the lease, the health of the database, the count of
//! results that are not recorded yet.
//!
//! Does not depend on the pipeline or on HubSpot.

pub mod database_health;
pub mod heartbeat;
pub(crate) mod lease;
pub mod lifecycle;
pub(crate) mod unrecorded;
pub(crate) mod wake;

/// Runs database work in a task of its own, so that it is never cancelled halfway. `None`: it panicked, or the runtime is
/// shutting down.
pub(crate) async fn run_in_task<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    tokio::spawn(work).await.ok()
}
