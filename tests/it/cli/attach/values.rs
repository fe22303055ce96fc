//! How values of each type are sent, and what happens to courses that the outbox cannot hold.

use serde_json::{Value, json};

use super::{apply, execute, keys, run_command, world_with_catalogue};
use crate::support::world::World;

/// The type of a column, a value as SQL, and what is in the properties.
fn values() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("text", "'Käse; \"x\"'", json!("Käse; \"x\"")),
        ("text", "null", Value::Null),
        ("varchar(10)", "'abc'", json!("abc")),
        ("char(5)", "'ab'", json!("ab")),
        ("integer", "-7", json!(-7)),
        ("bigint", "9007199254740993", json!(9_007_199_254_740_993_i64)),
        ("numeric(10,2)", "19.90", serde_json::from_str("19.9").unwrap()),
        ("numeric", "50.000", json!(50)),
        ("numeric", "1e20", serde_json::from_str("100000000000000000000").unwrap()),
        ("numeric", "'NaN'", json!("NaN")),
        ("double precision", "0.1", serde_json::from_str("0.1").unwrap()),
        ("double precision", "1e15", serde_json::from_str("1000000000000000").unwrap()),
        ("real", "2.5", serde_json::from_str("2.5").unwrap()),
        ("money", "1234.50", serde_json::from_str("\"1234.5\"").unwrap()),
        ("boolean", "true", json!(true)),
        ("date", "'2026-09-01'", json!("2026-09-01")),
        ("date", "'infinity'", Value::Null),
        ("timestamptz", "'2026-09-01 09:00:00.1239+02'", json!("2026-09-01T07:00:00.123Z")),
        ("timestamptz", "'-infinity'", Value::Null),
        ("timestamp", "'2026-07-01 09:00:00'", json!("2026-07-01T07:00:00Z")),
        ("time", "'09:30'", json!("09:30:00")),
        ("uuid", "'6ecd8c99-4036-403d-bf84-cf8400f67836'", json!("6ecd8c99-4036-403d-bf84-cf8400f67836")),
        ("text[]", "array['mon', null, 'wed']", json!("mon;wed")),
        ("text[]", "'{}'", Value::Null),
        ("int[]", "array[[1, 2], [3, 4]]", json!("1;2;3;4")),
        ("numeric[]", "array[1.50]", json!("1.5")),
        ("timestamptz[]", "array['2026-09-01 09:00+02'::timestamptz]", json!("2026-09-01T07:00:00Z")),
        ("json", "'[1, 2]'", json!("[1, 2]")),
        ("jsonb", "'{\"a\": 1}'", json!("{\"a\": 1}")),
        ("jsonb", "'\"text\"'", json!("text")),
        ("mood", "'very happy'", json!("very happy")),
        ("mood[]", "array['sad', 'very happy']::mood[]", json!("sad;very happy")),
        ("starts", "'2026-09-01 09:00+02'", json!("2026-09-01T07:00:00Z")),
        ("pair", "row(1, 'x')", json!("{\"a\": 1, \"b\": \"x\"}")),
        ("int4range", "'[1,5)'", json!("[1,5)")),
        ("tstzrange", "'[2026-09-01 00:00+02,)'", json!("[\"2026-08-31 22:00:00+00\",)")),
        ("interval", "'1 day 2 hours'", json!("1 day 02:00:00")),
    ]
}

