//! Sends spans by OTLP over HTTP, configured by the standard `OTEL_…` variables.
//!
//! Touches the network, with its own HTTP client, because the rules of the client for HubSpot do not apply here. If the
//! endpoint is unreachable, spans are lost and one line is logged, but nothing else is affected: the queue is bounded,
//! and a thread sends in the background.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::{Key, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use reqwest::{redirect, retry};
use tokio::runtime::Handle;
use url::Url;

use crate::telemetry::events;

/// The specification's default for a request.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A response reports how many spans were refused. It is never longer than this.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// Looks an environment variable up.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why no spans are sent although an endpoint is named. Never shows a value: an endpoint or a header may be secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    #[error("{0} is not an http or https address with a host, such as http://collector:4318")]
    Endpoint(&'static str),
    #[error("{0} contains a user or a password; put them into OTEL_EXPORTER_OTLP_HEADERS")]
    Credentials(&'static str),
    #[error("{0} is not http/protobuf, the only protocol that course-sync supports")]
    Protocol(&'static str),
    #[error("OTEL_TRACES_EXPORTER is neither otlp nor none")]
    Exporter,
    #[error("OTEL_EXPORTER_OTLP_COMPRESSION: course-sync supports no compression; remove the variable")]
    Compression,
    #[error("the HTTP client cannot be set up: {0}")]
    Client(#[source] reqwest::Error),
    #[error("{0}")]
    Build(#[source] ExporterBuildError),
}

#[derive(Debug, PartialEq, Eq)]
struct ExportSettings {
    endpoint: String,
    timeout: Duration,
}

/// Creates and sends spans; `None` if no endpoint is configured.
pub(super) fn provider(variable: Variable<'_>) -> Result<Option<SdkTracerProvider>, ExportError> {
    let Some(settings) = settings(variable)? else { return Ok(None) };
    crate::tls::install_provider();
    let http = reqwest::Client::builder()
        .user_agent(concat!("course-sync/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        // A redirect would take the headers, which may be secret, elsewhere.
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(settings.timeout)
        .build()
        .map_err(|error| ExportError::Client(error.without_url()))?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(settings.endpoint)
        .with_timeout(settings.timeout)
        // A retrying thread would not notice that the process ends.
        .with_retry_policy(RetryPolicy::disabled())
        .with_http_client(ExportClient {
            client: http,
            runtime: Handle::current(),
            is_failing: AtomicBool::new(false),
        })
        .build()
        .map_err(ExportError::Build)?;
    let builder = SdkTracerProvider::builder().with_resource(resource());
    Ok(Some(builder.with_batch_exporter(exporter).build()))
}

fn settings(variable: Variable<'_>) -> Result<Option<ExportSettings>, ExportError> {
    // By the specification, an empty variable counts as unset.
    let get = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|it| !it.is_empty());
    let first = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, get(name)?)));
    let own =
        get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(|url| ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url));
    let shared = || {
        let base = get("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        Some(("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{}/v1/traces", base.trim_end_matches('/'))))
    };
    let Some((name, endpoint)) = own.or_else(shared) else { return Ok(None) };
    if get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    match get("OTEL_TRACES_EXPORTER").as_deref() {
        None | Some("otlp") => {}
        Some("none") => return Ok(None),
        Some(_) => return Err(ExportError::Exporter),
    }
    if let Some((name, _)) = first(["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"])
        .filter(|(_, protocol)| protocol != "http/protobuf")
    {
        return Err(ExportError::Protocol(name));
    }
    if first(["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"])
        .is_some_and(|(_, compression)| compression != "none")
    {
        return Err(ExportError::Compression);
    }
    let url = Url::parse(&endpoint).map_err(|_| ExportError::Endpoint(name))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(ExportError::Endpoint(name));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ExportError::Credentials(name));
    }
    let timeout = first(["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"])
        .and_then(|(_, millis)| millis.parse().ok())
        .map_or(TIMEOUT, Duration::from_millis);
    Ok(Some(ExportSettings { endpoint, timeout }))
}

/// The sender of the spans: as configured by the variables, else `course-sync`.
fn resource() -> Resource {
    let configured = Resource::builder().build();
    let name = configured.get(&Key::from_static_str("service.name")).map(|name| name.to_string());
    let is_named = name.is_some_and(|name| !name.starts_with("unknown_service"));
    let unnamed = (!is_named).then(|| KeyValue::new("service.name", "course-sync"));
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    Resource::builder().with_attributes(unnamed.into_iter().chain([version])).build()
}

