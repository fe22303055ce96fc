//! Clock jumps of the machine and of the database: no course is sent twice, the lease does not get stuck, and the
//! quota is respected.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use course_sync::demo::postgres::{PostgresOptions, StopMode, ThrowawayPostgres};
use jiff::{Timestamp, ToSpan};
use simulator::{Behaviour, Latency};

use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
use crate::support::fake_clock::FakeClock;
use crate::support::world::World;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
const SKIPPED: &str = "skipped: libfaketime is not installed (apt-get install faketime)";

async fn busy_world() -> World {
    let behaviour = Behaviour { latency: Latency { min_ms: 20, max_ms: 60 }, ..Behaviour::default() };
    let mut world = World::with(true, behaviour).await;
    world.set("OUTBOX__LEASE", "3s");
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    world.set("BATCH__MAX_SIZE", "5");
    world.set("RATE_LIMIT__REQUESTS", "40");
    world.set("RATE_LIMIT__PER", "1s");
    world.set("LOG__FILTER", "info,course_sync=debug");
    world.hubspot.change_behaviour(|it| it.limits.requests = 1_000_000);
    world
}

/// Shifts the clock while requests are being sent.
async fn shift_clock_while_busy(world: &World, clock: &FakeClock, ahead: i64) {
    let before = world.hubspot.summary().requests;
    world.enqueue_many(&format!("{ahead}"), 300).await;
    eventually("requests are made", async || match world.hubspot.summary().requests {
        now if now > before + 5 => Ok(()),
        now => Err(now),
    })
    .await;
    clock.set_offset(ahead);
}

async fn assert_no_harm(world: &World) {
    world.audit().await;
    assert!(world.sends_per_course().values().all(|times| *times == 1), "{:?}", world.sends_per_course());
    assert!(world.hubspot.worst_window(Duration::from_secs(1)) <= 40);
}

#[tokio::test]
async fn machine_clock_jumps_do_no_harm() {
    let Some(clock) = FakeClock::new() else { return eprintln!("{SKIPPED}") };
    let mut world = busy_world().await;
    world.settings.extend(clock.environment());
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    for ahead in [HOUR, 0, -HOUR, DAY, -DAY] {
        shift_clock_while_busy(&world, &clock, ahead).await;
        world.wait_until_all_are(&["synced"]).await;
    }
    let yesterday = Timestamp::now().checked_sub(24.hours()).unwrap().strftime("%Y-%m-%d").to_string();
    daemon.wait_for_log(&format!("\"timestamp\":\"{yesterday}")).await;
    assert!(daemon.stop().await.success());
    assert_no_harm(&world).await;
}

/// A Postgres that reads the fake clock. It is stopped when this value is dropped.
struct PostgresWithFakeClock(Child);

impl PostgresWithFakeClock {
    fn start(cluster: &ThrowawayPostgres, clock: &FakeClock) -> Self {
        let owner = std::fs::metadata(cluster.data_dir()).unwrap();
        let mut command = Command::new(cluster.bin_dir().join("postgres"));
        command.arg("-D").arg(cluster.data_dir()).args(["-p", &cluster.port().to_string()]);
        command.envs(clock.environment()).current_dir(cluster.root());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if owner.uid() != std::fs::metadata("/proc/self").unwrap().uid() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        Self(command.spawn().unwrap())
    }
}

impl Drop for PostgresWithFakeClock {
    fn drop(&mut self) {
        // SIGQUIT is an immediate shutdown: it leaves no session behind.
        drop(Command::new("sh").args(["-c", &format!("kill -QUIT {}", self.0.id())]).status());
        drop(self.0.wait());
    }
}

/// A world whose database reads the fake clock.
async fn world_with_database_clock(clock: &FakeClock) -> (World, ThrowawayPostgres, PostgresWithFakeClock) {
    let cluster = ThrowawayPostgres::start(PostgresOptions::default()).await.unwrap();
    cluster.stop_server(StopMode::Fast).await.unwrap();
    let server = PostgresWithFakeClock::start(&cluster, clock);
    let mut world = busy_world().await;
    world.use_cluster(&cluster.url("postgres"));
    (world, cluster, server)
}

#[tokio::test]
async fn database_clock_jumps_do_no_harm() {
    let Some(clock) = FakeClock::new() else { return eprintln!("{SKIPPED}") };
    let (world, cluster, server) = world_with_database_clock(&clock).await;
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    for ahead in [HOUR, 0, -DAY, DAY] {
        shift_clock_while_busy(&world, &clock, ahead).await;
        // Courses enqueued before a jump back are due when the clock reaches that time again. Courses enqueued after it
        // are due now.
        let after = format!("after {ahead}");
        world.enqueue_many(&after, 50).await;
        eventually("the courses enqueued after the jump are synced", async || {
            let left = world.rows().await.into_iter().filter(|it| it.course_key.starts_with(&after));
            let left: Vec<_> = left.filter(|it| it.status != "synced").collect();
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
    }
    world.wait_until_all_are(&["synced"]).await;
    let ahead: f64 = sqlx::query_scalar("select extract(epoch from clock_timestamp())::float8 - $1")
        .bind(Timestamp::now().as_duration().as_secs_f64())
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert!(ahead > 23.0 * 3_600.0, "the server does not read the fake clock: {ahead} s ahead");
    assert!(daemon.stop().await.success());
    assert_no_harm(&world).await;
    drop((world, server));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn the_lease_of_a_dead_leader_is_free_after_the_clock_jumped_back() {
    let Some(clock) = FakeClock::new() else { return eprintln!("{SKIPPED}") };
    let (world, cluster, server) = world_with_database_clock(&clock).await;
    let killed = world.start_daemon();
    killed.wait_for_event("lease_acquired").await;
    killed.signal("KILL");
    clock.set_offset(-DAY);
    let mut successor: Daemon = world.start_daemon();
    successor.wait_for_event("lease_acquired").await;
    world.enqueue_many("A", 20).await;
    world.wait_until_all_are(&["synced"]).await;
    assert!(successor.stop().await.success());
    assert_no_harm(&world).await;
    drop((world, server));
    cluster.stop().await.unwrap();
}
