//! Rows that cannot be read, and a database that refuses every claim.

use std::time::Duration;

use serde_json::json;

use crate::support::eventually::eventually;
use crate::support::unreadable::insert_unreadable;
use crate::support::world::World;

/// The number of requests in the journal.
async fn requests(world: &World) -> i64 {
    sqlx::query_scalar("select count(*) from course_sync_batch").fetch_one(world.pool()).await.unwrap()
}

#[tokio::test]
async fn a_row_that_cannot_be_read_fails_on_its_own() {
    let world = World::new().await;
    world.enqueue_many("A", 10).await;
    insert_unreadable(world.pool()).await;
    world.enqueue_many("B", 10).await;
    let daemon = world.start_daemon();
    world.wait_until_all_are(&["synced", "failed"]).await;
    for row in world.rows().await {
        if row.course_key.starts_with("bad-") {
            assert_eq!((row.status.as_str(), row.error("category").as_str()), ("failed", "invalid_row"));
        } else {
            assert_eq!((row.status.as_str(), row.attempts), ("synced", 1), "{row:?}");
        }
    }
    assert!(daemon.events("claim_withdrawn").is_empty());
    assert!(requests(&world).await < 10);
    world.audit().await;
}

#[tokio::test]
async fn an_unconfirmed_row_that_cannot_be_read_is_set_aside_with_the_reason() {
    let world = World::new().await;
    world.enqueue("bad", &json!({ "hs_course_name": "Course bad" })).await;
    world.enqueue_many("A", 5).await;
    sqlx::query(
        "update course_outbox set status = 'unconfirmed', batch_id = gen_random_uuid(), doubt = 'unknown',
                doubt_property = 'course_sync_key',
                doubted_since = case when course_key = 'bad' then 'infinity' else now() end",
    )
    .execute(world.pool())
    .await
    .unwrap();
    let _daemon = world.start_daemon();
    eventually("the other courses are synced", async || {
        let counts = world.counts().await;
        if counts.get("synced") == Some(&5) { Ok(()) } else { Err(counts) }
    })
    .await;
    let row = world.row("bad").await;
    assert_eq!((row.status.as_str(), row.error("category").as_str()), ("unconfirmed", "unknown_outcome"));
    assert!(row.error("message").contains("doubted_since"), "{row:?}");
}

#[tokio::test]
async fn claims_that_the_database_refuses_are_repeated_after_growing_waits() {
    let mut world = World::new().await;
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    // A sequence counts the claims, because their transactions are rolled back.
    sqlx::raw_sql(
        "create sequence claims;
         create function refuse() returns trigger language plpgsql as $$
         begin
             perform nextval('claims');
             raise 'refused by a trigger';
         end $$;
         create trigger refuse before insert on course_sync_batch
             for each row when (new.operation = 'create') execute function refuse()",
    )
    .execute(world.pool())
    .await
    .unwrap();
    let daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    let began = std::time::Instant::now();
    let mut inserted = 0;
    // Each insert notifies the daemon.
    while began.elapsed() < Duration::from_secs(5) {
        inserted += 1;
        world.enqueue_many(&format!("A{inserted}"), 1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let claims: i64 =
        sqlx::query_scalar("select last_value from claims").fetch_one(world.pool()).await.unwrap();
    assert!((2..=4).contains(&claims), "{claims} claims in 5 seconds");
    assert!(daemon.log().contains("refused by a trigger"));
    sqlx::raw_sql("drop trigger refuse on course_sync_batch").execute(world.pool()).await.unwrap();
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
}
