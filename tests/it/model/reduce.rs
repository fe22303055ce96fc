//! Reduces the number of states: states that differ in names only, or in values that are never read again, have the
//! same representative. Without this the check would take minutes.
//!
//! [`representative`] is valid for [`super::variants::Guard::IntentAndBatch`] only: a weaker guard reads more of the
//! past. [`canonical_names`] is valid for every variant.

use std::iter;

use super::state::{
    Batch, BatchId, Course, CreateProgress, EARLIER_CLAIMS, Holder, Intent, Request, State, Status, Task,
    Verdict,
};

/// The representative of all states with the same future.
pub fn representative(state: &State) -> State {
    canonical_names(&remove_irrelevant(state.clone()))
}

/// The representative of all states that differ in the names of daemons, courses, batches, terms and records only.
pub fn canonical_names(state: &State) -> State {
    let state = name_by_role(state.clone());
    let swapped = swap_daemons(state.clone());
    let mut candidates = vec![renumber(state), renumber(swapped)];
    if candidates[0].rows.len() == 2 {
        candidates.extend(candidates.clone().into_iter().map(|state| renumber(swap_courses(state))));
    }
    candidates.into_iter().min().expect("there are candidates")
}

/// Removes values that have no effect any more.
fn remove_irrelevant(mut state: State) -> State {
    for row in state.rows.iter_mut().filter(|row| row.status != Status::Unconfirmed) {
        row.batch = None;
    }
    let can_record = |state: &State, id: BatchId, course: Course| {
        state.batches[id].is_being_claimed()
            || state.batches[id].is_in_flight(course)
            || state.is_unconfirmed_by(course, id)
    };
    for id in 0..state.batches.len() {
        let is_recordable: Vec<bool> =
            state.batches[id].courses.iter().map(|course| can_record(&state, id, *course)).collect();
        let batch = &mut state.batches[id];
        if let Task::ResponseReceived(verdicts) = &mut batch.task {
            for (verdict, is_recordable) in verdicts.iter_mut().zip(&is_recordable) {
                // An existing record and an unknown outcome make the row unconfirmed.
                if !is_recordable || *verdict == Verdict::Exists {
                    *verdict = Verdict::Unknown;
                }
            }
        }
        if let Request::Open(progress) = &mut batch.request {
            for (create_progress, is_recordable) in progress.iter_mut().zip(&is_recordable) {
                if !is_recordable && matches!(create_progress, CreateProgress::Created(_)) {
                    *create_progress = CreateProgress::Conflict;
                }
            }
        }
    }
    state
}

/// Names terms, numbers and senders by what later steps read of them: whether the term is the current one, whether the
/// number is free, and which running task belongs to which daemon. Terms never return.
fn name_by_role(mut state: State) -> State {
    for batch in &mut state.batches {
        let is_term_read =
            batch.is_being_claimed() || batch.intent == Intent::Open || batch.task == Task::Claimed;
        batch.term = u8::from(is_term_read && batch.term == state.lease.term);
        if batch.task == Task::Ended {
            batch.sender = 0;
        }
        if let Intent::Missing { number } = &mut batch.intent {
            // Only claims of the current term may be committed.
            let ahead = if batch.term == 0 { 0 } else { number.saturating_sub(state.last_claim) };
            *number = EARLIER_CLAIMS + ahead;
        }
    }
    state.last_claim = EARLIER_CLAIMS;
    state.lease.term = 1;
    state
}

/// Swaps the two daemons.
fn swap_daemons(mut state: State) -> State {
    state.daemons.reverse();
    if let Holder::Alive(instance) = &mut state.lease.holder {
        *instance = 1 - *instance;
    }
    for batch in state.batches.iter_mut().filter(|batch| batch.task != Task::Ended) {
        batch.sender = 1 - batch.sender;
    }
    state
}

/// Swaps the two courses.
fn swap_courses(mut state: State) -> State {
    state.rows.reverse();
    for course in &mut state.records {
        *course = 1 - *course;
    }
    for batch in &mut state.batches {
        swap_in_batch(batch);
    }
    for look_up in state.daemons.iter_mut().filter_map(|daemon| daemon.look_up.as_mut()) {
        look_up.courses.reverse();
        for (course, _) in &mut look_up.courses {
            *course = 1 - *course;
        }
        if let Some(found) = &mut look_up.found {
            found.reverse();
        }
    }
    state
}

fn swap_in_batch(batch: &mut Batch) {
    for courses in [&mut batch.courses, &mut batch.in_flight] {
        courses.reverse();
        for course in courses {
            *course = 1 - *course;
        }
    }
    if let Task::ResponseReceived(verdicts) = &mut batch.task {
        verdicts.reverse();
    }
    if let Request::Open(progress) = &mut batch.request {
        progress.reverse();
    }
}

/// Renumbers records and batches, and removes batches that have no effect any more.
fn renumber(mut state: State) -> State {
    renumber_records(&mut state);
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

/// Sorts the records by course. Two records of one course keep their order.
fn renumber_records(state: &mut State) {
    let mut order: Vec<_> = (0..state.records.len()).collect();
    order.sort_by_key(|id| state.records[*id]);
    if order.is_sorted() {
        return;
    }
    let rename = |id: &mut usize| *id = order.iter().position(|old| old == id).unwrap_or(*id);
    state.rows.iter_mut().filter_map(|row| row.hubspot_id.as_mut()).for_each(rename);
    for batch in &mut state.batches {
        if let Request::Open(progress) = &mut batch.request {
            for create_progress in progress {
                if let CreateProgress::Created(id) = create_progress {
                    rename(id);
                }
            }
        }
        if let Task::ResponseReceived(verdicts) = &mut batch.task {
            for verdict in verdicts {
                if let Verdict::Created(id) = verdict {
                    rename(id);
                }
            }
        }
    }
    for look_up in state.daemons.iter_mut().filter_map(|daemon| daemon.look_up.as_mut()) {
        look_up.found.iter_mut().flatten().flatten().for_each(rename);
    }
    state.records.sort_unstable();
}

/// Whether a later step may depend on this batch.
fn has_future(state: &State, id: BatchId) -> bool {
    let batch = &state.batches[id];
    batch.task != Task::Ended
        || batch.request != Request::Ended
        || batch.is_being_claimed()
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
