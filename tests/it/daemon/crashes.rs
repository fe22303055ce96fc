//! Crashes of the real program, of its database and of the way to HubSpot, at moments that nobody chose.

use std::time::Duration;

use course_sync::simulator::{Behaviour, Latency, Limits};

use crate::support::eventually::eventually;
use crate::support::world::World;

/// A busy world in which a lease, a doubt and an outage last for fractions of a second.
async fn hasty_world() -> World {
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

/// `KILLS` asks for more than the usual number, for a night's run.
fn kills() -> usize {
    std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(100)
}

#[tokio::test]
async fn killed_a_hundred_times_while_thousands_of_courses_drain() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let world = hasty_world().await;
    let mut enqueued = 0;
    for life in 0..kills() {
        let open = world
            .counts()
            .await
            .iter()
            .filter(|(status, _)| *status != "synced")
            .map(|(_, count)| count)
            .sum::<i64>();
        if open < 500 {
            world.enqueue_many(&format!("L{life}"), 1_000).await;
            enqueued += 1_000;
        }
        let daemon = world.daemon();
        daemon.logged("admin listening").await;
        // Every other life is long enough for its share of a thousand courses, however slow the machine is.
        let share = world.hubspot.records().len() + 2 * 1_000 / kills() + 1;
        if life % 2 == 0 {
            eventually("it sends", async || match world.hubspot.records().len() {
                created if created >= share => Ok(()),
                created => Err(created),
            })
            .await;
        }
        // The one place where time itself is the test's subject: the moment of death.
        tokio::time::sleep(Duration::from_millis(random.u64(1..500))).await;
        daemon.signal("KILL");
    }
    let received = world.sends().values().filter(|times| **times > 0).count();
    assert!(received > 1_000, "it was killed before it sent anything: {received}");
    let mut last = world.daemon();
    world.all_are(&["synced"]).await;
    assert!(last.stop().await.success());
    world.audit().await;
    assert_eq!(world.hubspot.records().len(), enqueued);
}

#[tokio::test]
async fn three_at_once_of_which_one_falls_every_while() {
    let world = hasty_world().await;
    world.enqueue_many("A", 6_000).await;
    let mut daemons: Vec<_> = (0..3).map(|_| world.daemon()).collect();
    for fallen in 0..10 {
        let synced = world.counts().await.get("synced").copied().unwrap_or_default();
        eventually("somebody sends", async || {
            let counts = world.counts().await;
            let now = counts.get("synced").copied().unwrap_or_default();
            if now > synced || now == 6_000 { Ok(()) } else { Err(counts) }
        })
        .await;
        let place = fallen % 3;
        daemons[place].signal("KILL");
        daemons[place] = world.daemon();
    }
    world.all_are(&["synced"]).await;
    for daemon in &mut daemons {
        assert!(daemon.stop().await.success());
    }
    world.audit().await;
    assert_eq!(world.hubspot.records().len(), 6_000);
}
