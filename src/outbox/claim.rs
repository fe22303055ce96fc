//! Claims pending courses: they become in flight, and the intent to send them is written to the journal, in one
//! statement that commits before a byte is sent.

use std::time::Duration;

use jiff_sqlx::ToSqlx;

use crate::course::{BatchId, ClaimedCourse, RowId};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::lease::Lease;
use crate::outbox::rows::ClaimedRow;
use crate::policy::attribution::{ClaimOrder, Evidence, Lane};
use crate::policy::backlog::{Cursor, Remaining};

/// Which courses one claim may take, and how many.
#[derive(Debug, Clone, Copy)]
pub struct ClaimLimits<'a> {
    /// Which courses.
    pub lane: Lane,
    /// Which of them first.
    pub order: ClaimOrder,
    /// The largest number of courses.
    pub courses: u16,
    /// The largest request body in bytes. The claim estimates the size from above.
    pub bytes: u64,
    /// The property that carries the courses' keys; the journal keeps it for the look-up.
    pub unique_property: Option<&'a str>,
    /// What the evidence shows about the last requests of suspects.
    pub isolation: &'a Isolation,
}

/// What the evidence of other requests shows about requests that failed.
#[derive(Debug, Clone, Default)]
pub struct Isolation {
    /// Requests whose courses are sent again in smaller batches, and the largest such batch.
    narrowed: (Vec<BatchId>, Vec<i16>),
    /// Requests of a single course that caused the failure.
    blamed: Vec<BatchId>,
}

impl Isolation {
    /// Sorts the requests by the evidence about each.
    #[must_use]
    pub fn from_evidence(evidence: impl IntoIterator<Item = (BatchId, Evidence)>) -> Self {
        let mut isolation = Self::default();
        for (request, evidence) in evidence {
            if let Some(limit) = evidence.isolation_limit() {
                isolation.narrowed.0.push(request);
                isolation.narrowed.1.push(i16::try_from(limit).unwrap_or(i16::MAX));
            }
            if evidence.batch_size == 1 && evidence.blames_courses() {
                isolation.blamed.push(request);
            }
        }
        isolation
    }
}

/// The courses that a claim took.
#[derive(Debug)]
pub struct ClaimResult {
    /// The courses, in order of arrival.
    pub courses: Vec<ClaimedCourse>,
    /// Rows that were claimed but cannot be parsed. The caller records them as failed.
    pub unreadable: Vec<(RowId, OutboxError)>,
    /// What may be left to claim.
    pub remaining: Remaining,
}

/// The bytes that one course adds to a request's body besides its values: envelope and trace id, estimated from above.
const ENVELOPE_BYTES: i64 = 160;

