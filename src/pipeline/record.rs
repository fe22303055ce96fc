//! Records the outcome of each course of a batch, and retries until the database has committed it. Then counts and logs
//! it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::batch::UnsendableCourse;
use super::context::Context;
use super::single_rows::{Halves, first_keys};
use crate::course::{Batch, BatchId, CourseKey, HeldProperties, Provenance, RowId, Status, Transition};
use crate::hubspot::api::outcome::RequestOutcome;
use crate::hubspot::api::response::{Body, Exchange};
use crate::outbox::record::{self, LockedRows, RecordedCourses, RequestEnd};
use crate::outbox::{Database, OutboxError};
use crate::runtime::database_health::DatabaseTask;
use crate::runtime::unrecorded::Recording;
use crate::telemetry::events;
use crate::telemetry::metrics::CourseOutcome;

/// What the journal stores about a request. `passed`: what it shows about other requests.
pub(crate) fn request_end(outcome: RequestOutcome, exchange: &Exchange, passed: Option<bool>) -> RequestEnd {
    let (meta, in_body) = match exchange {
        Exchange::Answered { meta, body: Body::Error(error) } => (Some(meta), error.correlation_id.clone()),
        Exchange::Answered { meta, .. } => (Some(meta), None),
        Exchange::NotSent(_) | Exchange::NoAnswer(_) => (None, None),
    };
    RequestEnd {
        outcome: Some(outcome),
        http_status: meta.map(|meta| meta.status),
        correlation_id: meta.and_then(|meta| meta.correlation_id.clone()).or(in_body),
        passed,
    }
}

/// The wait before the first retry.
const RETRY_WAIT: Duration = Duration::from_millis(250);
/// The longest wait before a retry.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a running statement may take after the shutdown was forced.
const FORCED_SHUTDOWN_GRACE: Duration = Duration::from_millis(200);
/// Why a row was left out of a statement that succeeded.
const NOT_WRITTEN: &str = "another session holds the row, or a trigger ignores the write";

/// The result of one attempt to record outcomes.
#[derive(Debug, Default)]
struct RecordAttempt {
    /// The outcomes that are not recorded.
    waiting: Vec<(RowId, Transition)>,
    /// Why single rows could not be written.
    blocked: Option<String>,
    /// The number of outcomes that it recorded.
    recorded: usize,
    /// The error of the database, if it is not about single rows.
    error: Option<OutboxError>,
}

/// Outcomes whose rows cannot be written now, and why.
#[derive(Debug)]
pub(crate) struct BlockedOutcomes {
    pub outcomes: Vec<(RowId, Transition)>,
    reason: String,
}

/// Records the outcomes, and retries until the database has committed them. Returns those of single rows that cannot be
/// written. On error, the shutdown was forced before: the outcomes that were not recorded.
pub(crate) async fn record_until_done(
    context: &Context,
    batch: &Batch,
    outcomes: &[(RowId, Transition)],
    end: &RequestEnd,
) -> Result<Option<BlockedOutcomes>, Vec<(RowId, Transition)>> {
    let health = &context.reporting.database_health;
    let mut open = Cow::Borrowed(outcomes);
    let (mut wait, mut stale) = (RETRY_WAIT, None);
    loop {
        let attempt = tokio::select! {
            attempt = record_once(context, batch, &open, end, None, LockedRows::Wait) => attempt,
            // The process ends. The statement may still commit; its connection is not used again.
            () = forced_shutdown_with_grace(context) => return Err(open.into_owned()),
        };
        let Some(error) = attempt.error else {
            health.record_success(DatabaseTask::Record);
            // Outcomes that are neither recorded nor waiting: another writer has made them obsolete.
            let left = match stale {
                None => outcomes.len().saturating_sub(attempt.waiting.len()),
                Some(stale) => stale,
            };
            let now_stale = left.saturating_sub(attempt.recorded);
            if wait != RETRY_WAIT {
                // The first statement may have changed them. The claims may have waited for this success.
                context.runtime.wake.notify_completion();
            } else if stale.is_none() && now_stale > 0 {
                // A new leader may have marked the courses unconfirmed while the statement ran. Then it sees them now.
                stale = Some(now_stale);
                continue;
            } else {
                report_stale(context, batch.id(), now_stale);
            }
            let blocked = |reason| BlockedOutcomes { outcomes: attempt.waiting, reason };
            return Ok(attempt.blocked.map(blocked));
        };
        tracing::debug!(event = events::RESULT_RECORDING_DELAYED, batch = %batch.id(), "result recording delayed");
        health.record_failure(DatabaseTask::Record, &error);
        open = Cow::Owned(attempt.waiting);
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY_WAIT_MAX),
            () = context.runtime.shutdown.forced() => return Err(open.into_owned()),
        }
    }
}

