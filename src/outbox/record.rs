//! Records the result of a request: what it means for each course of the batch, in one statement, which is the only one
//! that writes the rows of its courses.
//!
//! Guarded by the open request in the journal, so it may be repeated until the database responds, and a stale writer
//! changes nothing. Not guarded by the lease: HubSpot's response is a fact, and any instance may record it.
//!
//! A course is in flight until the statement that writes its row. A row that cannot be written now (locked, or refused by
//! a trigger of the catalogue's) stays in flight, and the others are recorded.

use std::time::Duration;

use serde_json::Value;

use crate::course::{BatchId, CourseError, Provenance, Requeue, RowId, Suspicion, Transition};
use crate::hubspot::api::outcome::RequestOutcome;
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};

/// How a request ended, for the journal.
#[derive(Debug, Clone)]
pub struct RequestEnd {
    /// Its outcome, named as in the metrics; `None`: it was never sent.
    pub outcome: Option<RequestOutcome>,
    /// The HTTP status of the response, if one came.
    pub http_status: Option<u16>,
    /// HubSpot's identifier of the request.
    pub correlation_id: Option<String>,
    /// The evidence about whose fault a failure is, `course_sync_batch.passed`: HubSpot judged the courses (true), the
    /// request failed as a whole (false), or it shows nothing.
    pub passed: Option<bool>,
}

impl RequestEnd {
    /// Nothing was sent.
    pub const NOT_SENT: Self = Self { outcome: None, http_status: None, correlation_id: None, passed: None };
}

/// Transitions as columns of equal length, one element per course, for `unnest`.
#[derive(Debug, Default)]
pub(super) struct TransitionColumns {
    pub ids: Vec<RowId>,
    pub statuses: Vec<&'static str>,
    pub hubspot_ids: Vec<Option<String>>,
    pub errors: Vec<Option<Value>>,
    /// Whether the row keeps its present error.
    pub keeps_error: Vec<bool>,
    /// Seconds from now until the next attempt; null keeps the row's time.
    pub waits: Vec<Option<f64>>,
    /// How many attempts it adds: 0 if the course was not sent.
    pub attempts: Vec<i32>,
    pub faults: Vec<i32>,
    pub batch_limits: Vec<Option<i16>>,
    /// Whether the course is a suspect from now on.
    pub suspects: Vec<bool>,
    pub doubts: Vec<Option<&'static str>>,
    pub events: Vec<Option<&'static str>>,
}

impl TransitionColumns {
    pub(super) fn from_transitions<'a>(
        transitions: impl IntoIterator<Item = &'a (RowId, Transition)>,
    ) -> Self {
        let mut columns = Self::default();
        for (id, transition) in transitions {
            columns.push(*id, transition);
        }
        columns
    }

    /// Replaces the other characters in the errors.
    fn keep_ascii(&mut self) {
        for error in self.errors.iter_mut().flatten() {
            let ascii: String =
                error.to_string().chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
            *error = serde_json::from_str(&ascii).unwrap_or_default();
        }
    }

    fn push(&mut self, id: RowId, transition: &Transition) {
        let mut row = TransitionRow::default();
        match transition {
            Transition::Synced { hubspot_id, provenance, warning } => {
                row.hubspot_id = Some(hubspot_id.as_str().to_owned());
                row.error = warning.as_ref().and_then(error_json);
                row.event = match provenance {
                    Provenance::Created if warning.is_some() => Some("confirmed"),
                    Provenance::Created => None,
                    Provenance::Confirmed => Some("confirmed"),
                    Provenance::Adopted => Some("adopted"),
                    Provenance::Updated if warning.is_some() => Some("updated"),
                    Provenance::Updated | Provenance::Unchanged => None,
                };
                row.attempts = i32::from(*provenance != Provenance::Unchanged);
            }
            Transition::Archived { hubspot_id, remark } => {
                row.hubspot_id = hubspot_id.as_ref().map(|id| id.as_str().to_owned());
                row.error = remark.as_ref().and_then(error_json);
                row.event = Some("archived");
                // A course without a record needs no request.
                row.attempts = i32::from(hubspot_id.is_some());
            }
            Transition::Failed { error } => {
                row.error = error_json(error);
                row.event = Some("failed");
                // It was never sent, so no attempt counts.
                row.attempts = i32::from(error.was_sent());
            }
            Transition::Gone { hubspot_id, error } => {
                row.hubspot_id = Some(hubspot_id.as_str().to_owned());
                row.error = error_json(error);
                row.event = Some("failed");
            }
            Transition::Pending(requeue) => row.set_requeue(requeue),
            Transition::Unconfirmed { error, doubt, batch_limit, look_after } => {
                row.batch_limit = batch_limit.map(stored_batch_limit);
                row.is_suspect = batch_limit.is_some();
                row.error = error_json(error);
                row.doubt = Some(doubt.as_str());
                row.wait = Some(*look_after);
                row.event = Some("unconfirmed");
            }
        }
        self.ids.push(id);
        self.statuses.push(transition.status().as_str());
        self.hubspot_ids.push(row.hubspot_id);
        self.errors.push(row.error);
        self.keeps_error.push(row.keeps_error);
        self.waits.push(row.wait.map(|wait| wait.as_secs_f64()));
        self.attempts.push(row.attempts);
        self.faults.push(row.fault);
        self.batch_limits.push(row.batch_limit);
        self.suspects.push(row.is_suspect);
        self.doubts.push(row.doubt);
        self.events.push(row.event);
    }
}

