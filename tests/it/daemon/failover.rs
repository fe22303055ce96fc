//! A lagging standby is promoted while a daemon leads.

use course_sync::demo::postgres::{PostgresOptions, StopMode, ThrowawayPostgres};
use simulator::{Behaviour, Latency};

use crate::support::daemon::{Daemon, output, program};
use crate::support::eventually::eventually;
use crate::support::proxy::{Proxy, Target};
use crate::support::standby::Standby;
use crate::support::world::World;

/// A world whose database has a standby. The daemons keep running during the failover.
struct Failover {
    world: World,
    daemons: Vec<Daemon>,
    proxy: Proxy,
    // Dropped in this order: the standby lies in the directory of the primary.
    standby: Option<Standby>,
    primary: ThrowawayPostgres,
}

/// A world with a running leader and an empty outbox.
async fn start_with_leader(unique: bool, instances: usize) -> Failover {
    let durable = PostgresOptions { durable: true, ..PostgresOptions::default() };
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
    world.use_cluster(&primary.url("postgres"));
    let socket = primary.root().join(format!(".s.PGSQL.{}", primary.port()));
    let proxy = Proxy::start(Target::Socket(socket)).await;
    let proxy_url = format!("postgres://course_sync@127.0.0.1:{}/postgres?sslmode=disable", proxy.port);
    world.settings.insert("DATABASE_URL".into(), proxy_url);
    // At info level an outage is logged once, with whichever statement failed first; at debug level every failure is.
    world.set("LOG__FILTER", "info,course_sync=debug");
    let daemons: Vec<_> = (0..instances).map(|_| world.start_daemon()).collect();
    let failover = Failover { world, daemons, proxy, standby: None, primary };
    failover.wait_for_event("lease_acquired").await;
    failover
}

/// After the failover the database shows the courses `A` as pending and does not contain `B` and `C`. HubSpot has
/// created `A`, `B` and some of `C`.
async fn failover(unique: bool, instances: usize) -> Failover {
    let mut before = start_with_leader(unique, instances).await;
    // Nothing is sent before the standby is created.
    before.world.stop_hubspot().await;
    before.world.enqueue_many("A", 300).await;
    let lock = before.lock_outbox_when_idle().await;
    before.create_standby().await;
    lock.commit().await.unwrap();
    before.world.restart_hubspot().await;
    before.world.enqueue_many("B", 50).await;
    before.world.wait_until_all_are(&["synced"]).await;
    before.world.enqueue_many("C", 1_000).await;
    before.wait_until_created(400).await;
    before.promote_standby().await;
    let counts = before.world.counts().await;
    assert_eq!(counts.values().sum::<i64>(), 300, "the standby must not contain later courses: {counts:?}");
    before
}

impl Failover {
    /// Waits until no course is in flight and locks the journal, so that none is claimed until the transaction ends.
    async fn lock_outbox_when_idle(&self) -> sqlx::Transaction<'static, sqlx::Postgres> {
        eventually("no course is in flight", async || {
            let mut lock = self.world.pool().begin().await.unwrap();
            sqlx::query("lock table course_sync_batch in share mode").execute(&mut *lock).await.unwrap();
            let in_flight: i64 = sqlx::query_scalar("select count(*) from course_sync_in_flight()")
                .fetch_one(&mut *lock)
                .await
                .unwrap();
            if in_flight == 0 { Ok(lock) } else { Err(in_flight) }
        })
        .await
    }

    /// Creates a standby that receives no later changes.
    async fn create_standby(&mut self) {
        self.standby = Some(Standby::copy_of(&self.primary).await);
    }

    /// Waits until HubSpot has more than this many courses.
    async fn wait_until_created(&self, more_than: usize) {
        eventually("courses are created", async || match self.world.hubspot.records().len() {
            created if created > more_than => Ok(()),
            created => Err(created),
        })
        .await;
    }

    /// Stops the primary and promotes the standby in its place.
    async fn promote_standby(&mut self) {
        self.primary.stop_server(StopMode::Immediate).await.unwrap();
        let standby = self.standby.as_ref().unwrap();
        standby.start().await;
        self.world.database.connect_to(&standby.url("postgres"));
        // The connection is redirected before the promotion, so for a while the daemon reaches a read-only database.
        self.proxy.set_target(standby.target());
        self.wait_for_log("read-only transaction").await;
        standby.promote().await;
    }

    /// Waits until one of the daemons logs this event.
    async fn wait_for_event(&self, event: &str) {
        eventually(&format!("a daemon logs the event {event}"), async || {
            if self.daemons.iter().any(|daemon| !daemon.events(event).is_empty()) {
                return Ok(());
            }
            Err(self.daemons.iter().map(Daemon::log).collect::<Vec<_>>().join("\n---\n"))
        })
        .await;
    }

    /// Waits until one of the daemons logs this text.
    async fn wait_for_log(&self, text: &str) {
        eventually(&format!("a daemon logs {text:?}"), async || {
            let logs: Vec<_> = self.daemons.iter().map(Daemon::log).collect();
            if logs.iter().any(|log| log.contains(text)) { Ok(()) } else { Err(logs.join("\n---\n")) }
        })
        .await;
    }

    /// The highest number of times that HubSpot received any course with this prefix.
    fn most_sends(&self, prefix: &str) -> usize {
        let sends = self.world.sends_per_course();
        let matching = sends.iter().filter(|(key, _)| key.contains(prefix));
        matching.map(|(_, times)| *times).max().unwrap_or_default()
    }
}

