//! Properties that must hold in every reachable state, and situations that must be reachable so that the properties
//! mean something.

use stateright::Property;

use super::state::{Batch, Course, CreateProgress, Intent, Request, State, Status, Task};
use super::variants::{Protocol, UnconfirmedPolicy, Uniqueness};

/// No two records have the same key.
pub const ONE_RECORD: &str = "at most one record per key";
/// A synced row contains the id of a record, and that record has the key of the row.
const SYNCED_IS_TRUE: &str = "the record of a synced course exists";
/// The columns and the intent of each row match its status.
const CONSISTENT: &str = "every row has the columns and the intent of its status";
/// No course is in flight for two batches.
pub const ONE_INTENT: &str = "no course is in two open intents";
/// A result changes only rows whose course is in flight for its batch, or unconfirmed because of it.
pub const STALE_IS_HARMLESS: &str = "a stale writer changes nothing";
/// A synced row never changes its status.
pub const SYNCED_IS_FINAL: &str = "synced is final";
/// The intent is in the database before a byte is written.
pub const INTENT_FIRST: &str = "nothing is sent before its claim is committed";
/// When no step without a fault is left, every course is synced, or held if `outbox.unconfirmed` is `hold`.
pub const SETTLES_AT_REST: &str = "at rest every course is synced, or held for an operator";

/// The properties of this protocol.
pub fn properties_of(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let mut properties = vec![
        Property::always(ONE_RECORD, |_, state| one_record(state)),
        Property::always(SYNCED_IS_TRUE, |_, state| synced_is_true(state)),
        Property::always(CONSISTENT, |_, state| consistent(state)),
        Property::always(ONE_INTENT, |_, state| one_intent(state)),
        Property::always(STALE_IS_HARMLESS, |_, state: &State| !state.history.stale_write),
        Property::always(SYNCED_IS_FINAL, |_, state: &State| !state.history.synced_was_left),
        Property::always(INTENT_FIRST, |_, state: &State| !state.history.sent_unclaimed),
        Property::always(SETTLES_AT_REST, settles_at_rest),
        Property::sometimes("all courses are synced", |_, state| all_are(state, Status::Synced)),
        Property::sometimes("all courses are unconfirmed", |_, state| all_are(state, Status::Unconfirmed)),
        Property::sometimes("a request outlives its sender", |_, state| request_outlives_its_sender(state)),
        Property::sometimes("a claim without an acknowledgement is committed", |_, state| {
            lost_claim_is_committed(state)
        }),
        Property::sometimes("a claim is committed while another one is running", |_, state| {
            number_is_taken(state)
        }),
    ];
    if protocol.unconfirmed != UnconfirmedPolicy::Hold {
        properties.extend([
            Property::sometimes("two requests for one course are in progress", |_, state| {
                two_requests_in_progress(state)
            }),
            Property::sometimes("a request commits after a read that did not find it", |_, state| {
                request_commits_late(state)
            }),
            Property::sometimes("a response arrives for a row that was claimed again", |_, state| {
                response_is_stale(state)
            }),
        ]);
    }
    if protocol.uniqueness == Uniqueness::Atomic {
        properties
            .push(Property::sometimes("HubSpot refuses the second record", |_, state| is_refused(state)));
    }
    properties
}

fn one_record(state: &State) -> bool {
    (0..state.rows.len()).all(|course| state.records.iter().filter(|key| **key == course).count() <= 1)
}

fn synced_is_true(state: &State) -> bool {
    state
        .rows
        .iter()
        .enumerate()
        .filter(|(_, row)| row.status == Status::Synced)
        .all(|(course, row)| row.hubspot_id.is_some_and(|id| state.records.get(id) == Some(&course)))
}

fn consistent(state: &State) -> bool {
    let rows_match = state.rows.iter().enumerate().all(|(course, row)| {
        let has_id = row.hubspot_id.is_some() == (row.status == Status::Synced);
        let intent = row.batch.and_then(|id| state.batches.get(id));
        let has_intent = intent.is_some_and(|batch| {
            batch.courses.contains(&course) && matches!(batch.intent, Intent::Open | Intent::Unknown)
        });
        has_id && (has_intent || row.status != Status::Unconfirmed)
    });
    let intents_match = state.batches.iter().all(|batch| {
        let is_pending = |course: &Course| state.rows[*course].status == Status::Pending;
        (batch.intent == Intent::Open) != batch.in_flight.is_empty()
            && batch.in_flight.iter().all(|course| batch.courses.contains(course) && is_pending(course))
    });
    rows_match && intents_match
}

fn one_intent(state: &State) -> bool {
    (0..state.rows.len()).all(|course| state.batches_in_flight(course) <= 1)
}

fn settles_at_rest(protocol: &Protocol, state: &State) -> bool {
    let is_settled = state.rows.iter().all(|row| match row.status {
        Status::Synced => true,
        Status::Unconfirmed => protocol.unconfirmed == UnconfirmedPolicy::Hold,
        Status::Pending => false,
    });
    is_settled || !protocol.regular_steps(state).is_empty()
}

fn all_are(state: &State, status: Status) -> bool {
    state.rows.iter().all(|row| row.status == status)
}

fn request_outlives_its_sender(state: &State) -> bool {
    state.batches.iter().any(|batch| batch.task == Task::Ended && matches!(batch.request, Request::Open(_)))
}

fn two_requests_in_progress(state: &State) -> bool {
    let in_progress = |course| {
        let waits = |batch: &&Batch| create_progress(batch, course) == Some(CreateProgress::Untouched);
        state.batches.iter().filter(waits).count()
    };
    (0..state.rows.len()).any(|course| in_progress(course) > 1)
}

fn request_commits_late(state: &State) -> bool {
    state.courses_in(Status::Pending).into_iter().any(|course| state.record_of(course).is_some())
}

fn response_is_stale(state: &State) -> bool {
    state.batches.iter().enumerate().any(|(id, batch)| {
        let was_claimed_since = |course: &Course| {
            let others = state.batches.iter().enumerate().filter(|(other, _)| *other != id);
            others
                .into_iter()
                .any(|(other, later)| later.is_in_flight(*course) || state.is_unconfirmed_by(*course, other))
        };
        matches!(batch.task, Task::ResponseReceived(_)) && batch.courses.iter().any(was_claimed_since)
    })
}

fn lost_claim_is_committed(state: &State) -> bool {
    state.batches.iter().any(|batch| batch.task == Task::ClaimLost && batch.intent == Intent::Open)
}

fn number_is_taken(state: &State) -> bool {
    let is_taken = |intent| matches!(intent, Intent::Missing { number } if !state.is_free(number));
    state.batches.iter().any(|batch| is_taken(batch.intent))
}

fn is_refused(state: &State) -> bool {
    let courses = 0..state.rows.len();
    courses.into_iter().any(|course| {
        state.batches.iter().any(|batch| create_progress(batch, course) == Some(CreateProgress::Conflict))
    })
}

/// How far HubSpot has executed this request for the course.
fn create_progress(batch: &Batch, course: Course) -> Option<CreateProgress> {
    let Request::Open(progress) = &batch.request else { return None };
    batch.courses.iter().position(|other| *other == course).map(|place| progress[place])
}
