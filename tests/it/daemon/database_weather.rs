//! The database's bad days: no connection left, a full disk, locks that people hold, deadlocks, a dead
//! listening session. Told once, waited for, and over by itself.

use std::path::PathBuf;
use std::process::Command;

use course_sync::demo::postgres::{Options, ThrowawayPostgres};
use course_sync::simulator::{Answer, Fault, Latency, Operation};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};

use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
use crate::support::line::Line;
use crate::support::postgres::cluster;
use crate::support::world::World;

async fn is_not_ready(daemon: &Daemon, because: &str) {
    let url = format!("{}/readyz", daemon.admin().await);
    eventually(&format!("/readyz tells of {because:?}"), async || {
        let answer = reqwest::get(&url).await.expect("an answer");
        let status = answer.status();
        let told = answer.text().await.expect("a body");
        if status == 503 && told.contains(because) { Ok(()) } else { Err(told) }
    })
    .await;
}

async fn run(pool: &PgPool, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(pool).await.unwrap();
}

/// It told of its trouble once, and of the end.
async fn told_once(daemon: &mut Daemon) {
    daemon.logged("the database is well again").await;
    assert!(daemon.stop().await.success());
    assert_eq!(daemon.log().matches("the database is in trouble").count(), 1, "{}", daemon.log());
}

