//! What must hold in every state that can be reached, and what must be reachable for that to mean
//! anything.

use stateright::Property;

use super::protocol::{Doubts, Protocol};
use super::state::{Fate, Intent, Request, State, Status, Task};

/// No key is carried by two records.
pub const ONE_RECORD: &str = "at most one record a key";
/// A synced row names a record, and that record carries its key.
pub const SYNCED_IS_TRUE: &str = "synced means that this record exists";
/// Each status has its columns and its intent.
pub const CONSISTENT: &str = "every row is in one status, with its columns and its intent";
/// An answer to one batch never changes a row claimed for another.
pub const STALE_IS_HARMLESS: &str = "a stale writer changes nothing";
/// Nothing leaves `synced`.
pub const SYNCED_IS_FINAL: &str = "synced is final";
/// The intent is in the database before a byte is written.
pub const INTENT_FIRST: &str = "nothing is sent before its claim is committed";
/// When nothing goes on by itself any more, every course is synced, or held where that was asked for.
pub const ENDS_WELL: &str = "at rest every course is synced, or held for a person";

/// Every property.
pub fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(ONE_RECORD, |_, state| one_record(state)),
        Property::always(SYNCED_IS_TRUE, |_, state| synced_is_true(state)),
        Property::always(CONSISTENT, |_, state| consistent(state)),
        Property::always(STALE_IS_HARMLESS, |_, state: &State| !state.history.stale_write),
        Property::always(SYNCED_IS_FINAL, |_, state: &State| !state.history.synced_was_left),
        Property::always(INTENT_FIRST, |_, state: &State| !state.history.sent_unclaimed),
        Property::always(ENDS_WELL, ends_well),
        Property::sometimes("all is synced", |_, state: &State| all_are(state, Status::Synced)),
        Property::sometimes("a course is in doubt", |_, state: &State| {
            !state.courses_in(Status::Unconfirmed).is_empty()
        }),
        Property::sometimes("a request outlives its sender", |_, state: &State| {
            state.batches.iter().any(|batch| {
                batch.task == Task::Gone && matches!(batch.request, Request::Open(_))
            })
        }),
        Property::sometimes("two requests for one course are under way", |_, state| two_under_way(state)),
        Property::sometimes("a late request commits after its course went back", |_, state: &State| {
            state.courses_in(Status::Pending).into_iter().any(|course| state.record_of(course).is_some())
        }),
    ]
}

/// What can only be seen where HubSpot refuses a second record, or where courses are sent again.
fn one_record(state: &State) -> bool {
    (0..state.rows.len()).all(|course| state.records.iter().filter(|key| **key == course).count() <= 1)
}

fn synced_is_true(state: &State) -> bool {
    state.rows.iter().enumerate().filter(|(_, row)| row.status == Status::Synced).all(|(course, row)| {
        row.hubspot_id.is_some_and(|id| state.records.get(id) == Some(&course))
    })
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

fn two_under_way(state: &State) -> bool {
    (0..state.rows.len()).any(|course| {
        let carries = |batch: &&super::state::Batch| {
            let place = batch.courses.iter().position(|other| *other == course);
            let Request::Open(fates) = &batch.request else { return false };
            place.is_some_and(|place| fates[place] == Fate::Untouched)
        };
        state.batches.iter().filter(carries).count() > 1
    })
}
