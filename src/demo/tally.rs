//! What the demo did, counted. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::course::Status;
use crate::outbox::audit::Audited;
use crate::simulator::{Operation, Summary};

/// The figures of the closing table.
#[derive(Debug)]
pub(super) struct Tally {
    /// Courses in the outbox.
    pub courses: usize,
    /// Those that HubSpot holds, created by the daemon.
    pub created: usize,
    /// Those that another system had made.
    pub adopted: usize,
    /// Those that HubSpot refused.
    pub failed: usize,
    /// What the simulator saw.
    pub seen: Summary,
    /// From the first request to the last answer.
    pub took: Duration,
    /// The length of the quota's window.
    pub window: Duration,
}

impl Tally {
    /// Counts. `made_elsewhere` holds the ids of the records that were there before.
    pub(super) fn of(
        rows: &[Audited],
        made_elsewhere: &BTreeSet<String>,
        seen: &Summary,
        took: Duration,
        window: Duration,
    ) -> Self {
        let with = |status| rows.iter().filter(move |row| row.status == status);
        let was_there =
            |row: &&Audited| row.hubspot_id.as_ref().is_some_and(|id| made_elsewhere.contains(id));
        let adopted = with(Status::Synced).filter(was_there).count();
        Self {
            courses: rows.len(),
            created: with(Status::Synced).count() - adopted,
            adopted,
            failed: with(Status::Failed).count(),
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

/// A reason for which courses failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reason {
    /// How many.
    pub courses: usize,
    /// HubSpot's code, or the category where it gave none.
    pub code: String,
    /// The property it named.
    pub property: String,
    /// HubSpot's own words, or ours where it was not asked.
    pub message: String,
    /// The key of one of them.
    pub example: String,
}

/// Why courses failed, the most frequent reason first.
pub(super) fn reasons(rows: &[Audited]) -> Vec<Reason> {
    let mut groups: BTreeMap<(String, String), Reason> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.status == Status::Failed) {
        let Some(error) = &row.error else { continue };
        let code = error.code.clone().unwrap_or_else(|| error.category.as_str().to_owned());
        let property = error.property.clone().unwrap_or_default();
        let new = || Reason {
            courses: 0,
            code: code.clone(),
            property: property.clone(),
            message: words(&error.message),
            example: row.key.clone(),
        };
        groups.entry((code.clone(), property.clone())).or_insert_with(new).courses += 1;
    }
    let mut reasons: Vec<Reason> = groups.into_values().collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.courses));
    reasons
}

/// The sentence for people within a message that embeds a list of findings as JSON.
fn words(message: &str) -> String {
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

    #[test]
    fn reasons_are_grouped_by_code_and_property() {
        let failed = |key: &str, code: Option<&str>, property: Option<&str>| {
            let mut error = CourseError::new(Category::Validation, key, Timestamp::UNIX_EPOCH);
            error.code = code.map(str::to_owned);
            error.property = property.map(str::to_owned);
            Audited { key: key.to_owned(), status: Status::Failed, hubspot_id: None, error: Some(error) }
        };
        let rows = [
            failed("A", Some("INVALID_OPTION"), Some("online")),
            failed("B", None, None),
            failed("C", None, None),
            failed("D", Some("INVALID_OPTION"), Some("term")),
        ];
        let reasons = reasons(&rows);
        let short: Vec<_> =
            reasons.iter().map(|it| (it.courses, it.code.as_str(), it.example.as_str())).collect();
        assert_eq!(
            short,
            [(2, "VALIDATION_ERROR", "B"), (1, "INVALID_OPTION", "A"), (1, "INVALID_OPTION", "D")]
        );
    }

    #[test]
    fn the_words_are_those_for_people() {
        let embedded = r#"Property values were not valid: [{"isValid":false,"message":"x is not a number"}]"#;
        assert_eq!(words(embedded), "x is not a number");
        for whole in ["Some required properties were not set.", "not [a list", ""] {
            assert_eq!(words(whole), whole);
        }
    }
}
