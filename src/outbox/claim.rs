//! Claims pending courses: the intent to send them is written to the journal, in one statement that commits before a byte
//! is sent. A claim changes no row of a course: courses are in flight while an open request of the journal lists them.
//!
//! **Why no course is in two open requests.** Claims are numbered one after the other, and the number is unique. A claim
//! takes the number after the last one in its snapshot. If another claim has committed since, that number is taken, and
//! the statement fails as a whole. So a claim that succeeds has seen every earlier claim, and it leaves out the courses
//! of those that are open.

use std::time::Duration;

use jiff_sqlx::ToSqlx;

use crate::course::{BatchId, ClaimedCourse, RowId, Write};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::lease::Lease;
use crate::outbox::rows::{ClaimedRow, MAX_ROW_BYTES, bounded_text};
use crate::policy::attribution::{ClaimOrder, Evidence, Lane};
use crate::policy::backlog::{Cursor, Remaining};

/// Which courses one claim may take, and how many.
#[derive(Debug, Clone, Copy)]
pub struct ClaimLimits<'a> {
    /// What the requests do.
    pub write: Write,
    /// If more archives than this are pending, those that an operator has not released are left out.
    pub archive_limit: u32,
    /// Which courses.
    pub lane: Lane,
    /// Which of them first.
    pub order: ClaimOrder,
    /// The largest number of courses in a batch.
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

/// How a claim ended.
#[derive(Debug)]
pub enum ClaimResult {
    /// It took these courses; perhaps none.
    Taken(TakenCourses),
    /// It took none, because another claim was committed at the same time.
    Refused,
}

/// The courses that a claim took.
#[derive(Debug)]
pub struct TakenCourses {
    /// The batches, none of them empty.
    pub batches: Vec<ClaimedBatch>,
    /// What may be left to claim.
    pub remaining: Remaining,
}

/// The courses of one request.
#[derive(Debug)]
pub struct ClaimedBatch {
    /// The id of the request.
    pub id: BatchId,
    /// The courses, in order of arrival.
    pub courses: Vec<ClaimedCourse>,
    /// Rows that were claimed but cannot be parsed. The caller records them as failed.
    pub unreadable: Vec<(RowId, OutboxError)>,
}

/// The bytes that one course adds to a request's body besides its values: envelope and trace id, estimated from above.
const ENVELOPE_BYTES: i64 = 160;

