//! Courses whose record was deleted or merged in HubSpot: what the commands say, and `resolve`, with the real program.

use serde_json::{Value, json};
use simulator::Behaviour;

use super::commands::run_command;
use super::insert_failed;
use crate::support::eventually::eventually;
use crate::support::world::{UNIQUE_PROPERTY, World};

/// The id of the record of this course.
async fn record_of(world: &World, key: &str) -> u64 {
    world.row(key).await.hubspot_id.expect("it has a record").parse().expect("a number")
}

async fn rename(world: &World, key: &str, name: &str) {
    sqlx::query("update course_outbox set properties = jsonb_build_object('hs_course_name', $2) where course_key = $1")
        .bind(key)
        .bind(name)
        .execute(world.pool())
        .await
        .expect("the course is changed");
}

/// Changes the course, and waits until it is failed.
async fn change_until_failed(world: &World, key: &str) {
    rename(world, key, &format!("New {key}")).await;
    eventually("the course is failed", async || {
        let row = world.row(key).await;
        if row.status == "failed" { Ok(()) } else { Err(row) }
    })
    .await;
}

/// The live records with this key.
fn live_records(world: &World, key: &str) -> Vec<simulator::Record> {
    let mut records = world.hubspot.records();
    records.retain(|it| !it.archived && it.properties.get(UNIQUE_PROPERTY).is_some_and(|it| it == key));
    records
}

async fn resolve(world: &World, arguments: &[&str]) -> super::commands::CommandOutput {
    let arguments: Vec<&str> = ["resolve"].iter().chain(arguments).copied().collect();
    run_command(&world.settings, &arguments).await
}

#[tokio::test]
async fn a_deleted_record_is_created_again_only_on_request() {
    // The key of a record in the recycle bin is free again.
    let behaviour = Behaviour { archived_hold_unique: false, ..Behaviour::default() };
    let world = World::with(true, behaviour).await;
    world.enqueue_many("A", 3).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    let (one, two) = (record_of(&world, "A-1").await, record_of(&world, "A-2").await);
    world.hubspot.archive_record(one);
    world.hubspot.purge_record(two);
    for key in ["A-1", "A-2"] {
        change_until_failed(&world, key).await;
        assert_eq!(world.row(key).await.error("category"), "record_gone");
    }

    let output = run_command(&world.settings, &["failures"]).await.success();
    assert!(output.contains("2 failed record_gone, for example A-"), "{output}");
    assert!(output.contains("→ for a new record, run `course-sync resolve KEY --recreate`"), "{output}");
    let output = run_command(&world.settings, &["explain", "A-1"]).await.success();
    for command in ["`course-sync resolve A-1 --recreate`", "`course-sync resolve A-1 --hubspot-id ID`"] {
        assert!(output.contains(command), "{command} in {output}");
    }
    let dry = run_command(&world.settings, &["retry", "--all", "--dry-run"]).await;
    assert_eq!((dry.code, dry.out.as_str()), (Some(0), "would set 2 courses back to pending\n"));
    assert!(dry.err.contains("the record of 2 courses was deleted or merged"), "{}", dry.err);
    assert!(dry.err.contains("`course-sync resolve`"), "{}", dry.err);

    let output = resolve(&world, &["A-1", "A-3", "A-2", "--recreate"]).await;
    assert_eq!(
        (output.code, output.out.as_str()),
        (Some(1), "A-1: set back to pending\nA-2: set back to pending\n")
    );
    assert_eq!(output.err, "A-3 not changed: it is synced, not failed\n");
    world.wait_until_all_are(&["synced"]).await;
    for (key, old) in [("A-1", one), ("A-2", two)] {
        let records = live_records(&world, key);
        assert_eq!(records.len(), 1, "{records:?}");
        assert_eq!((records[0].id, records[0].id == old), (record_of(&world, key).await, false));
        assert_eq!(records[0].properties["hs_course_name"], format!("New {key}"));
        let history: Vec<(String, Option<String>)> = sqlx::query_as(
            "select event, hubspot_id from course_sync_history where course_key = $1 and event = 'resolved'",
        )
        .bind(key)
        .fetch_all(world.pool())
        .await
        .unwrap();
        assert_eq!(history, [("resolved".to_owned(), Some(old.to_string()))]);
    }
    let output = run_command(&world.settings, &["explain", "A-1"]).await.success();
    assert!(
        output.contains(&format!("a new record is created in place of HubSpot record {one}")),
        "{output}"
    );
}

