//! Writes, judged first and settled after: inputs → a [`Plan`] (nothing changed yet) → records and an
//! answer. The two are apart so that uniqueness can be made to leak between them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::behaviour::{ConflictForm, RecordLimitForm, RefusedBatches};
use super::input_fault::InputFault;
use super::journal::Input;
use super::output::{batch, object};
use super::received;
use super::refusal::{self, PORTAL};
use super::route::Operation;
use super::rules::{self, Problem};
use super::state::{Call, State};
use super::store::{Archived, Record, same};
use super::wire::{Association, BatchError, ObjectOut, Reply};

/// One input as it was sent.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) trace: Option<String>,
    pub(super) properties: BTreeMap<String, String>,
    pub(super) associations: Vec<Association>,
    pub(super) aim: Aim,
    /// Sent to a version that names missing properties by a code.
    pub(super) validated: bool,
}

/// What an input is to do.
#[derive(Default)]
pub(super) enum Aim {
    #[default]
    Create,
    Change(u64),
    /// There is no such record.
    Lost(String),
}

/// What shape the answer has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    BatchCreate,
    BatchUpsert,
    BatchUpdate,
    /// One record, with this status.
    Single(u16),
}

/// All inputs of a request, judged.
pub(super) struct Plan {
    judged: Vec<Judged>,
    shape: Shape,
    /// Every input has a trace id of its own: some may fail without the others.
    traced: bool,
}

struct Judged {
    trace: Option<String>,
    verdict: Result<Draft, Problem>,
    /// An error beside the result.
    aside: Option<Value>,
}

struct Draft {
    id: u64,
    new: bool,
    properties: BTreeMap<String, String>,
    associations: Vec<Association>,
}

/// Judges all inputs against the schema, the records and each other. Changes nothing but the ids given out.
pub(super) fn plan(state: &mut State, call: &Call, wanted: Vec<Wanted>, shape: Shape) -> Plan {
    let distinct: BTreeSet<&String> = wanted.iter().filter_map(|input| input.trace.as_ref()).collect();
    let traced = distinct.len() == wanted.len() && !matches!(shape, Shape::Single(_));
    let inputs = wanted.iter().map(|input| noted(state, input)).collect();
    if let Some(entry) = state.journal.get_mut(call.seq) {
        entry.inputs = inputs;
    }

    let mut claimed = Vec::new();
    let ids = state.allocate(wanted.len());
    let mut room = Room::of(state);
    let judged = wanted
        .into_iter()
        .zip(ids)
        .enumerate()
        .map(|(index, (input, fresh))| {
            let trace = input.trace.clone();
            let named = trace.clone().filter(|_| state.behaviour.name_inputs);
            match call.input_fault.as_ref().filter(|fault| fault.hits(index)) {
                Some(fault) if !fault.commit => {
                    let error = injected(fault, named);
                    Judged { trace, verdict: Err(Problem::Injected(error)), aside: None }
                }
                fault => {
                    let aside = fault.map(|fault| injected(fault, named));
                    let judged = judge(state, input, fresh, &mut claimed);
                    Judged { trace, verdict: judged.and_then(|draft| room.admit(draft)), aside }
                }
            }
        })
        .collect();
    Plan { judged, shape, traced }
}

/// The error of a fault; an input without a trace id cannot be named.
fn injected(fault: &InputFault, trace: Option<String>) -> Value {
    match trace {
        Some(trace) => fault.error("objectWriteTraceId", vec![trace]),
        None => fault.unnamed(),
    }
}

/// How many records the account still takes.
struct Room {
    limit: Option<u64>,
    left: u64,
}

