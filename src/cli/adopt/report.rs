//! What `adopt` found and did, as text and as JSON.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

use super::Adopting;
use super::apply::Applied;
use super::matching::{Ambiguity, MatchDecision, RowState};
use crate::cli::format::{pluralize, sanitize, truncate};
use crate::course::{HubSpotId, MAX_COURSES, RowId};
use crate::hubspot::api::record_state::RecordState;
use crate::hubspot::api::request::COURSE_NAME;
use crate::outbox::ops::adopt;
use crate::pipeline::reconcile::record_meaning::RecordFinding;

/// Characters of a key and a name that the text shows.
const MAX_TEXT: usize = 60;

/// What was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    pub records: usize,
    pub unreadable: usize,
    pub rows: usize,
}

/// The report.
#[derive(Debug, Serialize)]
pub(super) struct AdoptReport {
    /// Whether something was changed.
    applied: bool,
    records: usize,
    /// Records without a readable id.
    unreadable_records: usize,
    rows: usize,
    /// Records that their rows name already.
    linked: u64,
    matched: Section<MatchedCourse>,
    /// Of these, how many have their key already.
    already_keyed: usize,
    ambiguous: Section<AmbiguousCourses>,
    not_adoptable: Section<LeftCourse>,
    only_in_hubspot: Section<ShownRecord>,
    only_in_outbox: Section<String>,
    /// Only with --apply.
    adopted: Option<AdoptedCourses>,
    /// Requests to HubSpot.
    requests: u64,
}

/// Courses of one kind: their number, and the first ones.
#[derive(Debug, Serialize)]
struct Section<T> {
    count: usize,
    examples: Vec<T>,
}

/// A record as people recognise it.
#[derive(Debug, Clone, Serialize)]
struct ShownRecord {
    hubspot_id: String,
    name: Option<String>,
    /// The value of the unique property.
    course_key: Option<String>,
}

#[derive(Debug, Serialize)]
struct MatchedCourse {
    key: String,
    #[serde(flatten)]
    record: ShownRecord,
}

#[derive(Debug, Serialize)]
struct AmbiguousCourses {
    why: Ambiguity,
    keys: Vec<String>,
    records: Vec<ShownRecord>,
}

#[derive(Debug, Serialize)]
struct LeftCourse {
    key: String,
    hubspot_id: String,
    why: String,
}

#[derive(Debug, Serialize)]
struct AdoptedCourses {
    synced: u64,
    /// Their records differ from the rows: `run` updates them.
    to_update: u64,
    refused: Section<LeftCourse>,
}

/// The rows and records that the report shows, as they are now.
struct Shown {
    keys: HashMap<RowId, String>,
    records: HashMap<u64, ShownRecord>,
}

impl AdoptReport {
    /// Reads what the examples need.
    pub(super) async fn read(
        command: &Adopting<'_>,
        counts: Counts,
        decision: &MatchDecision,
        applied: Option<&Applied>,
    ) -> anyhow::Result<Self> {
        let most = command.args.examples;
        let shown = Shown::read(command, decision, applied, most).await?;
        let matched = decision
            .pairs
            .iter()
            .take(most)
            .map(|pair| MatchedCourse { key: shown.key(pair.row), record: shown.record(pair.record) });
        let ambiguous = decision.ambiguous.iter().take(most).map(|unmatched| AmbiguousCourses {
            why: unmatched.why,
            keys: unmatched.rows.iter().take(most).map(|row| shown.key(*row)).collect(),
            records: unmatched.records.iter().take(most).map(|record| shown.record(*record)).collect(),
        });
        let not_adoptable = decision.not_adoptable.iter().take(most).map(|(row, record, state)| LeftCourse {
            key: shown.key(*row),
            hubspot_id: record.to_string(),
            why: state.reason().to_owned(),
        });
        let only_in_hubspot = decision.only_in_hubspot.iter().take(most).map(|record| shown.record(*record));
        let only_in_outbox = decision.only_in_outbox.iter().take(most).map(|row| shown.key(*row));
        Ok(Self {
            applied: applied.is_some(),
            records: counts.records,
            unreadable_records: counts.unreadable,
            rows: counts.rows,
            linked: decision.linked,
            matched: Section::new(decision.pairs.len(), matched),
            already_keyed: decision.pairs.iter().filter(|pair| pair.is_keyed).count(),
            ambiguous: Section::new(decision.ambiguous.len(), ambiguous),
            not_adoptable: Section::new(decision.not_adoptable.len(), not_adoptable),
            only_in_hubspot: Section::new(decision.only_in_hubspot.len(), only_in_hubspot),
            only_in_outbox: Section::new(decision.only_in_outbox.len(), only_in_outbox),
            adopted: applied.map(|applied| AdoptedCourses::new(applied, &shown, most)),
            requests: command.client.requests(),
        })
    }

