//! Archives the records of a batch: reads them, archives those that are the courses' own, and reads the recycle bin.
//!
//! HubSpot's answer to an archive proves nothing: it is the same for a record that does not exist. And an archive by the id of a
//! record that was merged may move the record into which it was merged. So a record is archived only after a read has shown
//! that it is live under its own id, and it counts as archived only after a read has shown it in the recycle bin.

use std::sync::Arc;

use jiff::Timestamp;

use super::context::Context;
use super::reconcile::read::ReadEnd;
use super::reconcile::record_errors::{record_gone, record_merged};
use super::reconcile::record_meaning::RecordFinding;
use super::reconcile::records;
use super::send::{Response, SendSkipped, check_may_send, send_with_permit};
use crate::account::rate_limiter::{Permit, ReservedPermit};
use crate::course::{Batch, Category, ClaimedCourse, CourseError, NotTaken, Verdict, Write, fold_key};
use crate::hubspot::api::outcome::RequestOutcome;
use crate::hubspot::api::record_state::RecordState;
use crate::outbox::record::RequestEnd;
use crate::policy::attribution::{Lane, OtherRequests};
use crate::policy::signal::{Interpretation, Signal};
use crate::runtime::lease::{Deadline, HeldLease};
use crate::telemetry::traces::Span;

/// Archives the batch, unless the deadline has passed or the gate has closed.
pub(super) async fn archive(
    context: &Arc<Context>,
    held: HeldLease,
    begin_by: Deadline,
    batch: &Batch,
    lane: Lane,
    permit: ReservedPermit,
    span: &Span,
) -> Result<Response, SendSkipped> {
    if batch.courses().is_empty() {
        permit.release_unused();
        return Err(SendSkipped::Empty);
    }
    let permit = permit.wait_until_usable().await;
    if let Err(skipped) = check_may_send(context, begin_by, batch.courses().len()) {
        permit.release_unused();
        return Err(skipped);
    }
    let courses: Vec<&ClaimedCourse> = batch.courses().iter().collect();
    let before = read(context, held, &courses, RecordState::Live, Some(permit)).await;
    let mut verdicts: Vec<Option<Verdict>> = (courses.iter().zip(before))
        .map(|(course, finding)| before_archive(context, course, finding))
        .collect();
    let live = select(batch, &verdicts, Option::is_none);
    let mut sent = None;
    if !live.is_empty() {
        let mut response = send(context, begin_by, batch, lane, &live, span).await?;
        for (position, verdict) in live.iter().zip(response.interpretation.verdicts.drain(..)) {
            set(&mut verdicts, *position, verdict);
        }
        sent = Some(response);
    }
    // Both the records that were archived now, and those that were not live before.
    let unproved = select(batch, &verdicts, |verdict| {
        matches!(verdict, Some(Verdict::Applied { .. } | Verdict::LookUp(_)))
    });
    if !unproved.is_empty() {
        let courses: Vec<&ClaimedCourse> =
            unproved.iter().filter_map(|position| batch.courses().get(*position)).collect();
        let after = read(context, held, &courses, RecordState::Archived, None).await;
        for ((position, course), finding) in unproved.iter().zip(&courses).zip(after) {
            set(&mut verdicts, *position, after_archive(course, &finding));
        }
    }
    let missing = || Verdict::NotTaken(NotTaken::NotSent);
    let verdicts = verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(missing)).collect();
    Ok(response_for_all(context, sent, verdicts))
}

/// The response for all courses of the batch, whether an archive was sent for some of them or for none.
fn response_for_all(context: &Context, sent: Option<Response>, verdicts: Vec<Verdict>) -> Response {
    // Before the count of the archived courses ends: a claim must always find them counted.
    let counted = context.runtime.unrecorded.count(verdicts.len());
    match sent {
        Some(sent) => Response {
            interpretation: Interpretation { verdicts, ..sent.interpretation },
            others: sent.others,
            end: sent.end,
            counted,
        },
        None => Response {
            interpretation: Interpretation {
                verdicts,
                signal: Signal::Judged,
                outcome: RequestOutcome::Ok,
                surplus: 0,
                may_be_size: false,
            },
            others: OtherRequests::Pass,
            end: RequestEnd::NOT_SENT,
            counted,
        },
    }
}

/// Sends the request for the courses at these positions.
async fn send(
    context: &Context,
    begin_by: Deadline,
    batch: &Batch,
    lane: Lane,
    positions: &[usize],
    span: &Span,
) -> Result<Response, SendSkipped> {
    let courses: Vec<ClaimedCourse> =
        positions.iter().filter_map(|position| batch.courses().get(*position)).cloned().collect();
    let count = courses.len();
    let part = Batch::of(Write::Archive, batch.id(), courses, batch.unique_property());
    let request = context.edges.client.write(&part);
    let permit = tokio::select! {
        permit = context.account.rate_limiter.acquire() => permit,
        () = context.runtime.shutdown.begun() => return Err(SendSkipped::GateClosed),
    };
    if let Err(skipped) = check_may_send(context, begin_by, count) {
        permit.release_unused();
        return Err(skipped);
    }
    Ok(send_with_permit(context, &part, lane, request, permit, span).await)
}

