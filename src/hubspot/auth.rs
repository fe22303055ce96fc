//! Authentication to HubSpot: a configured access token, or one that is fetched with an OAuth refresh token.
//!
//! A token from a file is read again for every request, so that a rotated token is used at once. Secrets are never
//! logged; the header is marked as sensitive.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Response;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use crate::config::{Credentials, SecretError, SecretSource};
use crate::hubspot::api::address::wrong_address;
use crate::hubspot::api::decode::decode_body;
use crate::hubspot::api::oauth::{TokenRefusal, TokenReply};
use crate::hubspot::api::outcome::RequestOutcome;
use crate::hubspot::api::response::{Exchange, NotSent};
use crate::hubspot::transport::{classify_error, decode_headers, receive_short_body};
use crate::telemetry::events;
use crate::telemetry::metrics::{Metrics, Operation};

/// Provides the `Authorization` header.
#[derive(Debug)]
pub(super) struct Auth {
    credentials: Credentials,
    http: reqwest::Client,
    // The endpoint of the configured version, and the one to fall back to.
    token_urls: [String; 2],
    metrics: Arc<Metrics>,
    // Held while a token is fetched, so that only one request at a time goes to the token endpoint.
    tokens: Mutex<TokenCache>,
    // The configured secrets that were sent to HubSpot last; empty where they could not be read.
    last_sent: StdMutex<Vec<SecretString>>,
}

/// The results of earlier requests to the token endpoint.
#[derive(Debug, Default)]
struct TokenCache {
    current: Option<CachedToken>,
    replaced: Option<ReplacedRefreshToken>,
    refused: Option<RefusedCredentials>,
    /// The other endpoint is used, because that of the configured version does not exist.
    is_fallback: bool,
}

/// The token endpoint refused these credentials until an operator acts.
#[derive(Debug)]
struct RefusedCredentials {
    secrets: [SecretString; 2],
    why: NotSent,
    until: Instant,
}

/// HubSpot returned another refresh token, which replaces the configured one.
#[derive(Debug)]
struct ReplacedRefreshToken {
    configured: SecretString,
    replacement: SecretString,
}

#[derive(Debug)]
struct CachedToken {
    header: HeaderValue,
    renew_at: Instant,
}

/// A token is renewed this long before it expires.
const RENEW_AHEAD: Duration = Duration::from_mins(2);

/// How long refused credentials are not sent again, unless they change.
const REFUSAL_LIFETIME: Duration = Duration::from_mins(1);

/// How one request to a token endpoint ended.
struct TokenAttempt {
    outcome: RequestOutcome,
    result: Result<TokenReply, NotSent>,
    /// The endpoint does not exist.
    is_gone: bool,
    /// The endpoint refuses these credentials until an operator acts.
    is_final: bool,
}

impl TokenAttempt {
    fn failed(outcome: RequestOutcome, why: NotSent) -> Self {
        Self { outcome, result: Err(why), is_gone: false, is_final: false }
    }

