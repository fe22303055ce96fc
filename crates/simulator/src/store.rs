//! The records, indexed by ID and by unique values; the recycle bin; the ledger of versions. `merge` adds merges.
//! Touches nothing else.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use jiff::Timestamp;
use serde::Serialize;

use super::behaviour::UniqueCompare;
use super::merge::MergedAway;
use super::versions::{Cause, Change, Versions};
use super::wire::Association;

/// A course record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// The record ID.
    pub id: u64,
    /// The stored property values.
    pub properties: BTreeMap<String, String>,
    /// Associations with other records.
    pub associations: Vec<Association>,
    /// Trace ID of the input that created it.
    pub trace_id: Option<String>,
    /// When it was created.
    #[serde(serialize_with = "super::journal::as_iso")]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[serde(serialize_with = "super::journal::as_iso")]
    pub updated_at: Timestamp,
    /// Whether it is archived.
    pub archived: bool,
    /// When it was created, in microseconds since the simulator's start.
    pub created_us: u64,
}

/// All records, including archived ones.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) records: BTreeMap<u64, Record>,
    pub(super) unique: UniqueIndex,
    /// When the archived records were archived. Archiving does not move the modification date.
    bin: HashMap<u64, Timestamp>,
    /// The records that were merged into another, by their ID.
    pub(super) merged: BTreeMap<u64, MergedAway>,
    pub(super) versions: Versions,
}

/// (property, folded value) → record IDs. Values are compared exactly within a bucket, so that the comparison can be
/// switched while records exist.
#[derive(Debug, Default)]
pub(super) struct UniqueIndex(HashMap<(String, String), Vec<u64>>);

impl UniqueIndex {
    /// Adds the record's value of `property`, if it has one.
    pub(super) fn add(&mut self, record: &Record, property: &str) {
        let Some(value) = record.properties.get(property).filter(|value| !value.is_empty()) else { return };
        let holders = self.0.entry((property.to_owned(), fold(value))).or_default();
        if !holders.contains(&record.id) {
            holders.push(record.id);
        }
    }

    fn remove(&mut self, record: &Record, property: &str) {
        let Some(value) = record.properties.get(property) else { return };
        let key = (property.to_owned(), fold(value));
        if let Some(holders) = self.0.get_mut(&key) {
            holders.retain(|id| *id != record.id);
            if holders.is_empty() {
                self.0.remove(&key);
            }
        }
    }

    /// The IDs of records that may have this value.
    pub(super) fn candidates(&self, property: &str, value: &str) -> impl Iterator<Item = u64> {
        self.0.get(&(property.to_owned(), fold(value))).into_iter().flatten().copied()
    }
}

/// How to look up a unique value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lookup {
    pub(super) compare: UniqueCompare,
    pub(super) archived: Archived,
}

/// Which records a lookup finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Archived {
    No,
    Only,
    Too,
}

impl Archived {
    fn sees(self, record: &Record) -> bool {
        match self {
            Self::No => !record.archived,
            Self::Only => record.archived,
            Self::Too => true,
        }
    }
}

