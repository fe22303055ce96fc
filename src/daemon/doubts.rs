//! Courses in doubt: looks them up in HubSpot and settles them, one batch at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use uuid::Uuid;

use super::leader::Held;
use super::trouble::Work;
use super::{Shared, deliver, question};
use crate::config::Unconfirmed;
use crate::course::{Category, CourseError, CourseKey, Doubt};
use crate::outbox::OutboxError;
use crate::outbox::record::Ending;
use crate::outbox::recover::{self, Question, Remaining, Settled};
use crate::policy::answer::Exchange;
use crate::policy::attribution::Evidence;
use crate::policy::batch::{MAX_COURSES, RowId};
use crate::policy::interpret::{RequestOutcome, Signal};
use crate::policy::lookup::Failure;
use crate::policy::reconcile::{self, Context, Doubted, Finding, Place, Reading, Settlement};
use crate::telemetry::metrics::Operation;

/// Settles the doubts that are due, as far as HubSpot's answers allow.
pub(super) async fn settle_due(shared: Arc<Shared>, held: Held) {
    match settle(&shared, held).await {
        Ok(()) => shared.trouble.is_well(Work::Settle),
        Err(error) => shared.trouble.failed(Work::Settle, &error),
    }
}

async fn settle(shared: &Arc<Shared>, held: Held) -> Result<(), OutboxError> {
    let looked_up = look_up_due(shared, held).await?;
    let resent = resend_due(shared, held).await?;
    if looked_up || resent {
        // More may be due.
        shared.wake.complete();
    }
    Ok(())
}

/// Looks up what is due. False where nothing was, or HubSpot is not to be asked now.
async fn look_up_due(shared: &Arc<Shared>, held: Held) -> Result<bool, OutboxError> {
    if !shared.account.lets_look_up() {
        return Ok(false);
    }
    let (settings, size) = (&shared.settings, shared.account.look_up_size());
    let mut doubted =
        recover::due(&shared.database, settings.unique_property.as_deref(), false, size).await?;
    // One look-up asks by one property: the one that its courses were sent with.
    let Some(property) = doubted.first().and_then(|course| course.property.clone()) else { return Ok(false) };
    doubted.retain(|course| course.property.as_deref() == Some(property.as_str()));
    let findings = match look_up(shared, held, &property, &doubted).await? {
        LookedUp::Found(findings) => findings,
        LookedUp::Not => return Ok(false),
        LookedUp::Failed(why) => {
            set_aside(shared, &doubted, &why).await?;
            return Ok(true);
        }
        LookedUp::Halved => return Ok(true),
    };
    let decided = decide(shared, &doubted, &findings).await?;
    record(shared, held, &doubted, decided).await?;
    Ok(true)
}

/// Sends again what nothing can prove anything about, where duplicates are accepted.
async fn resend_due(shared: &Arc<Shared>, held: Held) -> Result<bool, OutboxError> {
    let settings = &shared.settings;
    if settings.unique_property.is_some() || settings.unconfirmed == Unconfirmed::Hold {
        return Ok(false);
    }
    let doubted = recover::due(&shared.database, None, true, MAX_COURSES).await?;
    if doubted.is_empty() {
        return Ok(false);
    }
    let evidence = evidence(shared, &doubted).await?;
    let decide = |course: &Doubted| {
        let context = context(shared, evidence.get(&course.batch).copied().unwrap_or_default(), false);
        let held_for_an_operator = || Settlement::Remains(settings.retry.max_interval);
        course.resend_blindly(&settings.retry, &context).unwrap_or_else(held_for_an_operator)
    };
    let decided = doubted.iter().map(decide).collect();
    record(shared, held, &doubted, decided).await?;
    Ok(true)
}

/// How a look-up ended.
enum LookedUp {
    /// One finding a course.
    Found(Vec<Finding>),
    /// HubSpot is not to be asked now.
    Not,
    /// It failed, and a smaller one goes next.
    Halved,
    /// It failed for the only course, with this message.
    Failed(String),
}

