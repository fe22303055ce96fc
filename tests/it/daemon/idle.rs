//! What a daemon does while nothing happens, and what ends that.

use serde_json::json;

use crate::support::daemon::Daemon;
use crate::support::world::World;

/// The renewals of the lease and the committed transactions of the database so far.
async fn activity(world: &World) -> (i64, i64) {
    sqlx::query_as(
        "select (select renewals from course_sync_leader), xact_commit
           from pg_stat_database where datname = current_database()",
    )
    .fetch_one(world.pool())
    .await
    .unwrap()
}

/// Waits for this many renewals of the lease. Returns the activity then. It reads with one statement per second.
async fn after_renewals(world: &World, renewals: i64) -> (i64, i64) {
    let target = activity(world).await.0 + renewals;
    loop {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let now = activity(world).await;
        if now.0 >= target {
            return now;
        }
    }
}

/// A daemon that finds nothing by polling, because it polls once an hour.
async fn notified_daemon(world: &mut World) -> Daemon {
    world.set("OUTBOX__POLL_INTERVAL", "1h");
    let daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.wait_until_listening().await;
    daemon
}

#[tokio::test]
async fn an_idle_daemon_leaves_the_database_idle() {
    let mut world = World::new().await;
    world.set("OUTBOX__LEASE", "3s");
    let daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    let before = after_renewals(&world, 20).await;
    let after = after_renewals(&world, 20).await;
    let (renewals, transactions) = (after.0 - before.0, after.1 - before.1);
    // Two per renewal, and one per second of this test. Polling every second would add at least two per second.
    let allowed = renewals * 3 + 15;
    assert!(transactions <= allowed, "{transactions} transactions during {renewals} renewals");
    // It still notices what comes.
    world.enqueue_many("A", 5).await;
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
}

#[tokio::test]
async fn a_pause_wakes_an_idle_daemon() {
    let mut world = World::new().await;
    let daemon = notified_daemon(&mut world).await;
    sqlx::query(
        "insert into course_sync_pause (reason, message, author) values ('operator', 'stocktaking', 'Ada')",
    )
    .execute(world.pool())
    .await
    .unwrap();
    daemon.wait_for_log("stocktaking").await;
}

#[tokio::test]
async fn an_open_transaction_does_not_delay_the_notifications_of_others() {
    let mut world = World::new().await;
    let _daemon = notified_daemon(&mut world).await;
    let mut open = world.pool().begin().await.unwrap();
    sqlx::query("insert into course_outbox (course_key, properties) values ('open', '{}')")
        .execute(&mut *open)
        .await
        .unwrap();
    world.enqueue_many("A", 5).await;
    world.wait_until_all_are(&["synced"]).await;
    open.rollback().await.unwrap();
    world.audit().await;
}

#[tokio::test]
async fn a_course_is_sent_when_it_becomes_due_and_not_at_the_next_poll() {
    let mut world = World::new().await;
    world.set("OUTBOX__LISTEN", "false");
    world.set("OUTBOX__POLL_INTERVAL", "1h");
    world.enqueue("now", &json!({ "hs_course_name": "Now" })).await;
    sqlx::query(
        "insert into course_outbox (course_key, properties, next_attempt_at)
         values ('later', '{\"hs_course_name\":\"Later\"}', now() + interval '6 seconds')",
    )
    .execute(world.pool())
    .await
    .unwrap();
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
}
