//! Records the outcome of each course of a batch, and retries until the database has committed it. Then counts and logs
//! it.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::batch::UnsendableCourse;
use super::context::Context;
use crate::course::{Batch, BatchId, CourseKey, Provenance, RowId, Status, Transition};
use crate::hubspot::api::outcome::RequestOutcome;
use crate::hubspot::api::response::{Body, Exchange};
use crate::outbox::record::{self, RequestEnd};
use crate::runtime::database_health::DatabaseTask;
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

/// Records the outcomes, and retries until the database has committed them. False if the shutdown was forced before.
pub(crate) async fn record_until_done(
    context: &Context,
    batch: BatchId,
    transitions: &[(RowId, Transition)],
    end: &RequestEnd,
) -> bool {
    let mut wait = RETRY_WAIT;
    loop {
        let recorded = tokio::select! {
            recorded = record::record(&context.edges.database, batch, transitions, end) => recorded,
            // The process ends. The statement may still commit; its connection is not used again.
            () = forced_shutdown_with_grace(context) => return false,
        };
        match recorded {
            Ok(recorded) => {
                context.reporting.database_health.record_success(DatabaseTask::Record);
                let lost = u64::try_from(transitions.len()).unwrap_or(u64::MAX).saturating_sub(recorded);
                // After a retry, rows that did not change are not stale: the first statement may have changed them.
                if lost > 0 && wait == RETRY_WAIT {
                    context.reporting.metrics.count_stale_results(lost);
                    tracing::error!(
                        event = events::STALE_RESULTS_DISCARDED,
                        %batch,
                        courses = lost,
                        "stale results discarded"
                    );
                }
                return true;
            }
            Err(error) => {
                tracing::debug!(event = events::RESULT_RECORDING_DELAYED, %batch, "result recording delayed");
                context.reporting.database_health.record_failure(DatabaseTask::Record, &error);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY_WAIT_MAX),
            () = context.runtime.shutdown.forced() => return false,
        }
    }
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
        let delay = course.map(|course| now.duration_since(course.created_at));
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
        (Transition::Failed { error }, _) => {
            context.reporting.log_limits.log_failed_course(batch, id, key, error);
        }
        (Transition::Synced { .. } | Transition::Pending(_) | Transition::Unconfirmed { .. }, _) => {}
    }
}

fn outcome_of(transition: &Transition) -> CourseOutcome {
    match transition {
        Transition::Synced { provenance: Provenance::Adopted, .. } => CourseOutcome::Adopted,
        Transition::Synced { provenance: Provenance::Created | Provenance::Confirmed, .. } => {
            CourseOutcome::Synced
        }
        Transition::Failed { .. } => CourseOutcome::Failed,
        Transition::Pending(_) => CourseOutcome::Deferred,
        Transition::Unconfirmed { .. } => CourseOutcome::Unconfirmed,
    }
}