/// Records the outcomes of rows that could not be written, as soon as they can be. They stay in flight meanwhile, and delay no
/// other course.
pub(crate) async fn record_blocked(
    context: Arc<Context>,
    batch: Batch,
    unfit: Vec<UnsendableCourse>,
    blocked: BlockedOutcomes,
    end: RequestEnd,
    _counted: Recording,
) {
    log_blocked(&batch, &blocked);
    let BlockedOutcomes { outcomes: mut open, mut reason } = blocked;
    let mut wait = RETRY_WAIT;
    while !open.is_empty() {
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY_WAIT_MAX),
            () = context.runtime.shutdown.forced() => return log_unrecorded(&batch, &open),
        }
        let attempt = tokio::select! {
            attempt = record_once(&context, &batch, &open, &end, Some(&reason), LockedRows::Skip) => attempt,
            () = forced_shutdown_with_grace(&context) => return log_unrecorded(&batch, &open),
        };
        if let Some(error) = &attempt.error {
            context.reporting.database_health.record_failure(DatabaseTask::Record, error);
        } else {
            context.reporting.database_health.record_success(DatabaseTask::Record);
        }
        reason = attempt.blocked.unwrap_or(reason);
        let is_waiting = |id| attempt.waiting.iter().any(|(waiting, _)| *waiting == id);
        let recorded: Vec<_> = open.into_iter().filter(|(id, _)| !is_waiting(*id)).collect();
        report(&context, &batch, &unfit, &recorded);
        open = attempt.waiting;
    }
    context.runtime.wake.notify_completion();
}

/// Records the outcomes once. Where rows prevent it: without those that other sessions hold, and in halves.
async fn record_once(
    context: &Context,
    batch: &Batch,
    outcomes: &[(RowId, Transition)],
    end: &RequestEnd,
    blocked: Option<&str>,
    mut locked: LockedRows,
) -> RecordAttempt {
    let database = &context.edges.database;
    let record = async |group: &[(RowId, Transition)], locked| {
        record_group(database, batch, group, end, blocked, locked).await
    };
    let mut attempt = RecordAttempt::default();
    let mut halves = Halves::new(outcomes);
    while let Some(group) = halves.next_group() {
        let mut done = record(group, locked).await;
        if locked == LockedRows::Wait && done.as_ref().is_err_and(OutboxError::concerns_single_rows) {
            locked = LockedRows::Skip;
            done = record(group, locked).await;
        }
        match done {
            Ok(done) => {
                attempt.recorded += usize::try_from(done.recorded).unwrap_or_default();
                if !done.waiting.is_empty() {
                    attempt.blocked = Some(NOT_WRITTEN.to_owned());
                    attempt.waiting.extend(group.iter().filter(|(id, _)| done.waiting.contains(id)).cloned());
                }
            }
            Err(error) => {
                if let Err(error) = halves.divide(group, error) {
                    attempt.error = Some(error);
                    break;
                }
            }
        }
    }
    attempt.blocked = halves.reason().map(str::to_owned).or(attempt.blocked);
    attempt.waiting.extend(halves.into_unwritten().cloned());
    attempt
}

/// Records the outcomes in one statement. A second one brings what was sent for the courses that have changed since.
async fn record_group(
    database: &Database,
    batch: &Batch,
    group: &[(RowId, Transition)],
    end: &RequestEnd,
    blocked: Option<&str>,
    locked: LockedRows,
) -> Result<RecordedCourses, OutboxError> {
    let mut done = record::record(database, batch.id(), group, &[], end, blocked, locked).await?;
    let sent = |(id, to): &(RowId, Transition)| {
        let is_synced = matches!(to, Transition::Synced { .. }) && done.waiting.contains(id);
        let course = batch.course(*id).filter(|_| is_synced)?;
        Some(((*id, to.clone()), HeldProperties::of(&course.properties).to_json()))
    };
    let (changed, contents): (Vec<_>, Vec<_>) = group.iter().filter_map(sent).unzip();
    if !changed.is_empty() {
        let again = record::record(database, batch.id(), &changed, &contents, end, blocked, locked).await?;
        done.recorded += again.recorded;
        done.waiting
            .retain(|id| again.waiting.contains(id) || !changed.iter().any(|(changed, _)| changed == id));
    }
    Ok(done)
}

