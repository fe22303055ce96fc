//! Read requests: they count towards the quota, and a record that they find is checked.

use std::time::Duration;

use course_sync::course::{BatchId, HubSpotId, InstanceId, RowId};
use course_sync::hubspot::api::outcome::RequestOutcome;
use course_sync::outbox::evidence::is_record_of_another_course;
use course_sync::outbox::journal::{ReadPurpose, recent_requests, record_read_end, record_read_start};
use course_sync::outbox::lease::Lease;
use course_sync::outbox::record::RequestEnd;
use jiff::Timestamp;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{enqueue, execute, leader};
use crate::support::postgres::database;

const WINDOW: Duration = Duration::from_secs(10);
const REACH: Duration = Duration::from_secs(40);
const SEND_WINDOW: Duration = Duration::from_secs(20);

async fn start_read(pool: &PgPool, lease: Lease, purpose: ReadPurpose) -> BatchId {
    let request = BatchId(Uuid::now_v7());
    record_read_start(pool, lease, request, purpose, &[RowId(7), RowId(8)], SEND_WINDOW).await.unwrap();
    request
}

/// For each request that a new leader counts: how long it still counts, in seconds.
async fn counted_seconds(pool: &PgPool) -> Vec<f64> {
    let left = recent_requests(pool, InstanceId(Uuid::new_v4()), REACH, WINDOW).await.unwrap();
    left.into_iter().map(|left| left.as_secs_f64()).collect()
}

#[tokio::test]
async fn a_read_counts_towards_the_quota_for_a_window_after_its_end() {
    let database = database().await;
    let pool = database.pool();
    let lease = leader(pool).await;
    let end = RequestEnd {
        outcome: Some(RequestOutcome::Ok),
        http_status: Some(207),
        correlation_id: Some("c-1".into()),
        passed: None,
    };
    for (purpose, operation) in [(ReadPurpose::Lookup, "read"), (ReadPurpose::Account, "schema")] {
        execute(pool, "truncate course_sync_batch").await;
        let request = start_read(pool, lease, purpose).await;
        let open = counted_seconds(pool).await;
        assert!(
            open.len() == 1 && open[0] > 25.0 && open[0] <= 30.0,
            "it counts from its latest possible end: {open:?}"
        );
        record_read_end(pool, request, &end).await.unwrap();
        let ended = counted_seconds(pool).await;
        assert!(ended.len() == 1 && ended[0] > 5.0 && ended[0] <= 10.0, "it counts from its end: {ended:?}");
        let row: (String, String, Vec<i64>, String, i32, String, Option<bool>) = sqlx::query_as(
            "select operation, state, row_ids, outcome, http_status, correlation_id, passed from course_sync_batch",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        let expected = (operation.into(), "closed".into(), vec![7, 8], "ok".into(), 207, "c-1".into(), None);
        assert_eq!(row, expected);
        // It stops counting a window after its end.
        execute(pool, "update course_sync_batch set answered_at = now() - interval '8 seconds'").await;
        let left = counted_seconds(pool).await;
        assert!(left.len() == 1 && left[0] <= 2.0, "{left:?}");
        execute(pool, "update course_sync_batch set answered_at = now() - interval '11 seconds'").await;
        assert!(counted_seconds(pool).await.is_empty());
    }
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_extend_what_a_new_leader_counts() {
    let database = database().await;
    let pool = database.pool();
    let lease = leader(pool).await;
    start_read(pool, lease, ReadPurpose::Lookup).await;
    let ended = start_read(pool, lease, ReadPurpose::Lookup).await;
    let end = RequestEnd { outcome: Some(RequestOutcome::Ok), ..RequestEnd::NOT_SENT };
    record_read_end(pool, ended, &end).await.unwrap();
    execute(
        pool,
        "update course_sync_batch set claimed_at = claimed_at + interval '1 day', send_by = send_by + interval '1 day',
                                      answered_at = answered_at + interval '1 day'",
    )
    .await;
    let left = counted_seconds(pool).await;
    assert_eq!(left, [REACH.as_secs_f64(); 2]);
}

#[tokio::test]
async fn a_read_that_was_not_sent_does_not_count_towards_the_quota() {
    let database = database().await;
    let pool = database.pool();
    let lease = leader(pool).await;
    let request = start_read(pool, lease, ReadPurpose::Lookup).await;
    record_read_end(pool, request, &RequestEnd::NOT_SENT).await.unwrap();
    assert!(counted_seconds(pool).await.is_empty());
    assert!(
        recent_requests(pool, lease.holder, REACH, WINDOW).await.unwrap().is_empty(),
        "the rate limiter already holds this instance's own requests"
    );
}

#[tokio::test]
async fn a_record_that_belongs_to_another_course_is_recognized() {
    let database = database().await;
    let pool = database.pool();
    for key in ["a", "b", "c"] {
        enqueue(pool, key, json!({})).await;
    }
    execute(
        pool,
        "update course_outbox set status = 'synced', hubspot_id = 'of ' || course_key, synced_at = now()
          where course_key <> 'c';
         insert into course_sync_batch (batch_id, operation, term, holder, row_ids, state, claimed_at, send_by)
         select gen_random_uuid(), operation, 1, gen_random_uuid(),
                array(select id from course_outbox where course_key = any(keys)), 'closed', now(), now()
           from (values ('create', array['a', 'c']), ('read', array['b'])) requests (operation, keys)",
    )
    .await;
    let ids: Vec<RowId> =
        sqlx::query_scalar("select id from course_outbox order by id").fetch_all(pool).await.unwrap();
    let [a, b, c] = <[RowId; 3]>::try_from(ids).unwrap();
    let now = Timestamp::now();
    let minute = Duration::from_mins(1);
    for (record, created_at, course, expected) in [
        ("of a", now, c, true),
        ("of a", now, b, true),
        ("of a", now, a, false),
        ("of a", now + minute / 2, c, true),
        ("of a", now - minute / 2, c, true),
        ("of a", now + minute * 2, c, false),
        ("of a", now - minute * 2, c, false),
        ("of nothing", now, c, false),
        // The only request near it is a read, which created nothing.
        ("of b", now, c, false),
    ] {
        let record = HubSpotId::parse(record).unwrap();
        let is_taken = is_record_of_another_course(pool, &record, created_at, minute, course).await.unwrap();
        assert_eq!(is_taken, expected, "{record:?} at {created_at} for {course:?}");
    }
}
