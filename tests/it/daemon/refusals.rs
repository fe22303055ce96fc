//! Courses that HubSpot refuses fail with HubSpot's error, and valid courses pass.

use serde_json::json;
use simulator::{Behaviour, CoursesState, PropertyType};

use crate::support::eventually::eventually;
use crate::support::http::http_get;
use crate::support::world::World;

/// A world with some valid courses and one course of each invalid kind.
async fn world_with_bad_courses(behaviour: Behaviour) -> World {
    let world = World::with(true, behaviour).await;
    world.create_format().await;
    world.enqueue_many("A", 30).await;
    let bad = [
        ("no-property", json!({ "hs_course_name": "x", "old_credits": "3" })),
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

async fn check_failures(world: &World) {
    world.wait_until_all_are(&["synced", "failed"]).await;
    world.audit().await;
    let rows = world.rows().await;
    let failed: Vec<_> =
        rows.iter().filter(|row| row.status == "failed").map(|row| row.course_key.as_str()).collect();
    assert_eq!(failed, ["no-property", "no-number", "no-option", "no-name", "read-only"]);
    for (key, code, property, text) in [
        ("no-property", "PROPERTY_DOESNT_EXIST", "old_credits", "does not exist"),
        ("no-number", "INVALID_", "hs_enrollment_capacity", "was not a valid"),
        ("no-option", "INVALID_OPTION", "format", "allowed options"),
        ("no-name", "", "hs_course_name", "required properties were not set"),
        ("read-only", "READ_ONLY_VALUE", "hs_object_id", "read only"),
    ] {
        let row = rows.iter().find(|row| row.course_key == key).unwrap();
        assert_eq!(row.error("category"), "VALIDATION_ERROR", "{row:?}");
        assert!(row.error("message").contains(text), "{key}: {row:?}");
        if !code.is_empty() {
            assert!(row.error("code").starts_with(code), "{key}: {row:?}");
        }
        assert_eq!(row.error("property"), property, "{row:?}");
        assert!(!row.error("correlation_id").is_empty());
        assert!(!row.error("at").is_empty());
    }
}

#[tokio::test]
async fn named_refusals_need_no_further_request() {
    let world = world_with_bad_courses(Behaviour::default()).await;
    let _daemon = world.start_daemon();
    check_failures(&world).await;
    // A term of the lease begins with batches of one and ten courses.
    assert_eq!(world.create_requests(), 3);
    assert!(world.rows().await.iter().all(|row| row.attempts == 1));
}

#[tokio::test]
async fn unnamed_refusals_are_isolated() {
    let world = world_with_bad_courses(Behaviour { name_inputs: false, ..Behaviour::default() }).await;
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["synced", "failed"]).await;
    world.audit().await;
    assert!(daemon.stop().await.success());
    let rows = world.rows().await;
    assert_eq!(rows.iter().filter(|row| row.status == "failed").count(), 5);
    assert!(
        rows.iter().all(|row| row.status == "failed" || row.faults == 0),
        "a fault was counted for a valid course"
    );
}

#[tokio::test]
async fn a_course_that_contradicts_its_key_fails_unsent() {
    let world = World::new().await;
    world.enqueue("A-1", &json!({ "hs_course_name": "Course A 1" })).await;
    world.enqueue("A-2", &json!({ "hs_course_name": "Course A 2", "course_sync_key": "A-9" })).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced", "failed"]).await;
    let row = world.row("A-2").await;
    assert_eq!((row.status.as_str(), row.error("category").as_str()), ("failed", "invalid_row"));
    assert!(row.error("message").contains("course_sync_key"));
    assert_eq!(row.attempts, 0);
    assert_eq!(world.hubspot.records().len(), 1);
}

/// Checks that an error of the account pauses sending, fails no course, and that sending resumes after the repair.
async fn check_account_pause(reason: &str, break_account: impl Fn(&World), repair_account: impl Fn(&World)) {
    let mut world = World::new().await;
    world.set("RETRY__MAX_ATTEMPTS", "1");
    world.enqueue_many("A", 150).await;
    break_account(&world);
    let mut daemon = world.start_daemon();
    let admin = daemon.admin_url().await;
    let not_ready = eventually("the daemon is not ready", async || {
        let answer = http_get(format!("{admin}/readyz")).await.unwrap();
        if answer.status() == 503 { Ok(answer.text().await.unwrap()) } else { Err(answer.status()) }
    })
    .await;
    assert!(not_ready.contains(&format!("\"{reason}\"")), "{not_ready}");
    assert_eq!(daemon.metric(&format!("course_sync_paused{{reason=\"{reason}\"}}")).await, "1");
    repair_account(&world);
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    let ready = http_get(format!("{admin}/readyz")).await.unwrap();
    assert_eq!(ready.status(), 200);
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_refused_token_pauses_sending_and_fails_no_course() {
    check_account_pause(
        "token",
        |world| world.hubspot.set_token("another"),
        |world| world.hubspot.set_token("pat-na1-simulator"),
    )
    .await;
}

#[tokio::test]
async fn a_missing_scope_pauses_sending_and_fails_no_course() {
    check_account_pause(
        "scopes",
        |world| world.hubspot.set_scopes(std::collections::BTreeSet::new()),
        |world| world.hubspot.set_scopes(simulator::Settings::default().scopes),
    )
    .await;
}

#[tokio::test]
async fn a_disabled_course_object_pauses_sending_and_fails_no_course() {
    check_account_pause(
        "object_type",
        |world| world.hubspot.change_behaviour(|it| it.courses = CoursesState::Unknown),
        |world| world.hubspot.change_behaviour(|it| it.courses = CoursesState::Active),
    )
    .await;
}

#[tokio::test]
async fn a_missing_unique_property_pauses_sending_and_fails_no_course() {
    let mut world = World::with(false, Behaviour::default()).await;
    world.set("HUBSPOT__UNIQUE_PROPERTY", crate::support::world::UNIQUE_PROPERTY);
    world.enqueue_many("A", 20).await;
    let daemon = world.start_daemon();
    daemon.wait_for_log("\"schema\"").await;
    assert!(world.rows().await.iter().all(|row| row.status == "pending" || row.status == "in_flight"));
    world.hubspot.create_property(crate::support::world::UNIQUE_PROPERTY, PropertyType::String, true);
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
}
