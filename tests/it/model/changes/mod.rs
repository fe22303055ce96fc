//! A model of the protocol of changes, checked exhaustively: one course, whose row the catalogue changes, withdraws and
//! offers again at any time. The model of the create protocol is beside it (`model`); claims and faults of the database are
//! examined there in detail, and simplified here.
//!
//! **State** (`state.rs`): the row, with what HubSpot is known to hold and what may come late; HubSpot's records; the
//! requests, each with its row in the journal, its task and its way through the network; what the leader has read.
//!
//! **Steps** (`protocol.rs`, `steps.rs`, `settle.rs`): the catalogue, two daemons, and HubSpot, which executes a request at
//! once, late or never. Late means also: after a look-up, after a newer request, and after the end of its sender. A leader
//! that lost its lease still records what it receives, but sends nothing. Of the two daemons only this difference is
//! left: whether a request was claimed in the present term.
//!
//! **Properties** (`properties.rs`) must hold in every state. At rest nothing is in flight, no request is late and no recheck
//! is due; then HubSpot holds the newest revision, in one live record, or none if the course is withdrawn. No run contains a
//! cycle, so every run comes to rest.
//!
//! **Parts** (`variants.rs`): without one of its parts the protocol is wrong, and the checker must find a violation.
//!
//! Assumptions: a request is executed before the recheck that was scheduled after it was sent, or never; nothing is
//! assumed about requests that were sent later. HubSpot refuses a second live record with the same key. A read shows what
//! was executed before it, the live records and the recycle bin together. HubSpot's records have no other writer.
//!
//! Not covered: more than one course or property; the two steps of a claim and their numbers; the reads before and after an
//! archive (its answer counts as proof); merged, deleted and adopted records; refusals and `failed`; answers that do not show
//! the record; reads that fail; retry, resolve and pause; lost commits; a third daemon. `IN_ORDER` does not count creates,
//! which cannot overwrite anything.

mod properties;
mod protocol;
mod settle;
mod state;
mod steps;
mod variants;

use stateright::{Checker, Model};

use super::{assert_every_run_ends, shortest_path};
use variants::{BrokenVariant, Protocol};

/// Explores every state and checks every property.
fn check_properties(protocol: Protocol) {
    protocol.checker().spawn_dfs().join().assert_properties();
}

#[test]
fn the_protocol_of_changes_is_correct_for_values() {
    check_properties(variants::values(2, 3));
    check_properties(variants::values(3, 2));
}

#[test]
fn the_protocol_of_changes_is_correct_for_withdrawals_and_offers() {
    check_properties(variants::lifecycle(3, 2));
}

#[test]
fn the_protocol_of_changes_is_correct_for_a_course_that_is_not_created_yet() {
    check_properties(variants::new_course(2, 2));
    check_properties(variants::new_course(3, 1));
}

#[test]
fn every_part_of_the_protocol_of_changes_is_necessary() {
    for BrokenVariant { protocol, violates } in variants::broken_variants() {
        let path = shortest_path(&protocol, violates, Clone::clone);
        assert!(path.is_some(), "no violation of {violates:?} was found without {:?}", protocol.without);
    }
}

#[test]
fn every_run_of_changes_ends() {
    for protocol in [variants::values(2, 2), variants::lifecycle(2, 2), variants::new_course(2, 1)] {
        assert_every_run_ends(&protocol, Clone::clone);
    }
}
