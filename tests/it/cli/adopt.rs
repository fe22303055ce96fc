//! `adopt`, with the real program: accounts that are not empty.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use simulator::{
    Answer, Behaviour, Commit, ConflictForm, ErrorForm, Fault, Keys, LifecycleSwitches, Limits, ListPages,
    Operation, UpdateErrors,
};

use super::commands::{CommandOutput, run_command};
use crate::support::daemon::{Daemon, program};
use crate::support::eventually::eventually;
use crate::support::world::{UNIQUE_PROPERTY, World};

/// A world whose quota delays nothing.
pub(super) async fn fast_world(behaviour: Behaviour) -> World {
    let limits = Limits { requests: 1_000_000, searches_per_second: 1_000, ..Limits::default() };
    let mut world = World::with(true, Behaviour { limits, ..behaviour }).await;
    world.set("RATE_LIMIT__REQUESTS", "100000");
    world
}

fn create_record(world: &World, properties: &[(&str, &str)]) -> u64 {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    world.hubspot.create_record(properties.iter().map(owned).collect())
}

const ARGUMENTS: [&str; 6] = ["adopt", "--match", "hs_course_id", "--share", "10%", "--json"];

async fn adopt(world: &World, arguments: &[&str]) -> CommandOutput {
    run_command(&world.settings, &[&ARGUMENTS[..], arguments].concat()).await
}

/// The report of a command with this exit code.
fn report(output: &CommandOutput, code: i32) -> Value {
    // Beside a daemon it waits for its share of the quota.
    let is_expected = |line: &str| line.starts_with("course-sync: waiting");
    assert!(output.err.lines().all(is_expected), "{}", output.err);
    assert_eq!(output.code, Some(code), "{}", output.out);
    serde_json::from_str(&output.out).expect("JSON")
}

/// The number of courses of each kind.
fn counts(report: &Value) -> BTreeMap<&str, u64> {
    let kinds = ["matched", "ambiguous", "not_adoptable", "only_in_hubspot", "only_in_outbox"];
    kinds.into_iter().map(|kind| (kind, report[kind]["count"].as_u64().expect("a number"))).collect()
}

/// HubSpot holds 1,000 courses: 800 of rows, 50 of these under another name; two of each of 5 rows; 190 of no row. The outbox
/// has 20 rows that HubSpot does not hold.
async fn world_with_an_account_that_is_not_empty() -> World {
    let behaviour = Behaviour { list_pages: ListPages::Thin, ..Behaviour::default() };
    let world = fast_world(behaviour).await;
    sqlx::query(
        "insert into course_outbox (course_key, properties)
         select 'A-' || n, jsonb_build_object('hs_course_name', 'Course ' || n, 'hs_course_id', 'C-' || n)
           from generate_series(1, 825) n",
    )
    .execute(world.pool())
    .await
    .unwrap();
    for n in 1..=805 {
        let (name, id) = (format!("Course {n}"), format!("C-{n}"));
        let name = if n % 16 == 0 { "By hand" } else { &name };
        create_record(&world, &[("hs_course_name", name), ("hs_course_id", &id)]);
    }
    for n in 801..=805 {
        create_record(&world, &[("hs_course_name", "Twice"), ("hs_course_id", &format!("C-{n}"))]);
    }
    for n in 1..=190 {
        create_record(&world, &[("hs_course_name", &format!("Other {n}"))]);
    }
    world
}

