//! The next state of a course after its request: verdict → transition. Pure.
//!
//! The only place that decides after a request whether a course is sent again, and when.

use std::time::Duration;

use jiff::Timestamp;

use super::settings::RECHECK_FACTOR;
use crate::course::{
    Batch, Category, CourseError, Doubt, MAX_COURSES, NotTaken, Provenance, Requeue, RowId, Suspicion,
    Transition, Verdict, Write, clip,
};
use crate::policy::attribution::{Lane, OtherRequests, isolation_group_size};
use crate::policy::backoff::RetryPolicy;

/// What all courses of a request have in common.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts {
    /// Whether it contained fresh courses or suspects.
    pub lane: Lane,
    /// The results of other requests.
    pub others: OtherRequests,
    /// How long to wait before an unknown outcome is looked up.
    pub settle: Duration,
    /// A random number from 0 to 1.
    pub jitter: f64,
    /// The time.
    pub now: Timestamp,
}

/// Decides the next state of each course of a batch. `verdicts` are in the order of its courses.
#[must_use]
pub fn decide_transitions(
    policy: &RetryPolicy,
    batch: &Batch,
    verdicts: Vec<Verdict>,
    facts: &RequestFacts,
) -> Vec<(RowId, Transition)> {
    let may_look_up = batch.unique_property().is_some() && batch.write() == Write::Create;
    let mut transitions = Vec::with_capacity(verdicts.len());
    for (course, verdict) in batch.courses().iter().zip(verdicts) {
        let sent = SentCourse {
            write: batch.write(),
            batch_size: batch.courses().len(),
            attempts: course.attempts,
            faults: course.faults,
            is_blamed: course.is_blamed,
            may_exist: course.doubts > 0 && may_look_up,
            lane: facts.lane,
            others: facts.others,
            settle: facts.settle,
            jitter: facts.jitter,
            now: facts.now,
        };
        transitions.push((course.id, policy.transition(verdict, &sent)));
    }
    transitions
}

/// The transitions of a batch that was not sent: its courses become pending again, and no attempt is counted.
#[must_use]
pub fn requeue_unsent(batch: &Batch) -> Vec<(RowId, Transition)> {
    batch.courses().iter().map(|course| (course.id, Transition::Pending(Requeue::NotSent))).collect()
}

/// How one course was sent, and what its row shows about earlier requests.
#[derive(Debug, Clone, Copy)]
pub struct SentCourse {
    /// What its request does.
    pub write: Write,
    /// The number of courses in its request.
    pub batch_size: usize,
    /// How many times it was sent, including this request.
    pub attempts: u32,
    /// How many failures count against it.
    pub faults: u32,
    /// By the evidence, the course caused its last failure: it was sent on its own.
    pub is_blamed: bool,
    /// An earlier request may have created it, and it can be looked up.
    pub may_exist: bool,
    /// Whether its request contained fresh courses or suspects.
    pub lane: Lane,
    /// The results of other requests.
    pub others: OtherRequests,
    /// How long to wait before an unknown outcome is looked up.
    pub settle: Duration,
    /// A random number from 0 to 1.
    pub jitter: f64,
    /// The time.
    pub now: Timestamp,
}

