//! Courses that are withdrawn, and archives that are held, with the real program.

use serde_json::{Value, json};

use super::commands::run_command;
use crate::support::eventually::eventually;
use crate::support::world::World;

async fn json_of(world: &World, arguments: &[&str]) -> Value {
    serde_json::from_str(&run_command(&world.settings, arguments).await.success()).expect("JSON")
}

#[tokio::test]
async fn held_archives_are_shown_and_only_resume_with_archives_releases_them() {
    let mut world = World::new().await;
    world.set("OUTBOX__ARCHIVE_LIMIT", "2");
    world.enqueue_many("A", 4).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    sqlx::query("update course_outbox set archived = true where course_key <> 'A-4'")
        .execute(world.pool())
        .await
        .unwrap();
    let status = eventually("the hold is shown", async || {
        let status = run_command(&world.settings, &["status"]).await.success();
        if status.contains("archive_limit") { Ok(status) } else { Err(status) }
    })
    .await;
    assert!(
        status.contains("paused (archive_limit, archives only): more than 2 courses are withdrawn"),
        "{status}"
    );
    let explained = run_command(&world.settings, &["explain", "A-1"]).await.success();
    assert!(
        explained.contains("archives are held") && explained.contains("resume --archives"),
        "{explained}"
    );
    world.enqueue_many("B", 1).await;
    eventually("creates go on", async || {
        let row = world.row("B-1").await;
        if row.status == "synced" { Ok(()) } else { Err(row) }
    })
    .await;
    let explained = json_of(&world, &["explain", "B-1", "--json"]).await;
    assert_eq!(explained["state"], "synced");

    let resumed = run_command(&world.settings, &["resume"]).await;
    assert_eq!((resumed.code, resumed.out.as_str()), (Some(0), "there was no pause to end\n"));
    assert!(
        resumed.err.contains("archives stay held: more than 2") && resumed.err.contains("resume --archives")
    );
    let resumed = json_of(&world, &["resume", "--json"]).await;
    assert_eq!(resumed, json!({ "resumed": false, "archives_held": true }));
    assert_eq!(world.row("A-1").await.status, "pending");
    run_command(&world.settings, &["pause", "--reason", "stocktaking"]).await.success();
    assert_eq!(
        run_command(&world.settings, &["resume", "--archives"]).await.success(),
        "3 archives released\n"
    );
    assert_eq!(run_command(&world.settings, &["resume"]).await.success(), "resumed\n");
    world.wait_until_all_are(&["archived", "synced"]).await;
    let status = json_of(&world, &["status", "--json"]).await;
    assert_eq!((&status["counts"]["archived"], &status["counts"]["synced"]), (&json!(3), &json!(2)));
    let text = run_command(&world.settings, &["status"]).await.success();
    assert!(text.lines().any(|line| line.split_whitespace().eq(["archived", "3"])), "{text}");
    let nothing = json_of(&world, &["resume", "--archives", "--json"]).await;
    assert_eq!(nothing, json!({ "resumed": false, "archives": 0 }));
}
