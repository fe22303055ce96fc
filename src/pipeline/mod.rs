//! The path of one course, one file per stage, in order:
//! claim → batch → send → interpret → transition → record → reconcile.
//!
//! `batch`, `interpret`, `transition` and `reconcile::meaning` are pure. `claim`, `send`, `record` and `reconcile` call
//! `outbox` and `hubspot`, and make no decisions. [`sync_batch`] calls the stages in order.

pub(crate) mod account_request;
pub mod batch;
pub(crate) mod claim;
pub mod context;
pub mod interpret;
pub(crate) mod log_limits;
pub mod reconcile;
pub(crate) mod record;
pub(crate) mod send;
pub mod settings;
pub mod transition;

use std::sync::Arc;

use jiff::Timestamp;

use crate::account::rate_limiter::ReservedPermit;
use crate::outbox::record::RequestEnd;
use crate::telemetry::traces::BatchStep;
use claim::{ClaimError, ClaimRequest};
use context::Context;

/// Syncs one batch: claims courses, sends them once, and records the outcome of each.
pub(crate) async fn sync_batch(context: Arc<Context>, request: ClaimRequest, permit: ReservedPermit) {
    let lane = request.lane;
    let claimed = match claim::claim(&context, request).await {
        Ok(claimed) => claimed,
        Err(error) => {
            permit.release_unused();
            if let ClaimError::MayBeClaimed(batch) = error {
                claim::withdraw(&context, batch).await;
            }
            return;
        }
    };
    if claimed.is_empty() {
        return permit.release_unused();
    }
    let (term, begin_by, since) = (claimed.term, claimed.begin_by, claimed.since);
    let (batch, unfit) = claimed.assemble(&context.settings, Timestamp::now());
    let span = context.reporting.traces.start_batch(batch.id(), term, batch.courses().len(), since);
    context.reporting.metrics.observe_rate_limit_wait(permit.waited());

    let response = send::send(&context, begin_by, &batch, lane, permit, &span).await;
    // Courses that were not sent become pending again, and their transitions are not counted.
    let (mut transitions, end, uncounted) = match response {
        Ok(response) => {
            span.record_outcome(response.interpretation.outcome);
            let verdicts = response.interpretation.verdicts;
            (send::decide_transitions(&context, &batch, lane, verdicts, response.others), response.end, 0)
        }
        Err(skipped) => {
            skipped.log(&batch);
            (transition::requeue_unsent(&batch), RequestEnd::NOT_SENT, batch.courses().len())
        }
    };
    transitions.extend(unfit.iter().map(|unfit| (unfit.id, unfit.transition())));

    let recording = span.start_step(BatchStep::Record);
    if !record::record_until_done(&context, batch.id(), &transitions, &end).await {
        return record::log_unrecorded(&batch, &transitions);
    }
    drop((recording, span));
    record::report(&context, &batch, &unfit, transitions.get(uncounted..).unwrap_or_default());
    record::wake_for_retries(&context, &transitions);
}
