//! The life of a record after its creation, tested through whole requests. A request is handed to the handler without
//! a socket, so that this crate needs no HTTP client.

mod archives;
mod control;
mod faults;
mod merges;
mod updates;
mod user_actions;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State as AxumState};
use axum::http::{Method, header};
use serde_json::{Value, json};

use super::connection::ConnectionControl;
use super::server::handle_request;
use super::state::Shared;
use super::{Behaviour, Change, Handle, LifecycleSwitches, Settings};

const KEY: &str = "course_key";
const UPDATE: &str = "/crm/v3/objects/0-410/batch/update";
const ARCHIVE: &str = "/crm/v3/objects/0-410/batch/archive";
const READ: &str = "/crm/v3/objects/0-410/batch/read";
const READ_ARCHIVED: &str = "/crm/v3/objects/0-410/batch/read?archived=true";
const MERGE: &str = "/crm/objects/2026-03/courses/merge";
const LIST: &str = "/crm/v3/objects/0-410";

/// A simulator without a socket.
#[derive(Clone)]
struct Hub {
    handle: Handle,
}

/// A response, read completely.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: Value,
}

impl Hub {
    fn new() -> Self {
        let settings = Settings { unique_property: Some(KEY.to_owned()), ..Settings::default() };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { handle: Handle { shared: Arc::new(Shared::new(settings)), address } }
    }

    fn with(change: impl FnOnce(&mut LifecycleSwitches)) -> Self {
        let hub = Self::new();
        hub.switch(|behaviour| change(&mut behaviour.lifecycle));
        hub
    }

    fn switch(&self, change: impl FnOnce(&mut Behaviour)) {
        self.handle.change_behaviour(change);
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, "Bearer pat-na1-simulator")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let shared = Arc::clone(&self.handle.shared);
        let response =
            handle_request(AxumState(shared), ConnectInfo(ConnectionControl::default()), request).await;
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &Value::Null).await
    }

    async fn inputs(&self, path: &str, inputs: &[Value]) -> Answer {
        self.post(path, &json!({ "inputs": inputs })).await
    }

    async fn update(&self, inputs: &[Value]) -> Answer {
        self.inputs(UPDATE, inputs).await
    }

    async fn archive(&self, ids: &[u64]) -> Answer {
        self.inputs(ARCHIVE, &named(ids)).await
    }

    async fn read(&self, path: &str, ids: &[u64]) -> Answer {
        let properties = [KEY, "hs_course_name", "hs_course_id", "hs_merged_object_ids"];
        self.post(path, &json!({ "inputs": named(ids), "properties": properties })).await
    }

    async fn read_by_key(&self, path: &str, key: &str) -> Answer {
        self.post(path, &json!({ "idProperty": KEY, "inputs": [{ "id": key }], "properties": [KEY] })).await
    }

    /// Creates a record by a request, with a name and a key. Returns its ID.
    async fn create(&self, key: &str) -> u64 {
        let input = json!({ "properties": { "hs_course_name": format!("Course {key}"), KEY: key } });
        let answer = self.post(LIST, &input).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["id"].as_str().unwrap().parse().unwrap()
    }

    /// The kinds of changes of a record, in their order.
    fn changes(&self, id: u64) -> Vec<Change> {
        self.handle.versions_of(id).into_iter().map(|version| version.change).collect()
    }

    /// The stored value of a record's property.
    fn value(&self, id: u64, name: &str) -> Option<String> {
        let records = self.handle.records();
        records.iter().find(|record| record.id == id).and_then(|record| record.properties.get(name).cloned())
    }

    fn is_archived(&self, id: u64) -> bool {
        self.handle.records().iter().any(|record| record.id == id && record.archived)
    }

    fn modified(&self, id: u64) -> jiff::Timestamp {
        self.handle.records().iter().find(|record| record.id == id).unwrap().updated_at
    }
}

impl Answer {
    fn results(&self) -> &[Value] {
        self.body["results"].as_array().map_or(&[], Vec::as_slice)
    }

    fn errors(&self) -> &[Value] {
        self.body["errors"].as_array().map_or(&[], Vec::as_slice)
    }

    fn ids(&self) -> Vec<u64> {
        self.results().iter().map(|result| result["id"].as_str().unwrap().parse().unwrap()).collect()
    }

    /// The result of this record.
    fn of(&self, id: u64) -> &Value {
        let id = id.to_string();
        self.results().iter().find(|result| result["id"] == id).unwrap()
    }
}

/// An update of one property, without a trace ID.
fn set(id: u64, name: &str, value: &str) -> Value {
    json!({ "id": id.to_string(), "properties": { name: value } })
}

/// The same with a trace ID.
fn traced(mut input: Value) -> Value {
    input["objectWriteTraceId"] = Value::from(format!("trace-{}", input["id"].as_str().unwrap()));
    input
}

fn named(ids: &[u64]) -> Vec<Value> {
    ids.iter().map(|id| json!({ "id": id.to_string() })).collect()
}

fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Times have milliseconds in responses.
async fn next_millisecond() {
    tokio::time::sleep(Duration::from_millis(3)).await;
}

fn sorted(mut ids: Vec<u64>) -> Vec<u64> {
    ids.sort_unstable();
    ids
}

fn names(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}