/// The claim statement for the pending courses that fulfil the condition `due`, in this order of time.
///
/// Parameters: 1 holder, 2 term, 3 margin in seconds, 4 and 5 cursor, 6 courses, 7 bytes, 8 unique property, 9 batch,
/// 10 send window in seconds, 11 envelope bytes, 12 and 13 narrowed requests and their limits, 14 blamed requests.
macro_rules! claim_statement {
    ($due:literal, $order:literal) => {
        concat!(
            "-- claim
        with lead as materialized (
            -- Only the leader claims. The share lock makes a takeover wait until this claim has committed, so that it
            -- finds the intent; a renewal changes no key and does not wait.
            select incarnation from course_sync_leader
             where holder = $1 and term = $2 and expires_at > clock_timestamp() + make_interval(secs => $3)
               -- A database that may have lost commits is verified first: its pending courses may have been sent.
               and not verifying and incarnation = course_sync_incarnation()
               for key share
        ), due as materialized (
            -- Rows that another session holds are skipped: waiting for one would delay all others.
            -- A ctid is a position within one table: partitions and inheriting tables have positions of their own.
            select tableoid as home, ctid as spot, id, next_attempt_at,
                   -- The evidence of other requests may narrow the batch of a group that failed.
                   least(batch_limit, (select n.batch_limit from unnest($12::uuid[], $13::smallint[]) n (batch_id, batch_limit)
                                        where n.batch_id = course_outbox.batch_id)) as batch_limit,
                   batch_id = any($14) as is_blamed,
                   octet_length(properties::text) + octet_length(associations::text)
                     + octet_length(course_key) + $11 as bytes
              from course_outbox
             where status = 'pending' and next_attempt_at <= now() and ",
            $due,
            "
               and exists (select from lead)
             order by next_attempt_at ",
            $order,
            ", id ",
            $order,
            "
             limit $6
               for update skip locked
        ), fitting as (
            -- The longest prefix in which no course exceeds its own batch limit and the body stays small enough. The
            -- first course always fits: HubSpot decides whether it is too large.
            select home, spot, next_attempt_at, is_blamed from (
                select home, spot, next_attempt_at, is_blamed, row_number() over so_far as place,
                       min(batch_limit) over so_far as narrowest, sum(bytes) over so_far as total
                  from due
                window so_far as (order by next_attempt_at ",
            $order,
            ", id ",
            $order,
            " rows unbounded preceding)) t
             where place <= narrowest and (total <= $7 or place = 1)
        ), took as (
            update course_outbox o
               set status = 'in_flight', attempts = attempts + 1, batch_id = $9, updated_at = now()
              -- The rows are locked, so their ctid is still valid: this saves a second index scan.
              from fitting f where o.ctid = f.spot and o.tableoid = f.home
            returning o.id, o.course_key, o.properties, o.associations, o.attempts, o.faults, o.doubts, o.doubt_property,
                      coalesce(f.is_blamed, false) as is_blamed, o.created_at, f.next_attempt_at as due
        ), intent as (
            -- The intent: a new leader that finds it open after a crash knows that these courses may have been sent.
            insert into course_sync_batch (batch_id, operation, term, holder, row_ids, send_by, incarnation, unique_property)
            select $9, 'create', $2, $1, array_agg(id order by id), now() + make_interval(secs => $10),
                   (select incarnation from lead), $8
              from took having count(*) > 0
        )
        -- More candidates than courses: some that were due did not fit.
        select took.*, (select count(*) from due) as candidates from took order by due, id"
        )
    };
}

/// Claims due courses for the batch `batch`, under the lease. Claims none if this instance does not hold the lease, or
/// the lease ends within `margin`. `send_window` is the longest time that the request may take.
///
/// Index: `course_outbox_pending`; for suspects `course_outbox_suspects`.
pub async fn claim(
    database: impl Into<DatabaseRef<'_>>,
    lease: Lease,
    margin: Duration,
    batch: BatchId,
    limits: ClaimLimits<'_>,
    cursor: Cursor,
    send_window: Duration,
) -> Result<ClaimResult, OutboxError> {
    // One statement per lane and order, each with a fixed condition: only then can Postgres use the partial index.
    const FRESH: &str = claim_statement!(
        "suspected_at is null and (next_attempt_at, id) > (coalesce($4, '-infinity'::timestamptz), $5)",
        ""
    );
    const NEWEST: &str = claim_statement!(
        "suspected_at is null and $4::timestamptz is null and $5::bigint is not null",
        "desc"
    );
    const NEWEST_SUSPECTS: &str = claim_statement!(
        "suspected_at is not null and $4::timestamptz is null and $5::bigint is not null",
        "desc"
    );
    const SUSPECTS: &str = claim_statement!(
        "suspected_at is not null and (next_attempt_at, id) > (coalesce($4, '-infinity'::timestamptz), $5)",
        ""
    );
    let (statement, cursor) = match (limits.lane, limits.order) {
        (Lane::Fresh, ClaimOrder::Oldest) => (FRESH, cursor),
        (Lane::Fresh, ClaimOrder::Newest) => (NEWEST, Cursor::default()),
        (Lane::Suspects, ClaimOrder::Oldest) => (SUSPECTS, cursor),
        (Lane::Suspects, ClaimOrder::Newest) => (NEWEST_SUSPECTS, Cursor::default()),
    };
    let (after, after_id) = cursor.position().unzip();
    let rows: Vec<ClaimedRow> = run_statement(database, async |session| {
        sqlx::query_as(statement)
            .bind(lease.holder)
            .bind(lease.term)
            .bind(margin.as_secs_f64())
            .bind(after.map(ToSqlx::to_sqlx))
            .bind(after_id.map_or(0, |id| id.0))
            .bind(i64::from(limits.courses))
            .bind(i64::try_from(limits.bytes).unwrap_or(i64::MAX))
            .bind(limits.unique_property)
            .bind(batch)
            .bind(send_window.as_secs_f64())
            .bind(ENVELOPE_BYTES)
            .bind(&limits.isolation.narrowed.0)
            .bind(&limits.isolation.narrowed.1)
            .bind(&limits.isolation.blamed)
            .fetch_all(session)
            .await
    })
    .await
    .map_err(OutboxError::failed_to("claim pending courses"))?;
    Ok(claim_result(rows, limits))
}

/// Withdraws a claim whose acknowledgement was lost: it may have been committed, but it is never sent. Returns the
/// number of courses that it held.
///
/// Index: the primary keys of `course_sync_batch` and `course_outbox`.
pub async fn withdraw(database: impl Into<DatabaseRef<'_>>, batch: BatchId) -> Result<u64, OutboxError> {
    const WITHDRAW: &str = "-- withdraw a claim
        with withdrawn as (
            update course_sync_batch set state = 'closed', answered_at = now()
             where batch_id = $1 and state <> 'closed'
            returning row_ids
        ), back as (
            -- It was not sent, so the attempt does not count. A new leader may already have marked the course
            -- unconfirmed.
            update course_outbox o
               set status = 'pending', attempts = o.attempts - 1, doubt = null, next_attempt_at = now(), updated_at = now()
              from withdrawn w
             where o.id = any(w.row_ids) and o.batch_id = $1 and o.status in ('in_flight', 'unconfirmed')
            returning o.id
        )
        select count(*) from back";
    let count: i64 = run_statement(database, async |session| {
        sqlx::query_scalar(WITHDRAW).bind(batch).fetch_one(session).await
    })
    .await
    .map_err(OutboxError::failed_to("withdraw a claim"))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

fn claim_result(rows: Vec<ClaimedRow>, limits: ClaimLimits<'_>) -> ClaimResult {
    let count = rows.len();
    let remaining = match rows.last() {
        Some(last) if i64::try_from(count).is_ok_and(|count| count < last.candidates) => Remaining::FromStart,
        Some(_) if limits.order == ClaimOrder::Newest => Remaining::FromStart,
        Some(last) if count == usize::from(limits.courses) => match &last.due.0 {
            Ok(due) => Remaining::After(Cursor::after(due.to_jiff(), last.id)),
            // A time that cannot be represented is no position to continue from.
            Err(_) => Remaining::FromStart,
        },
        _ => Remaining::Nothing,
    };
    let mut result = ClaimResult { courses: Vec::with_capacity(count), unreadable: Vec::new(), remaining };
    for row in rows {
        let id = row.id;
        match ClaimedCourse::try_from(row) {
            Ok(course) => result.courses.push(course),
            Err(error) => result.unreadable.push((id, error)),
        }
    }
    result
}
