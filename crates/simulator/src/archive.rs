//! Archiving: `batch/archive` and `DELETE` of one record. HubSpot confirms both with an empty 204, whether or not a
//! record was archived.

use std::collections::BTreeSet;

use super::behaviour::Behaviour;
use super::input_fault::InputFault;
use super::journal::Input;
use super::lifecycle::{BadArchive, MergedArchive};
use super::lookup::{find, is_merged_id};
use super::refusal;
use super::state::{Call, State};
use super::store::Record;
use super::versions::Cause;
use super::wire::{ErrorBody, Reply};

/// What an ID in a request leads to.
enum Named {
    /// A record that is archived by this request.
    Record(u64),
    /// The ID of a merged record that archives nothing.
    MergedAway,
    /// No record that is not archived already.
    Nothing,
}

fn named(found: Option<&Record>, id: &str, key: Option<&str>, behaviour: &Behaviour) -> Named {
    match found {
        Some(record) if is_merged_id(record, id, key) => match behaviour.lifecycle.merged_archive {
            MergedArchive::Nothing => Named::MergedAway,
            MergedArchive::Survivor => Named::Record(record.id),
        },
        Some(record) => Named::Record(record.id),
        None => Named::Nothing,
    }
}

/// `POST batch/archive` with these IDs.
pub(super) fn archive_all(
    state: &mut State,
    call: &Call,
    ids: &[String],
    cause: Cause,
) -> Result<Reply, Reply> {
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        found.push(named(find(state, call, id, None, false)?, id, None, &state.behaviour));
    }
    let inputs = ids.iter().map(|id| Input { unique_value: Some(id.clone()), ..Input::default() }).collect();
    if let Some(entry) = state.journal.get_mut(call.seq) {
        entry.inputs = inputs;
    }
    if state.behaviour.lifecycle.bad_archive == BadArchive::Refused
        && let Some(error) = complaint(ids, &found)
    {
        return Err(Reply::refusal(400, error, &call.correlation));
    }
    let fault = call.input_fault.as_ref().filter(|fault| (0..ids.len()).any(|index| fault.hits(index)));
    if fault.is_none_or(|fault| fault.commit) {
        for (index, named) in found.into_iter().enumerate() {
            if let Named::Record(id) = named {
                archive(state, call, index, id, cause);
            }
        }
    }
    match fault {
        Some(fault) => Err(faulted(call, fault)),
        None => Ok(Reply::empty(204)),
    }
}

/// `DELETE` of the record that `id` found, if it found one.
pub(super) fn archive_one(
    state: &mut State,
    call: &Call,
    id: &str,
    found: Option<&Record>,
    cause: Cause,
) -> Reply {
    let named = named(found, id, call.target.param("idProperty"), &state.behaviour);
    let input = Input { unique_value: Some(id.to_owned()), ..Input::default() };
    if let Some(entry) = state.journal.get_mut(call.seq) {
        entry.inputs = vec![input];
    }
    let fault = call.input_fault.as_ref().filter(|fault| fault.hits(0));
    if let Named::Record(id) = named
        && fault.is_none_or(|fault| fault.commit)
    {
        archive(state, call, 0, id, cause);
    }
    fault.map_or_else(|| Reply::empty(204), |fault| faulted(call, fault))
}

/// The journal names the record only if it was archived by this request.
fn archive(state: &mut State, call: &Call, index: usize, id: u64, cause: Cause) {
    if state.store.archive(id, cause)
        && let Some(input) = state.journal.get_mut(call.seq).and_then(|entry| entry.inputs.get_mut(index))
    {
        input.id = Some(id);
    }
}

/// HubSpot has no errors for single inputs of an archive, so the error of a fault refuses the whole request.
fn faulted(call: &Call, fault: &InputFault) -> Reply {
    Reply::literal_refusal(400, fault.unnamed(), &call.correlation)
}

/// The error for the first ID that is repeated, not a number, or does not exist.
fn complaint(ids: &[String], found: &[Named]) -> Option<ErrorBody> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = ids.iter().find(|id| !seen.insert(*id)) {
        return Some(refusal::duplicate_ids(twice));
    }
    if let Some(bad) = ids.iter().find(|id| id.parse::<u64>().is_err()) {
        return Some(refusal::bad_id(bad));
    }
    let missing = ids.iter().zip(found).filter(|(_, named)| matches!(named, Named::Nothing));
    let missing: Vec<String> = missing.map(|(id, _)| id.clone()).collect();
    (!missing.is_empty()).then(|| refusal::missing(missing))
}
