//! `failures`: groups and list, with the real program.

use serde_json::{Value, json};

use super::commands::run_command;
use super::{insert_ended, insert_failed};
use crate::support::world::World;

async fn world_with_failures() -> World {
    let world = World::new().await;
    for key in ["A-1", "A-2", "A-3"] {
        insert_failed(&world, key).await;
    }
    insert_ended(
        &world,
        "failed",
        "B-1",
        json!({ "category": "too_large", "message": "too\u{1b}[1m large" }),
    )
    .await;
    insert_ended(
        &world,
        "unconfirmed",
        "C-1",
        json!({ "category": "unknown_outcome", "message": "no answer" }),
    )
    .await;
    world
}

#[tokio::test]
async fn groups_are_printed_before_courses() {
    let world = world_with_failures().await;
    let output = run_command(&world.settings, &["failures"]).await.success();
    let at = |words: &str| output.find(words).unwrap_or_else(|| panic!("{words:?} in {output}"));
    assert!(output.starts_with("failed 4, unconfirmed 1\n"), "{output}");
    assert!(
        at("\n3 failed VALIDATION_ERROR PROPERTY_DOESNT_EXIST colour") < at("create the property `colour`")
    );
    assert!(at("for example A-3\n") < at("\nfailed B-1: too_large"), "{output}");
    assert!(
        at("\nfailed B-1") < at("\nfailed A-3") && at("\nfailed A-1") < at("\nunconfirmed C-1"),
        "{output}"
    );
    assert!(!output.contains('\u{1b}'), "{output}");
}

#[tokio::test]
async fn category_and_limit_filter_the_courses() {
    let world = world_with_failures().await;
    let arguments = ["failures", "--category", "validation_error", "--limit", "2", "--json"];
    let output: Value =
        serde_json::from_str(&run_command(&world.settings, &arguments).await.success()).unwrap();
    assert_eq!((&output["failed"], &output["unconfirmed"]), (&json!(4), &json!(1)));
    assert_eq!(output["groups"].as_array().unwrap().len(), 1);
    assert_eq!(output["groups"][0]["courses"], 3);
    let keys: Vec<_> = output["courses"].as_array().unwrap().iter().map(|it| it["key"].clone()).collect();
    assert_eq!(keys, [json!("A-3"), json!("A-2")]);
    let wrong = run_command(&world.settings, &["failures", "--category", "nonsense"]).await;
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("expected one of: VALIDATION_ERROR, CONFLICT"), "{}", wrong.err);
}

#[tokio::test]
async fn no_failures_are_reported_as_zero() {
    let world = World::new().await;
    assert_eq!(run_command(&world.settings, &["failures"]).await.success(), "failed 0, unconfirmed 0\n");
}
