//! Executes a request: checks permission, then runs the operation. Holds the lock, except between the two steps of a
//! write if uniqueness is not guaranteed.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::account;
use super::behaviour::{CoursesState, Uniqueness};
use super::objects::{self, Planned};
use super::properties;
use super::refusal;
use super::route::Operation;
use super::search;
use super::state::{Call, Shared, State};
use super::versions::Cause;
use super::wire::{ErrorBody, Reply};
use super::write::{Shape, execute_plan};

/// Scopes for reading and writing courses and their properties.
pub(super) const SCOPES: [&str; 4] = [
    "crm.objects.courses.read",
    "crm.objects.courses.write",
    "crm.schemas.courses.read",
    "crm.schemas.courses.write",
];

/// Executes a request.
pub(super) async fn execute(shared: &Arc<Shared>, call: &Call) -> Reply {
    // The time of execution: with a fault, a request can be executed long after its arrival.
    let cause = || Cause { request: Some(call.seq), now: Timestamp::now(), now_us: shared.now_us() };
    let (planned, gap) = {
        let mut state = shared.lock();
        let cause = cause();
        state.apply_due_touches(cause.now, cause.now_us);
        let planned = check_permission(&state, call).and_then(|()| perform(&mut state, call, cause));
        match (planned, state.behaviour.uniqueness) {
            (Ok(plan), Uniqueness::Enforced) => {
                return execute_plan(&mut state, call, plan, cause);
            }
            (planned, Uniqueness::Enforced) => (planned, 0),
            (planned, Uniqueness::CheckedFirst { gap_ms }) => (planned, gap_ms),
        }
    };
    match planned {
        Err(reply) => reply,
        Ok(plan) => {
            tokio::time::sleep(Duration::from_millis(gap)).await;
            execute_plan(&mut shared.lock(), call, plan, cause())
        }
    }
}

/// Checks that token and account allow this operation on this object type.
fn check_permission(state: &State, call: &Call) -> Result<(), Reply> {
    let Some(kind) = call.target.object_type.as_deref() else { return Ok(()) };
    if !matches!(kind, "0-410" | "courses" | "course") {
        return Err(refuse(call, 400, refusal::unknown_type(kind)));
    }
    let scopes = scopes(call.target.operation);
    match state.behaviour.courses {
        CoursesState::Active => {}
        CoursesState::Forbidden => return Err(refuse(call, 403, refusal::missing_scopes(scopes))),
        CoursesState::Unknown => return Err(refuse(call, 400, refusal::unknown_type(kind))),
    }
    if scopes.iter().any(|scope| state.settings.scopes.contains(*scope)) {
        Ok(())
    } else {
        Err(refuse(call, 403, refusal::missing_scopes(scopes)))
    }
}

fn refuse(call: &Call, status: u16, error: ErrorBody) -> Reply {
    Reply::refusal(status, error, &call.correlation)
}

/// The scopes of which at least one is required.
fn scopes(operation: Operation) -> &'static [&'static str] {
    const READ: &[&str] = &["crm.objects.courses.read"];
    const WRITE: &[&str] = &["crm.objects.courses.write"];
    const SCHEMA_READ: &[&str] = &["crm.schemas.courses.read", "crm.objects.courses.read"];
    const SCHEMA_WRITE: &[&str] = &["crm.schemas.courses.write"];
    match operation {
        Operation::BatchRead | Operation::Read | Operation::List | Operation::Search => READ,
        Operation::PropertyList | Operation::PropertyRead | Operation::PropertyGroups => SCHEMA_READ,
        Operation::PropertyCreate | Operation::PropertyUpdate | Operation::PropertyArchive => SCHEMA_WRITE,
        _ => WRITE,
    }
}

fn perform(state: &mut State, call: &Call, cause: Cause) -> Planned {
    use Operation as Op;
    match call.target.operation {
        Op::BatchCreate => objects::batch_create(state, call),
        Op::BatchUpsert => objects::batch_write(state, call, Shape::BatchUpsert),
        Op::BatchUpdate => objects::batch_write(state, call, Shape::BatchUpdate),
        Op::Create => objects::create(state, call),
        Op::Read | Op::Update | Op::Archive => match objects::single(state, call, cause) {
            Ok(reply) => Err(reply),
            Err(planned) => planned,
        },
        Op::BatchRead => Err(objects::batch_read(state, call).unwrap_or_else(|refusal| refusal)),
        Op::BatchArchive => Err(objects::batch_archive(state, call, cause).unwrap_or_else(|refusal| refusal)),
        Op::Merge => Err(objects::merge(state, call, cause).unwrap_or_else(|refusal| refusal)),
        Op::List => Err(objects::list(state, call)),
        Op::Search => Err(search::search(state, call)),
        Op::PropertyList
        | Op::PropertyCreate
        | Op::PropertyRead
        | Op::PropertyUpdate
        | Op::PropertyArchive
        | Op::PropertyGroups => Err(properties::answer(state, call, cause)),
        Op::Enablement
        | Op::AccountDetails
        | Op::ApiUsage
        | Op::RecordLimits
        | Op::TokenInfo
        | Op::TokenRefresh
        | Op::AccessTokenInfo
        | Op::TokenIntrospect => Err(account::answer(state, call)),
        Op::Unknown => Err(Reply::html(404, "Error 404 Not Found")),
    }
}
