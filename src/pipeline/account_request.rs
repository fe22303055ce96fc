//! Reads of the account's settings: each takes a permit from the quota, and is recorded in the journal.

use std::sync::Arc;
use std::time::Instant;

use crate::course::BatchId;
use crate::hubspot::api::read::ReadResponse;
use crate::outbox::OutboxError;
use crate::outbox::journal::{self, ReadPurpose};
use crate::outbox::record::RequestEnd;
use crate::pipeline::context::Context;
use crate::pipeline::record;
use crate::policy::read_result::{self, ReadResult};
use crate::policy::signal::Signal;
use crate::runtime::lease::HeldLease;
use crate::runtime::run_in_task;
use crate::telemetry::events;
use crate::telemetry::metrics::Operation;

/// Sends a read of the account's settings. `None`: it was not sent, because the lease had ended or the journal could not be
/// written.
pub(crate) async fn send_account_request<T>(
    context: &Arc<Context>,
    held: HeldLease,
    send: impl AsyncFnOnce(&Context) -> ReadResponse<T>,
) -> Option<ReadResult<T>> {
    let permit = context.account.rate_limiter.acquire().await;
    let request = BatchId(uuid::Uuid::now_v7());
    let recorded = run_in_task(record_request_start(Arc::clone(context), held, request)).await;
    // The lease may have ended while the permit and the journal were waited for.
    if !matches!(recorded, Some(Ok(()))) || !held.is_valid() {
        permit.release_unused();
        return None;
    }
    let began = Instant::now();
    let ReadResponse { value, exchange } = send(context).await;
    let (result, outcome) = read_result::interpret(value, &exchange);
    context.reporting.metrics.observe_request(Operation::Schema, outcome, began.elapsed());
    context.account.observe_quota(&exchange);
    context.account.rate_limiter.record_end(permit, &exchange, &Signal::Passed);
    record_request_end(context, request, record::request_end(outcome, &exchange, None)).await;
    Some(result)
}

async fn record_request_start(
    context: Arc<Context>,
    held: HeldLease,
    request: BatchId,
) -> Result<(), OutboxError> {
    let window = context.settings.send_window();
    let database = &context.edges.database;
    journal::record_read_start(database, held.lease, request, ReadPurpose::Account, &[], window).await
}

/// Records the end of a read in the journal. If that fails, the request counts against the quota for longer after a
/// takeover.
pub(crate) async fn record_request_end(context: &Arc<Context>, request: BatchId, end: RequestEnd) {
    let database = context.edges.database.clone();
    let recorded = run_in_task(async move { journal::record_read_end(&database, request, &end).await }).await;
    if let Some(Err(error)) = recorded {
        tracing::debug!(
            event = events::REQUEST_END_NOT_RECORDED,
            %error,
            %request,
            "request end not recorded"
        );
    }
}
