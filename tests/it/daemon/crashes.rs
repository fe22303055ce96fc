//! Kills the real program at random moments.

use std::time::Duration;

use simulator::{Behaviour, Latency, Limits};

use crate::support::eventually::eventually;
use crate::support::world::World;

/// A world in which leases, look-up delays and retries last for fractions of a second.
async fn world_with_short_timeouts() -> World {
    let limits = Limits { requests: 1_000_000, ..Limits::default() };
    let behaviour = Behaviour { limits, latency: Latency { min_ms: 2, max_ms: 30 }, ..Behaviour::default() };
    let mut world = World::with(true, behaviour).await;
    for (name, value) in [
        ("OUTBOX__LEASE", "200ms"),
        ("OUTBOX__POLL_INTERVAL", "20ms"),
        ("OUTBOX__SETTLE", "50ms"),
        ("RATE_LIMIT__REQUESTS", "100000"),
        ("BATCH__MAX_SIZE", "5"),
    ] {
        world.set(name, value);
    }
    world
}

/// The number of kills. `KILLS` raises it for long runs.
fn kills() -> usize {
    std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(100)
}

#[tokio::test]
async fn repeated_kills_lose_and_duplicate_nothing() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let world = world_with_short_timeouts().await;
    let mut enqueued = 0;
    for run in 0..kills() {
        let open = world
            .counts()
            .await
            .iter()
            .filter(|(status, _)| *status != "synced")
            .map(|(_, count)| count)
            .sum::<i64>();
        if open < 500 {
            world.enqueue_many(&format!("L{run}"), 1_000).await;
            enqueued += 1_000;
        }
        let daemon = world.start_daemon();
        daemon.wait_for_event("admin_server_started").await;
        // Every other run lasts until it has sent its part of a thousand courses, even on a slow machine.
        let target = world.hubspot.records().len() + 2 * 1_000 / kills() + 1;
        if run % 2 == 0 {
            eventually("the daemon has created courses", async || match world.hubspot.records().len() {
                created if created >= target => Ok(()),
                created => Err(created),
            })
            .await;
        }
        // A random wait: the moment of the kill is what this test varies.
        tokio::time::sleep(Duration::from_millis(random.u64(1..500))).await;
        daemon.signal("KILL");
    }
    let received = world.sends_per_course().values().filter(|times| **times > 0).count();
    assert!(received > 1_000, "the daemon was killed before it sent enough courses: {received}");
    let mut last = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    assert!(last.stop().await.success());
    world.audit().await;
    assert_eq!(world.hubspot.records().len(), enqueued);
}

#[tokio::test]
async fn killing_one_of_three_instances_repeatedly_loses_nothing() {
    let world = world_with_short_timeouts().await;
    world.enqueue_many("A", 6_000).await;
    let mut daemons: Vec<_> = (0..3).map(|_| world.start_daemon()).collect();
    for round in 0..10 {
        let synced = world.counts().await.get("synced").copied().unwrap_or_default();
        eventually("an instance sends courses", async || {
            let counts = world.counts().await;
            let now = counts.get("synced").copied().unwrap_or_default();
            if now > synced || now == 6_000 { Ok(()) } else { Err(counts) }
        })
        .await;
        let index = round % 3;
        daemons[index].signal("KILL");
        daemons[index] = world.start_daemon();
    }
    world.wait_until_all_are(&["synced"]).await;
    for daemon in &mut daemons {
        assert!(daemon.stop().await.success());
    }
    world.audit().await;
    assert_eq!(world.hubspot.records().len(), 6_000);
}
