//! A course's row is written once: by the statement that records its outcome. Rows that cannot be written stay in flight.

use std::time::Duration;

use course_sync::course::{BatchId, Doubt, Requeue, RowId, Transition};
use course_sync::outbox::claim::withdraw;
use course_sync::outbox::journal::close_settled_batches;
use course_sync::outbox::lease::release;
use course_sync::outbox::record::{LockedRows, RecordedCourses, RequestEnd, record};
use course_sync::outbox::recover::{due_lookups, mark_orphans_unconfirmed, settle_unconfirmed};
use course_sync::policy::backlog::Cursor;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{
    REQUEST_END, claimed, enqueue, execute, generous, keys, leader, record_all, statuses, synced, take,
    unconfirmed,
};
use crate::support::postgres::database;

/// Every course as synced with a record of its own.
fn all_synced(ids: &[RowId]) -> Vec<(RowId, Transition)> {
    ids.iter().map(|id| (*id, synced(&id.0.to_string()))).collect()
}

async fn skip_locked(pool: &PgPool, batch: BatchId, outcomes: &[(RowId, Transition)]) -> RecordedCourses {
    record(pool, batch, outcomes, &[], &REQUEST_END, Some("locked"), LockedRows::Skip).await.unwrap()
}

/// State, recorded courses and reason of each request.
async fn journal(pool: &PgPool) -> Vec<(String, Vec<RowId>, Option<String>)> {
    sqlx::query_as("select state, recorded, blocked from course_sync_batch order by claim_number")
        .fetch_all(pool)
        .await
        .unwrap()
}

async fn summary(pool: &PgPool) -> Vec<(String, String)> {
    statuses(pool).await.into_iter().map(|(key, status, _)| (key, status)).collect()
}

fn expected<const N: usize>(rows: [(&str, &str); N]) -> Vec<(String, String)> {
    rows.map(|(key, status)| (key.to_owned(), status.to_owned())).to_vec()
}

#[tokio::test]
async fn a_course_is_written_once_from_its_insert_to_its_end() {
    let database = database().await;
    let pool = database.pool();
    let (_, batch, ids) = claimed(pool, &["a", "b", "c"]).await;
    record_all(pool, batch, &all_synced(&ids), &REQUEST_END).await.unwrap();
    // The transaction that wrote a row version inserted it, or recorded its outcome: the rows have one writer after the
    // three inserts.
    sqlx::raw_sql("select pg_stat_force_next_flush()").execute(pool).await.unwrap();
    let updates: i64 = crate::support::eventually::eventually("the statistics are published", async || {
        let updates: i64 =
            sqlx::query_scalar("select n_tup_upd from pg_stat_user_tables where relname = 'course_outbox'")
                .fetch_one(pool)
                .await
                .unwrap();
        if updates > 0 { Ok(updates) } else { Err(updates) }
    })
    .await;
    assert_eq!(updates, 3);
}

#[tokio::test]
async fn a_locked_row_stays_in_flight_and_the_others_are_recorded() {
    let database = database().await;
    let pool = database.pool();
    let (lease, batch, ids) = claimed(pool, &["a", "b", "c"]).await;
    let mut operator = pool.begin().await.unwrap();
    sqlx::query("select from course_outbox where course_key = 'b' for update")
        .execute(&mut *operator)
        .await
        .unwrap();
    let waited =
        record(pool, batch, &all_synced(&ids), &[], &REQUEST_END, None, LockedRows::Wait).await.unwrap_err();
    assert!(waited.concerns_single_rows(), "{waited}");
    let done = skip_locked(pool, batch, &all_synced(&ids)).await;
    assert_eq!(done, RecordedCourses { recorded: 2, waiting: vec![ids[1]] });
    assert_eq!(summary(pool).await, expected([("a", "synced"), ("b", "in_flight"), ("c", "synced")]));
    assert_eq!(journal(pool).await, [("open".to_owned(), vec![ids[0], ids[2]], Some("locked".to_owned()))]);
    let (_, nothing) = take(pool, lease, generous(), Cursor::default()).await;
    assert!(keys(&nothing).is_empty(), "it is not claimed again");
    operator.rollback().await.unwrap();
    let done = skip_locked(pool, batch, &[(ids[1], synced("2"))]).await;
    assert_eq!(done, RecordedCourses { recorded: 1, waiting: Vec::new() });
    close_settled_batches(pool).await.unwrap();
    assert_eq!(journal(pool).await, [("closed".to_owned(), Vec::new(), None)]);
}

