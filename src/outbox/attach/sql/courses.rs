//! The query that turns rows of an attached table into courses, and the statement that writes them. Pure.

use super::super::plan::{Attachment, TableShape, TriggerMode};
use super::super::quote::{identifier, literal};

/// The largest number of properties in one call: a function has at most 100 arguments.
const PROPERTIES_PER_CALL: usize = 40;

/// The rows of the table itself. Those of tables that inherit from it are not its own.
pub(super) fn stored_rows(attachment: &Attachment, shape: &TableShape) -> String {
    let only = if shape.is_partitioned { "" } else { "only " };
    format!("{only}{}", attachment.table.to_sql())
}

/// One statement that writes the courses of `new` rows to the outbox, and archives those of `old` rows that are not among
/// the new ones.
///
/// Index: `course_outbox_course_key_unique`.
pub(super) fn write_courses(
    attachment: &Attachment,
    shape: &TableShape,
    new: Option<&str>,
    old: Option<&str>,
) -> String {
    let mut tables = Vec::new();
    let mut sources = Vec::new();
    if let Some(rows) = new {
        let courses = indent(attachment, &courses(attachment, shape, rows, None), 4);
        tables.push(format!("course_sync_new as materialized (\n{courses}\n)"));
    }
    if let Some(rows) = old {
        let is_gone = new.map(|_| is_gone(attachment, shape));
        let courses = indent(attachment, &courses(attachment, shape, rows, is_gone.as_deref()), 4);
        tables.push(format!("course_sync_old as materialized (\n{courses}\n)"));
        // First, so that a course that is still refused is removed from the refused ones and then added again.
        sources.push("select course_key, properties, true as archived from course_sync_old");
    }
    if new.is_some() {
        sources.push("select course_key, properties, false as archived from course_sync_new");
    }
    format!("with {}\n{}", tables.join(",\n"), insert(attachment, &sources.join("\n      union all ")))
}

/// The condition that no new row has the key of an old one.
fn is_gone(attachment: &Attachment, shape: &TableShape) -> String {
    let not_new = "course_sync_key is null\n    or course_sync_key not in (select course_key from course_sync_new where \
                   course_key is not null)";
    match shape.mode {
        TriggerMode::PerStatement => not_new.to_owned(),
        // Another row that the same statement changed may have taken the key.
        TriggerMode::PerRow => {
            let (alias, table) = (identifier(&attachment.table.name), stored_rows(attachment, shape));
            let same: Vec<_> = attachment
                .key
                .iter()
                .map(|column| format!("{alias}.{column} = old.{column}", column = identifier(column)))
                .collect();
            let condition = where_clause(attachment, " and ");
            format!(
                "({not_new})\n  and not exists (select from {table} as {alias} where {}{condition})",
                same.join(" and ")
            )
        }
    }
}

/// The insert of courses that a query yields with `course_key`, `properties` and `archived`.
pub(super) fn insert(attachment: &Attachment, source: &str) -> String {
    let outbox = &attachment.outbox;
    let table = literal(&attachment.table.to_sql());
    format!(
        "insert into {outbox}.course_outbox as o (course_key, properties, archived)
select distinct on (course_key) course_key, properties, archived
  from ({source}) courses
 -- A course that the outbox cannot hold is kept elsewhere; the write of the catalogue goes on.
 where case when {outbox}.course_sync_is_usable(course_key, properties) then true
            else {outbox}.course_sync_refuse({table}, course_key, properties, archived) end
 order by course_key, archived, properties
on conflict (course_key) do update
   set properties = case when excluded.archived then o.properties else excluded.properties end,
       archived = excluded.archived
 where o.archived <> excluded.archived or not excluded.archived and o.properties is distinct from excluded.properties"
    )
}

/// The query for the courses of some rows. The properties are computed after the key is known to be wanted.
pub(super) fn courses(
    attachment: &Attachment,
    shape: &TableShape,
    rows: &str,
    wanted: Option<&str>,
) -> String {
    let alias = identifier(&attachment.table.name);
    let condition = where_clause(attachment, "\n     where ");
    let wanted = wanted.map(|wanted| format!("\n where {wanted}")).unwrap_or_default();
    format!(
        "select course_sync_key as course_key,
       {properties} as properties
  from (
    select {key} as course_sync_key, {alias}.*
      from {rows} as {alias}{condition}
    offset 0
  ) as {alias}{wanted}",
        properties = properties(attachment, shape),
        key = key(attachment, shape),
    )
}

/// The condition on its own lines, so that a comment in it ends with it.
pub(super) fn where_clause(attachment: &Attachment, before: &str) -> String {
    let condition = attachment.condition.as_deref();
    condition.map(|condition| format!("{before}((\n{condition}\n) is true)")).unwrap_or_default()
}

fn key(attachment: &Attachment, shape: &TableShape) -> String {
    let parts: Vec<_> = attachment.key.iter().map(|column| value(attachment, shape, column)).collect();
    format!("{}.course_sync_key({}, {})", attachment.outbox, literal(&attachment.separator), parts.join(", "))
}

fn properties(attachment: &Attachment, shape: &TableShape) -> String {
    let mapped = attachment
        .map
        .iter()
        .map(|(column, property)| format!("{}, {}", literal(property), value(attachment, shape, column)));
    let constants = attachment
        .constants
        .iter()
        .map(|(property, value)| format!("{}, {}::text", literal(property), literal(value)));
    let pairs: Vec<_> = mapped.chain(constants).collect();
    let objects = pairs
        .chunks(PROPERTIES_PER_CALL)
        .map(|pairs| format!("jsonb_build_object(\n           {})", pairs.join(",\n           ")));
    objects.collect::<Vec<_>>().join("\n       || ")
}

/// The value of a column as it is sent. Its type is looked at when it is written.
fn value(attachment: &Attachment, shape: &TableShape, column: &str) -> String {
    let name = format!("{}.{}", identifier(&attachment.table.name), identifier(column));
    let cast = if shape.column(column).is_some_and(|column| column.is_json) { "::text" } else { "" };
    format!(
        "{}.course_sync_value(to_jsonb({name}{cast}), pg_typeof({name}), {})",
        attachment.outbox,
        literal(&attachment.zone)
    )
}

/// The text with a margin; unchanged if the condition has several lines, because one may be inside of a literal.
pub(super) fn indent(attachment: &Attachment, text: &str, spaces: usize) -> String {
    if attachment.condition.as_deref().is_some_and(|condition| condition.contains('\n')) {
        return text.to_owned();
    }
    let margin = " ".repeat(spaces);
    text.lines().map(|line| format!("{margin}{line}")).collect::<Vec<_>>().join("\n")
}