    pub(super) fn to_text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let keyed = match self.already_keyed {
            0 => String::new(),
            count => format!(", {count} of them have their key already"),
        };
        for (count, what) in [
            (self.matched.count, format!("matched: one row and one record{keyed}")),
            (
                self.ambiguous.count,
                "ambiguous: left to you; until then, `run` would create these rows' courses again".to_owned(),
            ),
            (self.not_adoptable.count, "matched, but the row cannot take a record now".to_owned()),
            (self.only_in_hubspot.count, "only in HubSpot: course-sync leaves them as they are".to_owned()),
            (self.only_in_outbox.count, "only in the outbox: `run` will create them".to_owned()),
        ] {
            let count = Cell::new(count).set_alignment(CellAlignment::Right);
            table.add_row([count, Cell::new(what)]);
        }
        let mut lines = vec![format!("{} in HubSpot, {} in the outbox", self.records, self.rows)];
        lines.push(table.trim_fmt());
        if self.linked > 0 {
            lines.push(format!("{} of HubSpot's records belong to rows already", self.linked));
        }
        if self.unreadable_records > 0 {
            lines.push(format!("{} could not be read and are left out", self.unreadable_records));
        }
        lines.extend(self.example_lines());
        lines.extend(self.result_lines());
        lines.join("\n")
    }

    fn example_lines(&self) -> Vec<String> {
        let matched = self
            .matched
            .lines("matched", |it| format!("{} = {}", truncate(&it.key, MAX_TEXT), it.record.describe()));
        let ambiguous = self.ambiguous.lines("ambiguous", AmbiguousCourses::describe);
        let left = self.not_adoptable.lines("not adoptable", LeftCourse::describe);
        let hubspot = self.only_in_hubspot.lines("only in HubSpot", ShownRecord::describe);
        let outbox = self.only_in_outbox.lines("only in the outbox", |key| truncate(key, MAX_TEXT));
        [matched, ambiguous, left, hubspot, outbox].concat()
    }

    fn result_lines(&self) -> Vec<String> {
        let requests = pluralize(i64::try_from(self.requests).unwrap_or(i64::MAX), "request");
        let Some(adopted) = &self.adopted else {
            return vec![format!(
                "nothing changed, {requests}; run again with --apply to adopt the matched courses"
            )];
        };
        let mut lines = adopted.refused.lines("not adopted", LeftCourse::describe);
        lines.push(format!(
            "adopted {}: {} synced, {} pending because their records differ; not adopted: {}; {requests}",
            adopted.synced + adopted.to_update,
            adopted.synced,
            adopted.to_update,
            adopted.refused.count
        ));
        lines
    }
}

impl<T> Section<T> {
    fn new(count: usize, examples: impl Iterator<Item = T>) -> Self {
        Self { count, examples: examples.collect() }
    }

    fn lines(&self, title: &str, describe: impl Fn(&T) -> String) -> Vec<String> {
        let lines = self.examples.iter().map(|example| format!("  {title}: {}", describe(example)));
        let more = self.count - self.examples.len().min(self.count);
        let more = (more > 0 && !self.examples.is_empty()).then(|| format!("  {title}: and {more} more"));
        lines.chain(more).collect()
    }
}

impl AdoptedCourses {
    fn new(applied: &Applied, shown: &Shown, most: usize) -> Self {
        let refused = applied.refused.iter().take(most).map(|(pair, why)| LeftCourse {
            key: shown.key(pair.row),
            hubspot_id: pair.record.to_string(),
            why: why.clone(),
        });
        let refused = Section::new(applied.refused.len(), refused);
        Self { synced: applied.synced, to_update: applied.to_update, refused }
    }
}

