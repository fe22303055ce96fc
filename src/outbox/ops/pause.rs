//! Pauses and resumes on behalf of an operator.
//!
//! The pause is a row, so it holds for every instance and survives restarts.

use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};

/// Pauses, or replaces the reason of an operator's pause. Lasts until [`resume`].
///
/// Index: the primary key.
pub async fn pause(
    database: impl Into<DatabaseRef<'_>>,
    message: &str,
    author: &str,
) -> Result<(), OutboxError> {
    const PAUSE: &str = "-- pause
        insert into course_sync_pause (reason, message, author) values ('operator', $1, $2)
        on conflict (reason) do update set message = excluded.message, author = excluded.author, since = now()";
    run_statement(database, async |session| {
        sqlx::query(PAUSE).bind(message).bind(author).execute(session).await
    })
    .await
    .map_err(OutboxError::failed_to("pause"))?;
    Ok(())
}

/// Ends every pause that survives a restart: the operator's own, and the daemon's for a used-up day or for an account
/// that refuses every course, because the operator may know that the cause is fixed. False if there was none.
///
/// Index: none needed; the table has at most three rows.
pub async fn resume(database: impl Into<DatabaseRef<'_>>) -> Result<bool, OutboxError> {
    const RESUME: &str = "-- resume
        delete from course_sync_pause where until is null or until > now()";
    let done = run_statement(database, async |session| sqlx::query(RESUME).execute(session).await)
        .await
        .map_err(OutboxError::failed_to("resume"))?;
    Ok(done.rows_affected() > 0)
}
