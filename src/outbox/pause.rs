//! The pauses that outlive a restart.

use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::Timestamp as SqlTimestamp;
use sqlx::FromRow;

use super::OutboxError;
use super::database::{Reach, ask};

/// A pause that outlives a restart.
#[derive(Debug, Clone, PartialEq)]
pub struct DurablePause {
    /// `operator`, `daily_quota` or `rejected`.
    pub reason: String,
    /// What was said.
    pub message: String,
    /// Who paused.
    pub author: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// When it ends by itself; `None`: when a person resumes.
    pub until: Option<Timestamp>,
    /// Seconds until then, by the database's clock.
    pub seconds_left: Option<f64>,
}

#[derive(FromRow)]
struct PauseRow {
    reason: String,
    message: String,
    author: Option<String>,
    since: SqlTimestamp,
    until: Option<SqlTimestamp>,
    seconds_left: Option<f64>,
}

/// The durable pauses that hold now.
///
/// Served by the table's primary key; it has three rows at most.
pub async fn active(database: impl Into<Reach<'_>>) -> Result<Vec<DurablePause>, OutboxError> {
    const ACTIVE: &str = "
        select reason, message, author, since, until, extract(epoch from until - now())::float8 as seconds_left
          from course_sync_pause where until is null or until > now() order by reason desc";
    let rows: Vec<PauseRow> = ask(database, async |session| sqlx::query_as(ACTIVE).fetch_all(session).await)
        .await
        .map_err(OutboxError::doing("read the pauses"))?;
    let pause = |row: PauseRow| DurablePause {
        reason: row.reason,
        message: row.message,
        author: row.author,
        since: row.since.to_jiff(),
        until: row.until.map(SqlTimestamp::to_jiff),
        seconds_left: row.seconds_left,
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

/// Notes a pause of the daemon's own, so that it holds after a restart: for `left`, or until [`resume`].
///
/// Served by the table's primary key.
pub async fn note(
    database: impl Into<Reach<'_>>,
    reason: &str,
    message: &str,
    left: Option<Duration>,
) -> Result<(), OutboxError> {
    const NOTE: &str = "
        insert into course_sync_pause (reason, message, author, until)
        values ($1, $2, 'course-sync', now() + make_interval(secs => $3))
        on conflict (reason) do update
           set message = excluded.message, author = excluded.author, until = excluded.until,
               since = case when coalesce(course_sync_pause.until > now(), true) then course_sync_pause.since
                            else now() end";
    ask(database, async |session| {
        sqlx::query(NOTE)
            .bind(reason)
            .bind(message)
            .bind(left.map(|left| left.as_secs_f64()))
            .execute(session)
            .await
    })
    .await
    .map_err(OutboxError::doing("note a pause"))?;
    Ok(())
}

/// Notes that a pause of the daemon's own is over.
///
/// Served by the table's primary key.
pub async fn forget(database: impl Into<Reach<'_>>, reason: &str) -> Result<(), OutboxError> {
    const FORGET: &str = "delete from course_sync_pause where reason = $1";
    ask(database, async |session| sqlx::query(FORGET).bind(reason).execute(session).await)
        .await
        .map_err(OutboxError::doing("note that a pause is over"))?;
    Ok(())
}

/// Ends every pause that outlives a restart: the operator's, and those of a used-up day and of an account that refuses
/// every course, since the operator may know better. False where there was none.
///
/// Served by the table's primary key; it has three rows at most.
pub async fn resume(database: impl Into<Reach<'_>>) -> Result<bool, OutboxError> {
    const RESUME: &str = "delete from course_sync_pause where until is null or until > now()";
    let done = ask(database, async |session| sqlx::query(RESUME).execute(session).await)
        .await
        .map_err(OutboxError::doing("resume"))?;
    Ok(done.rows_affected() > 0)
}
