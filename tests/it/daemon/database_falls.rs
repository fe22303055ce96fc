//! The database falls, cleanly and not, while courses are on their way.

use course_sync::demo::postgres::{Options, Shutdown, ThrowawayPostgres};
use course_sync::simulator::{Behaviour, Latency};

use crate::support::eventually::eventually;
use crate::support::world::World;

#[tokio::test]
async fn fast_and_immediate_stops_lose_and_duplicate_nothing() {
    let durable = Options { durable: true, ..Options::default() };
    let cluster = ThrowawayPostgres::start(durable).await.unwrap();
    let behaviour = Behaviour { latency: Latency { min_ms: 20, max_ms: 80 }, ..Behaviour::default() };
    let mut world = World::with(true, behaviour).await;
    world.set("OUTBOX__LEASE", "1s");
    world.set("BATCH__MAX_SIZE", "10");
    world.set("RATE_LIMIT__REQUESTS", "100000");
    world.hubspot.change_behaviour(|it| it.limits.requests = 1_000_000);
    world.in_cluster(&cluster.url("postgres"));
    let mut daemon = world.daemon();
    daemon.logged("\"leading\"").await;
    world.enqueue_many("A", 8_000).await;
    for how in [Shutdown::Fast, Shutdown::Immediate, Shutdown::Fast, Shutdown::Immediate] {
        let before = world.hubspot.summary().requests;
        eventually("requests are made", async || match world.hubspot.summary().requests {
            now if now > before + 20 => Ok(()),
            now => Err(now),
        })
        .await;
        cluster.stop_server(how).await.unwrap();
        cluster.start_server().await.unwrap();
    }
    world.all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.audit().await;
    assert_eq!(world.hubspot.records().len(), 8_000);
    drop(world);
    cluster.stop().await.unwrap();
}

/// Runs statements as the owner, and then ends the daemon's sessions, so that it meets the change.
async fn changes(world: &World, statement: String) {
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
async fn a_database_that_may_only_be_read_for_a_while_holds_everything_up_and_loses_nothing() {
    let mut world = World::new().await;
    world.set("BATCH__MAX_SIZE", "10");
    // The trouble is told once, with whatever it began.
    world.set("LOG__FILTER", "info,course_sync=debug");
    let mut daemon = world.daemon();
    daemon.logged("\"leading\"").await;
    world.enqueue_many("A", 2_000).await;
    let name = world.database.name().to_owned();
    changes(&world, format!("alter database {name} set default_transaction_read_only = on")).await;
    daemon.logged("read-only transaction").await;
    changes(
        &world,
        format!("set transaction_read_only = off; alter database {name} reset default_transaction_read_only"),
    )
    .await;
    world.all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.audit().await;
}

#[tokio::test]
async fn sessions_that_are_ended_all_the_time_lose_nothing() {
    let mut world = World::new().await;
    world.set("BATCH__MAX_SIZE", "10");
    world.set("RATE_LIMIT__REQUESTS", "100000");
    world.hubspot.change_behaviour(|it| it.limits.requests = 1_000_000);
    let mut daemon = world.daemon();
    daemon.logged("\"leading\"").await;
    world.enqueue_many("A", 3_000).await;
    for _ in 0..20 {
        let before = world.hubspot.summary().requests;
        changes(&world, "select 1".to_owned()).await;
        eventually("requests are made all the same", async || match world.hubspot.summary().requests {
            now if now > before || !world.counts().await.contains_key("pending") => Ok(()),
            now => Err(now),
        })
        .await;
    }
    world.all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.audit().await;
    assert_eq!(world.hubspot.records().len(), 3_000);
}
