//! Rows that cannot be written for a while: another session holds them, or a trigger of the catalogue's refuses or ignores
//! the write. Each delays only its own course, and nothing is sent twice.

use std::time::{Duration, Instant};

use serde_json::json;
use simulator::{Behaviour, Latency, Operation};
use sqlx::{AssertSqlSafe, Executor as _};

use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
use crate::support::http::http_get;
use crate::support::world::{WARM_UP_COURSES, World};

const REFUSE: &str = "raise 'refused by the catalogue'";
const IGNORE: &str = "return null";
const DENY: &str = "raise 'denied' using errcode = 'insufficient_privilege'";

/// Creates a trigger with this action for each update of the rows that fulfil the condition.
async fn block_writes(world: &World, action: &str, condition: &str) {
    let statements = format!(
        "create function block() returns trigger language plpgsql as $$ begin {action}; end $$;
         create trigger block before update on course_outbox for each row when ({condition}) execute function block()"
    );
    world.pool().execute(sqlx::raw_sql(AssertSqlSafe(statements))).await.unwrap();
}

async fn unblock_writes(world: &World) {
    world.pool().execute("drop trigger block on course_outbox").await.unwrap();
}

/// Waits until so many courses are synced, and so many in flight.
async fn wait_for_counts(world: &World, synced: i64, in_flight: i64) {
    eventually(&format!("{synced} courses are synced, and {in_flight} in flight"), async || {
        let counts = world.counts().await;
        let found = |status| counts.get(status).copied().unwrap_or_default();
        if (found("synced"), found("in_flight")) == (synced, in_flight) { Ok(()) } else { Err(counts) }
    })
    .await;
}

async fn assert_ready_leader(daemon: &Daemon) {
    let ready = http_get(format!("{}/readyz", daemon.admin_url().await)).await.unwrap();
    assert_eq!(ready.status(), 200, "{:?}", ready.text().await);
    assert_eq!(daemon.metric("course_sync_leader").await, "1");
    assert!(daemon.events("lease_lost").is_empty(), "{}", daemon.log());
}

/// Every course is synced in the end, after it was sent once.
async fn assert_sent_once(world: &World) {
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert!(world.sends_per_course().values().all(|times| *times == 1));
}

async fn check_one_unwritable_row(action: &str, reason: &str) {
    let world = World::new().await;
    world.enqueue_many("A", 250).await;
    block_writes(&world, action, "new.course_key = 'A-77'").await;
    let daemon = world.start_daemon();
    wait_for_counts(&world, 249, 1).await;
    world.enqueue_many("B", 50).await;
    wait_for_counts(&world, 299, 1).await;
    let event = daemon.wait_for_event("rows_not_writable").await;
    assert_eq!((&event["keys"], &event["courses"]), (&json!("A-77"), &json!(1)));
    assert!(event["reason"].as_str().unwrap().contains(reason), "{event}");
    assert_ready_leader(&daemon).await;
    unblock_writes(&world).await;
    assert_sent_once(&world).await;
}

#[tokio::test]
async fn a_trigger_that_refuses_one_row_delays_only_its_course() {
    check_one_unwritable_row(REFUSE, "refused by the catalogue").await;
}

#[tokio::test]
async fn a_trigger_that_ignores_one_row_delays_only_its_course() {
    check_one_unwritable_row(IGNORE, "a trigger ignores the write").await;
}

/// A leader that was killed while its request with ten courses was open. `A-5` is one of them.
async fn world_after_a_kill() -> World {
    let behaviour = Behaviour { latency: Latency { min_ms: 1_000, max_ms: 1_000 }, ..Behaviour::default() };
    let mut world = World::with(true, behaviour).await;
    world.set("OUTBOX__LEASE", "1s");
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    world.enqueue_many("A", 60).await;
    let leader = world.start_daemon();
    eventually("ten courses are in flight, and one is synced", async || {
        let counts = world.counts().await;
        if counts.get("in_flight") == Some(&10) && counts.get("synced") == Some(&1) {
            Ok(())
        } else {
            Err(counts)
        }
    })
    .await;
    leader.signal("KILL");
    world.hubspot.change_behaviour(|behaviour| behaviour.latency = Latency::default());
    world
}

#[tokio::test]
async fn a_trigger_that_refuses_a_row_at_a_takeover_delays_only_its_course() {
    let world = world_after_a_kill().await;
    block_writes(&world, REFUSE, "new.course_key = 'A-5'").await;
    let daemon = world.start_daemon();
    wait_for_counts(&world, 59, 1).await;
    let event = daemon.wait_for_event("rows_not_writable").await;
    assert_eq!(event["keys"], "A-5");
    assert!(event["reason"].as_str().unwrap().contains("refused by the catalogue"), "{event}");
    assert_ready_leader(&daemon).await;
    unblock_writes(&world).await;
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert_eq!(world.hubspot.records().len(), 60);
}

#[tokio::test]
async fn a_row_that_is_locked_at_a_takeover_delays_only_its_course() {
    let world = world_after_a_kill().await;
    let mut other = world.pool().begin().await.unwrap();
    other.execute("select from course_outbox where course_key = 'A-5' for update").await.unwrap();
    let daemon = world.start_daemon();
    wait_for_counts(&world, 59, 1).await;
    assert_ready_leader(&daemon).await;
    other.commit().await.unwrap();
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert_eq!(world.hubspot.records().len(), 60);
}