async fn check_look_up_after_failover(instances: usize) {
    let mut after = failover(true, instances).await;
    after.wait_for_event("lost_commits_verification_started").await;
    // The catalogue notices that its courses are missing and enqueues them again.
    after.world.enqueue_many("B", 50).await;
    after.world.enqueue_many("C", 1_000).await;
    after.world.enqueue_many("D", 20).await;
    after.world.wait_until_all_are(&["synced"]).await;
    after.world.audit().await;
    assert_eq!(after.world.hubspot.records().len(), 1_370);
    assert_eq!(after.most_sends("A-"), 1, "a course that HubSpot already had was sent again");
    for daemon in &mut after.daemons {
        assert!(daemon.stop().await.success());
    }
}

#[tokio::test]
async fn a_promoted_standby_is_detected_and_pending_courses_are_looked_up() {
    check_look_up_after_failover(1).await;
}

#[tokio::test]
async fn a_promoted_standby_is_detected_with_three_instances() {
    check_look_up_after_failover(3).await;
}

#[tokio::test]
async fn courses_in_flight_on_a_promoted_standby_are_looked_up() {
    let mut after = start_with_leader(true, 1).await;
    after.world.hubspot.change_behaviour(|it| it.latency = Latency { min_ms: 300, max_ms: 600 });
    after.world.enqueue_many("A", 2_000).await;
    after.wait_until_created(0).await;
    after.create_standby().await;
    after.wait_until_created(after.world.hubspot.records().len() + 100).await;
    after.world.hubspot.change_behaviour(|it| it.latency = Latency { min_ms: 2, max_ms: 20 });
    after.promote_standby().await;
    let open: i64 = sqlx::query_scalar(
        "select count(*) from course_sync_batch where operation <> 'read' and state <> 'closed'",
    )
    .fetch_one(after.world.pool())
    .await
    .unwrap();
    assert!(open > 0, "the standby must be created while requests are open");
    after.wait_for_event("lost_commits_verification_started").await;
    after.world.wait_until_all_are(&["synced"]).await;
    after.world.audit().await;
    assert_eq!(after.world.hubspot.records().len(), 2_000);
    assert!(after.daemons[0].stop().await.success());
}

#[tokio::test]
async fn without_a_unique_property_a_promoted_standby_pauses_for_the_operator() {
    let mut after = failover(false, 1).await;
    after.wait_for_event("lost_commits_review_required").await;
    let daemon = &after.daemons[0];
    eventually("the daemon leads and is paused", async || {
        let paused = daemon.metric("course_sync_paused{reason=\"operator\"}").await;
        let leads = daemon.metric("course_sync_leader").await;
        if [paused.as_str(), leads.as_str()] == ["1", "1"] { Ok(()) } else { Err([paused, leads]) }
    })
    .await;
    assert_eq!(after.world.counts().await.get("pending"), Some(&300));
    // The operator compares and finds that HubSpot has all of `A`.
    sqlx::query("delete from course_outbox where status = 'pending'")
        .execute(after.world.pool())
        .await
        .unwrap();
    after.world.enqueue_many("D", 20).await;
    let mut resume = program(&after.world.settings);
    resume.arg("resume");
    let resumed = output(resume).await;
    assert!(resumed.status.success(), "{resumed:?}");
    after.world.wait_until_all_are(&["synced"]).await;
    after.world.audit().await;
    assert!(after.world.sends_per_course().values().all(|times| *times == 1), "a course was sent twice");
    assert!(after.daemons[0].stop().await.success());
}
