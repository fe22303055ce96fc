//! How a row and its record differ, and what repairs it. Pure.

use jiff::Timestamp;

use crate::course::{HeldProperties, HubSpotId, Patch, Status, fold_key};
use crate::outbox::ops::drift::{KeyedRow, Repair, SettledRow};
use crate::pipeline::reconcile::record_errors::{record_gone, record_merged};
use crate::pipeline::reconcile::record_meaning::{
    RecordFinding, RecordValues, Whereabouts, changed_values, whereabouts,
};
use crate::policy::drift::DriftClass;

/// A difference between a row and its record.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Drift {
    Missing,
    Archived,
    Merged(HubSpotId),
    /// The values that differ, without the key.
    KeyEdited {
        key: String,
        values: Patch,
    },
    /// The values that differ, as the record holds them.
    ValuesEdited(Patch),
    Restored {
        /// The record still has the course's key.
        is_ours: bool,
    },
    Unclear,
}

/// Compares a row with what HubSpot shows of its record; `None`: nothing differs. `archived` is what the recycle bin shows,
/// needed only where a record that should be live is not.
pub(super) fn compare(
    row: &SettledRow,
    live: RecordFinding,
    archived: Option<RecordFinding>,
    unique: Option<&str>,
) -> Option<Drift> {
    if row.is_withdrawn {
        return match live {
            RecordFinding::Present(values) => {
                Some(Drift::Restored { is_ours: has_key(row, &values, unique) })
            }
            RecordFinding::Absent | RecordFinding::Merged(_) => None,
            RecordFinding::Inconclusive => Some(Drift::Unclear),
        };
    }
    match whereabouts(live, archived) {
        Whereabouts::Live(values) => compare_values(row, &values, unique),
        Whereabouts::Merged(survivor) => Some(Drift::Merged(survivor)),
        Whereabouts::InRecycleBin => Some(Drift::Archived),
        Whereabouts::Gone => Some(Drift::Missing),
        Whereabouts::Unknown(_) => Some(Drift::Unclear),
    }
}

fn compare_values(row: &SettledRow, values: &RecordValues, unique: Option<&str>) -> Option<Drift> {
    let Some(properties) = &row.properties else { return Some(Drift::Unclear) };
    let changed = changed_values(properties, unique, values);
    if !has_key(row, values, unique) {
        let key = unique.and_then(|name| values.get(name)).cloned().unwrap_or_default();
        return Some(Drift::KeyEdited { key, values: changed });
    }
    (!changed.is_empty()).then_some(Drift::ValuesEdited(changed))
}

/// Whether the record has the course's key, in HubSpot's spelling. Without a unique property there is none.
fn has_key(row: &SettledRow, values: &RecordValues, unique: Option<&str>) -> bool {
    unique.is_none_or(|name| values.get(name).is_some_and(|key| fold_key(key) == fold_key(&row.key)))
}

impl Drift {
    pub(super) fn class(&self) -> DriftClass {
        match self {
            Self::Missing => DriftClass::Missing,
            Self::Archived => DriftClass::Archived,
            Self::Merged(_) => DriftClass::Merged,
            Self::KeyEdited { .. } => DriftClass::KeyEdited,
            Self::ValuesEdited(_) => DriftClass::ValuesEdited,
            Self::Restored { .. } => DriftClass::Restored,
            Self::Unclear => DriftClass::Unclear,
        }
    }

    /// The values of the record that differ.
    pub(super) fn values(&self) -> Option<&Patch> {
        match self {
            Self::KeyEdited { values, .. } | Self::ValuesEdited(values) => Some(values),
            _ => None,
        }
    }

    /// What repairs it; `None`: only an operator can. A record without the course's key is not touched, and none is created.
    pub(super) fn repair(&self, row: &SettledRow, now: Timestamp) -> Option<Repair> {
        let id = row.hubspot_id.as_str();
        match self {
            Self::ValuesEdited(values) => {
                Some(Repair::Update(HeldProperties::of(row.properties.as_ref()?).with(values.clone())))
            }
            Self::Restored { is_ours: true } => Some(Repair::Archive),
            Self::Missing | Self::Archived => Some(Repair::Fail(record_gone(id, now))),
            Self::Merged(survivor) => Some(Repair::Fail(record_merged(id, survivor, now))),
            Self::KeyEdited { .. } | Self::Restored { is_ours: false } | Self::Unclear => None,
        }
    }
}

/// What a record with a key is, by the row with that key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordOrigin {
    /// The record of that row, or one that is explained by the comparison of the rows.
    Known,
    /// It has no business to have this key.
    Drift(DriftClass),
    /// No row has the key. If a row names the record, its key was edited, which the comparison of the rows shows.
    NoRow,
}

