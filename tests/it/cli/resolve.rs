//! `resolve`: a person's word on a course in doubt, by the real program.

use course_sync::simulator::{Answer, Behaviour, Commit, Fault, Operation};
use serde_json::{Value, json};

use super::commands::said;
use crate::support::world::World;

/// Two courses that are held: HubSpot may have created both, and nothing can tell.
async fn held(commit: Commit) -> World {
    let mut world = World::with(false, Behaviour::default()).await;
    world.set("HUBSPOT__REQUEST_TIMEOUT", "400ms");
    world.set("HUBSPOT__CONNECT_TIMEOUT", "200ms");
    let lost = Fault::new(Answer::Hang).committing(commit).on(Operation::BatchCreate).times(2);
    world.hubspot.add_fault(lost);
    world.enqueue_many("A", 2).await;
    let mut daemon = world.daemon();
    world.all_are(&["unconfirmed"]).await;
    assert!(daemon.stop().await.success());
    world
}

/// The record of this name.
fn record(world: &World, name: &str) -> String {
    let records = world.hubspot.records();
    let found = records.iter().find(|record| record.properties["hs_course_name"] == name);
    found.expect("the record is there").id.to_string()
}

async fn oldest_doubt(world: &World) -> Value {
    let status: Value =
        serde_json::from_str(&said(&world.settings, &["status", "--json"]).await.fine()).unwrap();
    status["oldest_unconfirmed_seconds"].clone()
}

#[tokio::test]
async fn a_record_that_is_there_settles_it_and_the_last_one_the_request() {
    let world = held(Commit::Yes).await;
    let (one, two) = (record(&world, "Course A 1"), record(&world, "Course A 2"));
    let told = said(&world.settings, &["resolve", "A-1", "--hubspot-id", &one]).await.fine();
    assert_eq!(told, format!("A-1: synced as HubSpot's record {one} \"Course A 1\"\n"));
    assert!(oldest_doubt(&world).await.is_number(), "the other is still in doubt");
    let taken = said(&world.settings, &["resolve", "A-2", "--hubspot-id", &one]).await;
    taken.failed(1, &["A-2 is left as it is", "already the course \"A-1\""]);
    said(&world.settings, &["resolve", "A-2", "--hubspot-id", &two]).await.fine();
    assert!(oldest_doubt(&world).await.is_null());
    world.audit().await;
    let told = said(&world.settings, &["explain", "A-2"]).await.fine();
    assert!(told.contains("settled by a person") && told.contains("as a person said"), "{told}");
    let again = said(&world.settings, &["resolve", "A-2", "--hubspot-id", &two]).await;
    again.failed(1, &["already the course \"A-2\""]);
}

#[tokio::test]
async fn a_record_that_is_not_there_changes_nothing() {
    let world = held(Commit::Yes).await;
    let one = record(&world, "Course A 1");
    for (id, code, words) in
        [("999", 1, "no live course record 999"), ("12 or so", 2, "no id of a HubSpot record")]
    {
        said(&world.settings, &["resolve", "A-1", "--hubspot-id", id]).await.failed(code, &[words]);
    }
    let mut without_token = world.settings.clone();
    without_token.remove("HUBSPOT_ACCESS_TOKEN");
    let unasked = said(&without_token, &["resolve", "A-1", "--hubspot-id", &one]).await;
    unasked.failed(1, &["without a token", "--unverified"]);
    world.hubspot.set_token("another");
    let unasked = said(&world.settings, &["resolve", "A-1", "--hubspot-id", &one]).await;
    unasked.failed(1, &["could not be asked", "401", "--unverified"]);
    assert_eq!(world.row("A-1").await.status, "unconfirmed");
    let unasked_for = ["resolve", "A-1", "--hubspot-id", &one, "--unverified"];
    let told = said(&world.settings, &unasked_for).await.fine();
    assert!(told.contains("HubSpot was not asked"), "{told}");
    assert_eq!(world.row("A-1").await.hubspot_id, Some(one));
}

#[tokio::test]
async fn what_was_not_created_is_sent_again() {
    let world = held(Commit::No).await;
    let told = said(&world.settings, &["resolve", "A-1", "A-2", "--not-created"]).await.fine();
    assert_eq!(told, "A-1: pending, and sent again\nA-2: pending, and sent again\n");
    assert!(oldest_doubt(&world).await.is_null());
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
    world.audit().await;
    let events: Vec<String> =
        sqlx::query_scalar("select event from course_sync_history where course_key = 'A-1' order by id")
            .fetch_all(world.pool())
            .await
            .unwrap();
    assert_eq!(events, ["unconfirmed", "resolved"]);
}

#[tokio::test]
async fn a_script_reads_what_became_of_each_and_one_that_is_left_stops_no_other() {
    let world = held(Commit::Yes).await;
    let (one, read) =
        (record(&world, "Course A 1"), |text: &str| serde_json::from_str::<Value>(text).unwrap());
    let told = said(&world.settings, &["resolve", "A-1", "--hubspot-id", &one, "--json"]).await.fine();
    let synced =
        json!({ "key": "A-1", "outcome": "synced", "hubspot_id": one, "hubspot_name": "Course A 1" });
    assert_eq!(read(&told), json!({ "courses": [synced] }));
    let told = said(&world.settings, &["resolve", "A-1", "A-9", "A-2", "--not-created", "--json"]).await;
    assert_eq!((told.code, told.err.as_str()), (Some(1), ""));
    let courses = json!([
        { "key": "A-1", "outcome": "left", "why": "it is synced, not unconfirmed" },
        { "key": "A-9", "outcome": "left",
          "why": "the outbox holds no course with the key \"A-9\"" },
        { "key": "A-2", "outcome": "pending" },
    ]);
    assert_eq!(read(&told.out)["courses"], courses);
    assert_eq!(world.row("A-2").await.status, "pending");
}

#[tokio::test]
async fn only_doubts_are_settled_and_not_while_their_request_may_be_under_way() {
    let world = held(Commit::No).await;
    sqlx::query("update course_sync_batch set answered_at = null, send_by = now() + interval '1 minute'")
        .execute(world.pool())
        .await
        .unwrap();
    let told = said(&world.settings, &["resolve", "A-1", "--not-created"]).await;
    told.failed(1, &["A-1 is left as it is", "may still be under way; try again after"]);
    world.enqueue_many("B", 1).await;
    let told = said(&world.settings, &["resolve", "B-1", "--not-created"]).await;
    told.failed(1, &["it is pending, not unconfirmed"]);
    said(&world.settings, &["resolve", "B-9", "--not-created"]).await.failed(1, &["no course with the key"]);
    let silent = said(&world.settings, &["resolve", "A-1"]).await;
    assert_eq!(silent.code, Some(2));
    assert!(silent.err.contains("--hubspot-id") && silent.err.contains("--not-created"), "{}", silent.err);
}
