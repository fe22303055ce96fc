//! The objects endpoints: parses batch and single requests. Executes reads; plans writes (see `write`).

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;

use super::archive;
use super::behaviour::ListPages;
use super::decode::{self, Object};
use super::journal::Input;
use super::lifecycle::{MergedUpdate, SameRecordTwice};
use super::lookup::{find, is_merged_id};
use super::output::{Collection, batch, object, properties_or_default};
use super::refusal;
use super::route::Operation;
use super::state::{Call, State};
use super::store::{Archived, Record};
use super::versions::Cause;
use super::wire::{
    BATCH_MAX, Batch, BatchError, CreateInput, ErrorBody, IdInput, MergeInput, ObjectOut, ReadOptions, Reply,
    WriteInput,
};
use super::write::{Aim, Plan, Shape, Wanted, plan};

const INPUT_CLASS: &str = "com.hubspot.inbounddb.publicobject.core.v2.SimplePublicObjectBatchInput$Json";
const INVALID: &str = "VALIDATION_ERROR";

/// A write that was validated and must still be executed, or the reply to a rejected one.
pub(super) type Planned = Result<Plan, Reply>;

fn refuse(call: &Call, error: ErrorBody) -> Reply {
    Reply::refusal(400, error, &call.correlation)
}

fn invalid(call: &Call, message: impl Into<String>) -> Reply {
    refuse(call, ErrorBody::new(message).category(INVALID))
}

fn body<T: DeserializeOwned>(call: &Call) -> Result<T, Reply> {
    decode::json(&call.body, INPUT_CLASS).map_err(|message| refuse(call, ErrorBody::new(message)))
}

/// The inputs of a batch. A body without `inputs` is accepted and does nothing.
fn inputs<T: DeserializeOwned>(state: &mut State, call: &Call, empty_status: u16) -> Result<Vec<T>, Reply> {
    let Batch { inputs } = body(call)?;
    match inputs {
        None if empty_status == 204 => Err(Reply::empty(204)),
        None => Err(batch(state, empty_status, Vec::new(), Vec::new(), call.now, call.now)),
        Some(inputs) if inputs.is_empty() => {
            Err(invalid(call, "Batch input provided should have at least one object."))
        }
        Some(inputs) if inputs.len() > BATCH_MAX => Err(invalid(
            call,
            format!(
                "The maximum number of inputs supported in a batch is {BATCH_MAX}. Please reduce the number \
                 of items and try again"
            ),
        )),
        Some(inputs) => Ok(inputs.into_iter().map(|Object(input)| input).collect()),
    }
}

fn without_properties(call: &Call) -> Reply {
    invalid(call, "Some required fields were not set: [properties]")
}

fn parse_create(call: &Call, input: CreateInput) -> Result<Wanted, Reply> {
    Ok(Wanted {
        trace: input.object_write_trace_id,
        properties: input.properties.ok_or_else(|| without_properties(call))?,
        associations: input.associations.unwrap_or_default(),
        aim: Aim::Create,
        named: None,
        validated: call.target.validates(),
    })
}

/// `POST batch/create`.
pub(super) fn batch_create(state: &mut State, call: &Call) -> Planned {
    let inputs = inputs::<CreateInput>(state, call, 201)?;
    let wanted = inputs.into_iter().map(|input| parse_create(call, input)).collect::<Result<_, _>>()?;
    Ok(plan(state, call, wanted, Shape::BatchCreate))
}

/// `POST` of one record.
pub(super) fn create(state: &mut State, call: &Call) -> Planned {
    let wanted = parse_create(call, body(call)?)?;
    Ok(plan(state, call, vec![wanted], Shape::Single(201)))
}

/// `POST batch/upsert` and `POST batch/update`.
pub(super) fn batch_write(state: &mut State, call: &Call, shape: Shape) -> Planned {
    let inputs = inputs::<WriteInput>(state, call, 200)?;
    refuse_duplicates(call, inputs.iter().map(|input| input.id.clone()).collect())?;
    let wanted: Vec<Wanted> =
        inputs.into_iter().map(|input| resolve_write(state, call, input, shape)).collect::<Result<_, _>>()?;
    if state.behaviour.lifecycle.same_record_twice == SameRecordTwice::Refused {
        let changed = wanted.iter().filter_map(|input| match input.aim {
            Aim::Change(id) => Some(id.to_string()),
            Aim::Create | Aim::Lost(_) | Aim::MergedAway(_) => None,
        });
        refuse_duplicates(call, changed.collect())?;
    }
    Ok(plan(state, call, wanted, shape))
}