/// Classifies a record by the row that has its key. `merged`: the ids that were merged into the record.
pub(super) fn origin(id: &str, merged: Option<&str>, row: Option<&KeyedRow>) -> RecordOrigin {
    let Some(row) = row else { return RecordOrigin::NoRow };
    let is_settled = match row.status {
        Status::Pending | Status::InFlight | Status::Unconfirmed => false,
        Status::Synced | Status::Failed | Status::Archived => true,
    };
    let mut merged = merged.into_iter().flat_map(|merged| merged.split(';')).map(str::trim);
    match row.hubspot_id.as_deref() {
        Some(own) if own == id || merged.any(|merged| merged == own) => RecordOrigin::Known,
        _ if !is_settled => RecordOrigin::Known,
        Some(_) => RecordOrigin::Drift(DriftClass::DuplicateKey),
        None => RecordOrigin::Drift(DriftClass::Stranger),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::course::{Properties, RowId};

    fn row(properties: &str, is_withdrawn: bool) -> SettledRow {
        SettledRow {
            id: RowId(1),
            key: "A-1".to_owned(),
            version: crate::outbox::ops::drift::RowVersion::for_test("1"),
            hubspot_id: HubSpotId::parse("9").unwrap(),
            properties: Properties::parse(serde_json::from_str(properties).unwrap()).ok(),
            is_withdrawn,
            is_settling: false,
        }
    }

    fn present(values: &[(&str, &str)]) -> RecordFinding {
        RecordFinding::Present(values.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    fn patch(values: &[(&str, &str)]) -> Patch {
        values.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn each_difference_has_its_class() {
        use RecordFinding::{Absent, Inconclusive, Merged};
        let survivor = || HubSpotId::parse("10").unwrap();
        let wanted =
            r#"{"name":"Algebra","seats":50,"start":"2026-01-02T00:00:00Z","room":null,"key":"A-1"}"#;
        let same = [
            ("key", "a-1"),
            ("name", " Algebra"),
            ("seats", "50.0"),
            ("start", "1767312000000"),
            ("room", "1"),
        ];
        let edited =
            [("key", "A-1"), ("name", "Logic"), ("seats", ""), ("start", "2026-01-02T00:00:00.000Z")];
        let other_key =
            [("key", "A-2"), ("name", "Algebra"), ("seats", "50"), ("start", "2026-01-02T00:00:00Z")];
        for (live, archived, expected) in [
            (present(&same), None, None),
            (present(&edited), None, Some(Drift::ValuesEdited(patch(&[("name", "Logic"), ("seats", "")])))),
            (present(&other_key), None, Some(Drift::KeyEdited { key: "A-2".into(), values: patch(&[]) })),
            (Merged(survivor()), None, Some(Drift::Merged(survivor()))),
            (Absent, Some(present(&[])), Some(Drift::Archived)),
            (Absent, Some(Absent), Some(Drift::Missing)),
            (Absent, Some(Inconclusive), Some(Drift::Unclear)),
            (Inconclusive, None, Some(Drift::Unclear)),
        ] {
            assert_eq!(
                compare(&row(wanted, false), live.clone(), archived, Some("key")),
                expected,
                "{live:?}"
            );
        }
        for (live, expected) in [
            (present(&same), Some(Drift::Restored { is_ours: true })),
            (present(&other_key), Some(Drift::Restored { is_ours: false })),
            (Absent, None),
            (Merged(survivor()), None),
            (Inconclusive, Some(Drift::Unclear)),
        ] {
            assert_eq!(compare(&row(wanted, true), live.clone(), None, Some("key")), expected, "{live:?}");
        }
        let without_unique = compare(&row(r#"{"name":"x"}"#, false), present(&[("name", "x")]), None, None);
        assert_eq!(without_unique, None);
    }

    #[test]
    fn a_repair_never_creates_a_record_and_never_touches_one_without_the_key() {
        let row = row(r#"{"name":"Algebra","seats":50}"#, false);
        let repair = |drift: Drift| drift.repair(&row, Timestamp::UNIX_EPOCH);
        let Some(Repair::Update(held)) = repair(Drift::ValuesEdited(patch(&[("name", "Logic")]))) else {
            panic!("an update")
        };
        assert_eq!(held.to_json(), serde_json::json!({ "name": "Logic", "seats": "50" }));
        assert_eq!(repair(Drift::Restored { is_ours: true }), Some(Repair::Archive));
        let category = |drift| match repair(drift) {
            Some(Repair::Fail(error)) => error.category.as_str(),
            other => panic!("{other:?}"),
        };
        assert_eq!(category(Drift::Missing), "record_gone");
        assert_eq!(category(Drift::Archived), "record_gone");
        assert_eq!(category(Drift::Merged(HubSpotId::parse("10").unwrap())), "record_merged");
        let left = [
            Drift::KeyEdited { key: String::new(), values: patch(&[("name", "x")]) },
            Drift::Restored { is_ours: false },
            Drift::Unclear,
        ];
        for drift in left {
            assert_eq!(repair(drift), None);
        }
    }

    #[test]
    fn a_record_with_a_key_belongs_to_the_row_that_names_it() {
        use DriftClass::{DuplicateKey, Stranger};
        let row = |status, hubspot_id: Option<&str>| KeyedRow {
            key: "A-1".into(),
            status,
            hubspot_id: hubspot_id.map(str::to_owned),
        };
        for (row, merged, expected) in [
            (None, None, RecordOrigin::NoRow),
            (Some(row(Status::Synced, Some("9"))), None, RecordOrigin::Known),
            (Some(row(Status::Synced, Some("8"))), None, RecordOrigin::Drift(DuplicateKey)),
            (Some(row(Status::Archived, Some("8"))), None, RecordOrigin::Drift(DuplicateKey)),
            // The row's own record was merged into this one: the row shows that.
            (Some(row(Status::Synced, Some("8"))), Some("7; 8"), RecordOrigin::Known),
            (Some(row(Status::Failed, None)), None, RecordOrigin::Drift(Stranger)),
            (Some(row(Status::Archived, None)), None, RecordOrigin::Drift(Stranger)),
            // It may have been created a moment ago.
            (Some(row(Status::Pending, None)), None, RecordOrigin::Known),
            (Some(row(Status::Unconfirmed, None)), None, RecordOrigin::Known),
            (Some(row(Status::Pending, Some("8"))), None, RecordOrigin::Known),
        ] {
            assert_eq!(origin("9", merged, row.as_ref()), expected, "{row:?}");
        }
    }
}
