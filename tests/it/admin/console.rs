//! The console as plain HTML: on a standby instance, with many viewers, while the database is down, for an unknown key.

use super::{Response, get};
use crate::support::eventually::eventually;
use crate::support::world::World;

/// Waits until the page contains this text.
async fn wait_for_text(url: &str, text: &str) -> Response {
    eventually(&format!("{url} contains {text:?}"), async || {
        let page = get(url).await;
        if page.text.contains(text) { Ok(page) } else { Err(page.text) }
    })
    .await
}

#[tokio::test]
async fn a_standby_shows_the_leader() {
    let mut world = World::new().await;
    world.set("OUTBOX__LEASE", "1h");
    let mut first = world.start_daemon();
    first.wait_for_event("lease_acquired").await;
    let second = world.start_daemon();
    second.wait_for_event("standby_started").await;
    let leader = wait_for_text(&format!("{}/", first.admin_url().await), "(this instance)").await;
    assert_eq!(leader.text.matches("<svg").count(), 3, "{leader:?}");
    let standby = get(&format!("{}/", second.admin_url().await)).await;
    assert_eq!(standby.status, 200);
    assert!(standby.text.contains("This instance is on standby: "), "{standby:?}");
    assert!(standby.text.contains("is the leader, in term 1."), "{standby:?}");
    assert!(!standby.text.contains("<svg"), "{standby:?}");
    assert!(first.stop().await.success());
    wait_for_text(&format!("{}/", second.admin_url().await), "(this instance)").await;
}

#[tokio::test]
async fn a_known_course_is_explained_and_an_unknown_key_is_reported() {
    let world = World::new().await;
    world.enqueue("a b&c", &serde_json::json!({ "hs_course_name": "x" })).await;
    let daemon = world.start_daemon();
    let admin = daemon.admin_url().await;
    world.wait_until_all_are(&["synced"]).await;
    let id = world.row("a b&c").await.hubspot_id.unwrap();
    let page =
        wait_for_text(&format!("{admin}/?course=a+b%26c&span=hour&live=off"), &format!("record {id}")).await;
    assert!(page.text.contains("value=\"a b&amp;c\""), "{page:?}");
    // The page does not update itself, and its links keep that setting.
    assert!(!page.text.contains("http-equiv") && !page.text.contains("console.js"), "{page:?}");
    assert!(page.text.contains("/?course=a+b%26c&amp;span=hour\""), "{page:?}");
    for unknown in ["unknown".to_owned(), "%E2%80%AE%00".to_owned(), "x".repeat(4_000)] {
        let page = get(&format!("{admin}/?course={unknown}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        assert!(page.text.contains("no course with this key"), "{page:?}");
    }
    let page = get(&format!("{admin}/?course=a+b%26")).await;
    assert!(page.text.contains("<a href=\"/?course=a+b%26c\">a b&amp;c</a>"), "the next key: {page:?}");
    // Without the script the browser reloads the page regularly.
    let page = get(&format!("{admin}/")).await;
    assert!(page.text.contains("<noscript><meta http-equiv=\"refresh\""), "{page:?}");
}

#[tokio::test]
async fn many_viewers_cause_one_statement_at_a_time() {
    let world = World::new().await;
    let daemon = world.start_daemon();
    let admin = daemon.admin_url().await;
    let url = format!("{admin}/");
    wait_for_text(&url, "Up to date").await;
    let mut session = world.pool().begin().await.unwrap();
    sqlx::raw_sql("lock table course_sync_batch in access exclusive mode")
        .execute(&mut *session)
        .await
        .unwrap();
    for _ in 0..2 {
        let viewers: Vec<_> = (0..50)
            .map(|_| {
                let url = url.clone();
                tokio::spawn(async move { get(&url).await })
            })
            .collect();
        for viewer in viewers {
            let page = viewer.await.unwrap();
            // Some viewers still get the last snapshot.
            if page.status == 503 {
                assert!(page.text.contains("The database cannot be read"), "{page:?}");
                // The last snapshot is still shown, with its age.
                assert!(
                    page.text.contains("The data below was read ") && page.text.contains("Recent requests"),
                    "{page:?}"
                );
            }
        }
    }
    wait_for_text(&url, "The database cannot be read").await;
    eventually("a statement of the console waits", async || {
        let asking: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
              where datname = current_database() and wait_event_type = 'Lock' and query like '-- count courses%'",
        )
        .fetch_one(world.pool())
        .await
        .unwrap();
        assert!(asking <= 1, "{asking} statements of the console wait");
        if asking == 1 { Ok(()) } else { Err(asking) }
    })
    .await;
    session.rollback().await.unwrap();
    assert_eq!(wait_for_text(&url, "Up to date").await.status, 200);
}
