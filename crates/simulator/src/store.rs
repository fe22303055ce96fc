//! The records, indexed by ID and by unique values. Touches nothing else.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::Serialize;

use super::behaviour::UniqueCompare;
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
    records: BTreeMap<u64, Record>,
    /// (property, folded value) → record IDs. Values are compared exactly within a bucket, so that the comparison can be
    /// switched while records exist.
    unique: HashMap<(String, String), Vec<u64>>,
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
    pub(super) fn insert<'a>(&mut self, record: Record, unique: impl Iterator<Item = &'a str>) {
        for property in unique {
            self.index(&record, property);
        }
        self.records.insert(record.id, record);
    }

    /// Sets property values of a record; an empty value removes the property. Returns the changed record.
    pub(super) fn change<'a>(
        &mut self,
        id: u64,
        values: &BTreeMap<String, String>,
        now: Timestamp,
        unique: impl Iterator<Item = &'a str>,
    ) -> Option<&Record> {
        let record = self.records.get_mut(&id)?;
        for (name, value) in values {
            record.properties.insert(name.clone(), value.clone());
        }
        record.updated_at = now;
        let changed = record.clone();
        for property in unique.filter(|name| values.contains_key(*name)) {
            self.index(&changed, property);
        }
        self.records.get(&id)
    }

    fn index(&mut self, record: &Record, property: &str) {
        let Some(value) = record.properties.get(property).filter(|value| !value.is_empty()) else { return };
        let holders = self.unique.entry((property.to_owned(), fold(value))).or_default();
        if !holders.contains(&record.id) {
            holders.push(record.id);
        }
    }

    /// A record by ID.
    pub(super) fn get(&self, id: u64, archived: Archived) -> Option<&Record> {
        self.records.get(&id).filter(|record| archived.sees(record))
    }

    /// The record with a unique value; the oldest if there are several.
    pub(super) fn holder(&self, property: &str, value: &str, lookup: Lookup) -> Option<&Record> {
        let bucket = self.unique.get(&(property.to_owned(), fold(value)))?;
        bucket.iter().filter_map(|id| self.get(*id, lookup.archived)).find(|record| {
            record.properties.get(property).is_some_and(|held| same(held, value, lookup.compare))
        })
    }

    /// Archives a record. Returns whether it existed.
    pub(super) fn archive(&mut self, id: u64, now: Timestamp) -> bool {
        match self.records.get_mut(&id).filter(|record| !record.archived) {
            None => false,
            Some(record) => {
                record.archived = true;
                record.updated_at = now;
                true
            }
        }
    }

    /// All records in order of ID.
    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.records.values()
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
