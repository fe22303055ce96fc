//! The throwaway Postgres runs, is reachable by unix socket and by TCP, and leaves nothing behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use course_sync::demo::postgres::{PostgresOptions, StopMode, ThrowawayPostgres};
use sqlx::{Connection, PgConnection};

use crate::support::postgres::{cluster, database};

const HOLDER_FILE: &str = "COURSE_SYNC_TEST_HOLDER_FILE";

async fn number(url: &str, query: &'static str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The server's process id, from its lock file.
fn server_pid(cluster_root: &Path) -> String {
    let lock = fs::read_to_string(cluster_root.join("data/postmaster.pid")).unwrap();
    lock.lines().next().unwrap().to_owned()
}

fn is_running(pid: &str) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", pid]).output().unwrap();
    let state = String::from_utf8(output.stdout).unwrap();
    !state.trim().is_empty() && !state.starts_with('Z')
}

#[tokio::test]
async fn test_databases_are_migrated_and_separate() {
    let (one, other) = (database().await, database().await);
    sqlx::query("INSERT INTO course_outbox (course_key, properties) VALUES ('MATH-1', '{}')")
        .execute(one.pool())
        .await
        .unwrap();
    let count = "SELECT count(*) FROM course_outbox";
    assert_eq!(number(&one.url().await, count).await, 1);
    assert_eq!(number(&other.url().await, count).await, 0);
    assert!(cluster().await.bin_dir().join("postgres").is_file());
}

#[tokio::test]
async fn tcp_server_keeps_its_data_over_a_crash_and_is_removed_at_the_end() {
    let options = PostgresOptions {
        durable: true,
        listen_tcp: true,
        settings: vec![("application_name".into(), "it's a test".into())],
        ..PostgresOptions::default()
    };
    let server = ThrowawayPostgres::start(options).await.unwrap();
    let (url, root) = (server.tcp_url("postgres"), server.root().to_owned());
    assert_eq!(
        number(&url, "SELECT 1::bigint FROM pg_settings WHERE name = 'fsync' AND setting = 'on'").await,
        1
    );
    assert!(PgConnection::connect(&url.replace("course_sync:", "course_sync:not")).await.is_err());

    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query("CREATE TABLE kept AS SELECT 7::bigint AS number").execute(&mut connection).await.unwrap();
    server.stop_server(StopMode::Immediate).await.unwrap();
    assert!(PgConnection::connect(&url).await.is_err());
    server.start_server().await.unwrap();
    assert_eq!(number(&url, "SELECT number FROM kept").await, 7);

    let pid = server_pid(&root);
    server.stop().await.unwrap();
    assert!(!root.exists());
    assert!(!is_running(&pid));
}

#[tokio::test]
async fn error_for_an_invalid_setting_shows_the_log() {
    let options = PostgresOptions {
        settings: vec![("no_such_setting".into(), "1".into())],
        ..PostgresOptions::default()
    };
    let error = ThrowawayPostgres::start(options).await.unwrap_err().to_string();
    assert!(error.contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn dropped_server_is_removed() {
    let server = ThrowawayPostgres::start(PostgresOptions::default()).await.unwrap();
    let (root, pid) = (server.root().to_owned(), server_pid(server.root()));
    drop(server);
    eventually("the directory is removed", || !root.exists()).await;
    assert!(!is_running(&pid));
}

/// Not a test: the program that the next test kills.
#[tokio::test]
#[ignore = "a helper of the test below"]
async fn holder() {
    let Some(file) = std::env::var_os(HOLDER_FILE) else { return };
    let server = ThrowawayPostgres::start(PostgresOptions::default()).await.unwrap();
    fs::write(file, format!("{}\n", server.root().display())).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn killed_program_leaves_no_server_and_no_directory() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("root");
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "demo::postgres::holder"])
        .env(HOLDER_FILE, &file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let content = || fs::read_to_string(&file).unwrap_or_default();
    eventually("the holder has its server", || content().ends_with('\n')).await;
    let root = PathBuf::from(content().trim_end());
    let pid = server_pid(&root);
    assert!(is_running(&pid));

    holder.kill().unwrap();
    holder.wait().unwrap();
    eventually("the directory is removed", || !root.exists()).await;
    assert!(!is_running(&pid));
}

#[tokio::test]
async fn abandoned_directory_is_removed_and_one_in_use_is_kept() {
    let living = cluster().await;
    let stale = tempfile::Builder::new().prefix("course-sync-pg-").tempdir().unwrap().keep();
    fs::create_dir(stale.join("data")).unwrap();
    fs::write(stale.join("log"), "").unwrap();

    let next = ThrowawayPostgres::start(PostgresOptions::default()).await.unwrap();
    assert!(!stale.exists());
    assert!(living.data_dir().exists());
    next.stop().await.unwrap();
}