#[tokio::test]
async fn locked_rows_in_many_batches_exhaust_no_connections() {
    let mut world = World::new().await;
    world.set("BATCH__MAX_SIZE", "10");
    world.set("OUTBOX__LEASE", "2s");
    world.enqueue_many("A", 120).await;
    let mut other = world.pool().begin().await.unwrap();
    // One row of each batch.
    other.execute("select from course_outbox where id % 10 = 5 for update").await.unwrap();
    let mut daemon = world.start_daemon();
    wait_for_counts(&world, 108, 12).await;
    // Longer than the lease.
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.enqueue_many("B", 100).await;
    wait_for_counts(&world, 208, 12).await;
    assert_ready_leader(&daemon).await;
    other.commit().await.unwrap();
    assert_sent_once(&world).await;
    assert!(daemon.stop().await.success());
}

/// Six unconfirmed courses, which HubSpot does not hold.
async fn world_with_unconfirmed_courses() -> World {
    let world = World::new().await;
    world.enqueue_many("A", 6).await;
    sqlx::query(
        "update course_outbox set status = 'unconfirmed', batch_id = gen_random_uuid(), doubt = 'unknown',
                doubt_property = 'course_sync_key', doubted_since = now()",
    )
    .execute(world.pool())
    .await
    .unwrap();
    world
}

async fn check_one_unconfirmed_row(action: &str) {
    let world = world_with_unconfirmed_courses().await;
    block_writes(&world, action, "new.course_key = 'A-1'").await;
    let daemon = world.start_daemon();
    wait_for_counts(&world, 5, 0).await;
    let before = world.received(Operation::BatchRead).len();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let look_ups = world.received(Operation::BatchRead).len() - before;
    assert!(look_ups <= 20, "{look_ups} look-ups in 3 seconds");
    assert_eq!(world.row("A-1").await.status, "unconfirmed");
    assert_ready_leader(&daemon).await;
    unblock_writes(&world).await;
    assert_sent_once(&world).await;
}

#[tokio::test]
async fn a_trigger_that_refuses_an_unconfirmed_row_delays_the_look_up_of_no_other() {
    check_one_unconfirmed_row(REFUSE).await;
}

#[tokio::test]
async fn a_trigger_that_ignores_an_unconfirmed_row_delays_the_look_up_of_no_other() {
    check_one_unconfirmed_row(IGNORE).await;
}

#[tokio::test]
async fn a_locked_unconfirmed_row_delays_the_look_up_of_no_other() {
    let world = world_with_unconfirmed_courses().await;
    let mut other = world.pool().begin().await.unwrap();
    other.execute("select from course_outbox where course_key = 'A-1' for update").await.unwrap();
    let daemon = world.start_daemon();
    wait_for_counts(&world, 5, 0).await;
    assert_eq!(world.row("A-1").await.status, "unconfirmed");
    world.enqueue_many("B", 5).await;
    wait_for_counts(&world, 10, 0).await;
    assert_ready_leader(&daemon).await;
    other.commit().await.unwrap();
    assert_sent_once(&world).await;
}

/// While no outcome can be recorded, at most two rounds of requests are sent: one is being recorded, and one was in flight when
/// that began to fail. Memory does not grow.
async fn check_that_claims_stop(action: &str) {
    const TWO_ROUNDS: usize = 2 * 4 * 10;
    let mut world = World::new().await;
    world.set("BATCH__MAX_SIZE", "10");
    world.set("BATCH__MAX_IN_FLIGHT", "4");
    let daemon = world.start_daemon();
    world.warm_up().await;
    let (usual, before) = (daemon.peak_memory_kib(), world.hubspot.records().len());
    assert_eq!(i64::try_from(before).unwrap(), WARM_UP_COURSES);
    block_writes(&world, action, "true").await;
    world.enqueue_many("A", 2_000).await;
    let sent = || world.hubspot.records().len() - before;
    eventually("courses are sent", async || if sent() > 0 { Ok(()) } else { Err(()) }).await;
    let (mut last, mut unchanged_since) = (sent(), Instant::now());
    while unchanged_since.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if sent() != last {
            (last, unchanged_since) = (sent(), Instant::now());
        }
        assert!(last <= TWO_ROUNDS, "{last} courses were sent, and none could be recorded");
    }
    let grown = daemon.peak_memory_kib() - usual;
    assert!(grown < 16 * 1024, "the memory of the daemon grew by {grown} KiB");
    unblock_writes(&world).await;
    assert_sent_once(&world).await;
}

#[tokio::test]
async fn claims_stop_while_a_trigger_refuses_every_outcome() {
    check_that_claims_stop(REFUSE).await;
}

#[tokio::test]
async fn claims_stop_while_a_trigger_ignores_every_outcome() {
    check_that_claims_stop(IGNORE).await;
}

#[tokio::test]
async fn claims_stop_while_the_right_to_write_is_missing() {
    check_that_claims_stop(DENY).await;
}

#[tokio::test]
async fn outcomes_are_recorded_while_the_sequence_of_the_history_is_behind() {
    let world = World::new().await;
    world
        .pool()
        .execute(
            "insert into course_sync_history (id, course_id, course_key, event) overriding system value
             select n, n, 'old-' || n, 'failed' from generate_series(1, 40) n",
        )
        .await
        .unwrap();
    for n in 1..=15 {
        world
            .enqueue(
                &format!("bad-{n}"),
                &json!({ "hs_course_name": format!("Course bad {n}"), "colour": "x" }),
            )
            .await;
    }
    world.enqueue_many("A", 15).await;
    let daemon = world.start_daemon();
    world.wait_until_all_are(&["synced", "failed"]).await;
    assert_eq!(world.counts().await, [("failed".to_owned(), 15), ("synced".to_owned(), 15)].into());
    world.audit().await;
    assert_ready_leader(&daemon).await;
}
