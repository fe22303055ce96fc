//! Counts the changes that sending would make to existing records, and lists the first ones. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::limits::SendingLimits;
use crate::cli::format::{sanitize, truncate};
use crate::course::{ClaimedCourse, HeldProperties, Patch, Properties, PropertyValue};

/// The largest number of updates that are listed.
const MAX_LISTED: usize = 100;
/// The largest number of updates that the text shows.
const MAX_SHOWN: usize = 20;
/// Characters of a value and of a key that the text shows.
const MAX_VALUE: usize = 60;
/// Bytes that an update adds to a request besides its properties.
const ENVELOPE_BYTES: u64 = 60;
/// A batch of archives is read, archived, and read back.
const REQUESTS_PER_ARCHIVE: u64 = 3;

/// The changes that sending would make.
#[derive(Debug)]
pub(super) struct ChangeForecast {
    /// Archives that are not released are held.
    holds_archives: bool,
    updated: u64,
    unchanged: u64,
    archived: u64,
    held: u64,
    withdrawn: u64,
    bytes: u64,
    listed: Vec<CourseChange>,
}

/// One update.
#[derive(Debug)]
struct CourseChange {
    key: String,
    hubspot_id: String,
    properties: Vec<PropertyChange>,
}

#[derive(Debug)]
struct PropertyChange {
    name: String,
    /// `None`: not known. Empty: HubSpot holds no value.
    old: Option<String>,
    /// Empty: the property is cleared.
    new: String,
}

/// What an update of the course sends. The record holds the key already.
pub(super) fn sent_patch(course: &ClaimedCourse, unique: Option<&str>) -> Patch {
    let mut patch = course.record.as_ref().map(|record| record.patch.clone()).unwrap_or_default();
    patch.retain(|name, _| Some(name.as_str()) != unique);
    patch
}

/// The patch as properties.
pub(super) fn as_properties(patch: &Patch) -> Properties {
    patch.iter().map(|(name, value)| (name.clone(), PropertyValue::Text(value.clone()))).collect()
}

impl ChangeForecast {
    pub(super) fn new(holds_archives: bool) -> Self {
        Self {
            holds_archives,
            updated: 0,
            unchanged: 0,
            archived: 0,
            held: 0,
            withdrawn: 0,
            bytes: 0,
            listed: Vec::new(),
        }
    }

    /// Counts an update that sends this patch. `held`: what the record is known to hold.
    pub(super) fn add_update(
        &mut self,
        course: &ClaimedCourse,
        held: Option<&HeldProperties>,
        patch: &Patch,
    ) {
        self.updated += 1;
        let sent: usize = patch.iter().map(|(name, value)| name.len() + value.len() + 6).sum();
        self.bytes += sent as u64 + ENVELOPE_BYTES;
        if self.listed.len() >= MAX_LISTED {
            return;
        }
        let known: Option<BTreeMap<&str, Option<String>>> = held.map(|held| held.values().collect());
        let old = |name: &str| match &known {
            None => None,
            Some(known) => known.get(name).cloned().unwrap_or_else(|| Some(String::new())),
        };
        let change = |(name, new): (&String, &String)| PropertyChange {
            name: name.clone(),
            old: old(name),
            new: new.clone(),
        };
        self.listed.push(CourseChange {
            key: course.key.as_str().to_owned(),
            hubspot_id: course
                .record
                .as_ref()
                .map(|record| record.id.as_str().to_owned())
                .unwrap_or_default(),
            properties: patch.iter().map(change).collect(),
        });
    }

    /// Counts a change that needs no request, because HubSpot holds the properties already.
    pub(super) fn add_unchanged(&mut self) {
        self.unchanged += 1;
    }

    /// Counts the archive of a record.
    pub(super) fn add_archive(&mut self, is_released: bool) {
        if self.holds_archives && !is_released {
            self.held += 1;
        } else {
            self.archived += 1;
        }
    }

    /// Counts a course that is withdrawn and has no record.
    pub(super) fn add_withdrawn(&mut self) {
        self.withdrawn += 1;
    }

    /// The courses that were counted.
    pub(super) fn count(&self) -> u64 {
        self.updated + self.unchanged + self.archived + self.held + self.withdrawn
    }

    /// The requests needed: full batches of updates, and of archives.
    pub(super) fn count_requests(&self, limits: &SendingLimits) -> u64 {
        let size = (limits.batch_size as u64).max(1);
        let by_bytes = self.bytes.div_ceil(limits.batch_bytes.max(1));
        self.updated.div_ceil(size).max(by_bytes) + self.archived.div_ceil(size) * REQUESTS_PER_ARCHIVE
    }

    /// The members that these changes add to the report.
    pub(super) fn as_json(&self) -> [(&'static str, Value); 7] {
        let listed = self.listed.len() as u64;
        [
            ("updated", json!(self.updated)),
            ("unchanged", json!(self.unchanged)),
            ("archived", json!(self.archived)),
            ("archives_held", json!(self.held)),
            ("withdrawn", json!(self.withdrawn)),
            ("updates", self.listed.iter().map(CourseChange::as_json).collect()),
            ("updates_not_listed", json!(self.updated.saturating_sub(listed))),
        ]
    }

    /// The counts that are not 0, one line each.
    pub(super) fn count_lines(&self, archive_limit: u32) -> Vec<String> {
        let held = format!(
            "archives are held: more than {archive_limit} are pending (outbox.archive_limit); see `course-sync resume --help`"
        );
        let counts = [
            (self.updated, "would be updated"),
            (self.unchanged, "need no request: HubSpot already holds their properties"),
            (self.archived, "would be archived"),
            (self.held, held.as_str()),
            (self.withdrawn, "are withdrawn and have no record in HubSpot: they need no request"),
        ];
        counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, text)| format!("{count:>10} {text}"))
            .collect()
    }

    /// The first updates, with the old and the new value of each property.
    pub(super) fn update_lines(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.listed.iter().take(MAX_SHOWN).flat_map(CourseChange::lines).collect();
        let shown = self.listed.len().min(MAX_SHOWN) as u64;
        if self.updated > shown {
            lines.push(format!("and {} more updates", self.updated - shown));
        }
        lines
    }
}

impl CourseChange {
    fn as_json(&self) -> Value {
        json!({
            "key": self.key,
            "hubspot_id": self.hubspot_id,
            "properties": self.properties.iter().map(PropertyChange::as_json).collect::<Vec<_>>(),
        })
    }

    fn lines(&self) -> Vec<String> {
        let (key, id) = (truncate(&self.key, MAX_VALUE), sanitize(&self.hubspot_id));
        let head = format!("update {key}, HubSpot record {id}");
        std::iter::once(head).chain(self.properties.iter().map(PropertyChange::line)).collect()
    }
}

impl PropertyChange {
    fn as_json(&self) -> Value {
        // An empty text and no value are the same for HubSpot.
        let value = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        json!({
            "name": self.name,
            "old": self.old.as_deref().and_then(value),
            "old_is_known": self.old.is_some(),
            "new": value(&self.new),
        })
    }

    fn line(&self) -> String {
        let shown = |text: &str| match text {
            "" => "empty".to_owned(),
            text => format!("{:?}", truncate(text, MAX_VALUE)),
        };
        let old = self.old.as_deref().map_or_else(|| "unknown".to_owned(), shown);
        format!("    {}: {old} → {}", truncate(&self.name, MAX_VALUE), shown(&self.new))
    }
}
