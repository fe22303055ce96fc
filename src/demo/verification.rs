//! The final verification: compares the outbox with the simulator's records. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use simulator::Record;

use super::progress::{count, counted};
use crate::course::Status;
use crate::outbox::ops::audit::AuditedCourse;

/// The differences found. All counts except `records` must be 0.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verification {
    /// Records in HubSpot.
    pub records: usize,
    /// Courses with more than one record.
    pub duplicates: usize,
    /// Synced courses whose record is missing or has another ID than the row.
    pub lost: usize,
    /// Records that belong to no synced course.
    pub unexpected: usize,
    /// Changed courses whose record does not hold the change.
    pub stale: usize,
    /// Courses that are neither synced nor failed nor archived.
    pub unfinished: usize,
}

/// Compares every row with the records that have its key in the property `unique`, and every record with the rows. `names`: the
/// names that the catalogue has changed, by key.
pub(super) fn verify(
    rows: &[AuditedCourse],
    records: &[Record],
    unique: &str,
    names: &BTreeMap<String, String>,
) -> Verification {
    let live: Vec<&Record> = records.iter().filter(|record| !record.archived).collect();
    let mut by_key: HashMap<&str, Vec<u64>> = HashMap::new();
    for record in &live {
        if let Some(key) = record.properties.get(unique) {
            by_key.entry(key).or_default().push(record.id);
        }
    }
    let mut found = Verification { records: live.len(), ..Verification::default() };
    let mut synced = HashSet::new();
    for row in rows {
        let ids = by_key.get(row.key.as_str()).map(Vec::as_slice).unwrap_or_default();
        found.duplicates += usize::from(ids.len() > 1);
        match row.status {
            Status::Synced => {
                synced.insert(row.key.as_str());
                let exists = ids.iter().any(|id| row.hubspot_id.as_ref() == Some(&id.to_string()));
                found.lost += usize::from(!exists);
            }
            Status::Failed | Status::Archived => {}
            Status::Pending | Status::InFlight | Status::Unconfirmed => found.unfinished += 1,
        }
    }
    let is_unexpected =
        |record: &&&Record| record.properties.get(unique).is_none_or(|key| !synced.contains(key.as_str()));
    let is_stale = |record: &&&Record| {
        let name = record.properties.get(unique).and_then(|key| names.get(key));
        name.is_some_and(|name| {
            let description = record.properties.get("hs_course_description");
            record.properties.get("hs_course_name") != Some(name)
                || description.is_some_and(|text| !text.is_empty())
        })
    };
    found.stale = live.iter().filter(is_stale).count();
    found.unexpected = live.iter().filter(is_unexpected).count();
    found
}

impl Verification {
    /// Whether no difference was found.
    pub(super) fn is_ok(&self) -> bool {
        *self == Self { records: self.records, ..Self::default() }
    }

    /// The result as one line.
    pub(super) fn line(&self) -> String {
        if self.is_ok() {
            return format!(
                "Checked: {} in HubSpot, no duplicates, none lost, every change in place.",
                counted(self.records, "record")
            );
        }
        let findings = [
            (self.duplicates, "with more than one record"),
            (self.lost, "without their record"),
            (self.stale, "without their last change"),
            (self.unfinished, "not finished"),
        ];
        let mut findings: Vec<String> = findings
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| format!("{} {what}", counted(*number, "course")))
            .collect();
        if self.unexpected > 0 {
            findings.push(format!("{} that belong to no synced course", counted(self.unexpected, "record")));
        }
        format!("CHECK FAILED: {} records in HubSpot, but {}.", count(self.records), findings.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn row(key: &str, status: Status, hubspot_id: Option<&str>) -> AuditedCourse {
        AuditedCourse { key: key.to_owned(), status, hubspot_id: hubspot_id.map(str::to_owned), error: None }
    }

    fn record(id: u64, key: &str) -> Record {
        Record {
            id,
            properties: [("course_key", key), ("hs_course_name", "New")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            associations: Vec::new(),
            trace_id: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            archived: false,
            created_us: 0,
        }
    }

    #[test]
    fn every_synced_course_has_exactly_one_record_and_other_courses_have_none() {
        use Status::{Failed, Pending, Synced};
        let good = [row("A", Synced, Some("1")), row("B", Failed, None)];
        let cases = [
            (&good[..], vec![record(1, "A")], Verification { records: 1, ..Verification::default() }),
            (&good[..], vec![], Verification { lost: 1, ..Verification::default() }),
            (
                &good[..],
                vec![record(2, "A")],
                Verification { records: 1, lost: 1, ..Verification::default() },
            ),
            (
                &good[..],
                vec![record(1, "A"), record(2, "A")],
                Verification { records: 2, duplicates: 1, ..Verification::default() },
            ),
            (
                &good[..],
                vec![record(1, "A"), record(2, "B")],
                Verification { records: 2, unexpected: 1, ..Verification::default() },
            ),
            (
                &good[..],
                vec![Record {
                    properties: [("course_key".to_owned(), "A".to_owned())].into(),
                    ..record(1, "A")
                }],
                Verification { records: 1, stale: 1, ..Verification::default() },
            ),
            (&[row("C", Pending, None)], vec![], Verification { unfinished: 1, ..Verification::default() }),
        ];
        let names = [("A".to_owned(), "New".to_owned())].into();
        for (rows, records, expected) in cases {
            let found = verify(rows, &records, "course_key", &names);
            assert_eq!(found, expected, "{records:?}");
            assert_eq!(found.is_ok(), found.line().starts_with("Checked"), "{}", found.line());
        }
    }
}
