//! Who we are to HubSpot: a token as it stands, or one that an OAuth grant renews.
//!
//! A token from a file is read again for every request, so that a rotated one is used at once. A
//! secret is never printed; the header is marked as sensitive.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Response;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use super::client::{short_body, unanswered};
use super::oauth::{Refusal, TokenReply};
use super::wire;
use crate::config::{Credentials, SecretError, SecretSource};
use crate::policy::address::wrong_address;
use crate::policy::answer::{Exchange, NotSent};
use crate::policy::interpret::RequestOutcome;
use crate::telemetry::metrics::{Metrics, Operation};

/// Where the `Authorization` header comes from.
#[derive(Debug)]
pub(super) struct Auth {
    credentials: Credentials,
    http: reqwest::Client,
    // The endpoint of the configured version, and the one to fall back to.
    token_urls: [String; 2],
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
    refused: Option<Refused>,
    /// The other endpoint is used, because the configured version's is gone.
    is_fallback: bool,
}

/// The token endpoint refused these credentials until an operator acts.
#[derive(Debug)]
struct Refused {
    secrets: [SecretString; 2],
    why: NotSent,
    until: Instant,
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

/// How long refused credentials are not shown again, unless they change.
const REFUSED_AGAIN: Duration = Duration::from_mins(1);

/// How one request to a token endpoint ended.
struct Attempt {
    outcome: RequestOutcome,
    result: Result<TokenReply, NotSent>,
    /// There is no such endpoint.
    is_gone: bool,
    /// The endpoint refuses these credentials until an operator acts.
    is_final: bool,
}

impl Attempt {
    fn failed(outcome: RequestOutcome, why: NotSent) -> Self {
        Self { outcome, result: Err(why), is_gone: false, is_final: false }
    }

    /// Whether the endpoint exists and answers by its own rules.
    fn proves_endpoint(&self) -> bool {
        !self.is_gone && matches!(self.outcome, RequestOutcome::Ok | RequestOutcome::Unauthorized)
    }
}

impl Auth {
    pub(super) fn new(
        credentials: Credentials,
        http: reqwest::Client,
        token_urls: [String; 2],
        metrics: Arc<Metrics>,
    ) -> Self {
        let (grant, shown) = (Mutex::default(), StdMutex::default());
        Self { credentials, http, token_urls, metrics, grant, shown }
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

    /// The OAuth app's id and secret, where the token is granted to one.
    pub(super) fn app(&self) -> Option<Result<(&str, SecretString), NotSent>> {
        match &self.credentials {
            Credentials::AccessToken(_) => None,
            Credentials::OAuth { client_id, client_secret, .. } => {
                Some(read(client_secret).map(|secret| (client_id.as_str(), secret)))
            }
        }
    }

    /// The token alone, for the few requests that carry it elsewhere than in the header.
    pub(super) async fn token(&self) -> Result<SecretString, NotSent> {
        let header = self.header().await?;
        let token = header.to_str().ok().and_then(|header| header.strip_prefix("Bearer "));
        Ok(SecretString::from(token.unwrap_or_default()))
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
        if let Some(why) = grant.refusal(&secret, &configured) {
            return Err(why);
        }
        let refresh = grant.refresh_token(&configured);
        let Attempt { result, is_final, .. } = self.fetch(&mut grant, id, &secret, &refresh).await;
        let reply = match result {
            Ok(reply) => reply,
            Err(why) => {
                let until = Instant::now() + REFUSED_AGAIN;
                let refused = Refused { secrets: [secret, configured], why: why.clone(), until };
                grant.refused = is_final.then_some(refused);
                return Err(why);
            }
        };
        grant.refused = None;
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

    /// Fetches a token: from the endpoint that worked last, or from the other one where that is gone.
    async fn fetch(
        &self,
        grant: &mut Grant,
        id: &str,
        secret: &SecretString,
        refresh: &SecretString,
    ) -> Attempt {
        let [configured, fallback] = &self.token_urls;
        let (current, other) =
            if grant.is_fallback { (fallback, configured) } else { (configured, fallback) };
        let first = self.ask(current, id, secret, refresh).await;
        if !first.is_gone {
            return first;
        }
        let second = self.ask(other, id, secret, refresh).await;
        if second.is_gone {
            let what = format!("neither {} nor {} exists", path(current), path(other));
            return Attempt::failed(RequestOutcome::Rejected, no_token(&what));
        }
        if second.proves_endpoint() {
            grant.is_fallback = !grant.is_fallback;
            tracing::warn!(
                gone = path(current),
                used = path(other),
                "the OAuth token endpoint is gone: using the one of another version"
            );
        }
        second
    }

    async fn ask(&self, url: &str, id: &str, secret: &SecretString, refresh: &SecretString) -> Attempt {
        let began = Instant::now();
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", id),
            ("client_secret", secret.expose_secret()),
            ("refresh_token", refresh.expose_secret()),
        ];
        let attempt = match self.http.post(url).form(&form).send().await {
            Err(error) => {
                let is_timeout = error.is_timeout() && !error.is_connect();
                let outcome = if is_timeout { RequestOutcome::Timeout } else { RequestOutcome::Unreachable };
                Attempt::failed(outcome, without_answer(unanswered(error)))
            }
            Ok(response) => read_attempt(response, &[secret, refresh]).await,
        };
        self.metrics.request(Operation::Token, attempt.outcome, began.elapsed());
        attempt
    }
}

/// The path of an endpoint.
fn path(url: &str) -> &str {
    url.find("/oauth/").and_then(|at| url.get(at..)).unwrap_or(url)
}

impl Grant {
    /// Why these credentials are not shown again yet.
    fn refusal(&self, secret: &SecretString, refresh: &SecretString) -> Option<NotSent> {
        let refused = self.refused.as_ref().filter(|refused| Instant::now() < refused.until)?;
        let is_same =
            |(one, other): (&SecretString, &SecretString)| one.expose_secret() == other.expose_secret();
        refused.secrets.iter().zip([secret, refresh]).all(is_same).then(|| refused.why.clone())
    }

