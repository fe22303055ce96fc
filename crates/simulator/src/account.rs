//! The endpoints about the account: details, quota usage, record limits, enabled object types, and tokens.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::behaviour::CoursesState;
use super::decode;
use super::quota::next_midnight;
use super::refusal::{self, APP, PORTAL};
use super::route::Operation;
use super::state::{Call, IssuedToken, State};
use super::wire::{ErrorBody, Reply, iso};

/// The OAuth app, an alternative to the token of a private app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthApp {
    /// The client ID.
    pub client_id: String,
    /// The client secret.
    pub client_secret: String,
    /// The refresh token that the account granted.
    pub refresh_token: String,
    /// Lifetime of an access token, in seconds.
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

/// Switches of the endpoints about the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountSwitches {
    /// `/oauth/v1/…` no longer exists (404), as after its end in February 2027.
    pub oauth_v1_gone: bool,
    /// `/oauth/DATE/…` does not exist (404).
    pub oauth_dated_gone: bool,
    /// Errors of the token endpoints have only the fields of RFC 6749, without HubSpot's older ones.
    pub rfc6749_alone: bool,
    /// The record limit of courses; `None`: the list of limits does not contain courses.
    pub record_limit: Option<RecordLimit>,
}

impl Default for AccountSwitches {
    fn default() -> Self {
        Self {
            oauth_v1_gone: false,
            oauth_dated_gone: false,
            rfc6749_alone: false,
            record_limit: Some(RecordLimit { limit: 500_000, others: 0 }),
        }
    }
}

/// The record limit of courses, and its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordLimit {
    /// The maximum number of records.
    pub limit: u64,
    /// Existing records that are not in this simulator.
    #[serde(default)]
    pub others: u64,
}

/// The kind of app that a bearer token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    PrivateApp,
    OauthApp,
}

/// Checks a bearer token.
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

