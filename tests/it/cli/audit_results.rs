//! What is recorded of an audit: the metrics, `status` and the console show it, and a later audit replaces it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use simulator::{Answer, Behaviour, ErrorForm, Fault, Operation};
use sqlx::AssertSqlSafe;

use super::audit::{audit, record_of, synced_world, values};
use super::commands::run_command;
use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
use crate::support::http::http_client;
use crate::support::world::{UNIQUE_PROPERTY, World};

/// The classes with differences that are left, by the metrics.
async fn differences(daemon: &Daemon) -> BTreeMap<String, u64> {
    let client = http_client();
    let metrics = client.get(format!("{}/metrics", daemon.admin_url().await)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let read = |line: &str| {
        let rest = line.strip_prefix("course_sync_audit_differences{class=\"")?;
        let (class, count) = rest.split_once("\"} ")?;
        Some((class.to_owned(), count.parse().expect("a number")))
    };
    let all: BTreeMap<String, u64> = metrics.lines().filter_map(read).collect();
    assert_eq!(all.len(), 9, "{metrics}");
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// When the last audit with this result ended; 0: there was none.
async fn ended(daemon: &Daemon, result: &str) -> i64 {
    let series = format!("course_sync_audit_timestamp_seconds{{result=\"{result}\"}}");
    daemon.metric(&series).await.parse().expect("a number")
}

fn expected(classes: &[(&str, u64)]) -> BTreeMap<String, u64> {
    classes.iter().map(|(class, count)| ((*class).to_owned(), *count)).collect()
}

async fn status(world: &World) -> Value {
    serde_json::from_str(&run_command(&world.settings, &["status", "--json"]).await.success()).unwrap()
}

async fn execute(world: &World, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(world.pool()).await.unwrap();
}

#[tokio::test]
async fn drift_is_shown_until_it_is_repaired_and_a_clean_audit_has_ended() {
    let mut world = synced_world(Behaviour::default()).await;
    world.set("OUTBOX__LEASE", "3s");
    world.set("RATE_LIMIT__PER", "1s");
    let daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    assert_eq!((differences(&daemon).await, ended(&daemon, "complete").await), (expected(&[]), 0));
    assert_eq!(status(&world).await["audit"], Value::Null);

    world.hubspot.edit_record(record_of(&world, "A-1").await, values(&[("hs_course_name", "Edited")]));
    world.hubspot.edit_record(record_of(&world, "A-2").await, values(&[("hs_course_name", "Edited")]));
    world.hubspot.edit_record(record_of(&world, "A-3").await, values(&[(UNIQUE_PROPERTY, "Z-3")]));
    world.hubspot.purge_record(record_of(&world, "A-4").await);
    assert_eq!(audit(&world, &[]).await.code, Some(1));
    let found = expected(&[("key_edited", 1), ("missing", 1), ("values_edited", 2)]);
    assert_eq!(differences(&daemon).await, found);
    let first = ended(&daemon, "complete").await;
    assert!(first > 1_700_000_000, "{first}");
    assert_eq!(ended(&daemon, "partial").await, 0);
    let shown = status(&world).await["audit"].clone();
    assert_eq!((&shown["complete"], &shown["courses"]), (&json!(true), &json!(250)), "{shown}");
    assert_eq!(shown["differences"], json!({ "key_edited": 1, "missing": 1, "values_edited": 2 }));
    let text = run_command(&world.settings, &["status"]).await.success();
    let words = "250 courses, complete; differences left: 1 missing, 1 key_edited, 2 values_edited";
    assert!(text.contains("last audit: ") && text.contains(words), "{text}");
    let page = http_client().get(daemon.admin_url().await).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("Last audit") && page.contains("4 differences left"), "{page}");

    // What was repaired is no longer left; what only an operator can repair is.
    assert_eq!(audit(&world, &["--repair"]).await.code, Some(1));
    assert_eq!(differences(&daemon).await, expected(&[("key_edited", 1)]));
    world.wait_until_all_are(&["synced", "archived", "failed"]).await;
    world.hubspot.edit_record(record_of(&world, "A-3").await, values(&[(UNIQUE_PROPERTY, "A-3")]));
    let last = audit(&world, &[]).await;
    assert_eq!(last.code, Some(0), "{}", last.out);
    assert_eq!(differences(&daemon).await, expected(&[]));
    let text = run_command(&world.settings, &["status"]).await.success();
    assert!(text.contains("complete; no differences left"), "{text}");
}

#[tokio::test]
async fn the_parts_of_a_continued_audit_count_as_one() {
    let mut world = synced_world(Behaviour::default()).await;
    world.set("RETRY__INITIAL_INTERVAL", "1ms");
    world.set("RETRY__MAX_INTERVAL", "2ms");
    let daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.hubspot.edit_record(record_of(&world, "A-1").await, values(&[("hs_course_name", "Edited")]));
    world.hubspot.edit_record(record_of(&world, "A-200").await, values(&[("hs_course_name", "Edited")]));
    let unavailable = Answer::Error { status: 503, body: ErrorForm::default(), retry_after: None };
    world.hubspot.add_fault(Fault::new(unavailable).on(Operation::BatchRead).from_nth(2).times(12));
    let first = audit(&world, &[]).await;
    world.hubspot.clear_faults();
    // What it found counts, although it covers only a part.
    assert_eq!(differences(&daemon).await, expected(&[("values_edited", 1)]));
    assert_eq!(ended(&daemon, "complete").await, 0);
    assert!(ended(&daemon, "partial").await > 0);
    let text = run_command(&world.settings, &["status"]).await.success();
    assert!(text.contains("not complete; there was no complete one"), "{text}");

    // Another position than where it stopped: not the same audit.
    assert_eq!(audit(&world, &["--from", "records"]).await.code, Some(0));
    assert_eq!(
        (ended(&daemon, "complete").await, differences(&daemon).await),
        (0, expected(&[("values_edited", 1)]))
    );

    let (_, from) = first.err.split_once("--from ").expect("a position");
    let from = from.split(['`', '\n']).next().unwrap().to_owned();
    // The last one has ended elsewhere, so the first part is read again as well.
    execute(&world, "delete from course_sync_audit where stopped_at is null".to_owned()).await;
    assert_eq!(audit(&world, &["--from", &from]).await.code, Some(1));
    assert!(ended(&daemon, "complete").await > 0);
    assert_eq!(ended(&daemon, "partial").await, 0);
    assert_eq!(differences(&daemon).await, expected(&[("values_edited", 2)]));
    assert_eq!(status(&world).await["audit"]["courses"], 250);
}

#[tokio::test]
async fn a_role_without_rights_on_the_results_audits_and_reports_as_before() {
    let mut world = synced_world(Behaviour::default()).await;
    let role = format!("auditor_{}", world.database.name());
    execute(
        &world,
        format!(
            "create role {role} login; grant usage on schema public to {role};
             grant select, insert, update, delete on all tables in schema public to {role};
             revoke all on course_sync_audit, course_sync_refused_change from {role}"
        ),
    )
    .await;
    let owner = world.settings["DATABASE_URL"].clone();
    world.settings.insert("DATABASE_URL".into(), owner.replacen("course_sync@", &format!("{role}@"), 1));
    world.hubspot.edit_record(record_of(&world, "A-1").await, values(&[("hs_course_name", "Edited")]));
    let output = audit(&world, &[]).await;
    assert_eq!(output.code, Some(1));
    assert!(output.out.contains("1 difference of 250 courses"), "{}", output.out);
    for words in ["warning: the result is not recorded", "permission denied for table course_sync_audit"] {
        assert!(output.err.contains(words), "{}", output.err);
    }
    let daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    assert_eq!(differences(&daemon).await, expected(&[]));
    assert_eq!(daemon.metric("course_sync_outbox_courses{status=\"synced\"}").await, "248");
    assert_eq!(status(&world).await["counts"]["synced"], 248);
    let check = run_command(&world.settings, &["check"]).await;
    assert_eq!(check.code, Some(0), "{}", check.out);
    for words in
        ["report_grants", "grant insert on course_sync_audit", "select on course_sync_refused_change"]
    {
        assert!(check.out.contains(words), "{}", check.out);
    }
    world.settings.insert("DATABASE_URL".into(), owner);
    drop(daemon);
    execute(&world, format!("drop owned by {role}; drop role {role}")).await;
}

/// As after an older schema was restored under a daemon that runs.
#[tokio::test]
async fn a_daemon_works_on_without_the_tables_of_reports() {
    let mut world = World::new().await;
    world.set("OUTBOX__LEASE", "3s");
    let daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    execute(
        &world,
        "drop table course_sync_audit, course_sync_refused_change cascade;
         alter table course_sync_leader drop column reservations"
            .to_owned(),
    )
    .await;
    let renewals = async || -> i64 {
        let renewals = sqlx::query_scalar("select renewals from course_sync_leader").fetch_one(world.pool());
        renewals.await.unwrap()
    };
    let before = renewals().await;
    eventually("the lease is renewed", async || {
        let now = renewals().await;
        if now >= before + 2 { Ok(()) } else { Err(now) }
    })
    .await;
    world.enqueue_many("A", 5).await;
    world.wait_until_all_are(&["synced"]).await;
    assert_eq!(daemon.metric("course_sync_outbox_courses{status=\"synced\"}").await, "5");
    assert_eq!(status(&world).await["counts"]["synced"], 5);
    assert!(daemon.events("lease_lost").is_empty(), "{}", daemon.log());
}

#[tokio::test]
async fn old_results_are_deleted_except_the_last_complete_one_and_those_since() {
    let world = synced_world(Behaviour::default()).await;
    execute(
        &world,
        "insert into course_sync_audit (id, started_at, ended_at, complete, courses, records, differences, repaired)
         select gen_random_uuid(), now(), now() - make_interval(days => n), n = 150, 1, 1, '{\"missing\": 1}', '{}'
           from generate_series(1, 300) n"
            .to_owned(),
    )
    .await;
    let kept = async || -> (i64, bool) {
        let kept = sqlx::query_as(
            "select count(*), bool_or(ended_at < now() - interval '149 days') from course_sync_audit",
        );
        kept.fetch_one(world.pool()).await.unwrap()
    };
    assert_eq!(audit(&world, &["--from", "records"]).await.code, Some(0));
    assert_eq!(kept().await, (151, true), "since the last complete one");
    assert_eq!(audit(&world, &[]).await.code, Some(0));
    assert_eq!(audit(&world, &[]).await.code, Some(0));
    assert_eq!(kept().await, (100, false));
}
