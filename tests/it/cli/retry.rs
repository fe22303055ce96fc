//! `retry`: failed courses go back, by the real program.

use std::process::Stdio;

use serde_json::{Value, json};
use sqlx::postgres::PgListener;

use super::commands::said;
use super::{ended, failed};
use crate::support::daemon::program;
use crate::support::eventually::eventually;
use crate::support::world::World;

/// Three that miss a property, one that is too large, one in doubt.
async fn some() -> World {
    let world = World::new().await;
    for key in ["A-1", "A-2", "A-3"] {
        failed(&world, key).await;
    }
    ended(&world, "failed", "B-1", json!({ "category": "too_large", "message": "too large" })).await;
    ended(&world, "unconfirmed", "C-1", json!({ "category": "unknown_outcome", "message": "no answer" }))
        .await;
    world
}

async fn pending(world: &World) -> Vec<String> {
    let rows = world.rows().await;
    rows.into_iter().filter(|row| row.status == "pending").map(|row| row.course_key).collect()
}

#[tokio::test]
async fn a_course_goes_back_with_a_clean_slate_and_its_story() {
    let world = some().await;
    let mut listener = PgListener::connect(&world.database.url().await).await.unwrap();
    listener.listen("course_outbox").await.unwrap();
    assert_eq!(said(&world.settings, &["retry", "--key", "A-2"]).await.fine(), "put back 1 course\n");
    listener.recv().await.unwrap();
    assert_eq!(pending(&world).await, ["A-2"]);
    let row: (i32, i32, i16, bool) = sqlx::query_as(
        "select attempts, faults, batch_limit, error is not null from course_outbox where course_key = 'A-2'",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert_eq!(row, (1, 0, 100, true));
    let told: Vec<(String, String)> = sqlx::query_as("select course_key, event from course_sync_history")
        .fetch_all(world.pool())
        .await
        .unwrap();
    assert_eq!(told, [("A-2".into(), "retried".into())]);
}

#[tokio::test]
async fn what_is_not_failed_is_left_alone_and_said() {
    let world = some().await;
    let told = said(&world.settings, &["retry", "--key", "A-1", "--key", "C-1", "--key", "A-9"]).await;
    assert_eq!((told.code, told.out.as_str()), (Some(1), "put back 1 course\n"));
    assert!(told.err.contains("C-1 is left as it is: it is unconfirmed, not failed"), "{}", told.err);
    assert!(told.err.contains("no course with the key \"A-9\""), "{}", told.err);
    assert_eq!(pending(&world).await, ["A-1"]);
    assert_eq!(said(&world.settings, &["retry", "--all"]).await.fine(), "put back 3 courses\n");
    assert_eq!(world.row("C-1").await.status, "unconfirmed");
}

#[tokio::test]
async fn a_category_or_a_code_chooses_and_a_dry_run_only_counts() {
    let world = some().await;
    let dry = said(&world.settings, &["retry", "--code", "PROPERTY_DOESNT_EXIST", "--dry-run"]).await.fine();
    assert_eq!(dry, "would put back 3 courses\n");
    assert!(pending(&world).await.is_empty());
    let both = ["retry", "--category", "TOO_LARGE", "--code", "PROPERTY_DOESNT_EXIST"];
    assert_eq!(said(&world.settings, &both).await.fine(), "put back 0 courses\n");
    assert_eq!(
        said(&world.settings, &["retry", "--category", "too_large"]).await.fine(),
        "put back 1 course\n"
    );
    assert_eq!(pending(&world).await, ["B-1"]);
}

#[tokio::test]
async fn a_script_reads_what_was_put_back_and_what_was_not() {
    let world = some().await;
    let dry = said(&world.settings, &["retry", "--all", "--dry-run", "--json"]).await.fine();
    let nothing = json!({ "dry_run": true, "courses": 4, "canaries": null, "left": [] });
    assert_eq!(serde_json::from_str::<Value>(&dry).unwrap(), nothing);
    let told =
        said(&world.settings, &["retry", "--key", "A-1", "--key", "C-1", "--key", "A-9", "--json"]).await;
    assert_eq!((told.code, told.err.as_str()), (Some(1), ""));
    let put_back = json!({ "dry_run": false, "courses": 1, "canaries": null, "left": [
        { "key": "C-1", "why": "it is unconfirmed, not failed" },
        { "key": "A-9", "why": "the outbox holds no course with the key \"A-9\"" },
    ] });
    assert_eq!(serde_json::from_str::<Value>(&told.out).unwrap(), put_back);
    let told = said(&world.settings, &["retry", "--all", "--canary", "1", "--wait", "1s", "--json"]).await;
    assert_eq!(told.code, Some(1), "{}", told.err);
    let canary: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!((&canary["courses"], &canary["canaries"]["arrived"]), (&1.into(), &false.into()));
    let stands = &canary["canaries"]["courses"][0];
    assert_eq!((&stands["key"], &stands["status"]), (&"A-2".into(), &"pending".into()));
    assert_eq!(stands["error"]["code"], "PROPERTY_DOESNT_EXIST");
}

#[tokio::test]
async fn a_crowd_goes_back_in_bites() {
    let world = World::new().await;
    sqlx::query(
        "insert into course_outbox (course_key, properties, status, error)
         select 'A-' || n, '{}', 'failed', '{\"category\": \"refused\", \"message\": \"no\", \"at\": \"2026-01-01T00:00:00Z\"}'
           from generate_series(1, 4500) n",
    )
    .execute(world.pool())
    .await
    .unwrap();
    assert_eq!(said(&world.settings, &["retry", "--all"]).await.fine(), "put back 4500 courses\n");
    assert_eq!(world.counts().await["pending"], 4500);
}

/// Six courses that miss a property, which HubSpot alone finds out.
async fn refused() -> World {
    let world = World::new().await;
    for n in 1..=6 {
        let properties = json!({ "hs_course_name": format!("Course A {n}"), "colour": "red" });
        world.enqueue(&format!("A-{n}"), &properties).await;
    }
    world
}

#[tokio::test]
async fn the_rest_goes_after_the_canaries_have_arrived() {
    let world = refused().await;
    let _daemon = world.daemon();
    world.all_are(&["failed"]).await;
    world
        .create_property(&json!({
            "groupName": "course_information", "name": "colour", "label": "Colour", "type": "string", "fieldType": "text",
        }))
        .await;
    let told = said(&world.settings, &["retry", "--all", "--canary", "2"]).await;
    assert_eq!((told.code, told.out.as_str()), (Some(0), "put back 6 courses\n"), "{}", told.err);
    assert!(told.err.contains("put back 2 courses first: A-1, A-2\nall of these arrived\n"), "{}", told.err);
    world.all_are(&["synced"]).await;
    world.audit().await;
    assert!(world.sends().values().all(|times| *times == 2), "{:?}", world.sends());
}

#[tokio::test]
async fn the_rest_stays_where_a_canary_fails_again() {
    let world = refused().await;
    let _daemon = world.daemon();
    world.all_are(&["failed"]).await;
    let told = said(&world.settings, &["retry", "--category", "VALIDATION_ERROR", "--canary", "2"]).await;
    assert_eq!((told.code, told.out.as_str()), (Some(1), "put back 2 courses; the rest stays failed\n"));
    assert!(told.err.contains("A-1 failed again: VALIDATION_ERROR"), "{}", told.err);
    world.all_are(&["failed"]).await;
    assert_eq!(world.sends().values().copied().collect::<Vec<_>>(), [2, 2, 1, 1, 1, 1]);
}

#[tokio::test]
async fn canaries_are_of_every_kind_and_an_interrupt_leaves_the_rest_failed() {
    let world = some().await;
    let mut command = program(&world.settings);
    command.args(["retry", "--all", "--canary", "2", "--wait", "1h"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the canaries are put back", async || {
        let pending = pending(&world).await;
        if pending.len() == 2 { Ok(()) } else { Err(pending) }
    })
    .await;
    assert_eq!(pending(&world).await, ["A-1", "B-1"]);
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(err.contains("nobody sends at present") && err.contains("stays failed"), "{err}");
    assert_eq!(pending(&world).await, ["A-1", "B-1"]);
}

#[tokio::test]
async fn canaries_that_do_not_end_in_time_hold_the_rest_back() {
    let world = some().await;
    let told = said(&world.settings, &["retry", "--all", "--canary", "1", "--wait", "1s"]).await;
    assert_eq!((told.code, told.out.as_str()), (Some(1), "put back 1 course; the rest stays failed\n"));
    assert!(told.err.contains("A-1 is still pending"), "{}", told.err);
}

#[tokio::test]
async fn named_courses_go_after_their_canary_too() {
    let world = World::new().await;
    for key in ["A-1", "A-2", "A-3"] {
        failed(&world, key).await;
    }
    let _daemon = world.daemon();
    let arguments = ["retry", "--key", "A-1", "--key", "A-3", "--canary", "1"];
    let told = said(&world.settings, &arguments).await;
    assert_eq!((told.code, told.out.as_str()), (Some(0), "put back 2 courses\n"), "{}", told.err);
    assert_eq!(world.row("A-2").await.status, "failed");
    world.all_are(&["synced", "failed"]).await;
}
