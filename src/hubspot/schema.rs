//! Questions about the account: its properties, its objects, its token. Each is one request; the few that
//! change something say so.

use reqwest::RequestBuilder;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::client::Client;
use super::request::OBJECT_TYPE;
use crate::policy::answer::{Body, Exchange};
use crate::policy::reconcile::Place;
use crate::policy::schema::{Asked, Definitions, Sensitivity};

/// The token's account and scopes, as HubSpot knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Token {
    /// The account.
    #[serde(alias = "hub_id")]
    pub hub_id: Option<u64>,
    /// What it may do; empty where HubSpot does not list it.
    pub scopes: Vec<String>,
    /// Whether it is valid, where the endpoint says so.
    pub active: Option<bool>,
}

/// The account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    /// Its number.
    pub portal_id: Option<u64>,
    /// `STANDARD`, `SANDBOX`, `DEVELOPER_TEST`, …
    pub account_type: Option<String>,
    /// The time zone by which its days end.
    pub time_zone: Option<String>,
}

/// A group that properties are shown in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Whether nothing may be put into it any more.
    pub archived: bool,
}

/// The groups, as HubSpot lists them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Groups {
    /// In no order.
    pub results: Vec<Group>,
}

/// Which objects of HubSpot's library are switched on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Enablement {
    enablement_by_object_type_id: std::collections::BTreeMap<String, bool>,
}

impl Enablement {
    /// Whether courses are; `None` where HubSpot does not say.
    #[must_use]
    pub fn courses(&self) -> Option<bool> {
        self.enablement_by_object_type_id.get(OBJECT_TYPE).copied()
    }
}

/// Makes of the definition that HubSpot gives back whether its values are unique.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Made {
    /// Whether no two records may hold the same value.
    pub has_unique_value: bool,
}

impl Client {
    /// The definitions of one list of the courses' properties.
    pub async fn properties(&self, sensitivity: Sensitivity) -> Asked<Definitions> {
        self.ask(self.http.get(self.urls.properties(sensitivity))).await
    }

    /// The groups of the courses' properties.
    pub async fn property_groups(&self) -> Asked<Groups> {
        self.ask(self.http.get(self.urls.property_groups())).await
    }

    /// Makes a text property with unique values. HubSpot restores one of that name from its archive instead, as
    /// it was.
    pub async fn create_unique_property(&self, name: &str, group: &str) -> Asked<Made> {
        let definition = json!({
            "groupName": group,
            "name": name,
            "label": "Course key",
            "description": "The catalogue's own identifier of the course. Written by course-sync; do not edit.",
            "type": "string",
            "fieldType": "text",
            "hasUniqueValue": true,
        });
        self.ask(self.with_json(self.urls.properties(Sensitivity::None), &definition)).await
    }

    /// Which objects of the library are switched on.
    pub async fn enablement(&self) -> Asked<Enablement> {
        self.ask(self.http.get(self.urls.enablement())).await
    }

    /// The account.
    pub async fn account(&self) -> Asked<Details> {
        self.ask(self.http.get(self.urls.account_details())).await
    }

    /// The token's account and scopes. The token is sent in the request, to HubSpot alone.
    pub async fn token(&self) -> Asked<Token> {
        let not_sent = |why| Asked { told: None, exchange: Exchange::NotSent(why) };
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
            Some(Ok((id, secret))) => self.granted_token(&token, id, &secret).await,
        }
    }

    /// The same of a token that was granted to an OAuth app: by the endpoint of the configured version, or by the other
    /// one where that is gone. v1 also answers 404 where it does not know the token.
    async fn granted_token(&self, token: &SecretString, id: &str, secret: &SecretString) -> Asked<Token> {
        let by_v1 = || self.http.get(self.urls.access_token(&encoded(token)));
        let by_introspection = || {
            let form = [
                ("client_id", id),
                ("client_secret", secret.expose_secret()),
                ("token", token.expose_secret()),
                ("token_type_hint", "access_token"),
            ];
            self.http.post(self.urls.introspect()).form(&form)
        };
        let is_v3 = self.urls.is_v3();
        let mut asked = self.ask(if is_v3 { by_v1() } else { by_introspection() }).await;
        if is_gone(&asked.exchange) {
            let other = self.ask(if is_v3 { by_introspection() } else { by_v1() }).await;
            if !is_gone(&other.exchange) {
                asked = other;
            }
        }
        redact(&mut asked.exchange, secret);
        asked
    }

    /// Sends a create without any course: HubSpot checks token, scopes and object type, and has nothing to create.
    pub async fn create_nothing(&self) -> Exchange {
        self.send(self.with_json(self.urls.create(), &json!({ "inputs": [] }))).await.0
    }

    /// Looks one key up by the unique property.
    pub async fn look_up(&self, unique_property: &str, key: &str) -> Exchange {
        let body = json!({
            "idProperty": unique_property,
            "inputs": [{ "id": key }],
            "properties": [unique_property],
            "propertiesWithHistory": [],
        });
        self.send(self.with_json(self.urls.read(Place::Live), &body)).await.0
    }

    /// Creates one record that carries this key, past everything: for whoever probes uniqueness. Gives its id.
    pub async fn create_probe(&self, unique_property: &str, key: &str) -> Asked<Created> {
        let input =
            json!({ "properties": { "hs_course_name": key, unique_property: key }, "associations": [] });
        self.ask(self.with_json(self.urls.create(), &json!({ "inputs": [input] }))).await
    }

    /// Puts records into the recycle bin.
    pub async fn archive(&self, ids: &[String]) -> Asked<()> {
        let inputs: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
        let (exchange, _) =
            self.send(self.with_json(self.urls.archive(), &json!({ "inputs": inputs }))).await;
        Asked { told: is_fine(&exchange).then_some(()), exchange }
    }

    fn with_json(&self, url: String, body: &Value) -> RequestBuilder {
        self.http.post(url).header(CONTENT_TYPE, "application/json").body(body.to_string())
    }

    /// Asks; what a good answer holds is read tolerantly.
    pub(super) async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Asked<T> {
        let (exchange, bytes) = self.send(request).await;
        let told = is_fine(&exchange).then(|| serde_json::from_slice(&bytes).ok()).flatten();
        Asked { told, exchange }
    }
}

/// Takes a secret out of HubSpot's message, should it be repeated there.
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

fn is_fine(exchange: &Exchange) -> bool {
    matches!(exchange, Exchange::Answered { meta, .. } if (200..300).contains(&meta.status))
}

/// The records that a create made.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Created {
    results: Vec<Value>,
}

impl Created {
    /// Their ids.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.results.iter().filter_map(|record| record.get("id")?.as_str().map(str::to_owned)).collect()
    }
}

/// A token as a part of a path.
fn encoded(token: &SecretString) -> String {
    percent_encoding::utf8_percent_encode(token.expose_secret(), percent_encoding::NON_ALPHANUMERIC)
        .to_string()
}
