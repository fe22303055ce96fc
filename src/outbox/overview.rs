//! Counts, ages, recent requests and the leader, for metrics and `status`. Never scans a large table in full.

use jiff::Timestamp;
use jiff_sqlx::Timestamp as SqlTimestamp;
use serde_json::Value;
use sqlx::types::Json;

use crate::course::{InstanceId, Status, Term};
use crate::outbox::OutboxError;
use crate::outbox::attach::refused::{MAX_COUNTED, refused_changes};
use crate::outbox::audits;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::from_row::impl_from_row;
use crate::outbox::lenient::{ClampedTimestamp, Lenient};
use crate::policy::drift::AuditSummary;
use crate::policy::leader_report::LeaderReport;

/// The number of courses in a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusCount {
    /// The status.
    pub status: Status,
    /// The number of courses.
    pub courses: i64,
    /// Whether the number is exact; otherwise it is the planner's estimate.
    pub is_exact: bool,
}

/// A table up to this size in bytes is counted exactly, because scanning it is cheap.
const SMALL_TABLE_BYTES: i64 = 64 * 1024 * 1024;

/// Courses by status. On a large table those in flight, unconfirmed and failed are exact; pending,
/// archived and synced ones are estimates.
///
/// Index: the partial indexes and `pg_class`, or on a small table by a scan; `course_sync_batch_open`.
pub async fn count_courses(database: impl Into<DatabaseRef<'_>>) -> Result<Vec<StatusCount>, OutboxError> {
    const SIZE: &str = "select pg_relation_size('course_outbox')";
    let database = database.into();
    let bytes: i64 =
        run_statement(database, async |session| sqlx::query_scalar(SIZE).fetch_one(session).await)
            .await
            .map_err(OutboxError::failed_to("count the courses"))?;
    let is_small = bytes <= SMALL_TABLE_BYTES;
    let rows: Vec<(String, i64)> = if is_small {
        const EXACT: &str = "-- count courses
            select case when status = 'pending' and id in (select id from course_sync_in_flight()) then 'in_flight'
                        else status end, count(*)
              from course_outbox group by 1";
        run_statement(database, async |session| sqlx::query_as(EXACT).fetch_all(session).await)
            .await
            .map_err(OutboxError::failed_to("count the courses"))?
    } else {
        const ESTIMATE: &str = "-- estimate counts
            with exact as (
                -- few rows, each counted through an index
                select 'unconfirmed' as status, count(*) as courses from course_outbox where status = 'unconfirmed'
                union all
                select 'failed', count(*) from course_outbox where status = 'failed'
                union all
                select 'in_flight', count(*) from course_sync_in_flight()
            ), pending as (
                -- the planner's estimate for the partial index of pending courses, which contains those in flight
                select greatest(reltuples::bigint - (select courses from exact where status = 'in_flight'), 0) as courses
                  from pg_class where oid = 'course_outbox_pending'::regclass
            ), archived as (
                select greatest(reltuples::bigint, 0) as courses from pg_class where oid = 'course_outbox_archived'::regclass
            )
            select status, courses from exact
            union all
            select 'pending', courses from pending
            union all
            select 'archived', courses from archived
            union all
            -- all other rows
            select 'synced', greatest(reltuples::bigint - (select sum(courses) from exact) - (select courses from pending)
                                      - (select courses from archived), 0)::bigint
              from pg_class where oid = 'course_outbox'::regclass";
        run_statement(database, async |session| sqlx::query_as(ESTIMATE).fetch_all(session).await)
            .await
            .map_err(OutboxError::failed_to("count the courses"))?
    };
    let courses =
        |status: Status| rows.iter().find(|(name, _)| name == status.as_str()).map_or(0, |(_, count)| *count);
    let count = |status| StatusCount {
        status,
        courses: courses(status),
        is_exact: is_small || !matches!(status, Status::Pending | Status::Synced | Status::Archived),
    };
    Ok(Status::ALL.map(count).to_vec())
}

