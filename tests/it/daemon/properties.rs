//! The unique property is verified before the first create. If it cannot be used, no course is sent.

use serde_json::json;
use simulator::{Answer, Fault, Operation};

use crate::support::eventually::eventually;
use crate::support::http::http_client;
use crate::support::world::{UNIQUE_PROPERTY, World};

async fn assert_paused(world: &World, daemon: &crate::support::daemon::Daemon, expected_text: &str) {
    eventually("sending is paused", async || {
        match daemon.metric("course_sync_paused{reason=\"schema\"}").await {
            value if value == "1" => Ok(()),
            value => Err(value),
        }
    })
    .await;
    assert!(daemon.log().contains(expected_text), "{}", daemon.log());
    assert_eq!(world.create_requests(), 0, "a create request was sent");
    assert_eq!(world.counts().await.get("pending"), Some(&10));
}

async fn world_with_other_property(unique: bool) -> World {
    let mut world = World::new().await;
    world
        .create_property(&json!({
            "groupName": "course_information", "name": "other", "label": "Other", "type": "string", "fieldType": "text",
            "hasUniqueValue": unique,
        }))
        .await;
    world.set("HUBSPOT__UNIQUE_PROPERTY", "other");
    world.enqueue_many("A", 10).await;
    world
}

#[tokio::test]
async fn a_missing_unique_property_pauses_sending_until_it_is_created() {
    let mut world = World::new().await;
    world.set("HUBSPOT__UNIQUE_PROPERTY", "not_yet");
    world.enqueue_many("A", 10).await;
    let daemon = world.start_daemon();
    assert_paused(&world, &daemon, "does not exist").await;
    world
        .create_property(&json!({
            "groupName": "course_information", "name": "not_yet", "label": "Key", "type": "string", "fieldType": "text",
            "hasUniqueValue": true,
        }))
        .await;
    world.wait_until_all_are(&["synced"]).await;
    assert_eq!(daemon.metric("course_sync_paused{reason=\"schema\"}").await, "0");
}

#[tokio::test]
async fn a_property_without_unique_values_pauses_sending() {
    let world = world_with_other_property(false).await;
    let daemon = world.start_daemon();
    assert_paused(&world, &daemon, "not unique").await;
}

#[tokio::test]
async fn a_read_only_unique_property_pauses_sending_until_it_is_writable() {
    let world = world_with_other_property(true).await;
    world.hubspot.set_read_only("other", true);
    let daemon = world.start_daemon();
    assert_paused(&world, &daemon, "read-only").await;
    world.hubspot.set_read_only("other", false);
    world.wait_until_all_are(&["synced"]).await;
}

#[tokio::test]
async fn a_unique_property_deleted_while_sending_pauses_and_fails_no_course() {
    let world = World::new().await;
    world.enqueue_many("A", 5).await;
    let daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    let answer = http_client()
        .delete(format!("{}/crm/v3/properties/0-410/{UNIQUE_PROPERTY}", world.hubspot.url()))
        .bearer_auth(&world.settings["HUBSPOT_ACCESS_TOKEN"])
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 204);
    world.enqueue_many("B", 20).await;
    eventually("sending is paused", async || {
        match daemon.metric("course_sync_paused{reason=\"schema\"}").await {
            value if value == "1" => Ok(()),
            value => Err(value),
        }
    })
    .await;
    eventually("the new courses are pending", async || {
        let counts = world.counts().await;
        if counts == [("pending".into(), 20), ("synced".into(), 5)].into() { Ok(()) } else { Err(counts) }
    })
    .await;
}

#[tokio::test]
async fn properties_are_read_once_per_term() {
    let world = World::new().await;
    world.enqueue_many("A", 300).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    assert_eq!(world.received(Operation::PropertyList).len(), 1);
}

#[tokio::test]
async fn nothing_is_sent_with_an_unusable_property_if_the_first_check_is_not_answered() {
    let world = world_with_other_property(false).await;
    world.hubspot.add_fault(Fault::new(Answer::literal(500, "")).on(Operation::PropertyList).times(2));
    let daemon = world.start_daemon();
    assert_paused(&world, &daemon, "not unique").await;
}
