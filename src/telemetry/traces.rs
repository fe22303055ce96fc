//! Spans: the steps of a batch and how long each took, for a tracing system.
//!
//! Touches nothing itself; `otlp` sends in the background, to the endpoint in the standard `OTEL_…` variables. Without
//! them no span is created. A span contains identifiers, numbers and outcomes, never data of a course.

mod otlp;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use url::Url;

use super::events;
use crate::course::{BatchId, Term};
use crate::hubspot::api::outcome::RequestOutcome;

/// How long the shutdown waits for the last spans to be sent. Part of the last steps of a forced shutdown.
const FLUSH_LIMIT: Duration = Duration::from_millis(800);

/// Creates and sends spans. Does nothing by default.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<Exporter>>);

#[derive(Debug)]
struct Exporter {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    /// HubSpot's address, as attributes of a request's span.
    server: Vec<KeyValue>,
}

/// An open span. It ends when it is dropped.
#[derive(Debug, Default)]
#[must_use = "a span ends when it is dropped"]
pub struct Span(Option<OpenSpan>);

#[derive(Debug)]
struct OpenSpan {
    exporter: Arc<Exporter>,
    context: Context,
}

/// A step of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchStep {
    /// The database marks courses as in flight.
    Claim,
    /// The request to HubSpot.
    Send,
    /// The outcomes are written, until the database responds.
    Record,
}

impl Traces {
    /// Sends spans to the endpoint that the environment names, if any. Invalid variables are logged, and no spans
    /// are sent. `hubspot` is the address of HubSpot. Needs a runtime.
    #[must_use]
    pub fn start(hubspot: &str) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        match otlp::provider(&variable) {
            Ok(None) => Self::default(),
            Ok(Some(provider)) => {
                let tracer = provider.tracer("course-sync");
                Self(Some(Arc::new(Exporter { provider, tracer, server: server(hubspot) })))
            }
            Err(error) => {
                tracing::warn!(event = events::TRACES_DISABLED, %error, "traces disabled");
                Self::default()
            }
        }
    }

    /// Starts the span of a batch whose claim began at `since` and has just ended.
    pub fn start_batch(&self, id: BatchId, term: Term, courses: usize, since: SystemTime) -> Span {
        let Some(exporter) = &self.0 else { return Span::default() };
        let attributes = vec![
            KeyValue::new("course_sync.batch", id.to_string()),
            KeyValue::new("course_sync.term", term.0),
            count(courses),
        ];
        let batch = exporter.begin("batch", SpanKind::Internal, attributes, &Context::new(), since);
        drop(batch.start_step_at(BatchStep::Claim, since));
        batch
    }

    /// Starts the span of a request that looks up unconfirmed courses.
    pub fn start_lookup(&self, id: BatchId, courses: usize) -> Span {
        let Some(exporter) = &self.0 else { return Span::default() };
        let mut attributes = vec![KeyValue::new("course_sync.batch", id.to_string()), count(courses)];
        attributes.extend(exporter.request());
        exporter.begin("look up", SpanKind::Client, attributes, &Context::new(), SystemTime::now())
    }

    /// Sends the queued spans, for a short time at most. Later spans are lost.
    pub async fn close(&self) {
        let Some(exporter) = &self.0 else { return };
        let provider = exporter.provider.clone();
        // It waits for a thread. Failures were logged when they happened.
        tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_LIMIT)).await.ok();
    }
}

impl Exporter {
    fn begin(
        self: &Arc<Self>,
        name: &'static str,
        kind: SpanKind,
        attributes: Vec<KeyValue>,
        parent: &Context,
        since: SystemTime,
    ) -> Span {
        let span = self.tracer.span_builder(name).with_kind(kind).with_attributes(attributes);
        let span = self.tracer.build_with_context(span.with_start_time(since), parent);
        Span(Some(OpenSpan { exporter: Arc::clone(self), context: Context::new().with_span(span) }))
    }

    /// The attributes of a request to HubSpot that are known before it is sent.
    fn request(&self) -> impl Iterator<Item = KeyValue> + '_ {
        self.server.iter().cloned().chain([KeyValue::new("http.request.method", "POST")])
    }
}

impl Span {
    /// Starts the span of a step.
    pub fn start_step(&self, step: BatchStep) -> Span {
        self.start_step_at(step, SystemTime::now())
    }

    fn start_step_at(&self, step: BatchStep, since: SystemTime) -> Span {
        let Some(OpenSpan { exporter, context }) = &self.0 else { return Span::default() };
        let database = || vec![KeyValue::new("db.system.name", "postgresql")];
        let (name, attributes) = match step {
            BatchStep::Claim => ("claim", database()),
            BatchStep::Send => ("send", exporter.request().collect()),
            BatchStep::Record => ("record", database()),
        };
        exporter.begin(name, SpanKind::Client, attributes, context, since)
    }

    /// Sets the result of a request.
    pub fn record_response(
        &self,
        outcome: RequestOutcome,
        status: Option<u16>,
        correlation_id: Option<&str>,
    ) {
        self.record_outcome(outcome);
        let Some(OpenSpan { context, .. }) = &self.0 else { return };
        let status = status.map(|status| KeyValue::new("http.response.status_code", i64::from(status)));
        let correlation = correlation_id.map(|id| KeyValue::new("course_sync.correlation_id", id.to_owned()));
        context.span().set_attributes(status.into_iter().chain(correlation));
    }

    /// Sets the outcome.
    pub fn record_outcome(&self, outcome: RequestOutcome) {
        let Some(OpenSpan { context, .. }) = &self.0 else { return };
        let (span, name) = (context.span(), outcome.as_str());
        span.set_attribute(KeyValue::new("course_sync.outcome", name));
        match outcome {
            RequestOutcome::Ok | RequestOutcome::Partial => {}
            RequestOutcome::Rejected
            | RequestOutcome::RateLimited
            | RequestOutcome::Unauthorized
            | RequestOutcome::Unavailable
            | RequestOutcome::Timeout
            | RequestOutcome::Unreachable
            | RequestOutcome::Invalid => {
                span.set_attribute(KeyValue::new("error.type", name));
                span.set_status(Status::error(name));
            }
        }
    }
}

fn count(courses: usize) -> KeyValue {
    KeyValue::new("course_sync.courses", i64::try_from(courses).unwrap_or(i64::MAX))
}

/// The attributes for a server's address.
fn server(url: &str) -> Vec<KeyValue> {
    let Ok(url) = Url::parse(url) else { return Vec::new() };
    let host = url.host_str().map(|host| KeyValue::new("server.address", host.to_owned()));
    let port = url.port_or_known_default().map(|port| KeyValue::new("server.port", i64::from(port)));
    host.into_iter().chain(port).collect()
}
