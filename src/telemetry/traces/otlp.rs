//! Sends spans by OTLP over HTTP, as the standard `OTEL_…` variables say.
//!
//! Touches the network, by a client of its own: HubSpot's carries HubSpot's rules. An endpoint that is away costs spans
//! and one line in the log, nothing else: the queue is bounded, the sender is a thread, and nobody waits for it.

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

/// What the specification has for a request without a timeout of its own.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer says how many spans were refused; more than this is none.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Looks an environment variable up.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why no spans are sent although an endpoint is named. Never shows a value: an endpoint or a header may be secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{0} is not an http or https address with a host, such as http://collector:4318")]
    Endpoint(&'static str),
    #[error("{0} holds a user or a password; put them into OTEL_EXPORTER_OTLP_HEADERS")]
    Credentials(&'static str),
    #[error("{0} asks for something else than http/protobuf, which is what course-sync speaks")]
    Protocol(&'static str),
    #[error("OTEL_TRACES_EXPORTER is neither otlp nor none")]
    Exporter,
    #[error(
        "OTEL_EXPORTER_OTLP_COMPRESSION asks for a compression, which course-sync does not know; leave it out"
    )]
    Compression,
    #[error("the HTTP client cannot be set up: {0}")]
    Client(#[source] reqwest::Error),
    #[error("{0}")]
    Build(#[source] ExporterBuildError),
}

#[derive(Debug, PartialEq, Eq)]
struct Plan {
    endpoint: String,
    timeout: Duration,
}

/// What makes spans and sends them; `None` where nobody wants any.
pub(super) fn provider(variable: Variable<'_>) -> Result<Option<SdkTracerProvider>, Refusal> {
    let Some(plan) = plan(variable)? else { return Ok(None) };
    let http = reqwest::Client::builder()
        .user_agent(concat!("course-sync/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        // A redirect would take the headers, which may be secret, elsewhere.
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(plan.timeout)
        .build()
        .map_err(|error| Refusal::Client(error.without_url()))?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(plan.endpoint)
        .with_timeout(plan.timeout)
        // The thread that retried would not hear that the process ends.
        .with_retry_policy(RetryPolicy::disabled())
        .with_http_client(Http {
            client: http,
            runtime: Handle::current(),
            is_failing: AtomicBool::new(false),
        })
        .build()
        .map_err(Refusal::Build)?;
    let builder = SdkTracerProvider::builder().with_resource(resource());
    Ok(Some(builder.with_batch_exporter(exporter).build()))
}

fn plan(variable: Variable<'_>) -> Result<Option<Plan>, Refusal> {
    // As the specification has it, an empty variable counts as unset.
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
        Some(_) => return Err(Refusal::Exporter),
    }
    if let Some((name, _)) = first(["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"])
        .filter(|(_, protocol)| protocol != "http/protobuf")
    {
        return Err(Refusal::Protocol(name));
    }
    if first(["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"])
        .is_some_and(|(_, compression)| compression != "none")
    {
        return Err(Refusal::Compression);
    }
    let url = Url::parse(&endpoint).map_err(|_| Refusal::Endpoint(name))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(Refusal::Endpoint(name));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refusal::Credentials(name));
    }
    let timeout = first(["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"])
        .and_then(|(_, millis)| millis.parse().ok())
        .map_or(TIMEOUT, Duration::from_millis);
    Ok(Some(Plan { endpoint, timeout }))
}

/// Who sends the spans: what the variables say, and `course-sync` where they name no service.
fn resource() -> Resource {
    let told = Resource::builder().build();
    let name = told.get(&Key::from_static_str("service.name")).map(|name| name.to_string());
    let is_named = name.is_some_and(|name| !name.starts_with("unknown_service"));
    let unnamed = (!is_named).then(|| KeyValue::new("service.name", "course-sync"));
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    Resource::builder().with_attributes(unnamed.into_iter().chain([version])).build()
}

/// The way out for a thread that knows no runtime: the request runs on ours.
#[derive(Debug)]
struct Http {
    client: reqwest::Client,
    runtime: Handle,
    /// The last request failed, and this was told.
    is_failing: AtomicBool,
}

#[async_trait::async_trait]
impl HttpClient for Http {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let sent = self.runtime.spawn(exchange(self.client.clone(), request)).await;
        let answered = sent.map_err(|_| "the process ends".to_owned()).and_then(|answered| answered);
        self.tell(&answered);
        answered.map_err(Into::into)
    }
}

impl Http {
    /// One line when it begins to fail, one when it works again.
    fn tell(&self, answered: &Result<Response<Bytes>, String>) {
        let reason = match answered {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("the endpoint answers {}", answer.status())),
            Err(error) => Some(error.clone()),
        };
        let was_failing = self.is_failing.swap(reason.is_some(), Ordering::Relaxed);
        match reason {
            Some(reason) if !was_failing => {
                tracing::warn!(reason, "traces cannot be sent; the next ones are tried");
            }
            None if was_failing => tracing::info!("traces are sent again"),
            Some(_) | None => {}
        }
    }
}

async fn exchange(http: reqwest::Client, request: reqwest::Request) -> Result<Response<Bytes>, String> {
    let mut response = http.execute(request).await.map_err(said)?;
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(said)? {
        if answer.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err("the endpoint's answer is too long".to_owned());
        }
        answer.extend_from_slice(&chunk);
    }
    let status = response.status();
    Response::builder().status(status).body(answer.into()).map_err(|error| error.to_string())
}

/// What went wrong, with its first cause and without the address.
fn said(error: reqwest::Error) -> String {
    let error = error.without_url();
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(variables: &[(&str, &str)]) -> Result<Option<Plan>, String> {
        let get = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        plan(&get).map_err(|refusal| refusal.to_string())
    }

    const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
    const OWN: (&str, &str) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces.example/in");

    #[test]
    fn the_variables_say_where_to_and_whether() {
        let to = |endpoint: &str, timeout| Ok(Some(Plan { endpoint: endpoint.to_owned(), timeout }));
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
            assert_eq!(planned(variables), expected, "{variables:?}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_by_name_and_without_its_value() {
        let cases: [(&[(&str, &str)], &str); 7] = [
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")], "OTEL_EXPORTER_OTLP_ENDPOINT is not"),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "canary")], "OTEL_EXPORTER_OTLP_ENDPOINT is not"),
            (
                &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://me:canary@traces.example/")],
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT holds a user",
            ),
            (&[BASE, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "OTEL_EXPORTER_OTLP_PROTOCOL asks"),
            (
                &[BASE, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json")],
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL asks",
            ),
            (&[BASE, ("OTEL_TRACES_EXPORTER", "zipkin")], "OTEL_TRACES_EXPORTER is"),
            (&[BASE, ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")], "OTEL_EXPORTER_OTLP_COMPRESSION"),
        ];
        for (variables, expected) in cases {
            let refusal = planned(variables).unwrap_err();
            assert!(refusal.starts_with(expected) && !refusal.contains("canary"), "{variables:?}: {refusal}");
        }
    }
}