/// Asks HubSpot for all of them: its live records, then its recycle bin for those not found.
async fn look_up(
    shared: &Arc<Shared>,
    held: Held,
    property: &str,
    doubted: &[Doubted],
) -> Result<LookedUp, OutboxError> {
    let all: Vec<&Doubted> = doubted.iter().collect();
    let live = match read(shared, held, property, &all, Place::Live).await? {
        LookedUp::Found(findings) => findings,
        other => return Ok(other),
    };
    let is_absent = |(_, finding): &(&&Doubted, &Finding)| **finding == Finding::Absent;
    let absent: Vec<&Doubted> = all.iter().zip(&live).filter(is_absent).map(|(course, _)| *course).collect();
    let archived = match absent.as_slice() {
        [] => Vec::new(),
        absent => match read(shared, held, property, absent, Place::Archived).await? {
            LookedUp::Found(findings) => findings,
            // What was found among the live records stands; the others are looked up again.
            LookedUp::Not | LookedUp::Halved => Vec::new(),
            LookedUp::Failed(why) if live.len() == 1 => return Ok(LookedUp::Failed(why)),
            LookedUp::Failed(_) => Vec::new(),
        },
    };
    let mut archived = archived.into_iter();
    let combined = live.into_iter().map(|finding| match finding {
        Finding::Absent => reconcile::combined(Finding::Absent, archived.next()),
        other => other,
    });
    Ok(LookedUp::Found(combined.collect()))
}

async fn read(
    shared: &Arc<Shared>,
    held: Held,
    property: &str,
    doubted: &[&Doubted],
    place: Place,
) -> Result<LookedUp, OutboxError> {
    let permit = tokio::select! {
        permit = shared.pace.permit() => permit,
        () = shared.shutdown.begun() => return Ok(LookedUp::Not),
    };
    let request = Uuid::now_v7();
    let rows: Vec<RowId> = doubted.iter().map(|course| course.id).collect();
    let window = shared.settings.send_window();
    if let Err(error) =
        recover::note_question(&shared.database, held.lease, request, Question::Read, &rows, window).await
    {
        permit.unused();
        return Err(error);
    }
    // While the permit and the note were waited for, the gate may have closed and the lease ended.
    if !held.is_valid() || !shared.account.lets_look_up() {
        permit.unused();
        question::note_answer(shared, request, Ending::NOT_SENT).await;
        return Ok(LookedUp::Not);
    }
    let keys: Vec<&CourseKey> = doubted.iter().map(|course| &course.key).collect();
    let span = shared.traces.look_up(request, keys.len());
    let began = Instant::now();
    let exchange = shared.client.read(&keys, property, place).await;
    let took = began.elapsed();
    let reading = reconcile::interpret_read(&keys, property, place, &exchange);
    shared.metrics.request(Operation::Read, reading.outcome, took);
    let failure = shared.account.on_look_up(keys.len(), &reading, exchange.quota(), began);
    // Only now: whoever gets the permit next must see a gate that this answer closed.
    shared.pace.ended(permit, &exchange, &reading.signal);
    let ending = Ending::of(reading.outcome, &exchange, None);
    span.answered(reading.outcome, ending.http_status, ending.correlation_id.as_deref());
    log(shared, request, keys.len(), place, &reading, &exchange, took);
    question::note_answer(shared, request, ending).await;
    Ok(match (failure, reading.signal) {
        (None, Signal::Passed | Signal::Judged) => LookedUp::Found(reading.findings),
        (None, Signal::Pause(_) | Signal::Failed(_)) => LookedUp::Not,
        (Some(Failure::Halved), _) => LookedUp::Halved,
        (Some(Failure::SetAside | Failure::SetAsideAndPause), signal) => LookedUp::Failed(message(&signal)),
    })
}

fn message(signal: &Signal) -> String {
    match signal {
        Signal::Failed(trouble) | Signal::Pause(trouble) => trouble.message.clone(),
        Signal::Passed | Signal::Judged => String::new(),
    }
}

fn log(
    shared: &Shared,
    request: Uuid,
    courses: usize,
    place: Place,
    reading: &Reading,
    exchange: &Exchange,
    took: std::time::Duration,
) {
    let outcome = reading.outcome.as_str();
    let correlation_id = exchange.meta().and_then(|meta| meta.correlation_id.as_deref());
    match reading.outcome {
        RequestOutcome::Ok => {
            tracing::debug!(batch = %request, courses, ?place, outcome, ?took, correlation_id, "doubts looked up");
        }
        _ if !shared.allowances.may_tell_request() => {}
        _ => {
            tracing::info!(batch = %request, courses, ?place, outcome, ?took, correlation_id, "doubts looked up");
        }
    }
}

