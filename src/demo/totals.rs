//! The totals of the demo, and its failures by error. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use simulator::{Operation, Summary};

use crate::course::Status;
use crate::outbox::ops::audit::AuditedCourse;

/// The figures of the closing table.
#[derive(Debug)]
pub(super) struct Totals {
    /// Courses in the outbox.
    pub courses: usize,
    /// Courses created by the daemon.
    pub created: usize,
    /// Courses that were in HubSpot before.
    pub adopted: usize,
    /// Courses that the catalogue changed afterwards.
    pub changed: usize,
    /// Courses that the catalogue withdrew afterwards.
    pub withdrawn: usize,
    /// Courses that HubSpot rejected.
    pub failed: usize,
    /// The requests that the simulator received.
    pub seen: Summary,
    /// From the first request to the last response.
    pub took: Duration,
    /// The length of the quota's window.
    pub window: Duration,
}

impl Totals {
    /// `preexisting`: the IDs of the records that existed before the demo.
    pub(super) fn new(
        rows: &[AuditedCourse],
        preexisting: &BTreeSet<String>,
        seen: &Summary,
        took: Duration,
        window: Duration,
    ) -> Self {
        let withdrawn = with_status(rows, Status::Archived).count();
        let adopted = with_status(rows, Status::Synced)
            .chain(with_status(rows, Status::Archived))
            .filter(|row| row.hubspot_id.as_ref().is_some_and(|id| preexisting.contains(id)))
            .count();
        Self {
            courses: rows.len(),
            created: with_status(rows, Status::Synced).count() + withdrawn - adopted,
            adopted,
            changed: 0,
            withdrawn,
            failed: with_status(rows, Status::Failed).count(),
            seen: seen.clone(),
            took,
            window,
        }
    }

    /// Requests of one operation.
    pub(super) fn requests(&self, operation: Operation) -> usize {
        self.seen.by_operation.get(&operation).copied().unwrap_or_default()
    }
}

/// Courses that failed with the same error.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FailureGroup {
    /// Number of courses.
    pub courses: usize,
    /// HubSpot's error code, or the category if it gave none.
    pub code: String,
    /// The property that the error names.
    pub property: String,
    /// The error message.
    pub message: String,
    /// The key of one of them.
    pub example: String,
}

fn with_status(rows: &[AuditedCourse], status: Status) -> impl Iterator<Item = &AuditedCourse> {
    rows.iter().filter(move |row| row.status == status)
}

/// Groups failed courses by error, the most frequent error first.
pub(super) fn group_failures(rows: &[AuditedCourse]) -> Vec<FailureGroup> {
    let mut groups: BTreeMap<(String, String), FailureGroup> = BTreeMap::new();
    for row in with_status(rows, Status::Failed) {
        let Some(error) = &row.error else { continue };
        let code = error.code.clone().unwrap_or_else(|| error.category.as_str().to_owned());
        let property = error.property.clone().unwrap_or_default();
        let group = groups.entry((code.clone(), property.clone())).or_insert_with(|| FailureGroup {
            courses: 0,
            code,
            property,
            message: readable_message(&error.message),
            example: row.key.clone(),
        });
        group.courses += 1;
    }
    let mut failures: Vec<FailureGroup> = groups.into_values().collect();
    failures.sort_by_key(|failure| std::cmp::Reverse(failure.courses));
    failures
}

/// HubSpot embeds a list of errors as JSON in some messages; this returns the first one's text.
fn readable_message(message: &str) -> String {
    let findings = message.find('[').and_then(|at| message.get(at..));
    let findings = findings.and_then(|list| serde_json::from_str::<Vec<Value>>(list).ok());
    let first = findings.as_ref().and_then(|list| list.first()?.get("message")?.as_str());
    first.unwrap_or(message).to_owned()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::course::{Category, CourseError};

    fn failed(key: &str, code: Option<&str>, property: Option<&str>) -> AuditedCourse {
        let mut error = CourseError::new(Category::Validation, key, Timestamp::UNIX_EPOCH);
        error.code = code.map(str::to_owned);
        error.property = property.map(str::to_owned);
        AuditedCourse { key: key.to_owned(), status: Status::Failed, hubspot_id: None, error: Some(error) }
    }

    #[test]
    fn failures_are_grouped_by_code_and_property() {
        let rows = [
            failed("A", Some("INVALID_OPTION"), Some("online")),
            failed("B", None, None),
            failed("C", None, None),
            failed("D", Some("INVALID_OPTION"), Some("term")),
        ];
        let failures = group_failures(&rows);
        let short: Vec<_> =
            failures.iter().map(|it| (it.courses, it.code.as_str(), it.example.as_str())).collect();
        assert_eq!(
            short,
            [(2, "VALIDATION_ERROR", "B"), (1, "INVALID_OPTION", "A"), (1, "INVALID_OPTION", "D")]
        );
    }

    #[test]
    fn embedded_error_text_is_extracted() {
        let embedded = r#"Property values were not valid: [{"isValid":false,"message":"x is not a number"}]"#;
        assert_eq!(readable_message(embedded), "x is not a number");
        for whole in ["Some required properties were not set.", "not [a list", ""] {
            assert_eq!(readable_message(whole), whole);
        }
    }
}
