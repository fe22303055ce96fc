//! SIGTERM: begin nothing, finish what is under way, record it, hand over, exit 0.

use std::time::{Duration, Instant};

use course_sync::simulator::{Answer, Behaviour, Fault, Latency, Operation};

use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
use crate::support::world::World;

#[tokio::test]
async fn under_load_nothing_is_left_in_flight_and_nothing_is_sent_twice() {
    let behaviour = Behaviour { latency: Latency { min_ms: 20, max_ms: 120 }, ..Behaviour::default() };
    let world = World::with(true, behaviour).await;
    world.enqueue_many("A", 6_000).await;
    let mut daemons = 0;
    loop {
        daemons += 1;
        let before = world.hubspot.summary().requests;
        let mut daemon = world.daemon();
        let is_done = eventually("some more requests were made, or all is done", async || {
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
        assert!(daemon.stop().await.success(), "exit code 0");
        let counts = world.counts().await;
        assert!(!counts.contains_key("in_flight") && !counts.contains_key("unconfirmed"), "{counts:?}");
        assert_eq!(world.hubspot.summary().open, 0);
        if is_done {
            break;
        }
    }
    assert!(daemons > 1, "it was never stopped under load");
    world.audit().await;
    assert!(world.sends().values().all(|times| *times == 1), "a course was sent twice");
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_course-sync");

fn started_by(world: &World, command: &[&str]) -> Daemon {
    let mut started = std::process::Command::new(command[0]);
    started.args(&command[1..]).env_clear();
    started.env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs(&world.settings);
    Daemon::spawn(started)
}

/// A terminal that is closed may tell so several times.
#[tokio::test]
async fn a_terminal_that_is_closed_is_no_crash() {
    let world = World::new().await;
    world.hubspot.add_fault(Fault::new(Answer::Real).on(Operation::BatchCreate).after_ms(1_500));
    world.enqueue_many("A", 1).await;
    // The tests themselves may run under `nohup`.
    let mut daemon = started_by(&world, &["env", "--default-signal=HUP", PROGRAM, "run"]);
    eventually("a course is under way", async || if world.creates() > 0 { Ok(()) } else { Err(()) }).await;
    daemon.signal("HUP");
    daemon.logged("stopping: nothing new begins").await;
    daemon.signal("HUP");
    assert!(daemon.ended().await.success());
    assert!(daemon.log().contains("lease handed over"), "{}", daemon.log());
    world.all_are(&["synced"]).await;
}

#[tokio::test]
async fn under_nohup_it_goes_on() {
    let world = World::new().await;
    let mut daemon = started_by(&world, &["env", "--ignore-signal=HUP", PROGRAM, "run"]);
    daemon.logged("\"leading\"").await;
    daemon.signal("HUP");
    world.enqueue_many("A", 1).await;
    world.all_are(&["synced"]).await;
    assert!(!daemon.log().contains("stopping"), "{}", daemon.log());
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn while_the_database_is_away_it_ends_all_the_same() {
    let mut world = World::new().await;
    world.settings.insert("DATABASE_URL".into(), "postgres://nobody@127.0.0.1:1/nothing".into());
    let mut daemon = world.daemon();
    daemon.logged("the daemon waits for it").await;
    let admin = daemon.admin().await;
    assert_eq!(reqwest::get(format!("{admin}/livez")).await.unwrap().status(), 200);
    assert_eq!(reqwest::get(format!("{admin}/readyz")).await.unwrap().status(), 503);
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn while_somebody_else_migrates_it_ends_all_the_same() {
    let world = World::new().await;
    let mut other = world.pool().begin().await.unwrap();
    sqlx::query("lock table course_sync_migrations in access exclusive mode")
        .execute(&mut *other)
        .await
        .unwrap();
    let mut daemon = world.daemon();
    daemon.admin().await;
    world.waits_for_locks(1).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn while_a_lock_is_held_against_it_it_ends_within_grace() {
    let mut world = World::new().await;
    world.set("SHUTDOWN__GRACE", "3s");
    let mut daemon = world.daemon();
    daemon.logged("\"leading\"").await;
    let mut other = world.pool().begin().await.unwrap();
    sqlx::query("lock table course_outbox in access exclusive mode").execute(&mut *other).await.unwrap();
    world.waits_for_locks(1).await;
    let began = Instant::now();
    daemon.stop().await;
    assert!(began.elapsed() < Duration::from_secs(4), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn what_was_created_and_cannot_be_recorded_is_told_in_the_log() {
    let behaviour = Behaviour { latency: Latency { min_ms: 500, max_ms: 500 }, ..Behaviour::default() };
    let mut world = World::with(true, behaviour).await;
    world.set("SHUTDOWN__GRACE", "3s");
    world.enqueue_many("A", 5).await;
    let mut daemon = world.daemon();
    eventually("the first create is open", async || if world.creates() > 0 { Ok(()) } else { Err(()) }).await;
    let mut other = world.pool().begin().await.unwrap();
    sqlx::query("lock table course_outbox in access exclusive mode").execute(&mut *other).await.unwrap();
    is_open(&world, 0).await;
    assert_eq!(daemon.stop().await.code(), Some(1));
    other.rollback().await.unwrap();
    let log = daemon.log();
    for record in world.hubspot.records() {
        assert!(log.contains(&format!("\"hubspot_id\":\"{}\"", record.id)), "no receipt for {}", record.id);
    }
    let _next = world.daemon();
    world.all_are(&["synced"]).await;
    world.audit().await;
}

async fn is_open(world: &World, requests: u64) {
    eventually("so many requests are open", async || match world.hubspot.summary().open {
        open if u64::try_from(open).unwrap() == requests => Ok(()),
        open => Err(open),
    })
    .await;
}
