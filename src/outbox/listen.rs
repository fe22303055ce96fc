//! Notifications that courses were enqueued, or that a pause began or ended. Only a hint: polling finds everything without
//! them.

use std::time::Duration;

use sqlx::postgres::PgListener;

use crate::outbox::OutboxError;
use crate::outbox::database::{Database, run_statement};

/// The channel that the outbox table's trigger notifies.
pub(super) const CHANNEL: &str = "course_outbox";

/// A session that listens for new courses.
pub struct NotificationListener {
    listener: PgListener,
    /// The schema of the outbox, if it is known.
    schema: Option<String>,
}

impl NotificationListener {
    /// Opens a session that listens, on a connection of its own: it would take one from a small pool for good.
    pub async fn connect(database: &Database) -> Result<Self, OutboxError> {
        let connected = PgListener::connect_with(&database.single_connection_pool()).await;
        if let Err(error) = &connected {
            // URL or password may have changed; the next attempt uses the new ones.
            database.refresh_address(error);
        }
        let mut listener = connected.map_err(OutboxError::failed_to("open a listening session"))?;
        listener.listen(CHANNEL).await.map_err(OutboxError::failed_to("listen for new courses"))?;
        Ok(Self { listener, schema: database.schema() })
    }

    /// Sends a notification to this outbox, on another connection. If it arrives, others will, too.
    pub async fn send_to_itself(&self, database: &Database) -> Result<(), OutboxError> {
        const NOTIFY: &str = "-- notify the own session
            select pg_notify($1, $2)";
        let schema = self.schema.clone().unwrap_or_default();
        run_statement(database, async |session| {
            sqlx::query(NOTIFY).bind(CHANNEL).bind(&schema).execute(session).await
        })
        .await
        .map_err(OutboxError::failed_to("send a notification"))?;
        Ok(())
    }

    /// Waits for the next notification. `None`: none came within `timeout`. False if the session ended: notifications may
    /// be lost.
    pub async fn wait(&mut self, timeout: Duration) -> Option<bool> {
        tokio::time::timeout(timeout, self.next_own()).await.ok()
    }

    /// Waits for a notification about this outbox. False if the session ended.
    async fn next_own(&mut self) -> bool {
        while let Ok(Some(notification)) = self.listener.try_recv().await {
            // One without a schema is for all: an operator's command sends it.
            let sender = notification.payload();
            if sender.is_empty() || self.schema.as_deref().is_none_or(|own| own == sender) {
                return true;
            }
        }
        false
    }
}