/// Called from the exporter's thread, which has no runtime: the request runs on ours.
#[derive(Debug)]
struct ExportClient {
    client: reqwest::Client,
    runtime: Handle,
    /// The last request failed, and the failure was logged.
    is_failing: AtomicBool,
}

#[async_trait::async_trait]
impl HttpClient for ExportClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let sent = self.runtime.spawn(send(self.client.clone(), request)).await;
        let response = sent.map_err(|_| "the process ends".to_owned()).and_then(|response| response);
        self.log_change(&response);
        response.map_err(Into::into)
    }
}

impl ExportClient {
    /// Logs one line when sending begins to fail, and one when it works again.
    fn log_change(&self, response: &Result<Response<Bytes>, String>) {
        let reason = match response {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("the endpoint responded {}", response.status())),
            Err(error) => Some(error.clone()),
        };
        let was_failing = self.is_failing.swap(reason.is_some(), Ordering::Relaxed);
        match reason {
            Some(reason) if !was_failing => {
                tracing::warn!(event = events::TRACE_EXPORT_FAILED, reason, "trace export failed");
            }
            None if was_failing => {
                tracing::info!(event = events::TRACE_EXPORT_RECOVERED, "trace export recovered");
            }
            Some(_) | None => {}
        }
    }
}

async fn send(http: reqwest::Client, request: reqwest::Request) -> Result<Response<Bytes>, String> {
    let mut response = http.execute(request).await.map_err(describe)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(describe)? {
        if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
            return Err("the endpoint's response is too long".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    let status = response.status();
    Response::builder().status(status).body(body.into()).map_err(|error| error.to_string())
}

/// The first cause of an error, without the address.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(variables: &[(&str, &str)]) -> Result<Option<ExportSettings>, String> {
        let get = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        settings(&get).map_err(|error| error.to_string())
    }

    const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
    const OWN: (&str, &str) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces.example/in");

    #[test]
    fn variables_decide_whether_and_where_spans_are_sent() {
        let to =
            |endpoint: &str, timeout| Ok(Some(ExportSettings { endpoint: endpoint.to_owned(), timeout }));
        let cases: [(&[(&str, &str)], _); 9] = [
            (&[], Ok(None)),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], Ok(None)),
            (&[("OTEL_EXPORTER_OTLP_HEADERS", "a=b")], Ok(None)),
            (&[BASE], to("http://collector:4318/v1/traces", TIMEOUT)),
            (&[BASE, OWN], to("https://traces.example/in", TIMEOUT)),
            (
                &[BASE, ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500")],
                to("http://collector:4318/v1/traces", Duration::from_millis(1500)),
            ),
            (&[BASE, ("OTEL_SDK_DISABLED", "TRUE")], Ok(None)),
            (&[BASE, ("OTEL_TRACES_EXPORTER", "none")], Ok(None)),
            (
                &[BASE, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")],
                to("http://collector:4318/v1/traces", TIMEOUT),
            ),
        ];
        for (variables, expected) in cases {
            assert_eq!(parse(variables), expected, "{variables:?}");
        }
    }

    #[test]
    fn invalid_variables_are_reported_by_name_without_their_value() {
        let cases: [(&[(&str, &str)], &str); 7] = [
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")], "OTEL_EXPORTER_OTLP_ENDPOINT is not"),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "canary")], "OTEL_EXPORTER_OTLP_ENDPOINT is not"),
            (
                &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://me:canary@traces.example/")],
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT contains a user",
            ),
            (&[BASE, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "OTEL_EXPORTER_OTLP_PROTOCOL is not"),
            (
                &[BASE, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json")],
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is not",
            ),
            (&[BASE, ("OTEL_TRACES_EXPORTER", "zipkin")], "OTEL_TRACES_EXPORTER is"),
            (&[BASE, ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")], "OTEL_EXPORTER_OTLP_COMPRESSION"),
        ];
        for (variables, expected) in cases {
            let error = parse(variables).unwrap_err();
            assert!(error.starts_with(expected) && !error.contains("canary"), "{variables:?}: {error}");
        }
    }
}
