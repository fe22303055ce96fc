//! Of several instances, only the leader sends.

use simulator::{Behaviour, Latency};

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

async fn wait_for_requests(world: &World, more_than: usize) {
    eventually(&format!("more than {more_than} requests were made"), async || {
        match world.hubspot.summary().requests {
            made if made > more_than => Ok(()),
            made => Err(made),
        }
    })
    .await;
}

/// A busy world with a leader (the first daemon) and a standby (the second).
async fn busy_world_with_standby() -> (World, Daemon, Daemon) {
    let world = busy_world().await;
    let first = world.start_daemon();
    first.wait_for_event("lease_acquired").await;
    let second = world.start_daemon();
    world.enqueue_many("A", 3_000).await;
    wait_for_requests(&world, 5).await;
    (world, first, second)
}

#[tokio::test]
async fn a_standby_takes_over_immediately_when_the_leader_stops() {
    let mut world = busy_world().await;
    world.set("OUTBOX__LEASE", "1h");
    let mut first = world.start_daemon();
    first.wait_for_event("lease_acquired").await;
    let second = world.start_daemon();
    second.wait_for_event("standby_started").await;
    world.enqueue_many("A", 3_000).await;
    wait_for_requests(&world, 5).await;
    assert!(first.stop().await.success());
    second.wait_for_event("lease_acquired").await;
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert!(world.sends_per_course().values().all(|times| *times == 1));
    assert!(world.hubspot.summary().worst_window <= 190);
}

#[tokio::test]
async fn a_killed_leader_is_replaced_and_its_unconfirmed_courses_are_settled() {
    let (world, first, second) = busy_world_with_standby().await;
    first.signal("KILL");
    second.wait_for_event("lease_acquired").await;
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert!(world.hubspot.summary().worst_window <= 190);
}

#[tokio::test]
async fn a_leader_suspended_past_its_lease_does_no_harm() {
    let (world, first, second) = busy_world_with_standby().await;
    first.signal("STOP");
    second.wait_for_event("lease_acquired").await;
    first.signal("CONT");
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert!(world.hubspot.summary().worst_window <= 190);
}
