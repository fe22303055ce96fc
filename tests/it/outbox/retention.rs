//! Old rows are deleted, and nothing else.

use std::time::Duration;

use course_sync::course::RowId;
use course_sync::outbox::retention::{CHUNK_ROWS, delete_history, delete_requests, delete_synced};
use sqlx::PgPool;

use crate::support::postgres::database;

const DAY: Duration = Duration::from_hours(24);

async fn fill(pool: &PgPool, prefix: &str, count: i64, synced_at: &str) {
    sqlx::query(
        "insert into course_outbox (course_key, properties, status, hubspot_id, synced_at)
         select $1 || n, '{}', 'synced', $1 || n, $3::timestamptz from generate_series(1, $2) n",
    )
    .bind(prefix)
    .bind(count)
    .bind(synced_at)
    .execute(pool)
    .await
    .unwrap();
}

async fn count(pool: &PgPool, what: &'static str) -> i64 {
    sqlx::query_scalar(what).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn old_synced_courses_are_deleted_in_chunks() {
    let database = database().await;
    let pool = database.pool();
    fill(pool, "old", CHUNK_ROWS + 500, "2020-01-01").await;
    fill(pool, "new", 300, "2999-01-01").await;
    sqlx::query("insert into course_outbox (course_key, properties) values ('pending', '{}')")
        .execute(pool)
        .await
        .unwrap();
    let (mut after, mut chunks) = (Some(RowId(0)), 0);
    while let Some(id) = after {
        after = delete_synced(pool, id, DAY).await.unwrap();
        chunks += 1;
    }
    assert_eq!(chunks, 2);
    assert_eq!(count(pool, "select count(*) from course_outbox where status = 'synced'").await, 300);
    assert_eq!(count(pool, "select count(*) from course_outbox where status = 'pending'").await, 1);
}

#[tokio::test]
async fn old_closed_requests_and_history_are_deleted() {
    let database = database().await;
    let pool = database.pool();
    sqlx::raw_sql(
        "insert into course_sync_batch (batch_id, term, holder, row_ids, state, claimed_at, send_by)
         select gen_random_uuid(), 1, gen_random_uuid(), '{}', state, at, at
           from unnest(array['closed', 'unknown', 'open', 'closed'],
                       array['2020-01-01', '2020-01-01', '2020-01-01', '2999-01-01']::timestamptz[]) x (state, at);
         insert into course_sync_history (at, course_id, course_key, event)
         values ('2020-01-01', 1, 'a', 'failed'), ('2999-01-01', 1, 'a', 'failed')",
    )
    .execute(pool)
    .await
    .unwrap();
    assert!(!delete_requests(pool, DAY).await.unwrap());
    assert!(!delete_history(pool, DAY).await.unwrap());
    assert_eq!(
        count(pool, "select count(*) from course_sync_batch").await,
        3,
        "requests that are not settled stay"
    );
    assert_eq!(count(pool, "select count(*) from course_sync_history").await, 1);
}
