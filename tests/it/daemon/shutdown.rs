//! Shutdown by signal: claim no more courses, finish and record what is in flight, release the lease, exit with 0.

use std::time::{Duration, Instant};

use simulator::{Answer, Behaviour, Fault, Latency, Operation};

use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
use crate::support::http::http_get;
use crate::support::world::World;

#[tokio::test]
async fn shutdown_under_load_leaves_nothing_in_flight_and_sends_nothing_twice() {
    let behaviour = Behaviour { latency: Latency { min_ms: 20, max_ms: 120 }, ..Behaviour::default() };
    let world = World::with(true, behaviour).await;
    world.enqueue_many("A", 6_000).await;
    let mut daemons = 0;
    loop {
        daemons += 1;
        let before = world.hubspot.summary().requests;
        let mut daemon = world.start_daemon();
        let is_done = eventually("more than 12 requests were made, or all courses are synced", async || {
            let synced = world.counts().await.get("synced").copied().unwrap_or_default();
            let made = world.hubspot.summary().requests - before;
            if synced == 6_000 {
                Ok(true)
            } else if made > 12 {
                Ok(false)
            } else {
                Err(made)
            }
        })
        .await;
        assert!(daemon.stop().await.success(), "the exit code is not 0");
        let counts = world.counts().await;
        assert!(!counts.contains_key("in_flight") && !counts.contains_key("unconfirmed"), "{counts:?}");
        assert_eq!(world.hubspot.summary().open, 0);
        if is_done {
            break;
        }
    }
    assert!(daemons > 1, "the daemon was never stopped under load");
    world.audit().await;
    assert!(world.sends_per_course().values().all(|times| *times == 1), "a course was sent twice");
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_course-sync");

fn start_daemon_with(world: &World, command: &[&str]) -> Daemon {
    let mut started = std::process::Command::new(command[0]);
    started.args(&command[1..]).env_clear();
    started.env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs(&world.settings);
    Daemon::spawn(started)
}

/// A closed terminal may send SIGHUP several times.
#[tokio::test]
async fn repeated_sighup_is_one_clean_shutdown() {
    let world = World::new().await;
    world.hubspot.add_fault(Fault::new(Answer::Real).on(Operation::BatchCreate).after_ms(1_500));
    world.enqueue_many("A", 1).await;
    // Reset the signal, because the tests themselves may run under `nohup`.
    let mut daemon = start_daemon_with(&world, &["env", "--default-signal=HUP", PROGRAM, "run"]);
    eventually("a course is being sent", async || if world.create_requests() > 0 { Ok(()) } else { Err(()) })
        .await;
    daemon.signal("HUP");
    daemon.wait_for_event("shutdown_started").await;
    daemon.signal("HUP");
    assert!(daemon.wait_for_exit().await.success());
    assert_eq!(daemon.events("lease_released").len(), 1, "{}", daemon.log());
    world.wait_until_all_are(&["synced"]).await;
}

#[tokio::test]
async fn sighup_is_ignored_under_nohup() {
    let world = World::new().await;
    let mut daemon = start_daemon_with(&world, &["env", "--ignore-signal=HUP", PROGRAM, "run"]);
    daemon.wait_for_event("lease_acquired").await;
    daemon.signal("HUP");
    world.enqueue_many("A", 1).await;
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.events("shutdown_started").is_empty(), "{}", daemon.log());
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn shutdown_succeeds_while_the_database_is_unavailable() {
    let mut world = World::new().await;
    world.settings.insert("DATABASE_URL".into(), "postgres://nologin@127.0.0.1:1/nothing".into());
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("database_unavailable").await;
    let admin = daemon.admin_url().await;
    assert_eq!(http_get(format!("{admin}/livez")).await.unwrap().status(), 200);
    assert_eq!(http_get(format!("{admin}/readyz")).await.unwrap().status(), 503);
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn shutdown_succeeds_while_another_process_migrates() {
    let world = World::new().await;
    let mut other = world.pool().begin().await.unwrap();
    sqlx::query("lock table course_sync_migrations in access exclusive mode")
        .execute(&mut *other)
        .await
        .unwrap();
    let mut daemon = world.start_daemon();
    daemon.admin_url().await;
    world.wait_for_lock_waiters(1).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn shutdown_respects_grace_while_the_table_is_locked() {
    let mut world = World::new().await;
    world.set("SHUTDOWN__GRACE", "3s");
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    let mut other = world.pool().begin().await.unwrap();
    sqlx::query("lock table course_outbox in access exclusive mode").execute(&mut *other).await.unwrap();
    world.wait_for_lock_waiters(1).await;
    let began = Instant::now();
    daemon.stop().await;
    assert!(began.elapsed() < Duration::from_secs(4), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn results_that_cannot_be_recorded_are_logged_at_shutdown() {
    let behaviour = Behaviour { latency: Latency { min_ms: 500, max_ms: 500 }, ..Behaviour::default() };
    let mut world = World::with(true, behaviour).await;
    world.set("SHUTDOWN__GRACE", "3s");
    world.enqueue_many("A", 5).await;
    let mut daemon = world.start_daemon();
    eventually("the first create has been received", async || {
        if world.create_requests() > 0 { Ok(()) } else { Err(()) }
    })
    .await;
    let mut other = world.pool().begin().await.unwrap();
    sqlx::query("lock table course_outbox in access exclusive mode").execute(&mut *other).await.unwrap();
    wait_for_open_requests(&world, 0).await;
    assert_eq!(daemon.stop().await.code(), Some(1));
    other.rollback().await.unwrap();
    let log = daemon.log();
    for record in world.hubspot.records() {
        assert!(
            log.contains(&format!("\"hubspot_id\":\"{}\"", record.id)),
            "no log line with the id {}",
            record.id
        );
    }
    let _next = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
}

async fn wait_for_open_requests(world: &World, requests: u64) {
    eventually(&format!("{requests} requests are open"), async || match world.hubspot.summary().open {
        open if u64::try_from(open).unwrap() == requests => Ok(()),
        open => Err(open),
    })
    .await;
}
