//! Merges of two records, and what their IDs and unique values lead to afterwards.

use std::collections::BTreeMap;

use super::behaviour::UniqueCompare;
use super::lifecycle::{LoserKey, MergeSurvivor};
use super::state::State;
use super::store::{Archived, Record, Store, same};
use super::versions::{Cause, Change};

/// The property with the IDs that were merged into a record.
pub(super) const MERGED_IDS: &str = "hs_merged_object_ids";

/// A record that was merged into another.
#[derive(Debug)]
pub(super) struct MergedAway {
    into: u64,
    /// Its values if it was not the primary record; only their unique values can stay reserved.
    lost: BTreeMap<String, String>,
}

impl State {
    /// Merges `other` into `primary`; IDs of merged records stand for the surviving record. Returns the ID of the
    /// survivor, or nothing if they are not two records.
    pub(super) fn merge(&mut self, primary: u64, other: u64, cause: Cause) -> Option<u64> {
        let (primary, other) = (self.store.resolve(primary), self.store.resolve(other));
        self.store.get(primary, Archived::No).filter(|_| primary != other)?;
        self.store.get(other, Archived::No)?;
        let survivor = match self.behaviour.lifecycle.merge_survivor {
            MergeSurvivor::NewId => self.allocate(1).first().copied()?,
            MergeSurvivor::Primary => primary,
        };
        let unique: Vec<&str> = self.schema.unique_names().collect();
        self.store.merge(primary, other, survivor, &unique, cause)
    }

    /// The ID of the record that keeps this value of a merged record reserved.
    pub(super) fn reserved_by(&self, property: &str, value: &str) -> Option<u64> {
        let loser = self.store.loser(property, value, self.behaviour.unique_compare)?;
        match self.behaviour.lifecycle.loser_key {
            LoserKey::Freed => None,
            LoserKey::Survivor => Some(self.store.resolve(loser)),
            LoserKey::Blocked => Some(loser),
        }
    }

    /// The surviving record of a merged record with this value, if such values still find it.
    pub(super) fn survivor_with(&self, property: &str, value: &str, archived: Archived) -> Option<&Record> {
        if self.behaviour.lifecycle.loser_key != LoserKey::Survivor {
            return None;
        }
        let loser = self.store.loser(property, value, self.behaviour.unique_compare)?;
        self.store.get(self.store.resolve(loser), archived)
    }
}

impl Store {
    /// The ID of the surviving record, if this record was merged; otherwise the same ID.
    pub(super) fn resolve(&self, id: u64) -> u64 {
        let mut id = id;
        while let Some(merged) = self.merged.get(&id) {
            id = merged.into;
        }
        id
    }

    /// The records that were merged into another, newest ID first, each with its survivor.
    pub(super) fn merged_records(&self) -> impl Iterator<Item = (u64, u64)> {
        self.merged.keys().rev().map(|id| (*id, self.resolve(*id)))
    }

    /// A merged record that had this unique value and was not the primary one.
    fn loser(&self, property: &str, value: &str, compare: UniqueCompare) -> Option<u64> {
        self.unique.candidates(property, value).find(|id| {
            let held = self.merged.get(id).and_then(|merged| merged.lost.get(property));
            held.is_some_and(|held| same(held, value, compare))
        })
    }

    /// The primary record's values win, and the other record fills blanks. The survivor keeps the creation date of the
    /// primary record, also if it has a new ID.
    fn merge(
        &mut self,
        primary_id: u64,
        other_id: u64,
        survivor: u64,
        unique: &[&str],
        cause: Cause,
    ) -> Option<u64> {
        let primary = self.take(primary_id, unique.iter().copied())?;
        let other = self.take(other_id, unique.iter().copied())?;
        let merged_ids = merged_ids(&primary, &other, survivor);
        let mut record = primary;
        record.id = survivor;
        for (name, value) in &other.properties {
            record.properties.entry(name.clone()).or_insert_with(|| value.clone());
        }
        record.properties.insert(MERGED_IDS.to_owned(), merged_ids);
        record.associations.extend(other.associations.iter().cloned());
        record.updated_at = cause.now;
        for property in unique {
            // The survivor first, so that it is found before the merged record with the same value.
            self.unique.add(&record, property);
            self.unique.add(&other, property);
        }
        let mut gone = vec![other_id];
        self.merged.insert(other_id, MergedAway { into: survivor, lost: other.properties });
        if primary_id != survivor {
            gone.insert(0, primary_id);
            self.merged.insert(primary_id, MergedAway { into: survivor, lost: BTreeMap::new() });
        }
        for id in &gone {
            self.versions.add(*id, Change::MergedInto(survivor), BTreeMap::new(), cause);
        }
        self.versions.add(survivor, Change::MergedFrom(gone), record.properties.clone(), cause);
        self.records.insert(survivor, record);
        Some(survivor)
    }
}

/// `11;22`: the merged IDs of the primary record, then those of the other one.
fn merged_ids(primary: &Record, other: &Record, survivor: u64) -> String {
    let mut ids: Vec<String> = Vec::new();
    for record in [primary, other] {
        ids.extend(
            record
                .properties
                .get(MERGED_IDS)
                .map(|held| held.split(';').map(str::to_owned))
                .into_iter()
                .flatten(),
        );
        if record.id != survivor {
            ids.push(record.id.to_string());
        }
    }
    ids.join(";")
}
