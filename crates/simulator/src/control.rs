//! The control API under `/_simulator/`: the functions of [`Handle`] over HTTP. The crate's documentation lists the
//! endpoints.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::Value;

use super::behaviour::Behaviour;
use super::faults::Fault;
use super::handle::Handle;
use super::journal::Entry;
use super::store::Record;
use super::summary::Summary;
use super::versions::Version;

/// The control API's routes.
pub(super) fn routes() -> Router<Handle> {
    Router::new()
        .route("/behaviour", get(behaviour).put(change_behaviour))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/journal", get(journal))
        .route("/records", get(records))
        .route("/versions", get(versions))
        .route("/versions/{id}", get(versions_of))
        .route("/edit", post(edit))
        .route("/archive", post(archive))
        .route("/restore", post(restore))
        .route("/purge", post(purge))
        .route("/merge", post(merge_records))
        .route("/touch", post(touch))
        .route("/options", put(options))
        .route("/summary", get(summary))
        .route("/neighbour", post(neighbour))
        .route("/midnight", post(midnight))
        .route("/reset", post(reset))
        .route("/token", put(token))
        .route("/scopes", put(scopes))
}

async fn behaviour(State(handle): State<Handle>) -> Json<Behaviour> {
    Json(handle.behaviour())
}

/// Members that are not given are kept.
async fn change_behaviour(State(handle): State<Handle>, Json(change): Json<Value>) -> Response {
    match merged(&handle.behaviour(), change) {
        Ok(behaviour) => {
            handle.set_behaviour(behaviour.clone());
            Json(behaviour).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

fn merged(current: &Behaviour, change: Value) -> serde_json::Result<Behaviour> {
    let mut whole = serde_json::to_value(current)?;
    merge(&mut whole, change);
    serde_json::from_value(whole)
}

/// Merges objects by member; replaces everything else (enumeration values, lists).
fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (name, value) in change {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change,
    }
}

async fn faults(State(handle): State<Handle>) -> Json<Vec<Fault>> {
    Json(handle.faults())
}

async fn add_fault(State(handle): State<Handle>, Json(fault): Json<Fault>) -> StatusCode {
    handle.add_fault(fault);
    StatusCode::CREATED
}

async fn clear_faults(State(handle): State<Handle>) -> StatusCode {
    handle.clear_faults();
    StatusCode::NO_CONTENT
}

async fn journal(State(handle): State<Handle>) -> Json<Vec<Entry>> {
    Json(handle.journal())
}

async fn records(State(handle): State<Handle>) -> Json<Vec<Record>> {
    Json(handle.records())
}

async fn versions(State(handle): State<Handle>) -> Json<Vec<Version>> {
    Json(handle.versions())
}

async fn versions_of(State(handle): State<Handle>, Path(id): Path<u64>) -> Json<Vec<Version>> {
    Json(handle.versions_of(id))
}

/// The status of an action that may find no record.
fn done(found: bool) -> StatusCode {
    if found { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    id: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    id: u64,
    properties: BTreeMap<String, String>,
}

async fn edit(State(handle): State<Handle>, Json(Edit { id, properties }): Json<Edit>) -> StatusCode {
    done(handle.edit_record(id, properties))
}

async fn archive(State(handle): State<Handle>, Json(One { id }): Json<One>) -> StatusCode {
    done(handle.archive_record(id))
}

async fn restore(State(handle): State<Handle>, Json(One { id }): Json<One>) -> StatusCode {
    done(handle.restore_record(id))
}

async fn purge(State(handle): State<Handle>, Json(One { id }): Json<One>) -> StatusCode {
    done(handle.purge_record(id))
}

async fn touch(State(handle): State<Handle>, Json(One { id }): Json<One>) -> StatusCode {
    done(handle.touch_record(id))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Merge {
    primary: u64,
    other: u64,
}

async fn merge_records(
    State(handle): State<Handle>,
    Json(Merge { primary, other }): Json<Merge>,
) -> Response {
    match handle.merge_records(primary, other) {
        Some(id) => Json(serde_json::json!({ "id": id })).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    property: String,
    options: Vec<String>,
}

async fn options(
    State(handle): State<Handle>,
    Json(Options { property, options }): Json<Options>,
) -> StatusCode {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    done(handle.set_options(&property, &options))
}

async fn summary(State(handle): State<Handle>) -> Json<Summary> {
    Json(handle.summary())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OtherRequests {
    requests: u64,
}

async fn neighbour(State(handle): State<Handle>, Json(other): Json<OtherRequests>) -> StatusCode {
    handle.spend_quota(other.requests);
    StatusCode::NO_CONTENT
}

async fn midnight(State(handle): State<Handle>) -> StatusCode {
    handle.reset_daily_quota();
    StatusCode::NO_CONTENT
}

async fn reset(State(handle): State<Handle>) -> StatusCode {
    handle.reset();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    token: String,
}

async fn token(State(handle): State<Handle>, Json(Token { token }): Json<Token>) -> StatusCode {
    handle.set_token(&token);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scopes {
    scopes: BTreeSet<String>,
}

async fn scopes(State(handle): State<Handle>, Json(Scopes { scopes }): Json<Scopes>) -> StatusCode {
    handle.set_scopes(scopes);
    StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Normalise, Uniqueness};

    #[test]
    fn members_that_are_not_given_are_kept() {
        let before = Behaviour { echo_trace_ids: true, ..Behaviour::default() };
        let change =
            r#"{"uniqueness":{"checked_first":{"gap_ms":5}},"normalise":"off","limits":{"requests":7}}"#;
        let after = merged(&before, serde_json::from_str(change).unwrap()).unwrap();
        assert!(after.echo_trace_ids);
        assert_eq!(after.uniqueness, Uniqueness::CheckedFirst { gap_ms: 5 });
        assert_eq!(after.normalise, Normalise::Off);
        assert_eq!((after.limits.requests, after.limits.per_ms), (7, before.limits.per_ms));
        assert!(merged(&before, serde_json::from_str(r#"{"echo":true}"#).unwrap()).is_err());
    }
}
