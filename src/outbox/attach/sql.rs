//! The statements that attach and detach a table, and that enqueue its rows. Pure.
//!
//! Everything in the trigger's function is qualified or of Postgres itself, because its search path has nothing else: it
//! runs with the rights of the table's owner, and no other role may put an object in front of what it uses.

mod courses;
pub(super) mod page;

use std::collections::BTreeSet;

use self::courses::{courses, indent, stored_rows, write_courses};
use super::plan::{Attachment, TableShape, TriggerMode};
use super::quote::{comment, dollar_delimiter, identifier, literal};
use super::table::AttachedTrigger;

/// The events that may have a trigger. `note` is the condition for each row that a statement's trigger needs.
const EVENTS: [&str; 5] = ["insert", "note", "update", "delete", "truncate"];

/// The statements that attach the table, or change how it is attached.
#[must_use]
pub fn attach_sql(attachment: &Attachment, shape: &TableShape) -> String {
    let parts = [
        header(attachment),
        check_block(attachment, shape),
        function(attachment, shape),
        triggers(attachment, shape),
        owner_block(attachment),
    ];
    parts.join("\n")
}

/// The statements that detach the table: what this attachment creates, and the other triggers that the table has, such as
/// those from before it was renamed. Its courses stay in the outbox.
#[must_use]
pub fn detach_sql(attachment: &Attachment, triggers: &[AttachedTrigger]) -> String {
    let table = attachment.table.to_sql();
    let mut names: BTreeSet<String> = EVENTS.iter().map(|event| attachment.trigger_name(event)).collect();
    names.extend(triggers.iter().map(|trigger| trigger.name.clone()));
    let mut functions = BTreeSet::from([attachment.function()]);
    functions.extend(triggers.iter().map(|trigger| trigger.function.to_sql()));
    let mut sql = comment(&format!(
        "course-sync: detach {table} from {}.course_outbox. Its courses stay in the outbox.",
        attachment.outbox
    ));
    let triggers =
        names.iter().map(|name| format!("drop trigger if exists {} on {table};", identifier(name)));
    let functions = functions.iter().map(|function| format!("drop function if exists {function}();"));
    for statement in triggers.chain(functions) {
        sql.push('\n');
        sql += &statement;
    }
    format!("{sql}\nselect {}.course_sync_forget_refused({});\n", attachment.outbox, literal(&table))
}

/// One statement that enqueues every row of the table.
#[must_use]
pub fn backfill_sql(attachment: &Attachment, shape: &TableShape) -> String {
    let source = stored_rows(attachment, shape);
    format!(
        "-- Enqueue the rows that exist, in one transaction. For a large table run `course-sync attach … --backfill --apply`\n\
         -- instead, which commits after each 1,000 rows.\n{};\n",
        write_courses(attachment, shape, Some(&source), None)
    )
}

fn header(attachment: &Attachment) -> String {
    let table = attachment.table.to_sql();
    let mut lines = vec![
        format!("course-sync: attach {table} to {}.course_outbox", attachment.outbox),
        format!("key: {}", attachment.key.join(", ")),
    ];
    lines.extend(attachment.map.iter().map(|(column, property)| format!("column {column} -> {property}")));
    lines.extend(attachment.constants.iter().map(|(property, value)| format!("{property} = {value}")));
    lines.extend(attachment.condition.iter().map(|condition| format!("only rows where {condition}")));
    lines.push(
        "Written by `course-sync attach`. It can be run again; run it in one transaction, as the owner of the table or a \
         superuser."
            .to_owned(),
    );
    lines.iter().map(|line| comment(line) + "\n").collect()
}

