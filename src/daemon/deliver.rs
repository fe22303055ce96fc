//! One batch: send it once, learn what it means, record it until it is recorded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::Shared;
use super::leader::Deadline;
use super::pace::Reserved;
use super::trouble::Work;
use crate::course::{Again, CourseKey, Provenance, Status, Transition};
use crate::outbox::record::{self, Ending};
use crate::policy::attribution::{Decision, Lane, Sent};
use crate::policy::batch::{Batch, Claimed, RowId, Unfit};
use crate::policy::interpret::{Interpretation, RequestOutcome, Verdict, interpret};
use crate::policy::retry::Sending;
use crate::telemetry::metrics::{CourseOutcome, Operation};
use crate::telemetry::traces::{Span, Step};

/// Why a batch is not sent after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Withheld {
    /// The process stood still between claim and send. Somebody else may lead.
    TooLate,
    /// The gate has closed, or narrowed, since it was claimed.
    GateClosed,
}

/// Sends a batch, unless it is too late to begin or the gate has closed, and records what became of it, together
/// with the courses that could not be sent.
pub(super) async fn deliver(
    shared: Arc<Shared>,
    begin_by: Deadline,
    lane: Lane,
    batch: Batch,
    unfit: Vec<Unfit>,
    permit: Reserved,
    span: Span,
) {
    let courses = batch.courses();
    let (sent, ending) = if courses.is_empty() {
        permit.unused();
        (None, Ending::NOT_SENT)
    } else {
        match send(&shared, begin_by, lane, &batch, permit, &span).await {
            Ok((transitions, ending)) => (Some(transitions), ending),
            Err(why) => {
                let (batch, courses) = (batch.id(), courses.len());
                match why {
                    Withheld::TooLate => tracing::warn!(%batch, courses, "it was too late to send the batch"),
                    Withheld::GateClosed => tracing::debug!(%batch, courses, "a pause holds the batch back"),
                }
                (None, Ending::NOT_SENT)
            }
        }
    };
    // What was not tried goes back, and counts as nothing.
    let untried = if sent.is_some() { 0 } else { courses.len() };
    let back = || courses.iter().map(|course| (course.id, Transition::Pending(Again::NotSent))).collect();
    let mut transitions: Vec<_> = sent.unwrap_or_else(back);
    if let Some(outcome) = ending.outcome {
        span.ended(outcome);
    }
    transitions.extend(unfit.iter().map(|unfit| (unfit.id, unfit.transition())));
    let recording = span.step(Step::Record);
    if !record_surely(&shared, batch.id(), &transitions, &ending).await {
        return leave_receipts(&batch, &transitions);
    }
    drop((recording, span));
    count(&shared, &batch, &unfit, transitions.get(untried..).unwrap_or_default());
    if transitions
        .iter()
        .any(|(_, transition)| matches!(transition.to(), Status::Pending | Status::Unconfirmed))
    {
        shared.wake.complete();
    }
}

async fn send(
    shared: &Shared,
    begin_by: Deadline,
    lane: Lane,
    batch: &Batch,
    permit: Reserved,
    span: &Span,
) -> Result<(Vec<(RowId, Transition)>, Ending), Withheld> {
    let request = shared.client.create(batch);
    let permit = permit.permit().await;
    // The permit was reserved before the claim, and both take their time.
    if begin_by.has_passed() {
        permit.unused();
        return Err(Withheld::TooLate);
    }
    if !shared.account.gate().lets(batch.courses().len()) {
        permit.unused();
        return Err(Withheld::GateClosed);
    }
    let span = span.step(Step::Send);
    shared.metrics.batch(batch.courses().len());
    let began = Instant::now();
    let exchange = request.await;
    let took = began.elapsed();
    let reading = interpret(batch, &exchange, Timestamp::now());
    shared.metrics.request(Operation::Create, reading.outcome, took);
    let sent = Sent { courses: batch.courses().len(), lane, began };
    let decision = shared.account.on_create(sent, &reading, exchange.quota());
    // Only now: whoever gets the permit next must see a gate that this answer closed.
    shared.pace.ended(permit, &exchange, &reading.signal);
    let ending = Ending::of(reading.outcome, &exchange, decision.passed);
    span.answered(reading.outcome, ending.http_status, ending.correlation_id.as_deref());
    tell(shared, batch, &reading, &ending, took);
    Ok((transitions(shared, lane, batch, reading.verdicts, &decision), ending))
}

/// What becomes of each course, by its verdict and by what was decided about the request.
fn transitions(
    shared: &Shared,
    lane: Lane,
    batch: &Batch,
    verdicts: Vec<Verdict>,
    decision: &Decision,
) -> Vec<(RowId, Transition)> {
    let (settle, now) = (shared.settings.settle, Timestamp::now());
    // One draw for all, so that a group that failed together stays together.
    let jitter = fastrand::f64();
    let transition = |(course, verdict): (&Claimed, Verdict)| {
        let sending = Sending {
            company: batch.courses().len(),
            attempts: course.attempts,
            faults: course.faults,
            is_blamed: course.is_blamed,
            may_be_held: course.doubts > 0 && batch.unique_property().is_some(),
            lane,
            others: decision.others,
            settle,
            jitter,
            now,
        };
        (course.id, shared.settings.retry.transition(verdict, &sending))
    };
    batch.courses().iter().zip(verdicts).map(transition).collect()
}

