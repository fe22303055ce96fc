//! A backup is put back in every usual way, while the daemon is stopped and while it runs: no course is sent twice.

use std::path::Path;
use std::process::{Command, Stdio};

use course_sync::demo::postgres::{PostgresOptions, StopMode, ThrowawayPostgres};
use simulator::Behaviour;
use tempfile::TempDir;

use crate::support::daemon::{Daemon, output, program};
use crate::support::eventually::eventually;
use crate::support::pgbouncer::unprivileged;
use crate::support::postgres::cluster;
use crate::support::world::World;

/// The number of courses that the backup shows as pending, and that were sent after it.
const COURSES: i64 = 300;
const TABLES: &str =
    "course_outbox, course_sync_batch, course_sync_history, course_sync_leader, course_sync_pause";

/// Whether the daemon runs while the backup is put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    Stopped,
    Running,
}

/// A world without a unique property: nothing but this program prevents duplicates.
async fn hold_world() -> World {
    let mut world = World::with(false, Behaviour::default()).await;
    world.set("OUTBOX__LEASE", "2s");
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    world
}

/// Runs a program of Postgres on the database of this world.
async fn run_postgres(name: &str, arguments: &[&str], url: &str) -> bool {
    let mut command = Command::new(cluster().await.bin_dir().join(name));
    // sqlx writes the host of a socket's URL as libpq does not.
    command.args(arguments).args(["--dbname", &url.replace("localhost", "")]).current_dir("/");
    let output = output(command).await;
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    output.status.success()
}

/// A leader has run before, the courses are pending, and the backup is made. Then the courses are sent.
async fn backup_then_send(world: &World, make_backup: impl AsyncFnOnce()) -> Daemon {
    let mut first = world.start_daemon();
    first.wait_for_event("lease_acquired").await;
    world.enqueue_many("old", 5).await;
    world.wait_until_all_are(&["synced"]).await;
    assert!(first.stop().await.success());
    world.enqueue_many("A", COURSES).await;
    make_backup().await;
    let daemon = world.start_daemon();
    eventually("the courses are sent", async || match world.hubspot.records().len() {
        305 => Ok(()),
        sent => Err(sent),
    })
    .await;
    world.wait_until_all_are(&["synced"]).await;
    daemon
}

/// After the backup was put back: the daemon has paused for an operator and sent nothing. The operator finds that
/// HubSpot has all courses, and resumes: later courses are sent.
async fn check_that_nothing_is_sent_twice(world: &World, daemon: &mut Daemon) {
    daemon.wait_for_event("lost_commits_review_required").await;
    eventually("the daemon leads and is paused", async || {
        let paused = daemon.metric("course_sync_paused{reason=\"operator\"}").await;
        let leads = daemon.metric("course_sync_leader").await;
        if [paused.as_str(), leads.as_str()] == ["1", "1"] { Ok(()) } else { Err([paused, leads]) }
    })
    .await;
    let reason: String =
        sqlx::query_scalar("select message from course_sync_pause where reason = 'operator'")
            .fetch_one(world.pool())
            .await
            .unwrap();
    assert!(reason.contains("course-sync resume"), "{reason}");
    assert_eq!(world.counts().await.get("pending"), Some(&COURSES));
    sqlx::query("delete from course_outbox where status = 'pending'").execute(world.pool()).await.unwrap();
    world.enqueue_many("new", 5).await;
    let mut resume = program(&world.settings);
    resume.arg("resume");
    assert!(output(resume).await.status.success());
    eventually("later courses are sent", async || match world.hubspot.records().len() {
        310 => Ok(()),
        sent => Err(sent),
    })
    .await;
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert!(world.sends_per_course().values().all(|times| *times == 1), "a course was sent twice");
    assert!(daemon.stop().await.success());
    let mut again = world.start_daemon();
    again.wait_for_event("lease_acquired").await;
    assert!(!again.log().contains("lost_commits"), "the lost commits were reported again");
    assert!(again.stop().await.success());
}

