//! Records of known ids: reads them, and settles the courses of which it is not known what their records hold.
//!
//! `record_meaning` decides; this file reads from HubSpot and records the result.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::read::ReadEnd;
use super::record_meaning::{self, Facts, RecordFinding, Whereabouts, interpret_records, whereabouts};
use crate::account::rate_limiter::Permit;
use crate::course::{HubSpotId, RowId};
use crate::hubspot::api::record_state::RecordState;
use crate::outbox::OutboxError;
use crate::outbox::changes::{self, ChangeSettlement, UncertainRecord};
use crate::outbox::journal;
use crate::outbox::recover::{self, PostponedLookup};
use crate::pipeline::context::Context;
use crate::pipeline::single_rows::{Halves, log_not_writable};
use crate::runtime::lease::HeldLease;
use crate::telemetry::events;
use crate::telemetry::metrics::CourseOutcome;

/// The most records of a run that are read on their own.
const SINGLE_READS: usize = 5;

/// Reads these records with one request, from the live ones or from the recycle bin. `permit`: one that is usable, if there is
/// one already.
pub(in crate::pipeline) async fn read(
    context: &Arc<Context>,
    held: HeldLease,
    records: &[(RowId, &HubSpotId)],
    properties: &[&str],
    state: RecordState,
    permit: Option<Permit>,
) -> Result<ReadEnd<RecordFinding>, OutboxError> {
    let (rows, ids): (Vec<RowId>, Vec<&HubSpotId>) = records.iter().copied().unzip();
    let mut names = vec![record_meaning::MERGED_IDS];
    names.extend(properties);
    let request = context.edges.client.read_records(&ids, &names, state);
    super::read::read(context, held, &rows, state, permit, request, |exchange| {
        interpret_records(&ids, exchange)
    })
    .await
}

/// Reads the records that are due and settles their courses. False if none is due or no read is possible now.
pub(super) async fn settle_due(context: &Arc<Context>, held: HeldLease) -> Result<bool, OutboxError> {
    if !context.account.may_look_up() {
        return Ok(false);
    }
    let (due, invalid) = changes::due_records(&context.edges.database, context.account.lookup_size()).await?;
    if !invalid.is_empty() {
        // They must not take the places of others.
        let wait = context.settings.retry.max_interval;
        let postponed: Vec<_> =
            invalid.into_iter().map(|id| PostponedLookup { id, wait, error: None }).collect();
        recover::postpone_lookups(&context.edges.database, &postponed).await?;
    }
    if due.is_empty() {
        return Ok(false);
    }
    let found = match find(context, held, &due).await? {
        Found::Whereabouts(found) => found,
        Found::NotPossible => return Ok(false),
        // The records are still due: the next run reads fewer of them.
        Found::Halved => return Ok(true),
        Found::Failed(why) => vec![Whereabouts::Unknown(Some(why)); due.len()],
    };
    let facts = Facts {
        settle: context.settings.settle,
        retry: &context.settings.retry,
        jitter: fastrand::f64(),
        now: Timestamp::now(),
    };
    let settled: Vec<(&UncertainRecord, ChangeSettlement)> = (due.iter().zip(&found))
        .map(|(record, found)| (record, record_meaning::settle(record, found, &facts)))
        .collect();
    let changed = record(context, held, &settled).await?;
    journal::close_settled_batches(&context.edges.database).await?;
    report(context, &settled, &changed);
    Ok(!changed.is_empty())
}

/// How the reads of the due records ended.
enum Found {
    /// One per record.
    Whereabouts(Vec<Whereabouts>),
    NotPossible,
    Halved,
    Failed(String),
}

