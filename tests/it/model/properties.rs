//! What must hold in every state that can be reached, and what must be reachable for that to mean
//! anything.

use stateright::Property;

use super::state::{Batch, Course, Fate, Intent, Request, State, Status, Task};
use super::variants::{Doubts, Protocol, Uniqueness};

/// No key is carried by two records.
pub const ONE_RECORD: &str = "at most one record a key";
/// A synced row names a record, and that record carries its key.
const SYNCED_IS_TRUE: &str = "synced means that this record exists";
/// Each status has its columns and its intent.
const CONSISTENT: &str = "every row is in one status, with its columns and its intent";
/// An answer to one batch never changes a row claimed for another.
pub const STALE_IS_HARMLESS: &str = "a stale writer changes nothing";
/// Nothing leaves `synced`.
pub const SYNCED_IS_FINAL: &str = "synced is final";
/// The intent is in the database before a byte is written.
pub const INTENT_FIRST: &str = "nothing is sent before its claim is committed";
/// When nothing goes on by itself any more, every course is synced, or held where that was asked for.
pub const ENDS_WELL: &str = "at rest every course is synced, or held for a person";

/// The properties of this protocol.
pub fn of(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let mut properties = vec![
        Property::always(ONE_RECORD, |_, state| one_record(state)),
        Property::always(SYNCED_IS_TRUE, |_, state| synced_is_true(state)),
        Property::always(CONSISTENT, |_, state| consistent(state)),
        Property::always(STALE_IS_HARMLESS, |_, state: &State| !state.history.stale_write),
        Property::always(SYNCED_IS_FINAL, |_, state: &State| !state.history.synced_was_left),
        Property::always(INTENT_FIRST, |_, state: &State| !state.history.sent_unclaimed),
        Property::always(ENDS_WELL, ends_well),
        Property::sometimes("all is synced", |_, state| all_are(state, Status::Synced)),
        Property::sometimes("all is in doubt", |_, state| all_are(state, Status::Unconfirmed)),
        Property::sometimes("a request outlives its sender", |_, state| outlives_its_sender(state)),
    ];
    if protocol.doubts != Doubts::Hold {
        properties.extend([
            Property::sometimes("two requests for one course are under way", |_, state| two_under_way(state)),
            Property::sometimes("a request commits after a read that did not find it", |_, state| {
                commits_late(state)
            }),
            Property::sometimes("an answer comes for a row that was claimed since", |_, state| {
                comes_too_late(state)
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
    state.rows.iter().enumerate().all(|(course, row)| {
        let has_id = row.hubspot_id.is_some() == (row.status == Status::Synced);
        let intent = row.batch.and_then(|id| state.batches.get(id));
        let has_intent = intent.is_some_and(|batch| {
            batch.courses.contains(&course) && matches!(batch.intent, Intent::Open | Intent::Unknown)
        });
        has_id && (has_intent || !row.is_open())
    })
}

fn ends_well(protocol: &Protocol, state: &State) -> bool {
    let is_well = state.rows.iter().all(|row| match row.status {
        Status::Synced => true,
        Status::Unconfirmed => protocol.doubts == Doubts::Hold,
        Status::Pending | Status::InFlight => false,
    });
    is_well || !protocol.moves(state).is_empty()
}

fn all_are(state: &State, status: Status) -> bool {
    state.rows.iter().all(|row| row.status == status)
}

fn outlives_its_sender(state: &State) -> bool {
    state.batches.iter().any(|batch| batch.task == Task::Gone && matches!(batch.request, Request::Open(_)))
}

fn two_under_way(state: &State) -> bool {
    let under_way = |course| {
        let waits = |batch: &&Batch| fate(batch, course) == Some(Fate::Untouched);
        state.batches.iter().filter(waits).count()
    };
    (0..state.rows.len()).any(|course| under_way(course) > 1)
}

fn commits_late(state: &State) -> bool {
    state.courses_in(Status::Pending).into_iter().any(|course| state.record_of(course).is_some())
}

fn comes_too_late(state: &State) -> bool {
    state.batches.iter().enumerate().any(|(id, batch)| {
        let was_claimed_since = |course: &Course| {
            let row = &state.rows[*course];
            row.is_open() && row.batch != Some(id)
        };
        matches!(batch.task, Task::Answered(_)) && batch.courses.iter().any(was_claimed_since)
    })
}

fn is_refused(state: &State) -> bool {
    let courses = 0..state.rows.len();
    courses
        .into_iter()
        .any(|course| state.batches.iter().any(|batch| fate(batch, course) == Some(Fate::Conflict)))
}

/// What HubSpot has done so far about the course, as part of this request.
fn fate(batch: &Batch, course: Course) -> Option<Fate> {
    let Request::Open(fates) = &batch.request else { return None };
    batch.courses.iter().position(|other| *other == course).map(|place| fates[place])
}
