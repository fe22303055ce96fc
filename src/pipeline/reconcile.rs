//! Reconciles unconfirmed courses: due → look up → decide → record. Batches are looked up at the same time, and recorded one
//! after the other.
//!
//! `lookup` reads from HubSpot, `meaning` decides, and this file calls them in order and records the result. It runs only
//! while this instance is the leader.

mod lookup;
pub mod meaning;
pub(super) mod read;
pub(crate) mod record_errors;
pub(crate) mod record_meaning;
pub(super) mod records;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;

use self::meaning::{LookupFinding, Settlement, SettlementFacts};
use self::read::ReadEnd;
use crate::config::Unconfirmed;
use crate::course::{BatchId, Category, CourseError, Doubt, MAX_COURSES, RowId, UnconfirmedCourse};
use crate::outbox::OutboxError;
use crate::outbox::evidence;
use crate::outbox::journal;
use crate::outbox::recover::{self, DueLookups, PostponedLookup, SettledCourse};
use crate::pipeline::context::Context;
use crate::pipeline::record as record_stage;
use crate::pipeline::single_rows::{Halves, log_not_writable};
use crate::policy::attribution::Evidence;
use crate::runtime::database_health::DatabaseTask;
use crate::runtime::lease::HeldLease;
use crate::telemetry::events;

/// How far the clocks of HubSpot and the database may differ when records are compared by the time of their creation.
const CLOCK_MARGIN: Duration = Duration::from_mins(1);

/// The largest number of look-ups that are open at once. After a restore, a whole backlog may have to be looked up.
const MAX_LOOKUPS_AT_ONCE: u16 = 8;

/// The courses of one look-up, and how it ended.
type LookedUp = (Vec<UnconfirmedCourse>, Result<ReadEnd<LookupFinding>, OutboxError>);

/// Reconciles a few batches of the unconfirmed courses that are due.
pub(crate) async fn reconcile_due(context: Arc<Context>, held: HeldLease) {
    match reconcile(&context, held).await {
        Ok(()) => context.reporting.database_health.record_success(DatabaseTask::Reconcile),
        Err(error) => context.reporting.database_health.record_failure(DatabaseTask::Reconcile, &error),
    }
}

async fn reconcile(context: &Arc<Context>, held: HeldLease) -> Result<(), OutboxError> {
    let looked_up = look_up_due(context, held).await?;
    let resent = resend_due(context, held).await?;
    let settled = records::settle_due(context, held).await?;
    if looked_up || resent || settled {
        // More courses may be due.
        context.runtime.wake.notify_completion();
    }
    Ok(())
}

/// Looks up courses that are due and settles them. False if none is due or no look-up is possible now.
async fn look_up_due(context: &Arc<Context>, held: HeldLease) -> Result<bool, OutboxError> {
    if !context.account.may_look_up() {
        return Ok(false);
    }
    let DueLookups { mut courses, unreadable } = read_due_lookups(context).await?;
    set_aside(context, &unreadable).await?;
    // A course is looked up by the property with which it was sent, and a look-up uses a single property.
    let Some(property) = courses.first().and_then(|course| course.property.clone()) else {
        return Ok(!unreadable.is_empty());
    };
    courses.retain(|course| course.property.as_deref() == Some(property.as_str()));
    let mut has_progress = false;
    // The results are recorded one after the other: two statements at once could wait for each other's rows.
    for (courses, end) in look_up_all(context, held, &property, courses).await {
        has_progress |= settle_looked_up(context, held, &courses, end?).await?;
    }
    Ok(has_progress)
}

/// Looks up these courses with several requests at once, and returns when all have ended: a request that is cancelled would
/// leave its permit and its journal row open.
async fn look_up_all(
    context: &Arc<Context>,
    held: HeldLease,
    property: &str,
    mut courses: Vec<UnconfirmedCourse>,
) -> Vec<LookedUp> {
    let size = usize::from(context.account.lookup_size()).max(1);
    let mut lookups = JoinSet::new();
    while !courses.is_empty() {
        let rest = courses.split_off(size.min(courses.len()));
        let group = std::mem::replace(&mut courses, rest);
        let (context, property) = (Arc::clone(context), property.to_owned());
        lookups.spawn(async move {
            let end = lookup::look_up(&context, held, &property, &group).await;
            (group, end)
        });
    }
    let mut looked_up = Vec::with_capacity(lookups.len());
    while let Some(ended) = lookups.join_next().await {
        // The courses of a task that panicked are still due.
        looked_up.extend(ended);
    }
    looked_up
}