    /// Whether this is a response of the token endpoint itself, so that the endpoint exists.
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
        let (tokens, last_sent) = (Mutex::default(), StdMutex::default());
        Self { credentials, http, token_urls, metrics, tokens, last_sent }
    }

    /// The header for the next request.
    pub(super) async fn header(&self) -> Result<HeaderValue, NotSent> {
        match &self.credentials {
            Credentials::AccessToken(source) => {
                let [token] = self.read_to_send([source])?;
                bearer(&token)
            }
            Credentials::OAuth { client_id, client_secret, refresh_token } => {
                self.oauth_header(client_id, client_secret, refresh_token).await
            }
        }
    }

    /// The OAuth app's id and secret, where the token is granted to an app.
    pub(super) fn app(&self) -> Option<Result<(&str, SecretString), NotSent>> {
        match &self.credentials {
            Credentials::AccessToken(_) => None,
            Credentials::OAuth { client_id, client_secret, .. } => {
                Some(read(client_secret).map(|secret| (client_id.as_str(), secret)))
            }
        }
    }

    /// The token without the header's prefix, for the few requests that carry it elsewhere.
    pub(super) async fn token(&self) -> Result<SecretString, NotSent> {
        let header = self.header().await?;
        let token = header.to_str().ok().and_then(|header| header.strip_prefix("Bearer "));
        Ok(SecretString::from(token.unwrap_or_default()))
    }

    /// Whether the configured secrets are readable and differ from those that were sent last.
    pub(super) fn has_changed(&self) -> bool {
        let sources = match &self.credentials {
            Credentials::AccessToken(token) => vec![token],
            Credentials::OAuth { client_secret, refresh_token, .. } => vec![client_secret, refresh_token],
        };
        let current: Result<Vec<_>, _> = sources.into_iter().map(read).collect();
        let last_sent = self.last_sent.lock().unwrap_or_else(PoisonError::into_inner);
        current.is_ok_and(|current| {
            current.len() != last_sent.len()
                || current
                    .iter()
                    .zip(last_sent.iter())
                    .any(|(now, sent)| now.expose_secret() != sent.expose_secret())
        })
    }

    /// Reads secrets in order to send them to HubSpot, and records them as sent.
    fn read_to_send<const N: usize>(
        &self,
        sources: [&SecretSource; N],
    ) -> Result<[SecretString; N], NotSent> {
        let read: Result<Vec<_>, _> = sources.into_iter().map(read).collect();
        let mut last_sent = self.last_sent.lock().unwrap_or_else(PoisonError::into_inner);
        *last_sent = read.as_ref().cloned().unwrap_or_default();
        // The lengths are equal: one secret per source.
        read?.try_into().map_err(|_| NotSent::NoToken("a secret is missing".into()))
    }

    /// HubSpot did not accept this header: a fetched token is not used again. A token that was fetched since is kept.
    pub(super) async fn discard_token(&self, header: &HeaderValue) {
        let mut tokens = self.tokens.lock().await;
        if tokens.current.as_ref().is_some_and(|current| current.header == *header) {
            tokens.current = None;
        }
    }

    /// The header with a token of the OAuth app: the current one, or a new one where it expires soon.
    async fn oauth_header(
        &self,
        id: &str,
        secret: &SecretSource,
        refresh: &SecretSource,
    ) -> Result<HeaderValue, NotSent> {
        let mut tokens = self.tokens.lock().await;
        if let Some(current) = tokens.current.as_ref().filter(|current| Instant::now() < current.renew_at) {
            return Ok(current.header.clone());
        }
        let [secret, configured] = self.read_to_send([secret, refresh])?;
        // Refused credentials stay refused until an operator acts, so they are not sent with every request.
        if let Some(why) = tokens.refusal(&secret, &configured) {
            return Err(why);
        }
        let refresh = tokens.refresh_token(&configured);
        let TokenAttempt { result, is_final, .. } = self.fetch(&mut tokens, id, &secret, &refresh).await;
        let reply = match result {
            Ok(reply) => reply,
            Err(why) => {
                let until = Instant::now() + REFUSAL_LIFETIME;
                let refused = RefusedCredentials { secrets: [secret, configured], why: why.clone(), until };
                tokens.refused = is_final.then_some(refused);
                return Err(why);
            }
        };
        tokens.refused = None;
        let header = bearer(&reply.access_token)?;
        if let Some(replacement) =
            reply.refresh_token.filter(|new| new.expose_secret() != refresh.expose_secret())
        {
            tracing::warn!(
                event = events::REFRESH_TOKEN_REPLACED,
                hint = "install the app again and set the new token in hubspot.oauth.refresh_token",
                "refresh token replaced"
            );
            tokens.replaced = Some(ReplacedRefreshToken { configured, replacement });
        }
        let lifetime = reply.expires_in.map_or(LIFETIME_USUAL, Duration::from_secs).min(LIFETIME_MAX);
        // Half of the lifetime, where a token lives for less than twice the margin.
        let renew_at = Instant::now() + lifetime.saturating_sub(RENEW_AHEAD).max(lifetime / 2);
        tokens.current = Some(CachedToken { header: header.clone(), renew_at });
        Ok(header)
    }

    /// Fetches a token: from the endpoint that worked last, or from the other one where it does not exist.
    async fn fetch(
        &self,
        tokens: &mut TokenCache,
        id: &str,
        secret: &SecretString,
        refresh: &SecretString,
    ) -> TokenAttempt {
        let [configured, fallback] = &self.token_urls;
        let (current, other) =
            if tokens.is_fallback { (fallback, configured) } else { (configured, fallback) };
        let first = self.request_token(current, id, secret, refresh).await;
        if !first.is_gone {
            return first;
        }
        let second = self.request_token(other, id, secret, refresh).await;
        if second.is_gone {
            let what = format!("neither {} nor {} exists", path(current), path(other));
            return TokenAttempt::failed(RequestOutcome::Rejected, no_token(&what));
        }
        if second.proves_endpoint() {
            tokens.is_fallback = !tokens.is_fallback;
            tracing::warn!(
                event = events::TOKEN_ENDPOINT_REPLACED,
                gone = path(current),
                used = path(other),
                "token endpoint replaced"
            );
        }
        second
    }

    /// Sends one request to a token endpoint.
    async fn request_token(
        &self,
        url: &str,
        id: &str,
        secret: &SecretString,
        refresh: &SecretString,
    ) -> TokenAttempt {
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
                TokenAttempt::failed(outcome, without_answer(classify_error(error)))
            }
            Ok(response) => read_response(response, &[secret, refresh]).await,
        };
        self.metrics.observe_request(Operation::Token, attempt.outcome, began.elapsed());
        attempt
    }
}

