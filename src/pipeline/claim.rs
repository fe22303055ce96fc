//! Claims a batch of courses: the intent to send them is committed before a byte is sent. Withdraws a claim whose result
//! was lost.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::batch::{UnsendableCourse, assemble};
use super::context::Context;
use super::settings::Settings;
use super::transition::look_up_withdrawn;
use crate::course::{Batch, BatchId, ClaimedCourse, CourseError, Provenance, RowId, Transition, Write};
use crate::outbox::OutboxError;
use crate::outbox::claim::{self, ClaimLimits, ClaimResult, ClaimedBatch, Isolation, TakenCourses};
use crate::outbox::{changes, evidence};
use crate::policy::attribution::{ClaimOrder, Lane};
use crate::policy::backlog::{ClaimEnd, Cursor, Remaining};
use crate::runtime::database_health::DatabaseTask;
use crate::runtime::lease::{Deadline, HeldLease};
use crate::runtime::run_in_task;
use crate::telemetry::events;

/// The interval between two attempts to withdraw a claim.
const WITHDRAW_RETRY: Duration = Duration::from_secs(1);
/// How long a claim whose result was lost may still commit. The server's statement timeout is shorter.
const WITHDRAW_FOR: Duration = Duration::from_secs(40);

/// A claim that the engine requests.
#[derive(Debug)]
pub(crate) struct ClaimRequest {
    pub held: HeldLease,
    pub write: Write,
    pub lane: Lane,
    pub order: ClaimOrder,
    /// The largest number of courses in a batch.
    pub courses: u16,
    /// The largest number of batches.
    pub batches: usize,
    /// Where in the outbox the claim starts.
    pub from: Cursor,
    /// Receives the end of the claim as soon as it is known.
    pub ended: oneshot::Sender<ClaimEnd>,
}

/// The claimed courses of one request, and what is needed to send them.
#[derive(Debug)]
pub(crate) struct ClaimedCourses {
    batch: ClaimedBatch,
    write: Write,
    pub held: HeldLease,
    /// The request must start before this.
    pub begin_by: Deadline,
    /// When the claim started.
    pub since: SystemTime,
}

/// Why a claim returned no courses.
#[derive(Debug)]
pub(crate) enum ClaimError {
    /// The database claimed no courses.
    NotClaimed,
    /// The result was lost: the database may have claimed courses for these batches.
    MayBeClaimed(Vec<BatchId>),
}

/// Claims courses for one or more requests. Reports the end of the claim to the engine through `request.ended`.
pub(crate) async fn claim(
    context: &Arc<Context>,
    request: ClaimRequest,
) -> Result<Vec<ClaimedCourses>, ClaimError> {
    let ClaimRequest { held, write, lane, order, courses, batches, from, ended } = request;
    let batches: Vec<_> = (0..batches).map(|_| BatchId(uuid::Uuid::now_v7())).collect();
    let begin_by = held.valid_until.min(Deadline::after(context.settings.request_timeout));
    let (since, began) = (SystemTime::now(), Instant::now());
    let statement = ClaimStatement { batches: batches.clone(), held, write, lane, order, courses, from };
    let result = tokio::select! {
        result = run_in_task(statement.run(Arc::clone(context))) => result,
        // The process ends. The next leader finds the courses that the statement may still claim.
        () = context.runtime.shutdown.forced() => None,
    };
    let health = &context.reporting.database_health;
    // `ok`: sending fails only if the engine has ended and dropped the receiver.
    match result {
        Some(Ok(ClaimResult::Taken(TakenCourses { batches, remaining }))) => {
            health.record_success(DatabaseTask::Claim);
            ended.send(ClaimEnd::Made { remaining, took: began.elapsed() }).ok();
            let claimed = |batch| ClaimedCourses { batch, write, held, begin_by, since };
            Ok(batches.into_iter().map(claimed).collect())
        }
        Some(Ok(ClaimResult::Refused)) => {
            health.record_success(DatabaseTask::Claim);
            tracing::debug!(event = events::CLAIM_REFUSED, "claim refused");
            ended.send(ClaimEnd::Failed).ok();
            Err(ClaimError::NotClaimed)
        }
        Some(Err(error)) => {
            health.record_failure(DatabaseTask::Claim, &error);
            ended.send(ClaimEnd::Failed).ok();
            Err(if error.may_have_committed() {
                ClaimError::MayBeClaimed(batches)
            } else {
                ClaimError::NotClaimed
            })
        }
        None => Err(ClaimError::NotClaimed),
    }
}

/// The courses of a claim, sorted.
#[derive(Debug)]
pub(crate) struct AssembledCourses {
    /// Those that are sent.
    pub batch: Batch,
    /// Those that cannot be sent, each with its reason.
    pub unfit: Vec<UnsendableCourse>,
    /// Those that need no request, with their outcomes.
    pub done: Vec<(RowId, Transition)>,
}

impl ClaimedCourses {
    /// Sorts the courses.
    pub fn assemble(self, settings: &Settings, now: Timestamp) -> AssembledCourses {
        let unique = settings.unique_property.as_deref();
        let (courses, unsent, done) =
            split_done(self.write, self.batch.courses, unique, settings.settle, now);
        // Where duplicates are accepted, a course may be sent although an earlier request may still create it.
        let (courses, unguarded) = if settings.accepts_duplicates() || self.write != Write::Create {
            (courses, Vec::new())
        } else {
            split_unguarded(courses, unique, now)
        };
        let (batch, mut unfit) = assemble(self.write, self.batch.id, courses, unique, now);
        unfit.extend(unguarded);
        unfit.extend(self.batch.unreadable.into_iter().map(|(id, error)| UnsendableCourse {
            id,
            key: None,
            error: CourseError::new(error.category(), &error.to_string(), now),
        }));
        AssembledCourses { batch: batch.with_unsent(unsent), unfit, done }
    }
}

