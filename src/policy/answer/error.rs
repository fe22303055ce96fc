//! An error in HubSpot's JSON, and what can be read from it: scopes, properties at fault, conflicts.
//!
//! HubSpot puts the same fact into different fields, by API and by age. Codes and structure decide; text is read
//! only where there is no code, and only in sentences that no value of a course can imitate.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{context, each, identifier, lenient, texts};

/// An error: of a whole request, or one of `errors[]` in the answer of a batch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ErrorReply {
    /// `"error"`, or at the token endpoint a code such as `BAD_REFRESH_TOKEN`.
    #[serde(deserialize_with = "lenient")]
    pub status: Option<String>,
    /// The error's own identifier.
    #[serde(deserialize_with = "lenient")]
    pub id: Option<String>,
    /// For a person.
    #[serde(deserialize_with = "lenient")]
    pub message: Option<String>,
    /// Such as `VALIDATION_ERROR`; absent from several kinds of errors.
    #[serde(deserialize_with = "lenient")]
    pub category: Option<String>,
    /// Documented as object or string; any JSON.
    pub sub_category: Option<Value>,
    /// HubSpot's identifier of the request, made storable.
    #[serde(deserialize_with = "identifier")]
    pub correlation_id: Option<String>,
    /// `RATE_LIMIT` in one of the dialects of 429.
    #[serde(deserialize_with = "lenient")]
    pub error_type: Option<String>,
    /// The quota that was exceeded.
    #[serde(deserialize_with = "lenient")]
    pub policy_name: Option<String>,
    /// The region that holds the account, where the request went to another one (status 488).
    #[serde(deserialize_with = "identifier")]
    pub correct_hublet: Option<String>,
    /// Details; not always as many as the message lists.
    #[serde(deserialize_with = "each")]
    pub errors: Vec<Option<ErrorDetail>>,
    /// What it is about: `objectWriteTraceId`, `ids`, `existingId`, `propertyName`, …
    #[serde(deserialize_with = "context")]
    pub context: BTreeMap<String, Vec<String>>,
    /// Links, by name.
    #[serde(deserialize_with = "lenient")]
    pub links: BTreeMap<String, String>,
    #[serde(deserialize_with = "texts")]
    pub(in crate::policy) required_granular_scopes: Vec<String>,
    #[serde(deserialize_with = "texts")]
    pub(in crate::policy) required_scopes: Vec<String>,
    #[serde(deserialize_with = "texts")]
    pub(in crate::policy) missing_scopes: Vec<String>,
    /// An older shape of the details.
    #[serde(deserialize_with = "each")]
    pub(in crate::policy) validation_results: Vec<Option<ValidationResult>>,
}

/// One detail of an error.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ErrorDetail {
    /// For a person.
    #[serde(deserialize_with = "lenient")]
    pub message: Option<String>,
    /// Such as `PROPERTY_DOESNT_EXIST`. An open set.
    #[serde(deserialize_with = "lenient")]
    pub code: Option<String>,
    /// The part of the request at fault.
    #[serde(deserialize_with = "lenient")]
    pub r#in: Option<String>,
    /// Any JSON.
    pub sub_category: Option<Value>,
    /// What it is about: `propertyName`, …
    #[serde(deserialize_with = "context")]
    pub context: BTreeMap<String, Vec<String>>,
}

/// A detail as HubSpot lists it in `validationResults`, or in a JSON array within the text of a message.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::policy) struct ValidationResult {
    #[serde(deserialize_with = "lenient")]
    is_valid: bool,
    #[serde(deserialize_with = "lenient")]
    message: Option<String>,
    #[serde(deserialize_with = "lenient")]
    error: Option<String>,
    #[serde(deserialize_with = "lenient")]
    name: Option<String>,
}

/// A detail about one property, wherever HubSpot put it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PropertyFault {
    /// For a person.
    pub message: Option<String>,
    /// Such as `PROPERTY_DOESNT_EXIST`.
    pub code: Option<String>,
    /// The property's name.
    pub property: Option<String>,
}

