//! Another session holds a snapshot for a long time: dead rows stay, and a claim costs no more than before.

use std::time::Duration;

use course_sync::outbox::long_transactions::oldest_transaction;
use course_sync::policy::backlog::Cursor;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};

use super::{generous, leader, take};
use crate::support::postgres::database;

/// The pages of the outbox and its indexes that were read so far, in memory or not.
async fn pages_read(pool: &PgPool) -> i64 {
    // Publishes this session's statistics now instead of within a second.
    sqlx::query("select pg_stat_force_next_flush()").execute(pool).await.unwrap();
    sqlx::query_scalar(
        "select (heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read)::bigint
           from pg_statio_user_tables where relname = 'course_outbox'",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_claim_reads_no_more_pages_while_a_snapshot_is_held() {
    let database = database().await;
    let pool = PgPoolOptions::new().max_connections(1).connect(&database.url().await).await.unwrap();
    sqlx::query(
        "insert into course_outbox (course_key, properties)
         select 'A-' || n, jsonb_build_object('hs_course_name', 'Course A ' || n) from generate_series(1, 10000) n",
    )
    .execute(&pool)
    .await
    .unwrap();
    let mut foreign = PgConnection::connect(&database.url().await).await.unwrap();
    sqlx::raw_sql("begin isolation level repeatable read; select count(*) from course_outbox")
        .execute(&mut foreign)
        .await
        .unwrap();
    let lease = leader(&pool).await;
    let (mut cursor, mut costs) = (Cursor::default(), Vec::new());
    for _ in 0..100 {
        let before = pages_read(&pool).await;
        let (_, taken) = take(&pool, lease, generous(), cursor).await;
        assert_eq!(taken.courses.len(), 100);
        cursor = taken.remaining.cursor();
        costs.push(pages_read(&pool).await - before);
    }
    let mean = |costs: &[i64]| costs.iter().sum::<i64>() / i64::try_from(costs.len()).unwrap();
    let (first, last) = (mean(&costs[..10]), mean(&costs[90..]));
    eprintln!("pages read by a claim of 100: {first} at first, {last} after 9000 courses");
    assert!(first > 0 && last < first * 2, "{first} grew to {last}: {costs:?}");

    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut foreign).await.unwrap();
    let found = oldest_transaction(&pool, Duration::ZERO).await.unwrap().expect("the transaction is found");
    assert_eq!(found.pid, pid);
    assert_eq!(oldest_transaction(&pool, Duration::from_hours(1)).await.unwrap(), None);
}