#[tokio::test]
async fn a_row_whose_write_a_trigger_ignores_stays_in_flight() {
    let database = database().await;
    let pool = database.pool();
    let (_, batch, ids) = claimed(pool, &["a", "b"]).await;
    execute(
        pool,
        "create function ignore() returns trigger language plpgsql as 'begin return null; end';
         create trigger ignore before update on course_outbox for each row when (new.course_key = 'a')
            execute function ignore()",
    )
    .await;
    let done = skip_locked(pool, batch, &all_synced(&ids)).await;
    assert_eq!(done, RecordedCourses { recorded: 1, waiting: vec![ids[0]] });
    execute(pool, "drop trigger ignore on course_outbox").await;
    assert_eq!(skip_locked(pool, batch, &all_synced(&ids[..1])).await.recorded, 1);
    assert_eq!(summary(pool).await, expected([("a", "synced"), ("b", "synced")]));
}

#[tokio::test]
async fn outcomes_of_part_of_a_request_leave_the_rest_in_flight() {
    let database = database().await;
    let pool = database.pool();
    let (lease, batch, ids) = claimed(pool, &["a", "b", "c", "d"]).await;
    record_all(pool, batch, &[(ids[0], Transition::Pending(Requeue::Held))], &REQUEST_END).await.unwrap();
    assert_eq!(
        summary(pool).await,
        expected([("a", "pending"), ("b", "in_flight"), ("c", "in_flight"), ("d", "in_flight")])
    );
    // A course whose outcome is recorded may be sent again while the request is still open for others.
    let (second, taken) = take(pool, lease, generous(), Cursor::default()).await;
    assert_eq!(keys(&taken), ["a"]);
    // Then its outcome in the first request is stale.
    assert_eq!(record_all(pool, batch, &all_synced(&ids[..1]), &REQUEST_END).await.unwrap(), 0);
    assert_eq!(record_all(pool, second, &all_synced(&ids[..1]), &REQUEST_END).await.unwrap(), 1);
    // Rows that are gone wait for nothing.
    execute(pool, "delete from course_outbox where course_key = 'b'").await;
    assert_eq!(record_all(pool, batch, &all_synced(&ids[1..3]), &REQUEST_END).await.unwrap(), 1);
    record_all(pool, batch, &[(ids[3], Transition::Pending(Requeue::NotSent))], &REQUEST_END).await.unwrap();
    close_settled_batches(pool).await.unwrap();
    assert!(journal(pool).await.iter().all(|(state, ..)| state == "closed"));
    assert_eq!(summary(pool).await, expected([("a", "synced"), ("c", "synced"), ("d", "pending")]));
}

