//! The database works, but the outbox cannot be used: its rows are hidden, or a restore is under way. The daemon claims
//! nothing, `/readyz` and `check` state why, and it goes on by itself.

use std::time::Duration;

use simulator::Behaviour;
use sqlx::AssertSqlSafe;

use crate::support::daemon::{Daemon, output, program};
use crate::support::eventually::eventually;
use crate::support::http::http_get;
use crate::support::world::World;

async fn world_with_short_lease(unique: bool) -> World {
    let mut world = World::with(unique, Behaviour::default()).await;
    world.set("OUTBOX__LEASE", "1s");
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    world
}

async fn execute_sql(world: &World, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(world.pool()).await.unwrap();
}

async fn wait_for_readyz(daemon: &Daemon, status: u16, reason: &str) {
    let url = format!("{}/readyz", daemon.admin_url().await);
    eventually(&format!("/readyz is {status} and contains {reason:?}"), async || {
        let answer = http_get(&url).await.expect("a response");
        let is_expected = answer.status() == status;
        let body = answer.text().await.expect("a body");
        if is_expected && body.contains(reason) { Ok(()) } else { Err(body) }
    })
    .await;
}

/// The lines of `check` that did not pass.
async fn failed_checks(world: &World) -> Vec<String> {
    let mut check = program(&world.settings);
    check.arg("check");
    let text = String::from_utf8(output(check).await.stdout).unwrap();
    text.lines()
        .filter(|line| !line.starts_with('✓') && !line.starts_with("  note"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn row_level_security_that_hides_the_rows_is_named() {
    let mut world = world_with_short_lease(true).await;
    let role = format!("runner_{}", world.database.name());
    let tables = [
        "course_outbox",
        "course_sync_batch",
        "course_sync_leader",
        "course_sync_pause",
        "course_sync_history",
    ];
    execute_sql(
        &world,
        &format!(
            "create role {role} login; grant select, insert, update, delete on {} to {role};
             grant select on course_sync_migrations, course_sync_refused_change to {role};
             grant select, insert, delete on course_sync_audit to {role}",
            tables.join(", ")
        ),
    )
    .await;
    let url = world.settings["DATABASE_URL"].replacen("course_sync@", &format!("{role}@"), 1);
    world.settings.insert("DATABASE_URL".into(), url);
    world.set("DATABASE__MIGRATE", "false");
    assert_eq!(failed_checks(&world).await, [""; 0]);

    // As some hosts do for every table.
    for table in tables {
        execute_sql(&world, &format!("alter table {table} enable row level security")).await;
    }
    let failed = failed_checks(&world).await;
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].starts_with("✗ grants") && failed[0].contains("row-level security"), "{failed:?}");
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("outbox_unusable").await;
    wait_for_readyz(&daemon, 503, "row-level security").await;

    // A policy for some rows is enough to lead, and `check` warns.
    for table in tables {
        execute_sql(&world, &format!("create policy all_rows on {table} using (true)")).await;
    }
    assert_eq!(failed_checks(&world).await, [""; 0]);
    execute_sql(&world, "alter policy all_rows on course_outbox using (course_key <> 'hidden')").await;
    let warned = failed_checks(&world).await;
    assert!(warned.len() == 1 && warned[0].starts_with("! grants"), "{warned:?}");
    daemon.wait_for_event("outbox_usable").await;
    world.enqueue_many("A", 5).await;
    world.wait_until_all_are(&["synced"]).await;
    wait_for_readyz(&daemon, 200, "").await;
    assert!(daemon.stop().await.success());

    // The table of courses only: the daemon could lead, but would find no course.
    execute_sql(&world, "drop policy all_rows on course_outbox").await;
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("outbox_unusable").await;
    wait_for_readyz(&daemon, 503, "course_outbox").await;
    assert!(daemon.stop().await.success());
    execute_sql(&world, &format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn a_missing_leader_row_is_named_and_inserted_and_counts_as_lost_commits() {
    for unique in [false, true] {
        let world = world_with_short_lease(unique).await;
        execute_sql(&world, "delete from course_sync_leader").await;
        let failed = failed_checks(&world).await;
        let schema = failed.iter().find(|line| line.starts_with("✗ schema"));
        assert!(schema.is_some_and(|line| line.contains("course_sync_leader is missing")), "{failed:?}");
        let mut daemon = world.start_daemon();
        wait_for_readyz(&daemon, 503, "course_sync_leader is missing").await;
        daemon.wait_for_event("leader_row_inserted").await;
        daemon.wait_for_event("lease_acquired").await;

        // Also while the daemon leads.
        execute_sql(&world, "delete from course_sync_leader").await;
        wait_for_readyz(&daemon, 503, "course_sync_leader is missing").await;
        let event = if unique { "lost_commits_verification_started" } else { "lost_commits_review_required" };
        eventually("the second loss is noticed", async || match daemon.events(event).len() {
            2 => Ok(()),
            times => Err(times),
        })
        .await;
        assert_eq!(daemon.events("leader_row_inserted").len(), 2);
        assert!(daemon.stop().await.success());
    }
}

#[tokio::test]
async fn the_row_is_not_inserted_while_data_are_loaded() {
    let world = world_with_short_lease(true).await;
    execute_sql(&world, "delete from course_sync_leader").await;
    let mut loading = world.pool().acquire().await.unwrap();
    let copy = loading
        .copy_in_raw("copy course_sync_history (course_id, course_key, event) from stdin")
        .await
        .unwrap();
    let mut daemon = world.start_daemon();
    wait_for_readyz(&daemon, 503, "course_sync_leader is missing").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(daemon.events("leader_row_inserted").is_empty());
    copy.finish().await.unwrap();
    daemon.wait_for_event("leader_row_inserted").await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn the_daemon_outlives_a_slow_restore_and_claims_nothing_meanwhile() {
    let mut world = world_with_short_lease(true).await;
    // The courses must stay due while the tables change.
    world.set("LOG__FILTER", "info,course_sync=debug");
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.enqueue_many("A", 5).await;
    world.wait_until_all_are(&["synced"]).await;
    let sent = world.create_requests();
    // Missing tables.
    execute_sql(&world, "create schema away; alter table course_sync_leader set schema away; alter table course_outbox set schema away").await;
    wait_for_readyz(&daemon, 503, "does not exist").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Without keys, and with a pending course.
    execute_sql(
        &world,
        "alter table away.course_outbox drop constraint course_outbox_pkey;
         alter table away.course_sync_leader set schema public; alter table away.course_outbox set schema public;
         insert into course_outbox (course_key, properties) values ('B-1', '{\"hs_course_name\": \"Course B 1\"}')",
    )
    .await;
    wait_for_readyz(&daemon, 503, "course_outbox has no primary key").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.create_requests(), sent, "a course was sent while keys were missing");
    execute_sql(&world, "alter table course_outbox add constraint course_outbox_pkey primary key (id)").await;
    world.wait_until_all_are(&["synced"]).await;
    wait_for_readyz(&daemon, 200, "").await;
    world.audit().await;
    assert!(world.sends_per_course().values().all(|times| *times == 1));
    assert!(!daemon.log().contains("lost_commits"), "{}", daemon.log());
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_lease_that_seems_to_last_for_days_delays_a_takeover_by_one_lease() {
    let world = world_with_short_lease(true).await;
    let killed = world.start_daemon();
    killed.wait_for_event("lease_acquired").await;
    killed.signal("KILL");
    // As after the clock was set back: the lease ends in the future.
    execute_sql(&world, "update course_sync_leader set expires_at = now() + interval '3 days'").await;
    let mut successor = world.start_daemon();
    successor.wait_for_event("lease_acquired").await;
    world.enqueue_many("A", 5).await;
    world.wait_until_all_are(&["synced"]).await;
    assert!(!successor.log().contains("lost_commits"), "{}", successor.log());
    assert!(successor.stop().await.success());
}
