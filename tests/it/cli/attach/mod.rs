//! `course-sync attach` and `detach`, with the real program: what the triggers write, and who may do what.

mod backfill;
mod rights;
mod triggers;
mod values;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};

use super::commands::{CommandOutput, run_command};
use crate::support::world::World;

/// A catalogue with a table in a schema of its own.
const CATALOGUE: &str = "
    create schema catalogue;
    create table catalogue.courses (
        id bigint generated always as identity primary key,
        code text not null unique,
        title text,
        seats integer,
        is_open boolean not null default true,
        notes text
    )";

const OPTIONS: [&str; 6] =
    ["--key", "code", "--map", "title=hs_course_name", "--map", "seats=hs_enrollment_capacity"];

async fn execute(pool: &PgPool, sql: &str) {
    pool.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

async fn world_with_catalogue() -> World {
    let world = World::new().await;
    execute(world.pool(), CATALOGUE).await;
    world
}

/// Runs `attach` for the table of the catalogue, with the usual options and these.
async fn attach(world: &World, options: &[&str]) -> CommandOutput {
    let arguments = [&["attach", "catalogue.courses"], &OPTIONS[..], options].concat();
    run_command(&world.settings, &arguments).await
}

/// Attaches the table.
async fn apply(world: &World, options: &[&str]) {
    let output = attach(world, &[options, &["--apply"]].concat()).await;
    assert_eq!(output.code, Some(0), "{}{}", output.out, output.err);
}

/// `key archived revision properties` of each row, in order of the key.
async fn courses(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select concat_ws(' ', course_key, case when archived then 'archived' else 'live' end, revision, properties)
           from course_outbox order by course_key collate \"C\"",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

/// The keys of the courses, with `-` before those that are archived.
async fn keys(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select case when archived then '-' else '' end || course_key from course_outbox
          order by course_key collate \"C\"",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn without_apply_the_sql_is_printed_and_nothing_is_changed() {
    let world = world_with_catalogue().await;
    execute(world.pool(), "insert into catalogue.courses (code, title) values ('A', 'Honey')").await;
    let output = attach(&world, &["--backfill"]).await;
    assert_eq!(output.code, Some(0), "{}", output.err);
    assert!(output.err.contains("nothing was executed"), "{}", output.err);
    let triggers: i64 =
        sqlx::query_scalar("select count(*) from pg_trigger where tgrelid = 'catalogue.courses'::regclass")
            .fetch_one(world.pool())
            .await
            .unwrap();
    assert_eq!(triggers, 0);

    // As a migration of the catalogue, with another search path, twice.
    let mut migration = world.pool().acquire().await.unwrap();
    for _ in 0..2 {
        let script = format!("begin; set local search_path = catalogue; {} commit", output.out);
        migration.execute(sqlx::raw_sql(AssertSqlSafe(script))).await.unwrap();
    }
    drop(migration);
    assert_eq!(
        courses(world.pool()).await,
        [r#"A live 1 {"hs_course_name": "Honey", "hs_enrollment_capacity": null}"#]
    );
    execute(world.pool(), "insert into catalogue.courses (code, title, seats) values ('B', 'Wax', 7)").await;
    assert_eq!(keys(world.pool()).await, ["A", "B"]);
    // The same options, the same SQL.
    assert_eq!(attach(&world, &["--backfill"]).await.out, output.out);
}

#[tokio::test]
async fn the_report_in_json_has_the_sql_and_the_warnings() {
    let world = world_with_catalogue().await;
    let output = attach(&world, &["--map", "notes=hs_no_such_notes", "--json"]).await;
    let report: Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!((&report["table"], &report["applied"]), (&json!("\"catalogue\".\"courses\""), &json!(false)));
    assert!(report["sql"].as_str().unwrap().contains("create or replace trigger"));
    let warning = report["warnings"][0].as_str().unwrap();
    assert!(warning.contains("\"hs_no_such_notes\" does not exist"), "{report}");
    let output = attach(&world, &["--backfill", "--apply", "--json"]).await;
    let report: Value = serde_json::from_str(&output.out).unwrap();
    let backfill = json!({ "rows": 0, "courses": 0, "written": 0, "refused": 0, "without_key": 0 });
    assert_eq!((&report["applied"], &report["backfill"]), (&json!(true), &backfill), "{report}");
}

#[tokio::test]
async fn what_cannot_be_attached_is_refused() {
    let world = world_with_catalogue().await;
    execute(
        world.pool(),
        "create view catalogue.offers as select * from catalogue.courses;
         create table catalogue.terms (id int, year int) partition by list (year);
         create table catalogue.terms_2026 partition of catalogue.terms for values in (2026)",
    )
    .await;
    let key = ["--key", "code", "--map", "title=hs_course_name"];
    for (table, options, words) in [
        ("catalogue.offers", &key[..], "is a view"),
        (
            "catalogue.terms_2026",
            &["--key", "id", "--map", "id=hs_course_name"],
            "is a partition of catalogue.terms",
        ),
        ("course_outbox", &["--key", "course_key", "--map", "id=x"], "belongs to course-sync"),
        ("courses", &key, "write SCHEMA.TABLE"),
        (
            "catalogue.courses",
            &["--key", "cod", "--map", "title=hs_course_name"],
            "did you mean \\\"code\\\"?",
        ),
        ("catalogue.courses", &["--key", "code", "--map", "title"], "does not have the form COLUMN=PROPERTY"),
        ("catalogue.courses", &["--key", "code", "--map", "title=a", "--set", "a=b"], "is set twice"),
        (
            "catalogue.courses",
            &["--key", "code", "--map", "title=Title"],
            "--map: HubSpot has no property \\\"Title\\\"; the internal name",
        ),
        (
            "catalogue.courses",
            &["--key", "code", "--map", "title=a", "--set", "2nd=b"],
            "--set: HubSpot has no property \\\"2nd\\\"",
        ),
        ("a;b", &key, "is not the name of a table"),
        ("elsewhere.courses", &[&key[..], &["--apply"]].concat(), "is not in this database"),
    ] {
        let output = run_command(&world.settings, &[&["attach", table], options].concat()).await;
        let words = words.replace("\\\"", "\"");
        assert_eq!((output.code, output.err.contains(&words)), (Some(2), true), "{table}: {}", output.err);
    }
    // The database checks the condition, with the search path of the triggers.
    for condition in ["is_opn", "is_open)", "is_open; select 1", "no_such_function(title)", "title = 1"] {
        let output = attach(&world, &["--where", condition, "--apply"]).await;
        assert_eq!(output.code, Some(1), "{condition}: {}", output.err);
        assert!(output.err.contains("could not attach the table"), "{}", output.err);
    }
    execute(world.pool(), "insert into catalogue.courses (code) values ('A')").await;
    assert_eq!(keys(world.pool()).await, [""; 0]);
}

#[tokio::test]
async fn detached_tables_feed_nothing_and_their_courses_stay() {
    let world = world_with_catalogue().await;
    apply(&world, &[]).await;
    execute(world.pool(), "insert into catalogue.courses (code, title) values ('A', 'Honey')").await;
    // Under its old name the triggers are found by the table.
    execute(world.pool(), "alter table catalogue.courses rename to offers").await;
    let offers = ["attach", "catalogue.offers", "--key", "code", "--map", "title=hs_course_name"];
    run_command(&world.settings, &offers).await.assert_failure(2, &["another attachment", "detach"]);
    let printed = run_command(&world.settings, &["detach", "catalogue.offers"]).await;
    assert!(printed.out.contains("drop trigger if exists"), "{}", printed.out);
    execute(world.pool(), "update catalogue.offers set title = 'Wax'").await;
    assert_eq!(courses(world.pool()).await.len(), 1);
    assert!(courses(world.pool()).await[0].contains("Wax"));
    for _ in 0..2 {
        let detached = run_command(&world.settings, &["detach", "catalogue.offers", "--apply"]).await;
        assert_eq!(detached.code, Some(0), "{}", detached.err);
    }
    execute(world.pool(), "update catalogue.offers set title = 'Mead'; delete from catalogue.offers").await;
    assert!(courses(world.pool()).await[0].contains("Wax"));
    let left: i64 =
        sqlx::query_scalar("select count(*) from pg_proc where proname like 'course\\_sync\\_courses\\_%'")
            .fetch_one(world.pool())
            .await
            .unwrap();
    assert_eq!(left, 0);
    apply_to_offers(&world, &offers).await;
}

async fn apply_to_offers(world: &World, offers: &[&str]) {
    let output = run_command(&world.settings, &[offers, &["--apply"]].concat()).await;
    assert_eq!(output.code, Some(0), "{}", output.err);
}

async fn connect_as(world: &World, role: &str) -> PgConnection {
    let mut connection = PgConnection::connect(&world.settings["DATABASE_URL"]).await.unwrap();
    connection.execute(sqlx::raw_sql(AssertSqlSafe(format!("set role {role}")))).await.unwrap();
    connection
}
