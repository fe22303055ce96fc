//! Courses that HubSpot refuses: they fail with its own words, and the good ones pass.

use course_sync::simulator::{Behaviour, CoursesState, PropertyType};
use serde_json::json;

use crate::support::eventually::eventually;
use crate::support::world::World;

/// A few good courses and one of each bad kind.
async fn spoiled(behaviour: Behaviour) -> World {
    let world = World::with(true, behaviour).await;
    world.create_format().await;
    world.enqueue_many("A", 30).await;
    let bad = [
        ("no-property", json!({ "hs_course_name": "x", "credits_of_old": "3" })),
        ("no-number", json!({ "hs_course_name": "x", "hs_enrollment_capacity": "many" })),
        ("no-option", json!({ "hs_course_name": "x", "format": "by post" })),
        ("no-name", json!({ "hs_course_description": "x" })),
        ("read-only", json!({ "hs_course_name": "x", "hs_object_id": "7" })),
    ];
    for (key, properties) in &bad {
        world.enqueue(key, properties).await;
    }
    world.enqueue_many("B", 30).await;
    world
}

async fn judge(world: &World) {
    world.all_are(&["synced", "failed"]).await;
    world.audit().await;
    let rows = world.rows().await;
    let failed: Vec<_> =
        rows.iter().filter(|row| row.status == "failed").map(|row| row.course_key.as_str()).collect();
    assert_eq!(failed, ["no-property", "no-number", "no-option", "no-name", "read-only"]);
    for (key, code, property, words) in [
        ("no-property", "PROPERTY_DOESNT_EXIST", "credits_of_old", "does not exist"),
        ("no-number", "INVALID_", "hs_enrollment_capacity", "was not a valid"),
        ("no-option", "INVALID_OPTION", "format", "allowed options"),
        ("no-name", "", "hs_course_name", "required properties were not set"),
        ("read-only", "READ_ONLY_VALUE", "hs_object_id", "read only"),
    ] {
        let row = rows.iter().find(|row| row.course_key == key).unwrap();
        assert_eq!(row.error("category"), "VALIDATION_ERROR", "{row:?}");
        assert!(row.error("message").contains(words), "{key}: {row:?}");
        if !code.is_empty() {
            assert!(row.error("code").starts_with(code), "{key}: {row:?}");
        }
        assert_eq!(row.error("property"), property, "{row:?}");
        assert!(!row.error("correlation_id").is_empty());
        assert!(!row.error("at").is_empty());
    }
}

#[tokio::test]
async fn named_one_by_one_they_cost_no_further_request() {
    let world = spoiled(Behaviour::default()).await;
    let _daemon = world.daemon();
    judge(&world).await;
    // A term begins with one course, then ten.
    assert_eq!(world.creates(), 3);
    assert!(world.rows().await.iter().all(|row| row.attempts == 1));
}

#[tokio::test]
async fn named_by_nobody_they_are_isolated() {
    let world = spoiled(Behaviour { name_inputs: false, ..Behaviour::default() }).await;
    let mut daemon = world.daemon();
    world.all_are(&["synced", "failed"]).await;
    world.audit().await;
    assert!(daemon.stop().await.success());
    let rows = world.rows().await;
    assert_eq!(rows.iter().filter(|row| row.status == "failed").count(), 5);
    assert!(rows.iter().all(|row| row.status == "failed" || row.faults == 0), "the innocent bear no fault");
}

#[tokio::test]
async fn a_course_that_contradicts_its_own_key_is_failed_unsent() {
    let world = World::new().await;
    world.enqueue("A-1", &json!({ "hs_course_name": "Course A 1" })).await;
    world.enqueue("A-2", &json!({ "hs_course_name": "Course A 2", "course_sync_key": "A-9" })).await;
    let _daemon = world.daemon();
    world.all_are(&["synced", "failed"]).await;
    let row = world.row("A-2").await;
    assert_eq!((row.status.as_str(), row.error("category").as_str()), ("failed", "invalid_row"));
    assert!(row.error("message").contains("course_sync_key"));
    assert_eq!(row.attempts, 0);
    assert_eq!(world.hubspot.records().len(), 1);
}

/// The account is at fault: no course is, and all is well once it is mended.
async fn account_stops(reason: &str, breaks: impl Fn(&World), mends: impl Fn(&World)) {
    let mut world = World::new().await;
    world.set("RETRY__MAX_ATTEMPTS", "1");
    world.enqueue_many("A", 150).await;
    breaks(&world);
    let mut daemon = world.daemon();
    let admin = daemon.admin().await;
    let not_ready = eventually("the daemon is not ready", async || {
        let answer = reqwest::get(format!("{admin}/readyz")).await.unwrap();
        if answer.status() == 503 { Ok(answer.text().await.unwrap()) } else { Err(answer.status()) }
    })
    .await;
    assert!(not_ready.contains(&format!("\"{reason}\"")), "{not_ready}");
    assert_eq!(daemon.metric(&format!("course_sync_paused{{reason=\"{reason}\"}}")).await, "1");
    mends(&world);
    world.all_are(&["synced"]).await;
    world.audit().await;
    let ready = reqwest::get(format!("{admin}/readyz")).await.unwrap();
    assert_eq!(ready.status(), 200);
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_refused_token_stops_the_account_and_no_course() {
    account_stops(
        "token",
        |world| world.hubspot.set_token("another"),
        |world| world.hubspot.set_token("pat-na1-simulator"),
    )
    .await;
}

#[tokio::test]
async fn a_missing_scope_stops_the_account_and_no_course() {
    account_stops(
        "scopes",
        |world| world.hubspot.set_scopes(std::collections::BTreeSet::new()),
        |world| world.hubspot.set_scopes(course_sync::simulator::Settings::default().scopes),
    )
    .await;
}

#[tokio::test]
async fn courses_that_are_not_switched_on_stop_the_account_and_no_course() {
    account_stops(
        "object_type",
        |world| world.hubspot.change_behaviour(|it| it.courses = CoursesState::Unknown),
        |world| world.hubspot.change_behaviour(|it| it.courses = CoursesState::Active),
    )
    .await;
}

#[tokio::test]
async fn a_missing_unique_property_stops_the_account_and_no_course() {
    let mut world = World::with(false, Behaviour::default()).await;
    world.set("HUBSPOT__UNIQUE_PROPERTY", crate::support::world::UNIQUE);
    world.enqueue_many("A", 20).await;
    let daemon = world.daemon();
    daemon.logged("\"schema\"").await;
    assert!(world.rows().await.iter().all(|row| row.status == "pending" || row.status == "in_flight"));
    world.hubspot.create_property(crate::support::world::UNIQUE, PropertyType::String, true);
    world.all_are(&["synced"]).await;
    world.audit().await;
}
