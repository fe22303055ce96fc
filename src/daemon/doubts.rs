//! Courses in doubt: looks them up in HubSpot and settles them, one batch at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use super::leader::Held;
use super::trouble::Work;
use super::{Shared, deliver};
use crate::config::Unconfirmed;
use crate::outbox::OutboxError;
use crate::outbox::recover::{self, Settled};
use crate::policy::batch::{MAX_COURSES, RowId};
use crate::policy::interpret::{RequestOutcome, Signal};
use crate::policy::pause::Gate;
use crate::policy::reconcile::{self, Doubted, Finding, Place};
use crate::telemetry::metrics::Operation;

/// The shortest time between two looks at a course of which HubSpot's answer says nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Settles the doubts that are due, as far as HubSpot's answers allow.
pub(super) async fn settle_due(shared: Arc<Shared>, held: Held) {
    match settle(&shared, held).await {
        Ok(()) => shared.trouble.is_well(Work::Settle),
        Err(error) => shared.trouble.failed(Work::Settle, &error),
    }
}

async fn settle(shared: &Shared, held: Held) -> Result<(), OutboxError> {
    let settings = &shared.settings;
    if settings.unique_property.is_none() && settings.unconfirmed == Unconfirmed::Hold {
        return Ok(());
    }
    let doubted = recover::due(&shared.database, settings.unique_property.as_deref(), MAX_COURSES).await?;
    if doubted.is_empty() {
        return Ok(());
    }
    let findings = match &settings.unique_property {
        Some(unique) => match look_up(shared, held, unique, &doubted).await? {
            Some(findings) => Some(findings),
            None => return Ok(()),
        },
        None => None,
    };
    let settled = decide(shared, &doubted, findings.as_deref()).await?;
    record(shared, held, &doubted, &settled).await?;
    // More may be due.
    shared.wake.complete();
    Ok(())
}

/// Asks HubSpot for all of them: its live records, then its recycle bin for those not found.
/// `None`: HubSpot is not to be asked now.
async fn look_up(
    shared: &Shared,
    held: Held,
    unique: &str,
    doubted: &[Doubted],
) -> Result<Option<Vec<Finding>>, OutboxError> {
    let Some(live) = read(shared, held, unique, doubted, Place::Live).await? else { return Ok(None) };
    let absent: Vec<Doubted> = doubted
        .iter()
        .zip(&live)
        .filter(|(_, finding)| **finding == Finding::Absent)
        .map(|(course, _)| course.clone())
        .collect();
    let archived = match absent.as_slice() {
        [] => Vec::new(),
        absent => read(shared, held, unique, absent, Place::Archived).await?.unwrap_or_default(),
    };
    let mut archived = archived.into_iter();
    let combined = live.into_iter().map(|finding| match finding {
        Finding::Absent => reconcile::combined(Finding::Absent, archived.next()),
        other => other,
    });
    Ok(Some(combined.collect()))
}

async fn read(
    shared: &Shared,
    held: Held,
    unique: &str,
    doubted: &[Doubted],
    place: Place,
) -> Result<Option<Vec<Finding>>, OutboxError> {
    let permit = tokio::select! {
        permit = shared.pace.permit() => permit,
        () = shared.shutdown.begun() => return Ok(None),
    };
    let request = Uuid::now_v7();
    let rows: Vec<RowId> = doubted.iter().map(|course| course.id).collect();
    if let Err(error) =
        recover::note_read(&shared.database, held.lease, request, &rows, shared.settings.send_window()).await
    {
        permit.unused();
        return Err(error);
    }
    // While the permit and the note were waited for, the gate may have closed and the lease ended.
    if !held.is_valid() || matches!(shared.account.gate(), Gate::Closed(_)) {
        permit.unused();
        return Ok(None);
    }
    let span = shared.traces.look_up(request, doubted.len());
    let began = Instant::now();
    let exchange = shared.client.read(doubted, unique, place).await;
    let took = began.elapsed();
    let reading = reconcile::interpret_read(doubted, unique, &exchange);
    shared.metrics.request(Operation::Read, reading.outcome, took);
    shared.account.heard(&reading.signal, exchange.quota(), began);
    // Only now: whoever gets the permit next must see a gate that this answer closed.
    shared.pace.ended(permit, &exchange, &reading.signal);
    let (courses, outcome) = (doubted.len(), reading.outcome.as_str());
    let meta = exchange.meta();
    let correlation_id = meta.and_then(|meta| meta.correlation_id.as_deref());
    span.answered(reading.outcome, meta.map(|meta| meta.status), correlation_id);
    match reading.outcome {
        RequestOutcome::Ok => {
            tracing::debug!(batch = %request, courses, ?place, outcome, ?took, correlation_id, "doubts looked up");
        }
        _ if !shared.allowances.may_tell_request() => {}
        _ => {
            tracing::info!(batch = %request, courses, ?place, outcome, ?took, correlation_id, "doubts looked up");
        }
    }
    Ok((reading.signal == Signal::Reachable).then_some(reading.findings))
}

/// Decides by what was found, or without it where HubSpot cannot be asked.
async fn decide(
    shared: &Shared,
    doubted: &[Doubted],
    findings: Option<&[Finding]>,
) -> Result<Vec<Settled>, OutboxError> {
    let mut failed_at: Vec<Uuid> =
        doubted.iter().filter(|course| reconcile::may_be_poison(course)).map(|course| course.batch).collect();
    failed_at.sort_unstable();
    failed_at.dedup();
    let neighbours = match failed_at.as_slice() {
        [] => HashMap::new(),
        batches => recover::neighbours(&shared.database, batches).await?,
    };
    let (now, policy) = (Timestamp::now(), &shared.settings.retry);
    let decide = |(position, course): (usize, &Doubted)| {
        let neighbours = neighbours.get(&course.batch).copied().unwrap_or_default();
        let to = match findings {
            Some(findings) => {
                reconcile::settle(course, findings.get(position)?, neighbours, policy, now, fastrand::f64())
            }
            None => reconcile::resend_blindly(course, neighbours, policy, now, fastrand::f64()),
        };
        Some((course.id, course.batch, to?))
    };
    Ok(doubted.iter().enumerate().filter_map(decide).collect())
}

async fn record(
    shared: &Shared,
    held: Held,
    doubted: &[Doubted],
    settled: &[Settled],
) -> Result<(), OutboxError> {
    let recorded = recover::settle(&shared.database, held.lease, settled).await?;
    recover::close(&shared.database).await?;
    let lost = u64::try_from(settled.len()).unwrap_or(u64::MAX).saturating_sub(recorded);
    if lost > 0 {
        shared.metrics.lost_guards(lost);
        tracing::warn!(lost, "doubts were settled by somebody else meanwhile");
    }
    let now = Timestamp::now();
    for (id, batch, to) in settled {
        let course = doubted.iter().find(|course| course.id == *id);
        let key = course.map(|course| &course.key);
        let delay = course.map(|course| now.duration_since(course.created_at));
        deliver::tell_course(shared, *batch, *id, key, delay, to);
    }
    let unclear: Vec<RowId> = doubted
        .iter()
        .map(|course| course.id)
        .filter(|id| settled.iter().all(|(settled, ..)| settled != id))
        .collect();
    if !unclear.is_empty() {
        // A doubt that no answer settles must not eat the quota, however short it may rest.
        let wait = shared.settings.settle.max(LOOK_AGAIN);
        recover::look_later(&shared.database, &unclear, wait).await?;
    }
    Ok(())
}
