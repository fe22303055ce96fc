//! Who we are to HubSpot: a token as it stands, or one that an OAuth grant renews.
//!
//! A token from a file is read again for every request, so that a rotated one is used at once. A
//! secret is never printed; the header is marked as sensitive.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Response;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::client::{unanswered, whole_body};
use super::wire;
use crate::config::{Credentials, SecretError, SecretSource};
use crate::course::clip;
use crate::policy::answer::{Body, Exchange, NotSent};
use crate::policy::interpret::RequestOutcome;
use crate::telemetry::metrics::{Metrics, Operation};

/// Where the `Authorization` header comes from.
#[derive(Debug)]
pub(super) struct Auth {
    credentials: Credentials,
    http: reqwest::Client,
    token_url: String,
    metrics: Arc<Metrics>,
    // Held while a token is fetched, so that one is fetched at a time.
    fetched: Mutex<Option<Fetched>>,
}

#[derive(Debug)]
struct Fetched {
    header: HeaderValue,
    renew_at: Instant,
}

/// A token is renewed this long before it ends.
const AHEAD: Duration = Duration::from_mins(2);

#[derive(Deserialize)]
struct TokenReply {
    access_token: SecretString,
    expires_in: u64,
}

impl Auth {
    pub(super) fn new(
        credentials: Credentials,
        http: reqwest::Client,
        token_url: String,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { credentials, http, token_url, metrics, fetched: Mutex::new(None) }
    }

    /// The header for the next request.
    pub(super) async fn header(&self) -> Result<HeaderValue, NotSent> {
        match &self.credentials {
            Credentials::AccessToken(source) => bearer(&read(source)?),
            Credentials::OAuth { client_id, client_secret, refresh_token } => {
                self.granted(client_id, client_secret, refresh_token).await
            }
        }
    }

    /// Whether the token is one that an OAuth grant gave.
    pub(super) fn is_granted(&self) -> bool {
        matches!(self.credentials, Credentials::OAuth { .. })
    }

    /// The token alone, for the few requests that carry it elsewhere than in the header.
    pub(super) async fn token(&self) -> Result<SecretString, NotSent> {
        let header = self.header().await?;
        let token = header.to_str().ok().and_then(|header| header.strip_prefix("Bearer "));
        Ok(SecretString::from(token.unwrap_or_default()))
    }

    /// HubSpot did not accept this header: if its token was fetched, it is not used again. One that
    /// was fetched since stays.
    pub(super) async fn refused(&self, header: &HeaderValue) {
        let mut fetched = self.fetched.lock().await;
        if fetched.as_ref().is_some_and(|current| current.header == *header) {
            *fetched = None;
        }
    }

    async fn granted(
        &self,
        id: &str,
        secret: &SecretSource,
        refresh: &SecretSource,
    ) -> Result<HeaderValue, NotSent> {
        let mut fetched = self.fetched.lock().await;
        if let Some(current) = fetched.as_ref().filter(|current| Instant::now() < current.renew_at) {
            return Ok(current.header.clone());
        }
        let reply = self.fetch(id, &read(secret)?, &read(refresh)?).await?;
        let header = bearer(&reply.access_token)?;
        let lifetime = Duration::from_secs(reply.expires_in).min(LIFETIME_MAX);
        let renew_at = Instant::now() + lifetime.saturating_sub(AHEAD).max(lifetime / 2);
        *fetched = Some(Fetched { header: header.clone(), renew_at });
        Ok(header)
    }

    async fn fetch(
        &self,
        id: &str,
        secret: &SecretString,
        refresh: &SecretString,
    ) -> Result<TokenReply, NotSent> {
        let began = Instant::now();
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", id),
            ("client_secret", secret.expose_secret()),
            ("refresh_token", refresh.expose_secret()),
        ];
        let (outcome, fetched) = match self.http.post(&self.token_url).form(&form).send().await {
            Err(error) => {
                let is_timeout = error.is_timeout() && !error.is_connect();
                let outcome = if is_timeout { RequestOutcome::Timeout } else { RequestOutcome::Unreachable };
                (outcome, Err(without_answer(unanswered(error))))
            }
            Ok(response) => token_in(response).await,
        };
        self.metrics.request(Operation::Token, outcome, began.elapsed());
        fetched
    }
}

/// The longest life of a token that is believed.
const LIFETIME_MAX: Duration = Duration::from_hours(24);
/// How much of the token endpoint's own words is kept for a person, in bytes.
const REASON_BYTES: usize = 500;

async fn token_in(response: Response) -> (RequestOutcome, Result<TokenReply, NotSent>) {
    let status = response.status();
    let Ok(bytes) = whole_body(response).await else {
        return (RequestOutcome::Invalid, Err(no_token("an answer cut short")));
    };
    if status.is_success() {
        return match serde_json::from_slice(&bytes) {
            Ok(reply) => (RequestOutcome::Ok, Ok(reply)),
            Err(_) => (RequestOutcome::Invalid, Err(no_token("an answer without one"))),
        };
    }
    let refusal = refusal(status.as_u16(), &bytes);
    let trouble = || Err(NotSent::Unreachable(format!("HubSpot's token endpoint is in trouble: {refusal}")));
    match status.as_u16() {
        429 => (RequestOutcome::RateLimited, trouble()),
        408 | 423 | 477 | 500.. => (RequestOutcome::Unavailable, trouble()),
        _ => (RequestOutcome::Unauthorized, Err(no_token(&refusal))),
    }
}

fn bearer(token: &SecretString) -> Result<HeaderValue, NotSent> {
    let mut header = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
        .map_err(|_| NotSent::NoToken("the access token holds characters that no header may carry".into()))?;
    header.set_sensitive(true);
    Ok(header)
}

fn read(source: &SecretSource) -> Result<SecretString, NotSent> {
    source.read().map_err(|error: SecretError| NotSent::NoToken(error.to_string()))
}

fn no_token(what: &str) -> NotSent {
    NotSent::NoToken(format!("HubSpot's token endpoint gave no access token: {what}"))
}

/// What the token endpoint said, in its own words.
fn refusal(status: u16, bytes: &[u8]) -> String {
    let reason = match wire::read_body(bytes) {
        Body::Error(error) => {
            let code = error.status.as_deref().unwrap_or_default();
            format!("{status} {code} {}", error.message.as_deref().unwrap_or("without a message"))
        }
        Body::Batch(_) | Body::Unreadable(_) => format!("{status} without a readable reason"),
    };
    clip(&reason, REASON_BYTES)
}

/// A token that was not fetched means that the course's own request was not sent.
fn without_answer(exchange: Exchange) -> NotSent {
    match exchange {
        Exchange::NotSent(why) => why,
        Exchange::NoAnswer(_) | Exchange::Answered { .. } => {
            NotSent::Unreachable("HubSpot's token endpoint did not answer".into())
        }
    }
}
