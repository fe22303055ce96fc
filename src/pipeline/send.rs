//! Sends a batch once, and applies the response to the account (pauses, quota, evidence).

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::context::Context;
use super::interpret::interpret;
use super::record::request_end;
use super::transition::{self, RequestFacts};
use crate::account::rate_limiter::{Permit, ReservedPermit};
use crate::course::{Batch, RowId, Transition, Verdict};
use crate::hubspot::api::outcome::RequestOutcome;
use crate::hubspot::api::response::Exchange;
use crate::outbox::record::RequestEnd;
use crate::policy::attribution::{Lane, OtherRequests, SentRequest};
use crate::policy::signal::Interpretation;
use crate::runtime::lease::Deadline;
use crate::runtime::unrecorded::Recording;
use crate::telemetry::events;
use crate::telemetry::traces::{BatchStep, Span};

/// Why a claimed batch was not sent. Its courses become pending again, and no attempt is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendSkipped {
    /// No course of the claim can be sent.
    Empty,
    /// Too much time has passed since the claim: another instance may be the leader.
    DeadlineMissed,
    /// Since the claim, the gate has closed or has been limited to fewer courses.
    GateClosed,
}

/// What the response to a request means.
#[derive(Debug)]
pub(crate) struct Response {
    pub interpretation: Interpretation,
    /// The results of other requests, which decide about the courses of a failed request.
    pub others: OtherRequests,
    /// What the journal stores about the request.
    pub end: RequestEnd,
    /// Its outcomes wait to be recorded.
    pub counted: Recording,
}

/// Sends the batch, unless the deadline has passed or the gate has closed.
pub(crate) async fn send(
    context: &Context,
    begin_by: Deadline,
    batch: &Batch,
    lane: Lane,
    permit: ReservedPermit,
    span: &Span,
) -> Result<Response, SendSkipped> {
    let courses = batch.courses().len();
    if courses == 0 {
        permit.release_unused();
        return Err(SendSkipped::Empty);
    }
    let request = context.edges.client.write(batch);
    let permit = permit.wait_until_usable().await;
    // The permit was reserved before the claim, and both take time. So deadline and gate are checked again.
    if let Err(skipped) = check_may_send(context, begin_by, courses) {
        permit.release_unused();
        return Err(skipped);
    }
    Ok(send_with_permit(context, batch, lane, request, permit, span).await)
}

/// Sends the prepared request of a batch. The caller has just checked that it may be sent.
pub(super) async fn send_with_permit(
    context: &Context,
    batch: &Batch,
    lane: Lane,
    request: impl Future<Output = Exchange>,
    permit: Permit,
    span: &Span,
) -> Response {
    let courses = batch.courses().len();
    let span = span.start_step(BatchStep::Send);
    context.reporting.metrics.observe_batch(courses);
    let began = Instant::now();
    let exchange = request.await;
    let took = began.elapsed();
    let interpretation = interpret(batch, &exchange, Timestamp::now());
    context.reporting.metrics.observe_request(batch.write().into(), interpretation.outcome, took);
    let sent = SentRequest { courses, lane, began };
    let decision = context.account.on_write_response(sent, &interpretation, exchange.quota());
    // Both before the permit is returned: a claim that gets it must find these courses counted, and the gate closed if this
    // response closed it.
    let counted = context.runtime.unrecorded.count(courses);
    context.account.rate_limiter.record_end(permit, &exchange, &interpretation.signal);
    let end = request_end(interpretation.outcome, &exchange, decision.passed);
    span.record_response(interpretation.outcome, end.http_status, end.correlation_id.as_deref());
    log_request(context, batch, &interpretation, &end, took);
    Response { interpretation, others: decision.others, end, counted }
}

pub(super) fn check_may_send(
    context: &Context,
    begin_by: Deadline,
    courses: usize,
) -> Result<(), SendSkipped> {
    if begin_by.has_passed() {
        Err(SendSkipped::DeadlineMissed)
    } else if !context.account.gate().permits(courses) {
        Err(SendSkipped::GateClosed)
    } else {
        Ok(())
    }
}

/// Decides the next state of each course by its verdict and the results of other requests.
pub(crate) fn decide_transitions(
    context: &Context,
    batch: &Batch,
    lane: Lane,
    verdicts: Vec<Verdict>,
    others: OtherRequests,
) -> Vec<(RowId, Transition)> {
    let facts = RequestFacts {
        lane,
        others,
        settle: context.settings.settle,
        // The same jitter for all courses, so that courses that failed together are sent again together.
        jitter: fastrand::f64(),
        now: Timestamp::now(),
    };
    transition::decide_transitions(&context.settings.retry, batch, verdicts, &facts)
}

impl SendSkipped {
    /// Logs why the batch was not sent.
    pub fn log(self, batch: &Batch) {
        let (courses, batch) = (batch.courses().len(), batch.id());
        match self {
            Self::Empty => {}
            Self::DeadlineMissed => {
                tracing::warn!(event = events::SEND_DEADLINE_MISSED, %batch, courses, "send deadline missed");
            }
            Self::GateClosed => tracing::debug!(event = events::BATCH_HELD, %batch, courses, "batch held"),
        }
    }
}

/// Logs one line per request: at `debug` if HubSpot judged the courses, since each failed course has a line of its own.
fn log_request(
    context: &Context,
    batch: &Batch,
    interpretation: &Interpretation,
    end: &RequestEnd,
    took: Duration,
) {
    let (id, courses) = (batch.id(), batch.courses().len());
    let correlation_id = end.correlation_id.as_deref();
    let (status, outcome) = (end.http_status, interpretation.outcome.as_str());
    // A record that belongs to no course of the batch may be a duplicate, so this is an error whatever the outcome.
    if interpretation.surplus > 0 {
        let surplus = interpretation.surplus;
        tracing::error!(
            event = events::UNMATCHED_RESULTS_RECEIVED,
            batch = %id,
            surplus,
            correlation_id,
            "unmatched results received"
        );
    }
    match interpretation.outcome {
        RequestOutcome::Ok | RequestOutcome::Partial => {
            tracing::debug!(
                event = events::BATCH_SENT,
                batch = %id,
                courses,
                status,
                outcome,
                ?took,
                correlation_id,
                "batch sent"
            );
        }
        // During an outage every request fails, so only some of these lines are logged.
        _ if !context.reporting.log_limits.may_log_request() => {}
        _ => tracing::info!(
            event = events::BATCH_REQUEST_FAILED,
            batch = %id,
            courses,
            status,
            outcome,
            ?took,
            correlation_id,
            "batch request failed"
        ),
    }
}
