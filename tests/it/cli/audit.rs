//! `audit`, with the real program: what users did to the records is found, and repaired where that is safe.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use simulator::{Answer, Behaviour, ErrorForm, Fault, ListPages, Operation};

use super::adopt::fast_world;
use super::commands::{CommandOutput, run_command};
use crate::support::eventually::eventually;
use crate::support::world::{UNIQUE_PROPERTY, World};

pub(super) async fn audit(world: &World, arguments: &[&str]) -> CommandOutput {
    run_command(&world.settings, &[&["audit", "--share", "10%"], arguments].concat()).await
}

/// The differences by key, and the summary, of an audit with this exit code.
fn findings(output: &CommandOutput, code: i32) -> (BTreeMap<String, Value>, Value) {
    // Not stderr: a long audit prints its position there.
    assert_eq!(output.code, Some(code), "{}{}", output.out, output.err);
    let lines = output.out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let (summary, findings): (Vec<Value>, Vec<Value>) = lines.partition(|line| line.get("summary").is_some());
    let key = |finding: &Value| finding["key"].as_str().expect("a key").to_owned();
    let summary = summary.into_iter().next().expect("a summary")["summary"].clone();
    (findings.into_iter().map(|finding| (key(&finding), finding)).collect(), summary)
}

/// The class of each difference.
fn classes(findings: &BTreeMap<String, Value>) -> BTreeMap<&str, &str> {
    findings.iter().map(|(key, it)| (key.as_str(), it["class"].as_str().expect("a class"))).collect()
}

pub(super) async fn record_of(world: &World, key: &str) -> u64 {
    world.row(key).await.hubspot_id.expect("a record").parse().expect("a number")
}