/// Reads the records from the live ones, and those that are not there from the recycle bin.
async fn find(
    context: &Arc<Context>,
    held: HeldLease,
    due: &[UncertainRecord],
) -> Result<Found, OutboxError> {
    let names: BTreeSet<&str> = due.iter().flat_map(record_meaning::names).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let records: Vec<(RowId, &HubSpotId)> =
        due.iter().map(|record| (record.id, &record.hubspot_id)).collect();
    let mut live = match read(context, held, &records, &names, RecordState::Live, None).await? {
        ReadEnd::Found(live) => live,
        ReadEnd::NotPossible => return Ok(Found::NotPossible),
        ReadEnd::Halved(_) => return Ok(Found::Halved),
        ReadEnd::Failed(why) => return Ok(Found::Failed(why)),
    };
    read_single_records(context, held, &records, &names, &mut live).await?;
    let mut absent = Vec::new();
    for (record, finding) in records.iter().zip(&live) {
        if *finding == RecordFinding::Absent {
            absent.push(*record);
        }
    }
    let mut archived = Vec::new();
    if !absent.is_empty()
        && let ReadEnd::Found(findings) =
            read(context, held, &absent, &[], RecordState::Archived, None).await?
    {
        archived = findings;
    }
    // Without the second read, nothing is known about the records that are not live.
    let mut archived = archived.into_iter();
    let combine = |live| {
        let archived = if live == RecordFinding::Absent { archived.next() } else { None };
        whereabouts(live, archived)
    };
    Ok(Found::Whereabouts(live.into_iter().map(combine).collect()))
}

/// Reads records on their own about which the response showed nothing. A record that was merged shows up as another one, which
/// only the response to a single id proves if the other one does not name it.
async fn read_single_records(
    context: &Arc<Context>,
    held: HeldLease,
    records: &[(RowId, &HubSpotId)],
    names: &[&str],
    live: &mut [RecordFinding],
) -> Result<(), OutboxError> {
    if records.len() < 2 {
        return Ok(());
    }
    let unclear = records.iter().zip(live).filter(|(_, finding)| **finding == RecordFinding::Inconclusive);
    for (record, finding) in unclear.take(SINGLE_READS) {
        let end = read(context, held, std::slice::from_ref(record), names, RecordState::Live, None).await?;
        let ReadEnd::Found(found) = end else { return Ok(()) };
        if let Some(found) = found.into_iter().next() {
            *finding = found;
        }
    }
    Ok(())
}

/// Records the settlements. Returns the rows that were changed.
async fn record(
    context: &Context,
    held: HeldLease,
    settled: &[(&UncertainRecord, ChangeSettlement)],
) -> Result<Vec<RowId>, OutboxError> {
    let (mut halves, mut changed) = (Halves::new(settled), Vec::new());
    while let Some(group) = halves.next_group() {
        match changes::settle_changes(&context.edges.database, held.lease, group).await {
            Ok(rows) => changed.extend(rows),
            Err(error) => halves.divide(group, error)?,
        }
    }
    let refused = halves.refused().iter().map(|(record, _)| record.key.as_str());
    log_not_writable(refused, halves.reason().unwrap_or_default());
    Ok(changed)
}

/// Counts and logs the settlements that were recorded.
fn report(context: &Context, settled: &[(&UncertainRecord, ChangeSettlement)], changed: &[RowId]) {
    for (record, settlement) in settled.iter().filter(|(record, _)| changed.contains(&record.id)) {
        let outcome = match settlement {
            ChangeSettlement::Synced { .. } => CourseOutcome::Updated,
            ChangeSettlement::Archived(_) | ChangeSettlement::ArchivedBefore => CourseOutcome::Archived,
            ChangeSettlement::Resend { .. } => CourseOutcome::Deferred,
            ChangeSettlement::Failed(error) => {
                let batch = record.request();
                context.reporting.log_limits.log_failed_course(batch, record.id, Some(&record.key), error);
                CourseOutcome::Failed
            }
            ChangeSettlement::Repair(_) => {
                tracing::warn!(
                    event = events::RECORD_REPAIRED,
                    course_key = %record.key,
                    hubspot_id = record.hubspot_id.as_str(),
                    "record repaired"
                );
                CourseOutcome::Deferred
            }
            ChangeSettlement::Checked | ChangeSettlement::Postponed(..) => continue,
        };
        context.reporting.metrics.count_courses(outcome, 1);
    }
}
