//! The record: what an answer did to each course of a batch, in one statement.
//!
//! Guarded by the batch's id and the row's status, so it may be repeated until the database answers,
//! and a stale writer changes nothing. It is not guarded by the lease: what HubSpot answered is a
//! fact, whoever learns of it.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::OutboxError;
use super::database::{Reach, ask};
use crate::course::{Again, Category, CourseError, Doubt, Provenance, Status, Suspicion, Transition};
use crate::policy::answer::{Body, Exchange};
use crate::policy::batch::RowId;
use crate::policy::interpret::RequestOutcome;

/// How a request ended, for the journal.
#[derive(Debug, Clone)]
pub struct Ending {
    /// In the words of the metrics; `None`: it was never sent.
    pub outcome: Option<RequestOutcome>,
    /// The status of the answer, if one came.
    pub http_status: Option<u16>,
    /// HubSpot's identifier of the request.
    pub correlation_id: Option<String>,
    /// What it shows as evidence: `course_sync_batch.passed`.
    pub passed: Option<bool>,
}

impl Ending {
    /// There was no request.
    pub const NOT_SENT: Self = Self { outcome: None, http_status: None, correlation_id: None, passed: None };

    /// How an exchange ended.
    #[must_use]
    pub fn of(outcome: RequestOutcome, exchange: &Exchange, passed: Option<bool>) -> Self {
        let (meta, in_body) = match exchange {
            Exchange::Answered { meta, body: Body::Error(error) } => {
                (Some(meta), error.correlation_id.clone())
            }
            Exchange::Answered { meta, .. } => (Some(meta), None),
            Exchange::NotSent(_) | Exchange::NoAnswer(_) => (None, None),
        };
        Self {
            outcome: Some(outcome),
            http_status: meta.map(|meta| meta.status),
            correlation_id: meta.and_then(|meta| meta.correlation_id.clone()).or(in_body),
            passed,
        }
    }
}

/// Transitions as columns, one element a course.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub ids: Vec<i64>,
    pub statuses: Vec<&'static str>,
    pub hubspot_ids: Vec<Option<String>>,
    pub errors: Vec<Option<Value>>,
    /// Whether the row keeps the error it has.
    pub keeps_error: Vec<bool>,
    /// Seconds from now; null keeps the row's time.
    pub waits: Vec<Option<f64>>,
    pub attempts_back: Vec<i32>,
    pub faults: Vec<i32>,
    pub batch_limits: Vec<Option<i16>>,
    /// Whether the course is a suspect from now on.
    pub suspects: Vec<bool>,
    pub doubts: Vec<Option<&'static str>>,
    pub events: Vec<Option<&'static str>>,
}

