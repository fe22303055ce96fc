//! The quota at the receiver: never above, and used where there is work.

use course_sync::simulator::{Answer, Behaviour, Dialect, Fault, Latency, Limits, Neighbour, Operation};

use crate::support::eventually::eventually;
use crate::support::world::World;

#[tokio::test]
async fn no_window_at_the_receiver_holds_more_than_the_quota() {
    let limits = Limits { requests: 20, per_ms: 1_000, ..Limits::default() };
    let behaviour = Behaviour { limits, latency: Latency { min_ms: 5, max_ms: 60 }, ..Behaviour::default() };
    let mut world = World::with(true, behaviour).await;
    world.set("RATE_LIMIT__REQUESTS", "20");
    world.set("RATE_LIMIT__PER", "1s");
    world.set("BATCH__MAX_SIZE", "10");
    world.enqueue_many("A", 1_000).await;
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
    let summary = world.hubspot.summary();
    assert_eq!(summary.worst_window, 20, "all of the quota is used, and no more");
    assert_eq!(summary.by_status.get(&429), None);
    world.audit().await;
}

#[tokio::test]
async fn a_restart_remembers_what_was_sent() {
    let limits = Limits { requests: 10, per_ms: 3_000, ..Limits::default() };
    let mut world = World::with(true, Behaviour { limits, ..Behaviour::default() }).await;
    world.set("RATE_LIMIT__REQUESTS", "10");
    world.set("RATE_LIMIT__PER", "3s");
    world.set("BATCH__MAX_SIZE", "1");
    world.enqueue_many("A", 9).await;
    let mut daemon = world.daemon();
    world.all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.enqueue_many("B", 9).await;
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
    assert!(world.hubspot.summary().worst_window <= 10);
    assert_eq!(world.hubspot.summary().by_status.get(&429), None);
}

#[tokio::test]
async fn a_storm_of_429_fails_no_course() {
    let limits = Limits { requests: 50, per_ms: 300, ..Limits::default() };
    let mut world = World::with(true, Behaviour { limits, ..Behaviour::default() }).await;
    world.set("RATE_LIMIT__PER", "300ms");
    world.set("RATE_LIMIT__REQUESTS", "50");
    world.set("RETRY__MAX_ATTEMPTS", "1");
    for (dialect, retry_after) in [
        (Dialect::TenSecondlyRolling, None),
        (Dialect::Secondly, None),
        (Dialect::TenSecondlyRolling, Some(1)),
    ] {
        let answer = Answer::RateLimited { dialect, retry_after };
        world.hubspot.add_fault(Fault::new(answer).on(Operation::BatchCreate).times(2));
    }
    world.enqueue_many("A", 1_000).await;
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
    world.audit().await;
}

/// A world whose account allows 40 requests in 2 s.
async fn forty(neighbour: Neighbour) -> World {
    let limits = Limits { requests: 40, per_ms: 2_000, ..Limits::default() };
    let latency = Latency { min_ms: 5, max_ms: 40 };
    let mut world = World::with(true, Behaviour { limits, latency, neighbour, ..Behaviour::default() }).await;
    world.set("RATE_LIMIT__REQUESTS", "40");
    world.set("RATE_LIMIT__PER", "2s");
    world.set("BATCH__MAX_SIZE", "1");
    world
}

/// How many of our requests ended in 429, and how many there were.
fn refused(world: &World) -> (usize, usize) {
    let journal = world.hubspot.journal();
    (journal.iter().filter(|entry| entry.status == Some(429)).count(), journal.len())
}

async fn nobody_is_blamed(world: &World) {
    let blamed =
        world.rows().await.into_iter().filter(|row| row.faults > 0 || row.status == "failed").count();
    assert_eq!(blamed, 0);
    world.audit().await;
}

#[tokio::test]
async fn beside_a_neighbour_that_takes_most_hardly_a_request_is_refused() {
    for burst in [1, 6] {
        let world = forty(Neighbour { requests: 24, burst }).await;
        world.enqueue_many("A", 150).await;
        let daemon = world.daemon();
        world.all_are(&["synced"]).await;
        let (refused, requests) = refused(&world);
        assert!(refused * 50 <= requests, "bursts of {burst}: {refused} of {requests}\n{}", daemon.log());
        nobody_is_blamed(&world).await;
    }
}

#[tokio::test]
async fn a_neighbour_comes_and_goes() {
    let world = forty(Neighbour::default()).await;
    world.enqueue_many("A", 400).await;
    let daemon = world.daemon();
    eventually("the window is full", async || match world.hubspot.summary().requests {
        few @ 0..45 => Err(few),
        _ => Ok(()),
    })
    .await;
    world.hubspot.change_behaviour(|behaviour| behaviour.neighbour = Neighbour { requests: 24, burst: 1 });
    daemon.logged("others use the same quota").await;
    world.hubspot.change_behaviour(|behaviour| behaviour.neighbour = Neighbour::default());
    daemon.logged("others no longer use the same quota").await;
    world.all_are(&["synced"]).await;
    nobody_is_blamed(&world).await;
}

#[tokio::test]
async fn an_account_that_allows_less_than_is_configured_is_obeyed() {
    let mut world = forty(Neighbour::default()).await;
    world.set("RATE_LIMIT__REQUESTS", "190");
    world.enqueue_many("A", 120).await;
    let daemon = world.daemon();
    world.all_are(&["synced"]).await;
    assert_eq!(world.hubspot.summary().by_status.get(&429), None);
    assert!(world.hubspot.summary().worst_window <= 40);
    let said = daemon.log().lines().filter(|line| line.contains("rate_limit.requests")).count();
    assert_eq!(said, 1, "{}", daemon.log());
    world.audit().await;
}
