//! The hint that courses were enqueued. Only a hint: the poll beside it carries everything alone.

use std::time::Duration;

use sqlx::postgres::PgListener;

use super::OutboxError;
use super::database::Database;

/// The channel that the outbox table's trigger notifies.
const CHANNEL: &str = "course_outbox";

/// A session that listens.
pub struct Wakeups(PgListener);

impl Wakeups {
    /// Listens, on a connection of its own beside the pool's: a small pool would starve.
    pub async fn listen(database: &Database) -> Result<Self, OutboxError> {
        let connected = PgListener::connect_with(&database.alone()).await;
        if connected.is_err() {
            // The next attempt goes by it.
            database.follow();
        }
        let mut listener = connected.map_err(OutboxError::doing("open a listening session"))?;
        listener.listen(CHANNEL).await.map_err(OutboxError::doing("listen for new courses"))?;
        Ok(Self(listener))
    }

    /// Waits for the next hint, at most `patience` long: a dead line says nothing, so a session
    /// that stays silent is to be replaced. False where the session is to be replaced.
    pub async fn next(&mut self, patience: Duration) -> bool {
        matches!(tokio::time::timeout(patience, self.0.try_recv()).await, Ok(Ok(Some(_))))
    }
}