/// The claim statement for this kind of requests and the pending courses that fulfil the condition `due`, in this order of
/// time.
///
/// Parameters: 1 holder, 2 term, 3 margin in seconds, 4 and 5 cursor, 6 courses in a batch, 7 bytes of a batch, 8 unique
/// property, 9 the ids of the batches, 10 send window in seconds, 11 envelope bytes, 12 and 13 narrowed requests and
/// their limits, 14 blamed requests, 15 the largest row, 16 the limit of archives.
macro_rules! claim_statement {
    ($name:literal, $write:literal, $what:literal, $due:literal, $order:literal) => {
        concat!(
            "-- claim ",
            $name,
            " for ",
            $write,
            "
        with lead as materialized (
            -- Only the leader claims. The share lock makes a takeover wait until this claim has committed, so that it
            -- finds the intent; a renewal changes no key and does not wait.
            select from course_sync_leader
             where holder = $1 and term = $2 and expires_at > clock_timestamp() + make_interval(secs => $3)
               -- A database that may have lost commits is verified first: its pending courses may have been sent.
               and not verifying and incarnation = course_sync_incarnation()
               for key share
        ), last as materialized (
            -- The last claim in this statement's snapshot; its successor gets the next number.
            select coalesce(max(claim_number), 0) as number from course_sync_batch
        ), in_flight as materialized (
            -- The courses of open requests. The last claim noted the oldest open one, and none before it opens again:
            -- so index entries of closed requests, which a long transaction may keep, are not read again and again.
            select id, claim_number from course_sync_in_flight()
             where claim_number >= coalesce((select b.oldest_open from course_sync_batch b, last
                                              where b.claim_number = last.number), 0)
        ), due as materialized (
            -- The courses in their order, and as many as there is room for. Their text is made once, to measure and to send it.
            select id, course_key, revision, attempts + 1 as attempts, faults, doubts, doubt_property,
                   coalesce(changed_at, created_at) as requested_at, hubspot_id, hubspot_properties,
                   -- No request is executed an hour late.
                   coalesce(doubted_since > now() - interval '1 hour', false) as is_doubt_recent,
                   next_attempt_at as due, coalesce(batch_id = any($14), false) as is_blamed,
                   -- The evidence of other requests may narrow the batch of a group that failed.
                   case when $12 = '{}' then batch_limit
                        else least(batch_limit,
                                   (select n.batch_limit from unnest($12::uuid[], $13::smallint[]) n (batch_id, batch_limit)
                                     where n.batch_id = course_outbox.batch_id)) end as batch_limit,
                   ",
            bounded_text!("properties", "$15"),
            " as properties,
                   ",
            bounded_text!("associations", "$15"),
            " as associations,
                   -- Counted from 0.
                   row_number() over (order by next_attempt_at ",
            $order,
            ", id ",
            $order,
            ") - 1 as place
              from course_outbox
             where status = 'pending' and next_attempt_at <= now() and ",
            $what,
            " and ",
            $due,
            "
               and id not in (select id from in_flight)
               and exists (select from lead)
             order by next_attempt_at ",
            $order,
            ", id ",
            $order,
            "
             limit $6 * cardinality($9::uuid[])
        ), placed as (
            -- The batch of each course. Each step keeps all columns: a join of two steps would compare every row with every
            -- other, because the planner expects a single row.
            select *, place / $6 as batch, octet_length(properties) + octet_length(associations) as size from due
        ), fitting as (
            -- Whether the course fits into its batch: no course exceeds its own batch limit, and the body stays small
            -- enough. The first one always fits: HubSpot decides whether it is too large. A row that is too large is not sent.
            select *,
                   place % $6 = 0
                     or place % $6 < min(batch_limit) over so_far
                        and sum(case when size <= $15 then size + octet_length(course_key) + $11 else 0 end) over so_far <= $7 as fits
              from placed
            window so_far as (partition by batch order by place rows unbounded preceding)
        ), taken as materialized (
            -- The courses before the first that does not fit. The others are left for the next claim.
            select * from (select *, bool_and(fits) over (order by batch, place rows unbounded preceding) as all_fit from fitting) t
             where all_fit
        ), intent as (
            -- The intents: a new leader that finds one open after a crash knows that these courses may have been sent.
            insert into course_sync_batch (batch_id, operation, term, holder, row_ids, revisions, claim_number, oldest_open,
                                           send_by, unique_property, knows_changes)
            select ($9::uuid[])[t.batch + 1], '",
            $write,
            "', $2, $1, array_agg(t.id order by t.place), array_agg(t.revision order by t.place),
                   (select number from last) + 1 + t.batch,
                   coalesce((select min(claim_number) from in_flight), (select number from last) + 1),
                   now() + make_interval(secs => $10), $8, true
              from taken t
             group by t.batch
        )
        -- More candidates than courses: some that were due did not fit.
        select ($9::uuid[])[batch + 1] as batch, id, course_key, case when size <= $15 then properties end as properties,
               case when size <= $15 then associations end as associations, attempts, faults, doubts, doubt_property, is_blamed,
               requested_at, is_doubt_recent, hubspot_id, case when size <= $15 then hubspot_properties end as hubspot_properties,
               due, (select count(*) from due) as candidates
          from taken
         order by taken.batch, due, id"
        )
    };
}

/// The statements of one kind of requests: by lane and order. Each has a fixed condition: only then can Postgres use the
/// partial index.
struct ClaimStatements {
    fresh: &'static str,
    newest: &'static str,
    suspects: &'static str,
    newest_suspects: &'static str,
}

macro_rules! claim_statements {
    ($write:literal, $what:literal) => {
        ClaimStatements {
            fresh: claim_statement!(
                "fresh courses",
                $write,
                $what,
                "suspected_at is null and (next_attempt_at, id) > (coalesce($4, '-infinity'::timestamptz), $5)",
                ""
            ),
            newest: claim_statement!(
                "the newest fresh courses",
                $write,
                $what,
                "suspected_at is null and $4::timestamptz is null and $5::bigint is not null",
                "desc"
            ),
            suspects: claim_statement!(
                "suspects",
                $write,
                $what,
                "suspected_at is not null and (next_attempt_at, id) > (coalesce($4, '-infinity'::timestamptz), $5)",
                ""
            ),
            newest_suspects: claim_statement!(
                "the newest suspects",
                $write,
                $what,
                "suspected_at is not null and $4::timestamptz is null and $5::bigint is not null",
                "desc"
            ),
        }
    };
}

fn statement(limits: &ClaimLimits<'_>) -> &'static str {
    const CREATES: ClaimStatements =
        claim_statements!("create", "hubspot_id is null and not archived and $16::bigint is not null");
    const UPDATES: ClaimStatements =
        claim_statements!("update", "hubspot_id is not null and not archived and $16::bigint is not null");
    // A course that HubSpot does not hold needs no request, so it is not held.
    const ARCHIVES: ClaimStatements = claim_statements!(
        "archive",
        "archived and (hubspot_id is null
                       or archive_released
                       -- Counted in the same snapshot, or a mass withdrawal could be committed in between.
                       or (select count(*) from (select from course_outbox held
                                                  where held.status = 'pending' and held.archived and held.hubspot_id is not null
                                                    and not held.archive_released
                                                  limit $16::bigint + 1) held) <= $16::bigint)"
    );
    let statements = match limits.write {
        Write::Create => &CREATES,
        Write::Update => &UPDATES,
        Write::Archive => &ARCHIVES,
    };
    match (limits.lane, limits.order) {
        (Lane::Fresh, ClaimOrder::Oldest) => statements.fresh,
        (Lane::Fresh, ClaimOrder::Newest) => statements.newest,
        (Lane::Suspects, ClaimOrder::Oldest) => statements.suspects,
        (Lane::Suspects, ClaimOrder::Newest) => statements.newest_suspects,
    }
}

impl ClaimLimits<'_> {
    /// The newest courses are always searched from the end.
    fn cursor(&self, cursor: Cursor) -> Cursor {
        match self.order {
            ClaimOrder::Oldest => cursor,
            ClaimOrder::Newest => Cursor::default(),
        }
    }
}