impl ShownRecord {
    fn describe(&self) -> String {
        let key = self.course_key.as_deref().map(|key| format!(", key {}", truncate(key, MAX_TEXT)));
        match &self.name {
            Some(name) => {
                let name = truncate(name, MAX_TEXT);
                format!("record {} {name:?}{}", sanitize(&self.hubspot_id), key.unwrap_or_default())
            }
            None => format!("record {}{}", sanitize(&self.hubspot_id), key.unwrap_or_default()),
        }
    }
}

impl AmbiguousCourses {
    fn describe(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(|key| truncate(key, MAX_TEXT)).collect();
        let records: Vec<String> = self.records.iter().map(ShownRecord::describe).collect();
        format!("{}: {} / {}", self.why.reason(), keys.join(", "), records.join(", "))
    }
}

impl LeftCourse {
    fn describe(&self) -> String {
        let key = truncate(&self.key, MAX_TEXT);
        format!("{key}, record {}: {}", sanitize(&self.hubspot_id), sanitize(&self.why))
    }
}

impl Ambiguity {
    fn reason(self) -> &'static str {
        match self {
            Self::SeveralRecords => "several records for one row",
            Self::SeveralRows => "several rows for one record",
            Self::SeveralOfBoth => "several rows and several records",
            Self::OtherKey => "the record has another key",
            Self::OtherRecord => "the row has another record",
        }
    }
}

impl RowState {
    fn reason(self) -> &'static str {
        match self {
            Self::Open => "it can take a record",
            Self::Linked(_) => "it has a record",
            Self::InFlight => "it is in flight; run adopt again when it is not",
            Self::Unconfirmed => {
                "HubSpot may have created it already; the daemon finds out, or see `course-sync explain`"
            }
            Self::Failed => "it failed; run `course-sync retry`, then adopt again",
            Self::Withdrawn => "the catalogue has withdrawn it",
        }
    }
}

impl Shown {
    async fn read(
        command: &Adopting<'_>,
        decision: &MatchDecision,
        applied: Option<&Applied>,
        most: usize,
    ) -> anyhow::Result<Self> {
        let (mut rows, mut records) = (BTreeSet::new(), BTreeSet::new());
        let refused = applied.into_iter().flat_map(|applied| applied.refused.iter().take(most));
        for pair in decision.pairs.iter().take(most).chain(refused.map(|(pair, _)| pair)) {
            rows.insert(pair.row);
            records.insert(pair.record);
        }
        for unmatched in decision.ambiguous.iter().take(most) {
            rows.extend(unmatched.rows.iter().take(most));
            records.extend(unmatched.records.iter().take(most));
        }
        rows.extend(decision.not_adoptable.iter().take(most).map(|(row, ..)| *row));
        rows.extend(decision.only_in_outbox.iter().take(most));
        records.extend(decision.only_in_hubspot.iter().take(most));
        let rows: Vec<RowId> = rows.into_iter().collect();
        let keys = adopt::read_keys(command.database, &rows).await?.into_iter().collect();
        let ids: Vec<HubSpotId> =
            records.iter().filter_map(|record| HubSpotId::parse(&record.to_string())).collect();
        let mut records = HashMap::new();
        for part in ids.chunks(usize::from(MAX_COURSES)) {
            let part: Vec<&HubSpotId> = part.iter().collect();
            let names = [COURSE_NAME, command.unique];
            let findings = command.client.read_records(&part, &names, RecordState::Live).await?;
            for (id, finding) in part.into_iter().zip(findings) {
                let RecordFinding::Present(values) = finding else { continue };
                records.extend(shown_record(id, values, command.unique));
            }
        }
        Ok(Self { keys, records })
    }

    /// The key; a row that was deleted meanwhile has none.
    fn key(&self, row: RowId) -> String {
        self.keys.get(&row).cloned().unwrap_or_else(|| format!("row {row}"))
    }

    fn record(&self, record: u64) -> ShownRecord {
        let bare = || ShownRecord { hubspot_id: record.to_string(), name: None, course_key: None };
        self.records.get(&record).cloned().unwrap_or_else(bare)
    }
}

fn shown_record(
    id: &HubSpotId,
    mut values: BTreeMap<String, String>,
    unique: &str,
) -> Option<(u64, ShownRecord)> {
    let mut take = |name: &str| values.remove(name).filter(|value| !value.is_empty());
    let (name, course_key) = (take(COURSE_NAME), take(unique));
    let shown = ShownRecord { hubspot_id: id.as_str().to_owned(), name, course_key };
    Some((id.as_str().parse().ok()?, shown))
}