#[tokio::test]
async fn a_thousand_courses_are_adopted_although_the_first_run_is_killed() {
    let mut world = world_with_an_account_that_is_not_empty().await;
    world.set("OUTBOX__LEASE", "2s");
    let expected = BTreeMap::from([
        ("matched", 800),
        ("ambiguous", 5),
        ("not_adoptable", 0),
        ("only_in_hubspot", 190),
        ("only_in_outbox", 20),
    ]);
    let dry = report(&adopt(&world, &["--examples", "2"]).await, 0);
    assert_eq!(counts(&dry), expected, "{dry:#}");
    assert_eq!((&dry["applied"], &dry["adopted"]), (&json!(false), &Value::Null));
    let ambiguous = dry["ambiguous"]["examples"].as_array().unwrap();
    assert_eq!(ambiguous.len(), 2);
    assert_eq!((&ambiguous[0]["why"], &ambiguous[0]["keys"]), (&json!("several_records"), &json!(["A-801"])));
    assert_eq!(ambiguous[0]["records"].as_array().unwrap().len(), 2);
    assert!(world.received(Operation::BatchUpdate).is_empty(), "nothing is written without --apply");
    assert_eq!(world.counts().await, BTreeMap::from([("pending".to_owned(), 825)]));

    // HubSpot writes the keys of the fourth request, and the program is killed before it knows.
    world.hubspot.add_fault(
        Fault::new(Answer::Hang).on(Operation::BatchUpdate).from_nth(4).times(1).committing(Commit::Yes),
    );
    let mut command = program(&world.settings);
    command.args(ARGUMENTS).arg("--apply");
    let killed = Daemon::spawn(command);
    eventually("the fourth request arrived", async || {
        let requests = world.received(Operation::BatchUpdate).len();
        if requests == 4 { Ok(()) } else { Err(requests) }
    })
    .await;
    killed.signal("KILL");
    let with_key = || {
        let records = world.hubspot.records();
        records.iter().filter(|record| record.properties.contains_key(UNIQUE_PROPERTY)).count()
    };
    assert_eq!(with_key(), 400);
    let rows = world.rows().await;
    assert_eq!(rows.iter().filter(|row| row.hubspot_id.is_some()).count(), 300);

    let second = eventually("the lease of the killed program ends", async || {
        let output = adopt(&world, &["--apply"]).await;
        if output.err.is_empty() { Ok(output) } else { Err(output.err) }
    })
    .await;
    let second = report(&second, 0);
    assert_eq!((&second["linked"], &second["already_keyed"]), (&json!(300), &json!(100)), "{second:#}");
    assert_eq!(counts(&second)["matched"], 500);
    let adopted = &second["adopted"];
    let done = adopted["synced"].as_u64().unwrap() + adopted["to_update"].as_u64().unwrap();
    assert_eq!((done, &adopted["refused"]["count"]), (500, &json!(0)));
    assert_eq!(with_key(), 800);
    let third = report(&adopt(&world, &["--apply"]).await, 0);
    assert_eq!((&third["linked"], &third["adopted"]["synced"]), (&json!(800), &json!(0)), "{third:#}");

    // The ambiguous ones are an operator's matter.
    sqlx::query("delete from course_outbox where properties ->> 'hs_course_id' between 'C-801' and 'C-805'")
        .execute(world.pool())
        .await
        .unwrap();
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    world.audit_values().await;
    assert_eq!(
        world.hubspot.records().len(),
        1_000 + 20,
        "only those that HubSpot did not hold were created"
    );
    let updated: usize =
        world.received(Operation::BatchUpdate).iter().map(|entry| entry.inputs.len()).sum::<usize>() - 800;
    assert_eq!(updated, 50, "only records that differ are updated");
    let explained = run_command(&world.settings, &["explain", "A-1"]).await.success();
    assert!(explained.contains("adopted by an operator (`course-sync adopt`)"), "{explained}");
}

#[tokio::test]
async fn it_refuses_while_a_daemon_runs() {
    let world = fast_world(Behaviour::default()).await;
    let daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    create_record(&world, &[("hs_course_name", "x"), ("hs_course_id", "C-1")]);
    let output = adopt(&world, &["--apply"]).await;
    output.assert_failure(1, &["a course-sync daemon is running", "scale it to 0"]);
    assert!(world.received(Operation::List).is_empty());
    // Looking is always possible.
    assert_eq!(counts(&report(&adopt(&world, &[]).await, 0))["only_in_hubspot"], 1);
}

#[tokio::test]
async fn what_hubspot_refuses_and_what_cannot_be_adopted_is_named() {
    let whole_batch =
        LifecycleSwitches { update_errors: UpdateErrors::WholeBatch, ..LifecycleSwitches::default() };
    for (behaviour, held) in [
        (Behaviour::default(), "A-1"),
        (
            Behaviour { conflict: ConflictForm::WholeBatch, lifecycle: whole_batch, ..Behaviour::default() },
            "A-1",
        ),
        (Behaviour { keys: Keys::LowerCase, ..Behaviour::default() }, "a-1"),
    ] {
        assert_refusals_are_named(&fast_world(behaviour).await, held).await;
    }
}

