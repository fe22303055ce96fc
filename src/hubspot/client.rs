//! Sends one request and says how it ended. Decides `NotSent` or `NoAnswer`, nothing about retrying.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use reqwest::{RequestBuilder, Response, StatusCode, redirect, retry};
use tokio::time::timeout;

use super::auth::Auth;
use super::request::{self, Urls};
use super::wire;
use crate::config;
use crate::policy::answer::{Body, Exchange, NoAnswer, NotSent, Unreadable};
use crate::policy::batch::Batch;
use crate::policy::reconcile::{Doubted, Place};
use crate::telemetry::metrics::Metrics;

/// A client of one HubSpot account.
#[derive(Debug, Clone)]
pub struct Client {
    pub(super) http: reqwest::Client,
    pub(super) auth: Arc<Auth>,
    pub(super) urls: Urls,
    request_timeout: Duration,
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
        let auth = Arc::new(Auth::new(credentials, http.clone(), urls.token(), metrics));
        Ok(Self { http, auth, urls, request_timeout: settings.request_timeout })
    }

    /// Creates the courses of a batch.
    pub async fn create(&self, batch: &Batch) -> Exchange {
        match request::create_body(batch) {
            Ok(body) => self.post(self.urls.create(), body).await,
            Err(error) => Exchange::NotSent(NotSent::Unbuildable(error.to_string())),
        }
    }

    /// Looks courses up by the unique property that carries their key.
    pub async fn read(&self, courses: &[Doubted], unique_property: &str, place: Place) -> Exchange {
        match request::read_body(courses.iter().map(|course| &course.key), unique_property) {
            Ok(body) => self.post(self.urls.read(place), body).await,
            Err(error) => Exchange::NotSent(NotSent::Unbuildable(error.to_string())),
        }
    }

    async fn post(&self, url: String, body: Vec<u8>) -> Exchange {
        let request = self.http.post(url).header(CONTENT_TYPE, "application/json").body(body);
        match self.send(request).await {
            Ok(response) => answered(response).await.0,
            Err(exchange) => exchange,
        }
    }

    /// Asks for something about the account; gives the body's bytes too.
    pub(super) async fn get(&self, url: String) -> (Exchange, Vec<u8>) {
        match self.send(self.http.get(url)).await {
            Ok(response) => answered(response).await,
            Err(exchange) => (exchange, Vec::new()),
        }
    }

    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, Exchange> {
        // Together they end within `request_timeout`: the lease under which the caller sends is no longer.
        let began = Instant::now();
        let authorization = match timeout(self.request_timeout / 2, self.auth.header()).await {
            Ok(Ok(header)) => header,
            Ok(Err(why)) => return Err(Exchange::NotSent(why)),
            Err(_) => return Err(Exchange::NotSent(NotSent::Unreachable(NO_TOKEN_IN_TIME.into()))),
        };
        let request = request
            .timeout(self.request_timeout.saturating_sub(began.elapsed()))
            .header(AUTHORIZATION, authorization.clone())
            .header(ACCEPT, "application/json");
        let response = request.send().await.map_err(unanswered)?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.auth.refused(&authorization).await;
        }
        Ok(response)
    }
}

/// The answer, and the bytes of its body.
pub(super) async fn answered(response: Response) -> (Exchange, Vec<u8>) {
    let meta = wire::read_meta(response.status().as_u16(), response.headers());
    let (body, bytes) = match whole_body(response).await {
        Ok(bytes) => (wire::read_body(&bytes), bytes),
        Err(why) => (Body::Unreadable(why), Vec::new()),
    };
    (Exchange::Answered { meta, body }, bytes)
}

/// The bytes of a body, as many as are reasonable.
pub(super) async fn whole_body(mut response: Response) -> Result<Vec<u8>, Unreadable> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Unreadable::Cut(chain(error)))? {
        if bytes.len() + chunk.len() > wire::MAX_BODY_BYTES {
            return Err(Unreadable::TooLong);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Whether a request without an answer may have been taken.
pub(super) fn unanswered(error: reqwest::Error) -> Exchange {
    // A connect timeout is both: being a failed connection is what proves that nothing was sent.
    if error.is_builder() {
        Exchange::NotSent(NotSent::Unbuildable(chain(error)))
    } else if error.is_connect() {
        Exchange::NotSent(NotSent::Unreachable(format!("HubSpot could not be reached: {}", chain(error))))
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