/// The members of a context that name scopes.
const SCOPES: [&str; 3] = ["requiredGranularScopes", "requiredScopes", "missingScopes"];
/// The codes by which HubSpot's APIs report that a unique value is taken.
const CONFLICTS: [&str; 4] =
    ["CONFLICT", "OBJECT_ALREADY_EXISTS", "UNIQUE_VALUE_CONFLICT", "CONFLICTING_UNIQUE_VALUE"];
/// What stands before the JSON array of a message. A message that begins otherwise may quote a course's own text,
/// brackets included.
const BEFORE_ARRAY: &str = "Property values were not valid: ";
/// The sentences that follow a value which HubSpot quotes at the beginning of a message.
const AFTER_QUOTED_VALUE: [&str; 3] = [" was not ", " is not ", " is invalid"];

impl ErrorReply {
    /// The trace ids of the inputs that the error names; often none.
    #[must_use]
    pub fn trace_ids(&self) -> &[String] {
        self.context.get("objectWriteTraceId").map_or(&[], Vec::as_slice)
    }

    /// Whether it is one of the two sentences by which HubSpot reports that it has no such object type. They come with
    /// 400 and without a category.
    #[must_use]
    pub fn blames_object_type(&self) -> bool {
        let message = self.message.as_deref().unwrap_or_default();
        message.starts_with("Unable to infer object type")
            || message.starts_with("Invalid object or event type id")
    }

    /// The scopes that the token lacks, wherever HubSpot put them, each once.
    #[must_use]
    pub fn required_scopes(&self) -> Vec<&str> {
        let contexts = self.errors.iter().flatten().map(|detail| &detail.context).chain([&self.context]);
        let in_contexts = contexts.flat_map(|context| SCOPES.iter().filter_map(|name| context.get(*name)));
        let fields = [&self.required_granular_scopes, &self.required_scopes, &self.missing_scopes];
        let mut scopes = Vec::new();
        for scope in in_contexts.chain(fields).flatten() {
            let scope = scope.trim();
            if !scope.is_empty() && !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        scopes
    }

    /// The properties at fault: from `errors[]`, else from `validationResults`, else from the JSON array within the
    /// message, else from the context. In that order because only the first three give a code.
    #[must_use]
    pub fn property_faults(&self) -> Vec<PropertyFault> {
        let details: Vec<_> = self.errors.iter().flatten().map(ErrorDetail::fault).collect();
        if details.iter().any(|detail| detail.code.is_some() || detail.property.is_some()) {
            return details;
        }
        let listed = faults(self.validation_results.iter().flatten().cloned());
        if !listed.is_empty() {
            return listed;
        }
        let embedded = self.embedded_faults();
        if !embedded.is_empty() {
            return embedded;
        }
        let named = |key: &str| self.context.get(key).into_iter().flatten();
        named("propertyName")
            .chain(named("properties"))
            .map(|name| PropertyFault { property: Some(name.clone()), ..PropertyFault::default() })
            .collect()
    }

    /// Whether HubSpot reports that another record holds a unique value. The forms differ between its APIs and are
    /// not documented, so this only ever leads to a read, never to an identifier.
    ///
    /// Codes and structure decide. Text is consulted only where no detail has a code.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        let embedded = self.embedded_faults();
        let details = || self.errors.iter().flatten();
        let sub_categories = details().map(|detail| &detail.sub_category).chain([&self.sub_category]);
        let kinds = [self.category.as_deref(), self.error_type.as_deref()].into_iter().flatten();
        let codes: Vec<&str> = (details().filter_map(|detail| detail.code.as_deref()))
            .chain(self.validation_results.iter().flatten().filter_map(|result| result.error.as_deref()))
            .chain(embedded.iter().filter_map(|fault| fault.code.as_deref()))
            .collect();
        let has_code = kinds
            .chain(sub_categories.filter_map(|kind| kind.as_ref()?.as_str()))
            .chain(codes.iter().copied())
            .any(is_conflict_code);
        let mut contexts = details().map(|detail| &detail.context).chain([&self.context]);
        has_code
            || contexts.any(|context| context.contains_key("existingId"))
            || codes.is_empty() && (self.taken_value().is_some() || self.begins_with_existence())
    }

