//! The objects endpoints: parses batch and single requests. Executes reads; plans writes (see `write`).

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;

use super::behaviour::ArchivedRead;
use super::decode::{self, Object};
use super::journal::Input;
use super::output::{Collection, batch, object, properties_or_default};
use super::refusal;
use super::route::Operation;
use super::spelling;
use super::state::{Call, State};
use super::store::{Archived, Record};
use super::wire::{
    BATCH_MAX, Batch, BatchError, CreateInput, ErrorBody, IdInput, ObjectOut, ReadOptions, Reply, WriteInput,
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
    let mut ids: Vec<String> = inputs.iter().map(|input| input.id.clone()).collect();
    ids.sort();
    if let Some([twice, _]) = ids.array_windows().find(|[one, next]| one == next) {
        let message = format!("Duplicate IDs found in batch input: [{twice}]. IDs must be unique");
        let error = ErrorBody::new(message).category(INVALID).context("ids", vec![twice.clone()]);
        return Err(refuse(call, error));
    }
    let wanted =
        inputs.into_iter().map(|input| resolve_write(state, call, input, shape)).collect::<Result<_, _>>()?;
    Ok(plan(state, call, wanted, shape))
}

fn resolve_write(state: &State, call: &Call, input: WriteInput, shape: Shape) -> Result<Wanted, Reply> {
    let mut properties = input.properties.ok_or_else(|| without_properties(call))?;
    let key = input.id_property.as_deref().filter(|name| *name != "hs_object_id");
    let aim = match (find(state, call, &input.id, key, false)?, key) {
        (Some(record), _) => Aim::Change(record.id),
        (None, Some(key)) if shape == Shape::BatchUpsert => {
            properties.entry(key.to_owned()).or_insert_with(|| input.id.clone());
            Aim::Create
        }
        (None, _) => Aim::Lost(input.id),
    };
    let validated = call.target.validates();
    Ok(Wanted { trace: input.object_write_trace_id, properties, associations: Vec::new(), aim, validated })
}

/// Finds a record by ID, or by the value of a unique property.
fn find<'a>(
    state: &'a State,
    call: &Call,
    id: &str,
    key: Option<&str>,
    archived: bool,
) -> Result<Option<&'a Record>, Reply> {
    let lookup = state.reading(archived);
    match key {
        None | Some("hs_object_id") => {
            Ok(id.parse().ok().and_then(|id| state.store.get(id, lookup.archived)))
        }
        Some(key) if !state.schema.is_unique(key) => Err(refuse(call, refusal::not_unique(key))),
        Some(_) if archived && state.behaviour.archived_read == ArchivedRead::Misses => Ok(None),
        Some(key) if state.behaviour.lookups_respell => {
            Ok(state.store.holder(key, &spelling::stored(id, state.behaviour.keys), lookup))
        }
        Some(key) => Ok(state.store.holder(key, id, lookup)),
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
    for id in ids.into_iter().filter(|id| excused || !failing.contains(id)) {
        let found = find(state, call, &id, id_property.as_deref(), call.target.archived())?;
        match found.filter(|record| state.is_readable(record, call.at_us)) {
            Some(record) => results.push(object(record, &names)),
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

/// `POST batch/archive`: 204, whether or not the records exist.
pub(super) fn batch_archive(state: &mut State, call: &Call) -> Result<Reply, Reply> {
    let inputs = inputs::<IdInput>(state, call, 204)?;
    for id in inputs.iter().filter_map(|input| input.id.parse().ok()) {
        state.store.archive(id, call.now);
    }
    Ok(Reply::empty(204))
}

/// `GET`, `PATCH` and `DELETE` of one record.
pub(super) fn single(state: &mut State, call: &Call) -> Result<Reply, Planned> {
    let name = call.target.name.as_deref().unwrap_or_default();
    let key = call.target.param("idProperty");
    let archived = call.target.archived();
    let mut found = find(state, call, name, key, archived).map_err(Err)?.cloned();
    if call.target.operation == Operation::Read {
        found = found.filter(|record| state.is_readable(record, call.at_us));
    }
    if call.target.operation == Operation::Archive {
        if let Some(record) = found {
            state.store.archive(record.id, call.now);
        }
        return Ok(Reply::empty(204));
    }
    let Some(record) = found else {
        return Ok(Reply::refusal(404, refusal::not_found(), &call.correlation));
    };
    if call.target.operation == Operation::Read {
        return Ok(Reply::json(
            200,
            &object(&record, &properties_or_default(call.target.list("properties"))),
        ));
    }
    let input: CreateInput = body(call).map_err(Err)?;
    let wanted = Wanted { aim: Aim::Change(record.id), ..parse_create(call, input).map_err(Err)? };
    Err(Ok(plan(state, call, vec![wanted], Shape::Single(200))))
}

/// `GET` of all records, page by page.
pub(super) fn list(state: &State, call: &Call) -> Reply {
    let limit: usize = call.target.param("limit").and_then(|limit| limit.parse().ok()).unwrap_or(10);
    if limit == 0 || limit > 100 {
        return invalid(call, "limit must be between 1 and 100");
    }
    let after: u64 = call.target.param("after").and_then(|after| after.parse().ok()).unwrap_or(0);
    let names = properties_or_default(call.target.list("properties"));
    let wanted = if call.target.archived() { Archived::Only } else { Archived::No };
    let mut page: Vec<ObjectOut> = state
        .store
        .all()
        .filter(|record| record.id > after && state.store.get(record.id, wanted).is_some())
        .take(limit + 1)
        .map(|record| object(record, &names))
        .collect();
    let more = page.len() > limit;
    page.truncate(limit);
    let next = page.last().filter(|_| more).map(|last| last.id.clone());
    Reply::json(200, &Collection::new(None, page, next))
}