/// Settles the courses of one look-up. False if no look-up is possible now.
async fn settle_looked_up(
    context: &Context,
    held: HeldLease,
    courses: &[UnconfirmedCourse],
    end: ReadEnd<LookupFinding>,
) -> Result<bool, OutboxError> {
    let findings = match end {
        ReadEnd::Found(findings) => findings,
        ReadEnd::NotPossible => return Ok(false),
        // The courses are still due: the next run looks up fewer of them.
        ReadEnd::Halved(_) => return Ok(true),
        ReadEnd::Failed(why) => {
            postpone_failed_lookups(context, courses, &why).await?;
            return Ok(true);
        }
    };
    let settlements = decide_by_findings(context, courses, &findings).await?;
    record(context, held, courses, settlements).await
}

/// Sends courses again without proof, if duplicates are accepted. False if no course is due.
async fn resend_due(context: &Arc<Context>, held: HeldLease) -> Result<bool, OutboxError> {
    let settings = &context.settings;
    if settings.unique_property.is_some() || settings.unconfirmed == Unconfirmed::Hold {
        return Ok(false);
    }
    let due = recover::due_lookups(&context.edges.database, None, true, MAX_COURSES).await?;
    let DueLookups { courses, unreadable } = due;
    set_aside(context, &unreadable).await?;
    if courses.is_empty() {
        return Ok(!unreadable.is_empty());
    }
    let settlements = decide_without_proof(context, &courses).await?;
    record(context, held, &courses, settlements).await
}

/// The courses that can be looked up now.
async fn read_due_lookups(context: &Context) -> Result<DueLookups, OutboxError> {
    let unique_property = context.settings.unique_property.as_deref();
    let size = context.account.lookup_size();
    // After a failure, a single look-up shows whether smaller ones succeed.
    let lookups = if size < MAX_COURSES { 1 } else { MAX_LOOKUPS_AT_ONCE };
    recover::due_lookups(&context.edges.database, unique_property, false, size.saturating_mul(lookups)).await
}

/// Postpones rows that cannot be read. They stay unconfirmed and show the reason; an operator corrects or resolves them.
async fn set_aside(context: &Context, unreadable: &[(RowId, OutboxError)]) -> Result<(), OutboxError> {
    if unreadable.is_empty() {
        return Ok(());
    }
    let (now, wait) = (Timestamp::now(), context.settings.retry.max_interval);
    let postponed: Vec<_> = unreadable
        .iter()
        .map(|(id, error)| {
            let message = format!(
                "it is not known whether HubSpot created this course, and its row cannot be read: {error}"
            );
            let error = CourseError::new(Category::UnknownOutcome, &message, now);
            PostponedLookup { id: *id, wait, error: Some(error) }
        })
        .collect();
    recover::postpone_lookups(&context.edges.database, &postponed).await
}

/// Decides about each course by what the look-up found.
async fn decide_by_findings(
    context: &Context,
    courses: &[UnconfirmedCourse],
    findings: &[LookupFinding],
) -> Result<Vec<Settlement>, OutboxError> {
    let evidence = load_evidence(context, courses).await?;
    let mut settlements = Vec::with_capacity(courses.len());
    for (course, finding) in courses.iter().zip(findings) {
        let is_taken = is_record_of_another_course(context, course, finding).await?;
        let evidence = evidence.get(&course.batch).copied().unwrap_or_default();
        let facts = settlement_facts(context, evidence, is_taken);
        settlements.push(meaning::settle(course, finding, &context.settings.retry, &facts));
    }
    Ok(settlements)
}

/// Decides about each course where nothing can be proved and duplicates are accepted.
async fn decide_without_proof(
    context: &Context,
    courses: &[UnconfirmedCourse],
) -> Result<Vec<Settlement>, OutboxError> {
    let retry = &context.settings.retry;
    let evidence = load_evidence(context, courses).await?;
    let mut settlements = Vec::with_capacity(courses.len());
    for course in courses {
        let evidence = evidence.get(&course.batch).copied().unwrap_or_default();
        let facts = settlement_facts(context, evidence, false);
        let settlement = meaning::resend_without_proof(course, retry, &facts);
        // `None`: an operator has to decide. Until then the course is checked again at the longest interval.
        settlements.push(settlement.unwrap_or(Settlement::StillUnconfirmed(retry.max_interval)));
    }
    Ok(settlements)
}

/// The evidence about the last requests of the courses whose outcome is unknown.
async fn load_evidence(
    context: &Context,
    courses: &[UnconfirmedCourse],
) -> Result<HashMap<BatchId, Evidence>, OutboxError> {
    let unknown = courses.iter().filter(|course| course.doubt == Doubt::Unknown);
    let mut batches: Vec<BatchId> = unknown.map(|course| course.batch).collect();
    batches.sort_unstable();
    batches.dedup();
    match batches.as_slice() {
        [] => Ok(HashMap::new()),
        batches => evidence::load_evidence(&context.edges.database, batches).await,
    }
}