/// Separates the changes that need no request now, and their outcomes: HubSpot holds the properties already, never held the
/// course, or may still create it.
fn split_done(
    write: Write,
    courses: Vec<ClaimedCourse>,
    unique_property: Option<&str>,
    settle: Duration,
    now: Timestamp,
) -> (Vec<ClaimedCourse>, Vec<ClaimedCourse>, Vec<(RowId, Transition)>) {
    let mut open = Vec::with_capacity(courses.len());
    let (mut unsent, mut done) = (Vec::new(), Vec::new());
    for mut course in courses {
        let may_be_created_late = course.may_be_created_late();
        match (write, &mut course.record) {
            // First, or a record that is created late would be live after the archive.
            (Write::Archive, _) if may_be_created_late => {
                done.push((course.id, look_up_withdrawn(settle, now)));
                unsent.push(course);
            }
            (Write::Archive, None) => {
                done.push((course.id, Transition::Archived { hubspot_id: None, remark: None }));
                unsent.push(course);
            }
            (Write::Update, Some(record)) => {
                // A record that a person named may not have the key yet. Nothing else is written to that property.
                if let Some(key) = unique_property.and_then(|unique| record.patch.get_mut(unique)) {
                    course.key.as_str().clone_into(key);
                }
                if record.patch.is_empty() {
                    let (hubspot_id, provenance) = (record.id.clone(), Provenance::Unchanged);
                    done.push((course.id, Transition::Synced { hubspot_id, provenance, warning: None }));
                    unsent.push(course);
                } else {
                    open.push(course);
                }
            }
            _ => open.push(course),
        }
    }
    (open, unsent, done)
}

/// Separates the courses that a request under `unique_property` could create a second time.
fn split_unguarded(
    courses: Vec<ClaimedCourse>,
    unique_property: Option<&str>,
    now: Timestamp,
) -> (Vec<ClaimedCourse>, Vec<UnsendableCourse>) {
    let mut unguarded = Vec::new();
    let mut guarded = Vec::with_capacity(courses.len());
    for course in courses {
        match UnsendableCourse::if_possible_duplicate(&course, unique_property, now) {
            Some(unfit) => unguarded.push(unfit),
            None => guarded.push(course),
        }
    }
    (guarded, unguarded)
}

/// The parameters of the claim statement.
struct ClaimStatement {
    batches: Vec<BatchId>,
    held: HeldLease,
    write: Write,
    lane: Lane,
    order: ClaimOrder,
    courses: u16,
    from: Cursor,
}

impl ClaimStatement {
    async fn run(self, context: Arc<Context>) -> Result<ClaimResult, OutboxError> {
        let (settings, database) = (&context.settings, &context.edges.database);
        if self.write == Write::Archive {
            report_held_archives(&context).await?;
        }
        let isolation = match self.lane {
            Lane::Fresh => Isolation::default(),
            Lane::Suspects => {
                // The batch size of suspects depends on the requests before and after the one that failed.
                let requests = evidence::requests_of_due_suspects(database).await?;
                if requests.is_empty() {
                    let nothing = TakenCourses { batches: Vec::new(), remaining: Remaining::Nothing };
                    return Ok(ClaimResult::Taken(nothing));
                }
                Isolation::from_evidence(evidence::load_evidence(database, &requests).await?)
            }
        };
        let limits = ClaimLimits {
            write: self.write,
            archive_limit: settings.archive_limit,
            lane: self.lane,
            order: self.order,
            courses: self.courses.min(settings.max_size),
            bytes: settings.max_bytes,
            unique_property: settings.unique_property.as_deref(),
            isolation: &isolation,
        };
        let (margin, window) = (settings.lease_margin(), settings.send_window());
        claim::claim(database, self.held.lease, margin, &self.batches, limits, self.from, window).await
    }
}

/// Shows whether archives are held: more of them are pending at once than is allowed.
async fn report_held_archives(context: &Context) -> Result<(), OutboxError> {
    let limit = context.settings.archive_limit;
    let is_held = changes::count_held_archives(&context.edges.database, limit).await? > u64::from(limit);
    let why = format!(
        "more than {limit} courses are withdrawn at once (outbox.archive_limit). Their records are not archived until \
         `course-sync resume --archives`; creates and updates continue"
    );
    context.account.hold_archives(is_held.then_some(why.as_str()));
    Ok(())
}

/// Withdraws a claim whose result was lost. Repeats this until the claim is withdrawn or can no longer commit. Its courses
/// were not sent; without the withdrawal they would become unconfirmed.
pub(crate) async fn withdraw(context: &Context, batches: &[BatchId]) {
    let began = Instant::now();
    let mut is_withdrawn = false;
    loop {
        match claim::withdraw(&context.edges.database, batches).await {
            Ok(requests) => {
                context.reporting.database_health.record_success(DatabaseTask::WithdrawClaim);
                if is_withdrawn {
                    return context.runtime.wake.notify_completion();
                }
                if requests > 0 {
                    tracing::info!(event = events::CLAIM_WITHDRAWN, requests, "claim withdrawn");
                    is_withdrawn = true;
                    continue;
                }
                if began.elapsed() > WITHDRAW_FOR || context.runtime.shutdown.has_begun() {
                    return;
                }
            }
            Err(error) => {
                context.reporting.database_health.record_failure(DatabaseTask::WithdrawClaim, &error);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(WITHDRAW_RETRY) => {}
            () = context.runtime.shutdown.forced() => return,
        }
    }
}
