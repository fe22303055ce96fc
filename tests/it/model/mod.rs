//! The protocol between the outbox, two daemons and HubSpot, small enough to try every order in which
//! things may happen: where tests try some unlucky moments, this tries them all.
//!
//! It judges the design and shares no code with it. Which function a step stands for is said at
//! [`protocol::Action`]; whether that function does what the step does is for the other tests.
//!
//! **What there is** (`state.rs`): the rows, the journal of intents, the lease; two daemons with what they
//! remember; the requests under way, which outlive their senders; HubSpot's records.
//!
//! **What happens** (`protocol.rs`, `steps.rs`): one step at a time, each atomic as a statement is, and
//! between two steps any time may pass. So every daemon may stand still anywhere: between claim, check and
//! write, past its lease, while another one leads. HubSpot may work on a request early, after its
//! sender gave up, after a read that did not find it, or never. There is no clock: what rests on a wait
//! (`outbox.settle`, the margin of the lease) is not needed for what is proved here. Faults are counted, and every
//! run with so many faults is tried.
//!
//! **What must hold** (`properties.rs`), in every state; and at rest, where nothing goes on but for
//! another fault, every course is synced. Since no run goes round in circles ([`every_run_ends`]), each comes to
//! rest once its faults are used up. What must be possible (a late commit, a conflict, a stale writer)
//! is demanded too, or the rest would prove nothing.
//!
//! **What must not** (`variants.rs`): without one of these parts the protocol breaks, and the checker has to
//! find how. `cargo test --test it model:: -- --nocapture` shows the shortest ways.
//!
//! **How** (`reduce.rs`): states that differ by names alone are tried once.
//!
//! Assumed: the database keeps what it committed, and HubSpot's uniqueness is atomic. Not covered: `failed` and
//! what leads there (refusals, bisection, collisions of keys up to case); a person's retry, resolve, pause;
//! archived and merged records, so the read of the recycle bin is one with that of the live records; reads
//! that fail, which change nothing; the hand-over at a clean stop, which is an expiry in time; the quota; a
//! third daemon; more than one course with three faults, or two with one.

mod properties;
mod protocol;
mod reduce;
mod state;
mod steps;
mod variants;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Instant;

use stateright::{Checker, Expectation, Model, Path};

use protocol::Action;
use state::State;
use variants::{Broken, Protocol};

/// Explores every state, and demands every property.
fn holds(what: &str, protocol: Protocol) {
    let began = Instant::now();
    let (courses, faults) = (protocol.courses, protocol.faults);
    let checker = protocol.checker().symmetry_fn(reduce::representative).spawn_dfs().join();
    eprintln!(
        "{what}, {courses} courses, {faults} faults: {} states, {} steps deep, {:?}",
        checker.unique_state_count(),
        checker.max_depth(),
        began.elapsed()
    );
    checker.assert_properties();
}

#[test]
fn one_course_and_three_faults() {
    holds("as designed", variants::designed(1, 3));
}

#[test]
fn two_courses_and_a_fault() {
    holds("as designed", variants::designed(2, 1));
}

#[test]
fn without_uniqueness_holding_courses_creates_no_duplicate() {
    holds("holding", variants::holding(1, 3));
    holds("holding", variants::holding(2, 1));
}

#[test]
fn every_part_is_needed() {
    for Broken { what, protocol, breaks } in variants::broken() {
        let path = shortest_path(&protocol, breaks);
        let path = path.unwrap_or_else(|| panic!("{what} passes for sound: {breaks:?} holds in every state"));
        eprintln!("{what} breaks {breaks:?} in {} steps:", path.len());
        for action in path {
            eprintln!("    {action:?}");
        }
    }
}

/// No run that breaks a property needs to be longer.
const LONGEST_PATH: usize = 40;

/// The shortest run that breaks this property. The checker would return the last that it comes across
/// before it stops, so it is let go no deeper than it must.
fn shortest_path(protocol: &Protocol, property: &'static str) -> Option<Vec<Action>> {
    (1..=LONGEST_PATH).find_map(|depth| {
        let checker = protocol.clone().checker().target_max_depth(depth).spawn_bfs().join();
        checker.discovery(property).map(Path::into_actions)
    })
}

/// The checker judges states. That a run cannot go round in circles, so that it does come to rest, is
/// for this test.
#[test]
fn every_run_ends() {
    for protocol in [variants::designed(1, 2), variants::designed(2, 1), variants::holding(1, 2)] {
        let start = State::new(protocol.courses, protocol.faults);
        let futures = |state: &State| futures(&protocol, state).into_iter().collect::<Vec<_>>();
        let mut is_on_path = HashMap::from([(start.clone(), true)]);
        let mut path = vec![(start.clone(), futures(&start))];
        while let Some((state, left)) = path.last_mut() {
            let Some(next) = left.pop() else {
                is_on_path.insert(state.clone(), false);
                path.pop();
                continue;
            };
            match is_on_path.get(&next) {
                Some(true) => panic!("a run comes back to {next:#?}"),
                Some(false) => {}
                None => {
                    is_on_path.insert(next.clone(), true);
                    path.push((next.clone(), futures(&next)));
                }
            }
        }
    }
}

/// What the reduction takes for one really is: the same properties hold, and the same futures follow.
#[test]
fn a_representative_has_the_same_future() {
    for protocol in [variants::designed(1, 2), variants::designed(2, 1), variants::holding(2, 1)] {
        let mut seen = HashSet::new();
        let mut open = vec![State::new(protocol.courses, protocol.faults)];
        while let Some(state) = open.pop() {
            let representative = reduce::representative(&state);
            if !seen.insert(representative.clone()) {
                continue;
            }
            assert_eq!(futures(&protocol, &state), futures(&protocol, &representative), "{state:#?}");
            for property in protocol.properties() {
                let holds = |state| (property.condition)(&protocol, state);
                let is_invariant = matches!(property.expectation, Expectation::Always);
                assert!(
                    !is_invariant || holds(&state) == holds(&representative),
                    "{}: {state:#?}",
                    property.name
                );
            }
            open.extend(protocol.next_states(&state));
        }
    }
}

/// The representatives of what may follow.
fn futures(protocol: &Protocol, state: &State) -> BTreeSet<State> {
    protocol.next_states(state).iter().map(reduce::representative).collect()
}
