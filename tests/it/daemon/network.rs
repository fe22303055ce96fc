//! The network fails: on the way to HubSpot, on the way to the database, on both, at bytes nobody chose.

use std::time::Duration;

use course_sync::simulator::{Behaviour, Latency};

use crate::support::daemon::Daemon;
use crate::support::postgres::cluster;
use crate::support::proxy::{Fault, Proxy, Target, Way};
use crate::support::world::World;

/// A world whose time limits last for fractions of a second.
async fn hasty_world(unique: bool) -> World {
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

/// Puts a proxy before HubSpot.
async fn before_hubspot(world: &mut World) -> Proxy {
    let url = reqwest::Url::parse(&world.hubspot.url()).unwrap();
    let proxy = Proxy::to(Target::Port(url.port().unwrap())).await;
    world.set("HUBSPOT__BASE_URL", &format!("http://127.0.0.1:{}", proxy.port));
    proxy
}

/// Puts a proxy before the world's database.
async fn before_postgres(world: &mut World) -> Proxy {
    let cluster = cluster().await;
    let socket = cluster.root().join(format!(".s.PGSQL.{}", cluster.port()));
    let proxy = Proxy::to(Target::Socket(socket)).await;
    let name = world.database.name();
    let url = format!("postgres://course_sync@127.0.0.1:{}/{name}?sslmode=disable", proxy.port);
    world.settings.insert("DATABASE_URL".into(), url);
    proxy
}

/// A generator whose seed is told, and can be given in SEED.
fn random() -> fastrand::Rng {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("seed {seed}");
    fastrand::Rng::with_seed(seed)
}

/// Any fault, at any byte.
fn any_fault(random: &mut fastrand::Rng) -> Fault {
    match random.u8(..7) {
        0 => Fault::Delay(Duration::from_millis(random.u64(1..80))),
        1 => Fault::Reset,
        2 => Fault::BlackHole,
        3 => Fault::Refuse,
        4 | 5 => Fault::Cut(Way::There, random.usize(1..8_000)),
        _ => Fault::Cut(Way::Back, random.usize(1..12_000)),
    }
}

/// One fault after another on each of these ways, then peace: everything arrives, and once.
async fn survives(world: &World, ways: &[&Proxy], random: &mut fastrand::Rng) -> Daemon {
    let mut daemon = world.daemon();
    daemon.logged("\"leading\"").await;
    for round in 0..25 {
        // All the time, so that there is always something to strike.
        world.enqueue_many(&format!("R{round}"), 80).await;
        for proxy in ways {
            proxy.does(any_fault(random));
        }
        // How long a fault lasts, and the peace after it, are the test's subject.
        tokio::time::sleep(Duration::from_millis(random.u64(10..300))).await;
        for proxy in ways {
            proxy.heals();
        }
        tokio::time::sleep(Duration::from_millis(random.u64(1..150))).await;
    }
    // All together: while an answer cannot be recorded and sending is being tried out, nothing else is sent.
    let strikes: usize = ways.iter().map(|proxy| proxy.strikes()).sum();
    assert!(strikes > 5 * ways.len(), "hardly anything was struck: {strikes}");
    world.all_are(&["synced"]).await;
    world.audit().await;
    assert_eq!(world.hubspot.records().len(), 2_000);
    assert!(daemon.stop().await.success());
    daemon
}

#[tokio::test]
async fn anything_happens_on_the_way_to_hubspot() {
    let mut world = hasty_world(true).await;
    let proxy = before_hubspot(&mut world).await;
    survives(&world, &[&proxy], &mut random()).await;
}

/// Without a unique property whatever was sent twice would be there twice, and a doubt would stay one:
/// a database that cannot be reached is no reason for either.
#[tokio::test]
async fn anything_happens_on_the_way_to_the_database() {
    let mut world = hasty_world(false).await;
    let proxy = before_postgres(&mut world).await;
    survives(&world, &[&proxy], &mut random()).await;
    assert!(world.sends().values().all(|times| *times == 1));
}

#[tokio::test]
async fn anything_happens_on_both_ways() {
    let mut world = hasty_world(true).await;
    let (hubspot, postgres) = (before_hubspot(&mut world).await, before_postgres(&mut world).await);
    survives(&world, &[&hubspot, &postgres], &mut random()).await;
}

/// A request of twenty courses has a head of a few hundred bytes and a body of two to three thousand; its
/// answer has a head of two hundred and a body of several thousand.
#[tokio::test]
async fn a_request_is_cut_at_a_byte_of_its_head_its_body_or_its_answer() {
    let mut random = random();
    let mut world = hasty_world(true).await;
    let proxy = before_hubspot(&mut world).await;
    let daemon = world.daemon();
    daemon.logged("\"leading\"").await;
    let parts =
        [(Way::There, 1..400), (Way::There, 400..1_500), (Way::Back, 1..250), (Way::Back, 250..4_000)];
    for (way, bytes) in parts.iter().cycle().take(32) {
        let after = random.usize(bytes.clone());
        let prefix = format!("{way:?}{after}R{}", proxy.strikes());
        proxy.does(Fault::Cut(*way, after));
        world.enqueue_many(&prefix, 20).await;
        proxy.has_cut(async || false).await;
        world.all_are(&["synced"]).await;
        let sends = world.sends();
        let own = sends.iter().filter(|(key, _)| key.starts_with(&format!("{prefix}-")));
        let times: Vec<_> = own.map(|(_, times)| *times).collect();
        // What was cut on its way there never was a request; what was cut on its way back was received.
        assert_eq!(times, [1; 20], "{prefix}");
    }
    world.audit().await;
}

/// Statements are cut before they arrived and after they were committed: claims, renewals, records.
async fn statements_are_cut(listen: &str) {
    let mut random = random();
    let mut world = hasty_world(false).await;
    world.set("OUTBOX__LISTEN", listen);
    let proxy = before_postgres(&mut world).await;
    let mut daemon = world.daemon();
    daemon.logged("\"leading\"").await;
    world.enqueue_many("A", 2_000).await;
    let is_done = async || world.counts().await.keys().all(|status| status == "synced");
    for _ in 0..40 {
        let (way, bytes) = *random.choice(&[(Way::There, 4_000), (Way::Back, 3_000)]).unwrap();
        proxy.does(Fault::Cut(way, random.usize(1..bytes)));
        proxy.has_cut(is_done).await;
    }
    assert!(proxy.strikes() > 10, "{}", proxy.strikes());
    world.all_are(&["synced"]).await;
    world.audit().await;
    assert!(world.sends().values().all(|times| *times == 1));
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn statements_are_cut_before_and_after_they_were_committed() {
    statements_are_cut("true").await;
}

#[tokio::test]
async fn transactions_are_cut_before_and_after_they_were_committed() {
    statements_are_cut("false").await;
}
