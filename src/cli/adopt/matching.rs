//! Decides which record of HubSpot belongs to which row, by the values of some properties or by the key. Pure.
//!
//! It never guesses. A match is one row and one record that have the same values, which no other row and no other record
//! has. Everything else is left to an operator. Values are compared by fingerprints, so that a million courses fit into
//! memory; before anything is written, the values themselves are compared again.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::Serialize;

use crate::course::{RowId, fold_key};
use crate::pipeline::interpret::values::loose_form;

/// A property of HubSpot, and the value of a row that must agree with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MatchRule {
    /// The property in HubSpot.
    pub hubspot: String,
    /// The value in the row.
    pub row: RowValue,
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RowValue {
    /// Its course key.
    Key,
    /// A member of its `properties`.
    Property(String),
}

/// The name of the course key in a rule.
const KEY: &str = "course_key";

impl FromStr for MatchRule {
    type Err = String;

    /// `PROPERTY`, or `PROPERTY=PROPERTY` if the row has it under another name.
    fn from_str(text: &str) -> Result<Self, String> {
        let (hubspot, row) = text.split_once('=').unwrap_or((text, text));
        if hubspot.trim().is_empty() || row.trim().is_empty() {
            return Err("expected PROPERTY, or PROPERTY=PROPERTY".to_owned());
        }
        let row = if row.trim() == KEY { RowValue::Key } else { RowValue::Property(row.trim().to_owned()) };
        Ok(Self { hubspot: hubspot.trim().to_owned(), row })
    }
}

impl RowValue {
    /// The property; `None`: the key.
    pub(super) fn property(&self) -> Option<&str> {
        match self {
            Self::Key => None,
            Self::Property(name) => Some(name),
        }
    }
}

/// Whether a value of a row and a value of a record are the same, in whatever notation.
pub(super) fn is_match(row: &str, record: &str) -> bool {
    let row = loose_form(row);
    !row.is_empty() && row == loose_form(record)
}

/// Turns values into fingerprints. Equal values have equal ones; others are equal by a chance of 1 in 2^64.
pub(super) struct Fingerprints(RandomState);

impl Fingerprints {
    pub(super) fn new() -> Self {
        Self(RandomState::new())
    }

    /// The fingerprint of these values together; `None` if one of them is empty.
    pub(super) fn of_values<'v>(
        &self,
        values: impl IntoIterator<Item = Option<&'v str>>,
    ) -> Option<NonZeroU64> {
        let forms: Option<Vec<String>> = values
            .into_iter()
            .map(|value| Some(loose_form(value?)).filter(|form| !form.is_empty()))
            .collect();
        Some(self.of(&forms?))
    }

    /// The fingerprint of a key, whatever spelling HubSpot stores; `None` if it is empty.
    pub(super) fn of_key(&self, key: &str) -> Option<NonZeroU64> {
        let folded = fold_key(key);
        (!folded.is_empty()).then(|| self.of(&vec![folded]))
    }

    fn of(&self, forms: &Vec<String>) -> NonZeroU64 {
        NonZeroU64::new(self.0.hash_one(forms)).unwrap_or(NonZeroU64::MIN)
    }
}

/// What matters of a row.
#[derive(Debug, Clone)]
pub(super) struct RowEntry {
    pub id: RowId,
    pub key: Option<NonZeroU64>,
    pub value: Option<NonZeroU64>,
    pub state: RowState,
}

/// Whether a record can be given to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowState {
    /// It is pending, and certainly has no record yet.
    Open,
    /// It has this record; `None`: one whose id is no number, which is none of those that HubSpot lists.
    Linked(Option<NonZeroU64>),
    /// A request with it is in flight.
    InFlight,
    /// A request with it had an unknown outcome: HubSpot may hold it, or may create it late.
    Unconfirmed,
    /// It failed.
    Failed,
    /// It is withdrawn.
    Withdrawn,
}

/// What matters of a record.
#[derive(Debug, Clone)]
pub(super) struct RecordEntry {
    pub id: u64,
    /// The value of the unique property.
    pub key: Option<NonZeroU64>,
    pub value: Option<NonZeroU64>,
}

/// A row and its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub row: RowId,
    pub record: u64,
    /// The record has the row's key already, as after an earlier `adopt` that was interrupted.
    pub is_keyed: bool,
}

