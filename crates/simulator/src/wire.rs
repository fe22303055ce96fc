//! Types of requests and responses. Requests are parsed as strictly as HubSpot does. Responses have the fields that
//! HubSpot sends, without those that are documented but never sent. Touches nothing else.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::decode::Object;

/// Maximum number of inputs of a batch.
pub(super) const BATCH_MAX: usize = 100;

/// The body of every batch request; other members are ignored, as in HubSpot.
#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub(super) struct Batch<T> {
    pub(super) inputs: Option<Vec<Object<T>>>,
}

/// The other members of a batch read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReadOptions {
    pub(super) id_property: Option<String>,
    pub(super) properties: Option<Vec<String>>,
}

/// A record to create.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateInput {
    pub(super) properties: Option<BTreeMap<String, String>>,
    pub(super) associations: Option<Vec<Association>>,
    pub(super) object_write_trace_id: Option<String>,
}

/// A record to `update` or `upsert`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WriteInput {
    pub(super) id: String,
    pub(super) id_property: Option<String>,
    pub(super) properties: Option<BTreeMap<String, String>>,
    pub(super) object_write_trace_id: Option<String>,
}

/// A record to read or archive.
#[derive(Deserialize)]
pub(super) struct IdInput {
    pub(super) id: String,
}

/// Two records to merge.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MergeInput {
    pub(super) primary_object_id: String,
    pub(super) object_id_to_merge: String,
}

/// An association with another record, in HubSpot's format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Association {
    /// The other record.
    pub to: AssociationTarget,
    /// The types of the association.
    pub types: Vec<AssociationType>,
}

/// The record that an [`Association`] refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssociationTarget {
    /// ID of the other record.
    pub id: String,
}

/// The type of an [`Association`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssociationType {
    /// `HUBSPOT_DEFINED`, `USER_DEFINED`, …
    pub association_category: String,
    /// ID of the type.
    pub association_type_id: u32,
}

/// A record in a response.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectOut {
    pub(super) id: String,
    pub(super) properties: BTreeMap<String, Option<String>>,
    pub(super) created_at: String,
    pub(super) updated_at: String,
    pub(super) archived: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) archived_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) new: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) object_write_trace_id: Option<String>,
}

/// The response to a batch. `numErrors` and `errors` are present only if there are errors.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BatchOut {
    pub(super) status: &'static str,
    pub(super) results: Vec<ObjectOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) num_errors: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<BatchError>,
    pub(super) started_at: String,
    pub(super) completed_at: String,
}

/// One of the `errors` of a 207.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum BatchError {
    Worded(Box<ErrorBody>),
    /// The error of a fault.
    Literal(Value),
}

impl From<ErrorBody> for BatchError {
    fn from(error: ErrorBody) -> Self {
        Self::Worded(Box::new(error))
    }
}

/// An error: the body of an error response, or one of the `errors` of a 207 (without a correlation ID).
#[derive(Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ErrorBody {
    pub(super) status: &'static str,
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<ErrorDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context: Option<BTreeMap<&'static str, Vec<String>>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) links: BTreeMap<&'static str, &'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) category: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sub_category: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy_name: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) group_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<String>,
}

/// One of the `errors` of an error response.
#[derive(Clone, Serialize)]
pub(super) struct ErrorDetail {
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    pub(super) context: BTreeMap<&'static str, Vec<String>>,
}

impl ErrorBody {
    /// An error with a message and nothing else.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { status: "error", message: message.into(), ..Self::default() }
    }

    /// Sets the category.
    pub(super) fn category(mut self, category: &'static str) -> Self {
        self.category = Some(category);
        self
    }

    /// Adds an entry to the context.
    pub(super) fn context(mut self, key: &'static str, values: Vec<String>) -> Self {
        self.context.get_or_insert_default().insert(key, values);
        self
    }
}

/// The kind of a [`Reply`]'s body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Html,
    /// A page that the edge sends without forwarding the request to HubSpot, such as that of a firewall.
    Page,
    Empty,
}

/// A response without headers.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) kind: Kind,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// A JSON response.
    pub(super) fn json(status: u16, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => Self { status, kind: Kind::Json, body },
            Err(error) => Self::html(500, &error.to_string()),
        }
    }

    /// An error response with this correlation ID.
    pub(super) fn refusal(status: u16, mut error: ErrorBody, correlation: &str) -> Self {
        error.correlation_id = Some(correlation.to_owned());
        Self::json(status, &error)
    }

    /// The error of a fault as a response.
    pub(super) fn literal_refusal(status: u16, mut error: Value, correlation: &str) -> Self {
        if let Some(error) = error.as_object_mut() {
            error.insert("correlationId".to_owned(), Value::from(correlation));
        }
        Self::json(status, &error)
    }

    /// An HTML page, as sent by the edge or a servlet container.
    pub(super) fn html(status: u16, title: &str) -> Self {
        let page = maud::html! {
            html { head { title { (title) } } body { h2 { (title) } } }
        };
        Self { status, kind: Kind::Html, body: page.into_string().into_bytes() }
    }

    /// A response without a body.
    pub(super) fn empty(status: u16) -> Self {
        Self { status, kind: Kind::Empty, body: Vec::new() }
    }
}

/// A time in HubSpot's format: ISO 8601, UTC, milliseconds.
pub(super) fn iso(at: Timestamp) -> String {
    format!("{at:.3}")
}
