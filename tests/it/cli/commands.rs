//! The short commands and the start of `run`, with the real program: exit codes, stdout, stderr.

use std::collections::BTreeMap;
use std::process::Output;

use serde_json::{Value, json};
use simulator::Behaviour;

use crate::support::daemon::{Daemon, output, program};
use crate::support::eventually::eventually;
use crate::support::http::http_client;
use crate::support::postgres;
use crate::support::world::World;

/// The output of a command, and its exit code.
pub(super) struct CommandOutput {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

pub(super) async fn run_command(settings: &BTreeMap<String, String>, arguments: &[&str]) -> CommandOutput {
    let mut command = program(settings);
    command.args(arguments);
    let Output { status, stdout, stderr } = output(command).await;
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    CommandOutput { code: status.code(), out: text(stdout), err: text(stderr) }
}

impl CommandOutput {
    /// Asserts this exit code, an empty stdout, and one line on stderr that contains all `words`.
    pub(super) fn assert_failure(&self, code: i32, words: &[&str]) {
        let Self { code: got, out, err } = self;
        assert_eq!((*got, out.as_str()), (Some(code), ""), "{err}");
        assert!(words.iter().all(|word| err.contains(word)), "{words:?} in {err}");
        assert_eq!(err.trim_end().lines().count(), 1, "one line: {err}");
    }

