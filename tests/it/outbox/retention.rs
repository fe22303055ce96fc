//! Old rows are deleted, and nothing else.

use std::time::Duration;

use course_sync::course::RowId;
use course_sync::outbox::retention::{
    CHUNK_ROWS, delete_history, delete_requests, delete_synced, first_row_after,
};
use sqlx::PgPool;

use crate::support::eventually::eventually;
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
        after = delete_synced(pool, id, CHUNK_ROWS, DAY, &[]).await.unwrap();
        chunks += 1;
    }
    assert_eq!(chunks, 2);
    assert_eq!(count(pool, "select count(*) from course_outbox where status = 'synced'").await, 300);
    assert_eq!(count(pool, "select count(*) from course_outbox where status = 'pending'").await, 1);
}

#[tokio::test]
async fn a_row_that_cannot_be_deleted_is_recognized_and_can_be_left_out() {
    let database = database().await;
    let pool = database.pool();
    fill(pool, "old", 3, "2020-01-01").await;
    sqlx::raw_sql(
        "create table invoices (course bigint references course_outbox (id));
         insert into invoices select id from course_outbox where course_key = 'old2'",
    )
    .execute(pool)
    .await
    .unwrap();
    let refused = delete_synced(pool, RowId(0), 3, DAY, &[]).await.unwrap_err();
    assert!(refused.is_refusal_of_a_row(), "{refused}");
    // The server reports the error before it releases the locks, and locked rows are skipped.
    let first = eventually("the first row is deleted", async || {
        let first = delete_synced(pool, RowId(0), 1, DAY, &[]).await.unwrap().unwrap();
        match count(pool, "select count(*) from course_outbox").await {
            2 => Ok(first),
            rows => Err(rows),
        }
    })
    .await;
    let (referenced, key) = first_row_after(pool, first).await.unwrap().unwrap();
    assert_eq!(key, "old2");
    assert_eq!(delete_synced(pool, RowId(0), 3, DAY, &[referenced]).await.unwrap(), None);
    assert_eq!(count(pool, "select count(*) from course_outbox").await, 1);
}

/// Its number would be given to another claim, which then need not have seen the claims between.
#[tokio::test]
async fn the_last_claim_is_never_deleted() {
    let database = database().await;
    let pool = database.pool();
    sqlx::raw_sql(
        "insert into course_sync_batch (batch_id, term, holder, row_ids, state, claimed_at, send_by, claim_number)
         select gen_random_uuid(), 1, gen_random_uuid(), '{}', 'closed', '2020-01-01', '2020-01-01', number
           from generate_series(1, 3) number",
    )
    .execute(pool)
    .await
    .unwrap();
    assert!(!delete_requests(pool, DAY).await.unwrap());
    assert_eq!(count(pool, "select max(claim_number) from course_sync_batch").await, 3);
    assert_eq!(count(pool, "select count(*) from course_sync_batch").await, 1);
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