impl Room {
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

fn noted(state: &State, input: &Wanted) -> Input {
    entry_of(state, input.trace.clone(), |name| input.properties.get(name).cloned())
}

fn entry_of(state: &State, trace_id: Option<String>, value: impl Fn(&str) -> Option<String>) -> Input {
    Input {
        trace_id,
        unique_value: state.schema.unique_names().find_map(&value),
        name: value("hs_course_name"),
        id: None,
    }
}

/// Journals what a request asked to be created or read, whether or not it is ever carried out.
pub(super) fn note_received(state: &mut State, call: &Call) {
    if !matches!(
        call.target.operation,
        Operation::BatchCreate | Operation::BatchUpsert | Operation::BatchRead
    ) {
        return;
    }
    let inputs = received::inputs(&call.target, &call.body)
        .into_iter()
        .map(|input| {
            let entry = entry_of(state, input.trace_id, |name| input.properties.get(name).cloned());
            Input { unique_value: entry.unique_value.or(input.id), ..entry }
        })
        .collect();
    if let Some(entry) = state.journal.get_mut(call.seq) {
        entry.inputs = inputs;
    }
}

/// (property, value, id) of what earlier inputs of the same batch took.
type Claimed = Vec<(String, String, u64)>;

fn judge(state: &State, input: Wanted, fresh: u64, claimed: &mut Claimed) -> Result<Draft, Problem> {
    let (id, new) = match input.aim {
        Aim::Create => (fresh, true),
        Aim::Change(id) => (id, false),
        Aim::Lost(id) => return Err(Problem::NotFound(id)),
    };
    let behaviour = &state.behaviour;
    let properties = rules::values(&input.properties, &state.schema, behaviour, PORTAL)?;
    if new {
        rules::required(&properties, &behaviour.required_properties, input.validated, PORTAL)?;
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
        None => state.store.holder(property, value, state.holding()).map(|record| record.id),
    }
}

/// Writes what may be written and words the answer.
pub(super) fn settle(state: &mut State, call: &Call, plan: Plan, now: Timestamp, now_us: u64) -> Reply {
    let Plan { judged, shape, traced } = plan;
    let behaviour = &state.behaviour;
    let refuses_all = |one: &Judged| match one.verdict {
        Err(Problem::Taken { .. }) => !traced || behaviour.conflict == ConflictForm::WholeBatch,
        Err(Problem::Full(_)) => !traced || behaviour.record_limit_form == RecordLimitForm::WholeBatch,
        Err(_) => !traced,
        Ok(_) => false,
    };
    let refused = judged.iter().any(refuses_all);

    let mut written = Vec::new();
    let mut problems = Vec::new();
    for (index, Judged { trace, verdict, aside }) in judged.into_iter().enumerate() {
        match verdict {
            Err(problem) => problems.push((trace, problem)),
            Ok(_) if refused && state.behaviour.refused_batches == RefusedBatches::WriteNothing => {}
            Ok(draft) => {
                let (id, out) = write(state, draft, trace, shape, now, now_us);
                if let Some(input) =
                    state.journal.get_mut(call.seq).and_then(|entry| entry.inputs.get_mut(index))
                {
                    input.id = Some(id);
                }
                written.extend(out);
                problems.extend(aside.map(|error| (None, Problem::Injected(error))));
            }
        }
    }
    if refused {
        let problems: Vec<&Problem> = problems.iter().map(|(_, problem)| problem).collect();
        if let Some(Problem::Injected(error)) = problems.first() {
            return Reply::literal_refusal(400, error.clone(), &call.correlation);
        }
        let (status, error) = refusal::whole(&problems, &state.behaviour);
        return Reply::refusal(status, error, &call.correlation);
    }
    answer(state, call, shape, written, problems, now)
}

fn write(
    state: &mut State,
    draft: Draft,
    trace: Option<String>,
    shape: Shape,
    now: Timestamp,
    now_us: u64,
) -> (u64, Option<ObjectOut>) {
    let Draft { id, new, properties, associations } = draft;
    let names: Vec<String> = properties.keys().cloned().collect();
    if new {
        let record = Record {
            id,
            properties: properties.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
            associations,
            trace_id: trace.clone(),
            created_at: now,
            updated_at: now,
            archived: false,
            created_us: now_us,
        };
        state.store.insert(record, state.schema.unique_names());
    } else {
        state.store.change(id, &properties, now, state.schema.unique_names());
    }
    let out = state.store.get(id, Archived::Too).map(|record| {
        let mut out = object(record, &names);
        out.new = (shape == Shape::BatchUpsert).then_some(new);
        out.object_write_trace_id = trace.filter(|_| state.behaviour.echo_trace_ids);
        out
    });
    (id, out)
}

fn answer(
    state: &mut State,
    call: &Call,
    shape: Shape,
    mut written: Vec<ObjectOut>,
    problems: Vec<(Option<String>, Problem)>,
    now: Timestamp,
) -> Reply {
    let full = match shape {
        Shape::Single(status) => {
            return match written.pop() {
                Some(object) => Reply::json(status, &object),
                None => Reply::refusal(404, refusal::not_found(), &call.correlation),
            };
        }
        Shape::BatchCreate => 201,
        Shape::BatchUpsert | Shape::BatchUpdate => 200,
    };
    let partial = if shape == Shape::BatchCreate { state.behaviour.mixed_status } else { 207 };
    let behaviour = &state.behaviour;
    let errors: Vec<BatchError> = problems
        .into_iter()
        .map(|(trace, problem)| refusal::error_of(problem, trace.as_deref(), behaviour))
        .collect();
    let status = if errors.is_empty() { full } else { partial };
    batch(state, status, written, errors, call.now, now)
}