    /// Asserts success and an empty stderr. Returns stdout.
    pub(super) fn success(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
        self.out
    }
}

async fn read_status(world: &World) -> Value {
    let text = run_command(&world.settings, &["status", "--json"]).await.success();
    serde_json::from_str(&text).expect("JSON")
}

/// A database without the schema.
async fn world_without_schema() -> World {
    let world = World::new().await;
    sqlx::raw_sql("drop schema public cascade; create schema public").execute(world.pool()).await.unwrap();
    world
}

#[tokio::test]
async fn a_second_migration_applies_nothing() {
    let world = world_without_schema().await;
    let first = run_command(&world.settings, &["migrate"]).await.success();
    assert!(first.starts_with("the schema is up to date: ") && first.ends_with(" applied\n"), "{first}");
    let second = run_command(&world.settings, &["migrate"]).await.success();
    assert_eq!(second, "the schema is already up to date\n");
    world.enqueue_many("A", 1).await;
}

#[tokio::test]
async fn short_commands_print_json() {
    let world = world_without_schema().await;
    let output = async |arguments: &[&str]| -> Value {
        serde_json::from_str(&run_command(&world.settings, arguments).await.success()).expect("JSON")
    };
    assert!(output(&["migrate", "--json"]).await["applied"].as_u64() > Some(0));
    assert_eq!(output(&["migrate", "--json"]).await, json!({ "applied": 0 }));
    assert_eq!(output(&["resume", "--json"]).await, json!({ "resumed": false }));
    let pause = ["pause", "--reason", "stocktaking", "--author", "kim", "--json"];
    assert_eq!(output(&pause).await, json!({ "message": "stocktaking", "author": "kim" }));
    assert_eq!(output(&["resume", "--json"]).await, json!({ "resumed": true }));
}

#[tokio::test]
async fn concurrent_migrations_are_safe() {
    let world = world_without_schema().await;
    let migrate = || run_command(&world.settings, &["migrate"]);
    let (one, other, third) = tokio::join!(migrate(), migrate(), migrate());
    for output in [one, other, third] {
        assert!(output.success().contains("up to date"));
    }
    world.enqueue_many("A", 1).await;
}

/// The table of sqlx, with a migration of the catalogue.
const CATALOGUE_MIGRATION: &str = "
    create table if not exists _sqlx_migrations (version bigint primary key, description text not null,
        installed_on timestamptz not null default now(), success boolean not null, checksum bytea not null,
        execution_time bigint not null);
    insert into _sqlx_migrations (version, description, success, checksum, execution_time)
    values (20250101, 'the catalogue', true, '\\x02', 1)";

async fn applied_versions(world: &World, table: &str) -> Vec<i64> {
    let sql = format!("select version from {table} order by version");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(world.pool()).await.unwrap()
}

#[tokio::test]
async fn migrations_of_the_catalogue_in_the_table_of_sqlx_are_not_touched() {
    let world = world_without_schema().await;
    sqlx::raw_sql(CATALOGUE_MIGRATION).execute(world.pool()).await.unwrap();
    run_command(&world.settings, &["migrate"]).await.success();
    assert_eq!(applied_versions(&world, "_sqlx_migrations").await, [20_250_101]);
    let ours = applied_versions(&world, "course_sync_migrations").await;

    // The state that older versions left.
    sqlx::raw_sql(
        "insert into _sqlx_migrations select * from course_sync_migrations; drop table course_sync_migrations",
    )
    .execute(world.pool())
    .await
    .unwrap();
    let output = run_command(&world.settings, &["migrate", "--json"]).await.success();
    assert_eq!(serde_json::from_str::<Value>(&output).unwrap(), json!({ "applied": 0 }));
    assert_eq!(applied_versions(&world, "_sqlx_migrations").await, [20_250_101]);
    assert_eq!(applied_versions(&world, "course_sync_migrations").await, ours);

    // If only course-sync uses the table, the table itself is renamed and keeps its grants.
    sqlx::raw_sql(
        "drop table _sqlx_migrations; alter table course_sync_migrations rename to _sqlx_migrations;
         grant select on _sqlx_migrations to public",
    )
    .execute(world.pool())
    .await
    .unwrap();
    run_command(&world.settings, &["migrate"]).await.success();
    let is_granted: bool =
        sqlx::query_scalar("select has_table_privilege('pg_monitor', 'course_sync_migrations', 'select')")
            .fetch_one(world.pool())
            .await
            .unwrap();
    assert!(is_granted);
    assert_eq!(applied_versions(&world, "course_sync_migrations").await, ours);
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_not_changed() {
    let world = World::new().await;
    sqlx::query(
        "insert into course_sync_migrations (version, description, success, checksum, execution_time)
         values (9999, 'of a later version', true, '', 0)",
    )
    .execute(world.pool())
    .await
    .unwrap();
    for command in ["run", "migrate", "status", "enqueue"] {
        let arguments = if command == "enqueue" { vec![command, "-"] } else { vec![command] };
        let mut output = run_command(&world.settings, &arguments).await;
        // `run` logs before it fails.
        output.err = output.err.lines().last().unwrap_or_default().to_owned();
        output.assert_failure(2, &["newer than this program", "9999"]);
    }
}

#[tokio::test]
async fn run_without_migration_refuses_an_empty_database_and_suggests_a_fix() {
    let mut world = world_without_schema().await;
    world.set("DATABASE__MIGRATE", "false");
    let mut daemon = world.start_daemon();
    assert_eq!(daemon.wait_for_exit().await.code(), Some(2));
    let log = daemon.log();
    assert!(log.contains("run `course-sync migrate`, or set database.migrate = true"), "{log}");
    let tables: i64 = sqlx::query_scalar("select count(*) from pg_tables where schemaname = 'public'")
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert_eq!(tables, 0);
    run_command(&world.settings, &["status"]).await.assert_failure(2, &["course-sync migrate"]);
}

#[tokio::test]
async fn run_logs_to_stderr_only() {
    let world = World::new().await;
    world.enqueue_many("A", 3).await;
    let mut command = program(&world.settings);
    command.arg("run").stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = child.id().to_string();
    world.wait_until_all_are(&["synced"]).await;
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
    assert!(output.status.success());
    assert!(output.stdout.is_empty());
    for line in String::from_utf8(output.stderr).unwrap().lines() {
        let line: Value = serde_json::from_str(line).expect("a log line is JSON if stderr is not a terminal");
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn status_shows_the_outbox_before_and_after_a_sync() {
    let world = World::new().await;
    world.enqueue_many("A", 7).await;
    let before = read_status(&world).await;
    let keys: Vec<_> = before.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "audit",
        "batch_size",
        "counts",
        "estimated",
        "last_minute",
        "leader",
        "oldest_in_flight_seconds",
        "oldest_pending_seconds",
        "oldest_unconfirmed_seconds",
        "pauses",
        "quota",
        "refused_courses",
        "seconds_to_empty",
    ];
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    let counts =
        json!({ "archived": 0, "failed": 0, "in_flight": 0, "pending": 7, "synced": 0, "unconfirmed": 0 });
    assert_eq!(before["counts"], counts);
    assert!(before["leader"].is_null() && before["seconds_to_empty"].is_null());
    assert!(before["oldest_pending_seconds"].as_f64().unwrap() >= 0.0);
    assert_eq!((&before["quota"]["requests"], &before["quota"]["used"]), (&190.into(), &0.into()));
    let text = run_command(&world.settings, &["status"]).await.success();
    assert!(text.contains("leader: none; start `course-sync run`"), "{text}");

    let daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    let after = eventually("status shows the sync and its leader", async || {
        let status = read_status(&world).await;
        if status["leader"].is_object() && status["quota"]["used"] == 3 { Ok(status) } else { Err(status) }
    })
    .await;
    let counts =
        json!({ "archived": 0, "failed": 0, "in_flight": 0, "pending": 0, "synced": 7, "unconfirmed": 0 });
    assert_eq!(after["counts"], counts);
    assert_eq!(after["last_minute"], json!({ "requests": 3, "courses": 7 }));
    assert_eq!(after["leader"]["term"], 1);
    assert!(after["oldest_pending_seconds"].is_null());
    let text = run_command(&world.settings, &["status"]).await.success();
    for words in ["synced", "7", "(term 1)", "last minute: 3 requests, 7 courses", "quota: 3 of 190 requests"]
    {
        assert!(text.contains(words), "{words:?} in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "no colour if stdout is not a terminal");
    drop(daemon);
}

#[tokio::test]
async fn a_connection_error_names_the_database_and_hides_the_password() {
    let settings = |url: &str| BTreeMap::from([("DATABASE_URL".to_owned(), url.to_owned())]);
    let nowhere = settings("postgres://sync:geheim@127.0.0.1:1/catalogue");
    for command in ["status", "migrate"] {
        let output = run_command(&nowhere, &[command]).await;
        output.assert_failure(1, &["127.0.0.1:1/catalogue", "Connection refused", "database.url"]);
        assert!(!output.err.contains("geheim"), "{}", output.err);
        assert_eq!(output.err.matches("Connection refused").count(), 1, "printed once: {}", output.err);
    }
    let missing = postgres::cluster().await.url("no_such_database");
    run_command(&settings(&missing), &["status"])
        .await
        .assert_failure(1, &["no_such_database", "does not exist"]);
}

#[tokio::test]
async fn healthcheck_reports_the_readiness_of_the_daemon() {
    let mut world = World::new().await;
    let unreachable = BTreeMap::from([("COURSE_SYNC__ADMIN__LISTEN".to_owned(), "127.0.0.1:1".to_owned())]);
    run_command(&unreachable, &["healthcheck"])
        .await
        .assert_failure(1, &["127.0.0.1:1 (admin.listen)", "Connection refused"]);

    let ask = async |daemon: &Daemon| {
        let address = daemon.admin_url().await.replace("http://", "");
        let settings = BTreeMap::from([("COURSE_SYNC__ADMIN__LISTEN".to_owned(), address)]);
        run_command(&settings, &["healthcheck"]).await
    };
    let daemon = world.start_daemon();
    daemon.wait_for_event("daemon_started").await;
    let ready: Value = serde_json::from_str(&ask(&daemon).await.success()).unwrap();
    assert_eq!(ready["ready"], true);
    drop(daemon);

    world.settings.insert("DATABASE_URL".into(), "postgres://nologin@127.0.0.1:1/nothing".into());
    let daemon = world.start_daemon();
    let not_ready = ask(&daemon).await;
    assert_eq!((not_ready.code, not_ready.err.as_str()), (Some(1), ""));
    let not_ready: Value = serde_json::from_str(&not_ready.out).unwrap();
    assert_eq!(
        (&not_ready["ready"], &not_ready["reasons"][0]["reason"]),
        (&false.into(), &"database".into())
    );
}

#[tokio::test]
async fn simulate_prints_its_address_and_stops_on_a_signal() {
    use std::io::{BufRead, BufReader, Read};
    for signal in ["-TERM", "-INT"] {
        let mut command = program(&BTreeMap::new());
        command.args(["simulate", "--listen", "127.0.0.1:0", "--latency", "0ms", "--unique-property", "key"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let url = line.strip_prefix("listening on ").and_then(|url| url.strip_suffix('\n')).expect(&line);
        let port = url.strip_prefix("http://127.0.0.1:").expect(url);
        assert_ne!(port.parse::<u16>().unwrap(), 0);
        let property = http_client()
            .get(format!("{url}/crm/v3/properties/0-410/key"))
            .bearer_auth("pat-na1-simulator")
            .send()
            .await
            .unwrap()
            .json::<Value>()
            .await
            .unwrap();
        assert_eq!(property["hasUniqueValue"], true, "{property}");

        let pid = child.id().to_string();
        assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let ended =
            eventually("the simulator ends", async || child.try_wait().unwrap().ok_or("it runs")).await;
        let (mut rest, mut err) = (String::new(), String::new());
        out.read_to_string(&mut rest).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!((ended.code(), rest.as_str(), err.as_str()), (Some(0), "", ""));
    }
}

#[tokio::test]
async fn run_logs_the_guarantee_of_the_configuration() {
    for (unique, unconfirmed, promise) in [
        (true, "hold", "created exactly once"),
        (false, "hold", "held until an operator decides"),
        (false, "resend", "may be created twice"),
    ] {
        let mut world = World::with(unique, Behaviour::default()).await;
        world.set("OUTBOX__UNCONFIRMED", unconfirmed);
        let started = world.start_daemon().wait_for_event("daemon_started").await;
        assert!(started["promise"].to_string().contains(promise), "{started}");
    }
}

#[tokio::test]
async fn completions_and_the_manual_contain_every_command() {
    let settings = BTreeMap::new();
    let manual = run_command(&settings, &["man"]).await.success();
    let shells = ["bash", "zsh", "fish", "elvish", "powershell"];
    for command in ["run", "enqueue", "status", "explain", "failures", "retry", "resolve", "simulate"] {
        assert!(manual.contains(&format!("course\\-sync\\-{command}")), "{command} in {manual}");
        for shell in shells {
            let script = run_command(&settings, &["completions", shell]).await.success();
            assert!(script.contains(command), "{command} for {shell}");
        }
    }
}
