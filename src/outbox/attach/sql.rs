//! The statements that attach and detach a table, and that enqueue its rows. Pure.
//!
//! Everything in the trigger's function is qualified or of Postgres itself, because its search path has nothing else: it
//! runs with the rights of the table's owner, and no other role may put an object in front of what it uses.

use std::collections::BTreeSet;

use super::plan::{Attachment, TableShape, TriggerMode};
use super::quote::{comment, dollar_delimiter, identifier, literal};
use super::table::AttachedTrigger;

/// The largest number of properties in one call: a function has at most 100 arguments.
const PROPERTIES_PER_CALL: usize = 40;

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
    for name in names {
        sql += &format!("\ndrop trigger if exists {} on {table};", identifier(&name));
    }
    for function in functions {
        sql += &format!("\ndrop function if exists {function}();");
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
    let columns: String = rights
        .iter()
        .map(|(column, right)| {
            format!("            and has_column_privilege(table_owner, {table}, '{column}', '{right}')\n")
        })
        .collect();
    let functions: String =
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
{columns}{functions}    ) then
        raise exception using errcode = 'insufficient_privilege', message = format({grants}, table_owner);
    end if;
    -- The triggers use this search path.
    perform set_config('search_path', 'pg_catalog, pg_temp', true);
    perform 1 from (
{probe}
    ) courses limit 0;
    perform set_config('search_path', path, true);
end",
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
        "-- It runs with the rights of the table's owner: who writes to the table needs none on the outbox.\n\
         create or replace function {function}() returns trigger language plpgsql security definer\n    \
         set search_path = pg_catalog, pg_temp set timezone = 'UTC' set jit = off as {delimiter}\n{body} {delimiter};\n\
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
            sql += &format!("{}\n", drop_trigger(attachment, "note"));
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

/// The function belongs to the owner of the table, whoever runs these statements: a function of a superuser would
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

/// The rows of the table itself. Those of tables that inherit from it are not its own.
fn stored_rows(attachment: &Attachment, shape: &TableShape) -> String {
    let only = if shape.is_partitioned { "" } else { "only " };
    format!("{only}{}", attachment.table.to_sql())
}

/// One statement that writes the courses of `new` rows to the outbox, and archives those of `old` rows that are not among
/// the new ones.
///
/// Index: `course_outbox_course_key_unique`.
fn write_courses(
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
fn insert(attachment: &Attachment, source: &str) -> String {
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
fn where_clause(attachment: &Attachment, before: &str) -> String {
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
fn indent(attachment: &Attachment, text: &str, spaces: usize) -> String {
    if attachment.condition.as_deref().is_some_and(|condition| condition.contains('\n')) {
        return text.to_owned();
    }
    let margin = " ".repeat(spaces);
    text.lines().map(|line| format!("{margin}{line}")).collect::<Vec<_>>().join("\n")
}

/// One statement that enqueues the next rows after a key, and locks them until it ends. Parameters: `$1` the number of rows,
/// `$2` the values of the last key, as texts, unless it is the first page.
///
/// A page is a transaction. While it waits for a row that another transaction holds, that one may wait for a row of the page:
/// the short time limit ends the page before Postgres looks for a deadlock and ends the transaction of the catalogue.
///
/// Index: one on the columns of the key.
pub(super) fn page_sql(attachment: &Attachment, shape: &TableShape, is_first: bool) -> String {
    let alias = identifier(&attachment.table.name);
    let columns: Vec<_> = attachment.key.iter().map(|name| format!("{alias}.{}", identifier(name))).collect();
    let present: String = columns.iter().map(|column| format!("\n       and {column} is not null")).collect();
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
    let last: Vec<_> = columns.iter().map(|column| format!("{column}::text")).collect();
    let courses = indent(attachment, &courses(attachment, shape, "course_sync_page", None), 4);
    let insert =
        indent(attachment, &insert(attachment, "select *, false as archived from course_sync_new"), 4);
    format!(
        "-- enqueue the rows of an attached table
with course_sync_page as materialized (
    select {alias}.*
      from {rows} as {alias}
     where (select set_config('lock_timeout', '300ms', true) || set_config('timezone', 'UTC', true)) <> ''{present}{after}
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
       (select array[{last}] from course_sync_page as {alias} order by {backwards} limit 1) as last_key",
        rows = stored_rows(attachment, shape),
        last = last.join(", "),
        backwards = backwards.join(", "),
        outbox = attachment.outbox,
    )
}

/// Counts the rows that have no key.
///
/// Index: none; it reads the table once.
pub(super) fn count_without_key_sql(attachment: &Attachment, shape: &TableShape) -> String {
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

#[cfg(test)]
mod tests;
