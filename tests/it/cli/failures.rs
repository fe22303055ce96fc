//! `failures`: groups and list, by the real program.

use serde_json::{Value, json};

use super::commands::said;
use super::{ended, failed};
use crate::support::world::World;

async fn some() -> World {
    let world = World::new().await;
    for key in ["A-1", "A-2", "A-3"] {
        failed(&world, key).await;
    }
    ended(&world, "failed", "B-1", json!({ "category": "too_large", "message": "too\u{1b}[1m large" })).await;
    ended(&world, "unconfirmed", "C-1", json!({ "category": "unknown_outcome", "message": "no answer" }))
        .await;
    world
}

#[tokio::test]
async fn groups_come_first_then_the_courses() {
    let world = some().await;
    let told = said(&world.settings, &["failures"]).await.fine();
    let at = |words: &str| told.find(words).unwrap_or_else(|| panic!("{words:?} in {told}"));
    assert!(told.starts_with("failed 4, unconfirmed 1\n"), "{told}");
    assert!(
        at("\n3 failed VALIDATION_ERROR PROPERTY_DOESNT_EXIST colour") < at("create the property `colour`")
    );
    assert!(at("such as A-3\n") < at("\nfailed B-1: too_large"), "{told}");
    assert!(
        at("\nfailed B-1") < at("\nfailed A-3") && at("\nfailed A-1") < at("\nunconfirmed C-1"),
        "{told}"
    );
    assert!(!told.contains('\u{1b}'), "{told}");
}

#[tokio::test]
async fn a_category_and_a_limit_narrow_it_down() {
    let world = some().await;
    let arguments = ["failures", "--category", "validation_error", "--limit", "2", "--json"];
    let told: Value = serde_json::from_str(&said(&world.settings, &arguments).await.fine()).unwrap();
    assert_eq!((&told["failed"], &told["unconfirmed"]), (&json!(4), &json!(1)));
    assert_eq!(told["groups"].as_array().unwrap().len(), 1);
    assert_eq!(told["groups"][0]["courses"], 3);
    let keys: Vec<_> = told["courses"].as_array().unwrap().iter().map(|it| it["key"].clone()).collect();
    assert_eq!(keys, [json!("A-3"), json!("A-2")]);
    let wrong = said(&world.settings, &["failures", "--category", "nonsense"]).await;
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("expected one of: VALIDATION_ERROR, CONFLICT"), "{}", wrong.err);
}

#[tokio::test]
async fn none_is_said_to_be_none() {
    let world = World::new().await;
    assert_eq!(said(&world.settings, &["failures"]).await.fine(), "failed 0, unconfirmed 0\n");
}
