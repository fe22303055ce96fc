//! Network faults at random bytes, between the daemon and HubSpot, the database, or both.

use std::time::Duration;

use simulator::{Behaviour, Latency};

use crate::support::daemon::Daemon;
use crate::support::postgres::cluster;
use crate::support::proxy::{Direction, Fault, Proxy, Target};
use crate::support::world::World;

/// A world whose timeouts are about a second or less.
async fn world_with_short_timeouts(unique: bool) -> World {
    let behaviour = Behaviour { latency: Latency { min_ms: 2, max_ms: 30 }, ..Behaviour::default() };
    let mut world = World::with(unique, behaviour).await;
    world.hubspot.change_behaviour(|it| it.limits.requests = 1_000_000);
    for (name, value) in [
        ("HUBSPOT__REQUEST_TIMEOUT", "400ms"),
        ("HUBSPOT__CONNECT_TIMEOUT", "200ms"),
        ("OUTBOX__LEASE", "1s"),
        ("OUTBOX__POLL_INTERVAL", "50ms"),
        ("RATE_LIMIT__REQUESTS", "100000"),
        ("RETRY__MULTIPLIER", "1"),
        ("BATCH__MAX_SIZE", "20"),
    ] {
        world.set(name, value);
    }
    world
}

/// Puts a proxy between the daemon and HubSpot.
async fn proxy_to_hubspot(world: &mut World) -> Proxy {
    let url = reqwest::Url::parse(&world.hubspot.url()).unwrap();
    let proxy = Proxy::start(Target::Port(url.port().unwrap())).await;
    world.set("HUBSPOT__BASE_URL", &format!("http://127.0.0.1:{}", proxy.port));
    proxy
}

/// Puts a proxy between the daemon and the database.
async fn proxy_to_postgres(world: &mut World) -> Proxy {
    let cluster = cluster().await;
    let socket = cluster.root().join(format!(".s.PGSQL.{}", cluster.port()));
    let proxy = Proxy::start(Target::Socket(socket)).await;
    let name = world.database.name();
    let url = format!("postgres://course_sync@127.0.0.1:{}/{name}?sslmode=disable", proxy.port);
    world.settings.insert("DATABASE_URL".into(), url);
    proxy
}

/// A random generator. It prints its seed, and `SEED` repeats a run.
fn random() -> fastrand::Rng {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("seed {seed}");
    fastrand::Rng::with_seed(seed)
}

/// A random fault, at a random byte.
fn any_fault(random: &mut fastrand::Rng) -> Fault {
    match random.u8(..7) {
        0 => Fault::Delay(Duration::from_millis(random.u64(1..80))),
        1 => Fault::Reset,
        2 => Fault::BlackHole,
        3 => Fault::Refuse,
        4 | 5 => Fault::Cut(Direction::Request, random.usize(1..8_000)),
        _ => Fault::Cut(Direction::Response, random.usize(1..12_000)),
    }
}

/// Injects random faults into these proxies for a while, then checks that every course was created once.
async fn run_with_random_faults(world: &World, proxies: &[&Proxy], random: &mut fastrand::Rng) -> Daemon {
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    for round in 0..25 {
        // Enqueue in each round, so that there is always traffic for the faults.
        world.enqueue_many(&format!("R{round}"), 80).await;
        for proxy in proxies {
            proxy.inject(any_fault(random));
        }
        // Random waits: the durations of faults and of pauses between them are what this test varies.
        tokio::time::sleep(Duration::from_millis(random.u64(10..300))).await;
        for proxy in proxies {
            proxy.clear_fault();
        }
        tokio::time::sleep(Duration::from_millis(random.u64(1..150))).await;
    }
    // The sum over all proxies: while results cannot be recorded or HubSpot is probed, the other connection is idle.
    let injected: usize = proxies.iter().map(|proxy| proxy.injected_faults()).sum();
    assert!(injected > 5 * proxies.len(), "too few faults were injected: {injected}");
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert_eq!(world.hubspot.records().len(), 2_000);
    assert!(daemon.stop().await.success());
    daemon
}