/// Reads the records of these courses. One finding per course.
async fn read(
    context: &Arc<Context>,
    held: HeldLease,
    courses: &[&ClaimedCourse],
    state: RecordState,
    permit: Option<Permit>,
) -> Vec<Result<RecordFinding, Option<String>>> {
    let ids: Vec<_> =
        courses.iter().filter_map(|course| Some((course.id, &course.record.as_ref()?.id))).collect();
    let unique = context.settings.unique_property.as_deref();
    let names: Vec<&str> = unique.into_iter().collect();
    match records::read(context, held, &ids, &names, state, permit).await {
        Ok(ReadEnd::Found(findings)) => findings.into_iter().map(Ok).collect(),
        Ok(ReadEnd::NotPossible) => vec![Err(None); courses.len()],
        Ok(ReadEnd::Halved(why) | ReadEnd::Failed(why)) => vec![Err(Some(why)); courses.len()],
        Err(error) => vec![Err(Some(error.to_string())); courses.len()],
    }
}

/// What the first read shows. `None`: the record is live and the course's own.
fn before_archive(
    context: &Context,
    course: &ClaimedCourse,
    finding: Result<RecordFinding, Option<String>>,
) -> Option<Verdict> {
    let now = Timestamp::now();
    let id = course.record.as_ref().map(|record| record.id.as_str()).unwrap_or_default();
    match finding {
        Ok(RecordFinding::Present(values)) => {
            let unique = context.settings.unique_property.as_deref();
            let held = unique.and_then(|name| values.get(name)).filter(|key| !key.is_empty())?;
            (fold_key(held) != fold_key(course.key.as_str())).then(|| {
                let message = format!(
                    "record {id} has the key {held:?} of another course, so it is not archived. Correct the key in HubSpot \
                     and run `course-sync retry`, or run `course-sync resolve` with --hubspot-id and the id of this course's record"
                );
                Verdict::Refused(CourseError::new(Category::Conflict, &message, now))
            })
        }
        Ok(RecordFinding::Merged(survivor)) => Some(Verdict::Refused(record_merged(id, &survivor, now))),
        // In the recycle bin already, or deleted: the second read shows which.
        Ok(RecordFinding::Absent) => Some(Verdict::LookUp(record_gone(id, now))),
        Ok(RecordFinding::Inconclusive) => {
            let message = format!("HubSpot's answer to a read does not show record {id}");
            Some(Verdict::NotTaken(NotTaken::Later(CourseError::new(Category::Deferred, &message, now))))
        }
        Err(None) => Some(Verdict::NotTaken(NotTaken::NotSent)),
        Err(Some(why)) => {
            let message = format!("the record was not archived, because reading it failed: {why}");
            Some(Verdict::NotTaken(NotTaken::TurnedAway(CourseError::new(Category::Deferred, &message, now))))
        }
    }
}

/// What the read of the recycle bin shows.
fn after_archive(course: &ClaimedCourse, finding: &Result<RecordFinding, Option<String>>) -> Verdict {
    let now = Timestamp::now();
    let Some(record) = &course.record else { return Verdict::NotTaken(NotTaken::NotSent) };
    match finding {
        Ok(RecordFinding::Present(_)) => Verdict::Applied { hubspot_id: record.id.clone(), warning: None },
        // Not archived, or deleted permanently: a look-up shows which.
        Ok(RecordFinding::Absent | RecordFinding::Merged(_)) => {
            let message =
                format!("record {} is not in HubSpot's recycle bin after the archive", record.id.as_str());
            Verdict::LookUp(CourseError::new(Category::Refused, &message, now))
        }
        Ok(RecordFinding::Inconclusive) | Err(_) => {
            let message =
                "it is not known whether HubSpot archived this course: the recycle bin could not be read";
            Verdict::Unknown(CourseError::new(Category::UnknownOutcome, message, now))
        }
    }
}

fn select(
    batch: &Batch,
    verdicts: &[Option<Verdict>],
    is_selected: impl Fn(&Option<Verdict>) -> bool,
) -> Vec<usize> {
    let positions = 0..batch.courses().len();
    positions.filter(|position| verdicts.get(*position).is_some_and(&is_selected)).collect()
}

fn set(verdicts: &mut [Option<Verdict>], position: usize, verdict: Verdict) {
    if let Some(slot) = verdicts.get_mut(position) {
        *slot = Some(verdict);
    }
}
