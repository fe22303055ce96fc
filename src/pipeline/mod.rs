//! The path of one course, one file per stage, in order:
//! claim → batch → send → interpret → transition → record → reconcile. Archives are sent by `archive`, which reads the records
//! before and after.
//!
//! `batch`, `interpret`, `transition` and `reconcile::meaning` are pure. `claim`, `send`, `record` and `reconcile` call
//! `outbox` and `hubspot`, and make no decisions. [`sync_claim`] claims courses, and `sync_batch` calls the other stages in
//! order.

pub(crate) mod account_request;
mod archive;
pub mod batch;
pub(crate) mod claim;
pub mod context;
pub mod interpret;
pub(crate) mod log_limits;
pub mod reconcile;
pub(crate) mod record;
pub(crate) mod send;
pub mod settings;
pub(crate) mod single_rows;
pub mod transition;

use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::account::rate_limiter::ReservedPermit;
use crate::course::Write;
use crate::outbox::record::RequestEnd;
use crate::policy::attribution::Lane;
use crate::telemetry::traces::BatchStep;
use claim::{AssembledCourses, ClaimError, ClaimRequest, ClaimedCourses};
use context::Context;

/// Claims courses for up to as many requests as there are permits, and syncs each batch in a task of its own.
pub(crate) async fn sync_claim(context: Arc<Context>, request: ClaimRequest, permits: Vec<ReservedPermit>) {
    let lane = request.lane;
    let (claimed, lost) = match claim::claim(&context, request).await {
        Ok(claimed) => (claimed, Vec::new()),
        Err(ClaimError::NotClaimed) => (Vec::new(), Vec::new()),
        Err(ClaimError::MayBeClaimed(batches)) => (Vec::new(), batches),
    };
    let mut permits = permits.into_iter();
    let mut batches = JoinSet::new();
    for (claimed, permit) in claimed.into_iter().zip(permits.by_ref()) {
        batches.spawn(sync_batch(Arc::clone(&context), claimed, lane, permit));
    }
    permits.for_each(ReservedPermit::release_unused);
    if !lost.is_empty() {
        claim::withdraw(&context, &lost).await;
    }
    while batches.join_next().await.is_some() {}
}

/// Syncs one batch: sends its courses once, and records the outcome of each.
async fn sync_batch(context: Arc<Context>, claimed: ClaimedCourses, lane: Lane, permit: ReservedPermit) {
    let (held, begin_by, since) = (claimed.held, claimed.begin_by, claimed.since);
    let AssembledCourses { batch, unfit, done } = claimed.assemble(&context.settings, Timestamp::now());
    let span =
        context.reporting.traces.start_batch(batch.id(), held.lease.term, batch.courses().len(), since);
    context.reporting.metrics.observe_rate_limit_wait(permit.waited());

    let response = match batch.write() {
        Write::Create | Write::Update => send::send(&context, begin_by, &batch, lane, permit, &span).await,
        Write::Archive => archive::archive(&context, held, begin_by, &batch, lane, permit, &span).await,
    };
    // Courses that were not sent become pending again, and their transitions are not counted.
    let (mut transitions, end, uncounted, counted) = match response {
        Ok(response) => {
            span.record_outcome(response.interpretation.outcome);
            let verdicts = response.interpretation.verdicts;
            let transitions = send::decide_transitions(&context, &batch, lane, verdicts, response.others);
            (transitions, response.end, 0, response.counted)
        }
        Err(skipped) => {
            skipped.log(&batch);
            let counted = context.runtime.unrecorded.count(batch.courses().len());
            (transition::requeue_unsent(&batch), RequestEnd::NOT_SENT, batch.courses().len(), counted)
        }
    };
    transitions.extend(unfit.iter().map(|unfit| (unfit.id, unfit.transition())));
    transitions.extend(done);

    let recording = span.start_step(BatchStep::Record);
    let blocked = match record::record_until_done(&context, &batch, &transitions, &end).await {
        Ok(blocked) => blocked,
        Err(unrecorded) => return record::log_unrecorded(&batch, &unrecorded),
    };
    // Counted without a gap, or another claim would be made in between.
    let blocked = blocked.map(|blocked| (context.runtime.unrecorded.count(blocked.outcomes.len()), blocked));
    let is_awaited = context.must_record_first();
    drop((counted, recording, span));
    if is_awaited {
        context.runtime.wake.notify_completion();
    }
    let mut recorded = transitions.split_off(uncounted);
    if let Some((_, blocked)) = &blocked {
        recorded.retain(|outcome| !blocked.outcomes.contains(outcome));
    }
    record::report(&context, &batch, &unfit, &recorded);
    record::wake_for_retries(&context, &recorded);
    if uncounted > 0 {
        context.runtime.wake.notify_completion();
    }
    if let Some((counted, blocked)) = blocked {
        let recording = record::record_blocked(Arc::clone(&context), batch, unfit, blocked, end, counted);
        context.runtime.late_recordings.spawn(recording);
    }
}