/// One line for each request: quiet where all is well, or is told of each course that failed.
fn tell(shared: &Shared, batch: &Batch, reading: &Interpretation, ending: &Ending, took: Duration) {
    let (id, courses) = (batch.id(), batch.courses().len());
    let correlation_id = ending.correlation_id.as_deref();
    let (status, outcome) = (ending.http_status, reading.outcome.as_str());
    if reading.surplus > 0 {
        let surplus = reading.surplus;
        tracing::error!(batch = %id, surplus, correlation_id, "the answer holds records or errors that belong to no course of the request");
    }
    match reading.outcome {
        RequestOutcome::Ok | RequestOutcome::Partial => {
            tracing::debug!(batch = %id, courses, status, outcome, ?took, correlation_id, "batch sent");
        }
        _ if !shared.allowances.may_tell_request() => {}
        _ => tracing::info!(batch = %id, courses, status, outcome, ?took, correlation_id, "batch sent"),
    }
}

/// How long to wait before a record is tried again.
const RECORD_AGAIN: Duration = Duration::from_millis(250);
const RECORD_AGAIN_MAX: Duration = Duration::from_secs(5);
/// How long a record that is under way may still take once the shutdown is forced.
const LAST_CHANCE: Duration = Duration::from_millis(200);

/// Records until the database answers, or the shutdown is forced: false then.
pub(super) async fn record_surely(
    shared: &Shared,
    batch: Uuid,
    transitions: &[(RowId, Transition)],
    ending: &Ending,
) -> bool {
    let mut wait = RECORD_AGAIN;
    loop {
        let last_chance = async {
            shared.shutdown.forced().await;
            tokio::time::sleep(LAST_CHANCE).await;
        };
        let recorded = tokio::select! {
            recorded = record::record(&shared.database, batch, transitions, ending) => recorded,
            // The process ends. The statement may still do its work; nothing uses its connection again.
            () = last_chance => return false,
        };
        match recorded {
            Ok(recorded) => {
                shared.trouble.is_well(Work::Record);
                let lost = u64::try_from(transitions.len()).unwrap_or(u64::MAX).saturating_sub(recorded);
                // After a failure this may be the second time that the same record is written.
                if lost > 0 && wait == RECORD_AGAIN {
                    shared.metrics.lost_guards(lost);
                    tracing::error!(%batch, lost, "courses were decided by somebody else before their answer came");
                }
                return true;
            }
            Err(error) => {
                tracing::debug!(%batch, "an answer waits to be recorded");
                shared.trouble.failed(Work::Record, &error);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(RECORD_AGAIN_MAX),
            () = shared.shutdown.forced() => return false,
        }
    }
}

/// The database is gone and so are we: what HubSpot created is told once, in the log. Without a
/// unique property these lines are the only evidence.
fn leave_receipts(batch: &Batch, transitions: &[(RowId, Transition)]) {
    let keys: HashMap<_, _> = batch.courses().iter().map(|course| (course.id, &course.key)).collect();
    for (id, transition) in transitions {
        if let (Transition::Synced { hubspot_id, .. }, Some(key)) = (transition, keys.get(id)) {
            tracing::error!(batch = %batch.id(), course_key = %key, hubspot_id = hubspot_id.as_str(), "receipt: created, perhaps not recorded");
        }
    }
}

fn count(shared: &Shared, batch: &Batch, unfit: &[Unfit], transitions: &[(RowId, Transition)]) {
    let now = Timestamp::now();
    let courses: HashMap<_, _> = batch.courses().iter().map(|course| (course.id, course)).collect();
    for (id, transition) in transitions {
        let course = courses.get(id);
        let key = course.map(|course| &course.key);
        let key = key.or_else(|| unfit.iter().find(|unfit| unfit.id == *id)?.key.as_ref());
        let delay = course.map(|course| now.duration_since(course.created_at));
        tell_course(shared, batch.id(), *id, key, delay, transition);
    }
}

/// Counts what became of one course, `delay` after its insert, and tells of its failure.
pub(super) fn tell_course(
    shared: &Shared,
    batch: Uuid,
    id: RowId,
    key: Option<&CourseKey>,
    delay: Option<SignedDuration>,
    transition: &Transition,
) {
    shared.metrics.courses(outcome(transition), 1);
    match (transition, delay) {
        (Transition::Synced { .. }, Some(delay)) => {
            shared.metrics.sync_delay(Duration::try_from(delay).unwrap_or_default());
        }
        (Transition::Failed { error }, _) => shared.allowances.failed(batch, id, key, error),
        (Transition::Synced { .. } | Transition::Pending(_) | Transition::Unconfirmed { .. }, _) => {}
    }
}

/// What a transition counts as.
fn outcome(transition: &Transition) -> CourseOutcome {
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
