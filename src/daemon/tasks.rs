//! Work that must not be cut off when the one who waits for it gives up. Spawns tasks and knows nothing else.

/// Runs database work in a task of its own, so that it always runs to its end. `None`: it panicked,
/// or the runtime is ending.
pub(super) async fn in_task<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    tokio::spawn(work).await.ok()
}