/// The unique index of the numbers of claims.
const CLAIM_INDEX: &str = "course_sync_batch_claim";

/// Claims due courses under the lease, for as many requests as there are `batches`. Takes none if this instance does not
/// hold the lease, or the lease ends within `margin`. `send_window` is the longest time that a request may take.
///
/// Index: `course_outbox_pending`, `course_outbox_updates` or `course_outbox_archives`, for suspects
/// `course_outbox_suspects`; `course_sync_batch_claim` and `course_sync_batch_open`.
pub async fn claim(
    database: impl Into<DatabaseRef<'_>>,
    lease: Lease,
    margin: Duration,
    batches: &[BatchId],
    limits: ClaimLimits<'_>,
    cursor: Cursor,
    send_window: Duration,
) -> Result<ClaimResult, OutboxError> {
    let (statement, cursor) = (statement(&limits), limits.cursor(cursor));
    let (after, after_id) = cursor.position().unzip();
    let claimed = run_statement(database, async |session| {
        sqlx::query_as(statement)
            .bind(lease.holder)
            .bind(lease.term)
            .bind(margin.as_secs_f64())
            .bind(after.map(ToSqlx::to_sqlx))
            .bind(after_id.map_or(0, |id| id.0))
            .bind(i64::from(limits.courses))
            .bind(i64::try_from(limits.bytes).unwrap_or(i64::MAX))
            .bind(limits.unique_property)
            .bind(batches)
            .bind(send_window.as_secs_f64())
            .bind(ENVELOPE_BYTES)
            .bind(&limits.isolation.narrowed.0)
            .bind(&limits.isolation.narrowed.1)
            .bind(&limits.isolation.blamed)
            .bind(MAX_ROW_BYTES)
            .bind(i64::from(limits.archive_limit))
            .fetch_all(session)
            .await
    })
    .await;
    let rows: Vec<ClaimedRow> = match claimed {
        // Another claim has this number.
        Err(error) if error.as_database_error().is_some_and(|it| it.constraint() == Some(CLAIM_INDEX)) => {
            return Ok(ClaimResult::Refused);
        }
        claimed => claimed.map_err(OutboxError::failed_to("claim pending courses"))?,
    };
    Ok(ClaimResult::Taken(taken_courses(rows, batches.len(), limits)))
}

