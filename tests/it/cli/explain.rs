//! `explain`: the life of one course, by the real program.

use course_sync::simulator::{Answer, Behaviour, Commit, Fault, Operation};
use serde_json::{Value, json};

use super::commands::said;
use super::{ended, failed};
use crate::support::eventually::eventually;
use crate::support::world::World;

#[tokio::test]
async fn an_unknown_key_is_named_with_those_that_are_like_it() {
    let world = World::new().await;
    world.enqueue("AAS-201-40507", &json!({})).await;
    world.enqueue("ZZZ", &json!({})).await;
    let told = said(&world.settings, &["explain", "AAS-201-40508"]).await;
    told.failed(1, &["no course with the key \"AAS-201-40508\"", "did you mean \"AAS-201-40507\"?"]);
    assert!(!told.err.contains("ZZZ"), "{}", told.err);
}

#[tokio::test]
async fn a_refused_course_is_told_from_its_insert_to_its_mend() {
    let world = World::new().await;
    world.enqueue("A-1", &json!({ "hs_course_name": "Course A 1", "credits_of_old": "3" })).await;
    let daemon = world.daemon();
    world.all_are(&["failed"]).await;
    let told = said(&world.settings, &["explain", "A-1"]).await.fine();
    for words in [
        "A-1: failed, sent once: ",
        "enqueued",
        "sent alone: HubSpot answered 207 (rejected, correlation id ",
        "failed: VALIDATION_ERROR PROPERTY_DOESNT_EXIST (credits_of_old): ",
        "nothing, until a person puts it back",
        "create the property `credits_of_old` in HubSpot",
        "course-sync retry --key A-1",
    ] {
        assert!(told.contains(words), "{words:?} in {told}");
    }
    let told = said(&world.settings, &["explain", "A-1", "--json"]).await.fine();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["state"], &told["course"]["key"]), (&json!("failed"), &json!("A-1")));
    assert_eq!(told["requests"][0]["operation"], "create");
    assert_eq!(told["events"][0]["event"], "failed");
    assert!(told["happened"].as_array().is_some_and(|steps| steps.len() == 3), "{told}");
    drop(daemon);
}

#[tokio::test]
async fn nothing_from_outside_moves_the_cursor() {
    let world = World::new().await;
    let evil = json!({ "category": "refused", "message": "\u{1b}[2Jgone\r\nforged line" });
    ended(&world, "failed", "A\u{1b}[31m-1", evil).await;
    let told = said(&world.settings, &["explain", "A\u{1b}[31m-1"]).await.fine();
    assert!(told.contains("gone  forged line"), "{told}");
    assert!(!told.contains(['\u{1b}', '\r']), "{told}");
}

#[tokio::test]
async fn a_paused_account_and_a_missing_daemon_are_told() {
    let world = World::new().await;
    world.enqueue_many("A", 1).await;
    let told = said(&world.settings, &["explain", "A-1"]).await.fine();
    assert!(told.contains("not sent yet") && told.contains("start `course-sync run`"), "{told}");
    said(&world.settings, &["pause", "--reason", "stocktaking"]).await.fine();
    let told = said(&world.settings, &["explain", "A-1"]).await.fine();
    assert!(told.contains("operator (stocktaking)") && told.contains("course-sync resume"), "{told}");
}

#[tokio::test]
async fn for_a_held_course_hubspot_is_searched_and_the_finds_are_hints() {
    let behaviour = Behaviour { search_lag_ms: 0, ..Behaviour::default() };
    let mut world = World::with(false, behaviour).await;
    world.set("HUBSPOT__REQUEST_TIMEOUT", "400ms");
    world.set("HUBSPOT__CONNECT_TIMEOUT", "200ms");
    let lost = Fault::new(Answer::Hang).committing(Commit::Yes).on(Operation::BatchCreate).times(2);
    world.hubspot.add_fault(lost);
    world.enqueue_many("A", 2).await;
    let mut daemon = world.daemon();
    world.all_are(&["unconfirmed"]).await;
    assert!(daemon.stop().await.success());
    let held = eventually("the record is found", async || {
        let told = said(&world.settings, &["explain", "A-1", "--json"]).await.fine();
        let told: Value = serde_json::from_str(&told).unwrap();
        if told["candidates"][0].is_object() { Ok(told) } else { Err(told) }
    })
    .await;
    assert_eq!(held["state"], "held");
    assert_eq!(held["candidates"][0]["name"], "Course A 1");
    let id = held["candidates"][0]["id"].as_str().unwrap();
    let told = said(&world.settings, &["explain", "A-1"]).await.fine();
    assert!(told.contains("hints, no proof") && told.contains(id), "{told}");
    assert!(told.contains("course-sync resolve A-1 --hubspot-id ID"), "{told}");
    assert_eq!(world.row("A-1").await.status, "unconfirmed", "nothing is concluded from a search");

    let mut without_token = world.settings.clone();
    without_token.remove("HUBSPOT_ACCESS_TOKEN");
    let told = said(&without_token, &["explain", "A-1"]).await.fine();
    assert!(!told.contains("hints"), "{told}");
    world.hubspot.set_token("another");
    let told = said(&world.settings, &["explain", "A-1"]).await.fine();
    assert!(told.contains("could not be asked for candidates: HubSpot answered 401"), "{told}");
}

#[tokio::test]
async fn a_name_with_quotation_marks_is_found_by_a_word_of_it() {
    let behaviour = Behaviour { search_lag_ms: 0, ..Behaviour::default() };
    let mut world = World::with(false, behaviour).await;
    world.set("HUBSPOT__REQUEST_TIMEOUT", "400ms");
    world.set("HUBSPOT__CONNECT_TIMEOUT", "200ms");
    let lost = Fault::new(Answer::Hang).committing(Commit::Yes).on(Operation::BatchCreate).times(1);
    world.hubspot.add_fault(lost);
    let name = "Introduction to \"C++\"";
    world.enqueue("A-1", &json!({ "hs_course_name": name })).await;
    world.enqueue("A-2", &json!({ "hs_course_name": "Introduction to C" })).await;
    let mut daemon = world.daemon();
    eventually("the first is held", async || {
        let row = world.row("A-1").await;
        if row.status == "unconfirmed" { Ok(()) } else { Err(row.status) }
    })
    .await;
    assert!(daemon.stop().await.success());
    let held = eventually("the record is found", async || {
        let report = said(&world.settings, &["explain", "A-1", "--json"]).await.fine();
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
async fn an_adopted_record_is_told_as_such_with_the_look_that_found_it() {
    let world = World::new().await;
    let properties = [("hs_course_name", "By hand"), (crate::support::world::UNIQUE, "A-1")];
    world.hubspot.create_record(properties.map(|(name, value)| (name.into(), value.into())).into());
    world.enqueue_many("A", 2).await;
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
    let told = said(&world.settings, &["explain", "A-1"]).await.fine();
    for words in [
        "which carried its key already",
        "in doubt: CONFLICT",
        "looked up in HubSpot",
        "taken for this course",
    ] {
        assert!(told.contains(words), "{words:?} in {told}");
    }
}

#[tokio::test]
async fn a_failed_course_costs_hubspot_nothing_to_explain() {
    let world = World::new().await;
    failed(&world, "A-1").await;
    said(&world.settings, &["explain", "A-1"]).await.fine();
    assert!(world.hubspot.journal().is_empty());
}
