//! Courses and requests that outbox and journal do not agree about.

use std::time::Duration;

use course_sync::course::{BatchId, RowId, Transition};
use course_sync::hubspot::api::outcome::RequestOutcome;
use course_sync::outbox::claim::ClaimLimits;
use course_sync::outbox::journal::close_settled_batches;
use course_sync::outbox::lease::{Lease, release};
use course_sync::outbox::record::RequestEnd;
use course_sync::outbox::recover::{due_lookups, mark_orphans_unconfirmed, settle_unconfirmed};
use course_sync::outbox::stranded::mark_stranded_unconfirmed;
use course_sync::policy::backlog::Cursor;
use serde_json::json;
use sqlx::PgPool;

use super::{enqueue, execute, generous, leader, record_all, rows, statuses, synced, take};
use crate::support::postgres::database;

const GRACE: Duration = Duration::from_mins(1);

async fn claimed_by(pool: &PgPool, lease: Lease, keys: &[&str]) -> (BatchId, Vec<RowId>) {
    for key in keys {
        enqueue(pool, key, json!({})).await;
    }
    let (batch, taken) =
        take(pool, lease, ClaimLimits { courses: 100, ..generous() }, Cursor::default()).await;
    (batch, taken.courses.iter().map(|course| course.id).collect())
}

/// The number of courses that were found without an intent.
async fn stranded(pool: &PgPool, lease: Lease) -> i64 {
    let chunk = mark_stranded_unconfirmed(pool, lease, RowId(0), Duration::ZERO, GRACE).await.unwrap();
    assert_eq!(chunk.next, None);
    chunk.courses
}

async fn batch_states(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("select state from course_sync_batch order by batch_id").fetch_all(pool).await.unwrap()
}

/// Deletes the journal as a restore does, without triggers.
async fn lose_journal(pool: &PgPool) {
    execute(
        pool,
        "begin; set local session_replication_role = replica; delete from course_sync_batch; commit",
    )
    .await;
}

fn end() -> RequestEnd {
    RequestEnd { outcome: Some(RequestOutcome::Ok), ..RequestEnd::NOT_SENT }
}

#[tokio::test]
async fn courses_that_an_earlier_version_left_in_flight_without_an_intent_become_unconfirmed() {
    let database = database().await;
    let pool = database.pool();
    let lease = leader(pool).await;
    let (batch, ids) = claimed_by(pool, lease, &["a", "b"]).await;
    assert_eq!(stranded(pool, lease).await, 0);
    execute(
        pool,
        "update course_outbox set status = 'in_flight', batch_id = (select batch_id from course_sync_batch)",
    )
    .await;
    lose_journal(pool).await;
    assert_eq!(stranded(pool, lease).await, 0, "the sender may still record a result");
    execute(pool, "update course_outbox set updated_at = now() - interval '1 hour'").await;
    let (live, _) = claimed_by(pool, lease, &["live"]).await;
    let stale = Lease { term: course_sync::course::Term(lease.term.0 - 1), ..lease };
    assert_eq!(stranded(pool, stale).await, 0, "only the leader decides");
    assert_eq!(stranded(pool, lease).await, 2);
    assert_eq!(stranded(pool, lease).await, 0);
    let found = due_lookups(pool, Some("key"), false, 100).await.unwrap().courses;
    let found: Vec<_> =
        found.iter().map(|it| (it.key.as_str(), it.property.as_deref(), it.batch, it.batch_size)).collect();
    assert_eq!(found, [("a", Some("key"), batch, 0), ("b", Some("key"), batch, 0)]);
    let held = due_lookups(pool, None, true, 100).await.unwrap().courses;
    assert_eq!(held.len(), 2, "without a unique property they are held");
    // A late result is a fact; the other course is settled by its look-up.
    assert_eq!(record_all(pool, batch, &[(ids[0], synced("7"))], &end()).await.unwrap(), 1);
    assert_eq!(settle_unconfirmed(pool, lease, &[(ids[1], batch, synced("8"))]).await.unwrap(), 1);
    close_settled_batches(pool).await.unwrap();
    assert_eq!(batch_states(pool).await, ["closed", "open"]);
    assert_eq!(record_all(pool, live, &[], &end()).await.unwrap(), 0);
}

