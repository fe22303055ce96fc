//! The console as plain HTML: on a standby, for a crowd, while the database is away, for a key that is not there.

use super::{Answer, get};
use crate::support::eventually::eventually;
use crate::support::world::World;

/// Waits until the page tells this.
async fn told(url: &str, text: &str) -> Answer {
    eventually(&format!("{url} tells {text:?}"), async || {
        let page = get(url).await;
        if page.text.contains(text) { Ok(page) } else { Err(page.text) }
    })
    .await
}

#[tokio::test]
async fn a_standby_says_so_and_who_leads() {
    let mut world = World::new().await;
    world.set("OUTBOX__LEASE", "1h");
    let mut first = world.daemon();
    first.logged("\"leading\"").await;
    let second = world.daemon();
    second.logged("another instance leads").await;
    let leader = told(&format!("{}/", first.admin().await), "(this instance)").await;
    assert_eq!(leader.text.matches("<svg").count(), 3, "{leader:?}");
    let standby = get(&format!("{}/", second.admin().await)).await;
    assert_eq!(standby.status, 200);
    assert!(standby.text.contains("This instance stands by: "), "{standby:?}");
    assert!(standby.text.contains("leads, in term 1."), "{standby:?}");
    assert!(!standby.text.contains("<svg"), "{standby:?}");
    assert!(first.stop().await.success());
    told(&format!("{}/", second.admin().await), "(this instance)").await;
}

#[tokio::test]
async fn a_course_is_explained_and_an_unknown_one_is_said_to_be_none() {
    let world = World::new().await;
    world.enqueue("a b&c", &serde_json::json!({ "hs_course_name": "x" })).await;
    let daemon = world.daemon();
    let admin = daemon.admin().await;
    world.all_are(&["synced"]).await;
    let id = world.row("a b&c").await.hubspot_id.unwrap();
    let page = told(&format!("{admin}/?course=a+b%26c&span=hour&live=off"), &format!("record {id}")).await;
    assert!(page.text.contains("value=\"a b&amp;c\""), "{page:?}");
    // It stays as it is, and so do the links.
    assert!(!page.text.contains("http-equiv") && !page.text.contains("console.js"), "{page:?}");
    assert!(page.text.contains("/?course=a+b%26c&amp;span=hour\""), "{page:?}");
    for nobody in ["nobody".to_owned(), "%E2%80%AE%00".to_owned(), "x".repeat(4_000)] {
        let page = get(&format!("{admin}/?course={nobody}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        assert!(page.text.contains("No course with this key"), "{page:?}");
    }
    let page = get(&format!("{admin}/?course=a+b%26")).await;
    assert!(page.text.contains("<a href=\"/?course=a+b%26c\">a b&amp;c</a>"), "its neighbour: {page:?}");
    // Without script it is loaded anew now and then.
    let page = get(&format!("{admin}/")).await;
    assert!(page.text.contains("<noscript><meta http-equiv=\"refresh\""), "{page:?}");
}

#[tokio::test]
async fn however_many_look_one_statement_at_a_time_asks_the_database() {
    let world = World::new().await;
    let daemon = world.daemon();
    let admin = daemon.admin().await;
    let url = format!("{admin}/");
    told(&url, "Up to date").await;
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
            // What was read last serves some before the database keeps silent.
            if page.status == 503 {
                assert!(page.text.contains("The database cannot be read"), "{page:?}");
                // What was known before is still there, with its age.
                assert!(
                    page.text.contains("What follows was so ") && page.text.contains("Recent requests"),
                    "{page:?}"
                );
            }
        }
    }
    told(&url, "The database cannot be read").await;
    eventually("a statement of the console waits", async || {
        let asking: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
              where datname = current_database() and wait_event_type = 'Lock' and query like '%min(claimed_at)%'",
        )
        .fetch_one(world.pool())
        .await
        .unwrap();
        assert!(asking <= 1, "{asking} statements of the console wait");
        if asking == 1 { Ok(()) } else { Err(asking) }
    })
    .await;
    session.rollback().await.unwrap();
    assert_eq!(told(&url, "Up to date").await.status, 200);
}