impl Columns {
    pub(super) fn of<'a>(transitions: impl IntoIterator<Item = &'a (RowId, Transition)>) -> Self {
        let mut columns = Self::default();
        for (id, transition) in transitions {
            columns.push(*id, transition);
        }
        columns
    }

    fn push(&mut self, id: RowId, transition: &Transition) {
        let mut row = Row::default();
        match transition {
            Transition::Synced { hubspot_id, provenance, warning } => {
                row.hubspot_id = Some(hubspot_id.as_str().to_owned());
                row.error = warning.as_ref().and_then(stored);
                row.event = match provenance {
                    Provenance::Created if warning.is_some() => Some("confirmed"),
                    Provenance::Created => None,
                    Provenance::Confirmed => Some("confirmed"),
                    Provenance::Adopted => Some("adopted"),
                };
            }
            Transition::Failed { error } => {
                row.error = stored(error);
                row.event = Some("failed");
                // It never left this machine.
                row.attempts_back = i32::from(!error.was_asked());
            }
            Transition::Pending(again) => row.again(again),
            Transition::Unconfirmed { error, doubt, batch_limit, look_after } => {
                row.batch_limit = batch_limit.map(stored_limit);
                row.is_suspect = batch_limit.is_some();
                row.error = stored(error);
                row.doubt = Some(doubt.as_str());
                row.wait = Some(*look_after);
                row.event = Some("unconfirmed");
            }
        }
        self.ids.push(id.0);
        self.statuses.push(transition.to().as_str());
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

#[derive(Default)]
struct Row {
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

impl Row {
    fn again(&mut self, again: &Again) {
        match again {
            Again::NotSent => {
                self.keeps_error = true;
                self.attempts_back = 1;
            }
            Again::Held => self.keeps_error = true,
            Again::Later { error, after, suspicion } => {
                self.error = error.as_ref().and_then(stored);
                self.keeps_error = error.is_none();
                self.wait = Some(*after);
                self.fault = i32::from(*suspicion == Suspicion::Alone);
                self.batch_limit = suspicion.batch_limit().map(stored_limit);
                self.is_suspect = *suspicion != Suspicion::Unchanged;
                self.event = Some("deferred");
            }
        }
    }
}

fn stored_limit(limit: u16) -> i16 {
    i16::try_from(limit).unwrap_or(i16::MAX)
}

fn forgotten() -> CourseError {
    let message =
        "it is not known whether HubSpot created this course: the database may have lost what was recorded";
    CourseError::new(Category::UnknownOutcome, message, jiff::Timestamp::now())
}

fn stored(error: &CourseError) -> Option<Value> {
    serde_json::to_value(error).ok()
}

/// Records what became of the courses of one batch. Returns how many rows were still waiting for it;
/// fewer than given means that somebody else decided meanwhile.
///
/// Where the database is not the one in which the intent was written, it may have forgotten a later sending
/// of the same course: what would go back to pending is put in doubt there.
///
/// Served by the primary keys of `course_outbox` and `course_sync_batch`.
pub async fn record(
    database: impl Into<Reach<'_>>,
    batch: Uuid,
    transitions: &[(RowId, Transition)],
    ending: &Ending,
) -> Result<u64, OutboxError> {
    const RECORD: &str = "
        with intent as materialized (
            select coalesce(incarnation <> course_sync_incarnation(), false) as may_be_forgotten, unique_property, claimed_at
              from course_sync_batch where batch_id = $1
        ), answer as (
            -- in a database that may have lost commits, a course is not pending before it was looked up
            select id, hubspot_id, attempts_back, fault, batch_limit, is_suspect, is_doubtful, unique_property, claimed_at,
                   case when is_doubtful then 'unconfirmed' else status end as status,
                   case when is_doubtful then $18 else error end as error,
                   keeps_error and not is_doubtful as keeps_error,
                   case when is_doubtful then 0 else wait end as wait,
                   case when is_doubtful then $19 else doubt end as doubt,
                   case when is_doubtful then 'unconfirmed' else event end as event
              from (select a.*, unique_property, claimed_at, a.status = 'pending' and may_be_forgotten as is_doubtful
                      from intent, unnest($2::bigint[], $3::text[], $4::text[], $5::jsonb[], $6::bool[], $7::float8[],
                                          $8::int[], $9::int[], $10::smallint[], $11::bool[], $12::text[], $13::text[])
                           as a (id, status, hubspot_id, error, keeps_error, wait, attempts_back, fault, batch_limit,
                                 is_suspect, doubt, event)) a
        ), recorded as (
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
                   -- the first doubt counts: a record that is older cannot be this course
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
             -- what came too late for every course must not open a closed request again
             where batch_id = $1 and exists (select from recorded)
        ), history as (
            insert into course_sync_history (course_id, course_key, batch_id, event, error)
            select id, course_key, $1, event, error from recorded where event is not null
        )
        select count(*) from recorded";
    let columns = Columns::of(transitions);
    let is_settled = transitions.iter().all(|(_, transition)| transition.to() != Status::Unconfirmed);
    let recorded: i64 = ask(database, async |session| {
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
            .bind(ending.outcome.map(RequestOutcome::as_str))
            .bind(ending.http_status.map(i32::from))
            .bind(ending.correlation_id.as_deref())
            .bind(stored(&forgotten()))
            .bind(Doubt::Unknown.as_str())
            .bind(ending.passed)
            .fetch_one(session)
            .await
    })
    .await
    .map_err(OutboxError::doing("record an answer"))?;
    Ok(u64::try_from(recorded).unwrap_or_default())
}
