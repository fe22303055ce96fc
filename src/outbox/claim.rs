//! The claim: pending courses become in flight, and the intent to send them is written, in one
//! statement that commits before a byte is sent.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use uuid::Uuid;

use super::OutboxError;
use super::database::{Reach, ask};
use super::lease::Lease;
use super::rows::ClaimedRow;
use crate::policy::batch::{Claimed, RowId};

/// How much one claim may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// Courses.
    pub courses: u16,
    /// Bytes of the request's body, estimated from above.
    pub bytes: u64,
    /// The property that carries the courses' keys. Without one, two courses with the same properties may not
    /// travel together, because nothing in HubSpot's answer would tell them apart.
    pub unique_property: Option<&'a str>,
}

/// Where the last claim ended. An accelerator past the dead index entries of what was claimed
/// before, never a truth: a row may always commit behind it, so it is forgotten often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor(Option<(Timestamp, i64)>);

/// The cursor with its age.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bookmark {
    cursor: Cursor,
    /// When the outbox was last read from its beginning.
    since: Option<Instant>,
    /// How long that took.
    cost: Duration,
}

/// The outbox is read from its beginning so often,
const CURSOR_MAX_AGE: Duration = Duration::from_secs(5);
/// unless that took more than one part in so many of the time: while somebody holds a snapshot open, what
/// was claimed since lies there dead, and cannot be removed.
const BEGINNING_SHARE: u32 = 20;

impl Bookmark {
    /// Where to read from now.
    pub fn cursor(&mut self, now: Instant) -> Cursor {
        let max_age = CURSOR_MAX_AGE.max(self.cost * BEGINNING_SHARE);
        let is_old = self.since.is_none_or(|since| now.saturating_duration_since(since) > max_age);
        if is_old {
            self.cursor = Cursor::default();
        }
        if self.cursor == Cursor::default() {
            self.since = Some(now);
        }
        self.cursor
    }

    /// Where the last claim ended, and how long it took.
    pub fn set(&mut self, cursor: Cursor, took: Duration) {
        if self.cursor == Cursor::default() {
            self.cost = took;
        }
        self.cursor = cursor;
    }

    /// Reads from the beginning next time.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

/// What a claim took.
#[derive(Debug)]
pub struct Taken {
    /// The courses, in order of arrival.
    pub courses: Vec<Claimed>,
    /// Rows that were claimed but cannot be read; they are to be recorded as failed.
    pub unreadable: Vec<(RowId, OutboxError)>,
    /// Where the next claim may begin.
    pub cursor: Cursor,
    /// The claim took as many as it was allowed to, so there may be more.
    pub is_full: bool,
}

/// What the envelope and the trace id of one course add to a request's body, in bytes, from above.
const ENVELOPE_BYTES: i64 = 160;

/// Claims due courses for the batch `batch`, under the lease. Takes none if the lease is not ours,
/// or ends within `margin`. `send_window` is how long the request may take at most.
///
/// Served by `course_outbox_pending`.
pub async fn claim(
    database: impl Into<Reach<'_>>,
    lease: Lease,
    margin: Duration,
    batch: Uuid,
    limits: Limits<'_>,
    cursor: Cursor,
    send_window: Duration,
) -> Result<Taken, OutboxError> {
    const CLAIM: &str = "
        with lead as materialized (
            -- for share: a takeover waits until this claim has committed, and then finds its intent
            select incarnation from course_sync_leader
             where holder = $1 and term = $2 and expires_at > clock_timestamp() + make_interval(secs => $3)
               -- no word of a database that may have lost commits is taken for the truth
               and not verifying and incarnation = course_sync_incarnation()
               for share
        ), due as materialized (
            select ctid as spot, id, next_attempt_at, batch_limit, properties,
                   octet_length(properties::text) + octet_length(associations::text)
                     + octet_length(course_key) + $11 as bytes
              from course_outbox
             where status = 'pending' and next_attempt_at <= now()
               and (next_attempt_at, id) > (coalesce($4, '-infinity'::timestamptz), $5)
               and exists (select from lead)
             order by next_attempt_at, id
             limit $6
               for update skip locked
        ), told_apart as (
            select spot, id, next_attempt_at, batch_limit, bytes from (
                select due.*, case when $8::text is null then row_number() over (partition by properties order by next_attempt_at, id)
                                   else 1 end as twin
                  from due) d
             where twin = 1
        ), fitting as (
            select spot, next_attempt_at from (
                select spot, next_attempt_at, row_number() over so_far as place,
                       min(batch_limit) over so_far as narrowest, sum(bytes) over so_far as total
                  from told_apart
                window so_far as (order by next_attempt_at, id rows unbounded preceding)) t
             where place <= narrowest and (total <= $7 or place = 1)
        ), took as (
            update course_outbox o
               set status = 'in_flight', attempts = attempts + 1, batch_id = $9, updated_at = now()
              -- where it was locked: no index is asked a second time
              from fitting f where o.ctid = f.spot
            returning o.id, o.course_key, o.properties, o.associations, o.attempts, o.faults, o.doubts, o.created_at,
                      f.next_attempt_at as due
        ), intent as (
            insert into course_sync_batch (batch_id, operation, term, holder, row_ids, send_by, incarnation, unique_property)
            select $9, 'create', $2, $1, array_agg(id order by id), now() + make_interval(secs => $10),
                   (select incarnation from lead), $8
              from took having count(*) > 0
        )
        select took.*, (select count(*) from due) as candidates from took order by due, id";
    let (after, after_id) = cursor.0.unzip();
    let rows: Vec<ClaimedRow> = ask(database, async |session| {
        sqlx::query_as(CLAIM)
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
               set status = 'pending', attempts = o.attempts - 1, next_attempt_at = now(), updated_at = now()
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
    let last = rows.last().map(|row| (row.due.to_jiff(), row.id, row.candidates));
    let count = rows.len();
    let mut taken = Taken {
        courses: Vec::with_capacity(count),
        unreadable: Vec::new(),
        cursor: Cursor::default(),
        is_full: false,
    };
    if let Some((due, id, candidates)) = last {
        let left_some = i64::try_from(count).is_ok_and(|count| count < candidates);
        taken.is_full = left_some || count == usize::from(limits.courses);
        // Rows that were left behind lie before the last one taken, or just after it.
        taken.cursor = Cursor((!left_some && taken.is_full).then_some((due, id)));
    }
    for row in rows {
        let id = RowId(row.id);
        match Claimed::try_from(row) {
            Ok(course) => taken.courses.push(course),
            Err(error) => taken.unreadable.push((id, error)),
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_is_read_on_from_the_bookmark_and_now_and_then_from_the_beginning() {
        let (mut bookmark, start) = (Bookmark::default(), Instant::now());
        let far = Cursor(Some((Timestamp::UNIX_EPOCH, 7)));
        let mut from_beginning = |seconds: std::ops::RangeInclusive<u64>, took| {
            seconds
                .filter(|second| {
                    let cursor = bookmark.cursor(start + Duration::from_secs(*second));
                    bookmark.set(far, took);
                    cursor == Cursor::default()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(from_beginning(0..=20, Duration::from_millis(4)), [0, 6, 12, 18]);
        // The dearer, the rarer.
        assert_eq!(from_beginning(21..=100, Duration::from_secs(1)), [24, 45, 66, 87]);
        bookmark.forget();
        assert_eq!(bookmark.cursor(start), Cursor::default());
    }
}