#[tokio::test]
async fn an_unconfirmed_course_without_an_intent_keeps_how_it_can_be_proved() {
    let database = database().await;
    let pool = database.pool();
    let lease = leader(pool).await;
    claimed_by(pool, lease, &["keyed", "plain"]).await;
    execute(
        pool,
        "update course_outbox set status = 'unconfirmed', doubt = 'unknown', doubted_since = now() - interval '1 hour',
                doubt_property = case when course_key = 'keyed' then 'former' end,
                batch_id = (select batch_id from course_sync_batch)",
    )
    .await;
    lose_journal(pool).await;
    let before = rows(pool).await;
    assert_eq!(stranded(pool, lease).await, 2);
    assert_eq!(stranded(pool, lease).await, 0);
    let keyed = due_lookups(pool, Some("key"), false, 100).await.unwrap().courses;
    assert_eq!(keyed.len(), 1);
    assert_eq!((keyed[0].key.as_str(), keyed[0].property.as_deref()), ("keyed", Some("former")));
    assert_eq!(batch_states(pool).await, ["unknown"]);
    let since = |line: &String| line.split(" since-").next().unwrap().to_owned();
    assert_eq!(
        rows(pool).await.iter().map(since).collect::<Vec<_>>(),
        before.iter().map(since).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn an_intent_that_was_restored_in_part_is_completed() {
    let database = database().await;
    let pool = database.pool();
    let lease = leader(pool).await;
    let (_, ids) = claimed_by(pool, lease, &["a", "b"]).await;
    execute(
        pool,
        "update course_outbox set updated_at = now() - interval '1 hour', status = 'in_flight',
                batch_id = (select batch_id from course_sync_batch);
         update course_sync_batch set state = 'closed', row_ids = row_ids[1:1], unique_property = 'former'",
    )
    .await;
    assert_eq!(stranded(pool, lease).await, 2);
    let found = due_lookups(pool, Some("key"), false, 100).await.unwrap().courses;
    assert!(found.len() == 2 && found.iter().all(|it| it.property.as_deref() == Some("former")), "{found:?}");
    let row: (String, Vec<RowId>) =
        sqlx::query_as("select state, row_ids from course_sync_batch").fetch_one(pool).await.unwrap();
    assert_eq!(row, ("unknown".to_owned(), ids));
}

#[tokio::test]
async fn a_final_result_is_recorded_although_the_intent_is_missing() {
    let database = database().await;
    let pool = database.pool();
    let lease = leader(pool).await;
    let (batch, ids) = claimed_by(pool, lease, &["created", "back"]).await;
    lose_journal(pool).await;
    let back = Transition::Pending(course_sync::course::Requeue::Held);
    assert_eq!(record_all(pool, batch, &[(ids[0], synced("7")), (ids[1], back)], &end()).await.unwrap(), 1);
    let row = |key: &str, status: &str, attempts| (key.to_owned(), status.to_owned(), attempts);
    assert_eq!(statuses(pool).await, [row("created", "synced", 1), row("back", "pending", 0)]);
}

#[tokio::test]
async fn a_request_whose_rows_were_deleted_is_closed() {
    let database = database().await;
    let pool = database.pool();
    let old = leader(pool).await;
    claimed_by(pool, old, &["a"]).await;
    execute(pool, "delete from course_outbox").await;
    claimed_by(pool, old, &["b"]).await;
    release(pool, old).await.unwrap();
    let new = leader(pool).await;
    assert_eq!(mark_orphans_unconfirmed(pool, new, Duration::ZERO, GRACE, None).await.unwrap(), 1);
    assert_eq!(batch_states(pool).await, ["closed", "unknown"]);
    execute(pool, "delete from course_outbox").await;
    close_settled_batches(pool).await.unwrap();
    assert_eq!(batch_states(pool).await, ["closed", "closed"]);
}

#[tokio::test]
async fn an_open_request_cannot_be_deleted() {
    let database = database().await;
    let pool = database.pool();
    let lease = leader(pool).await;
    let (batch, ids) = claimed_by(pool, lease, &["a"]).await;
    for statement in ["delete from course_sync_batch", "truncate course_sync_batch"] {
        let error = sqlx::query(statement).execute(pool).await.unwrap_err();
        assert!(error.to_string().contains("could be sent a second time"), "{error}");
    }
    assert_eq!(record_all(pool, batch, &[(ids[0], synced("7"))], &end()).await.unwrap(), 1);
    execute(pool, "delete from course_sync_batch").await;
    execute(pool, "truncate course_sync_batch").await;
}
