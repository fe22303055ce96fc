//! Wakes the engine: because of a notification from the database, or because a batch has completed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::database_health::DatabaseHealth;
use crate::outbox::listen::{NotificationListener, Notified};
use crate::outbox::{Database, OutboxError};
use crate::runtime::database_health::DatabaseTask;
use crate::telemetry::metrics::Wakeup;

/// The wake-ups since the last wait.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    notify: Notify,
    has_completion: AtomicBool,
    /// Courses may have changed.
    has_changes: AtomicBool,
    /// The listening session has received a notification, so others arrive, too.
    is_listening: AtomicBool,
}

/// A session without a notification for this long is tested: a broken connection cannot be distinguished from silence.
const MAX_SILENCE: Duration = Duration::from_mins(5);
/// How long a notification to the own session may take.
const ECHO_TIMEOUT: Duration = Duration::from_secs(5);
/// The wait before the next connection.
const RECONNECT_DELAY: Duration = Duration::from_secs(2);

impl Wake {
    /// Courses may have been enqueued, or also changed.
    fn notify(&self, about: Notified) {
        if about == Notified::Changes {
            self.has_changes.store(true, Ordering::Relaxed);
        }
        self.notify.notify_one();
    }

    /// Whether courses may have changed since the last call.
    pub(crate) fn take_changes(&self) -> bool {
        self.has_changes.swap(false, Ordering::Relaxed)
    }

    /// A batch returned courses that may be due at once.
    pub(crate) fn notify_completion(&self) {
        self.has_completion.store(true, Ordering::Relaxed);
        self.notify.notify_one();
    }

    /// Whether notifications arrive. A session that listens is no proof: a pooler may have accepted `LISTEN`.
    pub(crate) fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Relaxed)
    }

    fn set_listening(&self, is_listening: bool) {
        self.is_listening.store(is_listening, Ordering::Relaxed);
    }

    /// Waits for a wake-up. A wake-up since the last wait counts.
    pub(crate) async fn wait(&self) -> Wakeup {
        self.notify.notified().await;
        if self.has_completion.swap(false, Ordering::Relaxed) { Wakeup::Completion } else { Wakeup::Notify }
    }
}

/// Opens a session that listens, and sends it a notification.
async fn connect(database: &Database) -> Result<NotificationListener, OutboxError> {
    let listener = NotificationListener::connect(database).await?;
    listener.send_to_itself(database).await?;
    Ok(listener)
}

/// Waits for a notification, and wakes the engine. False if the session has to be replaced.
async fn is_alive(listener: &mut NotificationListener, database: &Database, wake: &Wake) -> bool {
    let Some(notified) = listener.wait(MAX_SILENCE).await else {
        // If this notification arrives, nothing is lost, and the engine need not wake up. If another one
        // arrives instead, this one follows it.
        return listener.send_to_itself(database).await.is_ok()
            && matches!(listener.wait(ECHO_TIMEOUT).await, Some(Ok(_)));
    };
    let Ok(about) = notified else { return false };
    wake.set_listening(true);
    wake.notify(about);
    true
}

/// Listens for as long as the daemon runs, and wakes the engine at each notification. Ends if a pooler is found.
pub(crate) async fn listen(database: &Database, health: &DatabaseHealth, wake: &Wake) {
    while !database.is_pooled() {
        match connect(database).await {
            Ok(mut listener) => {
                health.record_success(DatabaseTask::Listen);
                // Notifications sent before the session listened are lost, and so are those sent while it ended.
                wake.notify(Notified::Changes);
                while is_alive(&mut listener, database, wake).await {}
                wake.set_listening(false);
                wake.notify(Notified::Changes);
            }
            Err(error) => health.record_failure(DatabaseTask::Listen, &error),
        }
        tokio::time::sleep(RECONNECT_DELAY).await;
    }
    // Polling does without the listening session.
    health.record_success(DatabaseTask::Listen);
}
