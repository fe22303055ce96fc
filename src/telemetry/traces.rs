//! Spans: what a batch went through and how long each step took, for a tracing system.
//!
//! Touches nothing itself; `otlp` sends in the background, to where the standard `OTEL_…` variables say. Without them
//! no span is made. A span holds identifiers, numbers and outcomes, never what is in a course.

mod otlp;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use url::Url;
use uuid::Uuid;

use crate::policy::interpret::RequestOutcome;

/// How long the end waits for the last spans to be sent. It lies within the last steps of a forced end.
const FLUSH_LIMIT: Duration = Duration::from_millis(800);

/// Where spans go; nowhere by default.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<Sink>>);

#[derive(Debug)]
struct Sink {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    /// Who is asked, as a request's span says it.
    server: Vec<KeyValue>,
}

/// A span that is under way. It ends when it is dropped.
#[derive(Debug, Default)]
#[must_use = "a span ends when it is dropped"]
pub struct Span(Option<Open>);

#[derive(Debug)]
struct Open {
    sink: Arc<Sink>,
    context: Context,
}

/// A step of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Courses become in flight, in the database.
    Claim,
    /// The request to HubSpot.
    Send,
    /// What became of the courses is written, until the database answers.
    Record,
}

impl Traces {
    /// Sends spans to the endpoint that the environment names, if it names one. What is wrong with those variables
    /// is logged and costs the spans alone. `hubspot` is the address that requests go to. Needs a runtime.
    #[must_use]
    pub fn start(hubspot: &str) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        match otlp::provider(&variable) {
            Ok(None) => Self::default(),
            Ok(Some(provider)) => {
                let tracer = provider.tracer("course-sync");
                Self(Some(Arc::new(Sink { provider, tracer, server: server(hubspot) })))
            }
            Err(error) => {
                tracing::warn!(%error, "no traces are sent");
                Self::default()
            }
        }
    }

    /// The span of a batch whose claim began at `since` and has just ended.
    pub fn batch(&self, id: Uuid, term: i64, courses: usize, since: SystemTime) -> Span {
        let Some(sink) = &self.0 else { return Span::default() };
        let attributes = vec![
            KeyValue::new("course_sync.batch", id.to_string()),
            KeyValue::new("course_sync.term", term),
            count(courses),
        ];
        let batch = sink.begin("batch", SpanKind::Internal, attributes, &Context::new(), since);
        drop(batch.step_since(Step::Claim, since));
        batch
    }

    /// The span of a request that looks up courses in doubt.
    pub fn look_up(&self, id: Uuid, courses: usize) -> Span {
        let Some(sink) = &self.0 else { return Span::default() };
        let mut attributes = vec![KeyValue::new("course_sync.batch", id.to_string()), count(courses)];
        attributes.extend(sink.request());
        sink.begin("look up", SpanKind::Client, attributes, &Context::new(), SystemTime::now())
    }

    /// Sends what is still queued, for a short time at most. Later spans are lost.
    pub async fn close(&self) {
        let Some(sink) = &self.0 else { return };
        let provider = sink.provider.clone();
        // It waits for a thread. What could not be sent was told when it failed.
        tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_LIMIT)).await.ok();
    }
}

impl Sink {
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
        Span(Some(Open { sink: Arc::clone(self), context: Context::new().with_span(span) }))
    }

    /// What is known of a request to HubSpot before it is sent.
    fn request(&self) -> impl Iterator<Item = KeyValue> + '_ {
        self.server.iter().cloned().chain([KeyValue::new("http.request.method", "POST")])
    }
}

impl Span {
    /// A step of this span begins.
    pub fn step(&self, step: Step) -> Span {
        self.step_since(step, SystemTime::now())
    }

    fn step_since(&self, step: Step, since: SystemTime) -> Span {
        let Some(Open { sink, context }) = &self.0 else { return Span::default() };
        let database = || vec![KeyValue::new("db.system.name", "postgresql")];
        let (name, attributes) = match step {
            Step::Claim => ("claim", database()),
            Step::Send => ("send", sink.request().collect()),
            Step::Record => ("record", database()),
        };
        sink.begin(name, SpanKind::Client, attributes, context, since)
    }

    /// The request ended so.
    pub fn answered(&self, outcome: RequestOutcome, status: Option<u16>, correlation_id: Option<&str>) {
        self.ended(outcome);
        let Some(Open { context, .. }) = &self.0 else { return };
        let status = status.map(|status| KeyValue::new("http.response.status_code", i64::from(status)));
        let correlation = correlation_id.map(|id| KeyValue::new("course_sync.correlation_id", id.to_owned()));
        context.span().set_attributes(status.into_iter().chain(correlation));
    }

    /// It came to this.
    pub fn ended(&self, outcome: RequestOutcome) {
        let Some(Open { context, .. }) = &self.0 else { return };
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

/// The attributes that name a server.
fn server(url: &str) -> Vec<KeyValue> {
    let Ok(url) = Url::parse(url) else { return Vec::new() };
    let host = url.host_str().map(|host| KeyValue::new("server.address", host.to_owned()));
    let port = url.port_or_known_default().map(|port| KeyValue::new("server.port", i64::from(port)));
    host.into_iter().chain(port).collect()
}
