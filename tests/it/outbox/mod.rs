//! The outbox in a real Postgres: what it refuses, what a claim takes, what a record changes.

mod cancel;
mod claim;
mod failures;
mod history;
mod horizon;
mod lease;
mod recover;
mod retention;
mod schema;

use std::time::Duration;

use course_sync::outbox::claim::{Limits, Taken, claim};
use course_sync::outbox::lease::{Lease, lead};
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

const GENEROUS: Limits<'static> = Limits { courses: 100, bytes: 10_000_000, unique_property: Some("key") };

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