#[tokio::test]
async fn values_arrive_as_hubspot_expects_them_in_every_session() {
    let world = World::new().await;
    let pool = world.pool();
    execute(
        pool,
        "create type mood as enum ('sad', 'very happy'); create type pair as (a int, b text);
         create domain starts as timestamptz check (value > '2000-01-01')",
    )
    .await;
    let values = values();
    let columns: Vec<String> =
        values.iter().enumerate().map(|(at, (kind, ..))| format!("c{at} {kind}")).collect();
    execute(pool, &format!("create table courses (id int primary key, {})", columns.join(", "))).await;
    let maps: Vec<String> = (0..values.len()).map(|at| format!("--map=c{at}=p{at}")).collect();
    let mut arguments = vec!["attach", "courses", "--key", "id", "--time-zone", "Europe/Berlin", "--apply"];
    arguments.extend(maps.iter().map(String::as_str));
    let output = run_command(&world.settings, &arguments).await;
    assert_eq!(output.code, Some(0), "{}", output.err);
    let row: Vec<&str> = values.iter().map(|(_, value, _)| *value).collect();
    let row = row.join(", ");
    execute(
        pool,
        &format!(
            "begin; insert into courses values (1, {row});
             set local timezone = 'Asia/Tokyo'; set local datestyle = 'German'; insert into courses values (2, {row}); commit"
        ),
    )
    .await;
    let found: Vec<Value> = sqlx::query_scalar("select properties from course_outbox order by course_key")
        .fetch_all(pool)
        .await
        .unwrap();
    for properties in &found {
        for (at, (kind, value, expected)) in values.iter().enumerate() {
            assert_eq!(properties[format!("p{at}")], *expected, "{kind} {value}");
        }
    }
    // A backfill finds nothing to change.
    arguments.push("--backfill");
    let output = run_command(&world.settings, &arguments).await;
    assert!(output.out.contains("enqueued or changed 0, already there 2"), "{}", output.out);
}

/// `source key reason` of each refused course.
async fn refused(world: &World) -> Vec<String> {
    sqlx::query_scalar(
        "select concat_ws(' ', source, coalesce(quote_literal(left(course_key, 5)), '-'), reason)
           from course_sync_refused_change order by course_key nulls first, last_at",
    )
    .fetch_all(world.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn a_course_that_the_outbox_cannot_hold_does_not_fail_the_write_and_is_not_lost() {
    let world = world_with_catalogue().await;
    let pool = world.pool();
    execute(pool, "alter table catalogue.courses alter code drop not null").await;
    apply(&world, &[]).await;
    execute(
        pool,
        "insert into catalogue.courses (code, title)
         values ('A', 'a'), (null, 'no key'), ('  ', 'blank'), (repeat('x', 256), 'long'), ('a' || chr(7), 'bell'),
                (U&'e\\0301', 'not composed'), ('big', repeat('y', 5000000)), ('Z', 'z')",
    )
    .await;
    assert_eq!(keys(pool).await, ["A", "Z"]);
    let listed = refused(&world).await;
    assert_eq!(listed.len(), 6, "{listed:?}");
    for (at, words) in
        [(0, "- a column of the key is null or blank"), (1, "- a column of the key is null or blank")]
    {
        assert!(listed[at].contains(words), "{listed:?}");
    }
    for words in
        ["256 characters", "invisible or control character", "'big' its properties have more than 4 MiB"]
    {
        assert!(listed.iter().any(|line| line.contains(words)), "{words}: {listed:?}");
    }
    let check = run_command(&world.settings, &["check"]).await;
    assert!(check.out.contains("attached_tables") && check.out.contains("cannot hold: 6"), "{}", check.out);
    let status = run_command(&world.settings, &["status"]).await.success();
    assert!(status.contains("refused: the outbox cannot hold 6 courses of attached tables"), "{status}");
    let daemon = world.start_daemon();
    assert_eq!(daemon.metric("course_sync_refused_courses").await, "6");

    // Written again: the same number of courses. Another title replaces the one before.
    execute(
        pool,
        "update catalogue.courses set seats = 1; update catalogue.courses set title = 'no key!' where title = 'no key';
         update catalogue.courses set title = 'no key' where title = 'no key!'",
    )
    .await;
    assert_eq!(refused(&world).await.len(), 6, "{:?}", refused(&world).await);

    // Corrected rows are enqueued, and deleted ones are forgotten.
    execute(
        pool,
        "update catalogue.courses set code = 'B' where title = 'no key';
         update catalogue.courses set title = 'short' where code = 'big';
         delete from catalogue.courses where title in ('blank', 'long', 'bell')",
    )
    .await;
    assert_eq!(keys(pool).await, ["A", "B", "Z", "big"]);
    let check = run_command(&world.settings, &["check"]).await;
    assert!(check.out.contains("cannot hold: 1."), "{}\n{:?}", check.out, refused(&world).await);
    execute(pool, "update catalogue.courses set code = 'E' where title = 'not composed'").await;
    let check = run_command(&world.settings, &["check"]).await;
    assert!(!check.out.contains("attached_tables"), "{}", check.out);
}
