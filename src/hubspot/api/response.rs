//! How a request ended, and HubSpot's response as plain types. Read tolerantly: a field that is absent or of another
//! type than documented reads as absent, and never makes the rest unreadable. Pure.
//!
//! Sources: HubSpot's `OpenAPI` description of the course objects, its error-handling guide, and deviations from both in
//! recorded responses.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::error::ErrorReply;
use super::lenient::{items, lenient, property_values};
use super::status::{StatusMeaning, status_meaning};
use crate::course::HubSpotId;

/// How a request ended. The three cases are what every decision about idempotency rests on.
#[derive(Debug, Clone)]
pub enum Exchange {
    /// Certainly not executed: the request did not reach HubSpot.
    NotSent(NotSent),
    /// Possibly executed: at least a part was sent, and no response came.
    NoAnswer(NoAnswer),
    /// A response came, complete or not.
    Answered {
        /// The status line and the headers.
        meta: Meta,
        /// The body, as far as it could be read.
        body: Body,
    },
}

impl Exchange {
    /// The status and headers of the response, where one came.
    #[must_use]
    pub fn meta(&self) -> Option<&Meta> {
        match self {
            Self::Answered { meta, .. } => Some(meta),
            Self::NotSent(_) | Self::NoAnswer(_) => None,
        }
    }

    /// The quota headers of the response, where one came.
    #[must_use]
    pub fn quota(&self) -> Option<&QuotaHeaders> {
        self.meta().map(|meta| &meta.quota)
    }
}

/// Why a request was certainly not sent. The texts are shown to operators and contain no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSent {
    /// Name resolution, connection or TLS handshake failed.
    Unreachable(String),
    /// No usable access token.
    NoToken(String),
    /// The request could not be built.
    Unbuildable(String),
}

/// Why no response came to a request that may have been executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// The time limit was reached.
    Timeout,
    /// The connection ended before a response.
    Lost(String),
    /// The task that sent it ended before it recorded the response.
    Abandoned,
}

/// The status and the headers that are used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// The HTTP status. HubSpot also uses statuses of its own, such as 477.
    pub status: u16,
    /// `X-HubSpot-Correlation-Id`.
    pub correlation_id: Option<String>,
    /// `Retry-After`, in whole seconds after the response.
    pub retry_after: Option<Duration>,
    /// Where a redirect leads, without secrets.
    pub location: Option<String>,
    /// The quota headers.
    pub quota: QuotaHeaders,
    /// When the response came, by the local clock.
    pub answered_at: Option<Instant>,
}

impl Meta {
    /// What the status means.
    #[must_use]
    pub fn meaning(&self) -> StatusMeaning {
        status_meaning(self.status)
    }

    /// Whether the request was executed.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.meaning() == StatusMeaning::Success
    }
}

/// `X-HubSpot-RateLimit-*`, without the deprecated and derived `-Secondly*`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuotaHeaders {
    /// Calls allowed in one interval.
    pub max: Option<u32>,
    /// Calls left in the current interval after this one.
    pub remaining: Option<u32>,
    /// The interval's length in milliseconds.
    pub interval_ms: Option<u64>,
    /// Calls allowed a day; absent under OAuth.
    pub daily: Option<u64>,
    /// Calls left today; absent under OAuth.
    pub daily_remaining: Option<u64>,
}

/// The body of a response.
#[derive(Debug, Clone)]
pub enum Body {
    /// The result of a batch operation.
    Batch(Box<BatchReply>),
    /// An error, as a JSON object.
    Error(Box<ErrorReply>),
    /// Not JSON, or JSON that is neither.
    Unreadable(Unreadable),
}

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// It is empty.
    Empty,
    /// It was cut short, or took too long.
    Cut(String),
    /// It is longer than any response of HubSpot.
    TooLong,
    /// It is not a JSON object of a known form. Holds the beginning for the error message.
    Foreign(String),
}

/// The result of a batch operation. It has the same form at 200, 201 and 207.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BatchReply {
    /// Whether the batch is complete.
    #[serde(deserialize_with = "lenient")]
    pub status: BatchStatus,
    /// The records, in any order. `None` where one could not be read.
    #[serde(deserialize_with = "items")]
    pub results: Vec<Option<CourseRecord>>,
    /// The errors. One error may name many inputs.
    #[serde(deserialize_with = "items")]
    pub errors: Vec<Option<ErrorReply>>,
    /// The number of error objects, not of records.
    #[serde(deserialize_with = "lenient")]
    pub num_errors: Option<u64>,
    /// Links, by name.
    #[serde(deserialize_with = "lenient")]
    pub links: BTreeMap<String, String>,
    /// When HubSpot received the request.
    #[serde(deserialize_with = "lenient")]
    pub requested_at: Option<String>,
    /// When HubSpot started it.
    #[serde(deserialize_with = "lenient")]
    pub started_at: Option<String>,
    /// When HubSpot completed it.
    #[serde(deserialize_with = "lenient")]
    pub completed_at: Option<String>,
}

/// The status of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum BatchStatus {
    Complete,
    Pending,
    Processing,
    #[serde(alias = "CANCELLED")]
    Canceled,
    /// The field is absent.
    #[default]
    #[serde(skip)]
    Absent,
    /// An undocumented value.
    #[serde(other)]
    Other,
}

impl BatchStatus {
    /// Whether the listed results are final. A missing status does not make them less so.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Complete | Self::Absent => true,
            Self::Pending | Self::Processing | Self::Canceled | Self::Other => false,
        }
    }
}

/// One record of a course.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CourseRecord {
    /// Its id.
    #[serde(deserialize_with = "lenient")]
    pub id: Option<String>,
    /// Its properties: those that were sent, and those that HubSpot computes. A value that is not a string reads as null.
    #[serde(deserialize_with = "property_values")]
    pub properties: BTreeMap<String, Option<String>>,
    /// The trace id of the input that created it; often absent.
    #[serde(deserialize_with = "lenient")]
    pub object_write_trace_id: Option<String>,
    /// When it was created.
    #[serde(deserialize_with = "lenient")]
    pub created_at: Option<String>,
    /// When it was last changed.
    #[serde(deserialize_with = "lenient")]
    pub updated_at: Option<String>,
    /// Whether it is in the recycle bin.
    #[serde(deserialize_with = "lenient")]
    pub archived: bool,
    /// When it was moved there.
    #[serde(deserialize_with = "lenient")]
    pub archived_at: Option<String>,
    /// Its page in HubSpot.
    #[serde(deserialize_with = "lenient")]
    pub url: Option<String>,
    /// What HubSpot changed when it stored the record.
    #[serde(deserialize_with = "items")]
    pub warnings: Vec<Option<RecordWarning>>,
}

impl CourseRecord {
    /// Its id, unless its property `hs_object_id` contradicts it.
    #[must_use]
    pub fn consistent_id(&self) -> Option<HubSpotId> {
        let id = self.id.as_deref()?;
        let repeated = self.properties.get("hs_object_id").and_then(Option::as_deref);
        if repeated.is_some_and(|repeated| repeated != id) { None } else { HubSpotId::parse(id) }
    }
}

/// A remark on a record that was stored.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RecordWarning {
    /// Such as `PROPERTY_VALUE_NORMALIZED`.
    #[serde(deserialize_with = "lenient")]
    pub category: Option<String>,
    /// The message.
    #[serde(deserialize_with = "lenient")]
    pub message: Option<String>,
    /// What the remark is about.
    #[serde(deserialize_with = "lenient")]
    pub context: BTreeMap<String, String>,
}
