//! `resolve`: an operator settles an unconfirmed course, with the real program.

use serde_json::{Value, json};
use simulator::{Answer, Behaviour, Commit, Fault, Operation};

use super::commands::run_command;
use crate::support::world::World;

/// Two courses that are held: HubSpot may have created both.
async fn world_with_held_courses(commit: Commit) -> World {
    let mut world = World::with(false, Behaviour::default()).await;
    world.set("HUBSPOT__REQUEST_TIMEOUT", "400ms");
    world.set("HUBSPOT__CONNECT_TIMEOUT", "200ms");
    let lost = Fault::new(Answer::Hang).committing(commit).on(Operation::BatchCreate).times(2);
    world.hubspot.add_fault(lost);
    world.enqueue_many("A", 2).await;
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["unconfirmed"]).await;
    assert!(daemon.stop().await.success());
    world
}

/// The id of the record with this name.
fn record_id(world: &World, name: &str) -> String {
    let records = world.hubspot.records();
    let found = records.iter().find(|record| record.properties["hs_course_name"] == name);
    found.expect("the record is there").id.to_string()
}

async fn oldest_unconfirmed(world: &World) -> Value {
    let status: Value =
        serde_json::from_str(&run_command(&world.settings, &["status", "--json"]).await.success()).unwrap();
    status["oldest_unconfirmed_seconds"].clone()
}

#[tokio::test]
async fn an_existing_record_settles_the_course_and_the_last_course_settles_the_request() {
    let world = world_with_held_courses(Commit::Yes).await;
    let (one, two) = (record_id(&world, "Course A 1"), record_id(&world, "Course A 2"));
    let output = run_command(&world.settings, &["resolve", "A-1", "--hubspot-id", &one]).await.success();
    assert_eq!(output, format!("A-1: synced as HubSpot record {one} \"Course A 1\"\n"));
    assert!(oldest_unconfirmed(&world).await.is_number(), "the other is still unconfirmed");
    let taken = run_command(&world.settings, &["resolve", "A-2", "--hubspot-id", &one]).await;
    taken.assert_failure(1, &["A-2 not changed", "already belongs to course \"A-1\""]);
    run_command(&world.settings, &["resolve", "A-2", "--hubspot-id", &two]).await.success();
    assert!(oldest_unconfirmed(&world).await.is_null());
    world.audit().await;
    let output = run_command(&world.settings, &["explain", "A-2"]).await.success();
    assert!(
        output.contains("settled by an operator") && output.contains("as an operator decided"),
        "{output}"
    );
    let again = run_command(&world.settings, &["resolve", "A-2", "--hubspot-id", &two]).await;
    again.assert_failure(1, &["already belongs to course \"A-2\""]);
}

#[tokio::test]
async fn a_missing_record_changes_nothing() {
    let world = world_with_held_courses(Commit::Yes).await;
    let one = record_id(&world, "Course A 1");
    for (id, code, words) in
        [("999", 1, "no live course record 999"), ("12 or so", 2, "not a HubSpot record id")]
    {
        run_command(&world.settings, &["resolve", "A-1", "--hubspot-id", id])
            .await
            .assert_failure(code, &[words]);
    }
    let mut without_token = world.settings.clone();
    without_token.remove("HUBSPOT_ACCESS_TOKEN");
    let unchecked = run_command(&without_token, &["resolve", "A-1", "--hubspot-id", &one]).await;
    unchecked.assert_failure(1, &["no token is configured", "--unverified"]);
    world.hubspot.set_token("another");
    let unchecked = run_command(&world.settings, &["resolve", "A-1", "--hubspot-id", &one]).await;
    unchecked.assert_failure(1, &["could not be checked", "401", "--unverified"]);
    assert_eq!(world.row("A-1").await.status, "unconfirmed");
    let unverified = ["resolve", "A-1", "--hubspot-id", &one, "--unverified"];
    let output = run_command(&world.settings, &unverified).await.success();
    assert!(output.contains("not checked in HubSpot"), "{output}");
    assert_eq!(world.row("A-1").await.hubspot_id, Some(one));
}