/// Why rows and records are left to an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ambiguity {
    /// Several records have the values of one row.
    SeveralRecords,
    /// One record has the values of several rows.
    SeveralRows,
    /// Several records have the values of several rows.
    SeveralOfBoth,
    /// The only record with these values has another key.
    OtherKey,
    /// The row has another record already.
    OtherRecord,
}

/// Rows and records that are left to an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unmatched {
    pub why: Ambiguity,
    pub rows: Vec<RowId>,
    pub records: Vec<u64>,
}

/// What belongs together, and what does not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MatchDecision {
    pub pairs: Vec<Pair>,
    pub ambiguous: Vec<Unmatched>,
    /// A record matches, but the row cannot take it.
    pub not_adoptable: Vec<(RowId, u64, RowState)>,
    /// Records that match no row.
    pub only_in_hubspot: Vec<u64>,
    /// Rows without a record that match no record.
    pub only_in_outbox: Vec<RowId>,
    /// Records that their rows name already.
    pub linked: u64,
}

/// Decides about all rows and records.
pub(super) fn decide(rows: &[RowEntry], mut records: Vec<RecordEntry>) -> MatchDecision {
    // A record that moved between two pages may be listed twice.
    records.sort_unstable_by_key(|record| record.id);
    records.dedup_by_key(|record| record.id);
    let mut table = Table::new(rows, &records);
    table.settle_linked();
    for_each_group(rows, &records, |row| row.key, |record| record.key, |group| table.decide_by_key(group));
    for_each_group(
        rows,
        &records,
        |row| row.value,
        |record| record.value,
        |group| table.decide_by_value(group),
    );
    table.finish()
}

/// The rows and the records that have one value: their positions.
#[derive(Debug)]
struct ValueGroup {
    rows: Vec<usize>,
    records: Vec<usize>,
}

/// Calls `decide` with each group that has both rows and records.
fn for_each_group(
    rows: &[RowEntry],
    records: &[RecordEntry],
    row_value: impl Fn(&RowEntry) -> Option<NonZeroU64>,
    record_value: impl Fn(&RecordEntry) -> Option<NonZeroU64>,
    mut decide: impl FnMut(&ValueGroup),
) {
    let mut of_rows: Vec<_> =
        rows.iter().enumerate().filter_map(|(at, row)| Some((row_value(row)?, at))).collect();
    let mut of_records: Vec<_> =
        records.iter().enumerate().filter_map(|(at, record)| Some((record_value(record)?, at))).collect();
    of_rows.sort_unstable();
    of_records.sort_unstable();
    let (mut rows, mut records) = (of_rows.as_slice(), of_records.as_slice());
    while let (Some((row, _)), Some((record, _))) = (rows.first(), records.first()) {
        let value = *row.min(record);
        let (mine, rest) = split_value(rows, value);
        rows = rest;
        let (theirs, rest) = split_value(records, value);
        records = rest;
        if !mine.is_empty() && !theirs.is_empty() {
            decide(&ValueGroup {
                rows: mine.iter().map(|(_, at)| *at).collect(),
                records: theirs.iter().map(|(_, at)| *at).collect(),
            });
        }
    }
}

type Places<'a> = &'a [(NonZeroU64, usize)];

fn split_value(places: Places<'_>, value: NonZeroU64) -> (Places<'_>, Places<'_>) {
    places.split_at(places.partition_point(|(it, _)| *it <= value))
}

/// Which rows and records are decided already.
struct Table<'a> {
    rows: &'a [RowEntry],
    records: &'a [RecordEntry],
    row_is_settled: Vec<bool>,
    record_is_settled: Vec<bool>,
    decision: MatchDecision,
}

impl<'a> Table<'a> {
    fn new(rows: &'a [RowEntry], records: &'a [RecordEntry]) -> Self {
        Self {
            rows,
            records,
            row_is_settled: vec![false; rows.len()],
            record_is_settled: vec![false; records.len()],
            decision: MatchDecision::default(),
        }
    }

    /// Records that a row names belong to that row.
    fn settle_linked(&mut self) {
        let linked: HashSet<u64> = self.rows.iter().filter_map(RowEntry::record).collect();
        for (settled, record) in self.record_is_settled.iter_mut().zip(self.records) {
            if linked.contains(&record.id) {
                *settled = true;
                self.decision.linked += 1;
            }
        }
        for (settled, row) in self.row_is_settled.iter_mut().zip(self.rows) {
            *settled = matches!(row.state, RowState::Linked(_));
        }
    }

