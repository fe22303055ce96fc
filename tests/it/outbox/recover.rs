//! Recording results, and recovering courses whose result was never recorded.

use std::time::Duration;

use course_sync::course::{
    BatchId, Category, CourseError, Doubt, HubSpotId, InstanceId, Provenance, Requeue, Suspicion, Transition,
};
use course_sync::outbox::changes::due_records;
use course_sync::outbox::claim::{ClaimLimits, withdraw};
use course_sync::outbox::journal::{close_settled_batches, recent_requests};
use course_sync::outbox::lease::release;
use course_sync::outbox::record::RequestEnd;
use course_sync::outbox::recover::{
    PostponedLookup, due_lookups, mark_orphans_unconfirmed, postpone_lookups, settle_unconfirmed,
};
use course_sync::policy::backlog::Cursor;
use jiff::Timestamp;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    REQUEST_END, claimed, enqueue, generous, leader, record_all, rows, statuses, synced, take, unconfirmed,
};
use crate::support::eventually::eventually;
use crate::support::postgres::database;

fn later(error: Option<CourseError>, suspicion: Suspicion) -> Transition {
    Transition::Pending(Requeue::Later { error, after: Duration::from_mins(1), suspicion })
}

fn error() -> CourseError {
    let message = "HubSpot's \"own\" message\u{1f}";
    CourseError {
        http_status: Some(207),
        ..CourseError::new(Category::Validation, message, Timestamp::now())
    }
}

