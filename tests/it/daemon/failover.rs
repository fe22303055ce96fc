//! A standby that fell behind is promoted while a daemon leads.

use course_sync::demo::postgres::{Options, Shutdown, ThrowawayPostgres};
use course_sync::simulator::{Behaviour, Latency};

use crate::support::daemon::{Daemon, output, program};
use crate::support::eventually::eventually;
use crate::support::proxy::{Proxy, Target};
use crate::support::standby::Standby;
use crate::support::world::World;

/// A world after the failover; the daemons live through it.
struct Failover {
    world: World,
    daemons: Vec<Daemon>,
    // In the order in which they end.
    _proxy: Proxy,
    _standby: Standby,
    _primary: ThrowawayPostgres,
}

/// The standby knows `A` as pending, and nothing of `B`. Both were created; `C`, unknown to it too, was
/// being created when the primary fell.
async fn failover(unique: bool, instances: usize) -> Failover {
    let durable = Options { durable: true, ..Options::default() };
    let primary = ThrowawayPostgres::start(durable).await.unwrap();
    let behaviour = Behaviour { latency: Latency { min_ms: 20, max_ms: 80 }, ..Behaviour::default() };
    let mut world = World::with(unique, behaviour).await;
    world.hubspot.change_behaviour(|it| it.limits.requests = 1_000_000);
    world.set("OUTBOX__LEASE", "1s");
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    world.set("BATCH__MAX_SIZE", "20");
    world.set("RATE_LIMIT__REQUESTS", "100000");
    world.set("RETRY__MULTIPLIER", "1");
    world.in_cluster(&primary.url("postgres"));
    let socket = primary.root().join(format!(".s.PGSQL.{}", primary.port()));
    let proxy = Proxy::to(Target::Socket(socket)).await;
    let through = format!("postgres://course_sync@127.0.0.1:{}/postgres?sslmode=disable", proxy.port);
    world.settings.insert("DATABASE_URL".into(), through);
    let daemons: Vec<_> = (0..instances).map(|_| world.daemon()).collect();
    eventually("one leads", async || {
        let lines: Vec<_> = daemons.iter().map(Daemon::log).collect();
        if lines.iter().any(|log| log.contains("\"leading\"")) { Ok(()) } else { Err(lines) }
    })
    .await;

    // Nothing is sent until the copy is made.
    world.hubspot_goes().await;
    world.enqueue_many("A", 300).await;
    let standby = Standby::of(&primary).await;
    world.hubspot_returns().await;
    world.enqueue_many("B", 50).await;
    world.all_are(&["synced"]).await;
    world.enqueue_many("C", 1_000).await;
    eventually("the last are being created", async || match world.hubspot.records().len() {
        created if created > 400 => Ok(()),
        created => Err(created),
    })
    .await;
    primary.stop_server(Shutdown::Immediate).await.unwrap();

    standby.starts().await;
    world.database.elsewhere(&standby.url("postgres"));
    assert_eq!(world.counts().await.get("pending"), Some(&300), "the copy knows of nothing that was sent");
    // The way is changed too early: for a while what is reached can only be read.
    proxy.leads_to(standby.target());
    eventually("a daemon meets a database that can only be read", async || {
        let logs: Vec<_> = daemons.iter().map(Daemon::log).collect();
        if logs.iter().any(|log| log.contains("read-only transaction")) { Ok(()) } else { Err(logs) }
    })
    .await;
    standby.is_promoted().await;
    Failover { world, daemons, _proxy: proxy, _standby: standby, _primary: primary }
}

impl Failover {
    /// Waits until one of the daemons says it.
    async fn logged(&self, text: &str) {
        eventually(&format!("a daemon logs {text:?}"), async || {
            let logs: Vec<_> = self.daemons.iter().map(Daemon::log).collect();
            if logs.iter().any(|log| log.contains(text)) { Ok(()) } else { Err(logs.join("\n---\n")) }
        })
        .await;
    }

    /// How often each course of a prefix was received by HubSpot: the most.
    fn most_sends(&self, prefix: &str) -> usize {
        let sends = self.world.sends();
        let own = sends.iter().filter(|(key, _)| key.contains(prefix));
        own.map(|(_, times)| *times).max().unwrap_or_default()
    }
}

async fn everything_is_looked_up(instances: usize) {
    let mut after = failover(true, instances).await;
    after.logged("the database may have lost commits").await;
    // The catalogue sees that its courses are missing, and asks for them again.
    after.world.enqueue_many("B", 50).await;
    after.world.enqueue_many("C", 1_000).await;
    after.world.enqueue_many("D", 20).await;
    after.world.all_are(&["synced"]).await;
    after.world.audit().await;
    assert_eq!(after.world.hubspot.records().len(), 1_370);
    assert_eq!(after.most_sends("A-"), 1, "what HubSpot held was not sent again");
    for daemon in &mut after.daemons {
        assert!(daemon.stop().await.success());
    }
}

#[tokio::test]
async fn a_promoted_standby_is_noticed_under_a_living_leader_and_everything_pending_is_looked_up() {
    everything_is_looked_up(1).await;
}

#[tokio::test]
async fn a_promoted_standby_is_noticed_by_whoever_of_three_leads() {
    everything_is_looked_up(3).await;
}

#[tokio::test]
async fn without_a_unique_property_a_promoted_standby_is_left_to_a_person() {
    let mut after = failover(false, 1).await;
    after.logged("Compare them by hand, then run `course-sync resume`").await;
    let metrics = format!("{}/metrics", after.daemons[0].admin().await);
    eventually("it is paused and leads", async || {
        let text = reqwest::get(&metrics).await.unwrap().text().await.unwrap();
        let is_so = ["course_sync_paused{reason=\"operator\"} 1", "course_sync_leader 1"].map(|line| text.contains(line));
        if is_so == [true, true] { Ok(()) } else { Err(text) }
    })
    .await;
    assert_eq!(after.world.counts().await.get("pending"), Some(&300));
    // A person compares: all of `A` is there.
    sqlx::query("delete from course_outbox where status = 'pending'")
        .execute(after.world.pool())
        .await
        .unwrap();
    after.world.enqueue_many("D", 20).await;
    let mut resume = program(&after.world.settings);
    resume.arg("resume");
    let resumed = output(resume).await;
    assert!(resumed.status.success(), "{resumed:?}");
    after.world.all_are(&["synced"]).await;
    after.world.audit().await;
    assert!(after.world.sends().values().all(|times| *times == 1), "nothing was sent twice");
    assert!(after.daemons[0].stop().await.success());
}
