//! Which schema of a database the daemon works in, and several outboxes in one database.

use course_sync::outbox::connect::migrate;
use secrecy::SecretString;
use simulator::Operation;
use sqlx::{AssertSqlSafe, PgPool};

use crate::support::eventually::eventually;
use crate::support::world::World;

/// The superuser of the test cluster. A schema with this name comes first in the default search path.
const ROLE: &str = "course_sync";

async fn execute(pool: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(pool).await.unwrap();
}

async fn tables_of(pool: &PgPool, schema: &str) -> i64 {
    sqlx::query_scalar("select count(*) from pg_tables where schemaname = $1")
        .bind(schema)
        .fetch_one(pool)
        .await
        .unwrap()
}

/// The same URL with another search path.
fn with_search_path(url: &str, path: &str) -> String {
    format!("{url}&options[search_path]={path}")
}

#[tokio::test]
async fn a_schema_named_like_the_role_does_not_hide_the_outbox() {
    let world = World::new().await;
    execute(world.pool(), &format!("create schema {ROLE}")).await;
    world.enqueue_many("A", 5).await;
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    // A view of the same name comes first in the path as well.
    execute(world.pool(), &format!("create view {ROLE}.course_outbox as select 1 as id")).await;
    sqlx::query("insert into public.course_outbox (course_key, properties) values ('B', '{\"hs_course_name\": \"Course B\"}')")
        .execute(world.pool())
        .await
        .unwrap();
    eventually("the last course is synced", async || {
        let status: String =
            sqlx::query_scalar("select status from public.course_outbox where course_key = 'B'")
                .fetch_one(world.pool())
                .await
                .unwrap();
        if status == "synced" { Ok(()) } else { Err(status) }
    })
    .await;
    assert!(daemon.stop().await.success());
    let (code, text) = world.run(&["check"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("up to date (in the schema public)"), "{text}");
    let (code, text) = world.run(&["migrate"]).await;
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = world.run(&["status"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(tables_of(world.pool(), ROLE).await, 0);
}

/// Enqueues courses in the first outbox, and waits until they are synced.
async fn sync_more_in_public(world: &World) {
    execute(
        world.pool(),
        "insert into public.course_outbox (course_key, properties)
         select 'B-' || n, jsonb_build_object('hs_course_name', 'Course B ' || n) from generate_series(1, 20) n",
    )
    .await;
    eventually("the courses of the first outbox are synced", async || {
        let left: i64 =
            sqlx::query_scalar("select count(*) from public.course_outbox where status <> 'synced'")
                .fetch_one(world.pool())
                .await
                .unwrap();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test]
async fn behind_a_pooler_the_schema_is_found_as_well() {
    let Some((mut world, _pooler)) = World::behind_pooler().await else { return };
    execute(world.pool(), &format!("create schema {ROLE}")).await;
    world.set("OUTBOX__LISTEN", "false");
    world.enqueue_many("A", 5).await;
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    assert_eq!(tables_of(world.pool(), ROLE).await, 0);
    // Another outbox that appears later.
    migrate(&SecretString::from(with_search_path(&world.database.url().await, ROLE))).await.unwrap();
    sync_more_in_public(&world).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_second_outbox_that_appears_later_changes_nothing() {
    let world = World::new().await;
    let mut daemon = world.start_daemon();
    world.enqueue_many("A", 5).await;
    world.wait_until_all_are(&["synced"]).await;
    let url = &world.settings["DATABASE_URL"];
    execute(world.pool(), &format!("create schema {ROLE}")).await;
    migrate(&SecretString::from(with_search_path(url, ROLE))).await.unwrap();
    // New sessions are affected by the new schema, too.
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and application_name = 'course-sync'";
    execute(world.pool(), cut).await;
    sync_more_in_public(&world).await;
    let terms = "select term from course_sync.course_sync_leader";
    let term: i64 = sqlx::query_scalar(terms).fetch_one(world.pool()).await.unwrap();
    assert_eq!(term, 0, "nothing leads in the second outbox");
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn two_outboxes_in_the_search_path_are_refused_by_name() {
    let mut world = World::new().await;
    let url = world.settings["DATABASE_URL"].clone();
    execute(world.pool(), "create schema \"Second outbox\"").await;
    let second = with_search_path(&url, "%22Second%20outbox%22");
    migrate(&SecretString::from(second.clone())).await.unwrap();
    assert_eq!(tables_of(world.pool(), "Second outbox").await, tables_of(world.pool(), "public").await);
    for migrates in ["true", "false"] {
        world.set("DATABASE__MIGRATE", migrates);
        world.settings.insert("DATABASE_URL".into(), with_search_path(&url, "%22Second%20outbox%22,public"));
        for command in ["run", "status"] {
            let (code, text) = world.run(&[command]).await;
            assert_eq!(code, Some(2), "{command}: {text}");
            // The log escapes quotation marks.
            let text = text.replace('\\', "");
            assert!(text.contains("in the schemas \"Second outbox\" and public"), "{command}: {text}");
        }
        let (code, text) = world.run(&["check"]).await;
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("✗ schema") && text.contains("Set the search path of this role"), "{text}");
    }
    // The remedy works.
    world.settings.insert("DATABASE_URL".into(), second);
    let (code, text) = world.run(&["check"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("(in the schema \"Second outbox\")"), "{text}");
}

#[tokio::test]
async fn several_outboxes_in_one_database_have_a_daemon_each() {
    let (mut first, mut second) = (World::new().await, World::new().await);
    let url = first.settings["DATABASE_URL"].clone();
    execute(first.pool(), "create schema first; create schema second").await;
    for (world, schema) in [(&mut first, "first"), (&mut second, "second")] {
        world.use_cluster(&with_search_path(&url, schema));
        // Far away: only notifications are fast enough.
        world.set("OUTBOX__POLL_INTERVAL", "10m");
    }
    let (mut daemon, mut other) = (first.start_daemon(), second.start_daemon());
    daemon.wait_for_event("lease_acquired").await;
    other.wait_for_event("lease_acquired").await;
    first.warm_up().await;
    second.warm_up().await;
    let woken = other.metric("course_sync_wakeups_total{reason=\"notify\"}").await;
    first.enqueue_many("A", 300).await;
    first.wait_until_all_are(&["synced"]).await;
    let woken_since = other.metric("course_sync_wakeups_total{reason=\"notify\"}").await;
    assert_eq!(woken, woken_since, "the other outbox's notifications wake nothing");
    // A transaction that is open in one outbox.
    let mut open = first.pool().begin().await.unwrap();
    sqlx::query("insert into course_outbox (course_key, properties) values ('open', '{}')")
        .execute(&mut *open)
        .await
        .unwrap();
    second.enqueue_many("A", 300).await;
    second.wait_until_all_are(&["synced"]).await;
    open.rollback().await.unwrap();
    for world in [&first, &second] {
        world.audit().await;
        assert!(world.sends_per_course().values().all(|times| *times == 1));
        assert_eq!(world.rows().await.len(), 411);
        assert!(!world.received(Operation::BatchCreate).is_empty());
    }
    assert!(daemon.stop().await.success());
    assert!(other.stop().await.success());
}

#[tokio::test]
async fn a_schema_restored_without_its_records_is_refused_with_the_remedy() {
    let world = World::new().await;
    execute(
        world.pool(),
        "create table kept as table course_sync_migrations;
         truncate course_sync_migrations, course_sync_leader",
    )
    .await;
    for command in ["run", "migrate"] {
        let (code, text) = world.run(&[command]).await;
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("copy the rows of course_sync_migrations"), "{text}");
    }
    execute(world.pool(), "insert into course_sync_migrations table kept").await;
    let (code, text) = world.run(&["migrate"]).await;
    assert_eq!(code, Some(0), "{text}");
}
