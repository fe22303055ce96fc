//! Writes in two steps: validate the inputs (a [`Plan`], nothing is changed), then store the records. If uniqueness is
//! switched off, other requests run between the two steps.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::behaviour::{Behaviour, ConflictForm, RecordLimitForm, RefusedBatches};
use super::input_fault::InputFault;
use super::journal::Input;
use super::lifecycle::{ClearRequired, MissingOnUpdate, UpdateErrors};
use super::output::{batch, object};
use super::received;
use super::refusal::{self, PORTAL};
use super::route::Operation;
use super::rules::{self, Problem};
use super::state::{Call, State};
use super::store::{Archived, Record, same};
use super::versions::Cause;
use super::wire::{Association, BatchError, ObjectOut, Reply};

/// One input of a request.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) trace: Option<String>,
    pub(super) properties: BTreeMap<String, String>,
    pub(super) associations: Vec<Association>,
    pub(super) aim: Aim,
    /// The ID or unique value by which a changed record is named.
    pub(super) named: Option<String>,
    /// Whether the API version reports missing properties with a code.
    pub(super) validated: bool,
}

/// What an input does.
#[derive(Default)]
pub(super) enum Aim {
    #[default]
    Create,
    Change(u64),
    /// The record does not exist.
    Lost(String),
    /// The record was merged into another, and the input is dropped.
    MergedAway(String),
}

/// The format of the response.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    BatchCreate,
    BatchUpsert,
    BatchUpdate,
    /// A single record, with this status.
    Single(u16),
}

/// All validated inputs of a request.
pub(super) struct Plan {
    validated: Vec<ValidatedInput>,
    shape: Shape,
    /// Whether every input has its own trace ID, so that inputs can fail individually.
    traced: bool,
}

struct ValidatedInput {
    trace: Option<String>,
    result: Result<Draft, Problem>,
    /// An error in addition to the result.
    extra_error: Option<Value>,
}

struct Draft {
    id: u64,
    new: bool,
    properties: BTreeMap<String, String>,
    associations: Vec<Association>,
}

/// Validates all inputs against the schema, the records and each other. Changes nothing except the allocated IDs.
pub(super) fn plan(state: &mut State, call: &Call, wanted: Vec<Wanted>, shape: Shape) -> Plan {
    let distinct: BTreeSet<&String> = wanted.iter().filter_map(|input| input.trace.as_ref()).collect();
    let traced = distinct.len() == wanted.len() && !matches!(shape, Shape::Single(_));
    let inputs = wanted.iter().map(|input| journal_input(state, input)).collect();
    if let Some(entry) = state.journal.get_mut(call.seq) {
        entry.inputs = inputs;
    }

    let mut claimed = Vec::new();
    let ids = state.allocate(wanted.len());
    let mut capacity = Capacity::of(state);
    let validated = wanted
        .into_iter()
        .zip(ids)
        .enumerate()
        .map(|(index, (input, fresh))| {
            let trace = input.trace.clone();
            let named = trace.clone().filter(|_| state.behaviour.name_inputs);
            match call.input_fault.as_ref().filter(|fault| fault.hits(index)) {
                Some(fault) if !fault.commit => {
                    let error = injected(fault, named);
                    ValidatedInput { trace, result: Err(Problem::Injected(error)), extra_error: None }
                }
                fault => {
                    let extra_error = fault.map(|fault| injected(fault, named));
                    let validated = validate(state, input, fresh, &mut claimed);
                    ValidatedInput {
                        trace,
                        result: validated.and_then(|draft| capacity.admit(draft)),
                        extra_error,
                    }
                }
            }
        })
        .collect();
    Plan { validated, shape, traced }
}

/// The error of a fault. Without a trace ID it cannot name its input.
fn injected(fault: &InputFault, trace: Option<String>) -> Value {
    match trace {
        Some(trace) => fault.error("objectWriteTraceId", vec![trace]),
        None => fault.unnamed(),
    }
}

/// How many records can still be created.
struct Capacity {
    limit: Option<u64>,
    left: u64,
}

impl Capacity {
    fn of(state: &State) -> Self {
        match state.behaviour.record_limit {
            None => Self { limit: None, left: u64::MAX },
            Some(limit) => Self { limit: Some(limit), left: limit.saturating_sub(state.store.live()) },
        }
    }

    fn admit(&mut self, draft: Draft) -> Result<Draft, Problem> {
        match self.limit {
            Some(limit) if draft.new && self.left == 0 => Err(Problem::Full(limit)),
            _ => {
                self.left -= u64::from(draft.new && self.limit.is_some());
                Ok(draft)
            }
        }
    }
}

