//! What the role of this program may do with its tables, and whether notifications reach it.

use std::time::Duration;

use super::OutboxError;
use super::database::{Database, Reach, ask};
use super::listen::{CHANNEL, Wakeups};

/// What `run` needs and the role lacks, such as `update on course_outbox`.
///
/// Served by the catalogues of Postgres.
pub async fn lacking(database: impl Into<Reach<'_>>) -> Result<Vec<String>, OutboxError> {
    const LACKING: &str = "
        select lower(privilege) || ' on ' || name
          from (values ('course_outbox', 'SELECT'), ('course_outbox', 'UPDATE'), ('course_outbox', 'DELETE'),
                       ('course_sync_batch', 'SELECT'), ('course_sync_batch', 'INSERT'),
                       ('course_sync_batch', 'UPDATE'), ('course_sync_batch', 'DELETE'),
                       ('course_sync_leader', 'SELECT'), ('course_sync_leader', 'UPDATE'),
                       ('course_sync_pause', 'SELECT'), ('course_sync_pause', 'INSERT'),
                       ('course_sync_pause', 'UPDATE'), ('course_sync_pause', 'DELETE'),
                       ('course_sync_history', 'SELECT'), ('course_sync_history', 'INSERT'),
                       ('course_sync_history', 'DELETE')) as needed (name, privilege)
         where not has_table_privilege(name, privilege)
         order by name, privilege";
    ask(database, async |session| sqlx::query_scalar(LACKING).fetch_all(session).await)
        .await
        .map_err(OutboxError::doing("read the rights of this role"))
}

/// How long a notification may take before it counts as lost.
const ARRIVES: Duration = Duration::from_secs(5);

/// Whether a notification sent the way a catalogue's insert sends it reaches a session of this program.
/// Daemons that listen wake up once for nothing.
pub async fn hears(database: &Database) -> Result<bool, OutboxError> {
    const NOTIFY: &str = "select pg_notify($1, '')";
    let mut wakeups = Wakeups::listen(database).await?;
    ask(database, async |session| sqlx::query(NOTIFY).bind(CHANNEL).execute(session).await)
        .await
        .map_err(OutboxError::doing("send a notification"))?;
    Ok(wakeups.next(ARRIVES).await)
}