/// Handles every request about the account or its tokens.
pub(super) fn answer(state: &mut State, call: &Call) -> Reply {
    match call.target.operation {
        Operation::AccountDetails => details(state, call),
        Operation::ApiUsage => usage(state, call),
        Operation::TokenInfo => token_info(state, call),
        Operation::TokenRefresh => refresh(state, call),
        Operation::AccessTokenInfo => access_token(state, call),
        Operation::TokenIntrospect => introspect(state, call),
        Operation::RecordLimits => record_limits(state, call),
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

/// Needs a scope of a CRM object; the schema scopes are not sufficient.
fn record_limits(state: &State, call: &Call) -> Reply {
    const SCOPES: [&str; 2] = ["crm.objects.courses.read", "crm.objects.courses.write"];
    if !SCOPES.iter().any(|scope| state.settings.scopes.contains(*scope)) {
        return Reply::refusal(403, refusal::missing_scopes(&SCOPES), &call.correlation);
    }
    let mut types = vec![limit_of("0-421", "Appointment", 500_000, 12)];
    if let Some(RecordLimit { limit, others }) = state.behaviour.account.record_limit {
        let stored = state.store.all().filter(|record| !record.archived).count() as u64;
        types.push(limit_of("0-410", "Course", limit, others.saturating_add(stored)));
    }
    let custom =
        json!({ "overallLimit": 500_000, "overallUsage": 0, "overallPercentage": 0, "byObjectType": [] });
    Reply::json(200, &json!({ "hubspotDefinedObjectTypes": types, "customObjectTypes": custom }))
}

/// The limit of one object type.
fn limit_of(kind: &str, singular: &str, limit: u64, usage: u64) -> Value {
    json!({
        "objectTypeId": kind,
        "singularLabel": singular,
        "pluralLabel": format!("{singular}s"),
        "limit": limit,
        "usage": usage,
        "percentage": usage.saturating_mul(100).checked_div(limit).unwrap_or_default(),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenKey {
    token_key: String,
}

/// `POST …/access-token-info`: the token is in the body; no bearer token is needed.
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
    if is_gone(state, call) {
        return Reply::empty(404);
    }
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

/// `POST /oauth/DATE/token/introspect`: an unknown token is reported as inactive, not as an error.
fn introspect(state: &State, call: &Call) -> Reply {
    if is_gone(state, call) {
        return Reply::empty(404);
    }
    let app = &state.settings.oauth;
    if form(call, "client_id") != app.client_id || form(call, "client_secret") != app.client_secret {
        return refuse(state, call, "BAD_CLIENT_ID", "missing or invalid client id", "invalid_client");
    }
    let token = form(call, "token");
    match state.issued.iter().find(|issued| issued.token == token && issued.expires_at > call.now) {
        Some(issued) => Reply::json(
            200,
            &json!({
                "active": true,
                "token_use": "access_token",
                "scopes": state.settings.scopes,
                "client_id": app.client_id,
                "user_id": 9_100_001,
                "app_id": APP,
                "hub_id": PORTAL,
                "expires_in": issued.expires_at.duration_since(call.now).as_secs(),
            }),
        ),
        None => Reply::json(200, &json!({ "active": false })),
    }
}

/// Whether this version of the OAuth endpoints is disabled.
fn is_gone(state: &State, call: &Call) -> bool {
    let switches = &state.behaviour.account;
    if call.target.version.is_some() { switches.oauth_dated_gone } else { switches.oauth_v1_gone }
}

/// An error of an OAuth endpoint. v1 uses HubSpot's older format; the dated versions follow RFC 6749 and add the
/// older fields, unless these are disabled.
fn refuse(state: &State, call: &Call, status: &str, message: &str, error: &str) -> Reply {
    let is_new = call.target.version.is_some();
    let body = match (is_new, state.behaviour.account.rfc6749_alone) {
        (_, true) => json!({ "error": error, "error_description": message }),
        (true, false) => {
            json!({ "error": error, "error_description": message, "status": status, "message": message })
        }
        (false, false) => json!({ "status": status, "message": message, "error": error }),
    };
    Reply::json(400, &body)
}

fn form(call: &Call, name: &str) -> String {
    let fields = form_fields(&call.body);
    fields.into_iter().find(|(key, _)| key == name).map(|(_, value)| value).unwrap_or_default()
}

/// `POST /oauth/…/token`: each refresh issues a new access token; earlier ones stay valid until they expire.
fn refresh(state: &mut State, call: &Call) -> Reply {
    if is_gone(state, call) {
        return Reply::empty(404);
    }
    if let Some(reply) = refuse_refresh(state, call) {
        return reply;
    }
    let app = state.settings.oauth.clone();
    let token = format!("CSim{}", state.uuid().replace('-', ""));
    let expires_at = call.now.checked_add(i64::from(app.expires_in_s).seconds()).unwrap_or(call.now);
    state.issued.push(IssuedToken { token: token.clone(), expires_at });
    let mut granted = json!({
        "token_type": "bearer",
        "refresh_token": app.refresh_token,
        "access_token": token,
        "expires_in": app.expires_in_s,
    });
    if call.target.version.is_some()
        && let Some(fields) = granted.as_object_mut()
    {
        fields.insert("hub_id".to_owned(), json!(PORTAL));
        fields.insert("scopes".to_owned(), json!(state.settings.scopes));
        fields.insert("token_use".to_owned(), json!("access_token"));
        fields.insert("user_id".to_owned(), json!(9_100_001));
    }
    Reply::json(200, &granted)
}

/// The error for a refresh with wrong credentials.
fn refuse_refresh(state: &State, call: &Call) -> Option<Reply> {
    let app = &state.settings.oauth;
    let (code, message, error) = if form(call, "grant_type") != "refresh_token" {
        ("BAD_GRANT_TYPE", "missing or unknown grant type", "unsupported_grant_type")
    } else if form(call, "client_id") != app.client_id {
        ("BAD_CLIENT_ID", "missing or invalid client id", "invalid_client")
    } else if form(call, "client_secret") != app.client_secret {
        ("BAD_CLIENT_SECRET", "missing or invalid client secret", "invalid_client")
    } else if form(call, "refresh_token") != app.refresh_token {
        ("BAD_REFRESH_TOKEN", "missing or invalid refresh token", "invalid_grant")
    } else {
        return None;
    };
    Some(refuse(state, call, code, message, error))
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
