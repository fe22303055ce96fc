//! Sends one request and says how it ended. Decides `NotSent` or `NoAnswer`, nothing about retrying.

mod records;

use std::sync::Arc;
use std::time::{Duration, Instant};

use memchr::memmem;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{RequestBuilder, Response, redirect, retry};
use tokio::time::timeout;

use super::advice::with_advice;
use super::auth::Auth;
use super::body_budget::BodyBudget;
use super::request::{self, Urls};
use super::wire;
use crate::config;
use crate::course::CourseKey;
use crate::policy::answer::{Body, Exchange, NoAnswer, NotSent, Unreadable};
use crate::policy::batch::Batch;
use crate::policy::reconcile::Place;
use crate::telemetry::metrics::Metrics;

pub use records::{Candidate, Presence};

/// A client of one HubSpot account.
#[derive(Debug)]
pub struct Client {
    pub(super) http: reqwest::Client,
    pub(super) auth: Auth,
    pub(super) urls: Urls,
    request_timeout: Duration,
    bodies: BodyBudget,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The TLS roots of this system cannot be used, or the like.
    #[error("the HTTP client could not be set up: {0}")]
    Setup(#[source] reqwest::Error),
    /// No credentials are configured.
    #[error("no access to HubSpot is configured; set HUBSPOT_ACCESS_TOKEN or hubspot.oauth")]
    NoCredentials,
}

/// Idle connections are closed before any server does: a stale one would put a batch in doubt.
const IDLE: Duration = Duration::from_secs(15);
const REDACTED: &[u8] = b"[redacted]";
/// What is shorter is no token of HubSpot's, and may stand in an answer by chance.
const TOKEN_BYTES: usize = 12;
const NO_TOKEN_IN_TIME: &str = "HubSpot's token endpoint gave no access token in time";

impl Client {
    /// A client as configured. Nothing is sent yet. `connections` are kept open at most.
    pub fn new(
        settings: &config::HubSpot,
        connections: usize,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ClientError> {
        let credentials = settings.credentials.clone().ok_or(ClientError::NoCredentials)?;
        let is_remote = settings.base_url.starts_with("https://");
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("course-sync/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            // Plain HTTP reaches loopback only; the configuration has seen to that.
            .https_only(is_remote)
            // A create is not idempotent: nothing below may send it twice, or elsewhere.
            .retry(retry::never())
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.request_timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(connections)
            .tcp_nodelay(true);
        if !is_remote {
            // A proxy of the environment would be told the token in plain text.
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| ClientError::Setup(error.without_url()))?;
        let urls = Urls::new(&settings.base_url, &settings.api_version);
        let auth = Auth::new(credentials, http.clone(), urls.tokens(), metrics);
        let bodies = BodyBudget::new();
        Ok(Self { http, auth, urls, request_timeout: settings.request_timeout, bodies })
    }

    /// Creates the courses of a batch. The body is made at once, and sent when the answer is waited for.
    pub fn create(&self, batch: &Batch) -> impl Future<Output = Exchange> + use<'_> {
        let body = request::create_body(batch);
        async move {
            match body {
                Ok(body) => self.post(self.urls.create(), body).await,
                Err(error) => Exchange::NotSent(NotSent::Unbuildable(error.to_string())),
            }
        }
    }

    /// Looks courses up by the unique property that carries their key.
    pub async fn read(&self, keys: &[&CourseKey], unique_property: &str, place: Place) -> Exchange {
        match request::read_body(keys.iter().copied(), unique_property) {
            Ok(body) => self.post(self.urls.read(place), body).await,
            Err(error) => Exchange::NotSent(NotSent::Unbuildable(error.to_string())),
        }
    }

    /// Whether the configured credentials are others than those that HubSpot was shown last. Reads their
    /// files.
    #[must_use]
    pub fn has_new_credentials(&self) -> bool {
        self.auth.has_changed()
    }

    async fn post(&self, url: String, mut body: String) -> Exchange {
        // Up to twice as long as it need be, for as long as it takes HubSpot to read it.
        body.shrink_to_fit();
        // Wrapped, it cannot be sent a second time, and is gone once it was sent: a batch in flight holds no copy.
        let body = reqwest::Body::wrap(body);
        let request = self.http.post(url).header(CONTENT_TYPE, "application/json").body(body);
        self.send(request).await.0
    }

    /// Asks for something about the account; gives the body's bytes too.
    pub(super) async fn get(&self, url: String) -> (Exchange, Vec<u8>) {
        self.send(self.http.get(url)).await
    }

    pub(super) async fn send(&self, request: RequestBuilder) -> (Exchange, Vec<u8>) {
        // Together they end within `request_timeout`: the lease under which the caller sends is no longer.
        let began = Instant::now();
        let authorization = match timeout(self.request_timeout / 2, self.auth.header()).await {
            Ok(Ok(header)) => header,
            Ok(Err(why)) => return (Exchange::NotSent(why), Vec::new()),
            Err(_) => {
                let why = NotSent::Unreachable(NO_TOKEN_IN_TIME.into());
                return (Exchange::NotSent(why), Vec::new());
            }
        };
        let request = request
            .timeout(self.request_timeout.saturating_sub(began.elapsed()))
            .header(AUTHORIZATION, authorization.clone())
            .header(ACCEPT, "application/json");
        let answered = match request.send().await {
            Ok(response) => {
                let left = self.request_timeout.saturating_sub(began.elapsed());
                self.answered(response, left, &authorization).await
            }
            Err(error) => (unanswered(error), Vec::new()),
        };
        if let (Exchange::Answered { meta, .. }, _) = &answered
            && meta.status == 401
        {
            self.auth.refused(&authorization).await;
        }
        answered
    }

    /// The answer, and its body's bytes where they could be read.
    async fn answered(
        &self,
        response: Response,
        left: Duration,
        authorization: &HeaderValue,
    ) -> (Exchange, Vec<u8>) {
        let mut meta = wire::read_meta(response.status().as_u16(), response.headers());
        meta.answered_at = Some(Instant::now());
        let read = timeout(left, self.body(response, authorization)).await;
        let (body, bytes) = match read {
            Ok(Ok(read)) => read,
            Ok(Err(why)) => (Body::Unreadable(why), Vec::new()),
            Err(_) => (Body::Unreadable(Unreadable::Cut("it took too long".into())), Vec::new()),
        };
        (Exchange::Answered { meta, body }, bytes)
    }

    /// Reads a body while it is within reason; the memory it takes is bounded for all requests together.
    async fn body(
        &self,
        mut response: Response,
        authorization: &HeaderValue,
    ) -> Result<(Body, Vec<u8>), Unreadable> {
        let (mut bytes, mut share) = (Vec::new(), self.bodies.share());
        loop {
            if !read_on(&mut response, &mut bytes, wire::MAX_BODY_BYTES).await? {
                let bytes = without_token(bytes, authorization);
                return Ok((wire::read_body(&bytes), bytes));
            }
            share.grow_to(bytes.len()).await;
        }
    }
}

/// The bytes of a body; one that is longer than `limit` is not read to its end.
pub(super) async fn short_body(mut response: Response, limit: usize) -> Result<Vec<u8>, Unreadable> {
    let mut bytes = Vec::new();
    while read_on(&mut response, &mut bytes, limit).await? {}
    Ok(bytes)
}

/// Reads the next piece of a body. False at its end.
async fn read_on(response: &mut Response, bytes: &mut Vec<u8>, limit: usize) -> Result<bool, Unreadable> {
    let Some(piece) = response.chunk().await.map_err(|error| Unreadable::Cut(chain(error)))? else {
        return Ok(false);
    };
    if bytes.len() + piece.len() > limit {
        return Err(Unreadable::TooLong);
    }
    bytes.extend_from_slice(&piece);
    Ok(true)
}

/// An answer without the token that it answers, should it be repeated in it: answers are kept and told.
fn without_token(bytes: Vec<u8>, authorization: &HeaderValue) -> Vec<u8> {
    let token = authorization.as_bytes().strip_prefix(b"Bearer ").unwrap_or_default();
    let finder = memmem::Finder::new(token);
    if token.len() < TOKEN_BYTES || finder.find(&bytes).is_none() {
        return bytes;
    }
    let (mut clean, mut rest) = (Vec::with_capacity(bytes.len()), bytes.as_slice());
    while let Some((before, from)) = finder.find(rest).and_then(|at| rest.split_at_checked(at)) {
        clean.extend_from_slice(before);
        clean.extend_from_slice(REDACTED);
        rest = from.get(token.len()..).unwrap_or_default();
    }
    clean.extend_from_slice(rest);
    clean
}

/// Whether a request without an answer may have been taken.
pub(super) fn unanswered(error: reqwest::Error) -> Exchange {
    // A connect timeout is both: being a failed connection is what proves that nothing was sent.
    if error.is_builder() {
        Exchange::NotSent(NotSent::Unbuildable(chain(error)))
    } else if error.is_connect() {
        let text = format!("HubSpot could not be reached: {}", chain(error));
        Exchange::NotSent(NotSent::Unreachable(with_advice(text)))
    } else if error.is_timeout() {
        Exchange::NoAnswer(NoAnswer::Timeout)
    } else {
        Exchange::NoAnswer(NoAnswer::Lost(chain(error)))
    }
}

/// An error with its causes on one line, without the URL.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let mut parts: Vec<String> = Vec::new();
    for text in causes.map(ToString::to_string) {
        // Some errors of this stack repeat their cause.
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}
