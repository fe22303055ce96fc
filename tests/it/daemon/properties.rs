//! The unique property is verified before anything is sent; no course pays for one that cannot be used.

use course_sync::simulator::Operation;
use serde_json::json;

use crate::support::eventually::eventually;
use crate::support::world::{UNIQUE, World};

async fn is_paused(world: &World, daemon: &crate::support::daemon::Daemon, words: &str) {
    eventually("sending is paused", async || {
        match daemon.metric("course_sync_paused{reason=\"schema\"}").await {
            value if value == "1" => Ok(()),
            value => Err(value),
        }
    })
    .await;
    assert!(daemon.log().contains(words), "{}", daemon.log());
    assert_eq!(world.creates(), 0, "a create was spent on it");
    assert_eq!(world.counts().await.get("pending"), Some(&10));
}

async fn other_property(unique: bool) -> World {
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
async fn one_that_is_missing_pauses_until_it_is_there() {
    let mut world = World::new().await;
    world.set("HUBSPOT__UNIQUE_PROPERTY", "not_yet");
    world.enqueue_many("A", 10).await;
    let daemon = world.daemon();
    is_paused(&world, &daemon, "does not exist").await;
    world
        .create_property(&json!({
            "groupName": "course_information", "name": "not_yet", "label": "Key", "type": "string", "fieldType": "text",
            "hasUniqueValue": true,
        }))
        .await;
    world.all_are(&["synced"]).await;
    assert_eq!(daemon.metric("course_sync_paused{reason=\"schema\"}").await, "0");
}

#[tokio::test]
async fn one_whose_values_are_not_unique_pauses() {
    let world = other_property(false).await;
    let daemon = world.daemon();
    is_paused(&world, &daemon, "not unique").await;
}

#[tokio::test]
async fn one_that_is_read_only_pauses_until_it_is_not() {
    let world = other_property(true).await;
    world.hubspot.set_read_only("other", true);
    let daemon = world.daemon();
    is_paused(&world, &daemon, "read-only").await;
    world.hubspot.set_read_only("other", false);
    world.all_are(&["synced"]).await;
}

#[tokio::test]
async fn one_that_goes_while_courses_are_sent_pauses_and_fails_none() {
    let world = World::new().await;
    world.enqueue_many("A", 5).await;
    let daemon = world.daemon();
    world.all_are(&["synced"]).await;
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .delete(format!("{}/crm/v3/properties/0-410/{UNIQUE}", world.hubspot.url()))
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
    eventually("all of them are pending", async || {
        let counts = world.counts().await;
        if counts == [("pending".into(), 20), ("synced".into(), 5)].into() { Ok(()) } else { Err(counts) }
    })
    .await;
}

#[tokio::test]
async fn it_is_read_once_in_a_term() {
    let world = World::new().await;
    world.enqueue_many("A", 300).await;
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
    assert_eq!(world.received(Operation::PropertyList).len(), 1);
}
