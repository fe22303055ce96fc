//! Claims a batch of courses: the intent to send them is committed before a byte is sent. Withdraws a claim whose result
//! was lost.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::batch::{UnsendableCourse, assemble};
use super::context::Context;
use super::settings::Settings;
use crate::course::{Batch, BatchId, ClaimedCourse, CourseError, Term};
use crate::outbox::OutboxError;
use crate::outbox::claim::{self, ClaimLimits, ClaimResult, ClaimedBatch, Isolation, TakenCourses};
use crate::outbox::evidence;
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
    pub term: Term,
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
    let ClaimRequest { held, lane, order, courses, batches, from, ended } = request;
    let batches: Vec<_> = (0..batches).map(|_| BatchId(uuid::Uuid::now_v7())).collect();
    let begin_by = held.valid_until.min(Deadline::after(context.settings.request_timeout));
    let (since, began) = (SystemTime::now(), Instant::now());
    let statement = ClaimStatement { batches: batches.clone(), held, lane, order, courses, from };
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
            let term = held.lease.term;
            let claimed = |batch| ClaimedCourses { batch, term, begin_by, since };
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

impl ClaimedCourses {
    /// The batch, and the courses that cannot be sent, each with its reason.
    pub fn assemble(self, settings: &Settings, now: Timestamp) -> (Batch, Vec<UnsendableCourse>) {
        let unique = settings.unique_property.as_deref();
        // Where duplicates are accepted, a course may be sent although an earlier request may still create it.
        let (courses, unguarded) = if settings.accepts_duplicates() {
            (self.batch.courses, Vec::new())
        } else {
            split_unguarded(self.batch.courses, unique, now)
        };
        let (batch, mut unfit) = assemble(self.batch.id, courses, unique, now);
        unfit.extend(unguarded);
        unfit.extend(self.batch.unreadable.into_iter().map(|(id, error)| UnsendableCourse {
            id,
            key: None,
            error: CourseError::new(error.category(), &error.to_string(), now),
        }));
        (batch, unfit)
    }
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
    lane: Lane,
    order: ClaimOrder,
    courses: u16,
    from: Cursor,
}

impl ClaimStatement {
    async fn run(self, context: Arc<Context>) -> Result<ClaimResult, OutboxError> {
        let (settings, database) = (&context.settings, &context.edges.database);
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
