//! The last error of a course, as its row stores it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The category of an error: a closed set.
///
/// Upper case marks HubSpot's own categories, lower case those of course-sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Category {
    /// HubSpot: a value, a property or an association is not acceptable.
    #[serde(rename = "VALIDATION_ERROR")]
    Validation,
    /// HubSpot: another record already holds this value or key.
    #[serde(rename = "CONFLICT")]
    Conflict,
    /// HubSpot refused the course with another category, or with none.
    #[serde(rename = "refused")]
    Refused,
    /// HubSpot holds a record whose key equals this one only after HubSpot's normalization.
    #[serde(rename = "key_collision")]
    KeyCollision,
    /// The row is too large to be sent, or the request is too large for HubSpot with only this course in it.
    #[serde(rename = "too_large")]
    TooLarge,
    /// The row is invalid, so it was not sent.
    #[serde(rename = "invalid_row")]
    InvalidRow,
    /// The course was sent, and it is not known whether HubSpot created it.
    #[serde(rename = "unknown_outcome")]
    UnknownOutcome,
    /// HubSpot refused the request without naming the course, or asked to retry later. The course is retried.
    #[serde(rename = "deferred")]
    Deferred,
    /// HubSpot held the course, and its record was deleted since.
    #[serde(rename = "record_gone")]
    RecordGone,
    /// HubSpot's record of the course was merged into another one.
    #[serde(rename = "record_merged")]
    RecordMerged,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 10] = [
        Self::Validation,
        Self::Conflict,
        Self::Refused,
        Self::KeyCollision,
        Self::TooLarge,
        Self::InvalidRow,
        Self::UnknownOutcome,
        Self::Deferred,
        Self::RecordGone,
        Self::RecordMerged,
    ];

    /// The category that a row stores as `text`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.as_str() == text)
    }

    /// The category as a row stores it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validation => "VALIDATION_ERROR",
            Self::Conflict => "CONFLICT",
            Self::Refused => "refused",
            Self::KeyCollision => "key_collision",
            Self::TooLarge => "too_large",
            Self::InvalidRow => "invalid_row",
            Self::UnknownOutcome => "unknown_outcome",
            Self::Deferred => "deferred",
            Self::RecordGone => "record_gone",
            Self::RecordMerged => "record_merged",
        }
    }
}

/// The last error of a course. `message` is HubSpot's own text if HubSpot reported the error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CourseError {
    /// The category.
    pub category: Category,
    /// What happened.
    pub message: String,
    /// HubSpot's code, such as `PROPERTY_DOESNT_EXIST`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
    /// The property that HubSpot named.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub property: Option<String>,
    /// The HTTP status of the response.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub http_status: Option<u16>,
    /// HubSpot's id of the request, for HubSpot's support.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub correlation_id: Option<String>,
    /// When it happened.
    pub at: Timestamp,
}

impl CourseError {
    /// HubSpot's code for a property that does not exist.
    pub const PROPERTY_MISSING: &'static str = "PROPERTY_DOESNT_EXIST";

    /// An error of this category. The message is made storable: clipped, and without NUL, which Postgres refuses.
    #[must_use]
    pub fn new(category: Category, message: &str, at: Timestamp) -> Self {
        Self {
            category,
            message: clip(message, Self::MAX_MESSAGE_BYTES),
            code: None,
            property: None,
            http_status: None,
            correlation_id: None,
            at,
        }
    }

    /// Whether the course was sent. Earlier versions refused courses by the account's properties without sending
    /// them; such an error has no HTTP status. Neither has that of a row that is too large to be read.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        match self.category {
            Category::InvalidRow => false,
            Category::Validation | Category::TooLarge => self.http_status.is_some(),
            Category::Conflict
            | Category::Refused
            | Category::KeyCollision
            | Category::UnknownOutcome
            | Category::Deferred
            | Category::RecordGone
            | Category::RecordMerged => true,
        }
    }

    /// The longest message kept, in bytes.
    pub const MAX_MESSAGE_BYTES: usize = 2_000;
}

/// `text` without NUL, cut at a character boundary to at most `max_bytes` bytes, including the `…`.
#[must_use]
pub fn clip(text: &str, max_bytes: usize) -> String {
    let clean = text.replace('\0', "\u{fffd}");
    if clean.len() <= max_bytes {
        return clean;
    }
    let room = max_bytes.saturating_sub('…'.len_utf8());
    let end = (0..=room).rev().find(|&at| clean.is_char_boundary(at)).unwrap_or(0);
    format!("{}…", clean.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_shape() {
        let mut error = CourseError::new(Category::Validation, "no", Timestamp::UNIX_EPOCH);
        error.http_status = Some(207);
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"category":"VALIDATION_ERROR","message":"no","http_status":207,"at":"1970-01-01T00:00:00Z"}"#
        );
    }

    #[test]
    fn the_name_of_a_category_is_its_stored_form() {
        for category in Category::ALL {
            assert_eq!(serde_json::to_value(category).unwrap(), category.as_str());
            assert_eq!(Category::parse(category.as_str()), Some(category));
        }
    }

    #[test]
    fn clipping_keeps_whole_characters_and_drops_nul() {
        assert_eq!(clip("abc", 3), "abc");
        assert_eq!(clip("äöü", 5), "ä…");
        assert_eq!(clip("a\0b", 9), "a\u{fffd}b");
    }
}
