//! What HubSpot said, as plain types read tolerantly: a field that is absent or of another type than
//! documented reads as absent, and never makes the rest unreadable.
//!
//! Sources: HubSpot's `OpenAPI` description of the course objects, its error-handling guide, and the
//! deviations from both that recorded answers show.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::course::{HubSpotId, clip};

mod error;

pub use error::{ErrorDetail, ErrorReply, PropertyFault, taken_value};

/// How a request ended. Three arms and no fourth.
#[derive(Debug, Clone)]
pub enum Exchange {
    /// Certainly not taken: nothing of the request reached HubSpot.
    NotSent(NotSent),
    /// It may have happened: at least a part was written and no answer came.
    NoAnswer(NoAnswer),
    /// An answer came, whole or not.
    Answered {
        /// The status line and the headers.
        meta: Meta,
        /// The body, as far as it could be read.
        body: Body,
    },
}

impl Exchange {
    /// The answer's status and headers, where one came.
    #[must_use]
    pub fn meta(&self) -> Option<&Meta> {
        match self {
            Self::Answered { meta, .. } => Some(meta),
            Self::NotSent(_) | Self::NoAnswer(_) => None,
        }
    }

    /// What the answer's headers say of the quota, where one came.
    #[must_use]
    pub fn quota(&self) -> Option<&QuotaHeaders> {
        self.meta().map(|meta| &meta.quota)
    }
}

/// Why a request was certainly not sent. The text is for a person and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSent {
    /// Name resolution, connection or TLS handshake failed.
    Unreachable(String),
    /// No usable access token.
    NoToken(String),
    /// The request could not be built.
    Unbuildable(String),
}

/// Why no answer came to a request that may have been taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// The time for an answer ran out.
    Timeout,
    /// The connection ended before an answer.
    Lost(String),
    /// The task that sent it ended before it could tell.
    Abandoned,
}

/// The status line and the headers that matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// The HTTP status; not always one of the standard's (477).
    pub status: u16,
    /// `X-HubSpot-Correlation-Id`.
    pub correlation_id: Option<String>,
    /// `Retry-After`, in whole seconds from the answer on.
    pub retry_after: Option<Duration>,
    /// Where a redirect leads, without anything secret.
    pub location: Option<String>,
    /// The quota headers.
    pub quota: QuotaHeaders,
    /// When they came, by our own clock.
    pub answered_at: Option<Instant>,
}

/// `X-HubSpot-RateLimit-*`, without the deprecated and derived `-Secondly*`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuotaHeaders {
    /// Calls allowed in one interval.
    pub max: Option<u32>,
    /// Calls left in the current interval, after this one.
    pub remaining: Option<u32>,
    /// The interval's length in milliseconds.
    pub interval_ms: Option<u64>,
    /// Calls allowed a day; absent under OAuth.
    pub daily: Option<u64>,
    /// Calls left today; absent under OAuth.
    pub daily_remaining: Option<u64>,
}

/// The body of an answer.
#[derive(Debug, Clone)]
pub enum Body {
    /// The answer of a batch operation.
    Batch(Box<BatchReply>),
    /// An error, as a JSON object.
    Error(Box<ErrorReply>),
    /// Not JSON, or JSON that is neither. Holds the beginning, for a person.
    Unreadable(Unreadable),
}

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// No byte came.
    Empty,
    /// It ended too early, or too late.
    Cut(String),
    /// It is longer than anything HubSpot has to say.
    TooLong,
    /// It is no JSON object of a known shape; the beginning of it.
    Foreign(String),
}

/// The answer of a batch operation, at 200, 201 and 207 alike.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BatchReply {
    /// How far HubSpot got.
    #[serde(deserialize_with = "lenient")]
    pub status: BatchStatus,
    /// The records, in any order. `None` where one could not be read.
    #[serde(deserialize_with = "each")]
    pub results: Vec<Option<Record>>,
    /// The errors; one may name many inputs.
    #[serde(deserialize_with = "each")]
    pub errors: Vec<Option<ErrorReply>>,
    /// The number of error objects, not of records.
    #[serde(deserialize_with = "lenient")]
    pub num_errors: Option<u64>,
    /// Links, by name.
    #[serde(deserialize_with = "lenient")]
    pub links: BTreeMap<String, String>,
    /// When HubSpot got the request.
    #[serde(deserialize_with = "lenient")]
    pub requested_at: Option<String>,
    /// When HubSpot began.
    #[serde(deserialize_with = "lenient")]
    pub started_at: Option<String>,
    /// When HubSpot ended.
    #[serde(deserialize_with = "lenient")]
    pub completed_at: Option<String>,
}

