//! `explain`, with the real program.

use serde_json::{Value, json};
use simulator::{Answer, Behaviour, Commit, Fault, Operation};

use super::commands::run_command;
use super::{insert_ended, insert_failed};
use crate::support::eventually::eventually;
use crate::support::world::World;

#[tokio::test]
async fn an_unknown_key_is_reported_with_similar_keys() {
    let world = World::new().await;
    world.enqueue("AAS-201-40507", &json!({})).await;
    world.enqueue("ZZZ", &json!({})).await;
    let output = run_command(&world.settings, &["explain", "AAS-201-40508"]).await;
    output
        .assert_failure(1, &["no course with the key \"AAS-201-40508\"", "did you mean \"AAS-201-40507\"?"]);
    assert!(!output.err.contains("ZZZ"), "{}", output.err);
}

#[tokio::test]
async fn a_refused_course_is_explained_from_its_insert_to_its_remedy() {
    let world = World::new().await;
    world.enqueue("A-1", &json!({ "hs_course_name": "Course A 1", "credits_of_old": "3" })).await;
    let daemon = world.start_daemon();
    world.wait_until_all_are(&["failed"]).await;
    let output = run_command(&world.settings, &["explain", "A-1"]).await.success();
    for words in [
        "A-1: failed, sent once: ",
        "enqueued",
        "sent as a single course: HubSpot answered 207 (rejected, correlation id ",
        "failed: VALIDATION_ERROR PROPERTY_DOESNT_EXIST (credits_of_old): ",
        "nothing, until the catalogue corrects it or an operator retries it",
        "create the property `credits_of_old` in HubSpot",
        "course-sync retry --key A-1",
    ] {
        assert!(output.contains(words), "{words:?} in {output}");
    }
    let output = run_command(&world.settings, &["explain", "A-1", "--json"]).await.success();
    let output: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((&output["state"], &output["course"]["key"]), (&json!("failed"), &json!("A-1")));
    assert_eq!(output["requests"][0]["operation"], "create");
    assert_eq!(output["events"][0]["event"], "failed");
    assert!(output["happened"].as_array().is_some_and(|steps| steps.len() == 3), "{output}");
    drop(daemon);
}

#[tokio::test]
async fn control_characters_are_removed() {
    let world = World::new().await;
    let evil = json!({ "category": "refused", "message": "\u{1b}[2Jgone\r\nforged line" });
    insert_ended(&world, "failed", "A\u{1b}[31m-1", evil).await;
    let output = run_command(&world.settings, &["explain", "A\u{1b}[31m-1"]).await.success();
    assert!(output.contains("gone  forged line"), "{output}");
    assert!(!output.contains(['\u{1b}', '\r']), "{output}");
}

#[tokio::test]
async fn a_pause_and_a_missing_daemon_are_shown() {
    let world = World::new().await;
    world.enqueue_many("A", 1).await;
    let output = run_command(&world.settings, &["explain", "A-1"]).await.success();
    assert!(output.contains("not sent yet") && output.contains("start `course-sync run`"), "{output}");
    run_command(&world.settings, &["pause", "--reason", "stocktaking"]).await.success();
    let output = run_command(&world.settings, &["explain", "A-1"]).await.success();
    assert!(output.contains("operator (stocktaking)") && output.contains("course-sync resume"), "{output}");
}

#[tokio::test]
async fn hubspot_is_searched_for_a_held_course() {
    let behaviour = Behaviour { search_lag_ms: 0, ..Behaviour::default() };
    let mut world = World::with(false, behaviour).await;
    world.set("HUBSPOT__REQUEST_TIMEOUT", "400ms");
    world.set("HUBSPOT__CONNECT_TIMEOUT", "200ms");
    let lost = Fault::new(Answer::Hang).committing(Commit::Yes).on(Operation::BatchCreate).times(2);
    world.hubspot.add_fault(lost);
    world.enqueue_many("A", 2).await;
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["unconfirmed"]).await;
    assert!(daemon.stop().await.success());
    let held = eventually("the record is found", async || {
        let output = run_command(&world.settings, &["explain", "A-1", "--json"]).await.success();
        let output: Value = serde_json::from_str(&output).unwrap();
        if output["candidates"][0].is_object() { Ok(output) } else { Err(output) }
    })
    .await;
    assert_eq!(held["state"], "held");
    assert_eq!(held["candidates"][0]["name"], "Course A 1");
    let id = held["candidates"][0]["id"].as_str().unwrap();
    let output = run_command(&world.settings, &["explain", "A-1"]).await.success();
    assert!(output.contains("hints, not proof") && output.contains(id), "{output}");
    assert!(output.contains("course-sync resolve A-1 --hubspot-id ID"), "{output}");
    assert_eq!(world.row("A-1").await.status, "unconfirmed", "nothing is concluded from a search");

    let mut without_token = world.settings.clone();
    without_token.remove("HUBSPOT_ACCESS_TOKEN");
    let output = run_command(&without_token, &["explain", "A-1"]).await.success();
    assert!(!output.contains("hints"), "{output}");
    world.hubspot.set_token("another");
    let output = run_command(&world.settings, &["explain", "A-1"]).await.success();
    assert!(output.contains("records with the same name failed: HubSpot answered 401"), "{output}");
}

#[tokio::test]
async fn a_name_with_quotation_marks_is_found_by_one_of_its_words() {
    let behaviour = Behaviour { search_lag_ms: 0, ..Behaviour::default() };
    let mut world = World::with(false, behaviour).await;
    world.set("HUBSPOT__REQUEST_TIMEOUT", "400ms");
    world.set("HUBSPOT__CONNECT_TIMEOUT", "200ms");
    let lost = Fault::new(Answer::Hang).committing(Commit::Yes).on(Operation::BatchCreate).times(1);
    world.hubspot.add_fault(lost);
    let name = "Introduction to \"C++\"";
    world.enqueue("A-1", &json!({ "hs_course_name": name })).await;
    world.enqueue("A-2", &json!({ "hs_course_name": "Introduction to C" })).await;
    let mut daemon = world.start_daemon();
    eventually("the first is held", async || {
        let row = world.row("A-1").await;
        if row.status == "unconfirmed" { Ok(()) } else { Err(row.status) }
    })
    .await;
    assert!(daemon.stop().await.success());
    let held = eventually("the record is found", async || {
        let report = run_command(&world.settings, &["explain", "A-1", "--json"]).await.success();
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["candidates_error"], Value::Null, "{report:#}");
        if report["candidates"][0].is_object() { Ok(report) } else { Err(report) }
    })
    .await;
    let candidates = held["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 1, "{candidates:?}");
    assert_eq!(candidates[0]["name"], name);
}

#[tokio::test]
async fn an_adopted_record_is_shown_with_the_look_up_that_found_it() {
    let world = World::new().await;
    let properties = [("hs_course_name", "By hand"), (crate::support::world::UNIQUE_PROPERTY, "A-1")];
    world.hubspot.create_record(properties.map(|(name, value)| (name.into(), value.into())).into());
    world.enqueue_many("A", 2).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    let output = run_command(&world.settings, &["explain", "A-1"]).await.success();
    for words in [
        "which already had its key",
        "outcome unknown: CONFLICT",
        "looked up in HubSpot",
        "adopted: HubSpot already had a record",
    ] {
        assert!(output.contains(words), "{words:?} in {output}");
    }
}

#[tokio::test]
async fn a_failed_course_is_explained_without_a_request() {
    let world = World::new().await;
    insert_failed(&world, "A-1").await;
    run_command(&world.settings, &["explain", "A-1"]).await.success();
    assert!(world.hubspot.journal().is_empty());
}
