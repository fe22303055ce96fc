//! The admin port over real sockets: health, metrics, status, console, and allowed hosts.

mod browser;
mod console;
mod crowds;
mod guard;
mod health;
mod metrics;
mod pages;
mod secrets;

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};

use crate::support::http::http_client;

/// A response.
#[derive(Debug)]
struct Response {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Response {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }
}

async fn ask(method: Method, url: &str, headers: &[(&str, &str)]) -> Response {
    let client = http_client();
    let mut request = client.request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap_or_else(|error| panic!("{url}: {error:?}"));
    let (status, headers) = (response.status(), response.headers().clone());
    Response { status, headers, text: response.text().await.expect("a body") }
}

async fn get(url: &str) -> Response {
    ask(Method::GET, url, &[]).await
}
