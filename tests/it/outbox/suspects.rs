//! Suspects, which failed in a request that named no course: a lane of their own, ever smaller groups.

use course_sync::outbox::claim::{Isolation, Limits};
use course_sync::outbox::recover::requests_of_suspects;
use course_sync::policy::attribution::{Evidence, Lane, Sample};
use course_sync::policy::backlog::{Cursor, Rest};
use course_sync::policy::batch::Claimed;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{enqueue, execute, generous, index_use, keys, leader, reset_index_use, take};
use crate::support::eventually::eventually;
use crate::support::postgres::database;

fn of_suspects(isolation: &Isolation) -> Limits<'_> {
    Limits { lane: Lane::Suspects, isolation, ..generous() }
}

/// What is known about a request of so many courses where others passed before and after it: its courses are at fault.
fn at_fault(company: u32) -> Evidence {
    Evidence { is_judged: false, before: Some(true), after: Some(true), company }
}

/// `count` suspects that failed together in the request `batch`, each allowed to travel with `limit` others at most.
async fn suspects(pool: &PgPool, prefix: &str, count: i32, batch: Uuid, limit: i16) {
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
async fn each_lane_leaves_the_courses_of_the_other_alone() {
    let database = database().await;
    let pool = database.pool();
    enqueue(pool, "fresh-1", json!({})).await;
    suspects(pool, "suspect", 2, Uuid::now_v7(), 100).await;
    enqueue(pool, "fresh-2", json!({})).await;
    let lease = leader(pool).await;
    for (lane, expected) in
        [(Lane::Fresh, ["fresh-1", "fresh-2"]), (Lane::Suspects, ["suspect-1", "suspect-2"])]
    {
        let limits = Limits { lane, ..generous() };
        let (_, taken) = take(pool, lease, limits, Cursor::default()).await;
        assert_eq!(keys(&taken), expected, "{lane:?}");
        assert_eq!(taken.rest, Rest::Nothing);
        let (_, nothing) = take(pool, lease, limits, Cursor::default()).await;
        assert!(nothing.courses.is_empty(), "{lane:?}: {:?}", keys(&nothing));
    }
}

#[tokio::test]
async fn the_newest_sample_takes_from_the_other_end() {
    let database = database().await;
    let pool = database.pool();
    for key in ["a", "b", "c", "d", "e"] {
        enqueue(pool, key, json!({})).await;
    }
    suspects(pool, "suspect", 1, Uuid::now_v7(), 100).await;
    let lease = leader(pool).await;
    let two = |sample| Limits { sample, courses: 2, ..generous() };
    let (_, newest) = take(pool, lease, two(Sample::Newest), Cursor::default()).await;
    assert_eq!(keys(&newest), ["d", "e"]);
    assert_eq!(newest.rest, Rest::Behind, "the rest is before them, so no cursor leads to it");
    let (_, oldest) = take(pool, lease, two(Sample::Oldest), newest.rest.cursor()).await;
    assert_eq!(keys(&oldest), ["a", "b"]);
    // Where the cursor stands after the oldest makes no difference to the newest.
    let (_, newest) = take(pool, lease, two(Sample::Newest), oldest.rest.cursor()).await;
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
        let limits = Limits { lane, courses: 2, ..generous() };
        let (_, first) = take(pool, lease, limits, Cursor::default()).await;
        assert_eq!(keys(&first), ["a", "b"]);
        let Rest::Beyond(cursor) = first.rest else { panic!("{:?}", first.rest) };
        // One before the cursor comes back: only a claim from the beginning sees it.
        execute(pool, "update course_outbox set status = 'pending' where course_key = 'a'").await;
        let (_, second) = take(pool, lease, limits, cursor).await;
        assert_eq!(keys(&second), ["c", "d"], "{lane:?}");
        let (_, third) = take(pool, lease, limits, second.rest.cursor()).await;
        assert_eq!(keys(&third), ["e"], "{lane:?}");
        let (_, beginning) = take(pool, lease, limits, third.rest.cursor()).await;
        assert_eq!(keys(&beginning), ["a"], "{lane:?}");
    }
}

