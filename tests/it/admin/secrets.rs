//! No secret appears in the log (even at `trace`), a page, a metric, an error or a table, whatever fails. The secrets
//! have no typical form, so the filter of the log cannot recognise them.

use std::collections::BTreeMap;

use course_sync::demo::postgres::{PostgresOptions, StopMode, ThrowawayPostgres};
use simulator::{Answer, Dialect, ErrorForm, Fault, Operation};

use super::get;
use crate::support::daemon::{Daemon, output, program};
use crate::support::eventually::eventually;
use crate::support::world::World;

const TOKEN: &str = "canary-7d1f0c52-of-no-known-shape";

/// All collected output, with its place.
#[derive(Default)]
struct CollectedOutput(Vec<(String, String)>);

impl CollectedOutput {
    fn add(&mut self, place: &str, text: String) {
        self.0.push((place.to_owned(), text));
    }

    async fn run(&mut self, world: &World, arguments: &[&str]) {
        let mut command = program(&world.settings);
        command.args(arguments);
        let text = output(command).await;
        let text = String::from_utf8_lossy(&[text.stdout, text.stderr].concat()).into_owned();
        self.add(&format!("{arguments:?}"), text);
    }

    async fn pages(&mut self, admin: &str) {
        let page = async |path: &str| get(&format!("{admin}{path}")).await.text;
        let (metrics, status, readyz, console) =
            tokio::join!(page("/metrics"), page("/status"), page("/readyz"), page("/"));
        for (place, text) in [("metrics", metrics), ("status", status), ("readyz", readyz), ("/", console)] {
            self.add(place, text);
        }
    }

    async fn tables(&mut self, world: &World) {
        for table in [
            "course_outbox",
            "course_sync_batch",
            "course_sync_leader",
            "course_sync_pause",
            "course_sync_history",
        ] {
            let rows = format!("select coalesce(string_agg(t::text, E'\\n'), 'none') from {table} t");
            let rows = sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_one(world.pool()).await.unwrap();
            self.add(table, rows);
        }
    }

    async fn stop(&mut self, mut daemon: Daemon) {
        daemon.signal("TERM");
        daemon.signal("TERM");
        daemon.wait_for_exit().await;
        self.add("log", daemon.log());
    }

    fn assert_contains_none(&self, secrets: &[&str]) {
        for (place, text) in &self.0 {
            assert!(!text.is_empty(), "{place} has output");
            for secret in secrets {
                let at = text.find(secret);
                assert_eq!(at, None, "{place}: {:?}", at.map(|at| &text[at.saturating_sub(200)..at]));
            }
        }
    }
}

fn enqueue(key: &str) -> tempfile::NamedTempFile {
    let mut courses = tempfile::Builder::new().suffix(".ndjson").tempfile().unwrap();
    let text = format!("{{\"course_key\":\"{key}\",\"hs_course_name\":\"{key}\"}}\nnot json\n");
    std::io::Write::write_all(&mut courses, text.as_bytes()).unwrap();
    courses
}

/// An error response that repeats the secret.
fn echo(status: u16, secret: &str) -> Answer {
    let body = format!(
        r#"{{"status":"error","category":"VALIDATION_ERROR","message":"not with {secret}","errors":[{{"message":"{secret}"}}]}}"#
    );
    Answer::Literal { status, headers: BTreeMap::new(), body }
}

#[tokio::test]
async fn token_and_password_never_appear() {
    let cluster =
        ThrowawayPostgres::start(PostgresOptions { listen_tcp: true, ..PostgresOptions::default() })
            .await
            .unwrap();
    let url = cluster.tcp_url("postgres");
    let password = url.split([':', '@']).nth(2).unwrap().to_owned();
    assert_eq!(password.len(), 32, "the password");
    let mut world = World::new().await;
    world.hubspot.set_token(TOKEN);
    world.use_cluster(&url);
    world.settings.insert("HUBSPOT_ACCESS_TOKEN".into(), TOKEN.into());
    world.set("LOG__FILTER", "trace");
    let mut collected = CollectedOutput::default();
    collected.run(&world, &["migrate"]).await;
    collected.run(&world, &["enqueue", enqueue("A").path().to_str().unwrap()]).await;

    // Several errors, and then a token that is refused.
    for answer in [
        Answer::Error { status: 502, body: ErrorForm::Html, retry_after: None },
        Answer::RateLimited { dialect: Dialect::Secondly, retry_after: Some(1) },
        Answer::Reset,
        Answer::Garbage,
        Answer::Literal {
            status: 502,
            headers: BTreeMap::new(),
            body: format!("<p>You text Bearer {TOKEN}"),
        },
        echo(403, TOKEN),
        echo(400, TOKEN),
    ] {
        world.hubspot.add_fault(Fault::new(answer).on(Operation::BatchCreate).times(1));
    }
    let daemon = world.start_daemon();
    let admin = daemon.admin_url().await;
    world.wait_until_all_are(&["failed"]).await;
    assert!(world.row("A").await.error("message").contains("not with [redacted]"));
    world.hubspot.set_token("another");
    collected.run(&world, &["enqueue", enqueue("B").path().to_str().unwrap()]).await;
    eventually("the token is refused", async || {
        let answer = get(&format!("{admin}/readyz")).await;
        if answer.text.contains("\"token\"") { Ok(()) } else { Err(answer.text) }
    })
    .await;
    collected.run(&world, &["status"]).await;
    collected.run(&world, &["status", "--json"]).await;
    collected.pages(&admin).await;
    collected.tables(&world).await;
    // A changed password, and then a database outage.
    sqlx::raw_sql(
        "alter role course_sync password 'of-today';
         select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'course-sync'",
    )
    .execute(world.pool())
    .await
    .ok();
    collected.run(&world, &["status"]).await;
    collected.pages(&admin).await;
    cluster.stop_server(StopMode::Immediate).await.unwrap();
    collected.pages(&admin).await;
    collected.run(&world, &["status"]).await;
    collected.run(&world, &["migrate"]).await;
    collected.stop(daemon).await;
    collected.assert_contains_none(&[TOKEN, &password]);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn the_secrets_of_an_oauth_grant_never_appear() {
    let mut world = World::new().await;
    let secrets = ["simulator-secret", "simulator-refresh"];
    world.settings.remove("HUBSPOT_ACCESS_TOKEN");
    world.set("HUBSPOT__OAUTH__CLIENT_ID", "simulator-client");
    world.set("HUBSPOT__OAUTH__CLIENT_SECRET", secrets[0]);
    world.set("HUBSPOT__OAUTH__REFRESH_TOKEN", secrets[1]);
    world.set("LOG__FILTER", "trace");
    for answer in [
        Answer::Error { status: 503, body: ErrorForm::Html, retry_after: None },
        echo(400, secrets[0]),
        echo(401, secrets[1]),
        Answer::Patched(serde_json::json!({ "access_token": TOKEN })),
        Answer::Reset,
        echo(500, secrets[1]),
    ] {
        world.hubspot.add_fault(Fault::new(answer).on(Operation::TokenRefresh).times(1));
    }
    let mut collected = CollectedOutput::default();
    world.enqueue_many("A", 1).await;
    let daemon = world.start_daemon();
    let admin = daemon.admin_url().await;
    daemon.wait_for_event("sending_blocked").await;
    collected.pages(&admin).await;
    world.wait_until_all_are(&["synced"]).await;
    collected.run(&world, &["status", "--json"]).await;
    collected.pages(&admin).await;
    collected.tables(&world).await;
    collected.stop(daemon).await;
    collected.assert_contains_none(&[secrets[0], secrets[1], TOKEN]);
}
