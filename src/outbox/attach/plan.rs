//! What an attachment is: a table, how its rows become courses, and the names of what it creates. Pure.

use super::quote::identifier;

/// The longest part of a table's name that is repeated in the name of its function. Postgres cuts names at 63 bytes.
const MAX_NAME_PART: usize = 36;

/// A table of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    /// The schema, as it is stored.
    pub schema: String,
    /// The name, as it is stored.
    pub name: String,
}

impl TableName {
    /// As it is written in SQL.
    #[must_use]
    pub fn to_sql(&self) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(&self.name))
    }
}

/// How the rows of a table become courses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The table.
    pub table: TableName,
    /// The schema of the outbox, as it is written in SQL.
    pub outbox: String,
    /// The columns that form the course key, in order; at least one.
    pub key: Vec<String>,
    /// The text between the columns of the key.
    pub separator: String,
    /// Column → property.
    pub map: Vec<(String, String)>,
    /// Property → value.
    pub constants: Vec<(String, String)>,
    /// The condition that a row meets to be a course, in SQL.
    pub condition: Option<String>,
    /// The time zone of timestamps that have none.
    pub zone: String,
}

/// Which triggers can see every change of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerMode {
    /// One call for all rows of a statement.
    PerStatement,
    /// One call for each row: in a partitioned table, or one that others inherit from, a statement may name another table.
    PerRow,
}

/// A column of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The name, as it is stored.
    pub name: String,
    /// The type, as it is written in SQL.
    pub type_name: String,
    /// Its type is `json`, which may hold characters that `jsonb` cannot.
    pub is_json: bool,
    /// It is computed when it is read, so triggers do not see its value.
    pub is_virtual: bool,
    /// It is never null.
    pub is_not_null: bool,
}

/// What is known of the table. Without it, the SQL is written for an ordinary table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableShape {
    /// Its columns; empty if they are not known.
    pub columns: Vec<Column>,
    /// Which triggers it needs.
    pub mode: TriggerMode,
    /// Its rows are in its partitions.
    pub is_partitioned: bool,
}

impl TableShape {
    /// The shape of a table of which nothing is known.
    #[must_use]
    pub const fn unknown() -> Self {
        Self { columns: Vec::new(), mode: TriggerMode::PerStatement, is_partitioned: false }
    }

    /// The column with this name, if it is known.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

impl Attachment {
    /// The columns that are sent, without repetition: those of the key first.
    #[must_use]
    pub fn sent_columns(&self) -> Vec<&str> {
        let mut columns: Vec<&str> = Vec::new();
        for name in self.key.iter().chain(self.map.iter().map(|(column, _)| column)) {
            if !columns.contains(&name.as_str()) {
                columns.push(name);
            }
        }
        columns
    }

    /// The columns whose change may change a course; `None`: all. The condition may use any column that it names.
    #[must_use]
    pub fn watched_columns(&self, shape: &TableShape) -> Option<Vec<String>> {
        let mut watched: Vec<String> = self.sent_columns().into_iter().map(str::to_owned).collect();
        let Some(condition) = &self.condition else { return Some(watched) };
        if shape.columns.is_empty() || uses_whole_row(condition, &self.table.name) {
            return None;
        }
        let text = condition.to_lowercase();
        let named = shape.columns.iter().filter(|column| text.contains(&column.name.to_lowercase()));
        watched.extend(named.map(|column| column.name.clone()).filter(|name| !self.is_sent(name)));
        Some(watched)
    }

    fn is_sent(&self, column: &str) -> bool {
        self.sent_columns().contains(&column)
    }

    /// The number in the names of what this attachment creates: one for each pair of table and outbox.
    fn digest(&self) -> String {
        let text = format!("{} {}", self.table.to_sql(), self.outbox);
        // FNV-1a: short, and the same in every version of this program.
        let hash = text
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        format!("{hash:08x}")
    }