    fn open_rows(&self, group: &ValueGroup) -> Vec<usize> {
        group.rows.iter().copied().filter(|at| self.row_is_settled.get(*at) == Some(&false)).collect()
    }

    fn open_records(&self, group: &ValueGroup) -> Vec<usize> {
        group.records.iter().copied().filter(|at| self.record_is_settled.get(*at) == Some(&false)).collect()
    }

    /// A record with the key of a row belongs to that row.
    fn decide_by_key(&mut self, group: &ValueGroup) {
        let records = self.open_records(group);
        match (group.rows.as_slice(), records.as_slice()) {
            (_, []) => {}
            ([row], [record]) if group.records.len() == 1 => self.join(*row, *record, true),
            ([_], _) => self.leave(group, Ambiguity::SeveralRecords),
            (_, [_]) => self.leave(group, Ambiguity::SeveralRows),
            _ => self.leave(group, Ambiguity::SeveralOfBoth),
        }
    }

    /// Values decide only if exactly one row and one record have them.
    fn decide_by_value(&mut self, group: &ValueGroup) {
        let (rows, records) = (self.open_rows(group), self.open_records(group));
        match (group.rows.len(), group.records.len()) {
            _ if rows.is_empty() && records.is_empty() => {}
            (1, 1) => match (rows.as_slice(), records.as_slice()) {
                ([row], [record]) => self.join(*row, *record, false),
                // The record belongs to another row, or the row to another record.
                ([_], _) => self.leave(group, Ambiguity::OtherKey),
                _ => self.leave(group, Ambiguity::OtherRecord),
            },
            (1, _) => self.leave(group, Ambiguity::SeveralRecords),
            (_, 1) => self.leave(group, Ambiguity::SeveralRows),
            _ => self.leave(group, Ambiguity::SeveralOfBoth),
        }
    }

    fn join(&mut self, row: usize, record: usize, is_keyed: bool) {
        let (Some(entry), Some(found)) = (self.rows.get(row), self.records.get(record)) else { return };
        let group = ValueGroup { rows: vec![row], records: vec![record] };
        match entry.state {
            RowState::Linked(_) => self.leave(&group, Ambiguity::OtherRecord),
            _ if !is_keyed && found.key.is_some() => self.leave(&group, Ambiguity::OtherKey),
            RowState::Open => {
                self.decision.pairs.push(Pair { row: entry.id, record: found.id, is_keyed });
                self.settle(&group);
            }
            state => {
                self.decision.not_adoptable.push((entry.id, found.id, state));
                self.settle(&group);
            }
        }
    }

    fn leave(&mut self, group: &ValueGroup, why: Ambiguity) {
        self.decision.ambiguous.push(Unmatched {
            why,
            rows: group.rows.iter().filter_map(|at| Some(self.rows.get(*at)?.id)).collect(),
            records: group.records.iter().filter_map(|at| Some(self.records.get(*at)?.id)).collect(),
        });
        self.settle(group);
    }

    fn settle(&mut self, group: &ValueGroup) {
        for at in &group.rows {
            if let Some(settled) = self.row_is_settled.get_mut(*at) {
                *settled = true;
            }
        }
        for at in &group.records {
            if let Some(settled) = self.record_is_settled.get_mut(*at) {
                *settled = true;
            }
        }
    }

    fn finish(mut self) -> MatchDecision {
        // In the order of arrival, so that the result does not depend on the fingerprints.
        self.decision.pairs.sort_unstable_by_key(|pair| pair.row);
        self.decision.ambiguous.sort_by(|one, other| one.rows.cmp(&other.rows));
        self.decision.not_adoptable.sort_unstable_by_key(|(row, ..)| *row);
        let rows = self.rows.iter().zip(&self.row_is_settled).filter(|(_, settled)| !**settled);
        let waiting = rows.filter(|(row, _)| row.state == RowState::Open);
        self.decision.only_in_outbox = waiting.map(|(row, _)| row.id).collect();
        let records = self.records.iter().zip(&self.record_is_settled).filter(|(_, settled)| !**settled);
        self.decision.only_in_hubspot = records.map(|(record, _)| record.id).collect();
        self.decision
    }
}

impl RowEntry {
    /// The record that the row names.
    fn record(&self) -> Option<u64> {
        match self.state {
            RowState::Linked(record) => record.map(NonZeroU64::get),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
