//! States that differ by names only, or by what nobody will ever read again, are one: each is stood for
//! by the same representative. Without this the check would take minutes.
//!
//! Only for [`super::variants::Guard::BatchAndStatus`]: a guard that looks at less reads more of the past.

use std::collections::BTreeSet;
use std::iter;

use super::state::{BatchId, Course, Holder, Intent, Leads, Request, State, Task, Term, Verdict};

/// The representative of all states with the same future.
pub fn representative(state: &State) -> State {
    let forgetful = forget(state.clone());
    let mirrored = named(mirror(forgetful.clone()));
    named(forgetful).min(mirrored)
}

/// Without what has no effect any more.
fn forget(mut state: State) -> State {
    let term = state.lease.term;
    for daemon in &mut state.daemons {
        // A term never comes back.
        if matches!(daemon.leads, Leads::Held(old) if old != term) {
            daemon.leads = Leads::No;
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
            if batch.task == Task::Gone {
                batch.sender = 0;
            }
        }
        if let Task::Answered(verdicts) = &mut batch.task {
            // Both put the row in doubt.
            for verdict in verdicts.iter_mut().filter(|verdict| **verdict == Verdict::Exists) {
                *verdict = Verdict::Unknown;
            }
        }
    }
    state
}

/// With the two daemons exchanged.
fn mirror(mut state: State) -> State {
    state.daemons.reverse();
    if let Holder::Alive(instance) = &mut state.lease.holder {
        *instance = 1 - *instance;
    }
    for batch in &mut state.batches {
        if batch.task != Task::Gone || batch.intent == Intent::Open {
            batch.sender = 1 - batch.sender;
        }
    }
    state
}

/// With batches and terms numbered anew, those without a future left out.
fn named(mut state: State) -> State {
    rename_terms(&mut state);
    let mut kept: Vec<BatchId> = (0..state.batches.len()).filter(|id| has_future(&state, *id)).collect();
    kept.sort_by_cached_key(|id| (state.batches[*id].clone(), referring(&state, *id)));
    let renamed = |id: BatchId| kept.iter().position(|kept| *kept == id);
    for row in &mut state.rows {
        row.batch = row.batch.and_then(renamed);
    }
    for look in state.daemons.iter_mut().filter_map(|daemon| daemon.look.as_mut()) {
        for (_, batch) in &mut look.doubted {
            *batch = renamed(*batch).expect("what is looked at is kept");
        }
    }
    state.batches = kept.iter().map(|id| state.batches[*id].clone()).collect();
    state
}

/// Whether anything that may still happen depends on this batch.
fn has_future(state: &State, id: BatchId) -> bool {
    let batch = &state.batches[id];
    batch.task != Task::Gone
        || batch.request != Request::Over
        || batch.intent == Intent::Open
        || referring(state, id).iter().any(|place| !place.is_empty())
}

/// The courses for which this batch is named: in the rows, and in the looks of the two daemons.
fn referring(state: &State, id: BatchId) -> Vec<Vec<Course>> {
    let rows = (0..state.rows.len()).filter(|course| state.rows[*course].batch == Some(id)).collect();
    let looks = state.daemons.iter().map(|daemon| {
        let doubted = daemon.look.iter().flat_map(|look| &look.doubted);
        doubted.filter(|(_, batch)| *batch == id).map(|(course, _)| *course).collect()
    });
    iter::once(rows).chain(looks).collect()
}

/// Terms are only compared for being equal, and the lease's is the highest.
fn rename_terms(state: &mut State) {
    let mut terms: BTreeSet<Term> = state.batches.iter().map(|batch| batch.term).collect();
    let of_daemon = |leads| match leads {
        Leads::Taken(term) | Leads::Held(term) => Some(term),
        Leads::No => None,
    };
    terms.extend(state.daemons.iter().filter_map(|daemon| of_daemon(daemon.leads)));
    terms.extend([0, state.lease.term]);
    let renamed = |term: Term| (0..).zip(&terms).find(|(_, old)| **old == term).map_or(term, |(new, _)| new);
    state.lease.term = renamed(state.lease.term);
    for batch in &mut state.batches {
        batch.term = renamed(batch.term);
    }
    for daemon in &mut state.daemons {
        daemon.leads = match daemon.leads {
            Leads::Taken(term) => Leads::Taken(renamed(term)),
            Leads::Held(term) => Leads::Held(renamed(term)),
            Leads::No => Leads::No,
        };
    }
}