pub(super) fn values(properties: &[(&str, &str)]) -> BTreeMap<String, String> {
    properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Courses that are synced, and some that are withdrawn; the daemon is stopped.
pub(super) async fn synced_world(behaviour: Behaviour) -> World {
    let mut world = fast_world(behaviour).await;
    world.set("OUTBOX__SETTLE", "0s");
    world.enqueue_many("A", 250).await;
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    for key in ["A-11", "A-12"] {
        world.withdraw(key, true).await;
        world.wait_until_settled(key, "archived").await;
    }
    assert!(daemon.stop().await.success());
    world
}

/// What users do to the records of `synced_world`.
async fn change_by_hand(world: &World) {
    let hubspot = &world.hubspot;
    let other = || hubspot.create_record(values(&[("hs_course_name", "By hand")]));
    hubspot.edit_record(record_of(world, "A-1").await, values(&[("hs_course_name", "Edited")]));
    // Neither another notation nor a property of another program is a difference.
    hubspot.edit_record(
        record_of(world, "A-2").await,
        values(&[("hs_course_name", " Course A 2 "), ("hs_course_description", "mine")]),
    );
    hubspot.edit_record(record_of(world, "A-3").await, values(&[(UNIQUE_PROPERTY, "Z-3")]));
    hubspot.edit_record(record_of(world, "A-4").await, values(&[(UNIQUE_PROPERTY, "")]));
    hubspot.archive_record(record_of(world, "A-5").await);
    hubspot.purge_record(record_of(world, "A-6").await);
    hubspot.merge_records(other(), record_of(world, "A-7").await).expect("a merge");
    // The survivor has our key, and another id.
    hubspot.merge_records(record_of(world, "A-8").await, other()).expect("a merge");
    hubspot.touch_record(record_of(world, "A-9").await);
    assert!(hubspot.restore_record(record_of(world, "A-11").await));
    hubspot.create_record(values(&[("hs_course_name", "x"), (UNIQUE_PROPERTY, "Z-99")]));
    hubspot.create_record(values(&[("hs_course_name", "x"), (UNIQUE_PROPERTY, "A-10")]));
    other();
}

const EXPECTED: [(&str, &str); 10] = [
    ("A-1", "values_edited"),
    ("A-10", "duplicate_key"),
    ("A-11", "restored"),
    ("A-3", "key_edited"),
    ("A-4", "key_edited"),
    ("A-5", "archived"),
    ("A-6", "missing"),
    ("A-7", "merged"),
    ("A-8", "merged"),
    ("Z-99", "stranger"),
];

#[tokio::test]
async fn what_users_did_is_found_and_repaired_where_that_is_safe() {
    let world = synced_world(Behaviour { list_pages: ListPages::Thin, ..Behaviour::default() }).await;
    let (none, summary) = findings(&audit(&world, &["--json"]).await, 0);
    assert_eq!((none.len(), &summary["courses"], &summary["records"]), (0, &json!(250), &json!(248)));
    assert_eq!((&summary["complete"], &summary["settling"]), (&json!(true), &json!(0)), "{summary}");

    change_by_hand(&world).await;
    let before = world.rows().await.into_iter().map(|row| row.status).collect::<Vec<_>>();
    let (found, summary) = findings(&audit(&world, &["--json"]).await, 1);
    assert_eq!(classes(&found), BTreeMap::from(EXPECTED), "{found:#?}");
    assert_eq!(summary["differences"]["key_edited"], 2);
    let edited = json!([{ "name": "hs_course_name", "outbox": "Course A 1", "hubspot": "Edited" }]);
    assert_eq!(found["A-1"]["properties"], edited);
    assert_eq!((&found["A-3"]["hubspot_key"], &found["A-4"]["hubspot_key"]), (&json!("Z-3"), &json!("")));
    let after = world.rows().await.into_iter().map(|row| row.status).collect::<Vec<_>>();
    assert_eq!(before, after, "without --repair nothing changes");
    let text = audit(&world, &[]).await;
    assert_eq!(text.code, Some(1));
    for words in [
        "hs_course_name: HubSpot \"Edited\", outbox \"Course A 1\"",
        "10 differences of 250 courses",
        "which has the key \"Z-3\"",
    ] {
        assert!(text.out.contains(words), "{words:?} in {}", text.out);
    }

    let creates = world.create_requests();
    let (repaired, summary) = findings(&audit(&world, &["--json", "--repair"]).await, 1);
    let status = |key: &str| repaired[key].get("repaired").and_then(Value::as_str);
    for (key, expected) in [
        ("A-1", Some("pending")),
        ("A-3", None),
        ("A-4", None),
        ("A-5", Some("failed")),
        ("A-6", Some("failed")),
        ("A-7", Some("failed")),
        ("A-8", Some("failed")),
        ("A-11", Some("pending")),
        ("A-10", None),
        ("Z-99", None),
    ] {
        assert_eq!(status(key), expected, "{key}");
    }
    assert_eq!(summary["repaired"], 6);
    assert_eq!(world.row("A-5").await.error("category"), "record_gone");
    assert_eq!(world.row("A-7").await.error("category"), "record_merged");
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced", "archived", "failed"]).await;
    let (rest, _) = findings(&audit(&world, &["--json"]).await, 1);
    // Rows that failed are not compared; the record that A-8 was merged into still has its key.
    let left =
        [("A-10", "duplicate_key"), ("A-3", "key_edited"), ("A-4", "key_edited"), ("Z-99", "stranger")];
    let mut left = BTreeMap::from(left);
    let classes = classes(&rest);
    if classes.contains_key("A-8") {
        left.insert("A-8", "duplicate_key");
    }
    assert_eq!(classes, left);
    let record =
        |id: u64| world.hubspot.records().into_iter().find(|record| record.id == id).expect("a record");
    assert_eq!(record(record_of(&world, "A-1").await).properties["hs_course_name"], "Course A 1");
    assert!(record(record_of(&world, "A-11").await).archived);
    assert_eq!(record(record_of(&world, "A-2").await).properties["hs_course_description"], "mine");
    assert_eq!(world.create_requests(), creates, "nothing is created");
    let updates = world.received(Operation::BatchUpdate);
    assert_eq!(updates.len(), 1, "only the record whose values were edited is updated");
    let explained = run_command(&world.settings, &["explain", "A-1"]).await.success();
    assert!(explained.contains("course-sync audit --repair"), "{explained}");
}

#[tokio::test]
async fn an_interrupted_audit_continues_where_it_stopped() {
    let mut world = synced_world(Behaviour::default()).await;
    world.set("RETRY__INITIAL_INTERVAL", "1ms");
    world.set("RETRY__MAX_INTERVAL", "2ms");
    change_by_hand(&world).await;
    let unavailable = Answer::Error { status: 503, body: ErrorForm::default(), retry_after: None };
    // HubSpot becomes unavailable at the second page of rows, and in the next run at the list.
    world.hubspot.add_fault(Fault::new(unavailable.clone()).on(Operation::BatchRead).from_nth(3).times(12));
    let first = audit(&world, &["--json"]).await;
    assert_eq!(first.code, Some(1), "{}", first.err);
    assert!(first.out.contains("\"complete\":false"), "{}", first.out);
    let position = |output: &CommandOutput| {
        let (_, rest) = output.err.split_once("--from ").expect("a position");
        rest.split(['`', '\n']).next().expect("a word").to_owned()
    };
    let from = position(&first);
    assert!(from.starts_with("row:"), "{from}");
    world.hubspot.clear_faults();
    world.hubspot.add_fault(Fault::new(unavailable).on(Operation::List).times(12));
    let second = audit(&world, &["--json", "--from", &from]).await;
    let from = position(&second);
    assert_eq!(from, "records");
    world.hubspot.clear_faults();
    let third = audit(&world, &["--json", "--from", &from]).await;
    let lines = [first.out, second.out, third.out].concat();
    let all: BTreeMap<String, String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|line| Some((line["key"].as_str()?.to_owned(), line["class"].as_str()?.to_owned())))
        .collect();
    let expected = EXPECTED.map(|(key, class)| (key.to_owned(), class.to_owned()));
    assert_eq!(all, BTreeMap::from(expected));
}

#[tokio::test]
async fn an_audit_beside_a_daemon_reports_nothing_that_is_only_under_way() {
    let mut world = fast_world(Behaviour::default()).await;
    world.set("OUTBOX__SETTLE", "0s");
    // Each audit waits until the daemon leaves its share of the quota free, which it learns with a renewal.
    world.set("OUTBOX__LEASE", "3s");
    world.set("RATE_LIMIT__PER", "1s");
    let _daemon = world.start_daemon();
    world.enqueue_many("A", 2_000).await;
    let mut audits = 0;
    eventually("everything is synced", async || {
        for n in 1..=40 {
            world.change(&format!("A-{n}"), &json!({ "hs_course_name": format!("Round {audits}") })).await;
        }
        let (found, _) = findings(&audit(&world, &["--json"]).await, 0);
        assert!(found.is_empty(), "{found:#?}");
        audits += 1;
        let counts = world.counts().await;
        if audits >= 5 && counts.get("synced") >= Some(&1_900) { Ok(()) } else { Err(counts) }
    })
    .await;
}

#[tokio::test]
async fn rows_that_were_just_written_are_not_compared() {
    let mut world = synced_world(Behaviour::default()).await;
    world.set("OUTBOX__SETTLE", "1h");
    change_by_hand(&world).await;
    let (found, summary) = findings(&audit(&world, &["--json"]).await, 1);
    assert_eq!(classes(&found), BTreeMap::from([("A-10", "duplicate_key"), ("Z-99", "stranger")]));
    assert_eq!(summary["settling"], 250);
}
