//! What is known of the HubSpot account: which courses it would refuse. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::hubspot::api::request::COURSE_NAME;
use crate::outbox::ops::enqueue::NewCourse;
use crate::pipeline::batch::reason_not_to_send;
use crate::policy::properties::{AccountProperties, PropertyProblem, missing_name};

/// The code of a course that is never sent.
const INVALID_ROW: &str = "INVALID_ROW";

/// The account that courses are checked against.
#[derive(Debug, Clone, Default)]
pub struct AccountCheck {
    /// `hubspot.unique_property`.
    pub unique: Option<String>,
    /// The account's properties; `None` if they were not read.
    pub properties: Option<AccountProperties>,
}

impl AccountCheck {
    /// Whether HubSpot would refuse to create the course, because it has no name.
    pub(super) fn lacks_name(&self, course: &NewCourse) -> bool {
        course.archived != Some(true) && missing_name(&course.properties, self.unique.as_deref()).is_some()
    }

    /// Why HubSpot would refuse to create the course, as far as the account's properties show.
    pub(super) fn problems(&self, course: &NewCourse) -> Vec<PropertyProblem> {
        let unique = self.unique.as_deref();
        let Some(properties) = self.properties.as_ref().filter(|_| course.archived != Some(true)) else {
            return Vec::new();
        };
        let mut problems = properties.creation_problems(&course.properties, unique);
        problems.extend(reason_not_to_send(&course.key, &course.properties, unique).map(|message| {
            let property = unique.unwrap_or(COURSE_NAME).to_owned();
            PropertyProblem { property, code: INVALID_ROW, message }
        }));
        problems
    }
}

/// What HubSpot would refuse.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ExpectedRefusals {
    /// The number of courses.
    pub courses: u64,
    /// The kinds of problems. A course may have several.
    #[serde(serialize_with = "serialize_values")]
    pub problems: BTreeMap<(String, &'static str), ExpectedRefusal>,
}

/// One kind of problem, with the first course that has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExpectedRefusal {
    /// HubSpot's code.
    pub code: &'static str,
    /// The name of the property.
    pub property: String,
    /// The number of courses that have the problem.
    pub count: u64,
    /// The line of the first one.
    pub line: u64,
    /// Its key.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

fn serialize_values<S: serde::Serializer>(
    problems: &BTreeMap<(String, &'static str), ExpectedRefusal>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(problems.values())
}

impl ExpectedRefusals {
    /// Adds the problems of a course, if it has any.
    pub(super) fn add(&mut self, line: u64, key: &str, problems: Vec<PropertyProblem>) {
        if problems.is_empty() {
            return;
        }
        self.courses += 1;
        for PropertyProblem { property, code, message } in problems {
            let first = || ExpectedRefusal {
                code,
                property: property.clone(),
                count: 0,
                line,
                key: key.to_owned(),
                message,
            };
            self.problems.entry((property.clone(), code)).or_insert_with(first).count += 1;
        }
    }
}