/// Fails at once if the owner of the table lacks a right, or if a column or the condition is wrong; otherwise the next
/// write of the catalogue would fail.
fn check_block(attachment: &Attachment, shape: &TableShape) -> String {
    let outbox = &attachment.outbox;
    let rights = [
        ("course_key", "insert"),
        ("properties", "insert"),
        ("archived", "insert"),
        ("properties", "update"),
        ("archived", "update"),
        ("course_key", "select"),
        ("properties", "select"),
        ("archived", "select"),
    ];
    let table = literal(&format!("{outbox}.course_outbox"));
    let columns: Vec<_> = rights
        .iter()
        .map(|(column, right)| {
            format!("            and has_column_privilege(table_owner, {table}, '{column}', '{right}')\n")
        })
        .collect();
    let functions: Vec<_> =
        ["course_sync_refuse(text, text, jsonb, boolean)", "course_sync_forget_refused(text)"]
            .iter()
            .map(|function| {
                let function = literal(&format!("{outbox}.{function}"));
                format!("            and has_function_privilege(table_owner, {function}, 'execute')\n")
            })
            .collect();
    let grants = format!(
        "role %s owns the table, so its triggers write to the outbox with its rights, and it lacks some of them. As the \
         owner of the outbox, run: grant usage on schema {outbox} to %s; grant insert (course_key, properties, associations, \
         archived), update (properties, associations, archived), select (course_key, properties, associations, archived) on \
         {outbox}.course_outbox to %s; grant execute on function {outbox}.course_sync_refuse(text, text, jsonb, boolean), \
         {outbox}.course_sync_forget_refused(text) to %s"
    )
    .replace('%', "%%")
    .replace("%%s", "%1$I");
    let probe = courses(attachment, shape, &stored_rows(attachment, shape), None);
    let body = format!(
        "declare
    table_owner constant name := (select pg_get_userbyid(relowner) from pg_class where oid = {regclass}::regclass);
    path constant text := current_setting('search_path');
begin
    if not (has_schema_privilege(table_owner, {schema}, 'usage')
{rights}    ) then
        raise exception using errcode = 'insufficient_privilege', message = format({grants}, table_owner);
    end if;
    -- The triggers use this search path.
    perform set_config('search_path', 'pg_catalog, pg_temp', true);
    perform 1 from (
{probe}
    ) courses limit 0;
    perform set_config('search_path', path, true);
end",
        rights = columns.concat() + &functions.concat(),
        regclass = literal(&attachment.table.to_sql()),
        schema = literal(unquoted(outbox).as_str()),
        grants = literal(&grants),
    );
    let delimiter = dollar_delimiter(&body);
    format!("do {delimiter}\n{body} {delimiter};\n")
}

/// A name that is written in SQL, as it is stored.
fn unquoted(name: &str) -> String {
    match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => name.to_owned(),
    }
}

fn function(attachment: &Attachment, shape: &TableShape) -> String {
    let (new, old) = match shape.mode {
        TriggerMode::PerStatement => ("new_rows", "old_rows"),
        TriggerMode::PerRow => ("(select new.*)", "(select old.*)"),
    };
    let stored = stored_rows(attachment, shape);
    let branch = |new: Option<&str>, old: Option<&str>| {
        indent(attachment, &write_courses(attachment, shape, new, old), 8)
    };
    let body = format!(
        "#variable_conflict use_column
begin
    if tg_op = 'INSERT' then
{insert};
    elsif tg_op = 'UPDATE' then
{update};
    elsif tg_op = 'DELETE' then
{delete};
    elsif tg_op = 'TRUNCATE' then
        -- The rows are still there.
{truncate};
    end if;
    return null;
end",
        insert = branch(Some(new), None),
        update = branch(Some(new), Some(old)),
        delete = branch(None, Some(old)),
        truncate = branch(None, Some(&stored)),
    );
    let (function, delimiter) = (attachment.function(), dollar_delimiter(&body));
    let about = format!(
        "course-sync: writes the courses of {} to {}.course_outbox. Remove it with `course-sync detach`.",
        attachment.table.to_sql(),
        attachment.outbox
    );
    format!(
        "-- It runs with the rights of the table's owner: who writes to the table needs none on the outbox. The settings make the\n\
         -- text of a value the same in every session.\n\
         create or replace function {function}() returns trigger language plpgsql security definer\n    \
         set search_path = pg_catalog, pg_temp set jit = off\n    \
         set timezone = 'UTC' set datestyle = 'ISO, YMD' set intervalstyle = 'postgres' set extra_float_digits = 1\n\
         as {delimiter}\n{body} {delimiter};\n\
         revoke all on function {function}() from public;\n\
         comment on function {function}() is {};\n",
        literal(&about)
    )
}

