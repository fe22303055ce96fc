//! Requests about the account: its properties, objects, limits and token. Each method sends one request.
//!
//! Some of them change the account, only for `check --fix` and `check --probe-uniqueness`: `create_unique_property`,
//! `create_property`, `update_property`, `create_probe` and `archive`.

use jiff::Timestamp;
use reqwest::RequestBuilder;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::hubspot::api::account::{
    AccountDetails, CreatedProperty, CreatedRecords, DailyUsage, Enablement, PropertyGroups, TokenInfo,
};
use crate::hubspot::api::limits::RecordLimits;
use crate::hubspot::api::properties::{PropertiesResponse, Sensitivity};
use crate::hubspot::api::read::ReadResponse;
use crate::hubspot::api::record_state::RecordState;
use crate::hubspot::api::request;
use crate::hubspot::api::response::{Body, Exchange, Meta, NotSent};
use crate::hubspot::client::Client;

impl Client {
    /// The definitions of one list of the courses' properties.
    pub async fn properties(&self, sensitivity: Sensitivity) -> ReadResponse<PropertiesResponse> {
        self.ask(self.http.get(self.urls.properties(sensitivity))).await
    }

    /// The groups of the courses' properties.
    pub async fn property_groups(&self) -> ReadResponse<PropertyGroups> {
        self.ask(self.http.get(self.urls.property_groups())).await
    }

    /// Creates a text property with unique values. Where a property of that name is archived, HubSpot restores it
    /// unchanged instead, so the result shows whether its values are unique.
    pub async fn create_unique_property(&self, name: &str, group: &str) -> ReadResponse<CreatedProperty> {
        self.create_property(&request::create_unique_property(name, group)).await
    }

    /// Creates a property.
    pub async fn create_property(&self, definition: &Value) -> ReadResponse<CreatedProperty> {
        self.ask(self.with_json(self.urls.properties(Sensitivity::None), definition)).await
    }

    /// The whole definition of a property.
    pub async fn property(&self, name: &str) -> ReadResponse<Value> {
        self.ask(self.http.get(self.urls.property(name))).await
    }

    /// Changes the definition of a property. A list of options replaces the one before.
    pub async fn update_property(&self, name: &str, change: &Value) -> ReadResponse<Value> {
        let request = self.http.patch(self.urls.property(name));
        self.ask(request.header(CONTENT_TYPE, "application/json").body(change.to_string())).await
    }

    /// Which objects of the library are switched on.
    pub async fn enablement(&self) -> ReadResponse<Enablement> {
        self.ask(self.http.get(self.urls.enablement())).await
    }

    /// The account's details.
    pub async fn account_details(&self) -> ReadResponse<AccountDetails> {
        self.ask(self.http.get(self.urls.account_details())).await
    }

    /// The account's record limits.
    pub async fn record_limits(&self) -> ReadResponse<RecordLimits> {
        self.ask(self.http.get(self.urls.record_limits())).await
    }

    /// When the account's daily quota resets; `None` where HubSpot does not report it. It does to private apps.
    pub async fn quota_resets_at(&self) -> ReadResponse<Option<Timestamp>> {
        let (exchange, bytes) = self.get(self.urls.daily_usage()).await;
        let usage: Option<DailyUsage> = serde_json::from_slice(&bytes).ok();
        ReadResponse { value: usage.map(|usage| usage.resets_at()), exchange }
    }

    /// The account and the scopes of the token. The token is part of the request, which goes to HubSpot only.
    pub async fn token_info(&self) -> ReadResponse<TokenInfo> {
        let token = match self.auth.token().await {
            Ok(token) => token,
            Err(why) => return not_sent(why),
        };
        match self.auth.app() {
            None => {
                let body = json!({ "tokenKey": token.expose_secret() });
                self.ask(self.with_json(self.urls.token_info(), &body)).await
            }
            Some(Err(why)) => not_sent(why),
            Some(Ok((id, secret))) => self.oauth_token_info(&token, id, &secret).await,
        }
    }

