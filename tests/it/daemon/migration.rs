//! A migration while another transaction holds a lock that it needs.

use std::time::{Duration, Instant};

use crate::support::daemon::{output, program};
use crate::support::eventually::eventually;
use crate::support::http::http_client;
use crate::support::world::World;

/// A world whose schema lacks the last migration.
async fn world_before_last_migration() -> World {
    let world = World::new().await;
    sqlx::raw_sql(
        "drop function course_outbox_refuse_key() cascade;
         drop function course_outbox_refuse_repeated_association() cascade;
         delete from course_sync_migrations where version = 10",
    )
    .execute(world.pool())
    .await
    .unwrap();
    world
}

#[tokio::test]
async fn a_migration_behind_an_open_transaction_waits_without_blocking_inserts() {
    let world = world_before_last_migration().await;
    let mut open = world.pool().begin().await.unwrap();
    sqlx::query("lock table course_outbox in row exclusive mode").execute(&mut *open).await.unwrap();
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("admin_server_started").await;
    let mut longest = Duration::ZERO;
    let mut inserted = 0;
    eventually("the daemon waits", async || {
        let started = Instant::now();
        world.enqueue_many(&format!("A{inserted}"), 1).await;
        inserted += 1;
        longest = longest.max(started.elapsed());
        if daemon.events("migration_waiting").is_empty() { Err(()) } else { Ok(()) }
    })
    .await;
    assert!(longest < Duration::from_secs(6), "an insert waited for {longest:?}");
    let admin = daemon.admin_url().await;
    let ready = http_client().get(format!("{admin}/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    let text = ready.text().await.unwrap();
    assert!(text.contains("lock timeout"), "{text}");
    // Long enough for a second attempt.
    tokio::time::sleep(Duration::from_secs(6)).await;
    open.rollback().await.unwrap();
    daemon.wait_for_event("schema_prepared").await;
    world.wait_until_all_are(&["synced"]).await;
    assert_eq!(daemon.events("migration_waiting").len(), 1);
    assert!(daemon.events("database_unavailable").is_empty(), "{}", daemon.log());
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn the_command_migrate_reports_that_it_waits() {
    let world = world_before_last_migration().await;
    let mut open = world.pool().begin().await.unwrap();
    sqlx::query("lock table course_outbox in row exclusive mode").execute(&mut *open).await.unwrap();
    let mut migrate = program(&world.settings);
    migrate.arg("migrate");
    let (output, ()) = tokio::join!(output(migrate), async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        open.rollback().await.unwrap();
    });
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{notes}");
    assert!(notes.contains("lock timeout"), "{notes}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("1 migration applied"));
}
