//! How HubSpot may differ from the outbox: the classes of differences, and what several audits together show. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

/// The class of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftClass {
    /// The record is neither live nor in the recycle bin.
    Missing,
    /// The record is in the recycle bin.
    Archived,
    /// The record was merged into another one.
    Merged,
    /// The record has another key, or none.
    KeyEdited,
    /// The record has other values than the row.
    ValuesEdited,
    /// The course is withdrawn, but its record is live again.
    Restored,
    /// A record has the key of a row that has another record.
    DuplicateKey,
    /// A record has a key that no row has, or the key of a row that has no record.
    Stranger,
    /// HubSpot does not show whether the record differs, or the row cannot be read.
    Unclear,
}

impl DriftClass {
    /// Every class.
    pub const ALL: [Self; 9] = [
        Self::Missing,
        Self::Archived,
        Self::Merged,
        Self::KeyEdited,
        Self::ValuesEdited,
        Self::Restored,
        Self::DuplicateKey,
        Self::Stranger,
        Self::Unclear,
    ];

    /// Its name in the output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Archived => "archived",
            Self::Merged => "merged",
            Self::KeyEdited => "key_edited",
            Self::ValuesEdited => "values_edited",
            Self::Restored => "restored",
            Self::DuplicateKey => "duplicate_key",
            Self::Stranger => "stranger",
            Self::Unclear => "unclear",
        }
    }

    /// What it means, for the summary.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Missing => "the record was deleted permanently, or never existed",
            Self::Archived => "the record is in HubSpot's recycle bin",
            Self::Merged => "the record was merged into another one",
            Self::KeyEdited => "the key was changed or removed in HubSpot",
            Self::ValuesEdited => "values were changed in HubSpot",
            Self::Restored => "the course is withdrawn, but its record is live again",
            Self::DuplicateKey => "a second record has the key of a course",
            Self::Stranger => "a record has a key that belongs to no synced course",
            Self::Unclear => "HubSpot does not show the record",
        }
    }

    /// The class with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }
}

/// A number for each class; a class that is absent has none.
pub type DriftCounts = BTreeMap<DriftClass, u64>;

/// The result of one audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditResult {
    /// When it began. For an audit that was continued: when its first part began.
    pub started_at: Timestamp,
    /// Where it stopped; `None`: it came to the end.
    pub stopped_at: Option<String>,
    /// It covers all courses and all records.
    pub is_complete: bool,
    /// Courses that were read.
    pub courses: u64,
    /// Records that were listed.
    pub records: u64,
    /// The differences that were found.
    pub differences: DriftCounts,
    /// Those of them that were repaired.
    pub repaired: DriftCounts,
}

impl AuditResult {
    /// The differences that are left.
    #[must_use]
    pub fn left(&self) -> DriftCounts {
        let left = |(class, found): (&DriftClass, &u64)| {
            let repaired = self.repaired.get(class).copied().unwrap_or_default();
            (*class, found.saturating_sub(repaired))
        };
        self.differences.iter().map(left).filter(|(_, count)| *count > 0).collect()
    }

    /// This audit as the continuation of `first`, which stopped where this one began.
    #[must_use]
    pub fn continuing(self, first: &Self) -> Self {
        let is_at_end = self.stopped_at.is_none();
        Self {
            started_at: first.started_at,
            stopped_at: self.stopped_at,
            is_complete: is_at_end,
            courses: first.courses.saturating_add(self.courses),
            records: first.records.saturating_add(self.records),
            differences: sum(self.differences, &first.differences),
            repaired: sum(self.repaired, &first.repaired),
        }
    }
}

fn sum(mut counts: DriftCounts, more: &DriftCounts) -> DriftCounts {
    for (class, count) in more {
        let total = counts.entry(*class).or_default();
        *total = total.saturating_add(*count);
    }
    counts
}

