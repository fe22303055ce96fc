//! Database incidents: no connections left, a full disk, locks, deadlocks, a dead LISTEN session. Each is logged once,
//! and recovery is automatic.

use std::path::PathBuf;
use std::process::Command;

use course_sync::demo::postgres::{PostgresOptions, ThrowawayPostgres};
use simulator::{Answer, Fault, Latency, Operation};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};

use crate::support::daemon::{Daemon, output, program};
use crate::support::eventually::eventually;
use crate::support::http::http_get;
use crate::support::postgres::cluster;
use crate::support::silent_relay::SilentRelay;
use crate::support::world::World;

async fn wait_until_not_ready(daemon: &Daemon, reason: &str) {
    let url = format!("{}/readyz", daemon.admin_url().await);
    eventually(&format!("/readyz contains {reason:?}"), async || {
        let answer = http_get(&url).await.expect("a response");
        let status = answer.status();
        let body = answer.text().await.expect("a body");
        if status == 503 && body.contains(reason) { Ok(()) } else { Err(body) }
    })
    .await;
}

async fn execute_sql(pool: &PgPool, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(pool).await.unwrap();
}

/// The outage and its end were logged once each.
async fn assert_logged_once(daemon: &mut Daemon) {
    daemon.wait_for_event("database_recovered").await;
    assert!(daemon.stop().await.success());
    assert_eq!(daemon.events("database_unavailable").len(), 1, "{}", daemon.log());
}

