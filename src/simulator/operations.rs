//! From a request that got through to its answer: permission first, then the operation. Runs under the lock;
//! a write may be left open between its judging and its settling, so that uniqueness can leak.

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
use super::wire::Reply;
use super::write::{Shape, settle};

/// Scopes for reading and writing courses and their properties.
pub(super) const SCOPES: [&str; 4] = [
    "crm.objects.courses.read",
    "crm.objects.courses.write",
    "crm.schemas.courses.read",
    "crm.schemas.courses.write",
];

/// Carries a request out and words its answer.
pub(super) async fn execute(shared: &Arc<Shared>, call: &Call) -> Reply {
    let (planned, gap) = {
        let mut state = shared.lock();
        let planned = permitted(&state, call).and_then(|()| perform(&mut state, call));
        match (planned, state.behaviour.uniqueness) {
            (Ok(plan), Uniqueness::Enforced) => {
                return settle(&mut state, call, plan, Timestamp::now(), shared.now_us());
            }
            (planned, Uniqueness::Enforced) => (planned, 0),
            (planned, Uniqueness::CheckedFirst { gap_ms }) => (planned, gap_ms),
        }
    };
    match planned {
        Err(reply) => reply,
        Ok(plan) => {
            tokio::time::sleep(Duration::from_millis(gap)).await;
            settle(&mut shared.lock(), call, plan, Timestamp::now(), shared.now_us())
        }
    }
}

/// Whether the token may do this to this object type in this account.
fn permitted(state: &State, call: &Call) -> Result<(), Reply> {
    let refuse = |status, error| Err(Reply::refusal(status, error, &call.correlation));
    let Some(kind) = call.target.object_type.as_deref() else { return Ok(()) };
    if !matches!(kind, "0-410" | "courses" | "course") {
        return refuse(400, refusal::unknown_type(kind));
    }
    let scopes = scopes(call.target.operation);
    match state.behaviour.courses {
        CoursesState::Active => {}
        CoursesState::Forbidden => return refuse(403, refusal::missing_scopes(scopes)),
        CoursesState::Unknown => return refuse(400, refusal::unknown_type(kind)),
    }
    if scopes.iter().any(|scope| state.settings.scopes.contains(*scope)) {
        Ok(())
    } else {
        refuse(403, refusal::missing_scopes(scopes))
    }
}

/// The scopes of which one is needed.
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

fn perform(state: &mut State, call: &Call) -> Planned {
    use Operation as Op;
    let done = |answer: Result<Reply, Reply>| Err(answer.unwrap_or_else(|refusal| refusal));
    match call.target.operation {
        Op::BatchCreate => objects::batch_create(state, call),
        Op::BatchUpsert => objects::batch_write(state, call, Shape::BatchUpsert),
        Op::BatchUpdate => objects::batch_write(state, call, Shape::BatchUpdate),
        Op::Create => objects::create(state, call),
        Op::Read | Op::Update | Op::Archive => match objects::single(state, call) {
            Ok(reply) => Err(reply),
            Err(planned) => planned,
        },
        Op::BatchRead => done(objects::batch_read(state, call)),
        Op::BatchArchive => done(objects::batch_archive(state, call)),
        Op::List => Err(objects::list(state, call)),
        Op::Search => Err(search::search(state, call)),
        Op::PropertyList
        | Op::PropertyCreate
        | Op::PropertyRead
        | Op::PropertyUpdate
        | Op::PropertyArchive
        | Op::PropertyGroups => Err(properties::answer(state, call)),
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