/// Since when the oldest course of each waiting status waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OldestTimes {
    /// When the oldest pending course was enqueued or changed.
    pub pending: Option<Timestamp>,
    /// When the oldest request in flight was claimed.
    pub in_flight: Option<Timestamp>,
    /// When the oldest request with an unknown outcome was claimed.
    pub unconfirmed: Option<Timestamp>,
}

impl OldestTimes {
    /// Since when the oldest course in this status waits; `None` if there is none, or the status is final.
    #[must_use]
    pub fn of(&self, status: Status) -> Option<Timestamp> {
        match status {
            Status::Pending => self.pending,
            Status::InFlight => self.in_flight,
            Status::Unconfirmed => self.unconfirmed,
            Status::Synced | Status::Failed | Status::Archived => None,
        }
    }
}

/// The columns of [`read_oldest`].
macro_rules! oldest_times {
    () => {
        "(select coalesce(changed_at, created_at) from course_outbox
                 where status = 'pending' and id not in (select id from course_sync_in_flight())
                 order by next_attempt_at, id limit 1),
               (select min(claimed_at) from course_sync_batch where state = 'open'),
               (select min(claimed_at) from course_sync_batch where state = 'unknown')"
    };
}

/// Reads since when the oldest courses wait.
///
/// Index: `course_outbox_pending`, `course_sync_batch_open` and `course_sync_batch_unsettled`.
pub async fn read_oldest(database: impl Into<DatabaseRef<'_>>) -> Result<OldestTimes, OutboxError> {
    const OLDEST: &str = concat!(
        "-- oldest times
        select ",
        oldest_times!()
    );
    type Row = (Option<ClampedTimestamp>, Option<SqlTimestamp>, Option<SqlTimestamp>);
    let (pending, in_flight, unconfirmed): Row =
        run_statement(database, async |session| sqlx::query_as(OLDEST).fetch_one(session).await)
            .await
            .map_err(OutboxError::failed_to("find the oldest courses"))?;
    Ok(oldest_times(pending, in_flight, unconfirmed))
}

fn oldest_times(
    pending: Option<ClampedTimestamp>,
    in_flight: Option<SqlTimestamp>,
    unconfirmed: Option<SqlTimestamp>,
) -> OldestTimes {
    OldestTimes {
        pending: pending.map(|time| time.0),
        in_flight: in_flight.map(SqlTimestamp::to_jiff),
        unconfirmed: unconfirmed.map(SqlTimestamp::to_jiff),
    }
}

/// What a report shows besides the counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboxFindings {
    /// Since when the oldest courses wait.
    pub oldest: OldestTimes,
    /// What the last audits showed; `None` if there were none.
    pub audit: Option<AuditSummary>,
    /// Courses of attached tables that the outbox cannot hold, up to [`MAX_COUNTED`].
    pub refused_courses: i64,
}