fn triggers(attachment: &Attachment, shape: &TableShape) -> String {
    let note = literal(&attachment.note());
    let changed = changed_condition(attachment, shape);
    let mut sql = String::new();
    match shape.mode {
        TriggerMode::PerStatement => {
            sql += &trigger(
                attachment,
                "insert",
                "after insert",
                "referencing new table as new_rows for each statement",
            );
            sql += "-- A condition for each row notes whether a statement changed what is sent. It is false, so that its trigger does\n\
                    -- nothing; the trigger for the statement reads the note. So other updates cost nearly nothing.\n";
            let condition = format!(
                "for each row\n    when ({changed}\n          and pg_catalog.set_config({note}, \
                 pg_catalog.pg_current_xact_id()::text, true) is null)"
            );
            sql += &trigger(attachment, "note", "after update", &condition);
            let condition = format!(
                "referencing old table as old_rows new table as new_rows for each statement\n    when \
                 (pg_catalog.current_setting({note}, true) = pg_catalog.pg_current_xact_id_if_assigned()::text)"
            );
            sql += &trigger(attachment, "update", "after update", &condition);
            sql += &trigger(
                attachment,
                "delete",
                "after delete",
                "referencing old table as old_rows for each statement",
            );
        }
        TriggerMode::PerRow => {
            sql += "-- For each row: a statement may name a partition, or a table that inherits from this one.\n";
            sql += &drop_trigger(attachment, "note");
            sql.push('\n');
            sql += &trigger(attachment, "insert", "after insert", "for each row");
            sql += &trigger(
                attachment,
                "update",
                "after update",
                &format!("for each row\n    when ({changed})"),
            );
            sql += &trigger(attachment, "delete", "after delete", "for each row");
        }
    }
    sql += "-- truncate deletes every row.\n";
    sql + &trigger(attachment, "truncate", "before truncate", "for each statement")
}

fn trigger(attachment: &Attachment, event: &str, when: &str, what: &str) -> String {
    format!(
        "create or replace trigger {} {when} on {}\n    {what}\n    execute function {}();\n",
        identifier(&attachment.trigger_name(event)),
        attachment.table.to_sql(),
        attachment.function()
    )
}

fn drop_trigger(attachment: &Attachment, event: &str) -> String {
    let name = identifier(&attachment.trigger_name(event));
    format!("drop trigger if exists {name} on {};", attachment.table.to_sql())
}

/// Whether a row changed in a column that matters. Compared byte by byte, because some types have no equality, and for
/// others values are equal that are sent as different texts.
fn changed_condition(attachment: &Attachment, shape: &TableShape) -> String {
    match attachment.watched_columns(shape) {
        None => "old.* operator(pg_catalog.*<>) new.*".to_owned(),
        Some(columns) => {
            let of = |row: &str| {
                let columns: Vec<_> =
                    columns.iter().map(|name| format!("{row}.{}", identifier(name))).collect();
                format!("row({})::record", columns.join(", "))
            };
            format!("{}\n          operator(pg_catalog.*<>) {}", of("old"), of("new"))
        }
    }
}

/// The function belongs to the owner of the table, also if a superuser runs these statements: a function of a superuser would
/// evaluate with a superuser's rights what the owner of the table can change, such as a type.
fn owner_block(attachment: &Attachment) -> String {
    let statement = format!("alter function {}() owner to ", attachment.function()).replace('%', "%%") + "%I";
    let body = format!(
        "begin
    execute format({statement},
                   (select pg_get_userbyid(relowner) from pg_class where oid = {regclass}::regclass));
end",
        statement = literal(&statement),
        regclass = literal(&attachment.table.to_sql()),
    );
    let delimiter = dollar_delimiter(&body);
    format!("-- Not with the rights of a superuser.\ndo {delimiter}\n{body} {delimiter};\n")
}

#[cfg(test)]
mod tests;
