//! Checks a course against the account's property definitions before it is sent. Only what HubSpot certainly refuses is
//! refused here, with HubSpot's own codes and messages as far as they are known.
//!
//! Where HubSpot's rules are not known for certain, the value is sent and HubSpot decides. A refusal from here has no
//! HTTP status and no correlation id, because no request was sent.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::course::{Category, CourseError, Properties, clip};
use crate::hubspot::api::properties::{PropertyDefinition, PropertyList};
use crate::hubspot::api::request::COURSE_NAME;

pub mod plan;
mod suggestion;
mod values;

/// HubSpot's code for a required value that is missing.
const REQUIRED: &str = "MISSING_REQUIRED_PROPERTY";
/// HubSpot's code for a property that cannot be set.
const READ_ONLY: &str = "READ_ONLY_VALUE";

/// The end of every refusal from here. `CourseError::was_sent` does not depend on it.
const NOT_ASKED: &str = "checked against the account's property definitions; not sent to HubSpot";

/// The properties of courses in the account, as far as they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountProperties {
    properties: BTreeMap<String, PropertyDefinition>,
    /// The names of properties for sensitive data. Their values are not checked.
    sensitive: BTreeSet<String>,
    /// Every list was read, so a name in none of them does not exist.
    is_complete: bool,
}

/// A reason why HubSpot would refuse a course.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyProblem {
    /// The name of the property.
    pub property: String,
    /// HubSpot's code.
    pub code: &'static str,
    /// What is wrong, in HubSpot's words where they are known.
    pub message: String,
}

impl AccountProperties {
    /// Combines an account's lists: the ordinary one, and those of sensitive properties where they were read.
    #[must_use]
    pub fn new(
        ordinary: PropertyList,
        sensitive: Option<PropertyList>,
        highly_sensitive: Option<PropertyList>,
    ) -> Self {
        let lists = [Some(&ordinary), sensitive.as_ref(), highly_sensitive.as_ref()];
        // Every course has this property. A list without it is not the list of the courses' properties.
        let is_complete = ordinary.properties.contains_key(COURSE_NAME)
            && lists.iter().all(|list| list.is_some_and(|list| list.is_complete));
        let sensitive = [sensitive, highly_sensitive].into_iter().flatten();
        let sensitive = sensitive.flat_map(|list| list.properties.into_keys()).collect();
        Self { properties: ordinary.properties, sensitive, is_complete }
    }

    /// The definition of this property, unless it is a sensitive one.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&PropertyDefinition> {
        self.properties.get(name)
    }

    /// Whether a course sends a property that is in none of the lists read so far, so that the lists of sensitive
    /// properties are needed.
    #[must_use]
    pub fn needs_sensitive_lists(&self, course: &Properties, unique: Option<&str>) -> bool {
        sent(course, unique).any(|(name, _)| self.is_unlisted(name))
    }

    /// The problems of a course's values. The property `unique` carries the key and is not checked here: a problem with
    /// it concerns the account, not one course.
    #[must_use]
    pub fn problems(&self, course: &Properties, unique: Option<&str>) -> Vec<PropertyProblem> {
        sent(course, unique).filter_map(|(name, value)| self.problem(name, &value)).collect()
    }

    /// The problems of creating a course: those of its values, and a required property that it lacks.
    #[must_use]
    pub fn creation_problems(&self, course: &Properties, unique: Option<&str>) -> Vec<PropertyProblem> {
        let mut problems = self.problems(course, unique);
        problems.extend(missing_name(course, unique));
        problems
    }

    fn problem(&self, name: &str, value: &str) -> Option<PropertyProblem> {
        let (code, message) = match self.properties.get(name) {
            // A property that only an unread list may contain is left to HubSpot.
            None if !self.is_complete || !self.is_unlisted(name) => return None,
            None => {
                let hint = self.suggested_name(name).map(|near| format!("; did you mean {near:?}?"));
                let message = format!("Property {name:?} does not exist{}", hint.unwrap_or_default());
                (CourseError::PROPERTY_MISSING, message)
            }
            // HubSpot ignores an empty value.
            Some(_) if value.is_empty() => return None,
            Some(definition) if definition.is_read_only => {
                (READ_ONLY, format!("{name:?} is a read only property; its value cannot be set"))
            }
            Some(definition) => values::problem(name, definition, value)?,
        };
        Some(PropertyProblem { property: name.to_owned(), code, message })
    }

    /// Whether no list contains this name. HubSpot ignores the letter case of names.
    fn is_unlisted(&self, name: &str) -> bool {
        let mut listed = self.properties.keys().chain(&self.sensitive);
        !self.properties.contains_key(name) && !listed.any(|it| it.eq_ignore_ascii_case(name.trim()))
    }

    fn suggested_name(&self, name: &str) -> Option<&str> {
        let settable = self.properties.iter().filter(|(_, definition)| !definition.is_read_only);
        suggestion::closest(name, settable.map(|(name, _)| name.as_str()))
    }
}

/// The property that HubSpot requires of every course, where a course lacks it.
#[must_use]
pub fn missing_name(course: &Properties, unique: Option<&str>) -> Option<PropertyProblem> {
    let has_name =
        unique == Some(COURSE_NAME) || course.get(COURSE_NAME).is_some_and(|name| !name.trim().is_empty());
    let message = "HubSpot requires hs_course_name of every course".to_owned();
    (!has_name).then(|| PropertyProblem { property: COURSE_NAME.to_owned(), code: REQUIRED, message })
}

/// The properties that a course sends, without its key.
fn sent<'a>(
    course: &'a Properties,
    unique: Option<&'a str>,
) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
    course.sent_values().filter(move |(name, _)| Some(*name) != unique)
}

/// The error of a course that HubSpot would refuse, as HubSpot would report it; `None` where there is no problem.
#[must_use]
pub fn refusal(problems: &[PropertyProblem], now: Timestamp) -> Option<CourseError> {
    let first = problems.first()?;
    let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    Some(CourseError {
        code: Some(first.code.to_owned()),
        property: Some(clip(&first.property, 255)),
        ..CourseError::new(Category::Validation, &format!("{} ({NOT_ASKED})", messages.join("; ")), now)
    })
}

#[cfg(test)]
mod tests;
