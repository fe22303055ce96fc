//! Suspects, which failed in a request that named no course: they have a lane of their own and ever smaller batches.

use course_sync::course::{BatchId, ClaimedCourse};
use course_sync::outbox::claim::{ClaimLimits, Isolation};
use course_sync::outbox::evidence::requests_of_due_suspects;
use course_sync::policy::attribution::{ClaimOrder, Evidence, Lane};
use course_sync::policy::backlog::{Cursor, Remaining};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{enqueue, execute, generous, index_use, keys, leader, reset_index_use, take};
use crate::support::eventually::eventually;
use crate::support::postgres::database;

fn of_suspects(isolation: &Isolation) -> ClaimLimits<'_> {
    ClaimLimits { lane: Lane::Suspects, isolation, ..generous() }
}

/// The evidence about a request of this size if other requests passed before and after it: its courses caused the
/// failure.
fn at_fault(batch_size: u32) -> Evidence {
    Evidence { is_judged: false, before: Some(true), after: Some(true), batch_size }
}

/// Inserts `count` suspects that failed together in the request `batch`, each with this batch limit.
async fn insert_suspects(pool: &PgPool, prefix: &str, count: i32, batch: BatchId, limit: i16) {
    sqlx::query(
        "insert into course_outbox (course_key, properties, batch_id, batch_limit, suspected_at, attempts)
         select $1 || '-' || n, '{}', $3, $4, now(), 1 from generate_series(1, $2) n",
    )
    .bind(prefix)
    .bind(count)
    .bind(batch)
    .bind(limit)
    .execute(pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn each_lane_claims_only_its_own_courses() {
    let database = database().await;
    let pool = database.pool();
    enqueue(pool, "fresh-1", json!({})).await;
    insert_suspects(pool, "suspect", 2, BatchId(Uuid::now_v7()), 100).await;
    enqueue(pool, "fresh-2", json!({})).await;
    let lease = leader(pool).await;
    for (lane, expected) in
        [(Lane::Fresh, ["fresh-1", "fresh-2"]), (Lane::Suspects, ["suspect-1", "suspect-2"])]
    {
        let limits = ClaimLimits { lane, ..generous() };
        let (_, taken) = take(pool, lease, limits, Cursor::default()).await;
        assert_eq!(keys(&taken), expected, "{lane:?}");
        assert_eq!(taken.remaining, Remaining::Nothing);
        let (_, nothing) = take(pool, lease, limits, Cursor::default()).await;
        assert!(nothing.courses.is_empty(), "{lane:?}: {:?}", keys(&nothing));
    }
}

#[tokio::test]
async fn the_newest_sample_claims_from_the_end() {
    let database = database().await;
    let pool = database.pool();
    for key in ["a", "b", "c", "d", "e"] {
        enqueue(pool, key, json!({})).await;
    }
    insert_suspects(pool, "suspect", 1, BatchId(Uuid::now_v7()), 100).await;
    let lease = leader(pool).await;
    let two = |order| ClaimLimits { order, courses: 2, ..generous() };
    let (_, newest) = take(pool, lease, two(ClaimOrder::Newest), Cursor::default()).await;
    assert_eq!(keys(&newest), ["d", "e"]);
    assert_eq!(
        newest.remaining,
        Remaining::FromStart,
        "the remaining courses come before them, so no cursor leads there"
    );
    let (_, oldest) = take(pool, lease, two(ClaimOrder::Oldest), newest.remaining.cursor()).await;
    assert_eq!(keys(&oldest), ["a", "b"]);
    // The cursor after the oldest courses does not affect the newest sample.
    let (_, newest) = take(pool, lease, two(ClaimOrder::Newest), oldest.remaining.cursor()).await;
    assert_eq!(keys(&newest), ["c"]);
}

#[tokio::test]
async fn a_cursor_works_in_both_lanes() {
    for lane in [Lane::Fresh, Lane::Suspects] {
        let database = database().await;
        let pool = database.pool();
        for key in ["a", "b", "c", "d", "e"] {
            enqueue(pool, key, json!({})).await;
        }
        if lane == Lane::Suspects {
            execute(pool, "update course_outbox set suspected_at = now()").await;
        }
        let lease = leader(pool).await;
        let limits = ClaimLimits { lane, courses: 2, ..generous() };
        let (_, first) = take(pool, lease, limits, Cursor::default()).await;
        assert_eq!(keys(&first), ["a", "b"]);
        let Remaining::After(cursor) = first.remaining else { panic!("{:?}", first.remaining) };
        // A course before the cursor is due again: only a claim from the start finds it.
        execute(pool, "update course_sync_batch set recorded = '{1}'").await;
        let (_, second) = take(pool, lease, limits, cursor).await;
        assert_eq!(keys(&second), ["c", "d"], "{lane:?}");
        let (_, third) = take(pool, lease, limits, second.remaining.cursor()).await;
        assert_eq!(keys(&third), ["e"], "{lane:?}");
        let (_, beginning) = take(pool, lease, limits, third.remaining.cursor()).await;
        assert_eq!(keys(&beginning), ["a"], "{lane:?}");
    }
}

#[tokio::test]
async fn a_suspect_batch_is_split_in_tenths_unless_other_requests_failed_too() {
    let database = database().await;
    let pool = database.pool();
    let (failed, other) = (BatchId(Uuid::now_v7()), BatchId(Uuid::now_v7()));
    let outage = |batch_size| Evidence { before: Some(false), ..at_fault(batch_size) };
    let nothing = |batch_size| Evidence { batch_size, ..Evidence::default() };
    for (name, limit, about, evidence, expected) in [
        ("a hundred at fault", 100, failed, at_fault(100), 10),
        ("ninety-one at fault", 100, failed, at_fault(91), 10),
        ("ninety at fault", 100, failed, at_fault(90), 9),
        ("ten at fault", 10, failed, at_fault(10), 1),
        ("two at fault", 10, failed, at_fault(2), 1),
        ("one at fault", 1, failed, at_fault(1), 1),
        ("their own limit is smaller", 5, failed, at_fault(100), 5),
        ("without evidence: that costs a few requests and decides nothing", 100, failed, nothing(100), 10),
        ("other requests failed too", 20, failed, outage(100), 20),
        ("the evidence is about another request", 20, other, at_fault(100), 20),
    ] {
        execute(pool, "truncate course_outbox").await;
        insert_suspects(pool, "suspect", 30, failed, limit).await;
        let lease = new_leader(pool).await;
        let isolation = Isolation::from_evidence([(about, evidence)]);
        let (_, taken) = take(pool, lease, of_suspects(&isolation), Cursor::default()).await;
        assert_eq!(taken.courses.len(), expected, "{name}");
        let stored: i16 = sqlx::query_scalar(
            "select max(batch_limit) from course_outbox where id in (select id from course_sync_in_flight())",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        assert_eq!(stored, limit, "{name}: a result lowers the stored limit, a claim does not");
    }
}

/// Expires the lease and acquires it again.
async fn new_leader(pool: &PgPool) -> course_sync::outbox::lease::Lease {
    execute(pool, "update course_sync_leader set expires_at = '-infinity'").await;
    leader(pool).await
}

#[tokio::test]
async fn a_course_that_failed_in_its_own_request_is_blamed_if_the_evidence_shows_it() {
    let database = database().await;
    let pool = database.pool();
    let [alone, group, innocent, outage] = [(); 4].map(|()| BatchId(Uuid::now_v7()));
    insert_suspects(pool, "alone", 1, alone, 1).await;
    insert_suspects(pool, "group", 1, group, 1).await;
    insert_suspects(pool, "innocent", 1, innocent, 1).await;
    insert_suspects(pool, "outage", 1, outage, 1).await;
    let lease = leader(pool).await;
    let isolation = Isolation::from_evidence([
        (alone, at_fault(1)),
        // One of two courses: the other one may have caused it.
        (group, at_fault(2)),
        // No request passed after it: an outage may have begun in between.
        (outage, Evidence { after: None, ..at_fault(1) }),
    ]);
    let limits = of_suspects(&isolation);
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.extend(take(pool, lease, limits, Cursor::default()).await.1.courses);
    }
    let marked: Vec<_> =
        taken.iter().map(|course: &ClaimedCourse| (course.key.as_str(), course.is_blamed)).collect();
    assert_eq!(marked, [("alone-1", true), ("group-1", false), ("innocent-1", false), ("outage-1", false)]);
}

#[tokio::test]
async fn fresh_courses_are_never_blamed() {
    let database = database().await;
    let pool = database.pool();
    enqueue(pool, "a", json!({})).await;
    let lease = leader(pool).await;
    let isolation = Isolation::from_evidence([(BatchId(Uuid::now_v7()), at_fault(1))]);
    let (_, taken) =
        take(pool, lease, ClaimLimits { isolation: &isolation, ..generous() }, Cursor::default()).await;
    let marked: Vec<_> = taken.courses.iter().map(|course| course.is_blamed).collect();
    assert_eq!(marked, [false]);
}

#[tokio::test]
async fn only_requests_of_due_suspects_are_returned() {
    let database = database().await;
    let pool = database.pool();
    let [due, later, fresh, sent] = [(); 4].map(|()| BatchId(Uuid::now_v7()));
    assert!(requests_of_due_suspects(pool).await.unwrap().is_empty());
    insert_suspects(pool, "due", 2, due, 10).await;
    insert_suspects(pool, "later", 1, later, 10).await;
    insert_suspects(pool, "fresh", 1, fresh, 100).await;
    insert_suspects(pool, "sent", 1, sent, 10).await;
    execute(
        pool,
        "update course_outbox set next_attempt_at = now() + interval '1 hour' where course_key = 'later-1';
         update course_outbox set suspected_at = null where course_key = 'fresh-1';
         insert into course_sync_batch (batch_id, term, holder, row_ids, revisions, claim_number, oldest_open, send_by)
         select gen_random_uuid(), 1, gen_random_uuid(), array[id], '{1}', 1, 1, now() from course_outbox where course_key = 'sent-1'",
    )
    .await;
    assert_eq!(requests_of_due_suspects(pool).await.unwrap(), [due]);
}

#[tokio::test]
async fn claiming_suspects_reads_only_their_own_index() {
    let database = database().await;
    let pool = database.pool();
    execute(
        pool,
        "insert into course_outbox (course_key, properties) select 'fresh-' || n, '{}' from generate_series(1, 20000) n",
    )
    .await;
    insert_suspects(pool, "suspect", 50, BatchId(Uuid::now_v7()), 100).await;
    let lease = leader(pool).await;
    reset_index_use(pool).await;
    let (_, taken) = take(pool, lease, of_suspects(&Isolation::default()), Cursor::default()).await;
    assert_eq!(taken.courses.len(), 50);
    let scanned = eventually("the statistics are published", async || {
        let (scans, reads) = index_use(pool, "course_outbox_suspects").await;
        if scans > 0 { Ok(reads) } else { Err((scans, reads)) }
    })
    .await;
    assert_eq!(scanned, 0, "the claim scanned the table");
    assert_eq!(
        index_use(pool, "course_outbox_pending").await.0,
        0,
        "the claim read the index of the other lane"
    );
}
