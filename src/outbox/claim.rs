//! The claim: pending courses become in flight, and the intent to send them is written, in one
//! statement that commits before a byte is sent.

use std::time::Duration;

use jiff_sqlx::ToSqlx;
use uuid::Uuid;

use super::OutboxError;
use super::database::{Reach, ask};
use super::lease::Lease;
use super::rows::ClaimedRow;
use crate::policy::attribution::{Evidence, Lane, Sample};
use crate::policy::backlog::{Cursor, Rest};
use crate::policy::batch::{Claimed, RowId};

/// Which courses one claim may take, and how many.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// Which courses.
    pub lane: Lane,
    /// Which of them first.
    pub sample: Sample,
    /// Courses.
    pub courses: u16,
    /// Bytes of the request's body, estimated from above.
    pub bytes: u64,
    /// The property that carries the courses' keys.
    pub unique_property: Option<&'a str>,
    /// What the evidence says about the last requests of suspects.
    pub isolation: &'a Isolation,
}

/// What the evidence of other requests says about requests that failed.
#[derive(Debug, Clone, Default)]
pub struct Isolation {
    /// Requests whose courses go in smaller groups than they failed in, and in how large ones.
    narrowed: (Vec<Uuid>, Vec<i16>),
    /// Requests of a single course that is at fault.
    blamed: Vec<Uuid>,
}

impl Isolation {
    /// By the evidence about each request.
    #[must_use]
    pub fn by(evidence: impl IntoIterator<Item = (Uuid, Evidence)>) -> Self {
        let mut isolation = Self::default();
        for (request, evidence) in evidence {
            if let Some(limit) = evidence.narrows_to() {
                isolation.narrowed.0.push(request);
                isolation.narrowed.1.push(i16::try_from(limit).unwrap_or(i16::MAX));
            }
            if evidence.company == 1 && evidence.blames_courses() {
                isolation.blamed.push(request);
            }
        }
        isolation
    }
}

/// What a claim took.
#[derive(Debug)]
pub struct Taken {
    /// The courses, in order of arrival.
    pub courses: Vec<Claimed>,
    /// Rows that were claimed but cannot be read; they are to be recorded as failed.
    pub unreadable: Vec<(RowId, OutboxError)>,
    /// What may be left.
    pub rest: Rest,
}

/// What the envelope and the trace id of one course add to a request's body, in bytes, from above.
const ENVELOPE_BYTES: i64 = 160;

