//! What `audit` prints: a line for each difference, and a summary. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;
use serde_json::json;

use super::drift::Drift;
use crate::cli::format::{pluralize, sanitize, truncate};
use crate::course::{HubSpotId, RowId};
use crate::outbox::ops::drift::SettledRow;
use crate::policy::drift::{DriftClass, DriftCounts};

/// Characters of a value and of a key that the text shows.
const MAX_VALUE: usize = 60;

/// How far an audit has got: after this row, or after this cursor of HubSpot's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Position {
    Rows(RowId),
    Records(Option<String>),
}

impl Default for Position {
    fn default() -> Self {
        Self::Rows(RowId(i64::MIN))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(RowId(i64::MIN)) => f.write_str("start"),
            Self::Rows(row) => write!(f, "row:{row}"),
            Self::Records(None) => f.write_str("records"),
            Self::Records(Some(cursor)) => write!(f, "record:{cursor}"),
        }
    }
}

impl FromStr for Position {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "expected start, row:ID, records or record:CURSOR, as an interrupted audit prints it";
        match text.split_once(':') {
            None if text == "start" => Ok(Self::default()),
            None if text == "records" => Ok(Self::Records(None)),
            Some(("row", id)) => id.parse().map(|id| Self::Rows(RowId(id))).map_err(|_| EXPECTED),
            Some(("record", cursor)) if !cursor.is_empty() => Ok(Self::Records(Some(cursor.to_owned()))),
            _ => Err(EXPECTED),
        }
    }
}

/// One difference.
#[derive(Debug, Serialize)]
pub(super) struct Finding<'a> {
    class: DriftClass,
    key: &'a str,
    hubspot_id: &'a str,
    /// The properties that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<DifferingProperty>,
    /// `key_edited`: the key that the record has.
    #[serde(skip_serializing_if = "Option::is_none")]
    hubspot_key: Option<&'a str>,
    /// `merged`: the record that remains. `duplicate_key`: the record of the course.
    #[serde(skip_serializing_if = "Option::is_none")]
    other_record: Option<&'a str>,
    /// The status of the row after the repair, if it was repaired.
    #[serde(skip_serializing_if = "Option::is_none")]
    repaired: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct DifferingProperty {
    name: String,
    outbox: String,
    hubspot: String,
}

impl<'a> Finding<'a> {
    pub(super) fn of_row(row: &'a SettledRow, drift: &'a Drift, repaired: Option<&'static str>) -> Self {
        let wanted = |name: &str| {
            let value = row.properties.as_ref().and_then(|properties| properties.get(name));
            value.unwrap_or_default().into_owned()
        };
        let properties = drift.values().into_iter().flatten().map(|(name, hubspot)| DifferingProperty {
            name: name.clone(),
            outbox: wanted(name),
            hubspot: hubspot.clone(),
        });
        Self {
            class: drift.class(),
            key: &row.key,
            hubspot_id: row.hubspot_id.as_str(),
            properties: properties.collect(),
            hubspot_key: match drift {
                Drift::KeyEdited { key, .. } => Some(key),
                _ => None,
            },
            other_record: match drift {
                Drift::Merged(survivor) => Some(survivor.as_str()),
                _ => None,
            },
            repaired,
        }
    }

    /// A record that has this key. `own`: the record of the course.
    pub(super) fn of_record(
        id: &'a HubSpotId,
        key: &'a str,
        class: DriftClass,
        own: Option<&'a str>,
    ) -> Self {
        Self {
            class,
            key,
            hubspot_id: id.as_str(),
            properties: Vec::new(),
            hubspot_key: None,
            other_record: own,
            repaired: None,
        }
    }

    pub(super) fn to_line(&self) -> String {
        let (class, key) = (self.class.as_str(), truncate(self.key, MAX_VALUE));
        let mut parts = vec![format!("{class:<14}{key}, record {}", sanitize(self.hubspot_id))];
        parts.extend(
            self.hubspot_key.map(|key| format!(", which has the key {:?}", truncate(key, MAX_VALUE))),
        );
        parts.extend(self.other_record.map(|id| match self.class {
            DriftClass::Merged => format!(", which was merged into record {}", sanitize(id)),
            _ => format!("; the course's own record is {}", sanitize(id)),
        }));
        parts.extend(self.properties.iter().map(DifferingProperty::to_line));
        parts.extend(self.repaired.map(|status| format!("\n    repaired: {status}")));
        parts.concat()
    }
}

