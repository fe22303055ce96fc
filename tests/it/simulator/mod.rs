//! The simulator over sockets: error messages, strictness, quotas and faults. Every JSON response is validated
//! against a schema.

mod account;
mod conditions;
mod documentation;
mod faults;
mod input_errors;
mod properties;
mod quota;
mod read_switches;
mod reads;
mod refusals;
mod schema;
mod switches;
mod writes;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use simulator::{Handle, Settings, Simulator};
use tokio::task::JoinHandle;

use crate::support::http::http_client_builder;

const TOKEN: &str = "pat-na1-simulator";
const KEY: &str = "course_key";
const CREATE: &str = "/crm/v3/objects/0-410/batch/create";
const READ: &str = "/crm/v3/objects/0-410/batch/read";

/// A simulator that ends with the test.
struct Hub {
    handle: Handle,
    client: reqwest::Client,
    serving: JoinHandle<()>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An answer, read whole.
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
    body: Value,
}

impl Hub {
    async fn new() -> Self {
        Self::with(Settings { unique_property: Some(KEY.to_owned()), ..Settings::default() }).await
    }

    async fn with(settings: Settings) -> Self {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let simulator = Simulator::bind(anywhere, settings).await.unwrap();
        let handle = simulator.handle();
        let serving = tokio::spawn(async move { simulator.serve(std::future::pending()).await.unwrap() });
        let client = http_client_builder().timeout(Duration::from_secs(20)).build().unwrap();
        Self { handle, client, serving }
    }

    fn request(&self, method: Method, path: &str, token: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.handle.url())).bearer_auth(token)
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path, TOKEN).json(body), path).await
    }

    async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path, TOKEN), path).await
    }

    async fn create(&self, inputs: &[Value]) -> Answer {
        self.post(CREATE, &json!({ "inputs": inputs })).await
    }

    async fn read(&self, keys: &[&str]) -> Answer {
        let inputs: Vec<Value> = keys.iter().map(|key| json!({ "id": key })).collect();
        self.post(READ, &json!({ "idProperty": KEY, "inputs": inputs, "properties": [KEY] })).await
    }
}

impl Answer {
    /// Sends, reads, and holds JSON against the schema of its path and status.
    async fn of(request: reqwest::RequestBuilder, path: &str) -> Self {
        let (status, headers, text) = raw(request).await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        let is_json =
            headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        if is_json {
            schema::check(path, status, &body);
        }
        Self { status, headers, text, body }
    }

    fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn results(&self) -> &[Value] {
        self.body["results"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Key → id of all results.
    fn ids(&self) -> BTreeMap<String, String> {
        let pair = |result: &Value| {
            let key = result["properties"][KEY].as_str().unwrap_or_default().to_owned();
            (key, result["id"].as_str().unwrap().to_owned())
        };
        self.results().iter().map(pair).collect()
    }
}

async fn raw(request: reqwest::RequestBuilder) -> reqwest::Result<(u16, HeaderMap, String)> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok((status, headers, response.text().await?))
}

/// An input with a name and a key, and no trace id.
fn course(key: &str) -> Value {
    json!({ "properties": { "hs_course_name": format!("Course {key}"), KEY: key }, "associations": [] })
}

/// The same with a trace id.
fn traced(key: &str) -> Value {
    let mut input = course(key);
    input["objectWriteTraceId"] = Value::from(format!("trace-{key}"));
    input
}

/// The same with another property.
fn with(mut input: Value, name: &str, value: &str) -> Value {
    input["properties"][name] = Value::from(value);
    input
}

/// Waits until `holds`, for ten seconds at most.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "not within ten seconds: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
