//! What each kind of write to an attached table does to the outbox, and to HubSpot.

use serde_json::json;

use super::{apply, courses, execute, keys, run_command, world_with_catalogue};
use crate::support::world::World;

#[tokio::test]
async fn a_row_and_its_record_live_and_end_together() {
    let world = world_with_catalogue().await;
    // Otherwise HubSpot keeps the key of an archived record, and an operator has to purge it.
    world.hubspot.change_behaviour(|behaviour| behaviour.archived_hold_unique = false);
    apply(&world, &["--set", "hs_course_description=From the catalogue"]).await;
    let daemon = world.start_daemon();
    let pool = world.pool();
    execute(
        pool,
        "insert into catalogue.courses (code, title, seats) values ('A', 'Honey', 20), ('B', 'Wax', 30)",
    )
    .await;
    for key in ["A", "B"] {
        world.wait_until_settled(key, "synced").await;
    }
    execute(pool, "update catalogue.courses set seats = 25 where code = 'A'; delete from catalogue.courses where code = 'B'").await;
    world.wait_until_settled("A", "synced").await;
    world.wait_until_settled("B", "archived").await;
    let record = |key: &str, archived: bool| {
        let name = if key == "A" { "Honey" } else { "Wax" };
        let records = world.hubspot.records();
        let found =
            records.iter().find(|it| it.archived == archived && it.properties["hs_course_name"] == name);
        found.map(|record| record.properties.clone())
    };
    let honey = record("A", false).expect("a live record");
    assert_eq!(
        (honey["hs_enrollment_capacity"].as_str(), honey["hs_course_description"].as_str()),
        ("25", "From the catalogue")
    );
    assert!(record("B", true).is_some() && record("B", false).is_none());
    // A row that comes back is offered again.
    execute(pool, "insert into catalogue.courses (code, title, seats) values ('B', 'Wax', 31)").await;
    world.wait_until_settled("B", "synced").await;
    assert_eq!(record("B", false).expect("a new record")["hs_enrollment_capacity"], "31");
    drop(daemon);
    world.audit_values().await;
}

#[tokio::test]
async fn every_kind_of_statement_is_seen() {
    let world = world_with_catalogue().await;
    apply(&world, &[]).await;
    let pool = world.pool();
    execute(
        pool,
        "insert into catalogue.courses (code, title, seats) select 'K' || n, 'Course', n from generate_series(1, 5) n;
         insert into catalogue.courses (code, title, seats) values ('K1', 'Upsert', 1), ('K6', 'Upsert', 6)
             on conflict (code) do update set title = excluded.title;
         merge into catalogue.courses c using (values ('K2', 'Merge'), ('K7', 'Merge')) as m (code, title) on m.code = c.code
             when matched then update set title = m.title
             when not matched then insert (code, title) values (m.code, m.title);
         with gone as (delete from catalogue.courses where code = 'K3' returning code)
             update catalogue.courses set title = 'With' where code = 'K4'",
    )
    .await;
    let mut copy = pool.acquire().await.unwrap();
    let mut writer = copy.copy_in_raw("copy catalogue.courses (code, title) from stdin").await.unwrap();
    writer.send(&b"K8\tCopy\nK9\tCopy\n"[..]).await.unwrap();
    writer.finish().await.unwrap();
    drop(copy);
    assert_eq!(keys(pool).await, ["K1", "K2", "-K3", "K4", "K5", "K6", "K7", "K8", "K9"]);
    let titles: Vec<String> =
        sqlx::query_scalar("select properties ->> 'hs_course_name' from course_outbox order by course_key")
            .fetch_all(pool)
            .await
            .unwrap();
    assert_eq!(titles, ["Upsert", "Merge", "Course", "With", "Course", "Upsert", "Merge", "Copy", "Copy"]);
    execute(pool, "truncate catalogue.courses").await;
    assert!(keys(pool).await.iter().all(|key| key.starts_with('-')));
    // A nightly reload in one transaction changes only what differs.
    execute(
        pool,
        "begin; insert into catalogue.courses (code, title) values ('K8', 'Copy'), ('K9', 'Copy'); commit;
         begin; truncate catalogue.courses;
         insert into catalogue.courses (code, title) values ('K8', 'Copy'), ('K9', 'New'); commit",
    )
    .await;
    assert_eq!(keys(pool).await[7..], ["K8", "K9"]);
    execute(pool, "begin; update catalogue.courses set title = 'Rolled back'; rollback").await;
    assert!(courses(pool).await[7].contains("Copy"), "{:?}", courses(pool).await);
}

