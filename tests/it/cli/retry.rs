//! `retry`: sets failed courses back to pending, with the real program.

use std::process::Stdio;

use serde_json::{Value, json};
use sqlx::postgres::PgListener;

use super::commands::run_command;
use super::{insert_ended, insert_failed};
use crate::support::daemon::program;
use crate::support::eventually::eventually;
use crate::support::world::World;

/// Three courses with an unknown property, one that is too large, one that is unconfirmed.
async fn world_with_failures() -> World {
    let world = World::new().await;
    for key in ["A-1", "A-2", "A-3"] {
        insert_failed(&world, key).await;
    }
    insert_ended(&world, "failed", "B-1", json!({ "category": "too_large", "message": "too large" })).await;
    insert_ended(
        &world,
        "unconfirmed",
        "C-1",
        json!({ "category": "unknown_outcome", "message": "no answer" }),
    )
    .await;
    world
}

async fn pending_keys(world: &World) -> Vec<String> {
    let rows = world.rows().await;
    rows.into_iter().filter(|row| row.status == "pending").map(|row| row.course_key).collect()
}

#[tokio::test]
async fn a_retried_course_keeps_its_attempts_and_resets_its_failures() {
    let world = world_with_failures().await;
    let mut listener = PgListener::connect(&world.database.url().await).await.unwrap();
    listener.listen("course_outbox").await.unwrap();
    assert_eq!(
        run_command(&world.settings, &["retry", "--key", "A-2"]).await.success(),
        "1 course set back to pending\n"
    );
    listener.recv().await.unwrap();
    assert_eq!(pending_keys(&world).await, ["A-2"]);
    let row: (i32, i32, i16, bool) = sqlx::query_as(
        "select attempts, faults, batch_limit, error is not null from course_outbox where course_key = 'A-2'",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert_eq!(row, (1, 0, 100, true));
    let output: Vec<(String, String)> = sqlx::query_as("select course_key, event from course_sync_history")
        .fetch_all(world.pool())
        .await
        .unwrap();
    assert_eq!(output, [("A-2".into(), "retried".into())]);
}

#[tokio::test]
async fn courses_that_are_not_failed_are_not_changed() {
    let world = world_with_failures().await;
    let output =
        run_command(&world.settings, &["retry", "--key", "A-1", "--key", "C-1", "--key", "A-9"]).await;
    assert_eq!((output.code, output.out.as_str()), (Some(1), "1 course set back to pending\n"));
    assert!(output.err.contains("C-1 not changed: it is unconfirmed, not failed"), "{}", output.err);
    assert!(output.err.contains("no course with the key \"A-9\""), "{}", output.err);
    assert_eq!(pending_keys(&world).await, ["A-1"]);
    assert_eq!(
        run_command(&world.settings, &["retry", "--all"]).await.success(),
        "3 courses set back to pending\n"
    );
    assert_eq!(world.row("C-1").await.status, "unconfirmed");
}

#[tokio::test]
async fn category_and_code_select_courses_and_a_dry_run_only_counts() {
    let world = world_with_failures().await;
    let dry = run_command(&world.settings, &["retry", "--code", "PROPERTY_DOESNT_EXIST", "--dry-run"])
        .await
        .success();
    assert_eq!(dry, "would set 3 courses back to pending\n");
    assert!(pending_keys(&world).await.is_empty());
    let both = ["retry", "--category", "TOO_LARGE", "--code", "PROPERTY_DOESNT_EXIST"];
    assert_eq!(run_command(&world.settings, &both).await.success(), "0 courses set back to pending\n");
    assert_eq!(
        run_command(&world.settings, &["retry", "--category", "too_large"]).await.success(),
        "1 course set back to pending\n"
    );
    assert_eq!(pending_keys(&world).await, ["B-1"]);
}

#[tokio::test]
async fn json_has_the_retried_and_the_unchanged_courses() {
    let world = world_with_failures().await;
    let dry = run_command(&world.settings, &["retry", "--all", "--dry-run", "--json"]).await.success();
    let expected = json!({ "dry_run": true, "courses": 4, "canaries": null, "left": [] });
    assert_eq!(serde_json::from_str::<Value>(&dry).unwrap(), expected);
    let output =
        run_command(&world.settings, &["retry", "--key", "A-1", "--key", "C-1", "--key", "A-9", "--json"])
            .await;
    assert_eq!((output.code, output.err.as_str()), (Some(1), ""));
    let expected = json!({ "dry_run": false, "courses": 1, "canaries": null, "left": [
        { "key": "C-1", "why": "it is unconfirmed, not failed" },
        { "key": "A-9", "why": "the outbox has no course with the key \"A-9\"" },
    ] });
    assert_eq!(serde_json::from_str::<Value>(&output.out).unwrap(), expected);
    let output =
        run_command(&world.settings, &["retry", "--all", "--canary", "1", "--wait", "1s", "--json"]).await;
    assert_eq!(output.code, Some(1), "{}", output.err);
    let canary: Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!((&canary["courses"], &canary["canaries"]["arrived"]), (&1.into(), &false.into()));
    let stands = &canary["canaries"]["courses"][0];
    assert_eq!((&stands["key"], &stands["status"]), (&"A-2".into(), &"pending".into()));
    assert_eq!(stands["error"]["code"], "PROPERTY_DOESNT_EXIST");
}

#[tokio::test]
async fn thousands_of_courses_are_retried_in_chunks() {
    let world = World::new().await;
    sqlx::query(
        "insert into course_outbox (course_key, properties, status, error)
         select 'A-' || n, '{}', 'failed', '{\"category\": \"refused\", \"message\": \"no\", \"at\": \"2026-01-01T00:00:00Z\"}'
           from generate_series(1, 4500) n",
    )
    .execute(world.pool())
    .await
    .unwrap();
    assert_eq!(
        run_command(&world.settings, &["retry", "--all"]).await.success(),
        "4500 courses set back to pending\n"
    );
    assert_eq!(world.counts().await["pending"], 4500);
}

/// Six courses with an unknown property, which only HubSpot detects.
async fn world_with_refusals() -> World {
    let world = World::new().await;
    for n in 1..=6 {
        let properties = json!({ "hs_course_name": format!("Course A {n}"), "colour": "red" });
        world.enqueue(&format!("A-{n}"), &properties).await;
    }
    world
}

#[tokio::test]
async fn the_rest_is_retried_after_the_canaries_are_synced() {
    let world = world_with_refusals().await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["failed"]).await;
    world
        .create_property(&json!({
            "groupName": "course_information", "name": "colour", "label": "Colour", "type": "string", "fieldType": "text",
        }))
        .await;
    let output = run_command(&world.settings, &["retry", "--all", "--canary", "2"]).await;
    assert_eq!(
        (output.code, output.out.as_str()),
        (Some(0), "6 courses set back to pending\n"),
        "{}",
        output.err
    );
    assert!(
        output.err.contains("2 courses set back to pending first: A-1, A-2\nall of these are synced\n"),
        "{}",
        output.err
    );
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert!(world.sends_per_course().values().all(|times| *times == 2), "{:?}", world.sends_per_course());
}

