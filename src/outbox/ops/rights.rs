//! Checks the privileges of this program's role, and whether notifications reach it (`check`).

use std::time::Duration;

use crate::outbox::OutboxError;
use crate::outbox::database::{Database, DatabaseRef, run_statement};
use crate::outbox::listen::{CHANNEL, NotificationListener};

/// The privileges that `run` needs and the role does not have, such as `update on course_outbox`.
///
/// Index: none; it reads the system catalogs.
pub async fn missing_privileges(database: impl Into<DatabaseRef<'_>>) -> Result<Vec<String>, OutboxError> {
    const MISSING: &str = "-- missing privileges
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
    run_statement(database, async |session| sqlx::query_scalar(MISSING).fetch_all(session).await)
        .await
        .map_err(OutboxError::failed_to("read the privileges of this role"))
}

/// The tables that metrics, `status` and `audit` use and this role may not read or write, such as `select on course_sync_audit`.
/// The daemon works without them.
///
/// Index: none; it reads the system catalogs.
pub async fn missing_report_privileges(
    database: impl Into<DatabaseRef<'_>>,
) -> Result<Vec<String>, OutboxError> {
    const MISSING: &str = "-- missing privileges of reports
        select lower(privilege) || ' on ' || name
          from (values ('course_sync_refused_change', 'SELECT'), ('course_sync_audit', 'SELECT'),
                       ('course_sync_audit', 'INSERT'), ('course_sync_audit', 'DELETE')) as needed (name, privilege)
         where not has_table_privilege(name, privilege)
         order by name, privilege";
    run_statement(database, async |session| sqlx::query_scalar(MISSING).fetch_all(session).await)
        .await
        .map_err(OutboxError::failed_to("read the privileges of this role"))
}

/// How long a notification may take before it counts as lost.
const NOTIFICATION_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a notification like that of a catalogue's insert reaches a session of this program. As a side effect,
/// daemons that listen wake up once.
pub async fn receives_notifications(database: &Database) -> Result<bool, OutboxError> {
    const NOTIFY: &str = "select pg_notify($1, '')";
    let mut listener = NotificationListener::connect(database).await?;
    run_statement(database, async |session| sqlx::query(NOTIFY).bind(CHANNEL).execute(session).await)
        .await
        .map_err(OutboxError::failed_to("send a notification"))?;
    Ok(matches!(listener.wait(NOTIFICATION_TIMEOUT).await, Some(Ok(_))))
}
