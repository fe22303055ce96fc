//! The outbox in a real Postgres: what it refuses, what a claim takes, what a record changes.

mod cancel;
mod claim;
mod evidence;
mod failures;
mod history;
mod horizon;
mod lease;
mod pause;
mod reads;
mod recover;
mod retention;
mod schema;
mod suspects;
mod verify;

use std::sync::LazyLock;
use std::time::Duration;

use course_sync::outbox::claim::{Isolation, Limits, Taken, claim};
use course_sync::outbox::lease::{Lease, lead};
use course_sync::policy::attribution::{Lane, Sample};
use course_sync::policy::backlog::Cursor;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

const LEASE: Duration = Duration::from_mins(1);

/// A leader with a lease.
async fn leader(pool: &PgPool) -> Lease {
    lead(pool, Uuid::new_v4(), "test", LEASE, &json!({}), false)
        .await
        .unwrap()
        .expect("the lease is free")
        .lease
}

fn generous() -> Limits<'static> {
    static NO_EVIDENCE: LazyLock<Isolation> = LazyLock::new(Isolation::default);
    Limits {
        lane: Lane::Fresh,
        sample: Sample::Oldest,
        courses: 100,
        bytes: 10_000_000,
        unique_property: Some("key"),
        isolation: &NO_EVIDENCE,
    }
}

async fn take(pool: &PgPool, lease: Lease, limits: Limits<'_>, cursor: Cursor) -> (Uuid, Taken) {
    let batch = Uuid::now_v7();
    let margin = Duration::from_secs(1);
    let taken = claim(pool, lease, margin, batch, limits, cursor, Duration::from_secs(20)).await.unwrap();
    (batch, taken)
}

fn keys(taken: &Taken) -> Vec<&str> {
    taken.courses.iter().map(|course| course.key.as_str()).collect()
}

async fn enqueue(pool: &PgPool, key: &str, properties: serde_json::Value) {
    sqlx::query("insert into course_outbox (course_key, properties) values ($1, $2)")
        .bind(key)
        .bind(properties)
        .execute(pool)
        .await
        .unwrap();
}

async fn statuses(pool: &PgPool) -> Vec<(String, String, i32)> {
    sqlx::query_as("select course_key, status, attempts from course_outbox order by id")
        .fetch_all(pool)
        .await
        .unwrap()
}

/// Forgets what was counted so far of the use of indexes.
async fn reset_index_use(pool: &PgPool) {
    sqlx::raw_sql("analyze course_outbox; select pg_stat_force_next_flush(); select pg_stat_reset()")
        .execute(pool)
        .await
        .unwrap();
}

/// How often this index of the outbox was read since, and how many rows were read without any index.
async fn index_use(pool: &PgPool, index: &str) -> (i64, i64) {
    sqlx::raw_sql("select pg_stat_force_next_flush()").execute(pool).await.unwrap();
    sqlx::query_as(
        "select coalesce(sum(idx_scan), 0)::bigint,
                (select seq_tup_read from pg_stat_user_tables where relname = 'course_outbox')
           from pg_stat_user_indexes where indexrelname = $1",
    )
    .bind(index)
    .fetch_one(pool)
    .await
    .unwrap()
}

/// Every course as one line of what its row holds, in order of arrival.
async fn rows(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select concat_ws(' ', course_key, status, 'attempts=' || attempts, 'faults=' || faults, 'doubts=' || doubts,
                          'limit=' || batch_limit, 'id=' || hubspot_id, 'error=' || (error ->> 'category'),
                          case when next_attempt_at > now() then 'later' end,
                          case when suspected_at is not null then 'suspect' end,
                          'doubt=' || doubt, 'by=' || doubt_property,
                          case when doubted_since is not null then 'since-' || (
                              select coalesce(min(b.batch_id::text), 'no request')
                                from course_sync_batch b where b.claimed_at = doubted_since) end)
           from course_outbox order by id",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

async fn execute(pool: &PgPool, statement: &'static str) {
    sqlx::raw_sql(statement).execute(pool).await.unwrap();
}