    /// The name of the function of the triggers, in the schema of the table.
    #[must_use]
    pub fn function_name(&self) -> String {
        let mut part = self.table.name.clone();
        let end = (0..=MAX_NAME_PART.min(part.len())).rev().find(|at| part.is_char_boundary(*at));
        part.truncate(end.unwrap_or_default());
        format!("course_sync_{part}_{}", self.digest())
    }

    /// The function of the triggers, as it is written in SQL.
    #[must_use]
    pub fn function(&self) -> String {
        format!("{}.{}", identifier(&self.table.schema), identifier(&self.function_name()))
    }

    /// The name of a trigger, such as that for `insert`.
    #[must_use]
    pub fn trigger_name(&self, event: &str) -> String {
        format!("course_sync_{event}_{}", self.digest())
    }

    /// The setting that notes a change in a transaction.
    pub(super) fn note(&self) -> String {
        format!("course_sync.changed_{}", self.digest())
    }
}

/// Whether a condition may use the row as a whole, or names that this program cannot recognise: `f(courses)`,
/// `courses.*`, `U&"…"`.
fn uses_whole_row(condition: &str, table: &str) -> bool {
    let text = condition.to_lowercase();
    let table = table.to_lowercase();
    text.contains("u&\"")
        || text.match_indices(&table).any(|(at, _)| {
            let rest = text.get(at + table.len()..).unwrap_or_default();
            let rest = rest.strip_prefix('"').unwrap_or(rest).trim_start();
            rest.strip_prefix('.').is_none_or(|column| column.trim_start().starts_with('*'))
        })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::outbox::attach) fn attachment() -> Attachment {
        Attachment {
            table: TableName { schema: "catalogue".into(), name: "courses".into() },
            outbox: "public".into(),
            key: vec!["code".into()],
            separator: "-".into(),
            map: vec![("title".into(), "hs_course_name".into())],
            constants: Vec::new(),
            condition: None,
            zone: "UTC".into(),
        }
    }

    pub(in crate::outbox::attach) fn shape(names: &[&str]) -> TableShape {
        let column = |name: &&str| Column {
            name: (*name).to_owned(),
            type_name: "text".to_owned(),
            is_json: false,
            is_virtual: false,
            is_not_null: true,
        };
        TableShape { columns: names.iter().map(column).collect(), ..TableShape::unknown() }
    }

    #[test]
    fn names_differ_by_table_and_outbox_and_fit() {
        let one = attachment();
        let other_outbox = Attachment { outbox: "sync".into(), ..one.clone() };
        let mut long = one.clone();
        long.table.name = "ü".repeat(60);
        let names = [&one, &other_outbox, &long].map(Attachment::function_name);
        assert!(names[0].starts_with("course_sync_courses_"), "{names:?}");
        assert_ne!(names[0], names[1]);
        assert!(names.iter().all(|name| name.len() <= 63), "{names:?}");
        assert_eq!(one.function_name(), Attachment { key: vec!["id".into()], ..one.clone() }.function_name());
    }

    #[test]
    fn a_change_of_a_column_that_the_condition_names_is_watched() {
        let columns = shape(&["code", "title", "Active", "touched_at", "id"]);
        for (condition, watched) in [
            (None, Some(vec!["code", "title"])),
            (Some("\"Active\" and title <> ''"), Some(vec!["code", "title", "Active"])),
            (Some("courses.touched_at > '2026-01-01'"), Some(vec!["code", "title", "touched_at"])),
            (Some("f(courses)"), None),
            (Some("row(courses.*) is not null"), None),
            (Some("U&\"\\0061ctive\""), None),
        ] {
            let attachment = Attachment { condition: condition.map(str::to_owned), ..attachment() };
            let found = attachment.watched_columns(&columns);
            let watched: Option<Vec<String>> =
                watched.map(|names| names.into_iter().map(str::to_owned).collect());
            assert_eq!(found, watched, "{condition:?}");
            let unknown = attachment.watched_columns(&TableShape::unknown());
            assert_eq!(unknown.is_none(), condition.is_some());
        }
    }
}
