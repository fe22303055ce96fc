//! Properties that must hold in every reachable state, and situations that must be reachable so that the properties
//! mean something.

use stateright::Property;

use super::state::{Request, Settlement, State, Status, Task, Verdict};
use super::variants::Protocol;

/// At rest, HubSpot holds what the row says, in a single live record, or none if the course is withdrawn.
pub const CONVERGES: &str = "at rest HubSpot holds the newest revision";
/// No course is in two open requests.
pub const ONE_OPEN: &str = "the course is in one open request at most";
/// `synced_revision` is a revision that HubSpot has held.
pub const SYNCED_IS_TRUE: &str = "the synced revision was in HubSpot";
/// Revisions are sent in order, and never while the outcome of an earlier request is unknown.
pub const IN_ORDER: &str =
    "nothing is sent while another request may be executed unnoticed, and revisions are sent in order";

/// The properties of this protocol.
pub fn properties_of(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let mut properties = vec![
        Property::always(CONVERGES, converges),
        Property::always(ONE_OPEN, |_, state: &State| state.open() <= 1),
        Property::always(SYNCED_IS_TRUE, |_, state: &State| {
            state.row.synced_revision <= state.history.reached
        }),
        Property::always(IN_ORDER, |_, state: &State| {
            !state.history.sent_older && !state.history.sent_unnoticed
        }),
        Property::sometimes("the last write of the catalogue is synced", |_, state: &State| {
            state.writes_left == 0 && state.row.status == Status::Synced && state.matches()
        }),
        Property::sometimes("an earlier leader has a result", |_, state: &State| {
            let has_result = |it: &Request| matches!(it.task, Task::Answered(Verdict::Applied(_)));
            state.unknown().is_some_and(|id| has_result(&state.requests[id]))
        }),
        Property::sometimes("a read shows that the row is synced", |_, state| {
            settles(state, |it| matches!(it, Settlement::Synced { .. }))
        }),
    ];
    if protocol.is_new {
        properties.extend([
            Property::sometimes("a record that is found holds another revision", |_, state| {
                settles(state, |it| matches!(it, Settlement::Found { is_sent: false, .. }))
            }),
            Property::sometimes("a record is created after the course was withdrawn", |_, state| {
                settles(state, |it| matches!(it, Settlement::FoundFirst(_)))
            }),
        ]);
    } else {
        properties.extend([
            Property::sometimes("a request is executed after a newer revision", |_, state: &State| {
                state.row.status == Status::Synced && !state.matches()
            }),
            Property::sometimes("a late request is repaired", |_, state| {
                settles(state, |it| matches!(it, Settlement::Repair(_)))
            }),
            Property::sometimes("a recheck finds no late request", |_, state| {
                settles(state, |it| *it == Settlement::Checked)
            }),
        ]);
    }
    if protocol.contents.iter().any(|content| content.archived) && !protocol.is_new {
        properties.extend([
            Property::sometimes("the course is withdrawn", |_, state: &State| {
                state.row.status == Status::Archived
            }),
            Property::sometimes("the course is offered again and has a new record", |_, state: &State| {
                state.row.status == Status::Synced && state.row.record > Some(0)
            }),
            Property::sometimes(
                "a late request archives the record of an offered course",
                |_, state: &State| {
                    state.row.status == Status::Synced
                        && settles(state, |it| *it == Settlement::ArchivedBefore)
                },
            ),
        ]);
    }
    properties
}

fn settles(state: &State, is_meant: fn(&Settlement) -> bool) -> bool {
    state.reading.as_ref().is_some_and(|reading| is_meant(&reading.settlement))
}

fn converges(protocol: &Protocol, state: &State) -> bool {
    let is_settled = matches!(state.row.status, Status::Synced | Status::Archived) && state.matches();
    state.row.status != Status::Failed && (is_settled || !protocol.regular_steps(state).is_empty())
}
