//! Reduces the number of states: states that differ in names only, or in values that are never read again, have the
//! same representative. Without this the check would take minutes.
//!
//! Valid for [`super::variants::Guard::BatchAndStatus`] only: a weaker guard reads more of the past.

use std::collections::BTreeSet;
use std::iter;

use super::state::{BatchId, Course, Holder, Intent, Leadership, Request, State, Task, Term, Verdict};

/// The representative of all states with the same future.
pub fn representative(state: &State) -> State {
    let reduced = remove_irrelevant(state.clone());
    let swapped = renumber(swap_daemons(reduced.clone()));
    renumber(reduced).min(swapped)
}

/// Removes values that have no effect any more.
fn remove_irrelevant(mut state: State) -> State {
    let term = state.lease.term;
    for daemon in &mut state.daemons {
        // A term never returns.
        if matches!(daemon.leadership, Leadership::Held(old) if old != term) {
            daemon.leadership = Leadership::No;
        }
    }
    for row in state.rows.iter_mut().filter(|row| !row.is_open()) {
        row.batch = None;
    }
    for (id, batch) in state.batches.iter_mut().enumerate() {
        if batch.intent == Intent::Unknown && state.rows.iter().all(|row| row.batch != Some(id)) {
            batch.intent = Intent::Closed;
        }
        if batch.intent != Intent::Open {
            if batch.task != Task::Claimed {
                batch.term = 0;
            }
            if batch.task == Task::Ended {
                batch.sender = 0;
            }
        }
        if let Task::ResponseReceived(verdicts) = &mut batch.task {
            // Both verdicts make the row unconfirmed.
            for verdict in verdicts.iter_mut().filter(|verdict| **verdict == Verdict::Exists) {
                *verdict = Verdict::Unknown;
            }
        }
    }
    state
}

/// Swaps the two daemons.
fn swap_daemons(mut state: State) -> State {
    state.daemons.reverse();
    if let Holder::Alive(instance) = &mut state.lease.holder {
        *instance = 1 - *instance;
    }
    for batch in &mut state.batches {
        if batch.task != Task::Ended || batch.intent == Intent::Open {
            batch.sender = 1 - batch.sender;
        }
    }
    state
}

/// Renumbers batches and terms, and removes batches that have no effect any more.
fn renumber(mut state: State) -> State {
    rename_terms(&mut state);
    let mut kept: Vec<BatchId> = (0..state.batches.len()).filter(|id| has_future(&state, *id)).collect();
    kept.sort_by_cached_key(|id| (state.batches[*id].clone(), references(&state, *id)));
    let renamed = |id: BatchId| kept.iter().position(|kept| *kept == id);
    for row in &mut state.rows {
        row.batch = row.batch.and_then(renamed);
    }
    for look_up in state.daemons.iter_mut().filter_map(|daemon| daemon.look_up.as_mut()) {
        for (_, batch) in &mut look_up.courses {
            *batch = renamed(*batch).expect("a batch that is being looked up is kept");
        }
    }
    state.batches = kept.iter().map(|id| state.batches[*id].clone()).collect();
    state
}

/// Whether a later step may depend on this batch.
fn has_future(state: &State, id: BatchId) -> bool {
    let batch = &state.batches[id];
    batch.task != Task::Ended
        || batch.request != Request::Ended
        || batch.intent == Intent::Open
        || references(state, id).iter().any(|place| !place.is_empty())
}

/// The courses that refer to this batch, in the rows and in the look-ups of the two daemons.
fn references(state: &State, id: BatchId) -> Vec<Vec<Course>> {
    let rows = (0..state.rows.len()).filter(|course| state.rows[*course].batch == Some(id)).collect();
    let look_ups = state.daemons.iter().map(|daemon| {
        let courses = daemon.look_up.iter().flat_map(|look_up| &look_up.courses);
        courses.filter(|(_, batch)| *batch == id).map(|(course, _)| *course).collect()
    });
    iter::once(rows).chain(look_ups).collect()
}

/// Renumbers the terms. Terms are compared for equality only, and the lease has the highest.
fn rename_terms(state: &mut State) {
    let mut terms: BTreeSet<Term> = state.batches.iter().map(|batch| batch.term).collect();
    let of_daemon = |leads| match leads {
        Leadership::Taken(term) | Leadership::Held(term) => Some(term),
        Leadership::No => None,
    };
    terms.extend(state.daemons.iter().filter_map(|daemon| of_daemon(daemon.leadership)));
    terms.extend([0, state.lease.term]);
    let renamed = |term: Term| (0..).zip(&terms).find(|(_, old)| **old == term).map_or(term, |(new, _)| new);
    state.lease.term = renamed(state.lease.term);
    for batch in &mut state.batches {
        batch.term = renamed(batch.term);
    }
    for daemon in &mut state.daemons {
        daemon.leadership = match daemon.leadership {
            Leadership::Taken(term) => Leadership::Taken(renamed(term)),
            Leadership::Held(term) => Leadership::Held(renamed(term)),
            Leadership::No => Leadership::No,
        };
    }
}