#[tokio::test]
async fn no_connection_is_left_and_then_some_are() {
    let few = vec![("max_connections".to_owned(), "16".to_owned())];
    let cluster = ThrowawayPostgres::start(Options { settings: few, ..Options::default() }).await.unwrap();
    let url = cluster.url("postgres");
    let mut world = World::new().await;
    world.in_cluster(&url);
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    let mut daemon = world.daemon();
    daemon.logged("\"leading\"").await;
    world.pool().close().await;
    // Others take every connection, its own too.
    let mut others = Vec::new();
    eventually("nobody can connect, the daemon neither", async || {
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
    is_not_ready(&daemon, "too many clients already").await;
    drop(others);
    world.database.elsewhere(&url);
    world.all_are(&["synced"]).await;
    told_once(&mut daemon).await;
    world.audit().await;
    drop(world);
    cluster.stop().await.unwrap();
}

/// A file system of three megabytes, for as long as it is kept.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount one.
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
        // Also where the server still has files open in it.
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

#[tokio::test]
async fn the_disk_is_full_and_then_has_room() {
    let cluster = ThrowawayPostgres::start(Options::default()).await.unwrap();
    let owner = std::fs::metadata(cluster.data_dir()).unwrap();
    let Some(disk) = SmallDisk::mount(cluster.root().join("small"), &owner) else {
        return eprintln!("skipped: this user may not mount a small file system");
    };
    let mut world = World::new().await;
    world.in_cluster(&cluster.url("postgres"));
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    world.set("BATCH__MAX_SIZE", "10");
    let mut daemon = world.daemon();
    daemon.logged("\"leading\"").await;
    let statement = format!("create tablespace small location '{}'", disk.0.display());
    run(world.pool(), &statement).await;
    run(world.pool(), "alter table course_sync_batch set tablespace small").await;
    run(world.pool(), "create table filler (text text) tablespace small").await;
    let full = sqlx::raw_sql("insert into filler select repeat('x', 1900) from generate_series(1, 10000)")
        .execute(world.pool())
        .await
        .unwrap_err();
    assert!(full.to_string().contains("No space left on device"), "{full}");
    world.enqueue_many("A", 500).await;
    is_not_ready(&daemon, "No space left on device").await;
    run(world.pool(), "drop table filler").await;
    world.all_are(&["synced"]).await;
    told_once(&mut daemon).await;
    world.audit().await;
    assert!(world.sends().values().all(|times| *times == 1));
    drop(world);
    drop(disk);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_person_who_locks_the_table_holds_everything_up_and_harms_nothing() {
    let world = World::new().await;
    let mut daemon = world.daemon();
    daemon.logged("\"leading\"").await;
    let mut person = world.pool().begin().await.unwrap();
    person.execute("lock table course_outbox in access exclusive mode").await.unwrap();
    person
        .execute("insert into course_outbox (course_key, properties) values ('A-1', '{\"hs_course_name\": \"Course A 1\"}')")
        .await
        .unwrap();
    world.waits_for_locks(1).await;
    let admin = daemon.admin().await;
    assert_eq!(reqwest::get(format!("{admin}/livez")).await.unwrap().status(), 200);
    assert_eq!(world.creates(), 0);
    person.commit().await.unwrap();
    world.all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.audit().await;
}

#[tokio::test]
async fn a_person_who_locks_a_course_holds_up_that_one_alone() {
    let world = World::new().await;
    world.enqueue_many("A", 250).await;
    let mut person = world.pool().begin().await.unwrap();
    person.execute("select from course_outbox where course_key = 'A-7' for update").await.unwrap();
    let mut daemon = world.daemon();
    eventually("the others are synced", async || {
        let counts = world.counts().await;
        if counts.get("synced") == Some(&249) && counts.get("pending") == Some(&1) {
            Ok(())
        } else {
            Err(counts)
        }
    })
    .await;
    person.rollback().await.unwrap();
    world.all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    assert!(!daemon.log().contains("in trouble"), "{}", daemon.log());
    world.audit().await;
}

/// While an answer is on its way, a person takes its last course; while it is being recorded, the person
/// does `more`.
async fn records_beside_a_person(more: &str, complaint: &str, isolation: &str) {
    let mut world = World::new().await;
    world.set("LOG__FILTER", "info,course_sync=debug");
    let name = world.database.name().to_owned();
    run(world.pool(), &format!("alter database {name} set default_transaction_isolation = '{isolation}'"))
        .await;
    let mut daemon = world.daemon();
    world.warm_up().await;
    world.hubspot.change_behaviour(|behaviour| behaviour.latency = Latency { min_ms: 1_000, max_ms: 1_000 });
    world.enqueue_many("A", 10).await;
    eventually("the courses are in flight", async || {
        let counts = world.counts().await;
        if counts.get("in_flight") == Some(&10) { Ok(()) } else { Err(counts) }
    })
    .await;
    let mut person = world.pool().begin_with("begin isolation level read committed").await.unwrap();
    // Whoever waits longest looks for a deadlock first, and gives up: not the person.
    person.execute("set local deadlock_timeout = '1h'").await.unwrap();
    person.execute("update course_outbox set updated_at = now() where course_key = 'A-10'").await.unwrap();
    world.waits_for_locks(1).await;
    person.execute(AssertSqlSafe(more.to_owned())).await.unwrap();
    person.commit().await.unwrap();
    daemon.logged(complaint).await;
    world.all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.audit().await;
    assert!(world.sends().values().all(|times| *times == 1));
}

#[tokio::test]
async fn an_answer_whose_record_meets_a_deadlock_is_recorded_afterwards() {
    let all = "update course_outbox set updated_at = now()";
    records_beside_a_person(all, "deadlock detected", "read committed").await;
}

#[tokio::test]
async fn an_answer_whose_record_cannot_be_serialized_is_recorded_afterwards() {
    records_beside_a_person("select 1", "could not serialize access", "repeatable read").await;
}

#[tokio::test]
async fn a_listening_session_that_is_ended_is_replaced_and_the_poll_carries_on() {
    let world = World::new().await;
    let mut daemon = world.daemon();
    daemon.logged("\"leading\"").await;
    for prefix in ["A", "B", "C"] {
        eventually("it listens", async || {
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
        world.all_are(&["synced"]).await;
    }
    assert!(daemon.stop().await.success());
    world.audit().await;
}

#[tokio::test]
async fn while_the_listening_session_hears_nothing_the_poll_carries_on() {
    let mut world = World::new().await;
    let cluster = cluster().await;
    let line = Line::to(cluster.root().join(format!(".s.PGSQL.{}", cluster.port()))).await;
    let database = world.database.name().to_owned();
    let user: String = sqlx::query_scalar("select current_user").fetch_one(world.pool()).await.unwrap();
    let url = format!("postgres://{user}@127.0.0.1:{}/{database}?sslmode=disable", line.port);
    world.settings.insert("DATABASE_URL".into(), url);
    let mut daemon = world.daemon();
    daemon.logged("\"leading\"").await;
    line.listener_dies().await;
    world.warm_up().await;
    for prefix in ["A", "B", "C"] {
        world.enqueue_many(prefix, 20).await;
        world.all_are(&["synced"]).await;
    }
    assert_ne!(daemon.metric("course_sync_wakeups_total{reason=\"poll\"}").await, "0");
    assert!(daemon.stop().await.success());
    world.audit().await;
}

#[tokio::test]
async fn an_answer_that_hubspot_gave_is_kept_while_the_table_is_locked() {
    let mut world = World::new().await;
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    world.hubspot.add_fault(Fault::new(Answer::Real).on(Operation::BatchCreate).after_ms(500));
    world.enqueue_many("A", 10).await;
    let mut daemon = world.daemon();
    eventually("a request is open", async || match world.hubspot.summary().open {
        0 => Err(0),
        open => Ok(open),
    })
    .await;
    let mut person = world.pool().begin().await.unwrap();
    person.execute("lock table course_outbox in access exclusive mode").await.unwrap();
    // The record, and perhaps the claim.
    world.waits_for_locks(1).await;
    person.commit().await.unwrap();
    world.all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.audit().await;
    assert!(world.sends().values().all(|times| *times == 1));
}
