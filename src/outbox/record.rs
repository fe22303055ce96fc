//! Records the result of a request: what it means for each course of the batch, in one statement.
//!
//! Guarded by the batch's id and the row's status, so it may be repeated until the database responds, and a stale
//! writer changes nothing. Not guarded by the lease: HubSpot's response is a fact, and any instance may record it.

use std::time::Duration;

use serde_json::Value;

use crate::course::{
    BatchId, Category, CourseError, Doubt, Provenance, Requeue, RowId, Status, Suspicion, Transition,
};
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
    pub attempts_back: Vec<i32>,
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
                };
            }
            Transition::Failed { error } => {
                row.error = error_json(error);
                row.event = Some("failed");
                // It was never sent, so the attempt does not count.
                row.attempts_back = i32::from(!error.was_sent());
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
        self.attempts_back.push(row.attempts_back);
        self.faults.push(row.fault);
        self.batch_limits.push(row.batch_limit);
        self.suspects.push(row.is_suspect);
        self.doubts.push(row.doubt);
        self.events.push(row.event);
    }
}

/// The columns of one transition.
#[derive(Default)]
struct TransitionRow {
    hubspot_id: Option<String>,
    error: Option<Value>,
    keeps_error: bool,
    wait: Option<Duration>,
    attempts_back: i32,
    fault: i32,
    batch_limit: Option<i16>,
    is_suspect: bool,
    doubt: Option<&'static str>,
    event: Option<&'static str>,
}

impl TransitionRow {
    fn set_requeue(&mut self, requeue: &Requeue) {
        match requeue {
            Requeue::NotSent => {
                self.keeps_error = true;
                self.attempts_back = 1;
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

/// The error of a course that would return to pending in a database that may have lost commits.
fn lost_commits_error() -> CourseError {
    let message =
        "it is not known whether HubSpot created this course: the database may have lost a recorded result";
    CourseError::new(Category::UnknownOutcome, message, jiff::Timestamp::now())
}

fn error_json(error: &CourseError) -> Option<Value> {
    serde_json::to_value(error).ok()
}

/// The statement of [`record`]. Parameters: 1 batch, 2 to 13 the columns of the transitions, 14 state of the request,
/// 15 outcome, 16 HTTP status, 17 correlation id, 18 and 19 error and doubt where commits may be lost, 20 passed.
const RECORD: &str = "-- record
with intent as materialized (
    -- Another incarnation than at the claim: a standby was promoted or a backup restored in between.
    select coalesce(incarnation <> course_sync_incarnation(), false) as may_be_forgotten, unique_property, claimed_at
      from course_sync_batch where batch_id = $1
), answer as (
    -- The transitions as rows. Where commits may be lost, a course may not return to pending before a look-up.
    select id, hubspot_id, attempts_back, fault, batch_limit, is_suspect, is_doubtful, unique_property, claimed_at,
           case when is_doubtful then 'unconfirmed' else status end as status,
           case when is_doubtful then $18 else error end as error,
           keeps_error and not is_doubtful as keeps_error,
           case when is_doubtful then 0 else wait end as wait,
           case when is_doubtful then $19 else doubt end as doubt,
           case when is_doubtful then 'unconfirmed' else event end as event
      from (select a.*, unique_property, claimed_at, a.status = 'pending' and may_be_forgotten as is_doubtful
              -- The intent may be missing, because the journal was truncated or restored in part.
              from unnest($2::bigint[], $3::text[], $4::text[], $5::jsonb[], $6::bool[], $7::float8[],
                                  $8::int[], $9::int[], $10::smallint[], $11::bool[], $12::text[], $13::text[])
                   as a (id, status, hubspot_id, error, keeps_error, wait, attempts_back, fault, batch_limit,
                         is_suspect, doubt, event) left join intent on true
             -- Then only what is final is recorded; for the others the leader writes a new intent.
             where intent.claimed_at is not null or a.status in ('synced', 'failed')) a
), recorded as (
    -- Guarded by batch and status: a row that was recorded or claimed again meanwhile stays as it is.
    update course_outbox o
       set status = a.status,
           hubspot_id = a.hubspot_id,
           synced_at = case when a.status = 'synced' then now() end,
           error = case when a.keeps_error then o.error else a.error end,
           next_attempt_at = coalesce(now() + make_interval(secs => a.wait), o.next_attempt_at),
           attempts = o.attempts - a.attempts_back,
           faults = o.faults + a.fault,
           doubts = o.doubts + (a.status = 'unconfirmed')::int,
           batch_limit = coalesce(a.batch_limit, o.batch_limit),
           suspected_at = case when a.is_suspect then now() else o.suspected_at end,
           doubt = a.doubt,
           -- The first doubt counts: a HubSpot record that is older than it cannot be this course.
           doubt_property = case when a.doubt is null then o.doubt_property
                                 else coalesce(o.doubt_property, a.unique_property) end,
           doubted_since = case when a.doubt is null then o.doubted_since
                                else coalesce(o.doubted_since, a.claimed_at) end,
           updated_at = now()
      from answer a
     where o.id = a.id and o.batch_id = $1 and o.status in ('in_flight', 'unconfirmed')
    returning o.id, o.course_key, o.error, a.event, a.is_doubtful
), journal as (
    update course_sync_batch
       set state = case when exists (select from recorded where is_doubtful) then 'unknown' else $14 end,
           answered_at = now(), outcome = $15, http_status = $16, correlation_id = $17, passed = $20
     -- A result that came too late for every course must not reopen a closed request.
     where batch_id = $1 and exists (select from recorded)
), history as (
    -- Plain successes leave no history: the row shows them, and they are nearly all.
    insert into course_sync_history (course_id, course_key, batch_id, event, error)
    select id, course_key, $1, event, error from recorded where event is not null
)
select count(*) from recorded";

/// Records the result for the courses of one batch. Returns the number of rows that were still waiting for it; fewer
/// than given means that another writer recorded a result meanwhile.
///
/// If this is not the database in which the intent was written, it may have lost the record of a later request for the
/// same course. Courses that would return to pending become unconfirmed instead.
///
/// Index: the primary keys of `course_outbox` and `course_sync_batch`.
pub async fn record(
    database: impl Into<DatabaseRef<'_>>,
    batch: BatchId,
    transitions: &[(RowId, Transition)],
    end: &RequestEnd,
) -> Result<u64, OutboxError> {
    let columns = TransitionColumns::from_transitions(transitions);
    let is_settled = transitions.iter().all(|(_, transition)| transition.status() != Status::Unconfirmed);
    let recorded: i64 = run_statement(database, async |session| {
        sqlx::query_scalar(RECORD)
            .bind(batch)
            .bind(&columns.ids)
            .bind(&columns.statuses)
            .bind(&columns.hubspot_ids)
            .bind(&columns.errors)
            .bind(&columns.keeps_error)
            .bind(&columns.waits)
            .bind(&columns.attempts_back)
            .bind(&columns.faults)
            .bind(&columns.batch_limits)
            .bind(&columns.suspects)
            .bind(&columns.doubts)
            .bind(&columns.events)
            .bind(if is_settled { "closed" } else { "unknown" })
            .bind(end.outcome.map(RequestOutcome::as_str))
            .bind(end.http_status.map(i32::from))
            .bind(end.correlation_id.as_deref())
            .bind(error_json(&lost_commits_error()))
            .bind(Doubt::Unknown.as_str())
            .bind(end.passed)
            .fetch_one(session)
            .await
    })
    .await
    .map_err(OutboxError::failed_to("record a result"))?;
    Ok(u64::try_from(recorded).unwrap_or_default())
}