/// Whether the record with a similar key belongs to another course of the outbox.
async fn is_record_of_another_course(
    context: &Context,
    course: &UnconfirmedCourse,
    finding: &LookupFinding,
) -> Result<bool, OutboxError> {
    let LookupFinding::SimilarKey(record) = finding else { return Ok(false) };
    let Some(created_at) = record.created_at else { return Ok(true) };
    // HubSpot may have created the record at any time while the request was open.
    let reach = context.settings.send_window() + CLOCK_MARGIN;
    evidence::is_record_of_another_course(&context.edges.database, &record.id, created_at, reach, course.id)
        .await
}

fn settlement_facts(context: &Context, evidence: Evidence, is_taken: bool) -> SettlementFacts<'_> {
    SettlementFacts {
        evidence,
        is_taken,
        unique_property: context.settings.unique_property.as_deref(),
        settle: context.settings.settle,
        now: Timestamp::now(),
        jitter: fastrand::f64(),
    }
}

/// Records the settlements, then counts and logs them. False if some were not recorded: these courses are still due, and a
/// look-up at once would not help.
async fn record(
    context: &Context,
    held: HeldLease,
    courses: &[UnconfirmedCourse],
    settlements: Vec<Settlement>,
) -> Result<bool, OutboxError> {
    let (mut settled, mut postponed) = (Vec::<SettledCourse>::new(), Vec::new());
    for (course, settlement) in courses.iter().zip(settlements) {
        match settlement {
            Settlement::Apply(transition) => settled.push((course.id, course.batch, transition)),
            Settlement::StillUnconfirmed(wait) => {
                postponed.push(PostponedLookup { id: course.id, wait, error: None });
            }
            Settlement::Unchanged => {}
        }
    }
    let (recorded, refused) = settle(context, held, courses, &settled).await?;
    settled.retain(|(id, ..)| !refused.contains(id));
    journal::close_settled_batches(&context.edges.database).await?;
    report(context, courses, &settled, recorded);
    if !postponed.is_empty() {
        recover::postpone_lookups(&context.edges.database, &postponed).await?;
    }
    Ok(refused.is_empty() && u64::try_from(settled.len()).is_ok_and(|settled| settled == recorded))
}

/// Settles the courses. Returns how many the database changed, and those whose rows it refuses to write.
async fn settle(
    context: &Context,
    held: HeldLease,
    courses: &[UnconfirmedCourse],
    settled: &[SettledCourse],
) -> Result<(u64, Vec<RowId>), OutboxError> {
    let (mut halves, mut recorded) = (Halves::new(settled), 0);
    while let Some(group) = halves.next_group() {
        match recover::settle_unconfirmed(&context.edges.database, held.lease, group).await {
            Ok(courses) => recorded += courses,
            Err(error) => halves.divide(group, error)?,
        }
    }
    let refused: Vec<RowId> = halves.refused().iter().map(|(id, ..)| *id).collect();
    let keys: Vec<_> =
        courses.iter().filter(|course| refused.contains(&course.id)).map(|it| it.key.as_str()).collect();
    log_not_writable(keys.into_iter(), halves.reason().unwrap_or_default());
    Ok((recorded, refused))
}

/// Counts and logs the settled courses. `recorded`: how many of them the database changed.
fn report(context: &Context, courses: &[UnconfirmedCourse], settled: &[SettledCourse], recorded: u64) {
    // The others changed after they were read: an operator resolved them, or another instance is the leader.
    let stale = u64::try_from(settled.len()).unwrap_or(u64::MAX).saturating_sub(recorded);
    if stale > 0 {
        context.reporting.metrics.count_stale_results(stale);
        tracing::warn!(event = events::STALE_LOOKUPS_DISCARDED, courses = stale, "stale lookups discarded");
    }
    let now = Timestamp::now();
    for (id, batch, transition) in settled {
        let course = courses.iter().find(|course| course.id == *id);
        let key = course.map(|course| &course.key);
        let delay = course.map(|course| now.duration_since(course.created_at));
        record_stage::report_course(context, *batch, *id, key, delay, transition);
    }
}

/// Postpones the look-ups of these courses, each for longer than before. Their rows show the error.
async fn postpone_failed_lookups(
    context: &Context,
    courses: &[UnconfirmedCourse],
    why: &str,
) -> Result<(), OutboxError> {
    let now = Timestamp::now();
    let mut postponed = Vec::with_capacity(courses.len());
    for course in courses {
        let message =
            format!("it is not known whether HubSpot created this course, and looking it up failed: {why}");
        // After a conflict or a refusal, the row keeps HubSpot's error.
        let is_replaced = matches!(course.doubt, Doubt::Unknown | Doubt::Created);
        postponed.push(PostponedLookup {
            id: course.id,
            wait: meaning::next_lookup_after(course, &context.settings.retry, now),
            error: is_replaced.then(|| CourseError::new(Category::UnknownOutcome, &message, now)),
        });
    }
    recover::postpone_lookups(&context.edges.database, &postponed).await
}