#[tokio::test]
async fn a_course_that_changes_in_flight_is_pending_again_with_the_revision_that_was_sent() {
    let database = database().await;
    let pool = database.pool();
    let (lease, batch, ids) = claimed(pool, &["a", "b", "c"]).await;
    // A write that changes nothing is no revision.
    execute(
        pool,
        "update course_outbox set properties = '{\"hs_course_name\": \"new\"}' where course_key in ('a', 'c');
         update course_outbox set properties = properties, associations = associations",
    )
    .await;
    let unknown = unconfirmed(Doubt::Unknown, None, Duration::ZERO);
    let outcomes = [(ids[0], synced("1")), (ids[1], synced("2")), (ids[2], unknown)];
    let done = record(pool, batch, &outcomes, &[], &REQUEST_END, None, LockedRows::Wait).await.unwrap();
    assert_eq!((done.recorded, done.waiting), (2, vec![ids[0]]), "what was sent is needed");
    let sent = [json!({ "hs_course_name": "old" })];
    let done =
        record(pool, batch, &outcomes[..1], &sent, &REQUEST_END, None, LockedRows::Wait).await.unwrap();
    assert_eq!((done.recorded, done.waiting), (1, Vec::new()));
    settle_unconfirmed(pool, lease, &[(ids[2], batch, synced("3"))]).await.unwrap();
    let rows: Vec<(String, i64, Option<i64>, Option<Value>)> = sqlx::query_as(
        "select status, revision, synced_revision, hubspot_properties from course_outbox order by id",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let expected = [
        ("pending".to_owned(), 2, Some(1), Some(sent[0].clone())),
        ("synced".to_owned(), 1, Some(1), None),
        // What was sent is not known, so the names alone are: here none.
        ("pending".to_owned(), 2, Some(0), Some(json!({}))),
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn a_takeover_finds_what_it_can_write_and_waits_for_nothing() {
    let database = database().await;
    let pool = database.pool();
    let (old, batch, ids) = claimed(pool, &["a", "b", "c"]).await;
    let mut operator = pool.begin().await.unwrap();
    sqlx::query("select from course_outbox where course_key = 'b' for update")
        .execute(&mut *operator)
        .await
        .unwrap();
    release(pool, old).await.unwrap();
    let new = leader(pool).await;
    let mark = async || {
        mark_orphans_unconfirmed(pool, new, Duration::ZERO, Duration::from_mins(1), None).await.unwrap()
    };
    assert_eq!(mark().await, 2);
    assert_eq!(
        summary(pool).await,
        expected([("a", "unconfirmed"), ("b", "in_flight"), ("c", "unconfirmed")])
    );
    let (_, nothing) = take(pool, new, generous(), Cursor::default()).await;
    assert!(keys(&nothing).is_empty(), "nothing of it is sent again");
    // The old leader's response is a fact, for the courses in doubt and for the one that is still in flight.
    assert_eq!(
        skip_locked(pool, batch, &all_synced(&ids)).await,
        RecordedCourses { recorded: 2, waiting: vec![ids[1]] }
    );
    assert_eq!(mark().await, 0);
    operator.rollback().await.unwrap();
    assert_eq!(mark().await, 1);
    let due = due_lookups(pool, Some("key"), false, 10).await.unwrap().courses;
    assert_eq!(
        due.iter().map(|course| (course.key.as_str(), course.batch)).collect::<Vec<_>>(),
        [("b", batch)]
    );
    settle_unconfirmed(pool, new, &[(ids[1], batch, synced("2"))]).await.unwrap();
    close_settled_batches(pool).await.unwrap();
    assert_eq!(journal(pool).await[0].0, "closed");
    let attempts: Vec<_> = statuses(pool).await.into_iter().map(|(_, _, attempts)| attempts).collect();
    assert_eq!(attempts, [1, 1, 1], "each was sent once");
}

#[tokio::test]
async fn a_course_that_was_not_sent_leaves_no_doubt_although_a_takeover_marked_it() {
    let database = database().await;
    let pool = database.pool();
    let (old, batch, ids) = claimed(pool, &["a"]).await;
    release(pool, old).await.unwrap();
    let new = leader(pool).await;
    let marked =
        mark_orphans_unconfirmed(pool, new, Duration::ZERO, Duration::from_mins(1), None).await.unwrap();
    assert_eq!(marked, 1);
    let not_sent = [(ids[0], Transition::Pending(Requeue::NotSent))];
    assert_eq!(record_all(pool, batch, &not_sent, &RequestEnd::NOT_SENT).await.unwrap(), 1);
    assert_eq!(statuses(pool).await, [("a".to_owned(), "pending".to_owned(), 0)]);
}

#[tokio::test]
async fn a_withdrawn_claim_that_a_takeover_marked_returns_to_pending() {
    let database = database().await;
    let pool = database.pool();
    let (old, batch, _) = claimed(pool, &["a"]).await;
    release(pool, old).await.unwrap();
    let new = leader(pool).await;
    assert_eq!(
        mark_orphans_unconfirmed(pool, new, Duration::ZERO, Duration::from_mins(1), None).await.unwrap(),
        1
    );
    assert_eq!(withdraw(pool, &[batch]).await.unwrap(), 1);
    assert_eq!(statuses(pool).await, [("a".to_owned(), "pending".to_owned(), 0)]);
}

/// What an earlier version has claimed is in flight by its rows.
#[tokio::test]
async fn a_takeover_settles_what_an_earlier_version_left_in_flight() {
    let database = database().await;
    let pool = database.pool();
    for key in ["sent", "back", "other"] {
        enqueue(pool, key, json!({})).await;
    }
    let old = leader(pool).await;
    execute(
        pool,
        "insert into course_sync_batch (batch_id, term, holder, row_ids, send_by, unique_property)
         select gen_random_uuid(), term, holder, '{1,2}', now(), 'key' from course_sync_leader;
         update course_outbox set status = 'in_flight', attempts = 1, batch_id = (select batch_id from course_sync_batch)
          where course_key = 'sent'",
    )
    .await;
    let (_, taken) = take(pool, old, generous(), Cursor::default()).await;
    assert_eq!(keys(&taken), ["back", "other"]);
    release(pool, old).await.unwrap();
    let new = leader(pool).await;
    assert_eq!(
        mark_orphans_unconfirmed(pool, new, Duration::ZERO, Duration::from_mins(1), None).await.unwrap(),
        3
    );
    let row = |key: &str| (key.to_owned(), "unconfirmed".to_owned(), 1);
    assert_eq!(statuses(pool).await, ["sent", "back", "other"].map(row), "each was sent once");
}

/// An earlier version would send the courses of an open request again.
#[tokio::test]
async fn an_earlier_version_does_not_lead_while_requests_are_open() {
    let database = database().await;
    let pool = database.pool();
    let (lease, batch, ids) = claimed(pool, &["a"]).await;
    release(pool, lease).await.unwrap();
    let take_over = async || {
        let taken = sqlx::query(
            "update course_sync_leader set term = term + 1, holder = gen_random_uuid(), expires_at = now()
              where expires_at < clock_timestamp()",
        );
        taken.execute(pool).await.unwrap().rows_affected()
    };
    assert_eq!(take_over().await, 0);
    record_all(pool, batch, &all_synced(&ids), &REQUEST_END).await.unwrap();
    assert_eq!(take_over().await, 1);
    // A newer version may lead at any time.
    enqueue(pool, "b", json!({})).await;
    let lease = leader(pool).await;
    take(pool, lease, generous(), Cursor::default()).await;
    release(pool, lease).await.unwrap();
    leader(pool).await;
}
