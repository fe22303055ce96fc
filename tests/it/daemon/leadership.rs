//! Any number of instances; one sends.

use course_sync::simulator::{Behaviour, Latency};

use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
use crate::support::world::World;

async fn busy_world() -> World {
    let behaviour = Behaviour { latency: Latency { min_ms: 50, max_ms: 150 }, ..Behaviour::default() };
    let mut world = World::with(true, behaviour).await;
    world.set("OUTBOX__LEASE", "1s");
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    world
}

async fn requests_made(world: &World, more_than: usize) {
    eventually("requests were made", async || match world.hubspot.summary().requests {
        made if made > more_than => Ok(()),
        made => Err(made),
    })
    .await;
}

/// Busy under its leader, the first; the second waits.
async fn led_world() -> (World, Daemon, Daemon) {
    let world = busy_world().await;
    let first = world.daemon();
    first.logged("\"leading\"").await;
    let second = world.daemon();
    world.enqueue_many("A", 3_000).await;
    requests_made(&world, 5).await;
    (world, first, second)
}

#[tokio::test]
async fn of_two_one_sends_and_the_other_takes_over_at_once_when_it_stops() {
    let mut world = busy_world().await;
    world.set("OUTBOX__LEASE", "1h");
    let mut first = world.daemon();
    first.logged("\"leading\"").await;
    let second = world.daemon();
    second.logged("another instance leads").await;
    world.enqueue_many("A", 3_000).await;
    requests_made(&world, 5).await;
    assert!(first.stop().await.success());
    second.logged("\"leading\"").await;
    world.all_are(&["synced"]).await;
    world.audit().await;
    assert!(world.sends().values().all(|times| *times == 1));
    assert!(world.hubspot.summary().worst_window <= 190);
}

#[tokio::test]
async fn a_killed_leader_is_replaced_and_its_doubts_are_settled() {
    let (world, first, second) = led_world().await;
    first.signal("KILL");
    second.logged("\"leading\"").await;
    world.all_are(&["synced"]).await;
    world.audit().await;
    assert!(world.hubspot.summary().worst_window <= 190);
}

#[tokio::test]
async fn a_leader_that_stood_still_past_its_lease_does_no_harm() {
    let (world, first, second) = led_world().await;
    first.signal("STOP");
    second.logged("\"leading\"").await;
    first.signal("CONT");
    world.all_are(&["synced"]).await;
    world.audit().await;
    assert!(world.hubspot.summary().worst_window <= 190);
}