fn journal_input(state: &State, input: &Wanted) -> Input {
    let entry = build_journal_input(state, input.trace.clone(), |name| input.properties.get(name).cloned());
    Input { unique_value: entry.unique_value.or_else(|| input.named.clone()), ..entry }
}

fn build_journal_input(
    state: &State,
    trace_id: Option<String>,
    value: impl Fn(&str) -> Option<String>,
) -> Input {
    Input {
        trace_id,
        unique_value: state.schema.unique_names().find_map(&value),
        name: value("hs_course_name"),
        id: None,
    }
}

/// Records the inputs of a request in the journal, even if it is never executed.
pub(super) fn note_received(state: &mut State, call: &Call) {
    if !matches!(
        call.target.operation,
        Operation::BatchCreate
            | Operation::BatchUpsert
            | Operation::BatchUpdate
            | Operation::BatchArchive
            | Operation::BatchRead
            | Operation::Merge
    ) {
        return;
    }
    let inputs = received::inputs(&call.target, &call.body)
        .into_iter()
        .map(|input| {
            let entry =
                build_journal_input(state, input.trace_id, |name| input.properties.get(name).cloned());
            Input { unique_value: entry.unique_value.or(input.id), ..entry }
        })
        .collect();
    if let Some(entry) = state.journal.get_mut(call.seq) {
        entry.inputs = inputs;
    }
}

/// Unique values of earlier inputs of the same batch: (property, value, ID).
type Claimed = Vec<(String, String, u64)>;

fn validate(state: &State, input: Wanted, fresh: u64, claimed: &mut Claimed) -> Result<Draft, Problem> {
    let (id, new) = match input.aim {
        Aim::Create => (fresh, true),
        Aim::Change(id) => (id, false),
        Aim::Lost(id) => return Err(Problem::NotFound(id)),
        Aim::MergedAway(id) => return Err(Problem::MergedAway(id)),
    };
    let behaviour = &state.behaviour;
    let properties = rules::values(&input.properties, &state.schema, behaviour, PORTAL)?;
    if new {
        rules::required(&properties, &behaviour.required_properties, input.validated, PORTAL)?;
    } else if behaviour.lifecycle.clear_required == ClearRequired::Refused {
        rules::keeps_required(&properties, &behaviour.required_properties, PORTAL)?;
    }
    rules::associations(&input.associations, behaviour.association_targets.as_ref())?;
    let mine: Claimed = state
        .schema
        .unique_names()
        .filter_map(|name| Some((name.to_owned(), properties.get(name)?.clone(), id)))
        .filter(|(_, value, _)| !value.is_empty())
        .collect();
    for (property, value, _) in &mine {
        if let Some(holder) = holder(state, claimed, property, value).filter(|holder| *holder != id) {
            let (property, value) = (property.clone(), value.clone());
            return Err(Problem::Taken { property, value, half_made: id, holder });
        }
    }
    claimed.extend(mine);
    Ok(Draft { id, new, properties, associations: input.associations })
}

fn holder(state: &State, claimed: &Claimed, property: &str, value: &str) -> Option<u64> {
    let compare = state.behaviour.unique_compare;
    let earlier = claimed.iter().find(|(name, held, _)| name == property && same(held, value, compare));
    match earlier {
        Some((_, _, id)) => Some(*id),
        None => {
            let holder = state.store.holder(property, value, state.holding()).map(|record| record.id);
            holder.or_else(|| state.reserved_by(property, value))
        }
    }
}

/// Whether this problem makes HubSpot refuse the whole batch. Inputs with a trace ID are mostly refused one by one, and
/// IDs that do not exist are so even without.
fn refuses_batch(problem: &Problem, shape: Shape, traced: bool, behaviour: &Behaviour) -> bool {
    let all_or_nothing =
        shape == Shape::BatchUpdate && behaviour.lifecycle.update_errors == UpdateErrors::WholeBatch;
    match problem {
        Problem::NotFound(_) | Problem::MergedAway(_) => matches!(shape, Shape::Single(_)),
        Problem::Taken { .. } => !traced || all_or_nothing || behaviour.conflict == ConflictForm::WholeBatch,
        Problem::Full(_) => !traced || behaviour.record_limit_form == RecordLimitForm::WholeBatch,
        Problem::Values(_) | Problem::Missing(_) | Problem::Associations => !traced || all_or_nothing,
        Problem::Injected(_) => !traced,
    }
}