/// Puts a dump back by `restore`, which gets the URL and the path of the dump.
async fn check_restored_dump(meanwhile: Meanwhile, restore: impl AsyncFnOnce(&World, &str, &str)) {
    let world = hold_world().await;
    let url = world.database.url().await;
    let folder = TempDir::new().unwrap();
    let dump = folder.path().join("dump").display().to_string();
    let mut daemon = backup_then_send(&world, async || {
        assert!(run_postgres("pg_dump", &["--format=custom", "--file", &dump], &url).await);
    })
    .await;
    if meanwhile == Meanwhile::Stopped {
        assert!(daemon.stop().await.success());
    }
    restore(&world, &url, &dump).await;
    if meanwhile == Meanwhile::Stopped {
        daemon = world.start_daemon();
    }
    check_that_nothing_is_sent_twice(&world, &mut daemon).await;
}

async fn restore_with_clean(_: &World, url: &str, dump: &str) {
    assert!(run_postgres("pg_restore", &["--clean", "--if-exists", dump], url).await);
}

async fn truncate_and_restore_data(world: &World, url: &str, dump: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("truncate {TABLES}"))).execute(world.pool()).await.unwrap();
    assert!(
        run_postgres(
            "pg_restore",
            &[
                "--data-only",
                dump,
                "--exit-on-error",
                "--single-transaction",
                "--table=course_outbox",
                "--table=course_sync_batch",
                "--table=course_sync_history",
                "--table=course_sync_leader",
                "--table=course_sync_pause"
            ],
            url
        )
        .await
    );
}

#[tokio::test]
async fn a_dump_restored_with_clean_while_stopped_is_noticed() {
    check_restored_dump(Meanwhile::Stopped, restore_with_clean).await;
}

#[tokio::test]
async fn a_dump_restored_with_clean_while_the_daemon_runs_is_noticed() {
    check_restored_dump(Meanwhile::Running, restore_with_clean).await;
}

#[tokio::test]
async fn truncated_tables_and_restored_data_are_noticed_after_a_stop() {
    check_restored_dump(Meanwhile::Stopped, truncate_and_restore_data).await;
}

#[tokio::test]
async fn truncated_tables_and_restored_data_are_noticed_while_the_daemon_runs() {
    check_restored_dump(Meanwhile::Running, truncate_and_restore_data).await;
}

/// Copies a folder with its owners and permissions.
async fn copy_folder(from: &Path, to: &Path) {
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(from).arg(to).stdin(Stdio::null());
    assert!(output(copy).await.status.success());
}

#[tokio::test]
async fn a_cold_copy_put_back_while_the_daemon_runs_is_noticed() {
    let durable = PostgresOptions { durable: true, ..PostgresOptions::default() };
    let cluster = ThrowawayPostgres::start(durable).await.unwrap();
    let mut world = hold_world().await;
    world.use_cluster(&cluster.url("postgres"));
    let copy = cluster.root().join("copy");
    let mut daemon = backup_then_send(&world, async || {
        cluster.stop_server(StopMode::Fast).await.unwrap();
        copy_folder(&cluster.data_dir(), &copy).await;
        cluster.start_server().await.unwrap();
    })
    .await;
    put_back(&cluster, &copy).await;
    check_that_nothing_is_sent_twice(&world, &mut daemon).await;
    drop(world);
    cluster.stop().await.unwrap();
}

/// Replaces the files of the cluster by a copy.
async fn put_back(cluster: &ThrowawayPostgres, copy: &Path) {
    cluster.stop_server(StopMode::Fast).await.unwrap();
    std::fs::remove_dir_all(cluster.data_dir()).unwrap();
    copy_folder(copy, &cluster.data_dir()).await;
    cluster.start_server().await.unwrap();
}

