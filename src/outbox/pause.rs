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
/// Served by the table's primary key; it has two rows at most.
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

/// Notes that the account's day is used up, and for how long, so that it holds after a restart.
///
/// Served by the table's primary key.
pub async fn day_is_used_up(
    database: impl Into<Reach<'_>>,
    message: &str,
    left: Duration,
) -> Result<(), OutboxError> {
    const USED_UP: &str = "
        insert into course_sync_pause (reason, message, author, until)
        values ('daily_quota', $1, 'course-sync', now() + make_interval(secs => $2))
        on conflict (reason) do update
           set message = excluded.message, author = excluded.author, until = excluded.until,
               since = case when course_sync_pause.until > now() then course_sync_pause.since else now() end";
    ask(database, async |session| {
        sqlx::query(USED_UP).bind(message).bind(left.as_secs_f64()).execute(session).await
    })
    .await
    .map_err(OutboxError::doing("note that the day is used up"))?;
    Ok(())
}

/// Notes that there is quota again.
///
/// Served by the table's primary key.
pub async fn day_is_over(database: impl Into<Reach<'_>>) -> Result<(), OutboxError> {
    const OVER: &str = "delete from course_sync_pause where reason = 'daily_quota'";
    ask(database, async |session| sqlx::query(OVER).execute(session).await)
        .await
        .map_err(OutboxError::doing("note that the day is over"))?;
    Ok(())
}

/// Ends every pause that outlives a restart: a person's, and that of a used-up day, should a person know
/// better. False where there was none.
///
/// Served by the table's primary key; it has two rows at most.
pub async fn resume(database: impl Into<Reach<'_>>) -> Result<bool, OutboxError> {
    const RESUME: &str = "delete from course_sync_pause where until is null or until > now()";
    let done = ask(database, async |session| sqlx::query(RESUME).execute(session).await)
        .await
        .map_err(OutboxError::doing("resume"))?;
    Ok(done.rows_affected() > 0)
}