#[tokio::test]
async fn the_remaining_record_of_a_merge_is_made_to_match_the_row() {
    let world = World::new().await;
    world.enqueue_many("A", 2).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    let by_hand = world.hubspot.create_record([("hs_course_name".to_owned(), "By hand".to_owned())].into());
    let survivor = world.hubspot.merge_records(by_hand, record_of(&world, "A-1").await).expect("a merge");
    change_until_failed(&world, "A-1").await;
    let (row, creates) = (world.row("A-1").await, world.create_requests());
    assert_eq!(row.error("category"), "record_merged");
    assert!(row.error("message").contains(&survivor.to_string()), "{row:?}");

    let taken = resolve(&world, &["A-1", "--hubspot-id", &record_of(&world, "A-2").await.to_string()]).await;
    taken.assert_failure(1, &["A-1 not changed", "already belongs to course \"A-2\""]);
    let output = resolve(&world, &["A-1", "--hubspot-id", &survivor.to_string()]).await.success();
    assert!(output.starts_with("A-1: pending, its properties will be sent to HubSpot record"), "{output}");
    world.wait_until_all_are(&["synced"]).await;
    assert_eq!(record_of(&world, "A-1").await, survivor);
    let records = world.hubspot.records();
    let record = records.iter().find(|record| record.id == survivor).expect("the record is there");
    assert_eq!(record.properties["hs_course_name"], "New A-1");
    assert_eq!(world.create_requests(), creates, "no record was created");
    let output = run_command(&world.settings, &["explain", "A-1"]).await.success();
    assert!(
        output.contains(&format!("the course is HubSpot record {survivor}, which is updated")),
        "{output}"
    );
}

#[tokio::test]
async fn a_restored_record_is_kept() {
    let world = World::new().await;
    world.enqueue_many("A", 1).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    let id = record_of(&world, "A-1").await;
    world.hubspot.archive_record(id);
    change_until_failed(&world, "A-1").await;
    let missing = resolve(&world, &["A-1", "--hubspot-id", &id.to_string()]).await;
    missing.assert_failure(1, &["no live course record"]);
    assert!(world.hubspot.restore_record(id));
    let output = resolve(&world, &["A-1", "--hubspot-id", &id.to_string(), "--json"]).await.success();
    let expected = json!({ "courses": [
        { "key": "A-1", "outcome": "pending", "hubspot_id": id.to_string(), "hubspot_name": "Course A 1" },
    ] });
    assert_eq!(serde_json::from_str::<Value>(&output).unwrap(), expected);
    world.wait_until_all_are(&["synced"]).await;
    assert_eq!(live_records(&world, "A-1")[0].properties["hs_course_name"], "New A-1");
    world.audit().await;
}

#[tokio::test]
async fn a_decision_that_does_not_fit_the_state_changes_nothing() {
    let world = World::new().await;
    world.enqueue_many("A", 2).await;
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    let creates = world.create_requests();
    insert_failed(&world, "B-1").await;
    rename(&world, "A-1", "New").await;
    let (one, two) = (record_of(&world, "A-1").await.to_string(), record_of(&world, "A-2").await.to_string());
    // As after an update whose response was lost.
    let mut writer = world.pool().begin().await.unwrap();
    for statement in [
        "set local session_replication_role = replica",
        "update course_outbox set status = 'unconfirmed', doubt = 'change', batch_id = gen_random_uuid(), error = '{}'
          where course_key = 'A-2'",
    ] {
        sqlx::query(statement).execute(&mut *writer).await.unwrap();
    }
    writer.commit().await.unwrap();
    let by_itself = "settles it by itself";
    for (arguments, words) in [
        (["A-1", "--recreate"].as_slice(), "it is pending, not failed"),
        (&["A-1", "--not-created"], "it is pending, not unconfirmed"),
        (&["A-1", "--hubspot-id", &one], "it is pending, not unconfirmed or failed"),
        (&["B-1", "--recreate"], "it is failed and has no HubSpot record; use `course-sync retry`"),
        // The record of a course that is pending.
        (&["B-1", "--hubspot-id", &one], "already belongs to course \"A-1\""),
        (&["A-2", "--recreate"], by_itself),
        (&["A-2", "--not-created"], by_itself),
        (&["A-2", "--hubspot-id", &two], by_itself),
        (&["A-9", "--recreate"], "no course with the key"),
    ] {
        resolve(&world, arguments).await.assert_failure(1, &["not changed", words]);
    }
    let statuses: Vec<String> = world.rows().await.into_iter().map(|row| row.status).collect();
    assert_eq!(statuses, ["pending", "unconfirmed", "failed"]);
    assert_eq!(world.create_requests(), creates);
}
