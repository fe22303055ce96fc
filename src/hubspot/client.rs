//! The client of one HubSpot account: sends one request and returns how it ended. It never retries.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{RequestBuilder, Response, redirect, retry};
use tokio::time::timeout;

use crate::config;
use crate::course::{Batch, CourseKey, HubSpotId};
use crate::hubspot::api::record_state::RecordState;
use crate::hubspot::api::response::{Body, Exchange, NotSent, Unreadable};
use crate::hubspot::api::status::StatusMeaning;
use crate::hubspot::api::{decode, request};
use crate::hubspot::auth::Auth;
use crate::hubspot::body_budget::BodyBudget;
use crate::hubspot::transport::{self, decode_headers};
use crate::hubspot::urls::Urls;
use crate::telemetry::metrics::Metrics;

/// A client of one HubSpot account.
#[derive(Debug)]
pub struct Client {
    pub(super) http: reqwest::Client,
    pub(super) auth: Auth,
    pub(super) urls: Urls,
    request_timeout: Duration,
    bodies: BodyBudget,
}

/// Why the client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// For example, the system's root certificates cannot be read.
    #[error("the HTTP client could not be set up: {0}")]
    Setup(#[source] reqwest::Error),
    /// No credentials are configured.
    #[error("no access to HubSpot is configured; set HUBSPOT_ACCESS_TOKEN or hubspot.oauth")]
    NoCredentials,
}

/// How long an idle connection is kept: shorter than any server keeps it. A request on a connection that the server has
/// just closed would leave its batch unconfirmed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
const NO_TOKEN_IN_TIME: &str = "HubSpot's token endpoint returned no access token in time";

impl Client {
    /// Builds the client as configured. Sends nothing yet. At most `connections` idle connections are kept open.
    pub fn new(
        settings: &config::HubSpotConfig,
        connections: usize,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ClientError> {
        crate::tls::install_provider();
        let credentials = settings.credentials.clone().ok_or(ClientError::NoCredentials)?;
        let is_remote = settings.base_url.starts_with("https://");
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("course-sync/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            // The configuration allows plain HTTP to loopback addresses only.
            .https_only(is_remote)
            // HubSpot's create endpoint is not idempotent: no layer below may send a request twice or follow a redirect.
            .retry(retry::never())
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.request_timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(connections)
            .tcp_nodelay(true);
        if !is_remote {
            // Otherwise a proxy from the environment would receive the token in plain text.
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| ClientError::Setup(error.without_url()))?;
        let urls = Urls::new(&settings.base_url, &settings.api_version);
        let auth = Auth::new(credentials, http.clone(), urls.tokens(), metrics);
        let bodies = BodyBudget::new();
        Ok(Self { http, auth, urls, request_timeout: settings.request_timeout, bodies })
    }

    /// Creates, updates or archives the courses of a batch. The body is encoded at once, and sent when the future is polled.
    pub fn write(&self, batch: &Batch) -> impl Future<Output = Exchange> + use<'_> {
        let body = request::encode_write(batch);
        let url = self.urls.write(batch.write());
        async move {
            match body {
                Ok(body) => self.post(url, body).await,
                Err(error) => Exchange::NotSent(NotSent::Unbuildable(error.to_string())),
            }
        }
    }

    /// Looks courses up by the unique property that carries their key.
    pub async fn read(&self, keys: &[&CourseKey], unique_property: &str, state: RecordState) -> Exchange {
        match request::encode_read(keys.iter().map(|key| key.as_str()), unique_property) {
            Ok(body) => self.post(self.urls.read(state), body).await,
            Err(error) => Exchange::NotSent(NotSent::Unbuildable(error.to_string())),
        }
    }

    /// Reads records by their ids, with these properties.
    pub async fn read_records(
        &self,
        ids: &[&HubSpotId],
        properties: &[&str],
        state: RecordState,
    ) -> Exchange {
        match request::encode_read_records(ids.iter().copied(), properties) {
            Ok(body) => self.post(self.urls.read(state), body).await,
            Err(error) => Exchange::NotSent(NotSent::Unbuildable(error.to_string())),
        }
    }

    /// Whether the configured credentials differ from those that were sent last. Reads their files.
    #[must_use]
    pub fn has_new_credentials(&self) -> bool {
        self.auth.has_changed()
    }

    pub(super) async fn post(&self, url: String, mut body: String) -> Exchange {
        // The buffer may be twice as large as its content, and is kept for as long as HubSpot takes to read it.
        body.shrink_to_fit();
        // A wrapped body cannot be sent a second time and is freed once it was sent: a batch in flight holds no copy.
        let body = reqwest::Body::wrap(body);
        let request = self.http.post(url).header(CONTENT_TYPE, "application/json").body(body);
        self.send(request).await.0
    }

    /// Sends a GET request; also returns the bytes of the body.
    pub(super) async fn get(&self, url: String) -> (Exchange, Vec<u8>) {
        self.send(self.http.get(url)).await
    }

    /// Sends a request with the access token; also returns the bytes of the body.
    pub(super) async fn send(&self, request: RequestBuilder) -> (Exchange, Vec<u8>) {
        // Fetching a token and the request itself share `request_timeout`: the caller's lease is not longer.
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
        let result = match request.send().await {
            Ok(response) => {
                let left = self.request_timeout.saturating_sub(began.elapsed());
                self.receive(response, left, &authorization).await
            }
            Err(error) => (transport::classify_error(error), Vec::new()),
        };
        if let (Exchange::Answered { meta, .. }, _) = &result
            && meta.meaning() == StatusMeaning::Unauthorized
        {
            self.auth.discard_token(&authorization).await;
        }
        result
    }

    /// Receives a response: decoded, and the bytes of its body where they could be read.
    async fn receive(
        &self,
        response: Response,
        left: Duration,
        authorization: &HeaderValue,
    ) -> (Exchange, Vec<u8>) {
        let mut meta = decode_headers(&response);
        meta.answered_at = Some(Instant::now());
        let read = timeout(left, self.receive_body(response, authorization)).await;
        let (body, bytes) = match read {
            Ok(Ok(read)) => read,
            Ok(Err(why)) => (Body::Unreadable(why), Vec::new()),
            Err(_) => (Body::Unreadable(Unreadable::Cut("it took too long".into())), Vec::new()),
        };
        (Exchange::Answered { meta, body }, bytes)
    }

    /// Receives a body up to the maximum length. The memory of all bodies together is bounded.
    async fn receive_body(
        &self,
        mut response: Response,
        authorization: &HeaderValue,
    ) -> Result<(Body, Vec<u8>), Unreadable> {
        let (mut bytes, mut allowance) = (Vec::new(), self.bodies.allowance());
        loop {
            if !transport::receive_chunk(&mut response, &mut bytes, decode::MAX_BODY_BYTES).await? {
                let bytes = transport::redact_token(bytes, authorization);
                return Ok((decode::decode_body(&bytes), bytes));
            }
            allowance.grow_to(bytes.len()).await;
        }
    }
}
