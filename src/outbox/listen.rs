//! Notifications that courses were enqueued, or that a pause began or ended. Only a hint: polling finds everything without
//! them.

use std::time::Duration;

use sqlx::postgres::PgListener;

use crate::outbox::OutboxError;
use crate::outbox::database::{Database, run_statement};

/// The channel that the outbox table's trigger notifies.
pub(super) const CHANNEL: &str = "course_outbox";

/// What a notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notified {
    /// New courses, or a pause.
    Courses,
    /// Courses that changed, or an operator's command.
    Changes,
}

/// How the trigger for changes ends its payload, after the schema.
const CHANGED: &str = " changed";

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

    /// Waits for the next notification. `None`: none came within `timeout`. An error if the session ended: notifications may
    /// be lost.
    pub async fn wait(&mut self, timeout: Duration) -> Option<Result<Notified, SessionEnded>> {
        tokio::time::timeout(timeout, self.next_own()).await.ok()
    }

    /// Waits for a notification about this outbox.
    async fn next_own(&mut self) -> Result<Notified, SessionEnded> {
        while let Ok(Some(notification)) = self.listener.try_recv().await {
            // One without a schema is for all: an operator's command sends it.
            let payload = notification.payload();
            let (schema, about) = match payload.strip_suffix(CHANGED) {
                Some(schema) => (schema, Notified::Changes),
                None if payload.is_empty() => return Ok(Notified::Changes),
                None => (payload, Notified::Courses),
            };
            if self.schema.as_deref().is_none_or(|own| own == schema) {
                return Ok(about);
            }
        }
        Err(SessionEnded)
    }
}

/// The listening session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionEnded;
