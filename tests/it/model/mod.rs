//! model
mod properties;
mod protocol;
mod state;
mod steps;

use std::time::Instant;
use stateright::{Checker, Model};
use protocol::Protocol;

#[test]
fn probe() {
    for (courses, faults) in [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (1, 3)] {
        let began = Instant::now();
        let checker = Protocol::designed(courses, faults).checker().target_state_count(400_000).spawn_bfs().join();
        eprintln!("{courses} {faults}: {} states, depth {}, {:?}; {:?}", checker.unique_state_count(), checker.max_depth(), began.elapsed(), checker.discoveries().keys().collect::<Vec<_>>());
    }
}
