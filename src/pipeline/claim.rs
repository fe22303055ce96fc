//! Claims a batch of courses: the intent to send them is committed before a byte is sent. Withdraws a claim whose result
//! was lost.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::batch::{UnsendableCourse, assemble};
use super::context::Context;
use super::settings::Settings;
use crate::course::{Batch, BatchId, Category, ClaimedCourse, CourseError, Term};
use crate::outbox::OutboxError;
use crate::outbox::claim::{self, ClaimLimits, ClaimResult, Isolation};
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
    /// The largest number of courses.
    pub courses: u16,
    /// Where in the outbox the claim starts.
    pub from: Cursor,
    /// Receives the end of the claim as soon as it is known.
    pub ended: oneshot::Sender<ClaimEnd>,
}

/// The claimed courses, and what is needed to send them.
#[derive(Debug)]
pub(crate) struct ClaimedCourses {
    batch: BatchId,
    result: ClaimResult,
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
    /// The result was lost: the database may have claimed courses for this batch.
    MayBeClaimed(BatchId),
}

/// Claims courses. Reports the end of the claim to the engine through `request.ended`.
pub(crate) async fn claim(
    context: &Arc<Context>,
    request: ClaimRequest,
) -> Result<ClaimedCourses, ClaimError> {
    let batch = BatchId(uuid::Uuid::now_v7());
    let ClaimRequest { held, lane, order, courses, from, ended } = request;
    let begin_by = held.valid_until.min(Deadline::after(context.settings.request_timeout));
    let (since, began) = (SystemTime::now(), Instant::now());
    let statement = ClaimStatement { batch, held, lane, order, courses, from };
    let result = tokio::select! {
        result = run_in_task(statement.run(Arc::clone(context))) => result,
        // The process ends. The next leader finds the courses that the statement may still claim.
        () = context.runtime.shutdown.forced() => None,
    };
    let health = &context.reporting.database_health;
    // `ok`: sending fails only if the engine has ended and dropped the receiver.
    match result {
        Some(Ok(result)) => {
            health.record_success(DatabaseTask::Claim);
            ended.send(ClaimEnd::Made { remaining: result.remaining, took: began.elapsed() }).ok();
            Ok(ClaimedCourses { batch, result, term: held.lease.term, begin_by, since })
        }
        Some(Err(error)) => {
            health.record_failure(DatabaseTask::Claim, &error);
            ended.send(ClaimEnd::Failed).ok();
            Err(if error.may_have_committed() {
                ClaimError::MayBeClaimed(batch)
            } else {
                ClaimError::NotClaimed
            })
        }
        None => Err(ClaimError::NotClaimed),
    }
}

impl ClaimedCourses {
    /// Whether no course was due.
    pub fn is_empty(&self) -> bool {
        self.result.courses.is_empty() && self.result.unreadable.is_empty()
    }

    /// The batch, and the courses that cannot be sent, each with its reason.
    pub fn assemble(self, settings: &Settings, now: Timestamp) -> (Batch, Vec<UnsendableCourse>) {
        let unique = settings.unique_property.as_deref();
        // Where duplicates are accepted, a course may be sent although an earlier request may still create it.
        let (courses, unguarded) = if settings.accepts_duplicates() {
            (self.result.courses, Vec::new())
        } else {
            split_unguarded(self.result.courses, unique, now)
        };
        let (batch, mut unfit) = assemble(self.batch, courses, unique, now);
        unfit.extend(unguarded);
        unfit.extend(self.result.unreadable.into_iter().map(|(id, error)| UnsendableCourse {
            id,
            key: None,
            error: CourseError::new(Category::InvalidRow, &error.to_string(), now),
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
    batch: BatchId,
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
                    return Ok(ClaimResult {
                        courses: Vec::new(),
                        unreadable: Vec::new(),
                        remaining: Remaining::Nothing,
                    });
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
        claim::claim(database, self.held.lease, margin, self.batch, limits, self.from, window).await
    }
}

/// Withdraws a claim whose result was lost. Repeats this until the claim is withdrawn or can no longer commit. Its courses
/// were not sent; without the withdrawal they would become unconfirmed.
pub(crate) async fn withdraw(context: &Context, batch: BatchId) {
    let began = Instant::now();
    loop {
        match claim::withdraw(&context.edges.database, batch).await {
            Ok(courses) => {
                context.reporting.database_health.record_success(DatabaseTask::WithdrawClaim);
                if courses > 0 {
                    tracing::info!(event = events::CLAIM_WITHDRAWN, %batch, courses, "claim withdrawn");
                    return context.runtime.wake.notify_completion();
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