#[tokio::test]
async fn a_key_that_moves_to_another_row_is_not_archived() {
    let world = world_with_catalogue().await;
    execute(
        world.pool(),
        "alter table catalogue.courses drop constraint courses_code_key; \
                           alter table catalogue.courses add unique (code) deferrable",
    )
    .await;
    apply(&world, &[]).await;
    let pool = world.pool();
    execute(
        pool,
        "insert into catalogue.courses (code, title) values ('1', 'one'), ('2', 'two'), ('3', 'three')",
    )
    .await;
    execute(pool, "update catalogue.courses set code = (code::int + 1)::text").await;
    assert_eq!(keys(pool).await, ["-1", "2", "3", "4"]);
    assert!(courses(pool).await[1].contains("one"), "{:?}", courses(pool).await);
    execute(pool, "update catalogue.courses set code = 'x' where code = '2'").await;
    assert_eq!(keys(pool).await, ["-1", "-2", "3", "4", "x"]);
}

#[tokio::test]
async fn the_condition_decides_which_rows_are_courses() {
    let world = world_with_catalogue().await;
    apply(&world, &["--where", "is_open and coalesce(notes, '') <> 'draft' -- the published ones"]).await;
    let pool = world.pool();
    execute(
        pool,
        "insert into catalogue.courses (code, title, is_open, notes)
         values ('A', 'a', true, null), ('B', 'b', false, null), ('C', 'c', true, 'draft')",
    )
    .await;
    assert_eq!(keys(pool).await, ["A"]);
    execute(pool, "update catalogue.courses set is_open = not is_open, notes = null").await;
    assert_eq!(keys(pool).await, ["-A", "B"]);
    execute(pool, "delete from catalogue.courses where code in ('A', 'C'); update catalogue.courses set is_open = false").await;
    assert_eq!(keys(pool).await, ["-A", "-B"]);
    // Attached again with other options: what the triggers do changes.
    apply(&world, &[]).await;
    execute(pool, "update catalogue.courses set title = 'new'").await;
    assert_eq!(keys(pool).await, ["-A", "B"]);
}