    /// What is sent in place of the configured refresh token, unless that was changed since.
    fn refresh_token(&self, configured: &SecretString) -> SecretString {
        let renewed = self.renewed.as_ref();
        let renewed = renewed.filter(|it| it.configured.expose_secret() == configured.expose_secret());
        renewed.map_or_else(|| configured.clone(), |it| it.instead.clone())
    }
}

/// The longest life of a token that is believed.
const LIFETIME_MAX: Duration = Duration::from_hours(24);
/// The longest answer of the token endpoint, in bytes.
const MAX_REPLY_BYTES: usize = 64 * 1024;

async fn read_attempt(response: Response, secrets: &[&SecretString]) -> Attempt {
    let status = response.status();
    let meta = wire::read_meta(status.as_u16(), response.headers());
    let Ok(bytes) = short_body(response, MAX_REPLY_BYTES).await else {
        return Attempt::failed(RequestOutcome::Invalid, no_token("an answer cut short"));
    };
    if status.is_success() {
        return match serde_json::from_slice(&bytes) {
            Ok(reply) => {
                Attempt { outcome: RequestOutcome::Ok, result: Ok(reply), is_gone: false, is_final: false }
            }
            Err(_) => Attempt::failed(RequestOutcome::Invalid, no_token("an answer without one")),
        };
    }
    if let Some(wrong) = wrong_address(&meta, &wire::read_body(&bytes)) {
        return Attempt::failed(RequestOutcome::Rejected, no_token(&wrong.to_string()));
    }
    let refusal = Refusal::read(&bytes);
    let text = refusal.describe(status.as_u16(), secrets);
    let unavailable = || NotSent::Unreachable(format!("HubSpot's token endpoint is unavailable: {text}"));
    match status.as_u16() {
        429 => Attempt::failed(RequestOutcome::RateLimited, unavailable()),
        408 | 423 | 477 | 500.. => Attempt::failed(RequestOutcome::Unavailable, unavailable()),
        _ if refusal.is_temporary() => Attempt::failed(RequestOutcome::Unavailable, unavailable()),
        404 | 410 => {
            let gone = Attempt::failed(RequestOutcome::Rejected, no_token(&text));
            Attempt { is_gone: true, ..gone }
        }
        _ => Attempt {
            is_final: refusal.needs_an_operator(),
            ..Attempt::failed(RequestOutcome::Unauthorized, no_token(&text))
        },
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

/// A token that was not fetched means that the course's own request was not sent.
fn without_answer(exchange: Exchange) -> NotSent {
    match exchange {
        Exchange::NotSent(why) => why,
        Exchange::NoAnswer(_) | Exchange::Answered { .. } => {
            NotSent::Unreachable("HubSpot's token endpoint did not answer".into())
        }
    }
}