/// How far a batch got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum BatchStatus {
    Complete,
    Pending,
    Processing,
    #[serde(alias = "CANCELLED")]
    Canceled,
    /// No word at all.
    #[default]
    #[serde(skip)]
    Absent,
    /// A word that is not documented.
    #[serde(other)]
    Other,
}

impl BatchStatus {
    /// Whether what the answer lists stands. Its absence takes nothing from a list that is there.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Complete | Self::Absent => true,
            Self::Pending | Self::Processing | Self::Canceled | Self::Other => false,
        }
    }
}

/// One record.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Record {
    /// Its identifier.
    #[serde(deserialize_with = "lenient")]
    pub id: Option<String>,
    /// Its properties, as sent plus those that HubSpot computes. A value that is no string reads as
    /// null.
    #[serde(deserialize_with = "values")]
    pub properties: BTreeMap<String, Option<String>>,
    /// The trace id of the input it came from; often absent.
    #[serde(deserialize_with = "lenient")]
    pub object_write_trace_id: Option<String>,
    /// When it was created.
    #[serde(deserialize_with = "lenient")]
    pub created_at: Option<String>,
    /// When it was last changed.
    #[serde(deserialize_with = "lenient")]
    pub updated_at: Option<String>,
    /// Whether it lies in the recycle bin.
    #[serde(deserialize_with = "lenient")]
    pub archived: bool,
    /// Since when it lies there.
    #[serde(deserialize_with = "lenient")]
    pub archived_at: Option<String>,
    /// Its page.
    #[serde(deserialize_with = "lenient")]
    pub url: Option<String>,
    /// What HubSpot changed on the way in.
    #[serde(deserialize_with = "each")]
    pub warnings: Vec<Option<Warning>>,
}

impl Record {
    /// Its identifier, unless its own property contradicts it.
    #[must_use]
    pub fn consistent_id(&self) -> Option<HubSpotId> {
        let id = self.id.as_deref()?;
        let repeated = self.properties.get("hs_object_id").and_then(Option::as_deref);
        if repeated.is_some_and(|repeated| repeated != id) { None } else { HubSpotId::parse(id) }
    }
}

/// A remark on an accepted record.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Warning {
    /// Such as `PROPERTY_VALUE_NORMALIZED`.
    #[serde(deserialize_with = "lenient")]
    pub category: Option<String>,
    /// For a person.
    #[serde(deserialize_with = "lenient")]
    pub message: Option<String>,
    /// What it is about.
    #[serde(deserialize_with = "lenient")]
    pub context: BTreeMap<String, String>,
}

/// Reads a field of the wrong type as absent.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(from: D) -> Result<T, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// Reads an identifier that is kept for a person: of a storable length, without NUL.
fn identifier<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text: Option<String> = lenient(from)?;
    Ok(text.map(|text| clip(&text, 100)))
}

/// Reads each element by itself, so that one strange element costs only itself.
fn each<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Vec<Option<T>>, D::Error> {
    let Value::Array(list) = Value::deserialize(from)? else { return Ok(Vec::new()) };
    Ok(list.into_iter().map(|item| serde_json::from_value(item).ok()).collect())
}

/// Reads property values, each by itself.
fn values<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Option<String>>, D::Error> {
    let Value::Object(members) = Value::deserialize(from)? else { return Ok(BTreeMap::new()) };
    let text = |value: Value| match value {
        Value::String(text) => Some(text),
        _ => None,
    };
    Ok(members.into_iter().map(|(name, value)| (name, text(value))).collect())
}

/// Reads a context: name → list of strings; a single string counts as a list of one.
fn context<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    let Value::Object(members) = Value::deserialize(from)? else { return Ok(BTreeMap::new()) };
    Ok(members.into_iter().map(|(name, value)| (name, texts_of(value))).collect())
}

/// Reads a list of strings; a single string counts as a list of one.
fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(texts_of(Value::deserialize(from)?))
}

fn texts_of(value: Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.into_iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}