/// The transaction that last wrote each row of the outbox.
async fn writers(world: &World) -> Vec<String> {
    sqlx::query_scalar("select xmin::text from course_outbox order by id")
        .fetch_all(world.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn an_update_of_other_columns_writes_nothing() {
    let world = world_with_catalogue().await;
    apply(&world, &[]).await;
    let pool = world.pool();
    execute(pool, "insert into catalogue.courses (code, title) values ('A', 'a'), ('B', 'b')").await;
    let before = writers(&world).await;
    execute(pool, "update catalogue.courses set notes = 'seen', title = title").await;
    assert_eq!(writers(&world).await, before);
    // Other columns first, then a change in the same transaction, then others again; and a savepoint that is rolled back.
    execute(
        pool,
        "begin; update catalogue.courses set notes = 'x'; update catalogue.courses set title = 'aa' where code = 'A';
         update catalogue.courses set notes = 'y'; savepoint s; update catalogue.courses set title = 'lost';
         rollback to s; update catalogue.courses set title = 'bb' where code = 'B'; commit",
    )
    .await;
    let rows = courses(pool).await;
    assert!(rows[0].contains("A live 2") && rows[0].contains("\"aa\""), "{rows:?}");
    assert!(rows[1].contains("B live 2") && rows[1].contains("\"bb\""), "{rows:?}");
}

#[tokio::test]
async fn a_partitioned_table_is_seen_through_its_partitions() {
    let world = World::new().await;
    let pool = world.pool();
    execute(
        pool,
        "create schema catalogue;
         create table catalogue.courses (term int, code int, title text, notes text, primary key (term, code))
             partition by list (term);
         create table catalogue.courses_1 partition of catalogue.courses for values in (1)",
    )
    .await;
    let options =
        ["attach", "catalogue.courses", "--key", "term,code", "--map", "title=hs_course_name", "--apply"];
    let output = run_command(&world.settings, &options).await;
    assert_eq!(output.code, Some(0), "{}", output.err);
    execute(
        pool,
        "create table catalogue.courses_2 partition of catalogue.courses for values in (2);
         insert into catalogue.courses values (1, 1, 'a'), (1, 2, 'b'), (2, 1, 'c');
         insert into catalogue.courses_2 values (2, 2, 'd');
         update catalogue.courses_1 set title = 'aa' where code = 1;
         delete from catalogue.courses_2 where code = 1",
    )
    .await;
    assert_eq!(keys(pool).await, ["1-1", "1-2", "-2-1", "2-2"]);
    // To another partition; and keys that move to other rows.
    execute(pool, "update catalogue.courses set term = 2, code = 7 where title = 'b'").await;
    assert_eq!(keys(pool).await, ["1-1", "-1-2", "-2-1", "2-2", "2-7"]);
    execute(pool, "update catalogue.courses set title = 'e', term = 1 where code = 7").await;
    assert_eq!(keys(pool).await, ["1-1", "-1-2", "1-7", "-2-1", "2-2", "-2-7"]);
    let backfill = run_command(&world.settings, &[&options[..], &["--backfill"]].concat()).await;
    assert!(
        backfill.out.contains("rows 3, courses enqueued or changed 0, already there 3"),
        "{}",
        backfill.out
    );
    execute(pool, "truncate catalogue.courses").await;
    assert!(keys(pool).await.iter().all(|key| key.starts_with('-')));
}

#[tokio::test]
async fn quoted_names_and_another_schema_of_the_outbox_work() {
    let world = World::new().await;
    let pool = world.pool();
    execute(
        pool,
        r#"alter schema public rename to "Out box's"; create schema "The ""Schema""";
           create table "The ""Schema"""."Course $course_sync$ 'X'" ("It's a key" text primary key, "new" text, "a=b" json)"#,
    )
    .await;
    let role_path = r#"alter database DB set search_path = "Out box's""#;
    execute(pool, &role_path.replace("DB", world.database.name())).await;
    let table = r#""The ""Schema"""."Course $course_sync$ 'X'""#;
    let output = run_command(
        &world.settings,
        &[
            "attach",
            table,
            "--key",
            "It's a key",
            "--map",
            "new=hs_course_name",
            "--map",
            "a=b=hs_course_description",
            "--set",
            "hs_enrollment_capacity=it's \\ 5",
            "--where",
            "\"new\" <> 'x''y'",
            "--apply",
            "--backfill",
        ],
    )
    .await;
    assert_eq!(output.code, Some(0), "{}{}", output.out, output.err);
    execute(pool, &format!(r#"insert into {table} values ('k', 'n', '{{"a": "\u0000"}}')"#)).await;
    let properties: serde_json::Value =
        sqlx::query_scalar(r#"select properties from "Out box's".course_outbox"#)
            .fetch_one(pool)
            .await
            .unwrap();
    let expected = json!({ "hs_course_name": "n", "hs_course_description": r#"{"a": "\u0000"}"#, "hs_enrollment_capacity": "it's \\ 5" });
    assert_eq!(properties, expected);
    let output = run_command(&world.settings, &["detach", table, "--apply"]).await;
    assert_eq!(output.code, Some(0), "{}", output.err);
}

#[tokio::test]
async fn a_column_that_is_sent_cannot_be_dropped_unnoticed() {
    let world = world_with_catalogue().await;
    apply(&world, &["--where", "is_open"]).await;
    for column in ["title", "is_open"] {
        let error =
            sqlx::query(sqlx::AssertSqlSafe(format!("alter table catalogue.courses drop column {column}")))
                .execute(world.pool())
                .await
                .unwrap_err();
        assert!(error.to_string().contains("depend"), "{error}");
    }
    execute(world.pool(), "alter table catalogue.courses drop column notes").await;
}