    /// The same for a token that was granted to an OAuth app: from the endpoint of the configured version, or from the
    /// other one where the first does not exist. v1 also answers 404 where it does not know the token, so the first
    /// answer counts where both endpoints are missing.
    async fn oauth_token_info(
        &self,
        token: &SecretString,
        id: &str,
        secret: &SecretString,
    ) -> ReadResponse<TokenInfo> {
        let is_v3 = self.urls.is_v3();
        let mut response = self.oauth_token_info_by(is_v3, token, id, secret).await;
        if is_gone(&response.exchange) {
            let other = self.oauth_token_info_by(!is_v3, token, id, secret).await;
            if !is_gone(&other.exchange) {
                response = other;
            }
        }
        redact(&mut response.exchange, secret);
        response
    }

    /// Asks one of the two endpoints: v1's, which takes the token in the path, or its successor.
    async fn oauth_token_info_by(
        &self,
        is_v1: bool,
        token: &SecretString,
        id: &str,
        secret: &SecretString,
    ) -> ReadResponse<TokenInfo> {
        if is_v1 {
            return self.ask(self.http.get(self.urls.access_token(&path_segment(token)))).await;
        }
        let form = [
            ("client_id", id),
            ("client_secret", secret.expose_secret()),
            ("token", token.expose_secret()),
            ("token_type_hint", "access_token"),
        ];
        self.ask(self.http.post(self.urls.introspect()).form(&form)).await
    }

    /// Sends a create without courses: HubSpot checks token, scopes and object type, and has nothing to create.
    pub async fn create_nothing(&self) -> Exchange {
        self.send(self.with_json(self.urls.create(), &request::empty_create())).await.0
    }

    /// Looks up one key by the unique property.
    pub async fn look_up(&self, unique_property: &str, key: &str) -> Exchange {
        match request::encode_read(std::iter::once(key), unique_property) {
            Ok(body) => self.post(self.urls.read(RecordState::Live), body).await,
            Err(error) => Exchange::NotSent(NotSent::Unbuildable(error.to_string())),
        }
    }

    /// Creates one record with this key, bypassing the outbox, in order to test whether HubSpot keeps the property
    /// unique. Returns its id.
    pub async fn create_probe(&self, unique_property: &str, key: &str) -> ReadResponse<CreatedRecords> {
        let body = request::create_probe(unique_property, key);
        self.ask(self.with_json(self.urls.create(), &body)).await
    }

    /// Moves records to the recycle bin.
    pub async fn archive(&self, ids: &[String]) -> ReadResponse<()> {
        let (exchange, _) = self
            .send(self.with_json(self.urls.archive(), &request::archive(ids.iter().map(String::as_str))))
            .await;
        ReadResponse { value: is_success(&exchange).then_some(()), exchange }
    }

    pub(super) fn with_json(&self, url: String, body: &Value) -> RequestBuilder {
        self.http.post(url).header(CONTENT_TYPE, "application/json").body(body.to_string())
    }

    /// Sends a request and decodes the body of a successful response tolerantly.
    pub(super) async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> ReadResponse<T> {
        let (exchange, bytes) = self.send(request).await;
        let value = is_success(&exchange).then(|| serde_json::from_slice(&bytes).ok()).flatten();
        ReadResponse { value, exchange }
    }
}

fn not_sent<T>(why: NotSent) -> ReadResponse<T> {
    ReadResponse { value: None, exchange: Exchange::NotSent(why) }
}

/// Removes a secret from HubSpot's message, in case the message repeats it.
fn redact(exchange: &mut Exchange, secret: &SecretString) {
    if let Exchange::Answered { body: Body::Error(error), .. } = exchange
        && let Some(message) = &mut error.message
    {
        *message = message.replace(secret.expose_secret(), "[redacted]");
    }
}

/// Whether the endpoint does not exist.
fn is_gone(exchange: &Exchange) -> bool {
    exchange.meta().is_some_and(|meta| matches!(meta.status, 404 | 410))
}

fn is_success(exchange: &Exchange) -> bool {
    exchange.meta().is_some_and(Meta::is_success)
}

/// A token as a segment of a path.
fn path_segment(token: &SecretString) -> String {
    percent_encoding::utf8_percent_encode(token.expose_secret(), percent_encoding::NON_ALPHANUMERIC)
        .to_string()
}