    /// The property and the value that another record holds, from HubSpot's sentence
    /// `Cannot set PropertyValueCoordinates{…, propertyName=P, value=V} on ID. ID already has that value.`
    ///
    /// Both ends of the sentence must be there, since a value may contain any of its parts. The two ids are not
    /// given: the first is of a record that was never made, the second is text that is not documented.
    #[must_use]
    pub fn taken_value(&self) -> Option<(&str, &str)> {
        let details = self.errors.iter().flatten().map(|detail| &detail.message);
        [&self.message].into_iter().chain(details).flatten().find_map(|message| taken_value(message))
    }

    /// Whether the message is `Contact already exists`, possibly with more behind it. A message that begins with a
    /// quoted value of a course goes on with a verdict on the value, and does not count.
    fn begins_with_existence(&self) -> bool {
        let Some((word, rest)) = self.message.as_deref().and_then(|message| message.split_once(' ')) else {
            return false;
        };
        let is_word = !word.is_empty() && word.chars().all(char::is_alphabetic);
        let is_tail = |tail: &str| {
            (tail.is_empty()
                || [".", ",", ":", " with ", " for "].iter().any(|start| tail.starts_with(start)))
                && !AFTER_QUOTED_VALUE.iter().any(|verdict| tail.contains(verdict))
        };
        is_word && rest.strip_prefix("already exists").is_some_and(is_tail)
    }

    fn embedded_faults(&self) -> Vec<PropertyFault> {
        let list = self.message.as_deref().and_then(|message| message.strip_prefix(BEFORE_ARRAY));
        let Some(list) = list else { return Vec::new() };
        // A stream, because a sentence may follow the array.
        let mut stream = serde_json::Deserializer::from_str(list).into_iter::<Vec<ValidationResult>>();
        let Some(Ok(results)) = stream.next() else { return Vec::new() };
        faults(results)
    }
}

impl ErrorDetail {
    fn fault(&self) -> PropertyFault {
        let property = self.context.get("propertyName").and_then(|names| names.first()).cloned();
        PropertyFault { message: self.message.clone(), code: self.code.clone(), property }
    }
}

fn faults(results: impl IntoIterator<Item = ValidationResult>) -> Vec<PropertyFault> {
    let fault = |result: ValidationResult| PropertyFault {
        message: result.message,
        code: result.error,
        property: result.name,
    };
    results.into_iter().filter(|result| !result.is_valid).map(fault).collect()
}

/// Whether a code, or the last part of a dotted one such as `Objects.CONFLICT`, reports a taken value.
fn is_conflict_code(code: &str) -> bool {
    CONFLICTS.contains(&code.rsplit('.').next().unwrap_or(code))
}

/// [`ErrorReply::taken_value`] of one message.
#[must_use]
pub fn taken_value(message: &str) -> Option<(&str, &str)> {
    let coordinates = message.trim().strip_prefix("Cannot set PropertyValueCoordinates{")?;
    // What stands before is HubSpot's own, and so is the property's name, which has no comma.
    let (_, named) = coordinates.split_once("propertyName=")?;
    let (property, rest) = named.split_once(", value=")?;
    let rest = rest.strip_suffix('.').unwrap_or(rest).strip_suffix(" already has that value")?;
    let rest = without_id(rest)?.strip_suffix(". ")?;
    let value = without_id(rest)?.strip_suffix("} on ")?;
    Some((property, value))
}

/// The text without the digits at its end.
fn without_id(text: &str) -> Option<&str> {
    let rest = text.trim_end_matches(|digit: char| digit.is_ascii_digit());
    (rest.len() < text.len()).then_some(rest)
}

#[cfg(test)]
mod tests;
