//! Clocks that jump, the machine's and the database's: nothing is sent again, the lease is not stuck, the
//! quota is kept.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use course_sync::demo::postgres::{Options, Shutdown, ThrowawayPostgres};
use course_sync::simulator::{Behaviour, Latency};
use jiff::{Timestamp, ToSpan};

use crate::support::clock::Clock;
use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
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

/// The clock jumps in the middle of the work.
async fn jumps_while_busy(world: &World, clock: &Clock, ahead: i64) {
    let before = world.hubspot.summary().requests;
    world.enqueue_many(&format!("{ahead}"), 300).await;
    eventually("requests are made", async || match world.hubspot.summary().requests {
        now if now > before + 5 => Ok(()),
        now => Err(now),
    })
    .await;
    clock.is_ahead_by(ahead);
}

async fn no_harm_was_done(world: &World) {
    world.audit().await;
    assert!(world.sends().values().all(|times| *times == 1), "{:?}", world.sends());
    assert!(world.hubspot.worst_window(Duration::from_secs(1)) <= 40);
}

#[tokio::test]
async fn the_machines_clock_jumps_by_hours_and_days() {
    let Some(clock) = Clock::find() else { return eprintln!("{SKIPPED}") };
    let mut world = busy_world().await;
    world.settings.extend(clock.environment());
    let mut daemon = world.daemon();
    daemon.logged("\"leading\"").await;
    for ahead in [HOUR, 0, -HOUR, DAY, -DAY] {
        jumps_while_busy(&world, &clock, ahead).await;
        world.all_are(&["synced"]).await;
    }
    let yesterday = Timestamp::now().checked_sub(24.hours()).unwrap().strftime("%Y-%m-%d").to_string();
    daemon.logged(&format!("\"timestamp\":\"{yesterday}")).await;
    assert!(daemon.stop().await.success());
    no_harm_was_done(&world).await;
}

/// A Postgres whose clock jumps; killed when dropped.
struct Jumpy(Child);

impl Jumpy {
    fn start(cluster: &ThrowawayPostgres, clock: &Clock) -> Self {
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

impl Drop for Jumpy {
    fn drop(&mut self) {
        // An immediate shutdown, so that no session of it is left behind.
        drop(Command::new("sh").args(["-c", &format!("kill -QUIT {}", self.0.id())]).status());
        drop(self.0.wait());
    }
}

/// A world whose database reads the clock.
async fn world_of(clock: &Clock) -> (World, ThrowawayPostgres, Jumpy) {
    let cluster = ThrowawayPostgres::start(Options::default()).await.unwrap();
    cluster.stop_server(Shutdown::Fast).await.unwrap();
    let server = Jumpy::start(&cluster, clock);
    let mut world = busy_world().await;
    world.in_cluster(&cluster.url("postgres"));
    (world, cluster, server)
}

#[tokio::test]
async fn the_databases_clock_jumps_by_hours_and_days() {
    let Some(clock) = Clock::find() else { return eprintln!("{SKIPPED}") };
    let (world, cluster, server) = world_of(&clock).await;
    let mut daemon = world.daemon();
    daemon.logged("\"leading\"").await;
    for ahead in [HOUR, 0, -DAY, DAY] {
        jumps_while_busy(&world, &clock, ahead).await;
        // What came before a jump backwards is due when the clock is back there; what comes after it, now.
        let after = format!("after {ahead}");
        world.enqueue_many(&after, 50).await;
        eventually("what came after the jump is synced", async || {
            let left = world.rows().await.into_iter().filter(|it| it.course_key.starts_with(&after));
            let left: Vec<_> = left.filter(|it| it.status != "synced").collect();
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
    }
    world.all_are(&["synced"]).await;
    let ahead: f64 = sqlx::query_scalar("select extract(epoch from clock_timestamp())::float8 - $1")
        .bind(Timestamp::now().as_duration().as_secs_f64())
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert!(ahead > 23.0 * 3_600.0, "the server reads the clock: {ahead}");
    assert!(daemon.stop().await.success());
    no_harm_was_done(&world).await;
    drop((world, server));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_lease_of_a_dead_leader_does_not_last_until_the_clock_is_back_where_it_was() {
    let Some(clock) = Clock::find() else { return eprintln!("{SKIPPED}") };
    let (world, cluster, server) = world_of(&clock).await;
    let dead = world.daemon();
    dead.logged("\"leading\"").await;
    dead.signal("KILL");
    clock.is_ahead_by(-DAY);
    let mut heir: Daemon = world.daemon();
    heir.logged("\"leading\"").await;
    world.enqueue_many("A", 20).await;
    world.all_are(&["synced"]).await;
    assert!(heir.stop().await.success());
    no_harm_was_done(&world).await;
    drop((world, server));
    cluster.stop().await.unwrap();
}