/// The path of an endpoint.
fn path(url: &str) -> &str {
    url.find("/oauth/").and_then(|at| url.get(at..)).unwrap_or(url)
}

impl TokenCache {
    /// Why these credentials are not sent again yet.
    fn refusal(&self, secret: &SecretString, refresh: &SecretString) -> Option<NotSent> {
        let refused = self.refused.as_ref().filter(|refused| Instant::now() < refused.until)?;
        let [refused_secret, refused_refresh] = &refused.secrets;
        let is_same = refused_secret.expose_secret() == secret.expose_secret()
            && refused_refresh.expose_secret() == refresh.expose_secret();
        is_same.then(|| refused.why.clone())
    }

    /// The refresh token to send: the replacement of the configured one, unless the configured one was changed since.
    fn refresh_token(&self, configured: &SecretString) -> SecretString {
        let replaced = self.replaced.as_ref();
        let replaced = replaced.filter(|it| it.configured.expose_secret() == configured.expose_secret());
        replaced.map_or_else(|| configured.clone(), |it| it.replacement.clone())
    }
}

/// How long HubSpot's tokens live, for a response that does not state it.
const LIFETIME_USUAL: Duration = Duration::from_mins(30);

/// The longest lifetime of a token. A longer one in a response is cut to it.
const LIFETIME_MAX: Duration = Duration::from_hours(24);
/// The longest response of the token endpoint, in bytes.
const MAX_REPLY_BYTES: usize = 64 * 1024;

/// What the response of a token endpoint means.
async fn read_response(response: Response, secrets: &[&SecretString]) -> TokenAttempt {
    let meta = decode_headers(&response);
    let Ok(bytes) = receive_short_body(response, MAX_REPLY_BYTES).await else {
        return TokenAttempt::failed(RequestOutcome::Invalid, no_token("the response was cut short"));
    };
    if meta.is_success() {
        return match serde_json::from_slice(&bytes) {
            Ok(reply) => TokenAttempt {
                outcome: RequestOutcome::Ok,
                result: Ok(reply),
                is_gone: false,
                is_final: false,
            },
            Err(_) => TokenAttempt::failed(RequestOutcome::Invalid, no_token("the response contains none")),
        };
    }
    if let Some(wrong) = wrong_address(&meta, &decode_body(&bytes)) {
        return TokenAttempt::failed(RequestOutcome::Rejected, no_token(&wrong.to_string()));
    }
    let refusal = TokenRefusal::read(&bytes);
    let text = refusal.describe(meta.status, secrets);
    match meta.status {
        429 => TokenAttempt::failed(RequestOutcome::RateLimited, unavailable(&text)),
        408 | 423 | 477 | 500.. => TokenAttempt::failed(RequestOutcome::Unavailable, unavailable(&text)),
        _ if refusal.is_temporary() => TokenAttempt::failed(RequestOutcome::Unavailable, unavailable(&text)),
        404 | 410 => {
            let gone = TokenAttempt::failed(RequestOutcome::Rejected, no_token(&text));
            TokenAttempt { is_gone: true, ..gone }
        }
        _ => TokenAttempt {
            is_final: refusal.needs_operator(),
            ..TokenAttempt::failed(RequestOutcome::Unauthorized, no_token(&text))
        },
    }
}

fn bearer(token: &SecretString) -> Result<HeaderValue, NotSent> {
    let mut header = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
        .map_err(|_| NotSent::NoToken("the access token contains characters that are not allowed in a header; copy it again from HubSpot".into()))?;
    header.set_sensitive(true);
    Ok(header)
}

fn read(source: &SecretSource) -> Result<SecretString, NotSent> {
    source.read().map_err(|error: SecretError| NotSent::NoToken(error.to_string()))
}

fn no_token(what: &str) -> NotSent {
    NotSent::NoToken(format!("HubSpot's token endpoint returned no access token: {what}"))
}

fn unavailable(why: &str) -> NotSent {
    NotSent::Unreachable(format!("HubSpot's token endpoint is unavailable: {why}"))
}

/// Without a token the request itself was not sent, however the token request ended.
fn without_answer(exchange: Exchange) -> NotSent {
    match exchange {
        Exchange::NotSent(why) => why,
        Exchange::NoAnswer(_) | Exchange::Answered { .. } => {
            NotSent::Unreachable("HubSpot's token endpoint did not answer".into())
        }
    }
}
