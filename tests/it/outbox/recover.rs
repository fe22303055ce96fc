//! Recording, and what becomes of what was never recorded.

use std::time::Duration;

use course_sync::course::{Again, Category, CourseError, HubSpotId, Provenance, Transition};
use course_sync::outbox::lease::release;
use course_sync::outbox::record::{Ending, record};
use course_sync::outbox::recover::{close, due, orphan, recent_requests, settle};
use course_sync::policy::backlog::Cursor;
use course_sync::policy::batch::RowId;
use course_sync::policy::interpret::RequestOutcome;
use jiff::Timestamp;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{GENEROUS, enqueue, leader, statuses, take};
use crate::support::postgres::database;

/// Key, status, attempts, faults, batch limit, id, has an error, is due later.
type Row = (String, String, i32, i32, i16, Option<String>, bool, bool);

const ENDING: Ending =
    Ending { outcome: Some(RequestOutcome::Ok), http_status: Some(201), correlation_id: None };

fn synced(id: &str) -> Transition {
    Transition::Synced { hubspot_id: HubSpotId::parse(id).unwrap(), provenance: Provenance::Created }
}

fn error() -> CourseError {
    let words = "HubSpot's \"own\" words\u{1f}";
    CourseError { http_status: Some(207), ..CourseError::new(Category::Validation, words, Timestamp::now()) }
}

async fn claimed(pool: &PgPool, keys: &[&str]) -> (course_sync::outbox::lease::Lease, Uuid, Vec<RowId>) {
    for key in keys {
        enqueue(pool, key, json!({})).await;
    }
    let lease = leader(pool).await;
    let (batch, taken) = take(pool, lease, GENEROUS, Cursor::default()).await;
    (lease, batch, taken.courses.iter().map(|course| course.id).collect())
}