/// The columns of one transition.
struct TransitionRow {
    hubspot_id: Option<String>,
    error: Option<Value>,
    keeps_error: bool,
    wait: Option<Duration>,
    attempts: i32,
    fault: i32,
    batch_limit: Option<i16>,
    is_suspect: bool,
    doubt: Option<&'static str>,
    event: Option<&'static str>,
}

impl Default for TransitionRow {
    fn default() -> Self {
        Self {
            hubspot_id: None,
            error: None,
            keeps_error: false,
            wait: None,
            attempts: 1,
            fault: 0,
            batch_limit: None,
            is_suspect: false,
            doubt: None,
            event: None,
        }
    }
}

impl TransitionRow {
    fn set_requeue(&mut self, requeue: &Requeue) {
        match requeue {
            Requeue::NotSent => {
                self.keeps_error = true;
                self.attempts = 0;
            }
            Requeue::Held => self.keeps_error = true,
            Requeue::Later { error, after, suspicion } => {
                self.error = error.as_ref().and_then(error_json);
                self.keeps_error = error.is_none();
                self.wait = Some(*after);
                self.fault = i32::from(*suspicion == Suspicion::Single);
                self.batch_limit = suspicion.batch_limit().map(stored_batch_limit);
                self.is_suspect = *suspicion != Suspicion::Unchanged;
                self.event = Some("deferred");
            }
        }
    }
}

fn stored_batch_limit(limit: u16) -> i16 {
    i16::try_from(limit).unwrap_or(i16::MAX)
}

fn error_json(error: &CourseError) -> Option<Value> {
    serde_json::to_value(error).ok()
}