impl DifferingProperty {
    fn to_line(&self) -> String {
        let name = truncate(&self.name, MAX_VALUE);
        format!("\n    {name}: HubSpot {}, outbox {}", shown(&self.hubspot), shown(&self.outbox))
    }
}

fn shown(value: &str) -> String {
    if value.is_empty() { "nothing".to_owned() } else { format!("{:?}", truncate(value, MAX_VALUE)) }
}

/// What an audit has counted so far.
#[derive(Debug, Clone, Default)]
pub(super) struct AuditTotals {
    /// Rows that were read.
    pub rows: u64,
    /// Of these, how many were not compared, because they were written a moment ago.
    pub settling: u64,
    /// Records that were listed.
    pub records: u64,
    /// Of these, how many have a key.
    pub keyed: u64,
    /// Requests to HubSpot.
    pub requests: u64,
    pub differences: DriftCounts,
    /// Those of them that were repaired.
    pub repaired: DriftCounts,
}

impl AuditTotals {
    pub(super) fn count(&mut self, finding: &Finding<'_>) {
        *self.differences.entry(finding.class).or_default() += 1;
        if finding.repaired.is_some() {
            *self.repaired.entry(finding.class).or_default() += 1;
        }
    }

    pub(super) fn has_differences(&self) -> bool {
        !self.differences.is_empty()
    }

    fn of(&self, class: DriftClass) -> u64 {
        self.differences.get(&class).copied().unwrap_or_default()
    }

    /// The summary. `has_retention`: the daemon deletes old rows, whose records remain.
    pub(super) fn format(
        &self,
        json: bool,
        is_complete: bool,
        has_retention: bool,
    ) -> serde_json::Result<String> {
        if !json {
            return Ok(self.to_text(has_retention));
        }
        let differences: BTreeMap<&str, u64> =
            DriftClass::ALL.into_iter().map(|class| (class.as_str(), self.of(class))).collect();
        serde_json::to_string(&json!({ "summary": {
            "complete": is_complete,
            "courses": self.rows,
            "settling": self.settling,
            "records": self.records,
            "records_without_key": self.records - self.keyed,
            "differences": differences,
            "repaired": self.repaired.values().sum::<u64>(),
            "requests": self.requests,
        }}))
    }

    fn to_text(&self, has_retention: bool) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        for class in DriftClass::ALL.into_iter().filter(|class| self.of(*class) > 0) {
            let count = Cell::new(self.of(class)).set_alignment(CellAlignment::Right);
            table.add_row([Cell::new(class.as_str()), count, Cell::new(class.describe())]);
        }
        let total: u64 = self.differences.values().sum();
        let mut lines = Vec::new();
        if total > 0 {
            lines.push(table.trim_fmt());
        }
        let plural = |count: u64, what: &str| pluralize(i64::try_from(count).unwrap_or(i64::MAX), what);
        lines.push(format!(
            "{} of {} and {} ({} without a key), {} repaired; {}",
            plural(total, "difference"),
            plural(self.rows, "course"),
            plural(self.records, "record"),
            self.records - self.keyed,
            self.repaired.values().sum::<u64>(),
            plural(self.requests, "request")
        ));
        if self.settling > 0 {
            lines.push(format!(
                "{} not compared, because they were written a moment ago (outbox.settle)",
                plural(self.settling, "course")
            ));
        }
        if has_retention && self.of(DriftClass::Stranger) > 0 {
            lines.push(
                "the daemon deletes old rows (outbox.retention): strangers may be the records of such rows"
                    .to_owned(),
            );
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_printed_as_it_is_read() {
        for text in ["start", "row:7", "row:-3", "records", "record:394", "record:a:b"] {
            assert_eq!(text.parse::<Position>().map(|position| position.to_string()), Ok(text.to_owned()));
        }
        for wrong in ["", "row:", "row:x", "record:", "7"] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
    }
}