/// Withdraws claims whose acknowledgement was lost: they may have been committed, but they are never sent. Returns the
/// number of requests that were withdrawn. The caller calls it once more after a success.
///
/// Index: the primary keys of `course_sync_batch` and `course_outbox`.
pub async fn withdraw(database: impl Into<DatabaseRef<'_>>, batches: &[BatchId]) -> Result<u64, OutboxError> {
    const WITHDRAW: &str = "-- withdraw claims
        with withdrawn as (
            update course_sync_batch set state = 'closed', answered_at = now()
             where batch_id = any($1) and state <> 'closed'
            returning batch_id
        ), back as (
            -- A new leader may already have marked the courses unconfirmed, also at this moment: then the request is closed
            -- and the next call finds the courses. They were not sent, so the attempt does not count.
            update course_outbox o
               set status = 'pending', attempts = o.attempts - 1, doubt = null, next_attempt_at = now(), updated_at = now()
              from course_sync_batch b
             where b.batch_id = any($1) and o.id = any(b.row_ids) and o.batch_id = b.batch_id
               -- An expression: see `recover::settle_unconfirmed`.
               and case o.status when 'unconfirmed' then true else false end
        )
        select count(*) from withdrawn";
    let count: i64 = run_statement(database, async |session| {
        sqlx::query_scalar(WITHDRAW).bind(batches).fetch_one(session).await
    })
    .await
    .map_err(OutboxError::failed_to("withdraw a claim"))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// `batches`: for how many requests the claim could take courses.
fn taken_courses(rows: Vec<ClaimedRow>, batches: usize, limits: ClaimLimits<'_>) -> TakenCourses {
    let remaining = match rows.last() {
        Some(last) if i64::try_from(rows.len()).is_ok_and(|count| count < last.candidates) => {
            Remaining::FromStart
        }
        Some(_) if limits.order == ClaimOrder::Newest => Remaining::FromStart,
        Some(last) if rows.len() == batches * usize::from(limits.courses) => match &last.due.0 {
            Ok(due) => Remaining::After(Cursor::after(due.to_jiff(), last.id)),
            // A time that cannot be represented is no position to continue from.
            Err(_) => Remaining::FromStart,
        },
        Some(_) | None => Remaining::Nothing,
    };
    let mut batches: Vec<ClaimedBatch> = Vec::new();
    for row in rows {
        let (id, batch) = (row.id, row.batch);
        if batches.last().is_none_or(|last| last.id != batch) {
            batches.push(ClaimedBatch { id: batch, courses: Vec::new(), unreadable: Vec::new() });
        }
        let Some(last) = batches.last_mut() else { continue };
        match ClaimedCourse::try_from(row) {
            Ok(course) => last.courses.push(course),
            Err(error) => last.unreadable.push((id, error)),
        }
    }
    TakenCourses { batches, remaining }
}