/// Stores the valid inputs and builds the response.
pub(super) fn execute_plan(state: &mut State, call: &Call, plan: Plan, cause: Cause) -> Reply {
    let Plan { validated, shape, traced } = plan;
    let is_fatal = |problem: &Problem| refuses_batch(problem, shape, traced, &state.behaviour);
    let refused = validated.iter().any(|input| input.result.as_ref().err().is_some_and(is_fatal));

    let mut written = Vec::new();
    let mut problems = Vec::new();
    for (index, ValidatedInput { trace, result, extra_error }) in validated.into_iter().enumerate() {
        match result {
            Err(problem) => problems.push((trace, problem)),
            Ok(_) if refused && state.behaviour.refused_batches == RefusedBatches::WriteNothing => {}
            Ok(draft) => match write(state, draft, trace.clone(), shape, cause) {
                Err(problem) => problems.push((trace, problem)),
                Ok((id, out)) => {
                    if let Some(input) =
                        state.journal.get_mut(call.seq).and_then(|entry| entry.inputs.get_mut(index))
                    {
                        input.id = Some(id);
                    }
                    written.extend(out);
                    problems.extend(extra_error.map(|error| (None, Problem::Injected(error))));
                }
            },
        }
    }
    if refused {
        let missing = |problem: &Problem| matches!(problem, Problem::NotFound(_) | Problem::MergedAway(_));
        let problems: Vec<&Problem> =
            problems.iter().map(|(_, problem)| problem).filter(|problem| !missing(problem)).collect();
        if let Some(Problem::Injected(error)) = problems.first() {
            return Reply::literal_refusal(400, error.clone(), &call.correlation);
        }
        let (status, error) = refusal::whole(&problems, &state.behaviour);
        return Reply::refusal(status, error, &call.correlation);
    }
    answer(state, call, shape, written, problems, cause.now)
}

/// Writes one record. It can have been archived, merged or deleted since the input was validated.
fn write(
    state: &mut State,
    draft: Draft,
    trace: Option<String>,
    shape: Shape,
    cause: Cause,
) -> Result<(u64, Option<ObjectOut>), Problem> {
    let Draft { id, new, properties, associations } = draft;
    let names: Vec<String> = properties.keys().cloned().collect();
    let cleared: Vec<String> = properties
        .iter()
        .filter(|(_, value)| value.is_empty() && !new)
        .map(|(name, _)| name.clone())
        .collect();
    if new {
        let record = Record {
            id,
            properties: properties.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
            associations,
            trace_id: trace.clone(),
            created_at: cause.now,
            updated_at: cause.now,
            archived: false,
            created_us: cause.now_us,
        };
        state.store.insert(record, state.schema.unique_names(), cause);
    } else {
        let moves = state.behaviour.lifecycle.no_op_moves_date;
        if !state.store.change(id, properties, moves, state.schema.unique_names(), cause) {
            return Err(Problem::NotFound(id.to_string()));
        }
    }
    state.plan_touch(id, cause.now);
    let out = state.store.get(id, Archived::Too).map(|record| {
        let mut out = object(&state.store, record, &names);
        // A cleared value is echoed as it was sent, although nothing is stored.
        out.properties.extend(cleared.into_iter().map(|name| (name, Some(String::new()))));
        out.new = (shape == Shape::BatchUpsert).then_some(new);
        out.object_write_trace_id = trace.filter(|_| state.behaviour.echo_trace_ids);
        out
    });
    Ok((id, out))
}

fn answer(
    state: &mut State,
    call: &Call,
    shape: Shape,
    mut written: Vec<ObjectOut>,
    problems: Vec<(Option<String>, Problem)>,
    now: Timestamp,
) -> Reply {
    let lifecycle = &state.behaviour.lifecycle;
    let (full, partial) = match shape {
        Shape::Single(status) => {
            return match written.pop() {
                Some(object) => Reply::json(status, &object),
                None => Reply::refusal(404, refusal::not_found(), &call.correlation),
            };
        }
        Shape::BatchCreate => (201, state.behaviour.mixed_status),
        Shape::BatchUpsert => (200, 207),
        Shape::BatchUpdate => (lifecycle.update_status, 207),
    };
    let mut errors: Vec<BatchError> = Vec::new();
    let mut missing = Vec::new();
    for (trace, problem) in problems {
        match problem {
            Problem::MergedAway(_) => {}
            Problem::NotFound(id) => missing.push((id, trace.filter(|_| state.behaviour.name_inputs))),
            problem => errors.push(refusal::error_of(problem, trace.as_deref(), &state.behaviour)),
        }
    }
    let is_silent = lifecycle.missing_on_update == MissingOnUpdate::Unreported207 && !missing.is_empty();
    if !missing.is_empty() && lifecycle.missing_on_update == MissingOnUpdate::Reported {
        errors.push(refusal::missing_on_update(missing, lifecycle.missing_named_by).into());
    }
    let status = if errors.is_empty() && !is_silent { full } else { partial };
    batch(state, status, written, errors, call.now, now)
}