impl RetryPolicy {
    /// The next state of a course after this verdict.
    #[must_use]
    pub fn transition(&self, verdict: Verdict, sent: &SentCourse) -> Transition {
        match verdict {
            Verdict::Applied { hubspot_id, warning } => match sent.write {
                Write::Create => Transition::Synced { hubspot_id, provenance: Provenance::Created, warning },
                Write::Update => Transition::Synced { hubspot_id, provenance: Provenance::Updated, warning },
                Write::Archive => Transition::Archived { hubspot_id: Some(hubspot_id), remark: warning },
            },
            Verdict::LookUp(error) => unconfirmed(error, Doubt::Change, None, Duration::ZERO),
            Verdict::CreatedUnidentified(error) => unconfirmed(error, Doubt::Created, None, sent.settle),
            // The record with this key exists already, so it can be looked up at once.
            Verdict::Exists { error, candidates: 1 } => {
                unconfirmed(error, Doubt::Conflict, None, Duration::ZERO)
            }
            // HubSpot did not name the course. If the look-up finds no record, the conflict concerns another one of the
            // candidates, and smaller batches find out which.
            Verdict::Exists { error, candidates } => {
                let error = CourseError { category: Category::UnknownOutcome, ..error };
                unconfirmed(error, Doubt::Unknown, Some(half_batch_limit(candidates)), Duration::ZERO)
            }
            Verdict::Refused(error) | Verdict::NotTaken(NotTaken::Unnamed(error))
                if sent.others == OtherRequests::RefusedEqually =>
            {
                self.retry_later(error, Suspicion::Unchanged, sent)
            }
            // The refusal shows nothing about an earlier request, which may have created the course.
            Verdict::Refused(error) if sent.may_exist => {
                unconfirmed(error, Doubt::Refused, None, Duration::ZERO)
            }
            Verdict::Refused(error) => Transition::Failed { error },
            Verdict::NotTaken(NotTaken::NotSent) => Transition::Pending(Requeue::NotSent),
            Verdict::NotTaken(NotTaken::Untouched) => Transition::Pending(Requeue::Held),
            // One course of the batch is certainly the cause. Bisect: the two halves are sent at once.
            Verdict::NotTaken(NotTaken::Unnamed(error)) => Transition::Pending(Requeue::Later {
                error: Some(error),
                after: Duration::ZERO,
                suspicion: Suspicion::InBatch { batch_limit: half_batch_limit(sent.batch_size) },
            }),
            // Courses that failed once may have met an outage. Suspects that fail again while others pass are isolated.
            Verdict::NotTaken(NotTaken::TurnedAway(error))
                if sent.lane == Lane::Suspects && sent.others == OtherRequests::Pass =>
            {
                self.set_aside(error, isolation_group_size(sent.batch_size), sent)
            }
            Verdict::NotTaken(NotTaken::TurnedAway(error)) => {
                self.set_aside(error, clamp_batch_limit(sent.batch_size), sent)
            }
            Verdict::NotTaken(NotTaken::Later(error)) => {
                self.set_aside(error, isolation_group_size(sent.batch_size), sent)
            }
            Verdict::Unknown(error) => match sent.write {
                Write::Create => unconfirmed(error, Doubt::Unknown, None, sent.settle),
                Write::Update | Write::Archive => unconfirmed(error, Doubt::Change, None, sent.settle),
            },
        }
    }

    /// Sends the course again later, as a suspect. The failure counts against the course only if it was sent on its own and
    /// its last failure was its own as well.
    fn set_aside(&self, error: CourseError, batch_limit: u16, sent: &SentCourse) -> Transition {
        if sent.batch_size > 1 || !sent.is_blamed {
            return self.retry_later(error, Suspicion::InBatch { batch_limit }, sent);
        }
        let faults = sent.faults.saturating_add(1);
        if faults >= self.max_attempts {
            return Transition::Failed { error: exhausted_error(&error, faults, sent.now) };
        }
        self.retry_later(error, Suspicion::Single, sent)
    }

    fn retry_later(&self, error: CourseError, suspicion: Suspicion, sent: &SentCourse) -> Transition {
        let after = match sent.others {
            OtherRequests::Pass => self.equal_jitter(sent.attempts, sent.jitter, self.max_interval),
            // No wait: the gate pauses sending already. The course only goes behind the others.
            OtherRequests::Fail | OtherRequests::RefusedEqually => Duration::ZERO,
        };
        Transition::Pending(Requeue::Later { error: Some(error), after, suspicion })
    }
}

/// The course is withdrawn, and an earlier request may still create a record of it: it is looked up when that cannot happen any
/// more, and archived after that.
pub(crate) fn look_up_withdrawn(settle: Duration, now: Timestamp) -> Transition {
    let message =
        "the course is withdrawn, and an earlier request may still create it; it is looked up once more";
    let error = CourseError::new(Category::UnknownOutcome, message, now);
    unconfirmed(error, Doubt::Unknown, None, settle * RECHECK_FACTOR)
}

fn unconfirmed(
    error: CourseError,
    doubt: Doubt,
    batch_limit: Option<u16>,
    look_after: Duration,
) -> Transition {
    Transition::Unconfirmed { error, doubt, batch_limit, look_after }
}

/// The error of a course whose own failures reached `retry.max_attempts`.
pub(crate) fn exhausted_error(last: &CourseError, faults: u32, now: Timestamp) -> CourseError {
    let times = if faults == 1 { "once".to_owned() } else { format!("{faults} times") };
    let message = format!(
        "the request failed {times} when this course was sent on its own, while other courses succeeded. HubSpot did not \
         execute it. Last error: {}",
        last.message
    );
    CourseError {
        category: Category::Refused,
        message: clip(&message, CourseError::MAX_MESSAGE_BYTES),
        at: now,
        ..last.clone()
    }
}