/// The statement of [`record`]. Parameters: 1 batch, 2 to 13 the columns of the transitions, 14 outcome, 15 HTTP status,
/// 16 correlation id, 17 passed, 18 why courses wait, 19 what was sent. `free`: which rows may be written.
macro_rules! record_statement {
    ($free:literal) => {
        concat!(
            "-- record
with intent as materialized (
    -- Locked: of two writers of one request, the second finds it closed. So does a writer whose courses a new leader has
    -- marked unconfirmed.
    select row_ids, revisions, recorded, state, unique_property, claimed_at,
           -- For this statement: it does not wait for a row that another session holds for long.
           set_config('lock_timeout', '300ms', true)
      from course_sync_batch where batch_id = $1 for no key update
), sent as materialized (
    -- The courses of the request. Open: they have no outcome yet.
    select id, revision, state = 'open' and id <> all (recorded) as is_open
      from (select unnest(row_ids) as id, unnest(revisions) as revision, state, recorded from intent) c
), answer as materialized (
    -- The transitions as rows. A course that was not sent keeps its row as it is.
    select a.*, coalesce(s.is_open, false) as is_open, s.revision, i.unique_property, i.claimed_at,
           a.attempts = 0 and a.status = 'pending' as is_unchanged
      from (select unnest($2::bigint[]) as id, unnest($3::text[]) as status, unnest($4::text[]) as hubspot_id,
                   unnest($5::jsonb[]) as error, unnest($6::bool[]) as keeps_error, unnest($7::float8[]) as wait,
                   unnest($8::int[]) as attempts, unnest($9::int[]) as fault, unnest($10::smallint[]) as batch_limit,
                   unnest($11::bool[]) as is_suspect, unnest($12::text[]) as doubt, unnest($13::text[]) as event,
                   unnest($19::jsonb[]) as content) a
      left join sent s using (id) left join intent i on true
), recorded as (
    update course_outbox o
       set status = a.status,
           hubspot_id = coalesce(a.hubspot_id, o.hubspot_id),
           synced_at = case when a.status = 'synced' then now() else o.synced_at end,
           synced_revision = case when a.status in ('synced', 'archived') then coalesce(a.revision, o.revision)
                                  else o.synced_revision end,
           -- What was sent differs from the row only if the row has a newer revision. If it is not given, the names are known.
           hubspot_properties = case when a.status not in ('synced', 'archived') then o.hubspot_properties
                                     when a.content is null and o.revision > a.revision
                                     then (select jsonb_object_agg(name, null) from jsonb_object_keys(o.hubspot_properties) name)
                                     else a.content end,
           error = case when a.keeps_error then o.error else a.error end,
           next_attempt_at = coalesce(now() + make_interval(secs => a.wait), o.next_attempt_at),
           -- A row that a new leader has marked unconfirmed has counted an attempt already.
           attempts = o.attempts + a.attempts - (o.status = 'unconfirmed' and o.batch_id = $1)::int,
           faults = o.faults + a.fault,
           -- What is unknown about a change does not concern the creation.
           doubts = o.doubts + (a.status = 'unconfirmed' and a.doubt <> 'change')::int,
           batch_limit = coalesce(a.batch_limit, o.batch_limit),
           suspected_at = case when a.is_suspect then now() else o.suspected_at end,
           batch_id = $1,
           doubt = a.doubt,
           -- The first doubt counts: a HubSpot record that is older than it cannot be this course.
           doubt_property = case when a.doubt is null or a.doubt = 'change' then o.doubt_property
                                 else coalesce(o.doubt_property, a.unique_property) end,
           doubted_since = case when a.doubt is null or a.doubt = 'change' then o.doubted_since
                                else coalesce(o.doubted_since, a.claimed_at, now()) end,
           updated_at = now()
      from answer a
     where o.id = a.id and (not a.is_unchanged or o.status = 'unconfirmed')
       and case o.status
           -- In flight for this request. A lower revision: the database lost a change that was sent.
           when 'pending' then a.is_open and o.revision >= a.revision
                    -- The row has changed since: without what was sent, it could not be brought up to date.
                    and (o.revision = a.revision or a.content is not null or a.status <> 'synced')
                -- The journal was truncated or restored in part. What is final is still a fact.
                or a.claimed_at is null and a.status in ('synced', 'failed', 'archived')
           -- Marked unconfirmed by a new leader. After a verification of all pending courses, only a record is a fact.
           when 'unconfirmed' then o.batch_id = $1 or a.is_open and a.status = 'synced'
           else false end",
            $free,
            "
    returning o.id, o.course_key, o.error, a.event, a.hubspot_id
), waiting as materialized (
    -- Courses whose row could not be written: another session holds it, or a trigger ignored the write. Rows that are
    -- gone, or that another writer has settled, wait for nothing.
    select a.id from answer a
     where a.is_open and not a.is_unchanged and a.id not in (select id from recorded)
       and (select o.status = 'pending' and o.revision >= a.revision from course_outbox o where o.id = a.id)
), open as materialized (
    -- What is left of the request: courses that wait, and those that this statement was not given.
    select id from sent
     where is_open and (id in (select id from waiting) or id not in (select id from answer))
), journal as (
    update course_sync_batch b
       set state = case when b.state = 'open' and exists (select from open) then 'open'
                        -- Also if a part was recorded before, which may have left a doubt. If it did not, the next
                        -- pass of the reconciler closes the request.
                        when b.state = 'unknown' or b.recorded <> '{}'
                             or exists (select from answer where status = 'unconfirmed') then 'unknown'
                        else 'closed' end,
           recorded = case when b.state = 'open' and exists (select from open)
                           then array(select unnest(b.row_ids) except select id from open order by 1)
                           else '{}' end,
           blocked = case when b.state = 'open' and exists (select from open) then $18 end,
           answered_at = coalesce(b.answered_at, now()), outcome = $14, http_status = $15, correlation_id = $16, passed = $17
     -- A result that came too late for every course must not reopen a closed request.
     where b.batch_id = $1 and (b.state = 'open' or exists (select from recorded))
), history as (
    -- Plain successes leave no history: the row shows them, and they are nearly all.
    insert into course_sync_history (course_id, course_key, batch_id, event, error, hubspot_id)
    select id, course_key, $1, event, error, case when event = 'archived' then hubspot_id end
      from recorded where event is not null
        -- An outcome is recorded even if the sequence of ids is behind its table, after a restore.
        on conflict do nothing
)
select (select count(*) from recorded)
         + (select count(*) from answer where is_unchanged and (is_open or claimed_at is null)) as recorded,
       array(select id from waiting) as waiting"
        )
    };
}

