//! Kills the real program at random moments.

use std::time::Duration;

use simulator::{Behaviour, Change, Latency, Limits};
use sqlx::AssertSqlSafe;

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
async fn repeated_kills_while_courses_change_and_are_withdrawn_leave_hubspot_as_the_rows_say() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let world = world_with_short_timeouts().await;
    world.hubspot.change_behaviour(|behaviour| behaviour.archived_hold_unique = false);
    world.enqueue_many("A", 600).await;
    for run in 0..kills() / 2 {
        let daemon = world.start_daemon();
        daemon.wait_for_event("admin_server_started").await;
        let before = world.hubspot.versions().len();
        if run % 2 == 0 {
            eventually("the daemon has written records", async || match world.hubspot.versions().len() {
                now if now > before + 20 => Ok(()),
                now => Err(now),
            })
            .await;
        }
        // A random wait: the moment of the kill is what this test varies.
        tokio::time::sleep(Duration::from_millis(random.u64(1..300))).await;
        for set in [
            "properties = properties || jsonb_build_object('hs_course_description', $3)",
            "properties = properties - 'hs_course_description' || jsonb_build_object('hs_enrollment_capacity', length($3))",
            "archived = $3 is not null",
            "archived = $3 is null",
        ] {
            let sql =
                AssertSqlSafe(format!("update course_outbox set {set} where id > $1 and id <= $1 + $2"));
            let change = sqlx::query(sql)
                .bind(random.i64(0..600))
                .bind(random.i64(1..60))
                .bind(format!("change {run}"));
            change.execute(world.pool()).await.unwrap();
        }
        daemon.signal("KILL");
    }
    let versions = world.hubspot.versions();
    let count =
        |is_kind: fn(&Change) -> bool| versions.iter().filter(|version| is_kind(&version.change)).count();
    let (updated, archived) =
        (count(|change| *change == Change::Updated), count(|change| *change == Change::Archived));
    assert!(updated > 50 && archived > 10, "{updated} updates and {archived} archives are too few");
    let mut last = world.start_daemon();
    eventually("every course is settled", async || {
        let open: i64 = sqlx::query_scalar(
            "select count(*) from course_outbox
              where status not in ('synced', 'archived') or status = 'synced' and recheck_at is not null",
        )
        .fetch_one(world.pool())
        .await
        .unwrap();
        if open == 0 { Ok(()) } else { Err(open) }
    })
    .await;
    assert!(last.stop().await.success());
    world.audit_values().await;
    // Each course was created once for each time that it was offered.
    let live = world.hubspot.records().iter().filter(|record| !record.archived).count();
    let synced = world.counts().await.get("synced").copied().unwrap_or_default();
    assert_eq!(i64::try_from(live).unwrap(), synced);
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
