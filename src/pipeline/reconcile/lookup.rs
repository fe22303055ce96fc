//! One look-up: reads unconfirmed courses from HubSpot by their keys, first among the live records, then in the recycle
//! bin.
//!
//! Each read takes a permit and is recorded in the journal before it is sent, so that it counts against the quota even
//! after a takeover. `meaning` interprets the response.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::meaning::{self, LookupFinding, LookupResult};
use crate::account::rate_limiter::Permit;
use crate::course::{BatchId, CourseKey, RowId, UnconfirmedCourse};
use crate::hubspot::api::outcome::RequestOutcome;
use crate::hubspot::api::record_state::RecordState;
use crate::hubspot::api::response::Exchange;
use crate::outbox::OutboxError;
use crate::outbox::journal::{self, ReadPurpose};
use crate::outbox::record::RequestEnd;
use crate::pipeline::context::Context;
use crate::pipeline::{account_request, record as record_stage};
use crate::policy::lookup_size::LookupFailure;
use crate::policy::signal::Signal;
use crate::runtime::lease::HeldLease;
use crate::telemetry::events;
use crate::telemetry::metrics::Operation;

/// How a look-up ended.
pub(super) enum LookupEnd {
    /// One finding per course.
    Found(Vec<LookupFinding>),
    /// Look-ups are paused, the lease has ended, or the shutdown has begun.
    NotPossible,
    /// It failed, and the next look-up contains fewer keys.
    Halved,
    /// The look-up of a single course failed, with this message.
    Failed(String),
}

/// Looks up all courses by this unique property.
pub(super) async fn look_up(
    context: &Arc<Context>,
    held: HeldLease,
    property: &str,
    courses: &[UnconfirmedCourse],
) -> Result<LookupEnd, OutboxError> {
    let all: Vec<&UnconfirmedCourse> = courses.iter().collect();
    let live = match read(context, held, property, &all, RecordState::Live).await? {
        LookupEnd::Found(findings) => findings,
        other => return Ok(other),
    };
    let mut absent = Vec::new();
    for (course, finding) in courses.iter().zip(&live) {
        if *finding == LookupFinding::Absent {
            absent.push(course);
        }
    }
    if absent.is_empty() {
        return Ok(LookupEnd::Found(live));
    }
    // A key that is absent from the live records may belong to a record in the recycle bin.
    let archived = match read(context, held, property, &absent, RecordState::Archived).await? {
        LookupEnd::Found(findings) => findings,
        LookupEnd::Failed(why) if live.len() == 1 => return Ok(LookupEnd::Failed(why)),
        // The findings among the live records are still valid. The absent courses are looked up again.
        LookupEnd::NotPossible | LookupEnd::Halved => vec![LookupFinding::Interrupted; absent.len()],
        LookupEnd::Failed(_) => Vec::new(),
    };
    Ok(LookupEnd::Found(combine(live, archived)))
}

/// Combines the findings among the live records with those in the recycle bin, which concern the absent keys only.
fn combine(live: Vec<LookupFinding>, archived: Vec<LookupFinding>) -> Vec<LookupFinding> {
    let mut archived = archived.into_iter();
    let mut combined = Vec::with_capacity(live.len());
    for finding in live {
        combined.push(match finding {
            LookupFinding::Absent => meaning::combine(LookupFinding::Absent, archived.next()),
            found => found,
        });
    }
    combined
}

/// Reads these courses from the live records or from the recycle bin, with one request.
async fn read(
    context: &Arc<Context>,
    held: HeldLease,
    property: &str,
    courses: &[&UnconfirmedCourse],
    state: RecordState,
) -> Result<LookupEnd, OutboxError> {
    let rows: Vec<RowId> = courses.iter().map(|course| course.id).collect();
    let Some((permit, request)) = prepare_request(context, held, &rows, None).await? else {
        return Ok(LookupEnd::NotPossible);
    };
    let keys: Vec<&CourseKey> = courses.iter().map(|course| &course.key).collect();
    let span = context.reporting.traces.start_lookup(request, keys.len());
    let began = Instant::now();
    let exchange = context.edges.client.read(&keys, property, state).await;
    let took = began.elapsed();
    let result = meaning::interpret_read(&keys, property, state, &exchange);
    context.reporting.metrics.observe_request(Operation::Read, result.outcome, took);
    let failure = context.account.on_lookup_response(keys.len(), &result.signal, exchange.quota(), began);
    // After `on_lookup_response`: a request that gets this permit must find the gate closed if this response closed it.
    context.account.rate_limiter.record_end(permit, &exchange, &result.signal);
    let end = record_stage::request_end(result.outcome, &exchange, None);
    span.record_response(result.outcome, end.http_status, end.correlation_id.as_deref());
    log_lookup(context, request, keys.len(), state, &result, &exchange, took);
    account_request::record_request_end(context, request, end).await;
    Ok(match (failure, result.signal) {
        (None, Signal::Passed | Signal::Judged) => LookupEnd::Found(result.findings),
        (None, Signal::Pause(_) | Signal::Failed(_)) => LookupEnd::NotPossible,
        (Some(LookupFailure::Halved), _) => LookupEnd::Halved,
        (Some(LookupFailure::SetAside | LookupFailure::SetAsideAndPause), signal) => {
            LookupEnd::Failed(failure_message(signal))
        }
    })
}

/// Waits for a permit, unless there is one, and records the read in the journal. `None` if no look-up is possible any more.
pub(super) async fn prepare_request(
    context: &Arc<Context>,
    held: HeldLease,
    rows: &[RowId],
    permit: Option<Permit>,
) -> Result<Option<(Permit, BatchId)>, OutboxError> {
    let permit = match permit {
        Some(permit) => permit,
        None => tokio::select! {
            permit = context.account.rate_limiter.acquire() => permit,
            () = context.runtime.shutdown.begun() => return Ok(None),
        },
    };
    let request = BatchId(uuid::Uuid::now_v7());
    let window = context.settings.send_window();
    let database = &context.edges.database;
    if let Err(error) =
        journal::record_read_start(database, held.lease, request, ReadPurpose::Lookup, rows, window).await
    {
        permit.release_unused();
        return Err(error);
    }
    // While the permit and the journal were waited for, the gate may have closed and the lease may have ended.
    if !held.is_valid() || !context.account.may_look_up() {
        permit.release_unused();
        account_request::record_request_end(context, request, RequestEnd::NOT_SENT).await;
        return Ok(None);
    }
    Ok(Some((permit, request)))
}

pub(super) fn failure_message(signal: Signal) -> String {
    match signal {
        Signal::Failed(incident) | Signal::Pause(incident) => incident.message,
        Signal::Passed | Signal::Judged => String::new(),
    }
}

fn log_lookup(
    context: &Context,
    request: BatchId,
    courses: usize,
    state: RecordState,
    result: &LookupResult,
    exchange: &Exchange,
    took: Duration,
) {
    let outcome = result.outcome.as_str();
    let correlation_id = exchange.meta().and_then(|meta| meta.correlation_id.as_deref());
    match result.outcome {
        RequestOutcome::Ok => {
            tracing::debug!(
                event = events::LOOKUP_COMPLETED,
                batch = %request,
                courses,
                place = ?state,
                outcome,
                ?took,
                correlation_id,
                "lookup completed"
            );
        }
        _ if !context.reporting.log_limits.may_log_request() => {}
        _ => {
            tracing::info!(
                event = events::LOOKUP_FAILED,
                batch = %request,
                courses,
                place = ?state,
                outcome,
                ?took,
                correlation_id,
                "lookup failed"
            );
        }
    }
}
