//! The leader maintains the tables: retention, and courses that the journal does not know.

use simulator::Operation;

use crate::support::eventually::eventually;
use crate::support::world::World;

#[tokio::test]
async fn a_row_that_cannot_be_deleted_is_logged_once_and_stops_no_other() {
    let mut world = World::new().await;
    world.set("OUTBOX__RETENTION", "1s");
    world.enqueue_many("A", 30).await;
    sqlx::raw_sql(
        "create table invoices (course bigint references course_outbox (id));
         insert into invoices select id from course_outbox where course_key in ('A-3', 'A-20');
         insert into course_sync_history (at, course_id, course_key, event) values ('2020-01-01', 1, 'a', 'failed')",
    )
    .execute(world.pool())
    .await
    .unwrap();
    let daemon = world.start_daemon();
    daemon.wait_for_event("courses_not_deleted").await;
    eventually("all other rows are deleted", async || {
        let rows = world.rows().await;
        if rows.len() == 2 { Ok(()) } else { Err(rows) }
    })
    .await;
    let history: i64 = sqlx::query_scalar("select count(*) from course_sync_history where at < '2021-01-01'")
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert_eq!(history, 0);
    // Later cleanups log nothing new, and delete new rows.
    world.enqueue_many("B", 5).await;
    eventually("new rows are deleted", async || {
        let rows = world.rows().await;
        let synced = world.hubspot.records().len();
        if rows.len() == 2 && synced == 35 { Ok(()) } else { Err((rows, synced)) }
    })
    .await;
    let events = daemon.events("courses_not_deleted");
    let logged: u64 = events.iter().map(|event| event["courses"].as_u64().unwrap()).sum();
    assert_eq!(logged, 2, "{events:?}");
    let keys: Vec<_> = events.iter().map(|event| event["keys"].as_str().unwrap()).collect();
    assert_eq!(keys.join(", "), "A-3, A-20");
    assert!(daemon.events("retention_cleanup_failed").is_empty());
}

#[tokio::test]
async fn courses_that_the_journal_lost_in_flight_are_looked_up() {
    let world = World::new().await;
    world.enqueue_many("A", 5).await;
    // Sent by an instance that is gone; its journal was truncated.
    sqlx::raw_sql(
        "update course_outbox set status = 'in_flight', attempts = 1, batch_id = gen_random_uuid(),
                                  updated_at = now() - interval '1 hour'",
    )
    .execute(world.pool())
    .await
    .unwrap();
    let daemon = world.start_daemon();
    let event = daemon.wait_for_event("stranded_courses_found").await;
    assert_eq!(event["courses"], 5);
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert!(!world.received(Operation::BatchRead).is_empty());
}