#[tokio::test]
async fn a_course_that_was_not_created_is_sent_again() {
    let world = world_with_held_courses(Commit::No).await;
    let output = run_command(&world.settings, &["resolve", "A-1", "A-2", "--not-created"]).await.success();
    assert_eq!(output, "A-1: set back to pending\nA-2: set back to pending\n");
    assert!(oldest_unconfirmed(&world).await.is_null());
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    let events: Vec<String> =
        sqlx::query_scalar("select event from course_sync_history where course_key = 'A-1' order by id")
            .fetch_all(world.pool())
            .await
            .unwrap();
    assert_eq!(events, ["unconfirmed", "resolved"]);
}

#[tokio::test]
async fn a_course_that_was_changed_meanwhile_is_pending_as_its_record() {
    let world = world_with_held_courses(Commit::Yes).await;
    let one = record_id(&world, "Course A 1");
    sqlx::query("update course_outbox set properties = properties || '{\"hs_course_id\": \"new\"}' where course_key = 'A-1'")
        .execute(world.pool())
        .await
        .unwrap();
    let output = run_command(&world.settings, &["resolve", "A-1", "--hubspot-id", &one]).await.success();
    assert!(
        output.contains(&format!("pending, its properties will be sent to HubSpot record {one}")),
        "{output}"
    );
    let two = record_id(&world, "Course A 2");
    run_command(&world.settings, &["resolve", "A-2", "--hubspot-id", &two]).await.success();
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    let records = world.hubspot.records();
    let record = records.iter().find(|record| record.id.to_string() == one).expect("the record is there");
    assert_eq!(record.properties["hs_course_id"], "new");
}

#[tokio::test]
async fn json_has_the_result_of_each_course_and_a_refused_one_does_not_stop_the_others() {
    let world = world_with_held_courses(Commit::Yes).await;
    let (one, read) =
        (record_id(&world, "Course A 1"), |text: &str| serde_json::from_str::<Value>(text).unwrap());
    let output =
        run_command(&world.settings, &["resolve", "A-1", "--hubspot-id", &one, "--json"]).await.success();
    let synced =
        json!({ "key": "A-1", "outcome": "synced", "hubspot_id": one, "hubspot_name": "Course A 1" });
    assert_eq!(read(&output), json!({ "courses": [synced] }));
    let output =
        run_command(&world.settings, &["resolve", "A-1", "A-9", "A-2", "--not-created", "--json"]).await;
    assert_eq!((output.code, output.err.as_str()), (Some(1), ""));
    let courses = json!([
        { "key": "A-1", "outcome": "left", "why": "it is synced, not unconfirmed" },
        { "key": "A-9", "outcome": "left",
          "why": "the outbox has no course with the key \"A-9\"" },
        { "key": "A-2", "outcome": "pending" },
    ]);
    assert_eq!(read(&output.out)["courses"], courses);
    assert_eq!(world.row("A-2").await.status, "pending");
}

#[tokio::test]
async fn only_unconfirmed_courses_are_settled_and_not_while_in_flight() {
    let world = world_with_held_courses(Commit::No).await;
    sqlx::query("update course_sync_batch set answered_at = null, send_by = now() + interval '1 minute'")
        .execute(world.pool())
        .await
        .unwrap();
    let output = run_command(&world.settings, &["resolve", "A-1", "--not-created"]).await;
    output.assert_failure(1, &["A-1 not changed", "may still be in flight; try again after"]);
    world.enqueue_many("B", 1).await;
    let output = run_command(&world.settings, &["resolve", "B-1", "--not-created"]).await;
    output.assert_failure(1, &["it is pending, not unconfirmed"]);
    run_command(&world.settings, &["resolve", "B-9", "--not-created"])
        .await
        .assert_failure(1, &["no course with the key"]);
    let silent = run_command(&world.settings, &["resolve", "A-1"]).await;
    assert_eq!(silent.code, Some(2));
    assert!(silent.err.contains("--hubspot-id") && silent.err.contains("--not-created"), "{}", silent.err);
}
