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