impl Store {
    /// Adds a record; `unique` are the properties to index.
    pub(super) fn insert<'a>(&mut self, record: Record, unique: impl Iterator<Item = &'a str>, cause: Cause) {
        for property in unique {
            self.unique.add(&record, property);
        }
        self.versions.add(record.id, Change::Created, record.properties.clone(), cause);
        self.records.insert(record.id, record);
    }

    /// Sets property values of a record that is not archived; an empty value removes the property. `no_op_moves_date`:
    /// whether the modification date moves even if no value changes. Returns whether the record exists.
    pub(super) fn change<'a>(
        &mut self,
        id: u64,
        values: BTreeMap<String, String>,
        no_op_moves_date: bool,
        unique: impl Iterator<Item = &'a str>,
        cause: Cause,
    ) -> bool {
        let Some(record) = self.records.get_mut(&id).filter(|record| !record.archived) else { return false };
        let changes = |(name, value): (&String, &String)| {
            record.properties.get(name).map_or("", String::as_str) != value
        };
        let is_changed = values.iter().any(changes);
        let unique: Vec<&str> = unique.filter(|name| values.contains_key(*name)).collect();
        for property in &unique {
            self.unique.remove(record, property);
        }
        for (name, value) in &values {
            if value.is_empty() {
                record.properties.remove(name);
            } else {
                record.properties.insert(name.clone(), value.clone());
            }
        }
        for property in unique {
            self.unique.add(record, property);
        }
        if is_changed || no_op_moves_date {
            record.updated_at = cause.now;
        }
        let change = if is_changed { Change::Updated } else { Change::Unchanged };
        self.versions.add(id, change, values, cause);
        true
    }

    /// Moves the modification date of a record that is not archived. Returns whether it exists.
    pub(super) fn touch(&mut self, id: u64, cause: Cause) -> bool {
        let Some(record) = self.records.get_mut(&id).filter(|record| !record.archived) else { return false };
        record.updated_at = cause.now;
        self.versions.add(id, Change::Touched, BTreeMap::new(), cause);
        true
    }

    /// A record by ID.
    pub(super) fn get(&self, id: u64, archived: Archived) -> Option<&Record> {
        self.records.get(&id).filter(|record| archived.sees(record))
    }

    /// The record with a unique value; the oldest if there are several.
    pub(super) fn holder(&self, property: &str, value: &str, lookup: Lookup) -> Option<&Record> {
        self.unique.candidates(property, value).filter_map(|id| self.get(id, lookup.archived)).find(
            |record| record.properties.get(property).is_some_and(|held| same(held, value, lookup.compare)),
        )
    }

    /// Archives a record. Only `archivedAt` changes, not the modification date. Returns whether it existed.
    pub(super) fn archive(&mut self, id: u64, cause: Cause) -> bool {
        let Some(record) = self.records.get_mut(&id).filter(|record| !record.archived) else { return false };
        record.archived = true;
        self.bin.insert(id, cause.now);
        self.versions.add(id, Change::Archived, BTreeMap::new(), cause);
        true
    }

    /// When a record was archived, if it is.
    pub(super) fn archived_at(&self, id: u64) -> Option<Timestamp> {
        self.bin.get(&id).copied()
    }

    /// Restores an archived record, unless another record has one of its unique values by now. Returns whether it was
    /// restored.
    pub(super) fn restore<'a>(
        &mut self,
        id: u64,
        mut unique: impl Iterator<Item = &'a str>,
        compare: UniqueCompare,
        cause: Cause,
    ) -> bool {
        let Some(record) = self.get(id, Archived::Only) else { return false };
        let others = Lookup { compare, archived: Archived::No };
        let is_taken = unique.any(|property| {
            let value = record.properties.get(property).filter(|value| !value.is_empty());
            value.is_some_and(|value| self.holder(property, value, others).is_some())
        });
        let Some(record) = self.records.get_mut(&id).filter(|_| !is_taken) else { return false };
        record.archived = false;
        record.updated_at = cause.now;
        self.bin.remove(&id);
        self.versions.add(id, Change::Restored, BTreeMap::new(), cause);
        true
    }

    /// Deletes a record permanently, archived or not. Returns whether it existed.
    pub(super) fn purge<'a>(&mut self, id: u64, unique: impl Iterator<Item = &'a str>, cause: Cause) -> bool {
        if self.take(id, unique).is_none() {
            return false;
        }
        self.versions.add(id, Change::Purged, BTreeMap::new(), cause);
        true
    }

    /// Removes a record and its unique values.
    pub(super) fn take<'a>(&mut self, id: u64, unique: impl Iterator<Item = &'a str>) -> Option<Record> {
        let record = self.records.remove(&id)?;
        self.bin.remove(&id);
        for property in unique {
            self.unique.remove(&record, property);
        }
        Some(record)
    }

    /// All records in order of ID, without those that were merged into another.
    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.records.values()
    }

    /// The records with a higher ID, in order of ID, without those that were merged into another.
    pub(super) fn after(&self, id: u64) -> impl Iterator<Item = &Record> {
        let higher = (Bound::Excluded(id), Bound::Unbounded);
        self.records.range(higher).map(|(_, record)| record)
    }

    /// Number of records that are not archived.
    pub(super) fn live(&self) -> u64 {
        self.records.values().map(|record| u64::from(!record.archived)).sum()
    }

    /// Number of values of `property` that more than one unarchived record has.
    pub(super) fn duplicates(&self, property: &str) -> usize {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for record in self.all().filter(|record| !record.archived) {
            if let Some(value) = record.properties.get(property).filter(|value| !value.is_empty()) {
                *seen.entry(value).or_default() += 1;
            }
        }
        seen.values().filter(|count| **count > 1).count()
    }
}

/// Whether two unique values are equal.
pub(super) fn same(one: &str, other: &str, compare: UniqueCompare) -> bool {
    match compare {
        UniqueCompare::Exact => one == other,
        UniqueCompare::Trimmed => one.trim() == other.trim(),
        UniqueCompare::Folded => fold(one) == fold(other),
    }
}

fn fold(value: &str) -> String {
    value.trim().to_lowercase()
}
