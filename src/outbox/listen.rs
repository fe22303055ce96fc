//! Notifications that courses were enqueued. Only a hint: polling finds every course without them.

use std::time::Duration;

use sqlx::postgres::PgListener;

use crate::outbox::OutboxError;
use crate::outbox::database::Database;

/// The channel that the outbox table's trigger notifies.
pub(super) const CHANNEL: &str = "course_outbox";

/// A session that listens for new courses.
pub struct NotificationListener(PgListener);

impl NotificationListener {
    /// Opens a session that listens, on a connection of its own: it would take one from a small pool for good.
    pub async fn connect(database: &Database) -> Result<Self, OutboxError> {
        let connected = PgListener::connect_with(&database.single_connection_pool()).await;
        if connected.is_err() {
            // The URL may have changed; the next attempt uses the new one.
            database.refresh_url();
        }
        let mut listener = connected.map_err(OutboxError::failed_to("open a listening session"))?;
        listener.listen(CHANNEL).await.map_err(OutboxError::failed_to("listen for new courses"))?;
        Ok(Self(listener))
    }

    /// Waits for the next notification. False if none came within `timeout` or the session ended: open a new session
    /// then, because a dead connection looks like one without notifications.
    pub async fn wait(&mut self, timeout: Duration) -> bool {
        matches!(tokio::time::timeout(timeout, self.0.try_recv()).await, Ok(Ok(Some(_))))
    }
}