/// The size of a batch as a batch limit.
pub(crate) fn clamp_batch_limit(batch_size: usize) -> u16 {
    u16::try_from(batch_size).unwrap_or(MAX_COURSES).clamp(1, MAX_COURSES)
}

/// Half of a batch as a batch limit, rounded up so that two halves contain all courses.
fn half_batch_limit(batch_size: usize) -> u16 {
    u16::try_from(batch_size.div_ceil(2)).unwrap_or(u16::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy::default()
    }

    fn sent() -> SentCourse {
        SentCourse {
            write: Write::Create,
            batch_size: 1,
            attempts: 1,
            faults: 0,
            is_blamed: false,
            may_exist: false,
            lane: Lane::Fresh,
            others: OtherRequests::Pass,
            settle: Duration::from_secs(30),
            jitter: 1.0,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    fn error(category: Category) -> CourseError {
        CourseError::new(category, "no", Timestamp::UNIX_EPOCH)
    }

    fn refused() -> Verdict {
        Verdict::Refused(error(Category::Validation))
    }

    #[test]
    fn a_refusal_is_final_unless_the_course_may_exist_or_all_courses_are_refused_equally() {
        let failed = Transition::Failed { error: error(Category::Validation) };
        assert_eq!(policy().transition(refused(), &sent()), failed);
        let looked_up_at_once =
            unconfirmed(error(Category::Validation), Doubt::Refused, None, Duration::ZERO);
        let may_exist = SentCourse { may_exist: true, ..sent() };
        assert_eq!(policy().transition(refused(), &may_exist), looked_up_at_once);
        let requeued =
            policy().transition(refused(), &SentCourse { others: OtherRequests::RefusedEqually, ..sent() });
        assert!(matches!(
            requeued,
            Transition::Pending(Requeue::Later { error: Some(_), suspicion: Suspicion::Unchanged, .. })
        ));
    }

    fn turned_away() -> Verdict {
        Verdict::NotTaken(NotTaken::TurnedAway(error(Category::Deferred)))
    }

    /// The suspicion against a course that was turned away.
    fn suspicion(sent: &SentCourse) -> Suspicion {
        match policy().transition(turned_away(), sent) {
            Transition::Pending(Requeue::Later { suspicion, .. }) => suspicion,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_failure_counts_only_if_the_course_was_sent_on_its_own_and_is_blamed() {
        assert_eq!(suspicion(&sent()), Suspicion::InBatch { batch_limit: 1 });
        let blamed = SentCourse { is_blamed: true, ..sent() };
        assert_eq!(suspicion(&blamed), Suspicion::Single);
        assert_eq!(
            suspicion(&SentCourse { batch_size: 40, ..blamed }),
            Suspicion::InBatch { batch_limit: 40 }
        );
        let again = SentCourse { batch_size: 40, lane: Lane::Suspects, ..sent() };
        assert_eq!(suspicion(&again), Suspicion::InBatch { batch_limit: 4 });
        let in_an_outage = SentCourse { others: OtherRequests::Fail, ..again };
        assert_eq!(suspicion(&in_an_outage), Suspicion::InBatch { batch_limit: 40 });
        let last = SentCourse { faults: policy().max_attempts - 1, ..blamed };
        assert!(matches!(
            policy().transition(turned_away(), &last),
            Transition::Failed { error: CourseError { category: Category::Refused, .. } }
        ));
    }

    /// The wait in seconds of a course that was turned away after this many attempts.
    fn wait_after(attempts: u32, others: OtherRequests) -> u64 {
        match policy().transition(turned_away(), &SentCourse { attempts, others, ..sent() }) {
            Transition::Pending(Requeue::Later { after, .. }) => after.as_secs(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_failed_course_waits_longer_after_each_attempt_unless_sending_is_paused() {
        assert_eq!(
            [1, 2, 3, 10, 1_000].map(|attempts| wait_after(attempts, OtherRequests::Pass)),
            [1, 2, 4, 512, 600]
        );
        assert_eq!([1, 10, 1_000].map(|attempts| wait_after(attempts, OtherRequests::Fail)), [0, 0, 0]);
    }

    #[test]
    fn a_batch_is_halved_down_to_one() {
        let mut batch_size = 100;
        let mut sizes = Vec::new();
        while batch_size > 1 {
            batch_size = usize::from(half_batch_limit(batch_size));
            sizes.push(batch_size);
        }
        assert_eq!(sizes, [50, 25, 13, 7, 4, 2, 1]);
    }
}
