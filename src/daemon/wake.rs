//! Why the engine looks at the outbox: the one place where wake-ups meet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::Shared;
use super::trouble::Work;
use crate::outbox::listen::Wakeups;
use crate::telemetry::metrics::Wakeup;

/// Wake-ups that have come since the last look.
#[derive(Debug, Default)]
pub(super) struct Wake {
    called: Notify,
    by_completion: AtomicBool,
}

/// A listening session that was silent for so long is replaced: a dead line says nothing.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long to wait before listening again after it failed.
const RELISTEN: Duration = Duration::from_secs(2);

impl Wake {
    /// New courses were enqueued.
    fn notify(&self) {
        self.called.notify_one();
    }

    /// A batch gave courses back that may go again at once.
    pub(super) fn complete(&self) {
        self.by_completion.store(true, Ordering::Relaxed);
        self.called.notify_one();
    }

    /// Waits for the next reason to look, until `poll` at most. A call since the last wait counts.
    pub(super) async fn wait(&self, poll: Instant) -> Wakeup {
        tokio::select! {
            () = self.called.notified() => {
                if self.by_completion.swap(false, Ordering::Relaxed) { Wakeup::Completion } else { Wakeup::Notify }
            }
            () = tokio::time::sleep_until(poll.into()) => Wakeup::Poll,
        }
    }
}

/// Listens for as long as the daemon runs.
pub(super) fn spawn_listener(shared: Arc<Shared>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            match Wakeups::listen(&shared.database).await {
                Ok(mut wakeups) => {
                    shared.trouble.is_well(Work::Listen);
                    // What came before it listened went unheard.
                    shared.wake.notify();
                    while wakeups.next(PATIENCE).await {
                        shared.wake.notify();
                    }
                    shared.wake.notify();
                }
                Err(error) => shared.trouble.failed(Work::Listen, &error),
            }
            tokio::time::sleep(RELISTEN).await;
        }
    })
}
