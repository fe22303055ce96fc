//! The database stops, restarts or becomes read-only while courses are being sent.

use course_sync::demo::postgres::{PostgresOptions, StopMode, ThrowawayPostgres};
use simulator::{Behaviour, Latency};

use crate::support::eventually::eventually;
use crate::support::world::World;

#[tokio::test]
async fn fast_and_immediate_restarts_lose_and_duplicate_nothing() {
    let durable = PostgresOptions { durable: true, ..PostgresOptions::default() };
    let cluster = ThrowawayPostgres::start(durable).await.unwrap();
    let behaviour = Behaviour { latency: Latency { min_ms: 20, max_ms: 80 }, ..Behaviour::default() };
    let mut world = World::with(true, behaviour).await;
    world.set("OUTBOX__LEASE", "1s");
    world.set("BATCH__MAX_SIZE", "10");
    world.set("RATE_LIMIT__REQUESTS", "100000");
    world.hubspot.change_behaviour(|it| it.limits.requests = 1_000_000);
    world.use_cluster(&cluster.url("postgres"));
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.enqueue_many("A", 8_000).await;
    for how in [StopMode::Fast, StopMode::Immediate, StopMode::Fast, StopMode::Immediate] {
        let before = world.hubspot.summary().requests;
        eventually("requests are made", async || match world.hubspot.summary().requests {
            now if now > before + 20 => Ok(()),
            now => Err(now),
        })
        .await;
        cluster.stop_server(how).await.unwrap();
        cluster.start_server().await.unwrap();
    }
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.audit().await;
    assert_eq!(world.hubspot.records().len(), 8_000);
    drop(world);
    cluster.stop().await.unwrap();
}

/// Runs statements as the owner, then terminates the sessions of the daemon so that its new ones see the change.
async fn change_and_disconnect(world: &World, statement: String) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(world.pool()).await.unwrap();
    sqlx::raw_sql(
        "select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and application_name = 'course-sync'",
    )
    .execute(world.pool())
    .await
    .unwrap();
}

#[tokio::test]
async fn a_temporarily_read_only_database_delays_courses_and_loses_nothing() {
    let mut world = World::new().await;
    world.set("BATCH__MAX_SIZE", "10");
    // The outage is logged once, with whichever statement failed first; at debug level every failure is logged.
    world.set("LOG__FILTER", "info,course_sync=debug");
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.enqueue_many("A", 2_000).await;
    let name = world.database.name().to_owned();
    change_and_disconnect(&world, format!("alter database {name} set default_transaction_read_only = on"))
        .await;
    daemon.wait_for_log("read-only transaction").await;
    change_and_disconnect(
        &world,
        format!("set transaction_read_only = off; alter database {name} reset default_transaction_read_only"),
    )
    .await;
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.audit().await;
}

#[tokio::test]
async fn continually_terminated_sessions_lose_nothing() {
    let mut world = World::new().await;
    world.set("BATCH__MAX_SIZE", "10");
    world.set("RATE_LIMIT__REQUESTS", "100000");
    world.hubspot.change_behaviour(|it| it.limits.requests = 1_000_000);
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.enqueue_many("A", 3_000).await;
    for _ in 0..20 {
        let before = world.hubspot.summary().requests;
        change_and_disconnect(&world, "select 1".to_owned()).await;
        eventually("requests are still made", async || match world.hubspot.summary().requests {
            now if now > before || !world.counts().await.contains_key("pending") => Ok(()),
            now => Err(now),
        })
        .await;
    }
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.audit().await;
    assert_eq!(world.hubspot.records().len(), 3_000);
}
