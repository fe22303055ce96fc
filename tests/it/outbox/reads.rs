//! Requests that create nothing: the rate window remembers them, and what they find is checked.

use std::time::Duration;

use course_sync::course::HubSpotId;
use course_sync::outbox::lease::Lease;
use course_sync::outbox::record::Ending;
use course_sync::outbox::recover::{
    Question, is_record_of_another, note_answer, note_question, recent_requests,
};
use course_sync::policy::batch::RowId;
use course_sync::policy::interpret::RequestOutcome;
use jiff::Timestamp;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{enqueue, execute, leader};
use crate::support::postgres::database;

const WINDOW: Duration = Duration::from_secs(10);
const REACH: Duration = Duration::from_secs(40);
const SEND_WINDOW: Duration = Duration::from_secs(20);

async fn noted(pool: &PgPool, lease: Lease, question: Question) -> Uuid {
    let request = Uuid::now_v7();
    note_question(pool, lease, request, question, &[RowId(7), RowId(8)], SEND_WINDOW).await.unwrap();
    request
}

/// What a takeover counts, in seconds.
async fn counted(pool: &PgPool) -> Vec<f64> {
    let left = recent_requests(pool, Uuid::new_v4(), REACH, WINDOW).await.unwrap();
    left.into_iter().map(|left| left.as_secs_f64()).collect()
}

#[tokio::test]
async fn one_noted_with_its_end_counts_for_a_window_from_its_end() {
    let database = database().await;
    let pool = database.pool();
    let lease = leader(pool).await;
    let ending = Ending {
        outcome: Some(RequestOutcome::Ok),
        http_status: Some(207),
        correlation_id: Some("c-1".into()),
        passed: None,
    };
    for (question, operation) in [(Question::Read, "read"), (Question::Account, "schema")] {
        execute(pool, "truncate course_sync_batch").await;
        let request = noted(pool, lease, question).await;
        let open = counted(pool).await;
        assert!(open.len() == 1 && open[0] > 25.0 && open[0] <= 30.0, "from its latest end: {open:?}");
        note_answer(pool, request, &ending).await.unwrap();
        let ended = counted(pool).await;
        assert!(ended.len() == 1 && ended[0] > 5.0 && ended[0] <= 10.0, "from its end: {ended:?}");
        let row: (String, String, Vec<i64>, String, i32, String, Option<bool>) = sqlx::query_as(
            "select operation, state, row_ids, outcome, http_status, correlation_id, passed from course_sync_batch",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        let expected = (operation.into(), "closed".into(), vec![7, 8], "ok".into(), 207, "c-1".into(), None);
        assert_eq!(row, expected);
        // Its end grows old like any other.
        execute(pool, "update course_sync_batch set answered_at = now() - interval '8 seconds'").await;
        let left = counted(pool).await;
        assert!(left.len() == 1 && left[0] <= 2.0, "{left:?}");
        execute(pool, "update course_sync_batch set answered_at = now() - interval '11 seconds'").await;
        assert!(counted(pool).await.is_empty());
    }
}

#[tokio::test]
async fn one_that_was_never_sent_does_not_count() {
    let database = database().await;
    let pool = database.pool();
    let lease = leader(pool).await;
    let request = noted(pool, lease, Question::Read).await;
    note_answer(pool, request, &Ending::NOT_SENT).await.unwrap();
    assert!(counted(pool).await.is_empty());
    assert!(
        recent_requests(pool, lease.holder, REACH, WINDOW).await.unwrap().is_empty(),
        "one's own are held anyway"
    );
}

#[tokio::test]
async fn a_record_that_another_course_has_already() {
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
    let ids: Vec<i64> =
        sqlx::query_scalar("select id from course_outbox order by id").fetch_all(pool).await.unwrap();
    let [a, b, c] = <[i64; 3]>::try_from(ids).unwrap().map(RowId);
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
        // It was found by a read, and no create is near.
        ("of b", now, c, false),
    ] {
        let record = HubSpotId::parse(record).unwrap();
        let is_taken = is_record_of_another(pool, &record, created_at, minute, course).await.unwrap();
        assert_eq!(is_taken, expected, "{record:?} at {created_at} for {course:?}");
    }
}