#[tokio::test]
async fn a_cold_copy_made_and_put_back_while_the_lease_lasts_is_noticed() {
    let durable = PostgresOptions { durable: true, ..PostgresOptions::default() };
    let cluster = ThrowawayPostgres::start(durable).await.unwrap();
    let mut world = hold_world().await;
    // The same leader holds the lease in the copy, and for much longer than the test lasts.
    world.set("OUTBOX__LEASE", "10m");
    world.use_cluster(&cluster.url("postgres"));
    let copy = cluster.root().join("copy");
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.enqueue_many("old", 5).await;
    world.wait_until_all_are(&["synced"]).await;
    cluster.stop_server(StopMode::Fast).await.unwrap();
    copy_folder(&cluster.data_dir(), &copy).await;
    // The copy has pending courses that are sent in the original.
    cluster.start_server().await.unwrap();
    world.enqueue_many("A", COURSES).await;
    world.wait_until_all_are(&["synced"]).await;
    put_back(&cluster, &copy).await;
    world.enqueue_many("A", COURSES).await;
    check_that_nothing_is_sent_twice(&world, &mut daemon).await;
    drop(world);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_restart_of_the_server_delays_courses_by_no_renewal_interval() {
    let durable = PostgresOptions { durable: true, ..PostgresOptions::default() };
    let cluster = ThrowawayPostgres::start(durable).await.unwrap();
    let mut world = hold_world().await;
    // A third of it is the interval of renewals: longer than the test waits.
    world.set("OUTBOX__LEASE", "1h");
    world.use_cluster(&cluster.url("postgres"));
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    for prefix in ["A", "B", "C"] {
        world.enqueue_many(prefix, 20).await;
        world.wait_until_all_are(&["synced"]).await;
        cluster.stop_server(StopMode::Fast).await.unwrap();
        cluster.start_server().await.unwrap();
    }
    world.enqueue_many("D", 20).await;
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert!(!daemon.log().contains("lost_commits"), "{}", daemon.log());
    assert!(daemon.stop().await.success());
    drop(world);
    cluster.stop().await.unwrap();
}

/// A program of Postgres that refuses to run as root.
async fn run_as_postgres(mut command: Command, folder: &Path) {
    command.current_dir(folder);
    let output = output(command).await;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
}

/// Upgrades the cluster in place, with `pg_upgrade`: the files of its tables are kept, its system identifier is not.
async fn upgrade(cluster: &ThrowawayPostgres) {
    cluster.stop_server(StopMode::Fast).await.unwrap();
    let (data, old) = (cluster.data_dir(), cluster.root().join("old"));
    std::fs::rename(&data, &old).unwrap();
    let mut create = unprivileged(&cluster.bin_dir().join("initdb"));
    create
        .args(["--username=course_sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--pgdata"])
        .arg(&data);
    run_as_postgres(create, cluster.root()).await;
    std::fs::copy(old.join("postgresql.conf"), data.join("postgresql.conf")).unwrap();
    let mut upgrade = unprivileged(&cluster.bin_dir().join("pg_upgrade"));
    upgrade.args(["--username=course_sync", "--old-datadir"]).arg(&old).arg("--new-datadir").arg(&data);
    for bin in ["--old-bindir", "--new-bindir"] {
        upgrade.arg(bin).arg(cluster.bin_dir());
    }
    run_as_postgres(upgrade, cluster.root()).await;
    cluster.start_server().await.unwrap();
}

#[tokio::test]
async fn an_upgrade_of_the_server_is_no_alarm_if_no_course_is_open() {
    let cluster = ThrowawayPostgres::start(PostgresOptions::default()).await.unwrap();
    let mut world = hold_world().await;
    world.use_cluster(&cluster.url("postgres"));
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.enqueue_many("A", 20).await;
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.pool().close().await;
    upgrade(&cluster).await;
    world.use_cluster(&cluster.url("postgres"));

    let mut daemon = world.start_daemon();
    daemon.wait_for_event("database_change_adopted").await;
    world.enqueue_many("B", 20).await;
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert!(!daemon.log().contains("lost_commits"), "{}", daemon.log());
    assert!(daemon.stop().await.success());

    // With a pending course the next upgrade is an alarm, which states what to do.
    world.enqueue_many("C", 1).await;
    world.pool().close().await;
    std::fs::remove_dir_all(cluster.root().join("old")).unwrap();
    upgrade(&cluster).await;
    world.use_cluster(&cluster.url("postgres"));
    let mut daemon = world.start_daemon();
    let line = daemon.wait_for_event("lost_commits_review_required").await;
    let detail = line["detail"].as_str().unwrap();
    assert!(
        detail.contains("the server was upgraded") && detail.contains("`course-sync resume`"),
        "{detail}"
    );
    assert!(daemon.stop().await.success());
    drop(world);
    cluster.stop().await.unwrap();
}