/// Reads since when the oldest courses wait, the last audits, and the number of courses that were refused: in one statement,
/// because it is repeated for each scrape.
///
/// Without the right to read the last two, or in a schema without them, as after a restore of an older one, they are left out.
///
/// Index: as [`read_oldest`]; for refused courses `course_outbox_course_key_unique`. The other tables are small.
pub async fn read_findings(database: impl Into<DatabaseRef<'_>>) -> Result<OutboxFindings, OutboxError> {
    const FINDINGS: &str = concat!(
        "-- findings
        select ",
        oldest_times!(),
        ",
               -- the last complete audit, and those since
               (select jsonb_agg(to_jsonb(audit) order by ended_at) from course_sync_audit audit
                 where ended_at >= coalesce((select max(ended_at) from course_sync_audit where complete), '-infinity')),
               -- as `check` reads them
               (select count(*) from (",
        refused_changes!(),
        " limit $1) refused)"
    );
    type Row = (
        Option<ClampedTimestamp>,
        Option<SqlTimestamp>,
        Option<SqlTimestamp>,
        Option<Lenient<Json<Value>>>,
        i64,
    );
    let database = database.into();
    let query = sqlx::query_as(FINDINGS).bind(i64::from(MAX_COUNTED));
    let read: Result<Row, _> = run_statement(database, async |session| query.fetch_one(session).await).await;
    let (pending, in_flight, unconfirmed, audits, refused_courses) = match read {
        Ok(row) => row,
        Err(error) if is_not_readable(&error) => {
            let oldest = read_oldest(database).await?;
            return Ok(OutboxFindings { oldest, ..OutboxFindings::default() });
        }
        Err(error) => return Err(OutboxError::failed_to("find the oldest courses")(error)),
    };
    let audits = audits.and_then(Lenient::ok).map(|rows| rows.0).unwrap_or_default();
    let audits = audits.as_array().into_iter().flatten().filter_map(audits::read_result).collect();
    Ok(OutboxFindings {
        oldest: oldest_times(pending, in_flight, unconfirmed),
        audit: AuditSummary::of(audits),
        refused_courses,
    })
}

/// Whether a table is missing, or this role may not read it.
fn is_not_readable(error: &sqlx::Error) -> bool {
    /// The SQLSTATEs of a missing table and of a missing privilege.
    const CODES: [&str; 2] = ["42P01", "42501"];
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| CODES.contains(&&*code))
}

/// The leader.
#[derive(Debug, Clone, PartialEq)]
pub struct Leader {
    /// The instance.
    pub holder: InstanceId,
    /// The host it runs on.
    pub host: Option<String>,
    /// Its term.
    pub term: Term,
    /// When its lease ends unless it is renewed; `None` if it was released.
    pub expires_at: Option<Timestamp>,
    /// Whether the lease is valid now, by the database's clock.
    pub is_current: bool,
    /// Its last report.
    pub report: LeaderReport,
}

struct LeaderRow {
    holder: InstanceId,
    host: Option<String>,
    term: Term,
    expires_at: Option<SqlTimestamp>,
    is_current: bool,
    report: Json<LeaderReport>,
}

impl_from_row!(LeaderRow { holder, host, term, expires_at, is_current, report });

/// Reads the leader, or the last one.
///
/// Index: none; the table has one row.
pub async fn read_leader(database: impl Into<DatabaseRef<'_>>) -> Result<Option<Leader>, OutboxError> {
    const LEADER: &str = "-- leader
        select holder, host, term, nullif(expires_at, '-infinity') as expires_at,
               expires_at > clock_timestamp() as is_current, report
          from course_sync_leader where holder is not null";
    let row: Option<LeaderRow> =
        run_statement(database, async |session| sqlx::query_as(LEADER).fetch_optional(session).await)
            .await
            .map_err(OutboxError::failed_to("read the leader's lease"))?;
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecentRequests {
    /// Requests of every kind.
    pub requests: i64,
    /// Requests within the account's rolling window.
    pub in_window: i64,
    /// Courses in create requests.
    pub courses: i64,
}

impl_from_row!(RecentRequests { requests, in_window, courses });

/// Reads how many requests were sent in the last minute and in the last `window`.
///
/// Index: `course_sync_batch_claimed_at`.
pub async fn read_recent_requests(
    database: impl Into<DatabaseRef<'_>>,
    window: std::time::Duration,
) -> Result<RecentRequests, OutboxError> {
    const RECENT: &str = "-- recent requests of the last minute
        select count(*) filter (where claimed_at > now() - interval '1 minute') as requests,
               count(*) filter (where claimed_at > now() - make_interval(secs => $1)) as in_window,
               coalesce(sum(cardinality(row_ids)) filter (
                   where operation = 'create' and claimed_at > now() - interval '1 minute'), 0)::bigint as courses
          from course_sync_batch
         where claimed_at > now() - greatest(interval '1 minute', make_interval(secs => $1))
           -- a request that ended without an outcome was never sent
           and (answered_at is null or outcome is not null)";
    run_statement(database, async |session| {
        sqlx::query_as(RECENT).bind(window.as_secs_f64()).fetch_one(session).await
    })
    .await
    .map_err(OutboxError::failed_to("read the requests of the last minute"))
}
