//! The SQL of typical attachments, line by line where it matters.

use super::page::page_sql;
use super::*;
use crate::outbox::attach::plan::TableName;
use crate::outbox::attach::plan::tests::{attachment, shape};

fn assert_contains(sql: &str, parts: &[&str]) {
    for part in parts {
        assert!(sql.contains(part), "{part:?} is missing in\n{sql}");
    }
}

#[test]
fn an_ordinary_table_gets_triggers_for_statements() {
    let attachment = attachment();
    let sql = attach_sql(&attachment, &shape(&["code", "title", "touched_at"]));
    assert_contains(
        &sql,
        &[
            "-- course-sync: attach \"catalogue\".\"courses\" to public.course_outbox\n-- key: code\n",
            "-- column title -> hs_course_name\n",
            "security definer\n    set search_path = pg_catalog, pg_temp ",
            "revoke all on function",
            "after insert on \"catalogue\".\"courses\"\n    referencing new table as new_rows for each statement",
            "when (row(old.\"code\", old.\"title\")::record\n          operator(pg_catalog.*<>) row(new.\"code\", new.\"title\")::record",
            "before truncate on \"catalogue\".\"courses\"\n    for each statement",
            "public.course_sync_value(to_jsonb(\"courses\".\"title\"), pg_typeof(\"courses\".\"title\"), 'UTC')",
        ],
    );
    assert_eq!(sql, attach_sql(&attachment, &shape(&["code", "title", "touched_at"])));
}

#[test]
fn a_partitioned_table_gets_triggers_for_rows() {
    let shape = TableShape { mode: TriggerMode::PerRow, is_partitioned: true, ..shape(&["code", "title"]) };
    let sql = attach_sql(&attachment(), &shape);
    assert_contains(
        &sql,
        &[
            "after update on \"catalogue\".\"courses\"\n    for each row\n    when (row(old.\"code\"",
            "from (select new.*) as",
        ],
    );
    assert!(!sql.contains("referencing") && !sql.contains("only \"catalogue\""), "{sql}");
}

#[test]
fn names_values_and_conditions_cannot_leave_their_place() {
    let attachment = Attachment {
        table: TableName { schema: "a\"b".into(), name: "Odd $course_sync$ 'name' %I".into() },
        outbox: "\"my outbox\"".into(),
        key: vec!["it's\"".into(), "b".into()],
        constants: vec![("term".into(), "x'\\ $course_sync$\n; drop table t; --".into())],
        condition: Some("a = 'x\n  y' -- and b".into()),
        ..attachment()
    };
    for sql in [
        attach_sql(&attachment, &TableShape::unknown()),
        backfill_sql(&attachment, &TableShape::unknown()),
        page_sql(&attachment, &TableShape::unknown(), false),
    ] {
        assert_contains(&sql, &["\"it's\"\"\"", "E'x''\\\\ $course_sync$\\n; drop table t; --'::text"]);
        assert_contains(&sql, &["is true", "\na = 'x\n  y' -- and b\n)"]);
        assert!(!sql.lines().any(|line| line.starts_with("; drop")), "{sql}");
    }
    let sql = attach_sql(&attachment, &TableShape::unknown());
    assert_contains(&sql, &["do $course_sync_1$\n", "owner to %I", "name'' %%I"]);
    assert_contains(&sql, &["when (old.* operator(pg_catalog.*<>) new.*"]);
}

#[test]
fn many_properties_are_divided_among_calls() {
    let map = (0..90).map(|n| (format!("c{n}"), format!("p{n}"))).collect();
    let sql = backfill_sql(&Attachment { map, ..attachment() }, &TableShape::unknown());
    assert_eq!(sql.matches("jsonb_build_object(").count(), 3);
    assert_eq!(sql.matches("       || jsonb_build_object(").count(), 2);
}

#[test]
fn a_page_goes_on_after_the_last_key() {
    let attachment = Attachment { key: vec!["term".into(), "code".into()], ..attachment() };
    let first = page_sql(&attachment, &shape(&["term", "code"]), true);
    assert!(!first.contains("$2"), "{first}");
    let next = page_sql(&attachment, &shape(&["term", "code"]), false);
    let after =
        "and (\"courses\".\"term\", \"courses\".\"code\") > (($2::text[])[1]::text, ($2::text[])[2]::text)";
    assert_contains(
        &next,
        &[
            after,
            "for share of \"courses\"",
            "select array[\"courses\".\"term\"::text, \"courses\".\"code\"::text]",
        ],
    );
}

#[test]
fn detaching_removes_everything_that_attaching_created() {
    let function = TableName { schema: "old".into(), name: "course_sync_f".into() };
    let old = AttachedTrigger { name: "course_sync_insert_0".into(), function };
    let (attach, detach) = (
        attach_sql(&attachment(), &TableShape::unknown()),
        detach_sql(&attachment(), std::slice::from_ref(&old)),
    );
    for event in EVENTS {
        let name = attachment().trigger_name(event);
        assert_contains(&attach, &[&name]);
        assert_contains(&detach, &[&format!("drop trigger if exists \"{name}\" on")]);
    }
    assert_contains(
        &detach,
        &["\"course_sync_insert_0\"", "drop function if exists \"old\".\"course_sync_f\"();"],
    );
    assert_contains(&detach, &[&format!("drop function if exists {}();", attachment().function())]);
}
