//! Wakes the engine: because of a notification from the database, or because a batch has completed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::database_health::DatabaseHealth;
use crate::outbox::Database;
use crate::outbox::listen::NotificationListener;
use crate::runtime::database_health::DatabaseTask;
use crate::telemetry::metrics::Wakeup;

/// The wake-ups since the last wait.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    notify: Notify,
    has_completion: AtomicBool,
}

/// A session without a notification for this long is replaced: a broken connection cannot be distinguished from silence.
const MAX_SILENCE: Duration = Duration::from_mins(5);
/// The wait before the next connection.
const RECONNECT_DELAY: Duration = Duration::from_secs(2);

impl Wake {
    /// Courses may have been enqueued.
    fn notify_enqueued(&self) {
        self.notify.notify_one();
    }

    /// A batch returned courses that may be due at once.
    pub(crate) fn notify_completion(&self) {
        self.has_completion.store(true, Ordering::Relaxed);
        self.notify.notify_one();
    }

    /// Waits for a wake-up. A wake-up since the last wait counts.
    pub(crate) async fn wait(&self) -> Wakeup {
        self.notify.notified().await;
        if self.has_completion.swap(false, Ordering::Relaxed) { Wakeup::Completion } else { Wakeup::Notify }
    }
}

/// Listens for as long as the daemon runs, and wakes the engine at each notification.
pub(crate) async fn listen(database: &Database, health: &DatabaseHealth, wake: &Wake) {
    loop {
        match NotificationListener::connect(database).await {
            Ok(mut listener) => {
                health.record_success(DatabaseTask::Listen);
                // Notifications sent before the session listened are lost, and so are those sent while it ended.
                wake.notify_enqueued();
                while listener.wait(MAX_SILENCE).await {
                    wake.notify_enqueued();
                }
                wake.notify_enqueued();
            }
            Err(error) => health.record_failure(DatabaseTask::Listen, &error),
        }
        tokio::time::sleep(RECONNECT_DELAY).await;
    }
}