#[tokio::test]
async fn random_faults_to_hubspot_lose_and_duplicate_nothing() {
    let mut world = world_with_short_timeouts(true).await;
    let proxy = proxy_to_hubspot(&mut world).await;
    run_with_random_faults(&world, &[&proxy], &mut random()).await;
}

/// Without a unique property a course that is sent twice is a duplicate, and an unconfirmed course stays so. An
/// unreachable database must cause neither.
#[tokio::test]
async fn random_faults_to_the_database_lose_and_duplicate_nothing() {
    let mut world = world_with_short_timeouts(false).await;
    let proxy = proxy_to_postgres(&mut world).await;
    run_with_random_faults(&world, &[&proxy], &mut random()).await;
    assert!(world.sends_per_course().values().all(|times| *times == 1));
}

#[tokio::test]
async fn random_faults_to_both_lose_and_duplicate_nothing() {
    let mut world = world_with_short_timeouts(true).await;
    let (hubspot, postgres) = (proxy_to_hubspot(&mut world).await, proxy_to_postgres(&mut world).await);
    run_with_random_faults(&world, &[&hubspot, &postgres], &mut random()).await;
}

/// A request with 20 courses has a head of a few hundred bytes and a body of 2 to 3 kB. Its response has a head of
/// 200 bytes and a body of several kB.
#[tokio::test]
async fn a_request_cut_at_any_byte_is_recovered() {
    let mut random = random();
    let mut world = world_with_short_timeouts(true).await;
    let proxy = proxy_to_hubspot(&mut world).await;
    let daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    let parts = [
        (Direction::Request, 1..400),
        (Direction::Request, 400..1_500),
        (Direction::Response, 1..250),
        (Direction::Response, 250..4_000),
    ];
    for (direction, bytes) in parts.iter().cycle().take(32) {
        let after = random.usize(bytes.clone());
        let prefix = format!("{direction:?}{after}R{}", proxy.injected_faults());
        proxy.inject(Fault::Cut(*direction, after));
        world.enqueue_many(&prefix, 20).await;
        proxy.wait_until_cut(async || false).await;
        world.wait_until_all_are(&["synced"]).await;
        let sends = world.sends_per_course();
        let matching = sends.iter().filter(|(key, _)| key.starts_with(&format!("{prefix}-")));
        let times: Vec<_> = matching.map(|(_, times)| *times).collect();
        // Each course is received exactly once: a cut request never arrives, and after a cut response the look-up
        // finds the course.
        assert_eq!(times, [1; 20], "{prefix}");
    }
    world.audit().await;
}

/// Cuts connections to the database while claims, renewals and results are sent, before and after their commit.
async fn cut_statements(listen: &str) {
    let mut random = random();
    let mut world = world_with_short_timeouts(false).await;
    world.set("OUTBOX__LISTEN", listen);
    let proxy = proxy_to_postgres(&mut world).await;
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.enqueue_many("A", 2_000).await;
    let is_done = async || world.counts().await.keys().all(|status| status == "synced");
    for _ in 0..40 {
        let (direction, bytes) =
            *random.choice(&[(Direction::Request, 4_000), (Direction::Response, 3_000)]).unwrap();
        proxy.inject(Fault::Cut(direction, random.usize(1..bytes)));
        proxy.wait_until_cut(is_done).await;
    }
    assert!(proxy.injected_faults() > 10, "{}", proxy.injected_faults());
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert!(world.sends_per_course().values().all(|times| *times == 1));
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn statements_cut_before_or_after_commit_are_recovered() {
    cut_statements("true").await;
}

#[tokio::test]
async fn transactions_cut_before_or_after_commit_are_recovered() {
    cut_statements("false").await;
}
