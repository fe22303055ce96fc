//! The proof at the end: the outbox against what the simulator holds. Pure.

use std::collections::{HashMap, HashSet};

use super::progress::{count, counted};
use crate::course::Status;
use crate::outbox::audit::Audited;
use crate::simulator::Record;

/// What was found. Good only where everything but `records` is 0.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Check {
    /// Records in HubSpot.
    pub records: usize,
    /// Courses with more than one record.
    pub duplicates: usize,
    /// Synced courses whose record is not there, or is another than their row says.
    pub lost: usize,
    /// Records of no synced course.
    pub strangers: usize,
    /// Courses that are neither synced nor failed.
    pub unfinished: usize,
}

/// Holds every row against the records that carry its key in the property `unique`, and the other way
/// round.
pub(super) fn check(rows: &[Audited], records: &[Record], unique: &str) -> Check {
    let live: Vec<&Record> = records.iter().filter(|record| !record.archived).collect();
    let mut by_key: HashMap<&str, Vec<u64>> = HashMap::new();
    for record in &live {
        if let Some(key) = record.properties.get(unique) {
            by_key.entry(key).or_default().push(record.id);
        }
    }
    let mut check = Check { records: live.len(), ..Check::default() };
    let mut synced = HashSet::new();
    for row in rows {
        let ids = by_key.get(row.key.as_str()).map(Vec::as_slice).unwrap_or_default();
        check.duplicates += usize::from(ids.len() > 1);
        match row.status {
            Status::Synced => {
                synced.insert(row.key.as_str());
                let is_there = ids.iter().any(|id| row.hubspot_id.as_ref() == Some(&id.to_string()));
                check.lost += usize::from(!is_there);
            }
            Status::Failed => {}
            Status::Pending | Status::InFlight | Status::Unconfirmed => check.unfinished += 1,
        }
    }
    let is_stranger =
        |record: &&&Record| record.properties.get(unique).is_none_or(|key| !synced.contains(key.as_str()));
    check.strangers = live.iter().filter(is_stranger).count();
    check
}

impl Check {
    /// Whether the promise was kept.
    pub(super) fn is_good(&self) -> bool {
        *self == Self { records: self.records, ..Self::default() }
    }

    /// One line for a person.
    pub(super) fn line(&self) -> String {
        if self.is_good() {
            return format!(
                "Checked: {} in HubSpot, no duplicates, none lost.",
                counted(self.records, "record")
            );
        }
        let findings = [
            (self.duplicates, "with more than one record"),
            (self.lost, "without the record of their row"),
            (self.unfinished, "not finished"),
        ];
        let mut findings: Vec<String> = findings
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| format!("{} {what}", counted(*number, "course")))
            .collect();
        if self.strangers > 0 {
            findings.push(format!("{} of no synced course", counted(self.strangers, "record")));
        }
        format!("CHECK FAILED: of {} records in HubSpot: {}.", count(self.records), findings.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn row(key: &str, status: Status, hubspot_id: Option<&str>) -> Audited {
        Audited { key: key.to_owned(), status, hubspot_id: hubspot_id.map(str::to_owned), error: None }
    }

    fn record(id: u64, key: &str) -> Record {
        Record {
            id,
            properties: [("course_key".to_owned(), key.to_owned())].into(),
            associations: Vec::new(),
            trace_id: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            archived: false,
            created_us: 0,
        }
    }

    #[test]
    fn each_synced_course_has_its_record_and_no_other_has_one() {
        use Status::{Failed, Pending, Synced};
        let good = [row("A", Synced, Some("1")), row("B", Failed, None)];
        let cases = [
            (&good[..], vec![record(1, "A")], Check { records: 1, ..Check::default() }),
            (&good[..], vec![], Check { lost: 1, ..Check::default() }),
            (&good[..], vec![record(2, "A")], Check { records: 1, lost: 1, ..Check::default() }),
            (
                &good[..],
                vec![record(1, "A"), record(2, "A")],
                Check { records: 2, duplicates: 1, ..Check::default() },
            ),
            (
                &good[..],
                vec![record(1, "A"), record(2, "B")],
                Check { records: 2, strangers: 1, ..Check::default() },
            ),
            (&[row("C", Pending, None)], vec![], Check { unfinished: 1, ..Check::default() }),
        ];
        for (rows, records, expected) in cases {
            let found = check(rows, &records, "course_key");
            assert_eq!(found, expected, "{records:?}");
            assert_eq!(found.is_good(), found.line().starts_with("Checked"), "{}", found.line());
        }
    }
}
