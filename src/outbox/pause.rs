//! The pauses that outlive a restart.

use jiff::Timestamp;
use jiff_sqlx::Timestamp as SqlTimestamp;
use sqlx::FromRow;

use super::OutboxError;
use super::database::{Reach, ask};

/// A pause that outlives a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurablePause {
    /// `operator` or `daily_quota`.
    pub reason: String,
    /// What was said.
    pub message: String,
    /// Who paused.
    pub author: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// When it ends by itself; `None`: when a person resumes.
    pub until: Option<Timestamp>,
}

#[derive(FromRow)]
struct PauseRow {
    reason: String,
    message: String,
    author: Option<String>,
    since: SqlTimestamp,
    until: Option<SqlTimestamp>,
}

/// The durable pauses that hold now.
///
/// Served by the table's primary key; it has two rows at most.
pub async fn active(database: impl Into<Reach<'_>>) -> Result<Vec<DurablePause>, OutboxError> {
    const ACTIVE: &str = "
        select reason, message, author, since, until from course_sync_pause
         where until is null or until > now() order by reason";
    let rows: Vec<PauseRow> = ask(database, async |session| sqlx::query_as(ACTIVE).fetch_all(session).await)
        .await
        .map_err(OutboxError::doing("read the pauses"))?;
    let pause = |row: PauseRow| DurablePause {
        reason: row.reason,
        message: row.message,
        author: row.author,
        since: row.since.to_jiff(),
        until: row.until.map(SqlTimestamp::to_jiff),
    };
    Ok(rows.into_iter().map(pause).collect())
}

/// Pauses, or says again why. Lasts until [`resume`].
///
/// Served by the table's primary key.
pub async fn pause(database: impl Into<Reach<'_>>, message: &str, author: &str) -> Result<(), OutboxError> {
    const PAUSE: &str = "
        insert into course_sync_pause (reason, message, author) values ('operator', $1, $2)
        on conflict (reason) do update set message = excluded.message, author = excluded.author, since = now()";
    ask(database, async |session| sqlx::query(PAUSE).bind(message).bind(author).execute(session).await)
        .await
        .map_err(OutboxError::doing("pause"))?;
    Ok(())
}

/// Ends a person's pause. False where there was none.
///
/// Served by the table's primary key.
pub async fn resume(database: impl Into<Reach<'_>>) -> Result<bool, OutboxError> {
    const RESUME: &str = "delete from course_sync_pause where reason = 'operator'";
    let done = ask(database, async |session| sqlx::query(RESUME).execute(session).await)
        .await
        .map_err(OutboxError::doing("resume"))?;
    Ok(done.rows_affected() > 0)
}