fn refuse_duplicates(call: &Call, mut ids: Vec<String>) -> Result<(), Reply> {
    ids.sort();
    match ids.array_windows().find(|[one, next]| one == next) {
        Some([twice, _]) => Err(refuse(call, refusal::duplicate_ids(twice))),
        None => Ok(()),
    }
}

fn resolve_write(state: &State, call: &Call, input: WriteInput, shape: Shape) -> Result<Wanted, Reply> {
    let mut properties = input.properties.ok_or_else(|| without_properties(call))?;
    let key = input.id_property.as_deref();
    refuse_object_id(call, key)?;
    let aim = match (find(state, call, &input.id, key, false)?, key) {
        (Some(record), _) if is_merged_id(record, &input.id, key) => {
            match state.behaviour.lifecycle.merged_update {
                MergedUpdate::Dropped => Aim::MergedAway(input.id.clone()),
                MergedUpdate::Survivor => Aim::Change(record.id),
            }
        }
        (Some(record), _) => Aim::Change(record.id),
        (None, Some(key)) if shape == Shape::BatchUpsert => {
            properties.entry(key.to_owned()).or_insert_with(|| input.id.clone());
            Aim::Create
        }
        (None, _) => Aim::Lost(input.id.clone()),
    };
    Ok(Wanted {
        trace: input.object_write_trace_id,
        properties,
        associations: Vec::new(),
        aim,
        named: Some(input.id),
        validated: call.target.validates(),
    })
}

/// A write by record ID must not have an `idProperty`: HubSpot does not count `hs_object_id` as unique.
fn refuse_object_id(call: &Call, key: Option<&str>) -> Result<(), Reply> {
    match key {
        Some("hs_object_id") => Err(refuse(call, refusal::not_unique("hs_object_id"))),
        _ => Ok(()),
    }
}

/// `POST batch/read`: missing records are reported as one error in a 207.
pub(super) fn batch_read(state: &mut State, call: &Call) -> Result<Reply, Reply> {
    let inputs = inputs::<IdInput>(state, call, 200)?;
    let ReadOptions { id_property, properties } = body(call)?;
    let names = properties_or_default(properties.unwrap_or_default());
    if inputs.len() > state.behaviour.max_read_inputs {
        let message = format!(
            "The maximum number of inputs supported in a batch request for property histories is {}. Please \
             reduce the number of items and try again",
            state.behaviour.max_read_inputs
        );
        return Err(invalid(call, message));
    }
    let mut ids: Vec<String> = inputs.into_iter().map(|input| input.id).collect();
    if let Some(entry) = state.journal.get_mut(call.seq) {
        entry.inputs =
            ids.iter().map(|id| Input { unique_value: Some(id.clone()), ..Default::default() }).collect();
    }
    let failing = ids_with_fault(call, &ids);
    let excused = call.input_fault.as_ref().is_some_and(|fault| fault.commit);
    ids.sort();
    ids.dedup();
    let mut results = Vec::new();
    let mut missing = Vec::new();
    // Several IDs of a merged record lead to the same record.
    let mut seen = BTreeSet::new();
    let repeats = id_property.is_some() || state.behaviour.lifecycle.merged_reads_repeat;
    for id in ids.into_iter().filter(|id| excused || !failing.contains(id)) {
        let found = find(state, call, &id, id_property.as_deref(), call.target.archived())?;
        match found.filter(|record| state.is_readable(record, call.at_us)) {
            Some(record) if seen.insert(record.id) || repeats => {
                results.push(object(&state.store, record, &names));
            }
            Some(_) => {}
            None => missing.push(id),
        }
    }
    let mut errors = Vec::new();
    if !missing.is_empty() && !state.behaviour.read_omits_missing {
        errors.push(refusal::missing(missing).into());
    }
    if let Some(fault) = call.input_fault.as_ref().filter(|_| !failing.is_empty()) {
        errors.push(BatchError::Literal(fault.error("ids", failing.into_iter().collect())));
    }
    let status = if errors.is_empty() { 200 } else { 207 };
    Ok(batch(state, status, results, errors, call.now, call.now))
}

/// The IDs to which a fault applies.
fn ids_with_fault(call: &Call, ids: &[String]) -> BTreeSet<String> {
    let Some(fault) = &call.input_fault else { return BTreeSet::new() };
    let hit = ids.iter().enumerate().filter(|(index, _)| fault.hits(*index));
    hit.map(|(_, id)| id.clone()).collect()
}