async fn evidence(shared: &Shared, doubted: &[Doubted]) -> Result<HashMap<Uuid, Evidence>, OutboxError> {
    let unknown = doubted.iter().filter(|course| course.doubt == Doubt::Unknown);
    let mut batches: Vec<Uuid> = unknown.map(|course| course.batch).collect();
    batches.sort_unstable();
    batches.dedup();
    match batches.as_slice() {
        [] => Ok(HashMap::new()),
        batches => recover::evidence(&shared.database, batches).await,
    }
}

fn context(shared: &Shared, evidence: Evidence, is_taken: bool) -> Context<'_> {
    Context {
        evidence,
        is_taken,
        unique_property: shared.settings.unique_property.as_deref(),
        settle: shared.settings.settle,
        now: Timestamp::now(),
        jitter: fastrand::f64(),
    }
}

/// Decides by what was found.
async fn decide(
    shared: &Shared,
    doubted: &[Doubted],
    findings: &[Finding],
) -> Result<Vec<Settlement>, OutboxError> {
    let evidence = evidence(shared, doubted).await?;
    let mut decided = Vec::with_capacity(doubted.len());
    for (course, finding) in doubted.iter().zip(findings) {
        let is_taken = is_taken(shared, course, finding).await?;
        let context = context(shared, evidence.get(&course.batch).copied().unwrap_or_default(), is_taken);
        decided.push(course.settle(finding, &shared.settings.retry, &context));
    }
    Ok(decided)
}

/// Whether a record with a similar key is another course of the outbox.
async fn is_taken(shared: &Shared, course: &Doubted, finding: &Finding) -> Result<bool, OutboxError> {
    let Finding::Similar(holder) = finding else { return Ok(false) };
    let Some(created_at) = holder.created_at else { return Ok(true) };
    // The clocks may differ, and a request may take as long as it is waited for.
    let reach = shared.settings.send_window() + std::time::Duration::from_mins(1);
    recover::is_record_of_another(&shared.database, &holder.id, created_at, reach, course.id).await
}

/// A look-up failed for these: they are looked up again after growing waits, and their rows show why.
async fn set_aside(shared: &Shared, doubted: &[Doubted], why: &str) -> Result<(), OutboxError> {
    let now = Timestamp::now();
    let remaining = |course: &Doubted| {
        let message =
            format!("it is not known whether HubSpot created this course, and looking it up failed: {why}");
        // What HubSpot answered to the create is kept where the doubt is about that.
        let is_replaced = matches!(course.doubt, Doubt::Unknown | Doubt::Created);
        Remaining {
            id: course.id,
            wait: course.look_again(&shared.settings.retry, now),
            error: is_replaced.then(|| CourseError::new(Category::UnknownOutcome, &message, now)),
        }
    };
    let remaining: Vec<Remaining> = doubted.iter().map(remaining).collect();
    recover::look_later(&shared.database, &remaining).await
}

async fn record(
    shared: &Shared,
    held: Held,
    doubted: &[Doubted],
    decided: Vec<Settlement>,
) -> Result<(), OutboxError> {
    let (mut settled, mut remaining) = (Vec::<Settled>::new(), Vec::new());
    for (course, settlement) in doubted.iter().zip(decided) {
        match settlement {
            Settlement::To(transition) => settled.push((course.id, course.batch, transition)),
            Settlement::Remains(wait) => remaining.push(Remaining { id: course.id, wait, error: None }),
        }
    }
    let recorded = recover::settle(&shared.database, held.lease, &settled).await?;
    recover::close(&shared.database).await?;
    let lost = u64::try_from(settled.len()).unwrap_or(u64::MAX).saturating_sub(recorded);
    if lost > 0 {
        shared.metrics.lost_guards(lost);
        tracing::warn!(lost, "doubts were settled by somebody else meanwhile");
    }
    let now = Timestamp::now();
    for (id, batch, to) in &settled {
        let course = doubted.iter().find(|course| course.id == *id);
        let key = course.map(|course| &course.key);
        let delay = course.map(|course| now.duration_since(course.created_at));
        deliver::tell_course(shared, *batch, *id, key, delay, to);
    }
    if !remaining.is_empty() {
        recover::look_later(&shared.database, &remaining).await?;
    }
    Ok(())
}