#[tokio::test]
async fn recovers_when_postgres_has_connections_again() {
    let few = vec![("max_connections".to_owned(), "16".to_owned())];
    let cluster = ThrowawayPostgres::start(PostgresOptions { settings: few, ..PostgresOptions::default() })
        .await
        .unwrap();
    let url = cluster.url("postgres");
    let mut world = World::new().await;
    world.use_cluster(&url);
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.pool().close().await;
    // Other clients take every connection, including those of the daemon.
    let mut others = Vec::new();
    eventually("no client can connect, including the daemon", async || {
        while let Ok(other) = PgConnection::connect(&url).await {
            others.push(other);
        }
        let left: i64 = sqlx::query_scalar(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'course-sync'",
        )
        .fetch_one(&mut others[0])
        .await
        .unwrap();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    others[0]
        .execute("insert into course_outbox (course_key, properties) select 'A-' || n, jsonb_build_object('hs_course_name', 'Course A ' || n) from generate_series(1, 150) n")
        .await
        .unwrap();
    wait_until_not_ready(&daemon, "too many clients already").await;
    drop(others);
    world.database.connect_to(&url);
    world.wait_until_all_are(&["synced"]).await;
    assert_logged_once(&mut daemon).await;
    world.audit().await;
    drop(world);
    cluster.stop().await.unwrap();
}

/// A mounted file system of 3 MB. It is unmounted when this value is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts the file system. Returns `None` if this user may not mount.
    fn mount(at: PathBuf, owner: &std::fs::Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::create_dir(&at).ok()?;
        let options = format!("size=3m,uid={},gid={},mode=0700", owner.uid(), owner.gid());
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&at).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazy, because the server may still have files open in it.
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

#[tokio::test]
async fn recovers_from_a_full_disk() {
    let cluster = ThrowawayPostgres::start(PostgresOptions::default()).await.unwrap();
    let owner = std::fs::metadata(cluster.data_dir()).unwrap();
    let Some(disk) = SmallDisk::mount(cluster.root().join("small"), &owner) else {
        return eprintln!("skipped: this user may not mount a small file system");
    };
    let mut world = World::new().await;
    world.use_cluster(&cluster.url("postgres"));
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    world.set("BATCH__MAX_SIZE", "10");
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    let statement = format!("create tablespace small location '{}'", disk.0.display());
    execute_sql(world.pool(), &statement).await;
    execute_sql(world.pool(), "alter table course_sync_batch set tablespace small").await;
    execute_sql(world.pool(), "create table filler (text text) tablespace small").await;
    let full = sqlx::raw_sql("insert into filler select repeat('x', 1900) from generate_series(1, 10000)")
        .execute(world.pool())
        .await
        .unwrap_err();
    assert!(full.to_string().contains("No space left on device"), "{full}");
    world.enqueue_many("A", 500).await;
    wait_until_not_ready(&daemon, "No space left on device").await;
    execute_sql(world.pool(), "drop table filler").await;
    world.wait_until_all_are(&["synced"]).await;
    assert_logged_once(&mut daemon).await;
    world.audit().await;
    assert!(world.sends_per_course().values().all(|times| *times == 1));
    drop(world);
    drop(disk);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_locked_table_delays_all_courses_and_loses_nothing() {
    let world = World::new().await;
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    let mut other = world.pool().begin().await.unwrap();
    other.execute("lock table course_outbox in access exclusive mode").await.unwrap();
    other
        .execute("insert into course_outbox (course_key, properties) values ('A-1', '{\"hs_course_name\": \"Course A 1\"}')")
        .await
        .unwrap();
    world.wait_for_lock_waiters(1).await;
    let admin = daemon.admin_url().await;
    assert_eq!(http_get(format!("{admin}/livez")).await.unwrap().status(), 200);
    assert_eq!(world.create_requests(), 0);
    other.commit().await.unwrap();
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.audit().await;
}

#[tokio::test]
async fn a_locked_row_delays_only_that_course() {
    let world = World::new().await;
    world.enqueue_many("A", 250).await;
    let mut other = world.pool().begin().await.unwrap();
    other.execute("select from course_outbox where course_key = 'A-7' for update").await.unwrap();
    let mut daemon = world.start_daemon();
    eventually("the others are synced", async || {
        let counts = world.counts().await;
        if counts.get("synced") == Some(&249) && counts.get("in_flight") == Some(&1) {
            Ok(())
        } else {
            Err(counts)
        }
    })
    .await;
    daemon.wait_for_event("rows_not_writable").await;
    assert_eq!(daemon.events("rows_not_writable")[0]["keys"], "A-7");
    eventually("explain shows the reason", async || {
        let mut explain = program(&world.settings);
        explain.args(["explain", "A-7"]);
        let shown = String::from_utf8(output(explain).await.stdout).unwrap();
        if shown.contains("another session holds the row") { Ok(()) } else { Err(shown) }
    })
    .await;
    other.rollback().await.unwrap();
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    assert!(daemon.events("database_unavailable").is_empty(), "{}", daemon.log());
    assert!(world.sends_per_course().values().all(|times| *times == 1));
    world.audit().await;
}

/// While a response is pending, another writer locks its last course. While the result is being recorded, the other
/// writer executes `statement`.
async fn record_beside_another_writer(preparation: &str, statement: &str, expected_error: Option<&str>) {
    let mut world = World::new().await;
    world.set("LOG__FILTER", "info,course_sync=debug");
    let mut daemon = world.start_daemon();
    world.warm_up().await;
    execute_sql(world.pool(), preparation).await;
    world.hubspot.change_behaviour(|behaviour| behaviour.latency = Latency { min_ms: 1_000, max_ms: 1_000 });
    world.enqueue_many("A", 10).await;
    eventually("the courses are in flight", async || {
        let counts = world.counts().await;
        if counts.get("in_flight") == Some(&10) { Ok(()) } else { Err(counts) }
    })
    .await;
    let mut other = world.pool().begin_with("begin isolation level read committed").await.unwrap();
    // The session that waits for deadlock_timeout first is the one that fails: it must be the daemon.
    other.execute("set local deadlock_timeout = '1h'").await.unwrap();
    other.execute("update course_outbox set updated_at = now() where course_key = 'A-10'").await.unwrap();
    world.wait_for_lock_waiters(1).await;
    other.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
    other.commit().await.unwrap();
    if let Some(error) = expected_error {
        daemon.wait_for_log(error).await;
    }
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.audit().await;
    assert!(world.sends_per_course().values().all(|times| *times == 1));
}

#[tokio::test]
async fn a_result_is_recorded_beside_a_writer_that_would_deadlock() {
    let all = "update course_outbox set updated_at = now()";
    // The daemon stops waiting for the row before there is a deadlock.
    record_beside_another_writer("", all, None).await;
}

#[tokio::test]
async fn a_result_is_recorded_after_a_serialization_failure() {
    // The daemon's own isolation level causes none, but a trigger of the catalogue may.
    let fail_once = "create sequence attempts;
        create function fail_once() returns trigger language plpgsql as $$
        begin
            if nextval('attempts') = 1 then
                raise exception 'could not serialize access' using errcode = 'serialization_failure';
            end if;
            return null;
        end $$;
        create trigger fail_once before update of status on course_outbox
            for each statement execute function fail_once()";
    record_beside_another_writer(fail_once, "select 1", Some("could not serialize access")).await;
}

#[tokio::test]
async fn a_terminated_listen_session_is_replaced() {
    let world = World::new().await;
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    for prefix in ["A", "B", "C"] {
        eventually("the daemon listens", async || {
            let ended: i64 = sqlx::query_scalar(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity
                  where datname = current_database() and query ilike 'listen %'",
            )
            .fetch_one(world.pool())
            .await
            .unwrap();
            if ended > 0 { Ok(()) } else { Err(ended) }
        })
        .await;
        world.enqueue_many(prefix, 20).await;
        world.wait_until_all_are(&["synced"]).await;
    }
    assert!(daemon.stop().await.success());
    world.audit().await;
}

#[tokio::test]
async fn polling_continues_while_notifications_are_lost() {
    let mut world = World::new().await;
    let cluster = cluster().await;
    let relay = SilentRelay::start(cluster.root().join(format!(".s.PGSQL.{}", cluster.port()))).await;
    let database = world.database.name().to_owned();
    let user: String = sqlx::query_scalar("select current_user").fetch_one(world.pool()).await.unwrap();
    let url = format!("postgres://{user}@127.0.0.1:{}/{database}?sslmode=disable", relay.port);
    world.settings.insert("DATABASE_URL".into(), url);
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    relay.drop_responses_to_listener().await;
    world.warm_up().await;
    for prefix in ["A", "B", "C"] {
        world.enqueue_many(prefix, 20).await;
        world.wait_until_all_are(&["synced"]).await;
    }
    assert_ne!(daemon.metric("course_sync_wakeups_total{reason=\"poll\"}").await, "0");
    assert!(daemon.stop().await.success());
    world.audit().await;
}

#[tokio::test]
async fn a_result_is_kept_while_the_table_is_locked() {
    let mut world = World::new().await;
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    world.hubspot.add_fault(Fault::new(Answer::Real).on(Operation::BatchCreate).after_ms(60_000));
    world.enqueue_many("A", 10).await;
    let mut daemon = world.start_daemon();
    eventually("a request is open", async || match world.hubspot.summary().open {
        0 => Err(0),
        open => Ok(open),
    })
    .await;
    let mut other = world.pool().begin().await.unwrap();
    other.execute("lock table course_outbox in access exclusive mode").await.unwrap();
    world.hubspot.clear_faults();
    // Recording the result waits, and perhaps a claim as well.
    world.wait_for_lock_waiters(1).await;
    other.commit().await.unwrap();
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.audit().await;
    assert!(world.sends_per_course().values().all(|times| *times == 1));
}