#[tokio::test]
async fn the_rest_stays_failed_if_a_canary_fails_again() {
    let world = world_with_refusals().await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["failed"]).await;
    let output =
        run_command(&world.settings, &["retry", "--category", "VALIDATION_ERROR", "--canary", "2"]).await;
    assert_eq!(
        (output.code, output.out.as_str()),
        (Some(1), "2 courses set back to pending; the rest stays failed\n")
    );
    assert!(output.err.contains("A-1 failed again: VALIDATION_ERROR"), "{}", output.err);
    world.wait_until_all_are(&["failed"]).await;
    assert_eq!(world.sends_per_course().values().copied().collect::<Vec<_>>(), [2, 2, 1, 1, 1, 1]);
}

#[tokio::test]
async fn canaries_cover_each_kind_of_failure_and_an_interrupt_leaves_the_rest_failed() {
    let world = world_with_failures().await;
    let mut command = program(&world.settings);
    command.args(["retry", "--all", "--canary", "2", "--wait", "1h"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the canaries are put back", async || {
        let pending = pending_keys(&world).await;
        if pending.len() == 2 { Ok(()) } else { Err(pending) }
    })
    .await;
    assert_eq!(pending_keys(&world).await, ["A-1", "B-1"]);
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(err.contains("no instance is sending") && err.contains("stay failed"), "{err}");
    assert_eq!(pending_keys(&world).await, ["A-1", "B-1"]);
}

#[tokio::test]
async fn a_canary_timeout_leaves_the_rest_failed() {
    let world = world_with_failures().await;
    let output = run_command(&world.settings, &["retry", "--all", "--canary", "1", "--wait", "1s"]).await;
    assert_eq!(
        (output.code, output.out.as_str()),
        (Some(1), "1 course set back to pending; the rest stays failed\n")
    );
    assert!(output.err.contains("A-1 is still pending"), "{}", output.err);
}

#[tokio::test]
async fn named_courses_are_retried_after_their_canary() {
    let world = World::new().await;
    for key in ["A-1", "A-2", "A-3"] {
        insert_failed(&world, key).await;
    }
    let _daemon = world.start_daemon();
    let arguments = ["retry", "--key", "A-1", "--key", "A-3", "--canary", "1"];
    let output = run_command(&world.settings, &arguments).await;
    assert_eq!(
        (output.code, output.out.as_str()),
        (Some(0), "2 courses set back to pending\n"),
        "{}",
        output.err
    );
    assert_eq!(world.row("A-2").await.status, "failed");
    world.wait_until_all_are(&["synced", "failed"]).await;
}
