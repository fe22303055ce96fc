//! What the outbox holds, for metrics, `status` and `/readyz`. Never a full scan of a large table.

use jiff::Timestamp;
use jiff_sqlx::Timestamp as SqlTimestamp;
use serde_json::Value;
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::OutboxError;
use super::database::{Reach, ask};
use crate::course::Status;

/// How many courses are in a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// The status.
    pub status: Status,
    /// How many.
    pub courses: i64,
    /// Whether the number is exact, or the planner's estimate.
    pub is_exact: bool,
}

/// Up to this size of the table, in bytes, reading all of it is cheap enough to count exactly.
const SMALL_TABLE_BYTES: i64 = 64 * 1024 * 1024;

/// Courses by status. On a large table those in flight, unconfirmed and failed are exact; pending
/// and synced ones are estimates.
///
/// Served by the partial indexes and `pg_class`, or on a small table by a scan.
pub async fn counts(database: impl Into<Reach<'_>>) -> Result<Vec<Count>, OutboxError> {
    const SIZE: &str = "select pg_relation_size('course_outbox')";
    let reach = database.into();
    let doing = || OutboxError::doing("count the courses");
    let bytes: i64 = ask(reach, async |session| sqlx::query_scalar(SIZE).fetch_one(session).await)
        .await
        .map_err(doing())?;
    let is_small = bytes <= SMALL_TABLE_BYTES;
    let rows: Vec<(String, i64)> = if is_small {
        const EXACT: &str = "select status, count(*) from course_outbox group by status";
        ask(reach, async |session| sqlx::query_as(EXACT).fetch_all(session).await).await.map_err(doing())?
    } else {
        const ESTIMATE: &str = "
            with exact as (
                select 'unconfirmed' as status, count(*) as courses from course_outbox where status = 'unconfirmed'
                union all
                select 'failed', count(*) from course_outbox where status = 'failed'
                union all
                select 'in_flight', coalesce(sum(cardinality(row_ids)), 0)::bigint from course_sync_batch where state = 'open'
            ), pending as (
                select greatest(reltuples, 0)::bigint as courses from pg_class where oid = 'course_outbox_pending'::regclass
            )
            select status, courses from exact
            union all
            select 'pending', courses from pending
            union all
            select 'synced', greatest(reltuples::bigint - (select sum(courses) from exact) - (select courses from pending), 0)::bigint
              from pg_class where oid = 'course_outbox'::regclass";
        ask(reach, async |session| sqlx::query_as(ESTIMATE).fetch_all(session).await).await.map_err(doing())?
    };
    let courses =
        |status: Status| rows.iter().find(|(name, _)| name == status.as_str()).map_or(0, |(_, count)| *count);
    let count = |status| Count {
        status,
        courses: courses(status),
        is_exact: is_small || !matches!(status, Status::Pending | Status::Synced),
    };
    Ok(Status::ALL.map(count).to_vec())
}

/// Since when the oldest course of each waiting status waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Oldest {
    /// When the oldest pending course that is due became so.
    pub pending: Option<Timestamp>,
    /// When the oldest request in flight was claimed.
    pub in_flight: Option<Timestamp>,
    /// When the oldest unconfirmed course was put in doubt.
    pub unconfirmed: Option<Timestamp>,
}

/// The ages of the outbox.
///
/// Served by `course_outbox_pending`, `course_sync_batch_unsettled` and `course_outbox_unconfirmed`.
pub async fn oldest(database: impl Into<Reach<'_>>) -> Result<Oldest, OutboxError> {
    const OLDEST: &str = "
        select (select created_at from course_outbox where status = 'pending' order by next_attempt_at, id limit 1),
               (select min(claimed_at) from course_sync_batch where state = 'open'),
               (select min(claimed_at) from course_sync_batch where state = 'unknown')";
    type Row = (Option<SqlTimestamp>, Option<SqlTimestamp>, Option<SqlTimestamp>);
    let (pending, in_flight, unconfirmed): Row =
        ask(database, async |session| sqlx::query_as(OLDEST).fetch_one(session).await)
            .await
            .map_err(OutboxError::doing("find the oldest courses"))?;
    let plain = |time: Option<SqlTimestamp>| time.map(SqlTimestamp::to_jiff);
    Ok(Oldest { pending: plain(pending), in_flight: plain(in_flight), unconfirmed: plain(unconfirmed) })
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// The instance.
    pub holder: Uuid,
    /// Where it runs.
    pub host: Option<String>,
    /// Its term.
    pub term: i64,
    /// When its lease ends unless renewed; `None` where it was handed over.
    pub expires_at: Option<Timestamp>,
    /// Whether the lease holds now, by the database's clock.
    pub is_current: bool,
    /// What it last said of itself.
    pub report: Value,
}

#[derive(FromRow)]
struct LeaderRow {
    holder: Uuid,
    host: Option<String>,
    term: i64,
    expires_at: Option<SqlTimestamp>,
    is_current: bool,
    report: Json<Value>,
}

/// The leader, or the last one.
///
/// Served by the table's only row.
pub async fn leader(database: impl Into<Reach<'_>>) -> Result<Option<Leader>, OutboxError> {
    const LEADER: &str = "
        select holder, host, term, nullif(expires_at, '-infinity') as expires_at,
               expires_at > clock_timestamp() as is_current, report
          from course_sync_leader where holder is not null";
    let row: Option<LeaderRow> =
        ask(database, async |session| sqlx::query_as(LEADER).fetch_optional(session).await)
            .await
            .map_err(OutboxError::doing("read the leader's lease"))?;
    Ok(row.map(|row| Leader {
        holder: row.holder,
        host: row.host,
        term: row.term,
        expires_at: row.expires_at.map(SqlTimestamp::to_jiff),
        is_current: row.is_current,
        report: row.report.0,
    }))
}

/// What was sent in the last minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromRow)]
pub struct Recent {
    /// Requests of every kind.
    pub requests: i64,
    /// Requests within the account's rolling window.
    pub in_window: i64,
    /// Courses in create requests.
    pub courses: i64,
}

/// The requests of the last minute, and of the last `window`.
///
/// Served by `course_sync_batch_claimed_at`.
pub async fn recent(
    database: impl Into<Reach<'_>>,
    window: std::time::Duration,
) -> Result<Recent, OutboxError> {
    const RECENT: &str = "
        select count(*) filter (where claimed_at > now() - interval '1 minute') as requests,
               count(*) filter (where claimed_at > now() - make_interval(secs => $1)) as in_window,
               coalesce(sum(cardinality(row_ids)) filter (
                   where operation = 'create' and claimed_at > now() - interval '1 minute'), 0)::bigint as courses
          from course_sync_batch
         where claimed_at > now() - greatest(interval '1 minute', make_interval(secs => $1))
           -- what ended without an outcome was never sent
           and (answered_at is null or outcome is not null)";
    ask(database, async |session| sqlx::query_as(RECENT).bind(window.as_secs_f64()).fetch_one(session).await)
        .await
        .map_err(OutboxError::doing("read the requests of the last minute"))
}
