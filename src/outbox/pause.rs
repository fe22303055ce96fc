//! The pauses that survive a restart.

use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::Timestamp as SqlTimestamp;

use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::from_row::impl_from_row;

/// A pause that survives a restart.
#[derive(Debug, Clone, PartialEq)]
pub struct DurablePause {
    /// `operator`, `daily_quota` or `rejected`.
    pub reason: String,
    /// Why, in text.
    pub message: String,
    /// Who paused.
    pub author: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// When it ends by itself; `None`: only `resume` ends it.
    pub until: Option<Timestamp>,
    /// Seconds until then, by the database's clock.
    pub seconds_left: Option<f64>,
}

struct PauseRow {
    reason: String,
    message: String,
    author: Option<String>,
    since: SqlTimestamp,
    until: Option<SqlTimestamp>,
    seconds_left: Option<f64>,
}

impl_from_row!(PauseRow { reason, message, author, since, until, seconds_left });

impl From<PauseRow> for DurablePause {
    fn from(row: PauseRow) -> Self {
        Self {
            reason: row.reason,
            message: row.message,
            author: row.author,
            since: row.since.to_jiff(),
            until: row.until.map(SqlTimestamp::to_jiff),
            seconds_left: row.seconds_left,
        }
    }
}

/// Reads the durable pauses that are active now.
///
/// Index: none needed; the table has at most three rows.
pub async fn read_active(database: impl Into<DatabaseRef<'_>>) -> Result<Vec<DurablePause>, OutboxError> {
    const ACTIVE: &str = "-- active pauses
        select reason, message, author, since, until, extract(epoch from until - now())::float8 as seconds_left
          from course_sync_pause where until is null or until > now() order by reason desc";
    let rows: Vec<PauseRow> =
        run_statement(database, async |session| sqlx::query_as(ACTIVE).fetch_all(session).await)
            .await
            .map_err(OutboxError::failed_to("read the pauses"))?;
    Ok(rows.into_iter().map(DurablePause::from).collect())
}

/// Saves a pause of the daemon's own, so that it holds after a restart: for `left`, or until an operator resumes.
///
/// Index: the primary key.
pub async fn save_pause(
    database: impl Into<DatabaseRef<'_>>,
    reason: &str,
    message: &str,
    left: Option<Duration>,
) -> Result<(), OutboxError> {
    const SAVE: &str = "-- save pause
        insert into course_sync_pause (reason, message, author, until)
        values ($1, $2, 'course-sync', now() + make_interval(secs => $3))
        on conflict (reason) do update
           set message = excluded.message, author = excluded.author, until = excluded.until,
               -- Saved again while it is active: the same pause. Else a new one begins.
               since = case when coalesce(course_sync_pause.until > now(), true) then course_sync_pause.since
                            else now() end";
    run_statement(database, async |session| {
        sqlx::query(SAVE)
            .bind(reason)
            .bind(message)
            .bind(left.map(|left| left.as_secs_f64()))
            .execute(session)
            .await
    })
    .await
    .map_err(OutboxError::failed_to("save a pause"))?;
    Ok(())
}

/// Deletes a pause of the daemon's own that has ended.
///
/// Index: the primary key.
pub async fn delete_pause(database: impl Into<DatabaseRef<'_>>, reason: &str) -> Result<(), OutboxError> {
    const DELETE: &str = "-- delete pause
        delete from course_sync_pause where reason = $1";
    run_statement(database, async |session| sqlx::query(DELETE).bind(reason).execute(session).await)
        .await
        .map_err(OutboxError::failed_to("delete a pause that has ended"))?;
    Ok(())
}