/// The claim of the pending courses that fulfil the condition `due`, in this order of time.
macro_rules! claim_of {
    ($due:literal, $order:literal) => {
        concat!(
            "
        with lead as materialized (
            -- a takeover waits until this claim has committed, and then finds its intent; a renewal does not
            select incarnation from course_sync_leader
             where holder = $1 and term = $2 and expires_at > clock_timestamp() + make_interval(secs => $3)
               -- no word of a database that may have lost commits is taken for the truth
               and not verifying and incarnation = course_sync_incarnation()
               for key share
        ), due as materialized (
            select ctid as spot, id, next_attempt_at,
                   -- a group that failed goes on in smaller ones, by the evidence of other requests
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
            -- as many as every one of them may travel with, and as fit into the body
            select spot, next_attempt_at, is_blamed from (
                select spot, next_attempt_at, is_blamed, row_number() over so_far as place,
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
              -- where it was locked: no index is asked a second time
              from fitting f where o.ctid = f.spot
            returning o.id, o.course_key, o.properties, o.associations, o.attempts, o.faults, o.doubts, o.doubt_property,
                      coalesce(f.is_blamed, false) as is_blamed, o.created_at, f.next_attempt_at as due
        ), intent as (
            insert into course_sync_batch (batch_id, operation, term, holder, row_ids, send_by, incarnation, unique_property)
            select $9, 'create', $2, $1, array_agg(id order by id), now() + make_interval(secs => $10),
                   (select incarnation from lead), $8
              from took having count(*) > 0
        )
        select took.*, (select count(*) from due) as candidates from took order by due, id"
        )
    };
}

/// Claims due courses for the batch `batch`, under the lease. Takes none if the lease is not ours,
/// or ends within `margin`. `send_window` is how long the request may take at most.
///
/// Served by `course_outbox_pending`, for suspects by `course_outbox_suspects`.
pub async fn claim(
    database: impl Into<Reach<'_>>,
    lease: Lease,
    margin: Duration,
    batch: Uuid,
    limits: Limits<'_>,
    cursor: Cursor,
    send_window: Duration,
) -> Result<Taken, OutboxError> {
    // They differ in which courses are due and in their order, so that each is served by its own index.
    const FRESH: &str = claim_of!(
        "suspected_at is null and (next_attempt_at, id) > (coalesce($4, '-infinity'::timestamptz), $5)",
        ""
    );
    const NEWEST: &str =
        claim_of!("suspected_at is null and $4::timestamptz is null and $5::bigint is not null", "desc");
    const NEWEST_SUSPECTS: &str =
        claim_of!("suspected_at is not null and $4::timestamptz is null and $5::bigint is not null", "desc");
    const SUSPECTS: &str = claim_of!(
        "suspected_at is not null and (next_attempt_at, id) > (coalesce($4, '-infinity'::timestamptz), $5)",
        ""
    );
    let (statement, cursor) = match (limits.lane, limits.sample) {
        (Lane::Fresh, Sample::Oldest) => (FRESH, cursor),
        (Lane::Fresh, Sample::Newest) => (NEWEST, Cursor::default()),
        (Lane::Suspects, Sample::Oldest) => (SUSPECTS, cursor),
        (Lane::Suspects, Sample::Newest) => (NEWEST_SUSPECTS, Cursor::default()),
    };
    let (after, after_id) = cursor.place().unzip();
    let rows: Vec<ClaimedRow> = ask(database, async |session| {
        sqlx::query_as(statement)
            .bind(lease.holder)
            .bind(lease.term)
            .bind(margin.as_secs_f64())
            .bind(after.map(ToSqlx::to_sqlx))
            .bind(after_id.unwrap_or_default())
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
    .map_err(OutboxError::doing("claim pending courses"))?;
    Ok(taken(rows, limits))
}

/// Takes a claim back whose end was never heard of: it may have been committed, and is never sent.
/// Returns how many courses it held.
///
/// Served by the primary keys of `course_sync_batch` and `course_outbox`.
pub async fn withdraw(database: impl Into<Reach<'_>>, batch: Uuid) -> Result<u64, OutboxError> {
    const WITHDRAW: &str = "
        with withdrawn as (
            update course_sync_batch set state = 'closed', answered_at = now()
             where batch_id = $1 and state <> 'closed'
            returning row_ids
        ), back as (
            update course_outbox o
               set status = 'pending', attempts = o.attempts - 1, doubt = null, next_attempt_at = now(), updated_at = now()
              from withdrawn w
             where o.id = any(w.row_ids) and o.batch_id = $1 and o.status in ('in_flight', 'unconfirmed')
            returning o.id
        )
        select count(*) from back";
    let count: i64 =
        ask(database, async |session| sqlx::query_scalar(WITHDRAW).bind(batch).fetch_one(session).await)
            .await
            .map_err(OutboxError::doing("take a claim back"))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

fn taken(rows: Vec<ClaimedRow>, limits: Limits<'_>) -> Taken {
    let count = rows.len();
    let rest = match rows.last() {
        Some(last) if i64::try_from(count).is_ok_and(|count| count < last.candidates) => Rest::Behind,
        Some(_) if limits.sample == Sample::Newest => Rest::Behind,
        Some(last) if count == usize::from(limits.courses) => {
            Rest::Beyond(Cursor::after(last.due.to_jiff(), last.id))
        }
        _ => Rest::Nothing,
    };
    let mut taken = Taken { courses: Vec::with_capacity(count), unreadable: Vec::new(), rest };
    for row in rows {
        let id = RowId(row.id);
        match Claimed::try_from(row) {
            Ok(course) => taken.courses.push(course),
            Err(error) => taken.unreadable.push((id, error)),
        }
    }
    taken
}