/// What the last audits showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSummary {
    /// When the last audit ended or stopped.
    pub ended_at: Timestamp,
    /// The last audit.
    pub last: AuditResult,
    /// When the last complete audit ended.
    pub completed_at: Option<Timestamp>,
    /// The differences that are left: those that the last complete audit found and did not repair, or more if an audit since
    /// then found more before it stopped.
    pub left: DriftCounts,
}

impl AuditSummary {
    /// Summarises the last complete audit and those since, each with its end, the oldest first. `None`: there were none.
    #[must_use]
    pub fn of(audits: Vec<(Timestamp, AuditResult)>) -> Option<Self> {
        let mut summary: Option<Self> = None;
        for (ended_at, last) in audits {
            let before = summary.filter(|_| !last.is_complete);
            let mut left = last.left();
            let completed_at = match before {
                Some(before) => {
                    for (class, count) in before.left {
                        let most = left.entry(class).or_default();
                        *most = count.max(*most);
                    }
                    before.completed_at
                }
                None => last.is_complete.then_some(ended_at),
            };
            summary = Some(Self { ended_at, last, completed_at, left });
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[(DriftClass, u64)]) -> DriftCounts {
        counts.iter().copied().collect()
    }

    fn audit(
        stopped_at: Option<&str>,
        found: &[(DriftClass, u64)],
        repaired: &[(DriftClass, u64)],
    ) -> AuditResult {
        AuditResult {
            started_at: Timestamp::UNIX_EPOCH,
            stopped_at: stopped_at.map(str::to_owned),
            is_complete: stopped_at.is_none(),
            courses: 10,
            records: 5,
            differences: counts(found),
            repaired: counts(repaired),
        }
    }

    #[test]
    fn a_class_is_read_by_its_name() {
        for class in DriftClass::ALL {
            assert_eq!(DriftClass::parse(class.as_str()), Some(class));
        }
        assert_eq!(DriftClass::parse("of a newer version"), None);
    }

    #[test]
    fn a_complete_audit_replaces_what_was_known_and_a_stopped_one_only_adds() {
        use DriftClass::{KeyEdited, Missing, ValuesEdited};
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let complete = (at(1), audit(None, &[(ValuesEdited, 5), (KeyEdited, 2)], &[(ValuesEdited, 4)]));
        let stopped = (at(2), audit(Some("row:7"), &[(ValuesEdited, 3), (Missing, 1)], &[]));
        let clean = (at(3), audit(None, &[], &[]));
        let cases = [
            (vec![complete.clone()], vec![(KeyEdited, 2), (ValuesEdited, 1)], Some(1)),
            (
                vec![complete.clone(), stopped.clone()],
                vec![(KeyEdited, 2), (Missing, 1), (ValuesEdited, 3)],
                Some(1),
            ),
            (vec![stopped.clone()], vec![(Missing, 1), (ValuesEdited, 3)], None),
            (vec![complete, stopped, clean], vec![], Some(3)),
        ];
        assert_eq!(AuditSummary::of(Vec::new()), None);
        for (audits, left, completed_at) in cases {
            let summary = AuditSummary::of(audits).unwrap();
            assert_eq!((summary.left, summary.completed_at), (counts(&left), completed_at.map(at)));
        }
    }

    #[test]
    fn the_parts_of_a_continued_audit_are_one_audit() {
        use DriftClass::{Archived, ValuesEdited};
        let first = audit(Some("row:7"), &[(ValuesEdited, 1)], &[(ValuesEdited, 1)]);
        let second =
            AuditResult { is_complete: false, ..audit(None, &[(ValuesEdited, 2), (Archived, 1)], &[]) };
        let whole = second.continuing(&first);
        assert!(whole.is_complete);
        assert_eq!((whole.courses, whole.records), (20, 10));
        assert_eq!(whole.left(), counts(&[(ValuesEdited, 2), (Archived, 1)]));
        let stopped_again = audit(Some("records"), &[], &[]).continuing(&first);
        assert!(!stopped_again.is_complete);
    }
}
