//! The account's own endpoints: details, use of the quota, which objects are switched on, and tokens.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::behaviour::CoursesState;
use super::decode;
use super::quota::next_midnight;
use super::refusal::{self, APP, PORTAL};
use super::route::Operation;
use super::state::{Call, IssuedToken, State};
use super::wire::{ErrorBody, Reply, iso};

/// The OAuth app that may be used instead of a private app's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthApp {
    /// Its client id.
    pub client_id: String,
    /// Its client secret.
    pub client_secret: String,
    /// The refresh token that the account granted.
    pub refresh_token: String,
    /// How long an access token lasts, in seconds.
    pub expires_in_s: u32,
}

impl Default for OauthApp {
    fn default() -> Self {
        Self {
            client_id: "simulator-client".to_owned(),
            client_secret: "simulator-secret".to_owned(),
            refresh_token: "simulator-refresh".to_owned(),
            expires_in_s: 1_800,
        }
    }
}

/// Who a bearer token makes the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    PrivateApp,
    OauthApp,
}

/// Whether a token opens the door.
pub(super) fn authenticate(
    state: &State,
    bearer: Option<&str>,
    now: Timestamp,
) -> Result<Caller, Box<ErrorBody>> {
    let Some(token) = bearer else { return Err(Box::new(refusal::unauthenticated())) };
    if token == state.settings.token {
        return Ok(Caller::PrivateApp);
    }
    match state.issued.iter().find(|issued| issued.token == token) {
        Some(issued) if issued.expires_at > now => Ok(Caller::OauthApp),
        Some(issued) => Err(Box::new(refusal::expired(issued.expires_at, now))),
        None if token.starts_with("pat-") => Err(Box::new(refusal::unauthenticated())),
        None => Err(Box::new(refusal::expired(Timestamp::UNIX_EPOCH, now))),
    }
}

/// Answers any request about the account or its tokens.
pub(super) fn answer(state: &mut State, call: &Call) -> Reply {
    match call.target.operation {
        Operation::AccountDetails => details(state, call),
        Operation::ApiUsage => usage(state, call),
        Operation::TokenInfo => token_info(state, call),
        Operation::TokenRefresh => refresh(state, call),
        Operation::AccessTokenInfo => access_token(state, call),
        _ => enablement(state, call),
    }
}

fn enablement(state: &State, call: &Call) -> Reply {
    let courses = state.behaviour.courses == CoursesState::Active;
    match call.target.name.as_deref() {
        None => {
            let by_type =
                BTreeMap::from([("0-162", true), ("0-410", courses), ("0-420", false), ("0-421", true)]);
            Reply::json(200, &json!({ "enablementByObjectTypeId": by_type }))
        }
        Some("0-410") => Reply::json(200, &json!({ "enablement": courses })),
        Some(kind) => Reply::refusal(400, refusal::unknown_type(kind), &call.correlation),
    }
}

fn details(state: &State, call: &Call) -> Reply {
    let offset = state.zone.to_offset(call.now);
    let seconds = offset.seconds();
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    let body = json!({
        "portalId": PORTAL,
        "accountType": state.behaviour.account_type,
        "timeZone": state.behaviour.time_zone,
        "companyCurrency": "USD",
        "additionalCurrencies": [],
        "utcOffset": format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60),
        "utcOffsetMilliseconds": i64::from(seconds) * 1_000,
        "uiDomain": "app.hubspot.com",
        "dataHostingLocation": "na1",
    });
    Reply::json(200, &body)
}

fn usage(state: &State, call: &Call) -> Reply {
    let body = json!({ "results": [{
        "name": "private-apps-api-calls-daily",
        "usageLimit": state.behaviour.limits.daily,
        "currentUsage": state.quota.used_today(),
        "collectedAt": iso(call.now),
        "fetchStatus": "SUCCESS",
        "resetsAt": iso(next_midnight(call.now, &state.zone)),
    }]});
    Reply::json(200, &body)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenKey {
    token_key: String,
}

/// `POST …/access-token-info`: any token in the body, no other key needed.
fn token_info(state: &State, call: &Call) -> Reply {
    let key: TokenKey = match decode::json(&call.body, "com.hubspot.oauth.TokenKey") {
        Ok(key) => key,
        Err(message) => return Reply::refusal(400, ErrorBody::new(message), &call.correlation),
    };
    match authenticate(state, Some(&key.token_key), call.now) {
        Ok(_) => Reply::json(
            200,
            &json!({ "userId": 9_100_001, "hubId": PORTAL, "appId": APP, "scopes": state.settings.scopes }),
        ),
        Err(error) => Reply::refusal(401, *error, &call.correlation),
    }
}

fn access_token(state: &State, call: &Call) -> Reply {
    let token = call.target.name.as_deref().unwrap_or_default();
    match state.issued.iter().find(|issued| issued.token == token && issued.expires_at > call.now) {
        Some(issued) => Reply::json(
            200,
            &json!({
                "token": issued.token,
                "user": "catalogue@example.com",
                "hub_domain": "example.com",
                "scopes": state.settings.scopes,
                "token_type": "access",
                "user_id": 9_100_001,
                "app_id": APP,
                "hub_id": PORTAL,
                "expires_in": issued.expires_at.duration_since(call.now).as_secs(),
            }),
        ),
        None => Reply::refusal(404, refusal::not_found(), &call.correlation),
    }
}

#[derive(Serialize)]
struct OauthError {
    status: &'static str,
    message: &'static str,
    error: &'static str,
}

/// `POST /oauth/…/token`: each refresh gives a new access token; the older ones last until they expire.
fn refresh(state: &mut State, call: &Call) -> Reply {
    let form = |name: &str| {
        let fields = form_fields(&call.body);
        fields.into_iter().find(|(key, _)| key == name).map(|(_, value)| value).unwrap_or_default()
    };
    let app = state.settings.oauth.clone();
    let refuse = |status, message, error| Reply::json(400, &OauthError { status, message, error });
    if form("grant_type") != "refresh_token" {
        return refuse("BAD_GRANT_TYPE", "missing or unknown grant type", "unsupported_grant_type");
    }
    if form("client_id") != app.client_id {
        return refuse("BAD_CLIENT_ID", "missing or invalid client id", "invalid_client");
    }
    if form("client_secret") != app.client_secret {
        return refuse("BAD_CLIENT_SECRET", "missing or invalid client secret", "invalid_client");
    }
    if form("refresh_token") != app.refresh_token {
        return refuse("BAD_REFRESH_TOKEN", "missing or invalid refresh token", "invalid_grant");
    }
    let token = format!("CSim{}", state.uuid().replace('-', ""));
    let expires_at = call.now.checked_add(i64::from(app.expires_in_s).seconds()).unwrap_or(call.now);
    state.issued.push(IssuedToken { token: token.clone(), expires_at });
    Reply::json(
        200,
        &json!({
            "token_type": "bearer",
            "refresh_token": app.refresh_token,
            "access_token": token,
            "expires_in": app.expires_in_s,
        }),
    )
}

/// The fields of an `application/x-www-form-urlencoded` body.
fn form_fields(body: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(body);
    format!("/?{text}")
        .parse()
        .ok()
        .and_then(|uri| axum::extract::Query::try_from_uri(&uri).ok())
        .map(|axum::extract::Query(fields)| fields)
        .unwrap_or_default()
}
