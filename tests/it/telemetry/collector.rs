//! A collector of spans for tests: OTLP over HTTP, in protobuf.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;

/// A collector and everything that it received.
#[derive(Clone, Default)]
pub struct Collector {
    spans: Arc<Mutex<Vec<Received>>>,
    /// The raw bodies, to search for data that must not be in them.
    raw: Arc<Mutex<Vec<u8>>>,
    url: String,
}

/// One span.
#[derive(Debug, Clone)]
pub struct Received {
    pub span: Span,
    pub resource: BTreeMap<String, String>,
    pub authorization: String,
}

impl Collector {
    /// Starts a collector on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let collector = Self { url, ..Self::default() };
        let router = Router::new().route("/v1/traces", post(Self::receive)).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        collector
    }

    /// The value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    #[allow(clippy::unused_async)] // handlers must be async
    async fn receive(State(collector): State<Self>, headers: HeaderMap, body: Bytes) {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        let header = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let request = ExportTraceServiceRequest::decode(body.clone()).expect("spans");
        collector.raw.lock().unwrap().extend_from_slice(&body);
        for group in request.resource_spans {
            let resource = attributes(&group.resource.expect("a resource").attributes);
            for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let received =
                    Received { span, resource: resource.clone(), authorization: header.to_owned() };
                collector.spans.lock().unwrap().push(received);
            }
        }
    }

    /// The spans with this name so far.
    pub fn spans(&self, name: &str) -> Vec<Received> {
        self.spans.lock().unwrap().iter().filter(|received| received.span.name == name).cloned().collect()
    }

    /// Whether this text was in any body.
    pub fn has_received(&self, text: &str) -> bool {
        self.raw.lock().unwrap().windows(text.len()).any(|window| window == text.as_bytes())
    }
}

impl Received {
    /// Its attributes as text.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        attributes(&self.span.attributes)
    }
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("unexpected type of attribute: {other:?}"),
    };
    attributes
        .iter()
        .map(|attribute| {
            let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
            (attribute.key.clone(), text(value.expect("a value")))
        })
        .collect()
}
