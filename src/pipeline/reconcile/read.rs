//! One read request: permit → journal → send → account → journal. `lookup` reads by key and `records` by id; each interprets
//! its own responses.
//!
//! The journal records a read before it is sent, so that it counts against the quota even after a takeover.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::meaning::ReadMeaning;
use crate::account::rate_limiter::Permit;
use crate::course::{BatchId, RowId};
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

/// How a read ended.
pub(in crate::pipeline) enum ReadEnd<F> {
    /// One finding per course.
    Found(Vec<F>),
    /// Reads are paused, the lease has ended, or the shutdown has begun.
    NotPossible,
    /// It failed with this message, and the next read contains fewer courses.
    Halved(String),
    /// The read of a single course failed, with this message.
    Failed(String),
}

/// Sends `request`, which reads these courses from the live records or from the recycle bin. `permit`: one that is usable, if
/// there is one already.
pub(super) async fn read<F>(
    context: &Arc<Context>,
    held: HeldLease,
    rows: &[RowId],
    state: RecordState,
    permit: Option<Permit>,
    request: impl Future<Output = Exchange>,
    interpret: impl FnOnce(&Exchange) -> ReadMeaning<F>,
) -> Result<ReadEnd<F>, OutboxError> {
    let Some((permit, id)) = prepare(context, held, rows, permit).await? else {
        return Ok(ReadEnd::NotPossible);
    };
    let span = context.reporting.traces.start_lookup(id, rows.len());
    let began = Instant::now();
    let exchange = request.await;
    let took = began.elapsed();
    let ReadMeaning { findings, signal, outcome } = interpret(&exchange);
    context.reporting.metrics.observe_request(Operation::Read, outcome, took);
    let failure = context.account.on_lookup_response(rows.len(), &signal, exchange.quota(), began);
    // After `on_lookup_response`: a request that gets this permit must find the gate closed if this response closed it.
    context.account.rate_limiter.record_end(permit, &exchange, &signal);
    let end = record_stage::request_end(outcome, &exchange, None);
    span.record_response(outcome, end.http_status, end.correlation_id.as_deref());
    log(context, id, rows.len(), state, outcome, &end, took);
    account_request::record_request_end(context, id, end).await;
    Ok(match (failure, signal) {
        (None, Signal::Passed | Signal::Judged) => ReadEnd::Found(findings),
        (None, Signal::Pause(_) | Signal::Failed(_)) => ReadEnd::NotPossible,
        (Some(LookupFailure::Halved), signal) => ReadEnd::Halved(failure_message(signal)),
        (Some(LookupFailure::SetAside | LookupFailure::SetAsideAndPause), signal) => {
            ReadEnd::Failed(failure_message(signal))
        }
    })
}

/// Waits for a permit, unless there is one, and records the read in the journal. `None` if no read is possible any more.
async fn prepare(
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

fn failure_message(signal: Signal) -> String {
    match signal {
        Signal::Failed(incident) | Signal::Pause(incident) => incident.message,
        Signal::Passed | Signal::Judged => String::new(),
    }
}

fn log(
    context: &Context,
    request: BatchId,
    courses: usize,
    state: RecordState,
    outcome: RequestOutcome,
    end: &RequestEnd,
    took: Duration,
) {
    let correlation_id = end.correlation_id.as_deref();
    let is_ok = outcome == RequestOutcome::Ok;
    let outcome = outcome.as_str();
    if is_ok {
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
    } else if context.reporting.log_limits.may_log_request() {
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
