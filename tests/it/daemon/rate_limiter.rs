//! The quota, as measured at the receiver: never exceeded, and fully used while there is work.

use simulator::{Answer, Behaviour, Dialect, Fault, Latency, Limits, Operation, OtherIntegration};

use crate::support::eventually::eventually;
use crate::support::world::World;

#[tokio::test]
async fn no_time_window_exceeds_the_quota() {
    let limits = Limits { requests: 20, per_ms: 1_000, ..Limits::default() };
    let behaviour = Behaviour { limits, latency: Latency { min_ms: 5, max_ms: 60 }, ..Behaviour::default() };
    let mut world = World::with(true, behaviour).await;
    world.set("RATE_LIMIT__REQUESTS", "20");
    world.set("RATE_LIMIT__PER", "1s");
    world.set("BATCH__MAX_SIZE", "10");
    world.enqueue_many("A", 1_000).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    let summary = world.hubspot.summary();
    assert_eq!(summary.worst_window, 20, "the quota is fully used and not exceeded");
    assert_eq!(summary.by_status.get(&429), None);
    world.audit().await;
}

#[tokio::test]
async fn a_restart_respects_requests_sent_before() {
    let limits = Limits { requests: 10, per_ms: 3_000, ..Limits::default() };
    let mut world = World::with(true, Behaviour { limits, ..Behaviour::default() }).await;
    world.set("RATE_LIMIT__REQUESTS", "10");
    world.set("RATE_LIMIT__PER", "3s");
    world.set("BATCH__MAX_SIZE", "1");
    world.enqueue_many("A", 9).await;
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.enqueue_many("B", 9).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    assert!(world.hubspot.summary().worst_window <= 10);
    assert_eq!(world.hubspot.summary().by_status.get(&429), None);
}

#[tokio::test]
async fn repeated_429_responses_fail_no_course() {
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
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
}

/// A world whose account allows 40 requests in 2 s, and whose batches hold one course.
async fn world_with_small_quota(neighbour: OtherIntegration) -> World {
    let limits = Limits { requests: 40, per_ms: 2_000, ..Limits::default() };
    let latency = Latency { min_ms: 5, max_ms: 40 };
    let mut world = World::with(true, Behaviour { limits, latency, neighbour, ..Behaviour::default() }).await;
    world.set("RATE_LIMIT__REQUESTS", "40");
    world.set("RATE_LIMIT__PER", "2s");
    world.set("BATCH__MAX_SIZE", "1");
    world
}

/// The number of our requests with response 429, and the number of all our requests.
fn count_refused(world: &World) -> (usize, usize) {
    let journal = world.hubspot.journal();
    (journal.iter().filter(|entry| entry.status == Some(429)).count(), journal.len())
}

async fn assert_no_faults(world: &World) {
    let with_faults =
        world.rows().await.into_iter().filter(|row| row.faults > 0 || row.status == "failed").count();
    assert_eq!(with_faults, 0);
    world.audit().await;
}

#[tokio::test]
async fn few_requests_are_refused_beside_a_busy_integration() {
    for burst in [1, 6] {
        let world = world_with_small_quota(OtherIntegration { requests: 24, burst }).await;
        world.enqueue_many("A", 150).await;
        let daemon = world.start_daemon();
        world.wait_until_all_are(&["synced"]).await;
        let (refused, requests) = count_refused(&world);
        assert!(refused * 50 <= requests, "bursts of {burst}: {refused} of {requests}\n{}", daemon.log());
        assert_no_faults(&world).await;
    }
}

#[tokio::test]
async fn the_quota_share_adapts_when_another_integration_starts_and_stops() {
    let world = world_with_small_quota(OtherIntegration::default()).await;
    world.enqueue_many("A", 400).await;
    let daemon = world.start_daemon();
    eventually("the time window is full", async || match world.hubspot.summary().requests {
        few @ 0..45 => Err(few),
        _ => Ok(()),
    })
    .await;
    world
        .hubspot
        .change_behaviour(|behaviour| behaviour.neighbour = OtherIntegration { requests: 24, burst: 1 });
    daemon.wait_for_event("quota_share_reduced").await;
    world.hubspot.change_behaviour(|behaviour| behaviour.neighbour = OtherIntegration::default());
    daemon.wait_for_event("quota_share_restored").await;
    world.wait_until_all_are(&["synced"]).await;
    assert_no_faults(&world).await;
}

#[tokio::test]
async fn an_account_limit_below_the_configured_one_is_respected() {
    let mut world = world_with_small_quota(OtherIntegration::default()).await;
    world.set("RATE_LIMIT__REQUESTS", "190");
    world.enqueue_many("A", 120).await;
    let daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    assert_eq!(world.hubspot.summary().by_status.get(&429), None);
    assert!(world.hubspot.summary().worst_window <= 40);
    assert_eq!(daemon.events("rate_limit_reduced").len(), 1, "{}", daemon.log());
    world.audit().await;
}