#[tokio::test]
async fn a_group_goes_on_in_tenths_unless_other_requests_failed_as_well() {
    let database = database().await;
    let pool = database.pool();
    let (failed, other) = (Uuid::now_v7(), Uuid::now_v7());
    let outage = |company| Evidence { before: Some(false), ..at_fault(company) };
    let nothing = |company| Evidence { company, ..Evidence::default() };
    for (name, limit, about, evidence, expected) in [
        ("a hundred at fault", 100, failed, at_fault(100), 10),
        ("ninety-one at fault", 100, failed, at_fault(91), 10),
        ("ninety at fault", 100, failed, at_fault(90), 9),
        ("ten at fault", 10, failed, at_fault(10), 1),
        ("two at fault", 10, failed, at_fault(2), 1),
        ("one at fault", 1, failed, at_fault(1), 1),
        ("they may not travel in so large a group", 5, failed, at_fault(100), 5),
        ("nothing is known: that costs some requests and decides nothing", 100, failed, nothing(100), 10),
        ("others failed as well", 20, failed, outage(100), 20),
        ("the evidence is about another request", 20, other, at_fault(100), 20),
    ] {
        execute(pool, "truncate course_outbox").await;
        suspects(pool, "suspect", 30, failed, limit).await;
        let lease = leader_again(pool).await;
        let isolation = Isolation::by([(about, evidence)]);
        let (_, taken) = take(pool, lease, of_suspects(&isolation), Cursor::default()).await;
        assert_eq!(taken.courses.len(), expected, "{name}");
        let stored: i16 =
            sqlx::query_scalar("select max(batch_limit) from course_outbox where status = 'in_flight'")
                .fetch_one(pool)
                .await
                .unwrap();
        assert_eq!(stored, limit, "{name}: the answer lowers what they may travel in, not the claim");
    }
}

/// The lease of an earlier leader of this database, taken again.
async fn leader_again(pool: &PgPool) -> course_sync::outbox::lease::Lease {
    execute(pool, "update course_sync_leader set expires_at = '-infinity'").await;
    leader(pool).await
}

#[tokio::test]
async fn what_failed_alone_and_is_at_fault_is_marked_as_blamed() {
    let database = database().await;
    let pool = database.pool();
    let [alone, group, innocent, outage] = [(); 4].map(|()| Uuid::now_v7());
    suspects(pool, "alone", 1, alone, 1).await;
    suspects(pool, "group", 1, group, 1).await;
    suspects(pool, "innocent", 1, innocent, 1).await;
    suspects(pool, "outage", 1, outage, 1).await;
    let lease = leader(pool).await;
    let isolation = Isolation::by([
        (alone, at_fault(1)),
        // One of two: it may have been the other.
        (group, at_fault(2)),
        // Nothing passed after it: an outage may have begun in between.
        (outage, Evidence { after: None, ..at_fault(1) }),
    ]);
    let limits = of_suspects(&isolation);
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.extend(take(pool, lease, limits, Cursor::default()).await.1.courses);
    }
    let marked: Vec<_> =
        taken.iter().map(|course: &Claimed| (course.key.as_str(), course.is_blamed)).collect();
    assert_eq!(marked, [("alone-1", true), ("group-1", false), ("innocent-1", false), ("outage-1", false)]);
}

#[tokio::test]
async fn fresh_courses_are_never_blamed() {
    let database = database().await;
    let pool = database.pool();
    enqueue(pool, "a", json!({})).await;
    let lease = leader(pool).await;
    let isolation = Isolation::by([(Uuid::now_v7(), at_fault(1))]);
    let (_, taken) =
        take(pool, lease, Limits { isolation: &isolation, ..generous() }, Cursor::default()).await;
    let marked: Vec<_> = taken.courses.iter().map(|course| course.is_blamed).collect();
    assert_eq!(marked, [false]);
}

#[tokio::test]
async fn the_requests_of_suspects_are_those_of_the_suspects_that_are_due() {
    let database = database().await;
    let pool = database.pool();
    let [due, later, fresh, sent] = [(); 4].map(|()| Uuid::now_v7());
    assert!(requests_of_suspects(pool).await.unwrap().is_empty());
    suspects(pool, "due", 2, due, 10).await;
    suspects(pool, "later", 1, later, 10).await;
    suspects(pool, "fresh", 1, fresh, 100).await;
    suspects(pool, "sent", 1, sent, 10).await;
    execute(
        pool,
        "update course_outbox set next_attempt_at = now() + interval '1 hour' where course_key = 'later-1';
         update course_outbox set suspected_at = null where course_key = 'fresh-1';
         update course_outbox set status = 'in_flight' where course_key = 'sent-1'",
    )
    .await;
    assert_eq!(requests_of_suspects(pool).await.unwrap(), [due]);
}

#[tokio::test]
async fn their_claim_is_served_by_an_index_of_their_own() {
    let database = database().await;
    let pool = database.pool();
    execute(
        pool,
        "insert into course_outbox (course_key, properties) select 'fresh-' || n, '{}' from generate_series(1, 20000) n",
    )
    .await;
    suspects(pool, "suspect", 50, Uuid::now_v7(), 100).await;
    let lease = leader(pool).await;
    reset_index_use(pool).await;
    let (_, taken) = take(pool, lease, of_suspects(&Isolation::default()), Cursor::default()).await;
    assert_eq!(taken.courses.len(), 50);
    let scanned = eventually("the statistics are there", async || {
        let (scans, reads) = index_use(pool, "course_outbox_suspects").await;
        if scans > 0 { Ok(reads) } else { Err((scans, reads)) }
    })
    .await;
    assert_eq!(scanned, 0, "the claim read the table row by row");
    assert_eq!(
        index_use(pool, "course_outbox_pending").await.0,
        0,
        "the claim read the courses of the other lane"
    );
}