/// What [`record`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedCourses {
    /// The number of courses whose outcome it recorded.
    pub recorded: u64,
    /// The courses whose row could not be written. They are still in flight; the caller tries again. Synced courses whose rows
    /// have changed since are among them unless `contents` has what was sent.
    pub waiting: Vec<RowId>,
}

/// What [`record`] does with a row that another session holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockedRows {
    /// It waits for a moment. Then the statement fails.
    Wait,
    /// It leaves the row waiting, and records the others.
    Skip,
}

/// Records the result for courses of one batch; the others stay in flight, and the journal shows why (`blocked`). The
/// number of recorded courses is lower than that of the given ones if another writer has recorded a result meanwhile.
/// `contents`: the properties that were sent for each of the courses, or nothing; needed only for rows that have changed since.
///
/// Index: the primary keys of `course_outbox` and `course_sync_batch`.
pub async fn record(
    database: impl Into<DatabaseRef<'_>>,
    batch: BatchId,
    transitions: &[(RowId, Transition)],
    contents: &[Value],
    end: &RequestEnd,
    blocked: Option<&str>,
    locked: LockedRows,
) -> Result<RecordedCourses, OutboxError> {
    // Without a lock of its own: it would be written to disk for each row.
    const WAIT: &str = record_statement!("");
    const SKIP: &str = record_statement!(
        "
       -- Locked rows are left out.
       and o.id in (select free.id from course_outbox free where free.id = any($2) for no key update skip locked)"
    );
    let statement = match locked {
        LockedRows::Wait => WAIT,
        LockedRows::Skip => SKIP,
    };
    let database = database.into();
    let mut columns = TransitionColumns::from_transitions(transitions);
    let mut recorded = run(database, statement, batch, &columns, contents, end, blocked).await;
    if recorded.as_ref().is_err_and(is_untranslatable) {
        // The encoding of the database lacks a character of HubSpot's message.
        columns.keep_ascii();
        recorded = run(database, statement, batch, &columns, contents, end, blocked).await;
    }
    let (recorded, waiting) = recorded.map_err(OutboxError::failed_to("record a result"))?;
    Ok(RecordedCourses { recorded: u64::try_from(recorded).unwrap_or_default(), waiting })
}

/// Runs the statement of [`record`]. Returns the number of recorded courses, and those that wait.
async fn run(
    database: DatabaseRef<'_>,
    statement: &'static str,
    batch: BatchId,
    columns: &TransitionColumns,
    contents: &[Value],
    end: &RequestEnd,
    blocked: Option<&str>,
) -> Result<(i64, Vec<RowId>), sqlx::Error> {
    run_statement(database, async |session| {
        sqlx::query_as(statement)
            .bind(batch)
            .bind(&columns.ids)
            .bind(&columns.statuses)
            .bind(&columns.hubspot_ids)
            .bind(&columns.errors)
            .bind(&columns.keeps_error)
            .bind(&columns.waits)
            .bind(&columns.attempts)
            .bind(&columns.faults)
            .bind(&columns.batch_limits)
            .bind(&columns.suspects)
            .bind(&columns.doubts)
            .bind(&columns.events)
            .bind(end.outcome.map(RequestOutcome::as_str))
            .bind(end.http_status.map(i32::from))
            .bind(end.correlation_id.as_deref())
            .bind(end.passed)
            .bind(blocked)
            .bind(contents)
            .fetch_one(session)
            .await
    })
    .await
}

/// Whether the encoding of the database lacks a character.
fn is_untranslatable(error: &sqlx::Error) -> bool {
    const UNTRANSLATABLE_CHARACTER: &str = "22P05";
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(UNTRANSLATABLE_CHARACTER))
}
