//! A model of the protocol between the outbox, two daemons and HubSpot, checked exhaustively: it is small enough to
//! explore every order of events, where other tests cover some orders only.
//!
//! The model checks the design and shares no code with it. [`protocol::Action`] names the function behind each step.
//! That each function does what its step does is for the other tests to show.
//!
//! **State** (`state.rs`): the rows, the journal of intents and the lease; the memory of two daemons; the requests in
//! progress, which outlive their senders; HubSpot's records. A claim writes to the journal only. A course is in flight
//! while an open intent lists it without an outcome, and its row is written with the outcome.
//!
//! **Steps** (`protocol.rs`, `steps.rs`): each step is atomic, and any time may pass between two steps. So a daemon may
//! be suspended anywhere: between claim, check and write, or past its lease while the other daemon leads. A claim is two
//! steps, because it is the only statement that chooses courses by a snapshot and does not lock them: other statements
//! may be committed between its snapshot and its own commit, also while its daemon is dead or has forgotten it. HubSpot
//! may execute a request early, after its sender timed out, after a read that did not find the record, or never. There
//! is no clock, so the result does not depend on waiting times (`outbox.settle`, the margin of the lease). Faults are
//! limited in number, and every run with that number of faults is explored.
//!
//! **Properties** (`properties.rs`) must hold in every state. At rest, when only another fault could change anything,
//! every course is synced. No run contains a cycle ([`every_run_ends`]), so every run comes to rest after its last
//! fault. Some situations must be reachable (a late commit, a conflict, a stale writer, a lost claim), or the check
//! would prove nothing.
//!
//! **Broken variants** (`variants.rs`): without one of its parts the protocol is wrong, and the checker must find a
//! violation. `cargo test --test it model:: -- --nocapture` prints the shortest one for each part.
//!
//! **Reduction** (`reduce.rs`): states that differ in names only, or in values without effect, are explored once.
//!
//! Assumptions: the database keeps what it committed, the journal keeps its last claim, HubSpot's uniqueness check is
//! atomic, and each statement except the claim sees what was committed before it wrote. Not covered: changes of a
//! course by the catalogue, and so revisions (`changes` is a model of them); `failed` and what leads to it (refusals,
//! bisection, keys that differ in case); retry, resolve and pause by an operator; the verification after lost commits;
//! archived and merged records (the read of the recycle bin counts as one with the read of live records); failed reads,
//! which change nothing; the release of the lease at shutdown, which is an expiry in time; the quota; claims of several
//! batches in one statement; a third daemon; more than one course with three faults, or two courses with one (with two
//! if unconfirmed courses are held).

mod changes;
mod properties;
mod protocol;
mod reduce;
mod state;
mod steps;
mod variants;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;
use std::iter;
use std::time::Instant;

use stateright::{Checker, Expectation, Model};

use state::State;
use variants::{BrokenVariant, Protocol};

/// Explores every state and checks every property.
fn check_properties(name: &str, protocol: Protocol) {
    let began = Instant::now();
    let (courses, faults) = (protocol.courses, protocol.faults);
    let checker = protocol.checker().symmetry_fn(reduce::representative).spawn_dfs().join();
    eprintln!(
        "{name}, {courses} courses, {faults} faults: {} states, {} steps deep, {:?}",
        checker.unique_state_count(),
        checker.max_depth(),
        began.elapsed()
    );
    checker.assert_properties();
}

#[test]
fn the_protocol_is_correct_for_one_course_and_three_faults() {
    check_properties("as designed", variants::designed(1, 3));
}

#[test]
fn the_protocol_is_correct_for_two_courses_and_one_fault() {
    check_properties("as designed", variants::designed(2, 1));
}

#[test]
fn holding_unconfirmed_courses_prevents_duplicates_without_uniqueness() {
    check_properties("holding", variants::with_hold(1, 3));
    check_properties("holding", variants::with_hold(2, 2));
}

#[test]
fn every_part_of_the_protocol_is_necessary() {
    for BrokenVariant { name, protocol, violates } in variants::broken_variants() {
        let path = shortest_path(&protocol, violates, reduce::canonical_names);
        let path = path.unwrap_or_else(|| panic!("{name}: no violation of {violates:?} was found"));
        eprintln!("{name} violates {violates:?} in {} steps:", path.len());
        for action in path {
            eprintln!("    {action:?}");
        }
    }
}

/// The shortest run that violates this property: a search in breadth. `None`: there is no violation. `canonical`: equal for
/// states with the same future.
fn shortest_path<M>(model: &M, property: &str, canonical: fn(&M::State) -> M::State) -> Option<Vec<M::Action>>
where
    M: Model,
    M::State: Clone + Eq + Hash,
    M::Action: Clone,
{
    let property = model.properties().into_iter().find(|it| it.name == property)?;
    let start = model.init_states().pop()?;
    let mut seen = HashSet::from([canonical(&start)]);
    // Each state with the action and the place of the state that led to it.
    let mut reached = vec![(start, None::<(M::Action, usize)>)];
    for place in 0.. {
        let state = reached.get(place)?.0.clone();
        if !(property.condition)(model, &state) {
            let before = |it: &(M::Action, usize)| reached[it.1].1.clone();
            let steps = iter::successors(reached[place].1.clone(), before);
            let mut path: Vec<_> = steps.map(|(action, _)| action).collect();
            path.reverse();
            return Some(path);
        }
        for (action, next) in model.next_steps(&state) {
            if seen.insert(canonical(&next)) {
                reached.push((next, Some((action, place))));
            }
        }
    }
    None
}

#[test]
fn every_run_ends() {
    for protocol in [variants::designed(1, 2), variants::designed(2, 1), variants::with_hold(1, 2)] {
        assert_every_run_ends(&protocol, reduce::representative);
    }
}

/// The checker examines single states. This shows that no run contains a cycle, so every run comes to rest.
fn assert_every_run_ends<M>(model: &M, representative: fn(&M::State) -> M::State)
where
    M: Model,
    M::State: Clone + Debug + Eq + Hash,
{
    let futures = |state: &M::State| -> Vec<M::State> {
        model.next_states(state).iter().map(representative).collect::<HashSet<_>>().into_iter().collect()
    };
    let mut is_on_path = HashMap::new();
    let mut path = Vec::new();
    for start in model.init_states() {
        is_on_path.insert(start.clone(), true);
        path.push((start.clone(), futures(&start)));
    }
    while let Some((state, left)) = path.last_mut() {
        let Some(next) = left.pop() else {
            is_on_path.insert(state.clone(), false);
            path.pop();
            continue;
        };
        match is_on_path.get(&next) {
            Some(true) => panic!("a run contains a cycle through {next:#?}"),
            Some(false) => {}
            None => {
                is_on_path.insert(next.clone(), true);
                path.push((next.clone(), futures(&next)));
            }
        }
    }
}

/// A state and its representative have the same properties and the same successors.
#[test]
fn equivalent_states_have_the_same_future() {
    for protocol in [variants::designed(1, 2), variants::designed(2, 1), variants::with_hold(2, 1)] {
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

/// The representatives of the successors of a state.
fn futures(protocol: &Protocol, state: &State) -> BTreeSet<State> {
    protocol.next_states(state).iter().map(reduce::representative).collect()
}
