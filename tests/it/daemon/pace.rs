//! The quota at the receiver: never above, and used where there is work.

use course_sync::simulator::{Answer, Behaviour, Dialect, Fault, Latency, Limits, Operation};

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

#[tokio::test]
async fn the_days_reserve_is_left_to_the_accounts_other_integrations() {
    let limits = Limits { daily: 40, ..Limits::default() };
    let mut world = World::with(true, Behaviour { limits, ..Behaviour::default() }).await;
    world.set("RATE_LIMIT__DAILY_RESERVE", "50%");
    world.set("BATCH__MAX_SIZE", "1");
    world.set("BATCH__MAX_IN_FLIGHT", "1");
    world.enqueue_many("A", 60).await;
    let mut daemon = world.daemon();
    daemon.logged("\"daily_quota\"").await;
    assert!(daemon.stop().await.success());
    assert_eq!(world.hubspot.summary().requests, 20);
    // One of them read the account's properties.
    assert_eq!(world.counts().await.get("pending"), Some(&41));
    world.audit().await;
}
