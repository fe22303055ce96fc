//! The quota while `audit` and `adopt` run beside a daemon, as measured at the receiver: both together stay within it.

use simulator::{Behaviour, Latency, Limits, Operation};

use super::audit::values;
use super::commands::{CommandOutput, run_command};
use crate::support::daemon::{Daemon, program};
use crate::support::eventually::eventually;
use crate::support::world::World;

/// A world whose account allows `requests` in 2 s, and whose batches hold one course.
async fn world_with_small_quota(requests: u32) -> World {
    let limits = Limits { requests: requests.into(), per_ms: 2_000, ..Limits::default() };
    let latency = Latency { min_ms: 5, max_ms: 40 };
    let mut world = World::with(true, Behaviour { limits, latency, ..Behaviour::default() }).await;
    world.set("RATE_LIMIT__REQUESTS", &requests.to_string());
    world.set("RATE_LIMIT__PER", "2s");
    world.set("BATCH__MAX_SIZE", "1");
    world.set("OUTBOX__LEASE", "3s");
    world
}

/// Records made by hand, without a key.
fn create_records(world: &World, count: u32) {
    for n in 0..count {
        world.hubspot.create_record(values(&[("hs_course_name", &format!("By hand {n}"))]));
    }
}

async fn audit(world: &World, share: &str) -> CommandOutput {
    run_command(&world.settings, &["audit", "--share", share]).await
}

fn assert_quota_was_kept(world: &World, requests: u32) {
    let summary = world.hubspot.summary();
    assert_eq!(summary.by_status.get(&429), None, "{summary:?}");
    assert!(summary.worst_window <= requests as usize, "{summary:?}");
}

#[tokio::test]
async fn an_audit_beside_a_busy_daemon_does_not_overrun_the_quota() {
    let world = world_with_small_quota(40).await;
    create_records(&world, 3_000);
    world.enqueue_many("A", 450).await;
    let daemon = world.start_daemon();
    eventually("the window is full", async || match world.hubspot.summary().requests {
        few @ 0..45 => Err(few),
        _ => Ok(()),
    })
    .await;
    let first = audit(&world, "25%").await;
    assert_eq!(first.code, Some(0), "{}{}", first.out, first.err);
    let counts = world.counts().await;
    assert!(counts.get("pending") > Some(&0), "the daemon was busy until the end: {counts:?}");
    assert!(world.received(Operation::List).len() > 30);
    assert_quota_was_kept(&world, 40);
    world.wait_until_all_are(&["synced"]).await;
    assert_quota_was_kept(&world, 40);
    let reserved: bool = sqlx::query_scalar("select reservations <> '{}' from course_sync_leader")
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert!(reserved, "the reservation is in the leader's row");
    drop(daemon);
}

#[tokio::test]
async fn a_daemon_that_starts_beside_an_audit_leaves_its_share_free() {
    let world = world_with_small_quota(20).await;
    create_records(&world, 6_000);
    world.enqueue_many("A", 100).await;
    let auditing = audit(&world, "50%");
    let (audited, ()) = tokio::join!(auditing, async {
        eventually("the audit sends", async || match world.received(Operation::List).len() {
            few @ 0..8 => Err(few),
            _ => Ok(()),
        })
        .await;
        let _daemon = world.start_daemon();
        world.wait_until_all_are(&["synced"]).await;
    });
    assert_eq!(audited.code, Some(0), "{}", audited.err);
    assert_quota_was_kept(&world, 20);
}

#[tokio::test]
async fn what_a_command_sent_counts_for_the_daemon_after_it() {
    let world = world_with_small_quota(20).await;
    create_records(&world, 1_800);
    world.enqueue_many("A", 60).await;
    let arguments = ["adopt", "--match", "hs_course_id", "--share", "90%", "--apply"];
    let adopted = run_command(&world.settings, &arguments).await;
    assert_eq!(adopted.code, Some(0), "{}", adopted.err);
    assert!(world.received(Operation::List).len() >= 18);
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    // And the other way round.
    assert!(daemon.stop().await.success());
    assert_eq!(audit(&world, "90%").await.code, Some(0));
    // Two commands, one after the other.
    let again = audit(&world, "90%").await;
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert_quota_was_kept(&world, 20);
}

/// A daemon of an earlier version reports no reservation. The audit waits for a lease at most.
#[tokio::test]
async fn an_audit_does_not_wait_forever_for_a_leader_that_reports_nothing() {
    let world = world_with_small_quota(40).await;
    sqlx::raw_sql(
        "update course_sync_leader
            set holder = gen_random_uuid(), host = 'elsewhere', report = '{}', expires_at = clock_timestamp() + interval '3 s'",
    )
    .execute(world.pool())
    .await
    .unwrap();
    let audited = audit(&world, "10%").await;
    assert_eq!(audited.code, Some(0), "{}", audited.err);
}

#[tokio::test]
async fn a_terminated_audit_gives_its_share_back_and_records_what_it_found() {
    let world = world_with_small_quota(20).await;
    create_records(&world, 6_000);
    let mut command = program(&world.settings);
    command.args(["audit", "--share", "50%"]);
    let mut auditing = Daemon::spawn(command);
    eventually("the audit sends", async || match world.received(Operation::List).len() {
        few @ 0..3 => Err(few),
        _ => Ok(()),
    })
    .await;
    assert_eq!(auditing.stop().await.code(), Some(128 + 15), "{}", auditing.log());
    let position: String = sqlx::query_scalar("select stopped_at from course_sync_audit where not complete")
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert!(position.starts_with("record:"), "{position}");
    let left: f64 = sqlx::query_scalar(
        "select max((item ->> 'until')::float8) - extract(epoch from clock_timestamp())::float8
           from course_sync_leader, jsonb_path_query(reservations, '$.*') item",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert!(left <= 2.0, "only for one more window: {left}");
}
