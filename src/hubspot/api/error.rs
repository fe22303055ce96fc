//! An error in HubSpot's JSON, and what it shows: missing scopes, faulty properties, conflicts. Pure.
//!
//! HubSpot's APIs, newer and older ones, put the same fact into different fields. Codes and structure decide. Text is
//! read only where there is no code, and only in sentences that no value of a course can imitate.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::lenient::{identifier, items, lenient, lists_by_name, string_list};

/// An error: of a whole request, or one of `errors[]` in the result of a batch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ErrorReply {
    /// `"error"`, or at the token endpoint a code such as `BAD_REFRESH_TOKEN`.
    #[serde(deserialize_with = "lenient")]
    pub status: Option<String>,
    /// The error's own identifier.
    #[serde(deserialize_with = "lenient")]
    pub id: Option<String>,
    /// The message.
    #[serde(deserialize_with = "lenient")]
    pub message: Option<String>,
    /// Such as `VALIDATION_ERROR`; absent from several kinds of errors.
    #[serde(deserialize_with = "lenient")]
    pub category: Option<String>,
    /// Documented as object or string; any JSON.
    pub sub_category: Option<Value>,
    /// HubSpot's id of the request, limited in length.
    #[serde(deserialize_with = "identifier")]
    pub correlation_id: Option<String>,
    /// `RATE_LIMIT` in one of the forms of a 429.
    #[serde(deserialize_with = "lenient")]
    pub error_type: Option<String>,
    /// The quota that was exceeded.
    #[serde(deserialize_with = "lenient")]
    pub policy_name: Option<String>,
    /// The region that holds the account, where the request went to another one (status 488).
    #[serde(deserialize_with = "identifier")]
    pub correct_hublet: Option<String>,
    /// Details; not always as many as the message lists.
    #[serde(deserialize_with = "items")]
    pub errors: Vec<Option<ErrorDetail>>,
    /// What the error is about: `objectWriteTraceId`, `ids`, `existingId`, `propertyName`, …
    #[serde(deserialize_with = "lists_by_name")]
    pub context: BTreeMap<String, Vec<String>>,
    /// Links, by name.
    #[serde(deserialize_with = "lenient")]
    pub links: BTreeMap<String, String>,
    #[serde(deserialize_with = "string_list")]
    pub(crate) required_granular_scopes: Vec<String>,
    #[serde(deserialize_with = "string_list")]
    pub(crate) required_scopes: Vec<String>,
    #[serde(deserialize_with = "string_list")]
    pub(crate) missing_scopes: Vec<String>,
    /// The older form of the details.
    #[serde(deserialize_with = "items")]
    pub(crate) validation_results: Vec<Option<ValidationResult>>,
}

/// One detail of an error.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ErrorDetail {
    /// The message.
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
    /// What the detail is about: `propertyName`, …
    #[serde(deserialize_with = "lists_by_name")]
    pub context: BTreeMap<String, Vec<String>>,
}

/// A detail as HubSpot lists it in `validationResults`, or in a JSON array within the text of a message.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ValidationResult {
    #[serde(deserialize_with = "lenient")]
    is_valid: bool,
    #[serde(deserialize_with = "lenient")]
    message: Option<String>,
    #[serde(deserialize_with = "lenient")]
    error: Option<String>,
    #[serde(deserialize_with = "lenient")]
    name: Option<String>,
}

/// A fault of one property, from whichever field HubSpot used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PropertyFault {
    /// The message.
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
/// The text before the JSON array in a message. A message with another beginning may quote a course's own text,
/// including brackets.
const BEFORE_ARRAY: &str = "Property values were not valid: ";
/// How messages continue after a value that HubSpot quotes at their beginning.
const AFTER_QUOTED_VALUE: [&str; 3] = [" was not ", " is not ", " is invalid"];

impl ErrorReply {
    /// The trace ids of the inputs that the error names; often none.
    #[must_use]
    pub fn trace_ids(&self) -> &[String] {
        self.context.get("objectWriteTraceId").map_or(&[], Vec::as_slice)
    }

    /// Whether HubSpot reports that there is no such object type. It uses one of two sentences, with status 400 and without
    /// a category.
    #[must_use]
    pub fn blames_object_type(&self) -> bool {
        let message = self.message.as_deref().unwrap_or_default();
        message.starts_with("Unable to infer object type")
            || message.starts_with("Invalid object or event type id")
    }

    /// The scopes that the token lacks, from all fields where HubSpot may list them, each once.
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