/// Reports outcomes that another writer has made obsolete.
fn report_stale(context: &Context, batch: BatchId, courses: usize) {
    if courses == 0 {
        return;
    }
    context.reporting.metrics.count_stale_results(u64::try_from(courses).unwrap_or(u64::MAX));
    tracing::error!(event = events::STALE_RESULTS_DISCARDED, %batch, courses, "stale results discarded");
}

/// Logs the courses whose rows cannot be written.
fn log_blocked(batch: &Batch, blocked: &BlockedOutcomes) {
    let name = |id: RowId| match batch.courses().iter().find(|course| course.id == id) {
        Some(course) => course.key.to_string(),
        // A row that cannot be parsed has no key.
        None => format!("row {id}"),
    };
    let keys = first_keys(blocked.outcomes.iter().map(|(id, _)| name(*id)));
    tracing::warn!(
        event = events::ROWS_NOT_WRITABLE,
        batch = %batch.id(),
        courses = blocked.outcomes.len(),
        keys,
        reason = blocked.reason,
        "rows not writable"
    );
}

async fn forced_shutdown_with_grace(context: &Context) {
    context.runtime.shutdown.forced().await;
    tokio::time::sleep(FORCED_SHUTDOWN_GRACE).await;
}

/// Logs the created courses whose outcomes were not recorded before the process ends. Without a unique property, these
/// lines are the only evidence.
pub(crate) fn log_unrecorded(batch: &Batch, transitions: &[(RowId, Transition)]) {
    let keys: HashMap<_, _> = batch.courses().iter().map(|course| (course.id, &course.key)).collect();
    for (id, transition) in transitions {
        if let (Transition::Synced { hubspot_id, .. }, Some(key)) = (transition, keys.get(id)) {
            tracing::error!(
                event = events::CREATED_COURSE_NOT_RECORDED,
                batch = %batch.id(),
                course_key = %key,
                hubspot_id = hubspot_id.as_str(),
                "created course not recorded"
            );
        }
    }
}

/// Counts and logs the outcomes that were recorded.
pub(crate) fn report(
    context: &Context,
    batch: &Batch,
    unfit: &[UnsendableCourse],
    transitions: &[(RowId, Transition)],
) {
    let now = Timestamp::now();
    let courses: HashMap<_, _> = batch.courses().iter().map(|course| (course.id, course)).collect();
    for (id, transition) in transitions {
        let course = courses.get(id);
        let key = course.map(|course| &course.key);
        let key = key.or_else(|| unfit.iter().find(|unfit| unfit.id == *id)?.key.as_ref());
        let delay = course.map(|course| now.duration_since(course.requested_at));
        report_course(context, batch.id(), *id, key, delay, transition);
    }
}

/// Wakes the engine if courses must be sent or looked up again.
pub(crate) fn wake_for_retries(context: &Context, transitions: &[(RowId, Transition)]) {
    if transitions.iter().any(|(_, to)| matches!(to.status(), Status::Pending | Status::Unconfirmed)) {
        context.runtime.wake.notify_completion();
    }
}

/// Counts the outcome of one course and logs a failure. `delay`: the time since its insert.
pub(crate) fn report_course(
    context: &Context,
    batch: BatchId,
    id: RowId,
    key: Option<&CourseKey>,
    delay: Option<SignedDuration>,
    transition: &Transition,
) {
    context.reporting.metrics.count_courses(outcome_of(transition), 1);
    match (transition, delay) {
        (Transition::Synced { .. }, Some(delay)) => {
            context.reporting.metrics.observe_sync_delay(Duration::try_from(delay).unwrap_or_default());
        }
        (Transition::Failed { error } | Transition::Gone { error, .. }, _) => {
            context.reporting.log_limits.log_failed_course(Some(batch), id, key, error);
        }
        (
            Transition::Synced { .. }
            | Transition::Archived { .. }
            | Transition::Pending(_)
            | Transition::Unconfirmed { .. },
            _,
        ) => {}
    }
}

fn outcome_of(transition: &Transition) -> CourseOutcome {
    match transition {
        Transition::Synced { provenance: Provenance::Adopted, .. } => CourseOutcome::Adopted,
        Transition::Synced { provenance: Provenance::Created | Provenance::Confirmed, .. } => {
            CourseOutcome::Synced
        }
        Transition::Synced { provenance: Provenance::Updated | Provenance::Unchanged, .. } => {
            CourseOutcome::Updated
        }
        Transition::Archived { .. } => CourseOutcome::Archived,
        Transition::Failed { .. } | Transition::Gone { .. } => CourseOutcome::Failed,
        Transition::Pending(_) => CourseOutcome::Deferred,
        Transition::Unconfirmed { .. } => CourseOutcome::Unconfirmed,
    }
}
