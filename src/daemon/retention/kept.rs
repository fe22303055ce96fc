//! Rows that the database refuses to delete: they are skipped, and logged once. Touches only the log.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::{Duration, Instant};

use crate::course::RowId;
use crate::outbox::OutboxError;
use crate::outbox::retention::CHUNK_ROWS;
use crate::telemetry::events;

/// How long they are skipped. Afterwards they are tried again.
const SKIPPED_FOR: Duration = Duration::from_hours(24);
/// The largest number of rows that are remembered.
const MAX_ROWS: usize = 100_000;
/// The largest number of keys in one log line.
const MAX_KEYS: usize = 10;

/// The rows that could not be deleted.
#[derive(Debug, Default)]
pub(super) struct KeptRows {
    skipped: BTreeSet<RowId>,
    /// When the first of them was refused.
    since: Option<Instant>,
    logged: BTreeSet<RowId>,
    /// Rows that are not logged yet: their number, the first keys, and the last error.
    new_rows: usize,
    new_keys: Vec<String>,
    error: String,
}

impl KeptRows {
    /// Those that the next chunk after this position may contain.
    pub(super) fn after(&mut self, position: RowId) -> Vec<RowId> {
        if self.since.is_some_and(|since| since.elapsed() > SKIPPED_FOR) {
            self.skipped.clear();
            self.since = None;
        }
        let chunk = usize::try_from(CHUNK_ROWS).unwrap_or(usize::MAX);
        self.skipped.range((Bound::Excluded(position), Bound::Unbounded)).take(chunk).copied().collect()
    }

    /// Adds a row that the database refused to delete for this reason.
    pub(super) fn add(&mut self, row: RowId, key: String, error: &OutboxError) {
        self.since.get_or_insert_with(Instant::now);
        if self.skipped.len() < MAX_ROWS {
            self.skipped.insert(row);
        }
        if self.logged.len() < MAX_ROWS && self.logged.insert(row) {
            self.new_rows += 1;
            self.error = error.to_string();
            if self.new_keys.len() < MAX_KEYS {
                self.new_keys.push(key);
            }
        }
    }

    /// Logs the rows that were added since the last call.
    pub(super) fn log_new_rows(&mut self) {
        if self.new_rows > 0 {
            tracing::warn!(
                event = events::COURSES_NOT_DELETED,
                courses = self.new_rows,
                keys = self.new_keys.join(", "),
                error = self.error,
                "courses not deleted"
            );
        }
        self.new_rows = 0;
        self.new_keys.clear();
    }
}
