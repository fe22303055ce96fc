//! What `attach` and `detach` print. Pure.

use serde::Serialize;

use crate::outbox::attach::backfill::BackfillReport;

/// The result of the command, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct AttachReport {
    /// The table, as it is written in SQL.
    pub(super) table: String,
    /// The schema of the outbox, as it is written in SQL.
    pub(super) outbox: String,
    /// The SQL was executed.
    pub(super) applied: bool,
    /// What the backfill did, if it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) backfill: Option<BackfillReport>,
    pub(super) warnings: Vec<String>,
    pub(super) sql: String,
}

impl AttachReport {
    /// The end of the text, as comments of SQL.
    pub(super) fn to_comments(&self, what: &str) -> String {
        let mut lines = vec![format!("-- {what}: {}", self.table)];
        if let Some(BackfillReport { rows, courses, written, refused, without_key }) = self.backfill {
            let unchanged = courses.saturating_sub(written + refused);
            lines.push(format!(
                "-- rows {rows}, courses enqueued or changed {written}, already there {unchanged}, refused {refused}, \
                 without key {without_key}"
            ));
        }
        lines.join("\n")
    }
}
