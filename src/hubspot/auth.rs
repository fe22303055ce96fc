//! Who we are to HubSpot: a token as it stands, or one that an OAuth grant renews.
//!
//! A token from a file is read again for every request, so that a rotated one is used at once. A
//! secret is never printed; the header is marked as sensitive.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Response;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::client::{short_body, unanswered};
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
    grant: Mutex<Grant>,
    // The configured secrets that HubSpot was shown last; none where they could not be read.
    shown: StdMutex<Vec<SecretString>>,
}

/// What the token endpoint gave.
#[derive(Debug, Default)]
struct Grant {
    fetched: Option<Fetched>,
    renewed: Option<Renewed>,
}

/// HubSpot gave another refresh token in place of the configured one.
#[derive(Debug)]
struct Renewed {
    configured: SecretString,
    instead: SecretString,
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
    refresh_token: Option<SecretString>,
}

impl Auth {
    pub(super) fn new(
        credentials: Credentials,
        http: reqwest::Client,
        token_url: String,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (grant, shown) = (Mutex::default(), StdMutex::default());
        Self { credentials, http, token_url, metrics, grant, shown }
    }

    /// The header for the next request.
    pub(super) async fn header(&self) -> Result<HeaderValue, NotSent> {
        match &self.credentials {
            Credentials::AccessToken(source) => {
                let [token] = self.show([source])?;
                bearer(&token)
            }
            Credentials::OAuth { client_id, client_secret, refresh_token } => {
                self.granted(client_id, client_secret, refresh_token).await
            }
        }
    }

    /// Whether the configured secrets are readable and others than those shown last.
    pub(super) fn has_changed(&self) -> bool {
        let sources = match &self.credentials {
            Credentials::AccessToken(token) => vec![token],
            Credentials::OAuth { client_secret, refresh_token, .. } => vec![client_secret, refresh_token],
        };
        let current: Result<Vec<_>, _> = sources.into_iter().map(read).collect();
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        current.is_ok_and(|current| {
            current.len() != shown.len()
                || current
                    .iter()
                    .zip(shown.iter())
                    .any(|(now, then)| now.expose_secret() != then.expose_secret())
        })
    }

    /// Reads secrets in order to show them to HubSpot.
    fn show<const N: usize>(&self, sources: [&SecretSource; N]) -> Result<[SecretString; N], NotSent> {
        let read: Result<Vec<_>, _> = sources.into_iter().map(read).collect();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = read.as_ref().cloned().unwrap_or_default();
        // As many as the sources.
        read?.try_into().map_err(|_| NotSent::NoToken("a secret is missing".into()))
    }

    /// HubSpot did not accept this header: if its token was fetched, it is not used again. One that
    /// was fetched since stays.
    pub(super) async fn refused(&self, header: &HeaderValue) {
        let mut grant = self.grant.lock().await;
        if grant.fetched.as_ref().is_some_and(|current| current.header == *header) {
            grant.fetched = None;
        }
    }

    async fn granted(
        &self,
        id: &str,
        secret: &SecretSource,
        refresh: &SecretSource,
    ) -> Result<HeaderValue, NotSent> {
        let mut grant = self.grant.lock().await;
        if let Some(current) = grant.fetched.as_ref().filter(|current| Instant::now() < current.renew_at) {
            return Ok(current.header.clone());
        }
        let [secret, configured] = self.show([secret, refresh])?;
        let refresh = grant.refresh_token(&configured);
        let reply = self.fetch(id, &secret, &refresh).await?;
        let header = bearer(&reply.access_token)?;
        if let Some(instead) =
            reply.refresh_token.filter(|instead| instead.expose_secret() != refresh.expose_secret())
        {
            tracing::warn!(
                "HubSpot gave another refresh token; it is used until the end of this process, and the one in \
                 hubspot.oauth.refresh_token may not work much longer: install the app again and set the new one"
            );
            grant.renewed = Some(Renewed { configured, instead });
        }
        let lifetime = Duration::from_secs(reply.expires_in).min(LIFETIME_MAX);
        let renew_at = Instant::now() + lifetime.saturating_sub(AHEAD).max(lifetime / 2);
        grant.fetched = Some(Fetched { header: header.clone(), renew_at });
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
            Ok(response) => token_in(response, &[secret, refresh]).await,
        };
        self.metrics.request(Operation::Token, outcome, began.elapsed());
        fetched
    }
}

impl Grant {
    /// What is to be shown in place of the configured refresh token, unless a person changed that since.
    fn refresh_token(&self, configured: &SecretString) -> SecretString {
        let renewed = self.renewed.as_ref();
        let renewed = renewed.filter(|it| it.configured.expose_secret() == configured.expose_secret());
        renewed.map_or_else(|| configured.clone(), |it| it.instead.clone())
    }
}

/// The longest life of a token that is believed.
const LIFETIME_MAX: Duration = Duration::from_hours(24);
/// How much of the token endpoint's own words is kept for a person, in bytes.
const REASON_BYTES: usize = 500;
/// The longest answer of the token endpoint, in bytes.
const MAX_REPLY_BYTES: usize = 64 * 1024;

async fn token_in(
    response: Response,
    secrets: &[&SecretString],
) -> (RequestOutcome, Result<TokenReply, NotSent>) {
    let status = response.status();
    let Ok(bytes) = short_body(response, MAX_REPLY_BYTES).await else {
        return (RequestOutcome::Invalid, Err(no_token("an answer cut short")));
    };
    if status.is_success() {
        return match serde_json::from_slice(&bytes) {
            Ok(reply) => (RequestOutcome::Ok, Ok(reply)),
            Err(_) => (RequestOutcome::Invalid, Err(no_token("an answer without one"))),
        };
    }
    let refusal = refusal(status.as_u16(), &bytes, secrets);
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

/// What the token endpoint said, in its own words, and what to do about it.
fn refusal(status: u16, bytes: &[u8], secrets: &[&SecretString]) -> String {
    let Body::Error(error) = wire::read_body(bytes) else {
        return format!("{status} without a readable reason");
    };
    let code = error.status.as_deref().unwrap_or_default();
    let mut words = format!("{status} {code} {}", error.message.as_deref().unwrap_or("without a message"));
    for secret in secrets {
        words = words.replace(secret.expose_secret(), "[redacted]");
    }
    format!("{}; {}", clip(&words, REASON_BYTES), mend(code))
}

/// What a person does about a refusal, by its code. Source: recorded answers of HubSpot's token endpoint.
fn mend(code: &str) -> &'static str {
    match code {
        "BAD_REFRESH_TOKEN" => {
            "the grant has ended: install the app again and set hubspot.oauth.refresh_token to the new one"
        }
        "BAD_HUB" => {
            "the app is not installed in the account any more: install it again and set \
             hubspot.oauth.refresh_token to the new one"
        }
        "BAD_CLIENT_ID" => "check hubspot.oauth.client_id: it is on the app's page in HubSpot",
        "BAD_CLIENT_SECRET" => "check hubspot.oauth.client_secret: it is on the app's page in HubSpot",
        _ => "check hubspot.oauth.client_id, .client_secret and .refresh_token",
    }
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
