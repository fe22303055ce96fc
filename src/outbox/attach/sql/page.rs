//! The statements of a backfill. Pure.

use super::super::plan::{Attachment, TableShape};
use super::super::quote::identifier;
use super::courses::{courses, indent, insert, stored_rows, where_clause};

/// The settings of a page. All but the first are those of the triggers' function.
const PAGE_SETTINGS: [(&str, &str); 5] = [
    ("lock_timeout", "300ms"),
    ("timezone", "UTC"),
    ("datestyle", "ISO, YMD"),
    ("intervalstyle", "postgres"),
    ("extra_float_digits", "1"),
];

/// One statement that enqueues the next rows after a key, and locks them until it ends. Parameters: `$1` the number of rows,
/// `$2` the values of the last key, as texts, unless it is the first page.
///
/// A page is a transaction. While it waits for a row that another transaction holds, that one may wait for a row of the page:
/// the short time limit ends the page before Postgres looks for a deadlock and ends the transaction of the catalogue.
///
/// Index: one on the columns of the key.
pub(in crate::outbox::attach) fn page_sql(
    attachment: &Attachment,
    shape: &TableShape,
    is_first: bool,
) -> String {
    let alias = identifier(&attachment.table.name);
    let columns: Vec<_> = attachment.key.iter().map(|name| format!("{alias}.{}", identifier(name))).collect();
    let present: Vec<_> = columns.iter().map(|column| format!("\n       and {column} is not null")).collect();
    let present = present.concat();
    let after: Vec<_> = attachment
        .key
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let type_name = shape.column(name).map_or("text", |column| column.type_name.as_str());
            format!("($2::text[])[{}]::{type_name}", at + 1)
        })
        .collect();
    let list = columns.join(", ");
    let after =
        if is_first { String::new() } else { format!("\n       and ({list}) > ({})", after.join(", ")) };
    let backwards: Vec<_> = columns.iter().map(|column| format!("{column} desc")).collect();
    let cursor: Vec<_> = columns.iter().map(|column| format!("{column}::text")).collect();
    let settings: Vec<_> =
        PAGE_SETTINGS.iter().map(|(name, value)| format!("set_config('{name}', '{value}', true)")).collect();
    let courses = indent(attachment, &courses(attachment, shape, "course_sync_page", None), 4);
    let insert =
        indent(attachment, &insert(attachment, "select *, false as archived from course_sync_new"), 4);
    format!(
        "-- enqueue the rows of an attached table
with course_sync_page as materialized (
    select {alias}.*
      from {rows} as {alias}
     where (select {settings}) <> ''{present}{after}
     order by {list}
     limit $1
       for share of {alias}
), course_sync_new as materialized (
{courses}
), written as (
{insert}
    returning 1
)
select (select count(*) from course_sync_page) as seen,
       (select count(*) from course_sync_new) as courses,
       (select count(*) from written) as written,
       (select count(*) from course_sync_new
         where not {outbox}.course_sync_is_usable(course_key, properties)) as refused,
       (select array[{cursor}] from course_sync_page as {alias} order by {backwards} limit 1) as last_key",
        settings = settings.join(" || "),
        rows = stored_rows(attachment, shape),
        cursor = cursor.join(", "),
        backwards = backwards.join(", "),
        outbox = attachment.outbox,
    )
}

/// Counts the rows that have no key.
///
/// Index: none; it reads the table once.
pub(in crate::outbox::attach) fn count_without_key_sql(
    attachment: &Attachment,
    shape: &TableShape,
) -> String {
    let alias = identifier(&attachment.table.name);
    let absent: Vec<_> =
        attachment.key.iter().map(|name| format!("{alias}.{} is null", identifier(name))).collect();
    format!(
        "-- count the rows of an attached table that have no key\nselect count(*) from {} as {alias} where ({}){}",
        stored_rows(attachment, shape),
        absent.join(" or "),
        where_clause(attachment, " and ")
    )
}