/// `held`: the key of a record in the recycle bin, as HubSpot stores it.
async fn assert_refusals_are_named(world: &World, held: &str) {
    for n in 1..=5 {
        world.enqueue(&format!("A-{n}"), &json!({ "hs_course_name": "x", "hs_course_id": n })).await;
        create_record(world, &[("hs_course_name", "x"), ("hs_course_id", &format!("{n}.0"))]);
    }
    // A record in the recycle bin keeps its key.
    let gone = create_record(world, &[("hs_course_name", "old"), (UNIQUE_PROPERTY, held)]);
    world.hubspot.archive_record(gone);
    world.withdraw("A-2", true).await;
    sqlx::query("update course_outbox set status = 'failed', error = '{\"category\":\"refused\",\"message\":\"x\"}' where course_key = 'A-3'")
        .execute(world.pool())
        .await
        .unwrap();
    let applied = report(&adopt(world, &["--apply"]).await, 1);
    let refused = &applied["adopted"]["refused"]["examples"];
    assert_eq!((refused.as_array().unwrap().len(), &refused[0]["key"]), (1, &json!("A-1")));
    assert!(refused[0]["why"].as_str().unwrap().contains("already has that value"), "{refused}");
    let why: BTreeMap<&str, &str> = applied["not_adoptable"]["examples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["key"].as_str().unwrap(), it["why"].as_str().unwrap()))
        .collect();
    assert!(why["A-2"].contains("withdrawn") && why["A-3"].contains("course-sync retry"), "{why:?}");
    assert_eq!(applied["adopted"]["synced"], 2);
    for (key, status) in [("A-1", "pending"), ("A-2", "pending"), ("A-3", "failed"), ("A-4", "synced")] {
        assert_eq!(world.row(key).await.status, status, "{key}");
    }
}

#[tokio::test]
async fn failures_that_pass_are_waited_out() {
    let world = fast_world(Behaviour::default()).await;
    world.enqueue("A-1", &json!({ "hs_course_name": "x", "hs_course_id": "1" })).await;
    create_record(&world, &[("hs_course_name", "x"), ("hs_course_id", "1")]);
    for operation in [Operation::List, Operation::BatchRead, Operation::BatchUpdate] {
        let unavailable = Answer::Error { status: 503, body: ErrorForm::default(), retry_after: None };
        world.hubspot.add_fault(Fault::new(unavailable).on(operation).times(2));
        world.hubspot.add_fault(Fault::new(Answer::Reset).on(operation).times(1).committing(Commit::Yes));
    }
    let applied = report(&adopt(&world, &["--apply"]).await, 0);
    assert_eq!(applied["adopted"]["synced"], 1, "{applied:#}");
    assert_eq!(world.row("A-1").await.status, "synced");
}

#[tokio::test]
async fn a_mistake_is_named_before_anything_is_listed() {
    let world = fast_world(Behaviour::default()).await;
    let unknown = run_command(&world.settings, &["adopt", "--match", "hs_course_nmae"]).await;
    unknown.assert_failure(2, &["no property \"hs_course_nmae\"", "--match"]);
    let without = World::with(false, Behaviour::default()).await;
    let refused = run_command(&without.settings, &["adopt", "--match", "hs_course_id"]).await;
    refused.assert_failure(2, &["hubspot.unique_property", "check --fix"]);
    assert!(world.received(Operation::List).is_empty());
}

#[tokio::test]
async fn the_text_shows_what_an_operator_needs() {
    let world = fast_world(Behaviour::default()).await;
    world.enqueue("A-1", &json!({ "hs_course_name": "Algebra", "code": "x" })).await;
    world.enqueue("A-2", &json!({ "hs_course_name": "Logic" })).await;
    create_record(&world, &[("hs_course_name", "algebra"), ("hs_course_id", "A-1")]);
    let other = create_record(&world, &[("hs_course_name", "Evil\u{1b}[31m")]);
    let arguments =
        ["adopt", "--match", "hs_course_id=course_key", "--match", "hs_course_name", "--share", "10%"];
    let text = run_command(&world.settings, &arguments).await.success();
    for words in [
        "2 in HubSpot, 2 in the outbox",
        "1  matched: one row and one record",
        "1  only in HubSpot",
        "1  only in the outbox: `run` will create them",
        "matched: A-1 = record",
        &format!("only in HubSpot: record {other} \"Evil [31m\""),
        "only in the outbox: A-2",
        "nothing changed",
        "--apply",
    ] {
        assert!(text.contains(words), "{words:?} in {text}");
    }
    assert!(!text.contains('\u{1b}'));
}

#[tokio::test]
async fn check_and_preview_warn_before_existing_courses_are_created_again() {
    let world = fast_world(Behaviour { search_lag_ms: 0, ..Behaviour::default() }).await;
    let unique_line = async || {
        let output = run_command(&world.settings, &["check"]).await;
        assert_eq!(output.code, Some(0), "{}", output.out);
        output.out.lines().find(|line| line.contains("unique_property")).expect("a line").to_owned()
    };
    let preview = async || run_command(&world.settings, &["preview"]).await.success();
    create_record(&world, &[("hs_course_name", "By hand")]);
    assert!(unique_line().await.starts_with('✓'), "nothing is about to be created");
    world.enqueue("A-1", &json!({ "hs_course_name": "Algebra" })).await;
    let line = unique_line().await;
    assert!(
        line.starts_with("! unique_property") && line.contains("HubSpot holds 1 course without"),
        "{line}"
    );
    assert!(line.contains("course-sync adopt --match"), "{line}");
    let text = preview().await;
    assert!(text.contains("HubSpot holds 1 course without a key"), "{text}");
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    assert!(unique_line().await.starts_with('✓'));
    assert!(!preview().await.contains("without a key"));
}