/// `POST batch/archive`.
pub(super) fn batch_archive(state: &mut State, call: &Call, cause: Cause) -> Result<Reply, Reply> {
    let inputs = inputs::<IdInput>(state, call, 204)?;
    let ids: Vec<String> = inputs.into_iter().map(|input| input.id).collect();
    archive::archive_all(state, call, &ids, cause)
}

/// `POST merge`: two records become one.
pub(super) fn merge(state: &mut State, call: &Call, cause: Cause) -> Result<Reply, Reply> {
    let MergeInput { primary_object_id, object_id_to_merge } = body(call)?;
    let (Ok(primary), Ok(other)) = (primary_object_id.parse(), object_id_to_merge.parse()) else {
        return Err(invalid(call, "primaryObjectId and objectIdToMerge must be record IDs"));
    };
    if state.store.resolve(primary) == state.store.resolve(other) {
        return Err(invalid(call, "A record cannot be merged with itself"));
    }
    let survivor = state.merge(primary, other, cause);
    match survivor.and_then(|id| state.store.get(id, Archived::No)) {
        Some(record) => {
            Ok(Reply::json(200, &object(&state.store, record, &properties_or_default(Vec::new()))))
        }
        None => Err(Reply::refusal(404, refusal::not_found(), &call.correlation)),
    }
}

/// `GET`, `PATCH` and `DELETE` of one record.
pub(super) fn single(state: &mut State, call: &Call, cause: Cause) -> Result<Reply, Planned> {
    let name = call.target.name.as_deref().unwrap_or_default();
    let key = call.target.param("idProperty");
    // Only reads can be for archived records.
    let archived = call.target.operation == Operation::Read && call.target.archived();
    let found = find(state, call, name, key, archived).map_err(Err)?;
    match call.target.operation {
        Operation::Archive => {
            let found = found.cloned();
            Ok(archive::archive_one(state, call, name, found.as_ref(), cause))
        }
        Operation::Read => {
            let Some(record) = found.filter(|record| state.is_readable(record, call.at_us)) else {
                return Ok(Reply::refusal(404, refusal::not_found(), &call.correlation));
            };
            let names = properties_or_default(call.target.list("properties"));
            Ok(Reply::json(200, &object(&state.store, record, &names)))
        }
        _ => {
            refuse_object_id(call, key).map_err(Err)?;
            let updates_merged = state.behaviour.lifecycle.merged_update == MergedUpdate::Survivor;
            let found = found.filter(|record| updates_merged || !is_merged_id(record, name, key));
            let Some(id) = found.map(|record| record.id) else {
                return Ok(Reply::refusal(404, refusal::not_found(), &call.correlation));
            };
            let input: CreateInput = body(call).map_err(Err)?;
            let wanted = parse_create(call, input).map_err(Err)?;
            let wanted = Wanted { aim: Aim::Change(id), named: Some(name.to_owned()), ..wanted };
            Err(Ok(plan(state, call, vec![wanted], Shape::Single(200))))
        }
    }
}

/// `GET` of all records, page by page, in order of ID. It shows the records as they are now: what is created or deleted
/// between two pages appears and disappears. The last page has no `paging`.
pub(super) fn list(state: &State, call: &Call) -> Reply {
    let limit: usize = call.target.param("limit").and_then(|limit| limit.parse().ok()).unwrap_or(10);
    if limit == 0 || limit > 100 {
        return invalid(call, "limit must be between 1 and 100");
    }
    let after: u64 = call.target.param("after").and_then(|after| after.parse().ok()).unwrap_or(0);
    let names = properties_or_default(call.target.list("properties"));
    let wanted = if call.target.archived() { Archived::Only } else { Archived::No };
    let is_listed = |record: &&Record| {
        state.store.get(record.id, wanted).is_some() && state.is_readable(record, call.at_us)
    };
    let counts = |record: &&Record| match state.behaviour.list_pages {
        ListPages::Full => is_listed(record),
        ListPages::Thin => true,
    };
    let mut window: Vec<&Record> = state.store.after(after).filter(counts).take(limit + 1).collect();
    let has_more = window.len() > limit;
    window.truncate(limit);
    let next = window.last().filter(|_| has_more).map(|last| last.id.to_string());
    let listed = window.into_iter().filter(is_listed);
    let page: Vec<ObjectOut> = listed.map(|record| object(&state.store, record, &names)).collect();
    Reply::json(200, &Collection::new(None, page, next))
}