async fn batch_state(pool: &PgPool, batch: Uuid) -> String {
    sqlx::query_scalar("select state from course_sync_batch where batch_id = $1")
        .bind(batch)
        .fetch_one(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn each_transition_writes_its_columns_and_a_repetition_nothing() {
    let database = database().await;
    let pool = database.pool();
    let (_, batch, ids) = claimed(pool, &["synced", "failed", "unsent", "held", "isolated", "unknown"]).await;
    let transitions: Vec<_> = ids
        .into_iter()
        .zip([
            synced("7"),
            Transition::Failed { error: error() },
            Transition::Pending(Again::NotSent),
            Transition::Pending(Again::Held),
            Transition::Pending(Again::Isolate { batch_limit: 3, error: error() }),
            Transition::Unconfirmed {
                error: error(),
                own_fault: true,
                batch_limit: Some(50),
                look_after: Duration::from_mins(1),
            },
        ])
        .collect();
    assert_eq!(record(pool, batch, &transitions, &ENDING).await.unwrap(), 6);
    assert_eq!(batch_state(pool, batch).await, "unknown");
    let rows: Vec<Row> = sqlx::query_as(
        "select course_key, status, attempts, faults, batch_limit, hubspot_id, error is not null, next_attempt_at > now()
           from course_outbox order by id",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let row = |key: &str, status: &str, attempts, faults, limit, id: Option<&str>, error, later| {
        (key.to_owned(), status.to_owned(), attempts, faults, limit, id.map(str::to_owned), error, later)
    };
    assert_eq!(
        rows,
        [
            row("synced", "synced", 1, 0, 100, Some("7"), false, false),
            row("failed", "failed", 1, 0, 100, None, true, false),
            row("unsent", "pending", 0, 0, 100, None, false, false),
            row("held", "pending", 1, 0, 100, None, false, false),
            row("isolated", "pending", 1, 0, 3, None, true, false),
            row("unknown", "unconfirmed", 1, 1, 50, None, true, true),
        ]
    );
    let told: Vec<String> = sqlx::query_scalar("select event from course_sync_history order by id")
        .fetch_all(pool)
        .await
        .unwrap();
    assert_eq!(told, ["failed", "deferred", "unconfirmed"]);
    // The unknown one may still be decided by its own answer; the others are decided.
    let late: Vec<_> = transitions.iter().map(|(id, _)| (*id, synced("9"))).collect();
    assert_eq!(record(pool, batch, &late, &ENDING).await.unwrap(), 1);
    assert_eq!(record(pool, batch, &late, &ENDING).await.unwrap(), 0);
    assert_eq!(batch_state(pool, batch).await, "closed");
}

#[tokio::test]
async fn an_answer_of_another_batch_changes_nothing() {
    let database = database().await;
    let pool = database.pool();
    let (lease, first, ids) = claimed(pool, &["a"]).await;
    record(pool, first, &[(ids[0], Transition::Pending(Again::Held))], &ENDING).await.unwrap();
    let (second, taken) = take(pool, lease, GENEROUS, Cursor::default()).await;
    assert_eq!(taken.courses.len(), 1);
    assert_eq!(record(pool, first, &[(ids[0], synced("7"))], &ENDING).await.unwrap(), 0);
    assert_eq!(record(pool, second, &[(ids[0], synced("8"))], &ENDING).await.unwrap(), 1);
}

#[tokio::test]
async fn what_would_go_back_to_pending_is_in_doubt_where_a_later_sending_may_be_forgotten() {
    let database = database().await;
    let pool = database.pool();
    let (_, batch, ids) = claimed(pool, &["back", "created", "refused"]).await;
    // What another cluster, timeline or database would say of itself.
    sqlx::query("update course_sync_batch set incarnation = 'another'").execute(pool).await.unwrap();
    let transitions = [
        (ids[0], Transition::Pending(Again::Held)),
        (ids[1], synced("7")),
        (ids[2], Transition::Failed { error: error() }),
    ];
    assert_eq!(record(pool, batch, &transitions, &ENDING).await.unwrap(), 3);
    let rows = statuses(pool).await;
    let row = |key: &str, status: &str| (key.to_owned(), status.to_owned(), 1);
    assert_eq!(rows, [row("back", "unconfirmed"), row("created", "synced"), row("refused", "failed")]);
    assert_eq!(batch_state(pool, batch).await, "unknown");
    let doubted = due(pool, Some("key"), 100).await.unwrap();
    assert_eq!((doubted[0].key.as_str(), doubted[0].doubts, doubted[0].company), ("back", 1, 3));
    assert!(doubted[0].error.as_ref().unwrap().message.contains("the database may have lost"));
    // A repetition would be the same mistake.
    assert_eq!(record(pool, batch, &transitions[..1], &ENDING).await.unwrap(), 1);
    assert_eq!(statuses(pool).await[0].1, "unconfirmed");
}

#[tokio::test]
async fn a_new_leader_doubts_what_the_old_one_left_in_flight() {
    let database = database().await;
    let pool = database.pool();
    let (old, batch, ids) = claimed(pool, &["a", "b"]).await;
    let minute = Duration::from_mins(1);
    assert_eq!(
        orphan(pool, old, Duration::ZERO, minute).await.unwrap(),
        0,
        "its own live requests are not orphans"
    );
    release(pool, old).await.unwrap();
    let new = leader(pool).await;
    assert_eq!(orphan(pool, new, Duration::ZERO, minute).await.unwrap(), 2);
    assert_eq!(orphan(pool, new, Duration::ZERO, minute).await.unwrap(), 0);
    let doubted = due(pool, Some("key"), 100).await.unwrap();
    assert_eq!(doubted.iter().map(|course| course.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(doubted[0].error.as_ref().unwrap().category, Category::UnknownOutcome);
    // The old leader's answer is a fact, whoever leads now.
    assert_eq!(record(pool, batch, &[(ids[0], synced("7"))], &ENDING).await.unwrap(), 1);
    let findings = [
        (ids[0], batch, synced("8")),
        (ids[1], batch, Transition::Pending(Again::Resend { after: Duration::ZERO, suspicion: None })),
    ];
    assert_eq!(settle(pool, old, &findings).await.unwrap(), 0, "a decision needs the lease");
    assert_eq!(settle(pool, new, &findings).await.unwrap(), 1, "the first is no longer in doubt");
    close(pool).await.unwrap();
    assert_eq!(batch_state(pool, batch).await, "closed");
    let rows = statuses(pool).await;
    assert_eq!(rows, [("a".into(), "synced".into(), 1), ("b".into(), "pending".into(), 1)]);
}

#[tokio::test]
async fn what_is_to_settle_rests_first() {
    let database = database().await;
    let pool = database.pool();
    let (old, ..) = claimed(pool, &["a"]).await;
    release(pool, old).await.unwrap();
    let new = leader(pool).await;
    assert_eq!(orphan(pool, new, Duration::from_hours(1), Duration::from_mins(1)).await.unwrap(), 1);
    assert!(due(pool, Some("key"), 100).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_window_of_others_is_remembered() {
    let database = database().await;
    let pool = database.pool();
    let (lease, ..) = claimed(pool, &["a"]).await;
    let (window, reach) = (Duration::from_secs(10), Duration::from_secs(40));
    assert!(
        recent_requests(pool, lease.holder, reach, window).await.unwrap().is_empty(),
        "one's own are held anyway"
    );
    let left = recent_requests(pool, Uuid::new_v4(), reach, window).await.unwrap();
    assert!(
        left.len() == 1 && left[0] > window,
        "an open request holds its slot until a window after its latest end: {left:?}"
    );
}
