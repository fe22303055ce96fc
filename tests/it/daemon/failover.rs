//! A standby that fell behind is promoted while a daemon leads.

use course_sync::demo::postgres::{Options, Shutdown, ThrowawayPostgres};
use course_sync::simulator::{Behaviour, Latency};

use crate::support::daemon::{Daemon, output, program};
use crate::support::eventually::eventually;
use crate::support::proxy::{Proxy, Target};
use crate::support::standby::Standby;
use crate::support::world::World;

/// A world whose database has a standby; the daemons live through the failover.
struct Failover {
    world: World,
    daemons: Vec<Daemon>,
    proxy: Proxy,
    // In the order in which they end.
    standby: Option<Standby>,
    primary: ThrowawayPostgres,
}

/// A world with a living leader, before anything was enqueued.
async fn led(unique: bool, instances: usize) -> Failover {
    let durable = Options { durable: true, ..Options::default() };
    let primary = ThrowawayPostgres::start(durable).await.unwrap();
    let behaviour = Behaviour { latency: Latency { min_ms: 20, max_ms: 80 }, ..Behaviour::default() };
    let mut world = World::with(unique, behaviour).await;
    world.hubspot.change_behaviour(|it| it.limits.requests = 1_000_000);
    for (name, value) in [
        ("OUTBOX__LEASE", "1s"),
        ("OUTBOX__POLL_INTERVAL", "100ms"),
        ("BATCH__MAX_SIZE", "5"),
        ("RATE_LIMIT__REQUESTS", "1000"),
        ("HUBSPOT__REQUEST_TIMEOUT", "1s"),
        ("HUBSPOT__CONNECT_TIMEOUT", "500ms"),
        ("RETRY__MULTIPLIER", "1"),
    ] {
        world.set(name, value);
    }
    world.in_cluster(&primary.url("postgres"));
    let socket = primary.root().join(format!(".s.PGSQL.{}", primary.port()));
    let proxy = Proxy::to(Target::Socket(socket)).await;
    let through = format!("postgres://course_sync@127.0.0.1:{}/postgres?sslmode=disable", proxy.port);
    world.settings.insert("DATABASE_URL".into(), through);
    // Trouble with the database is told once, with whatever it began.
    world.set("LOG__FILTER", "info,course_sync=debug");
    let daemons: Vec<_> = (0..instances).map(|_| world.daemon()).collect();
    let led = Failover { world, daemons, proxy, standby: None, primary };
    led.logged("\"leading\"").await;
    led
}

/// The standby knows `A` as pending, and nothing of `B`. Both were created; `C`, unknown to it too, was
/// being created when the primary fell.
async fn failover(unique: bool, instances: usize) -> Failover {
    let mut before = led(unique, instances).await;
    // Nothing is sent until the copy is made.
    before.world.hubspot_goes().await;
    before.world.enqueue_many("A", 300).await;
    let standstill = before.stands_still().await;
    before.is_copied().await;
    standstill.commit().await.unwrap();
    before.world.hubspot_returns().await;
    before.world.enqueue_many("B", 50).await;
    before.world.all_are(&["synced"]).await;
    before.world.enqueue_many("C", 1_000).await;
    before.created(400).await;
    before.fails_over().await;
    let counts = before.world.counts().await;
    assert_eq!(counts.values().sum::<i64>(), 300, "the copy knows nothing of what came later: {counts:?}");
    before
}

impl Failover {
    /// No course is being tried, and none will be until this is over.
    async fn stands_still(&self) -> sqlx::Transaction<'static, sqlx::Postgres> {
        eventually("no course is in flight", async || {
            let mut standstill = self.world.pool().begin().await.unwrap();
            sqlx::query("lock table course_outbox in share mode").execute(&mut *standstill).await.unwrap();
            let tried: i64 =
                sqlx::query_scalar("select count(*) from course_outbox where status = 'in_flight'")
                    .fetch_one(&mut *standstill)
                    .await
                    .unwrap();
            if tried == 0 { Ok(standstill) } else { Err(tried) }
        })
        .await
    }

    /// A standby is made, which hears of nothing that happens from now on.
    async fn is_copied(&mut self) {
        self.standby = Some(Standby::of(&self.primary).await);
    }

    /// Waits until HubSpot holds more than so many courses.
    async fn created(&self, more_than: usize) {
        eventually("courses are created", async || match self.world.hubspot.records().len() {
            created if created > more_than => Ok(()),
            created => Err(created),
        })
        .await;
    }

    /// The primary falls, and the standby takes its place.
    async fn fails_over(&mut self) {
        self.primary.stop_server(Shutdown::Immediate).await.unwrap();
        let standby = self.standby.as_ref().unwrap();
        standby.starts().await;
        self.world.database.elsewhere(&standby.url("postgres"));
        // The way is changed too early: for a while what is reached can only be read.
        self.proxy.leads_to(standby.target());
        self.logged("read-only transaction").await;
        standby.is_promoted().await;
    }

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
async fn what_the_standby_holds_as_in_flight_is_looked_up_too() {
    let mut after = led(true, 1).await;
    after.world.hubspot.change_behaviour(|it| it.latency = Latency { min_ms: 300, max_ms: 600 });
    after.world.enqueue_many("A", 2_000).await;
    after.created(0).await;
    after.is_copied().await;
    after.created(after.world.hubspot.records().len() + 100).await;
    after.world.hubspot.change_behaviour(|it| it.latency = Latency { min_ms: 2, max_ms: 20 });
    after.fails_over().await;
    let open: i64 = sqlx::query_scalar(
        "select count(*) from course_sync_batch where operation <> 'read' and state <> 'closed'",
    )
    .fetch_one(after.world.pool())
    .await
    .unwrap();
    assert!(open > 0, "the copy was made while requests were open");
    after.logged("the database may have lost commits").await;
    after.world.all_are(&["synced"]).await;
    after.world.audit().await;
    assert_eq!(after.world.hubspot.records().len(), 2_000);
    assert!(after.daemons[0].stop().await.success());
}

#[tokio::test]
async fn without_a_unique_property_a_promoted_standby_is_left_to_a_person() {
    let mut after = failover(false, 1).await;
    after.logged("Compare them by hand, then run `course-sync resume`").await;
    let daemon = &after.daemons[0];
    eventually("it is paused and leads", async || {
        let paused = daemon.metric("course_sync_paused{reason=\"operator\"}").await;
        let leads = daemon.metric("course_sync_leader").await;
        if [paused.as_str(), leads.as_str()] == ["1", "1"] { Ok(()) } else { Err([paused, leads]) }
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