async fn batch_state(pool: &PgPool, batch: BatchId) -> String {
    sqlx::query_scalar("select state from course_sync_batch where batch_id = $1")
        .bind(batch)
        .fetch_one(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn each_transition_writes_its_columns_and_recording_is_idempotent() {
    let database = database().await;
    let pool = database.pool();
    let minute = Duration::from_mins(1);
    let warned = Transition::Synced {
        hubspot_id: HubSpotId::parse("6").unwrap(),
        provenance: Provenance::Created,
        warning: Some(error()),
    };
    let cases = [
        ("synced", synced("7"), "synced attempts=1 faults=0 doubts=0 limit=100 id=7"),
        ("warned", warned, "synced attempts=1 faults=0 doubts=0 limit=100 id=6 error=VALIDATION_ERROR"),
        (
            "failed",
            Transition::Failed { error: error() },
            "failed attempts=1 faults=0 doubts=0 limit=100 error=VALIDATION_ERROR",
        ),
        ("unsent", Transition::Pending(Requeue::NotSent), "pending attempts=0 faults=0 doubts=0 limit=100"),
        ("held", Transition::Pending(Requeue::Held), "pending attempts=1 faults=0 doubts=0 limit=100"),
        (
            "unchanged",
            later(Some(error()), Suspicion::Unchanged),
            "pending attempts=1 faults=0 doubts=0 limit=100 error=VALIDATION_ERROR later",
        ),
        (
            "among",
            later(Some(error()), Suspicion::InBatch { batch_limit: 3 }),
            "pending attempts=1 faults=0 doubts=0 limit=3 error=VALIDATION_ERROR later suspect",
        ),
        (
            "alone",
            later(Some(error()), Suspicion::Single),
            "pending attempts=1 faults=1 doubts=0 limit=1 error=VALIDATION_ERROR later suspect",
        ),
        (
            "unknown",
            unconfirmed(Doubt::Unknown, None, minute),
            "unconfirmed attempts=1 faults=0 doubts=1 limit=100 error=unknown_outcome later doubt=unknown by=key since-",
        ),
        (
            "narrowed",
            unconfirmed(Doubt::Created, Some(50), minute),
            "unconfirmed attempts=1 faults=0 doubts=1 limit=50 error=unknown_outcome later suspect doubt=created by=key since-",
        ),
    ];
    let (_, batch, ids) = claimed(pool, &cases.each_ref().map(|(key, ..)| *key)).await;
    let transitions: Vec<_> =
        ids.iter().copied().zip(cases.each_ref().map(|(_, to, _)| to.clone())).collect();
    assert_eq!(record_all(pool, batch, &transitions, &REQUEST_END).await.unwrap(), 10);
    assert_eq!(batch_state(pool, batch).await, "unknown");
    let expected = cases.each_ref().map(|(key, _, row)| {
        let since = if row.ends_with("since-") { batch.to_string() } else { String::new() };
        format!("{key} {row}{since}")
    });
    assert_eq!(rows(pool).await, expected);
    let events: Vec<(String, String)> =
        sqlx::query_as("select course_key, event from course_sync_history order by id")
            .fetch_all(pool)
            .await
            .unwrap();
    let event = |key: &str, event: &str| (key.to_owned(), event.to_owned());
    assert_eq!(
        events,
        [
            event("warned", "confirmed"),
            event("failed", "failed"),
            event("unchanged", "deferred"),
            event("among", "deferred"),
            event("alone", "deferred"),
            event("unknown", "unconfirmed"),
            event("narrowed", "unconfirmed"),
        ]
    );
    // A late result may still settle the unconfirmed courses; the others are settled.
    let late: Vec<_> = ids.iter().map(|id| (*id, synced(&format!("late-{}", id.0)))).collect();
    assert_eq!(record_all(pool, batch, &late, &REQUEST_END).await.unwrap(), 2);
    assert_eq!(record_all(pool, batch, &late, &REQUEST_END).await.unwrap(), 0);
    close_settled_batches(pool).await.unwrap();
    assert_eq!(batch_state(pool, batch).await, "closed");
    let settled: Vec<(Option<String>, Option<serde_json::Value>)> =
        sqlx::query_as("select doubt, error from course_outbox where hubspot_id like 'late-%'")
            .fetch_all(pool)
            .await
            .unwrap();
    assert_eq!(settled, [(None, None), (None, None)], "no doubt and no error is left");
}

#[tokio::test]
async fn a_transition_without_an_error_keeps_the_error_of_the_row() {
    let database = database().await;
    let pool = database.pool();
    let (lease, first, ids) = claimed(pool, &["unsent", "held", "later", "replaced"]).await;
    let all_later: Vec<_> = ids
        .iter()
        .map(|id| {
            let again = Requeue::Later {
                error: Some(error()),
                after: Duration::ZERO,
                suspicion: Suspicion::Unchanged,
            };
            (*id, Transition::Pending(again))
        })
        .collect();
    record_all(pool, first, &all_later, &REQUEST_END).await.unwrap();
    let (second, taken) = take(pool, lease, generous(), Cursor::default()).await;
    assert_eq!(taken.courses.len(), 4);
    let other = CourseError::new(Category::Deferred, "later", Timestamp::now());
    let transitions = [
        (ids[0], Transition::Pending(Requeue::NotSent)),
        (ids[1], Transition::Pending(Requeue::Held)),
        (ids[2], later(None, Suspicion::Unchanged)),
        (ids[3], later(Some(other), Suspicion::Unchanged)),
    ];
    assert_eq!(record_all(pool, second, &transitions, &REQUEST_END).await.unwrap(), 4);
    let kept = "faults=0 doubts=0 limit=100 error=VALIDATION_ERROR";
    assert_eq!(
        rows(pool).await,
        [
            format!("unsent pending attempts=1 {kept}"),
            format!("held pending attempts=2 {kept}"),
            format!("later pending attempts=2 {kept} later"),
            "replaced pending attempts=2 faults=0 doubts=0 limit=100 error=deferred later".to_owned(),
        ]
    );
}

#[tokio::test]
async fn a_request_records_its_evidence() {
    for passed in [Some(true), Some(false), None] {
        let database = database().await;
        let pool = database.pool();
        let (_, batch, ids) = claimed(pool, &["a"]).await;
        let end = RequestEnd { passed, ..REQUEST_END };
        record_all(pool, batch, &[(ids[0], Transition::Pending(Requeue::Held))], &end).await.unwrap();
        let noted: Option<bool> =
            sqlx::query_scalar("select passed from course_sync_batch").fetch_one(pool).await.unwrap();
        assert_eq!(noted, passed);
    }
}

#[tokio::test]
async fn a_later_doubt_keeps_the_property_and_time_of_the_first() {
    let database = database().await;
    let pool = database.pool();
    let (lease, first, ids) = claimed(pool, &["a"]).await;
    let doubt = || [(ids[0], unconfirmed(Doubt::Unknown, None, Duration::ZERO))];
    record_all(pool, first, &doubt(), &REQUEST_END).await.unwrap();
    let again = Transition::Pending(Requeue::Later {
        error: None,
        after: Duration::ZERO,
        suspicion: Suspicion::Unchanged,
    });
    assert_eq!(settle_unconfirmed(pool, lease, &[(ids[0], first, again)]).await.unwrap(), 1);
    let back = "a pending attempts=1 faults=0 doubts=1 limit=100 error=unknown_outcome by=key since-";
    assert_eq!(rows(pool).await, [format!("{back}{first}")], "the first doubt stays in the row");
    let other = ClaimLimits { unique_property: Some("another"), ..generous() };
    let (second, taken) = take(pool, lease, other, Cursor::default()).await;
    assert_eq!((taken.courses[0].doubts, taken.courses[0].doubt_property.as_deref()), (1, Some("key")));
    record_all(pool, second, &doubt(), &REQUEST_END).await.unwrap();
    let twice = "a unconfirmed attempts=2 faults=0 doubts=2 limit=100 error=unknown_outcome doubt=unknown by=key since-";
    assert_eq!(rows(pool).await, [format!("{twice}{first}")]);
    let [doubted] = &due_lookups(pool, Some("another"), false, 100).await.unwrap().courses[..] else {
        panic!("not one unconfirmed course")
    };
    assert_eq!((doubted.property.as_deref(), doubted.batch), (Some("key"), second));
    assert!(doubted.doubted_since < doubted.sent_at, "{doubted:?}");
}

#[tokio::test]
async fn courses_that_cannot_be_looked_up_are_listed_separately() {
    let database = database().await;
    let pool = database.pool();
    for key in ["keyed-1", "keyed-2", "plain-1", "plain-2"] {
        enqueue(pool, key, json!({})).await;
    }
    let lease = leader(pool).await;
    for (unique_property, doubts) in
        [(Some("key"), [Doubt::Unknown, Doubt::Conflict]), (None, [Doubt::Created, Doubt::Refused])]
    {
        let limits = ClaimLimits { courses: 2, unique_property, ..generous() };
        let (batch, taken) = take(pool, lease, limits, Cursor::default()).await;
        let transitions: Vec<_> = taken
            .courses
            .iter()
            .zip(doubts)
            .map(|(course, doubt)| (course.id, unconfirmed(doubt, None, Duration::ZERO)))
            .collect();
        assert_eq!(record_all(pool, batch, &transitions, &REQUEST_END).await.unwrap(), 2);
    }
    let found = async |unique_property, unprovable, limit| {
        let found = due_lookups(pool, unique_property, unprovable, limit).await.unwrap().courses;
        found
            .into_iter()
            .map(|it| (it.key.as_str().to_owned(), it.doubt, it.property, it.batch_size))
            .collect::<Vec<_>>()
    };
    let row =
        |key: &str, doubt, property: Option<&str>| (key.to_owned(), doubt, property.map(str::to_owned), 2);
    // The present configuration changes nothing: a course is looked up by the property with which it was sent.
    for unique_property in [Some("key"), Some("another"), None] {
        assert_eq!(
            found(unique_property, false, 100).await,
            [row("keyed-1", Doubt::Unknown, Some("key")), row("keyed-2", Doubt::Conflict, Some("key"))]
        );
        assert_eq!(
            found(unique_property, true, 100).await,
            [row("plain-1", Doubt::Created, None), row("plain-2", Doubt::Refused, None)]
        );
        // The other courses take no place in a bounded list.
        assert_eq!(found(unique_property, true, 1).await, [row("plain-1", Doubt::Created, None)]);
    }
}

#[tokio::test]
async fn settling_writes_the_columns_of_each_transition() {
    let database = database().await;
    let pool = database.pool();
    let minute = Duration::from_mins(1);
    let several = Transition::Unconfirmed {
        error: CourseError::new(Category::Conflict, "several", Timestamp::now()),
        doubt: Doubt::Conflict,
        batch_limit: None,
        look_after: minute,
    };
    let gone = CourseError::new(Category::RecordGone, "in the recycle bin", Timestamp::now());
    let known = "by=key since-";
    let cases = [
        ("found", synced("7"), "synced attempts=1 faults=0 doubts=1 limit=100 id=7".to_owned()),
        (
            "gone",
            Transition::Failed { error: gone },
            "failed attempts=1 faults=0 doubts=1 limit=100 error=record_gone".to_owned(),
        ),
        (
            "again",
            later(None, Suspicion::Unchanged),
            "pending attempts=1 faults=0 doubts=1 limit=100 error=unknown_outcome later".to_owned(),
        ),
        (
            "among",
            later(Some(error()), Suspicion::InBatch { batch_limit: 10 }),
            "pending attempts=1 faults=0 doubts=1 limit=10 error=VALIDATION_ERROR later suspect".to_owned(),
        ),
        (
            "alone",
            later(None, Suspicion::Single),
            "pending attempts=1 faults=1 doubts=1 limit=1 error=unknown_outcome later suspect".to_owned(),
        ),
        (
            "several",
            several,
            "unconfirmed attempts=1 faults=0 doubts=1 limit=100 error=CONFLICT later doubt=conflict"
                .to_owned(),
        ),
    ];
    let (lease, batch, ids) = claimed(pool, &cases.each_ref().map(|(key, ..)| *key)).await;
    let doubts: Vec<_> =
        ids.iter().map(|id| (*id, unconfirmed(Doubt::Unknown, None, Duration::ZERO))).collect();
    record_all(pool, batch, &doubts, &REQUEST_END).await.unwrap();
    let settled: Vec<_> = ids.iter().zip(&cases).map(|(id, (_, to, _))| (*id, batch, to.clone())).collect();
    assert_eq!(settle_unconfirmed(pool, lease, &settled).await.unwrap(), 6);
    let expected = cases.each_ref().map(|(key, _, row)| format!("{key} {row} {known}{batch}"));
    assert_eq!(rows(pool).await, expected);
    assert_eq!(settle_unconfirmed(pool, lease, &settled).await.unwrap(), 1, "only one is still unconfirmed");
}

#[tokio::test]
async fn a_look_up_is_recorded_while_the_sequence_of_the_history_is_behind() {
    let database = database().await;
    let pool = database.pool();
    let (lease, batch, ids) = claimed(pool, &["a"]).await;
    let unconfirmed = [(ids[0], unconfirmed(Doubt::Unknown, None, Duration::ZERO))];
    record_all(pool, batch, &unconfirmed, &REQUEST_END).await.unwrap();
    sqlx::query("select setval(pg_get_serial_sequence('course_sync_history', 'id'), 1, false)")
        .execute(pool)
        .await
        .unwrap();
    let found = later(Some(error()), Suspicion::Single);
    assert_eq!(settle_unconfirmed(pool, lease, &[(ids[0], batch, found)]).await.unwrap(), 1);
}

#[tokio::test]
async fn a_look_up_that_settled_nothing_is_postponed_with_its_reason() {
    let database = database().await;
    let pool = database.pool();
    let (lease, batch, ids) = claimed(pool, &["kept", "shown", "settled"]).await;
    let doubts: Vec<_> =
        ids.iter().map(|id| (*id, unconfirmed(Doubt::Unknown, None, Duration::ZERO))).collect();
    record_all(pool, batch, &doubts, &REQUEST_END).await.unwrap();
    assert_eq!(settle_unconfirmed(pool, lease, &[(ids[2], batch, synced("7"))]).await.unwrap(), 1);
    let wait = Duration::from_mins(1);
    let remaining = [None, Some(error()), Some(error())]
        .into_iter()
        .zip(&ids)
        .map(|(error, id)| PostponedLookup { id: *id, wait, error })
        .collect::<Vec<_>>();
    postpone_lookups(pool, &remaining).await.unwrap();
    let doubt = format!("doubt=unknown by=key since-{batch}");
    assert_eq!(
        rows(pool).await,
        [
            format!(
                "kept unconfirmed attempts=1 faults=0 doubts=1 limit=100 error=unknown_outcome later {doubt}"
            ),
            format!(
                "shown unconfirmed attempts=1 faults=0 doubts=1 limit=100 error=VALIDATION_ERROR later {doubt}"
            ),
            format!("settled synced attempts=1 faults=0 doubts=1 limit=100 id=7 by=key since-{batch}"),
        ]
    );
    assert!(due_lookups(pool, Some("key"), false, 100).await.unwrap().courses.is_empty());
}

/// The statistics are older than the unconfirmed rows, so to read all of these looks cheap to the planner.
#[tokio::test]
async fn the_cost_of_a_settlement_does_not_grow_with_the_unconfirmed_rows() {
    let database = database().await;
    let pool = database.pool();
    let (lease, batch, mut ids) = claimed(pool, &["a", "b", "c"]).await;
    let others = "insert into course_outbox (course_key, properties) select 'other ' || i, '{}' from generate_series(1, 3000) i";
    sqlx::query(others).execute(pool).await.unwrap();
    sqlx::query("analyze course_outbox").execute(pool).await.unwrap();
    let doubted = "update course_outbox set status = 'unconfirmed', batch_id = $1, attempts = 1, doubts = 1, doubt = 'unknown'";
    sqlx::query(doubted).bind(batch).execute(pool).await.unwrap();
    let last = ids.split_off(1);
    assert_eq!(settle_unconfirmed(pool, lease, &[(ids[0], batch, synced("7"))]).await.unwrap(), 1);
    let wait = Duration::from_mins(1);
    let postponed: Vec<_> = last.iter().map(|id| PostponedLookup { id: *id, wait, error: None }).collect();
    postpone_lookups(pool, &postponed).await.unwrap();
    withdraw(pool, &[batch]).await.unwrap();
    assert!(due_records(pool, 100).await.unwrap().0.is_empty());
    let pending = statuses(pool).await.into_iter().filter(|(_, status, _)| status == "pending").count();
    assert_eq!(pending, 2, "of the rows that the request lists, those that are not settled");
    let reads = "select (select idx_scan from pg_stat_user_indexes where indexrelname = 'course_outbox_pkey'),
                        (select idx_tup_read from pg_stat_user_indexes where indexrelname = 'course_outbox_unconfirmed')";
    let unconfirmed_rows = eventually("the statistics arrive", async || {
        let (by_key, unconfirmed): (i64, i64) = sqlx::query_as(reads).fetch_one(pool).await.unwrap();
        if by_key >= 4 { Ok(unconfirmed) } else { Err(by_key) }
    })
    .await;
    assert!(unconfirmed_rows < 1_000, "{unconfirmed_rows} entries of the unconfirmed rows were read");
}

#[tokio::test]
async fn a_withdrawn_claim_is_not_unconfirmed() {
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
    let row = &rows(pool).await[0];
    assert!(row.starts_with("a pending attempts=0 ") && !row.contains("doubt="), "{row}");
}

#[tokio::test]
async fn a_result_of_another_batch_changes_nothing() {
    let database = database().await;
    let pool = database.pool();
    let (lease, first, ids) = claimed(pool, &["a"]).await;
    record_all(pool, first, &[(ids[0], Transition::Pending(Requeue::Held))], &REQUEST_END).await.unwrap();
    let (second, taken) = take(pool, lease, generous(), Cursor::default()).await;
    assert_eq!(taken.courses.len(), 1);
    assert_eq!(record_all(pool, first, &[(ids[0], synced("7"))], &REQUEST_END).await.unwrap(), 0);
    assert_eq!(record_all(pool, second, &[(ids[0], synced("8"))], &REQUEST_END).await.unwrap(), 1);
}

#[tokio::test]
async fn a_new_leader_marks_unconfirmed_what_the_old_one_left_in_flight() {
    let database = database().await;
    let pool = database.pool();
    let (old, batch, ids) = claimed(pool, &["a", "b"]).await;
    let minute = Duration::from_mins(1);
    assert_eq!(
        mark_orphans_unconfirmed(pool, old, Duration::ZERO, minute, None).await.unwrap(),
        0,
        "the leader's own live requests are not orphans"
    );
    release(pool, old).await.unwrap();
    let new = leader(pool).await;
    assert_eq!(mark_orphans_unconfirmed(pool, new, Duration::ZERO, minute, None).await.unwrap(), 2);
    assert_eq!(mark_orphans_unconfirmed(pool, new, Duration::ZERO, minute, None).await.unwrap(), 0);
    let doubted = due_lookups(pool, Some("key"), false, 100).await.unwrap().courses;
    assert_eq!(doubted.iter().map(|course| course.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(doubted[0].error.as_ref().unwrap().category, Category::UnknownOutcome);
    assert_eq!((doubted[0].doubt, doubted[0].property.as_deref()), (Doubt::Unknown, Some("key")));
    assert_eq!(doubted[0].doubted_since, doubted[0].sent_at, "unconfirmed since it was claimed");
    // The old leader's response is a fact, whichever instance leads now.
    assert_eq!(record_all(pool, batch, &[(ids[0], synced("7"))], &REQUEST_END).await.unwrap(), 1);
    let findings = [(ids[0], batch, synced("8")), (ids[1], batch, later(None, Suspicion::Unchanged))];
    assert_eq!(settle_unconfirmed(pool, old, &findings).await.unwrap(), 0, "a decision needs the lease");
    assert_eq!(
        settle_unconfirmed(pool, new, &findings).await.unwrap(),
        1,
        "the first is no longer unconfirmed"
    );
    close_settled_batches(pool).await.unwrap();
    assert_eq!(batch_state(pool, batch).await, "closed");
    let rows = statuses(pool).await;
    assert_eq!(rows, [("a".into(), "synced".into(), 1), ("b".into(), "pending".into(), 1)]);
}

#[tokio::test]
async fn an_orphaned_course_is_looked_up_only_after_the_settle_time() {
    let database = database().await;
    let pool = database.pool();
    let (old, ..) = claimed(pool, &["a"]).await;
    release(pool, old).await.unwrap();
    let new = leader(pool).await;
    assert_eq!(
        mark_orphans_unconfirmed(pool, new, Duration::from_hours(1), Duration::from_mins(1), None)
            .await
            .unwrap(),
        1
    );
    assert!(due_lookups(pool, Some("key"), false, 100).await.unwrap().courses.is_empty());
}

#[tokio::test]
async fn requests_of_other_instances_count_towards_the_quota() {
    let database = database().await;
    let pool = database.pool();
    let (lease, ..) = claimed(pool, &["a"]).await;
    let (window, reach) = (Duration::from_secs(10), Duration::from_secs(40));
    assert!(
        recent_requests(pool, lease.holder, reach, window).await.unwrap().is_empty(),
        "the rate limiter already holds this instance's own requests"
    );
    let left = recent_requests(pool, InstanceId(Uuid::new_v4()), reach, window).await.unwrap();
    assert!(
        left.len() == 1 && left[0] > window,
        "an open request counts until a window after its latest possible end: {left:?}"
    );
}