    /// The faulty properties: from `errors[]`, else from `validationResults`, else from the JSON array in the message, else
    /// from the context. The context comes last because it has no code.
    #[must_use]
    pub fn property_faults(&self) -> Vec<PropertyFault> {
        let details: Vec<_> = self.details().map(ErrorDetail::fault).collect();
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
        ["propertyName", "properties"]
            .into_iter()
            .filter_map(|key| self.context.get(key))
            .flatten()
            .map(|name| PropertyFault { property: Some(name.clone()), ..PropertyFault::default() })
            .collect()
    }

    /// Whether HubSpot reports that another record has a unique value. The forms differ between its APIs and are not
    /// documented, so a conflict only ever leads to a look-up; the record's id is never taken from it.
    ///
    /// Codes and structure decide. Text is read only where no detail has a code.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        let embedded = self.embedded_faults();
        let sub_categories = self.details().map(|detail| &detail.sub_category).chain([&self.sub_category]);
        let kinds = [self.category.as_deref(), self.error_type.as_deref()].into_iter().flatten();
        let codes: Vec<&str> = (self.details().filter_map(|detail| detail.code.as_deref()))
            .chain(self.validation_results.iter().flatten().filter_map(|result| result.error.as_deref()))
            .chain(embedded.iter().filter_map(|fault| fault.code.as_deref()))
            .collect();
        let has_code = kinds
            .chain(sub_categories.filter_map(|kind| kind.as_ref()?.as_str()))
            .chain(codes.iter().copied())
            .any(is_conflict_code);
        let mut contexts = self.details().map(|detail| &detail.context).chain([&self.context]);
        has_code
            || contexts.any(|context| context.contains_key("existingId"))
            || codes.is_empty() && (self.taken_value().is_some() || self.begins_with_existence())
    }

    /// The property and the value that another record has, from HubSpot's sentence
    /// `Cannot set PropertyValueCoordinates{…, propertyName=P, value=V} on ID. ID already has that value.`
    ///
    /// The sentence must be complete, since a value may contain any of its parts. The two ids are not returned: the first
    /// is of a record that was not created, the second is not documented.
    #[must_use]
    pub fn taken_value(&self) -> Option<(&str, &str)> {
        let details = self.details().map(|detail| &detail.message);
        [&self.message].into_iter().chain(details).flatten().find_map(|message| taken_value(message))
    }

    /// Whether the message is like `Contact already exists`, possibly with more text. A message that begins with a value of
    /// a course continues with a verdict on the value, and does not count.
    fn begins_with_existence(&self) -> bool {
        let Some((word, rest)) = self.message.as_deref().and_then(|message| message.split_once(' ')) else {
            return false;
        };
        let is_word = !word.is_empty() && word.chars().all(char::is_alphabetic);
        is_word && rest.strip_prefix("already exists").is_some_and(may_follow_existence)
    }

    fn details(&self) -> impl Iterator<Item = &ErrorDetail> {
        self.errors.iter().flatten()
    }

    fn embedded_faults(&self) -> Vec<PropertyFault> {
        let list = self.message.as_deref().and_then(|message| message.strip_prefix(BEFORE_ARRAY));
        let Some(list) = list else { return Vec::new() };
        // A stream ignores the text that may follow the array.
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

/// Whether a message may continue so after `already exists`: with nothing, or with HubSpot's own words.
fn may_follow_existence(tail: &str) -> bool {
    (tail.is_empty() || [".", ",", ":", " with ", " for "].iter().any(|start| tail.starts_with(start)))
        && !AFTER_QUOTED_VALUE.iter().any(|verdict| tail.contains(verdict))
}

fn faults(results: impl IntoIterator<Item = ValidationResult>) -> Vec<PropertyFault> {
    let failed = results.into_iter().filter(|result| !result.is_valid);
    failed.map(|it| PropertyFault { message: it.message, code: it.error, property: it.name }).collect()
}

/// Whether a code, or the last part of a dotted one such as `Objects.CONFLICT`, reports a taken value.
fn is_conflict_code(code: &str) -> bool {
    CONFLICTS.contains(&code.rsplit('.').next().unwrap_or(code))
}

/// [`ErrorReply::taken_value`] of one message.
#[must_use]
pub fn taken_value(message: &str) -> Option<(&str, &str)> {
    let coordinates = message.trim().strip_prefix("Cannot set PropertyValueCoordinates{")?;
    // The text before, and the name of the property, which has no comma, are HubSpot's own.
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
