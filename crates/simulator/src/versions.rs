//! The ledger: what happened to each record, when, and by which request. Tests compare it with what the client
//! believes. Touches nothing else.

use std::collections::{BTreeMap, HashMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;

/// Maximum number of versions; the oldest are removed first.
const MAX_VERSIONS: usize = 200_000;
/// Maximum size of all values in the ledger, in bytes; the oldest versions are removed first.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// One change of a record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Version {
    /// Number of the change, from 0 in the order in which the changes took effect, for all records.
    pub seq: u64,
    /// The record.
    pub record: u64,
    /// Number of the change for this record, from 1. If the first version in the ledger has a higher number, older
    /// ones were removed.
    pub number: u64,
    /// `seq` of the request in the journal; `None`: an action of a user, or of HubSpot itself.
    pub request: Option<u64>,
    /// When it took effect.
    #[serde(serialize_with = "super::journal::as_iso")]
    pub at: Timestamp,
    /// The same, in microseconds since the simulator's start.
    pub at_us: u64,
    /// What happened.
    pub change: Change,
    /// The values that were set, as they are stored; an empty value clears the property.
    pub properties: BTreeMap<String, String>,
}

/// What happened to a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was created.
    Created,
    /// At least one value changed.
    Updated,
    /// An update set the values that the record had already.
    Unchanged,
    /// HubSpot moved the modification date; no value changed.
    Touched,
    /// It was moved to the recycle bin.
    Archived,
    /// A user restored it from the recycle bin.
    Restored,
    /// It was merged into this record and does not exist any more.
    MergedInto(u64),
    /// These records were merged into it.
    MergedFrom(Vec<u64>),
    /// It was deleted permanently.
    Purged,
}

impl Change {
    /// Its name in the control API.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Touched => "touched",
            Self::Archived => "archived",
            Self::Restored => "restored",
            Self::MergedInto(_) => "merged_into",
            Self::MergedFrom(_) => "merged_from",
            Self::Purged => "purged",
        }
    }
}

/// Why and when a record changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cause {
    /// `seq` of the request; `None`: a user, or HubSpot itself.
    pub(super) request: Option<u64>,
    pub(super) now: Timestamp,
    pub(super) now_us: u64,
}

/// The versions of all records.
#[derive(Debug, Default)]
pub(super) struct Versions {
    by_record: HashMap<u64, History>,
    /// The record of each version, oldest first: the order of removal.
    order: VecDeque<u64>,
    next: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
struct History {
    last_number: u64,
    versions: VecDeque<Version>,
}

impl Versions {
    /// Adds a version.
    pub(super) fn add(
        &mut self,
        record: u64,
        change: Change,
        properties: BTreeMap<String, String>,
        cause: Cause,
    ) {
        self.bytes += size(&properties);
        let Cause { request, now: at, now_us: at_us } = cause;
        let history = self.by_record.entry(record).or_default();
        history.last_number += 1;
        let (seq, number) = (self.next, history.last_number);
        history.versions.push_back(Version { seq, record, number, request, at, at_us, change, properties });
        self.next += 1;
        self.order.push_back(record);
        self.limit(MAX_VERSIONS, MAX_BYTES);
    }

    fn limit(&mut self, versions: usize, bytes: usize) {
        while self.order.len() > versions || self.bytes > bytes {
            let Some(oldest) = self.order.pop_front() else { return };
            let Some(history) = self.by_record.get_mut(&oldest) else { continue };
            if let Some(removed) = history.versions.pop_front() {
                self.bytes = self.bytes.saturating_sub(size(&removed.properties));
            }
            // The entry stays, because it has the number of the record's last version.
            if history.versions.is_empty() {
                history.versions = VecDeque::new();
            }
        }
    }

    /// The versions of a record, oldest first.
    pub(super) fn of(&self, record: u64) -> impl Iterator<Item = &Version> {
        self.by_record.get(&record).into_iter().flat_map(|history| &history.versions)
    }

    /// All versions, oldest first.
    pub(super) fn all(&self) -> Vec<Version> {
        let mut all: Vec<Version> =
            self.by_record.values().flat_map(|history| &history.versions).cloned().collect();
        all.sort_unstable_by_key(|version| version.seq);
        all
    }

    /// How often each kind of change happened to a record.
    pub(super) fn counts(&self, record: u64) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for version in self.of(record) {
            *counts.entry(version.change.name()).or_default() += 1;
        }
        counts
    }
}

fn size(properties: &BTreeMap<String, String>) -> usize {
    properties.iter().map(|(name, value)| name.len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause() -> Cause {
        Cause { request: Some(7), now: Timestamp::UNIX_EPOCH, now_us: 1 }
    }

    fn values(value: &str) -> BTreeMap<String, String> {
        [("p".to_owned(), value.to_owned())].into()
    }

    #[test]
    fn versions_of_a_record_are_numbered_in_order() {
        let mut ledger = Versions::default();
        ledger.add(1, Change::Created, values("a"), cause());
        ledger.add(2, Change::Created, values("b"), cause());
        ledger.add(1, Change::Archived, BTreeMap::new(), cause());
        let of_one: Vec<(u64, u64)> = ledger.of(1).map(|version| (version.seq, version.number)).collect();
        assert_eq!(of_one, [(0, 1), (2, 2)]);
        assert_eq!(ledger.counts(1), BTreeMap::from([("archived", 1), ("created", 1)]));
        assert_eq!(ledger.all().iter().map(|version| version.record).collect::<Vec<_>>(), [1, 2, 1]);
    }

    #[test]
    fn the_oldest_versions_are_removed_first() {
        let mut ledger = Versions::default();
        for record in [1, 2, 1, 1] {
            ledger.add(record, Change::Updated, values("12345"), cause());
        }
        ledger.limit(2, MAX_BYTES);
        assert_eq!(ledger.of(2).count(), 0);
        assert_eq!(ledger.of(1).map(|version| version.number).collect::<Vec<_>>(), [2, 3]);
        ledger.limit(2, 6);
        assert_eq!((ledger.order.len(), ledger.bytes), (1, 6));
        ledger.limit(0, 0);
        ledger.add(2, Change::Updated, values("12345"), cause());
        assert_eq!(
            ledger.of(2).map(|version| version.number).collect::<Vec<_>>(),
            [2],
            "numbering continues"
        );
    }

    #[test]
    fn names_are_those_of_the_control_api() {
        for change in [Change::Created, Change::MergedInto(1), Change::MergedFrom(vec![1]), Change::Purged] {
            let json = serde_json::to_value(&change).unwrap();
            let name = json.as_str().or_else(|| json.as_object()?.keys().next().map(String::as_str));
            assert_eq!(name, Some(change.name()));
        }
    }
}
