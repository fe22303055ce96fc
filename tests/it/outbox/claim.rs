//! Which courses a claim takes, and which it must leave.

use std::time::Duration;

use course_sync::course::{BatchId, InstanceId, RowId, Term};
use course_sync::outbox::claim::{ClaimLimits, ClaimResult, claim, withdraw};
use course_sync::outbox::lease::{Lease, acquire_or_renew, release};
use course_sync::policy::backlog::{Cursor, Remaining};
use course_sync::policy::leader_report::LeaderReport;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    LEASE, claim_for, enqueue, execute, generous, index_use, keys, leader, reset_index_use, statuses, take,
};
use crate::support::eventually::eventually;
use crate::support::postgres::{database, wait_for_lock_waiters};

#[tokio::test]
async fn a_claim_takes_courses_in_order_of_arrival_and_writes_an_intent() {
    let database = database().await;
    let pool = database.pool();
    for key in ["c", "a", "b"] {
        enqueue(pool, key, json!({})).await;
    }
    let lease = leader(pool).await;
    let (batch, taken) = take(pool, lease, ClaimLimits { courses: 2, ..generous() }, Cursor::default()).await;
    assert_eq!(keys(&taken), ["c", "a"]);
    assert_ne!(taken.remaining, Remaining::Nothing);
    let (ids, state, holder): (Vec<RowId>, String, InstanceId) =
        sqlx::query_as("select row_ids, state, holder from course_sync_batch where batch_id = $1")
            .bind(batch)
            .fetch_one(pool)
            .await
            .unwrap();
    assert_eq!((ids.len(), state.as_str(), holder), (2, "open", lease.holder));
    let (_, rest) = take(pool, lease, generous(), taken.remaining.cursor()).await;
    assert_eq!(keys(&rest), ["b"]);
    assert_eq!(rest.remaining, Remaining::Nothing);
    let (_, nothing) = take(pool, lease, generous(), rest.remaining.cursor()).await;
    assert!(keys(&nothing).is_empty());
    assert!(statuses(pool).await.iter().all(|(_, status, attempts)| status == "in_flight" && *attempts == 0));
    let batches: i64 =
        sqlx::query_scalar("select count(*) from course_sync_batch").fetch_one(pool).await.unwrap();
    assert_eq!(batches, 2, "an empty claim writes no intent");
}

#[tokio::test]
async fn nothing_is_claimed_without_the_lease() {
    let database = database().await;
    let pool = database.pool();
    enqueue(pool, "a", json!({})).await;
    let lease = leader(pool).await;
    let stale = Lease { term: Term(lease.term.0 - 1), ..lease };
    let foreign = Lease { holder: InstanceId(Uuid::new_v4()), ..lease };
    for wrong in [stale, foreign] {
        assert!(keys(&take(pool, wrong, generous(), Cursor::default()).await.1).is_empty());
    }
    let batch = [BatchId(Uuid::now_v7())];
    let too_late = claim(pool, lease, LEASE * 2, &batch, generous(), Cursor::default(), LEASE).await.unwrap();
    let ClaimResult::Taken(too_late) = too_late else { panic!("refused") };
    assert!(too_late.batches.is_empty(), "the lease ends within the margin");
    release(pool, lease).await.unwrap();
    assert!(keys(&take(pool, lease, generous(), Cursor::default()).await.1).is_empty());
}

#[tokio::test]
async fn one_instance_holds_the_lease_and_a_new_holder_gets_a_new_term() {
    let database = database().await;
    let pool = database.pool();
    let first = leader(pool).await;
    let other = InstanceId(Uuid::new_v4());
    assert_eq!(
        acquire_or_renew(pool, other, "test", LEASE, &LeaderReport::default(), false).await.unwrap(),
        None
    );
    let renewed = acquire_or_renew(pool, first.holder, "test", LEASE, &LeaderReport::default(), false)
        .await
        .unwrap()
        .map(|granted| granted.lease);
    assert_eq!(renewed, Some(first), "renewing keeps the term");
    release(pool, first).await.unwrap();
    let second = acquire_or_renew(pool, other, "test", Duration::ZERO, &LeaderReport::default(), false)
        .await
        .unwrap()
        .unwrap()
        .lease;
    assert!(second.term > first.term);
    let third = leader(pool).await;
    assert!(third.term > second.term, "an expired lease can be taken");
}

#[tokio::test]
async fn courses_that_are_not_due_or_locked_are_not_claimed() {
    let database = database().await;
    let pool = database.pool();
    for key in ["later", "locked", "free"] {
        enqueue(pool, key, json!({})).await;
    }
    sqlx::query(
        "update course_outbox set next_attempt_at = now() + interval '1 hour' where course_key = 'later'",
    )
    .execute(pool)
    .await
    .unwrap();
    let mut operator = pool.begin().await.unwrap();
    sqlx::query("select from course_outbox where course_key = 'locked' for update")
        .execute(&mut *operator)
        .await
        .unwrap();
    let lease = leader(pool).await;
    let (_, taken) = take(pool, lease, generous(), Cursor::default()).await;
    assert_eq!(keys(&taken), ["locked", "free"], "a claim writes no row");
}

#[tokio::test]
async fn concurrent_claims_take_different_courses_and_leave_none() {
    const COURSES: usize = 350;
    let database = database().await;
    let pool = database.pool();
    enqueue_numbered(pool, COURSES).await;
    let lease = leader(pool).await;
    let (mut taken, mut refused) = (Vec::new(), 0);
    while taken.len() < COURSES {
        let few = ClaimLimits { courses: 10, ..generous() };
        let claim = async |batches: usize| {
            let batches: Vec<_> = (0..batches).map(|_| BatchId(Uuid::now_v7())).collect();
            claim_for(pool, lease, &batches, few, Cursor::default()).await
        };
        let (one, other, third) = tokio::join!(claim(1), claim(3), claim(2));
        let before = taken.len();
        for claimed in [one, other, third] {
            match claimed {
                ClaimResult::Taken(claimed) => {
                    let courses = claimed.batches.into_iter().flat_map(|batch| batch.courses);
                    taken.extend(courses.map(|course| course.id));
                }
                ClaimResult::Refused => refused += 1,
            }
        }
        assert!(taken.len() > before, "only {before} of {COURSES} were claimed");
    }
    assert!(refused > 0, "no two claims met");
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), COURSES, "no course was claimed twice");
}

/// A claim reads the courses in flight when it starts. Here it starts before another claim commits, and must not take the
/// courses of that claim.
#[tokio::test]
async fn a_claim_that_did_not_see_another_one_fails_as_a_whole() {
    let database = database().await;
    let pool = database.pool();
    enqueue_numbered(pool, 40).await;
    let lease = leader(pool).await;
    let few = ClaimLimits { courses: 10, ..generous() };
    let (first, _) = take(pool, lease, few, Cursor::default()).await;
    // The next number, not committed yet.
    let mut other = pool.begin().await.unwrap();
    sqlx::query(
        "insert into course_sync_batch (batch_id, term, holder, row_ids, revisions, claim_number, oldest_open, send_by)
         select gen_random_uuid(), term, holder, array(select id from course_outbox where id > 10 order by id limit 10),
                array(select 1 from generate_series(1, 10)), 2, 1, send_by
           from course_sync_batch where batch_id = $1",
    )
    .bind(first)
    .execute(&mut *other)
    .await
    .unwrap();
    let claiming = tokio::spawn({
        let pool = pool.clone();
        async move {
            let batches = [1, 2, 3].map(|_| BatchId(Uuid::now_v7()));
            claim_for(&pool, lease, &batches, few, Cursor::default()).await
        }
    });
    wait_for_lock_waiters(pool, 1).await;
    other.commit().await.unwrap();
    assert!(matches!(claiming.await.unwrap(), ClaimResult::Refused));
    let (_, next) = take(pool, lease, few, Cursor::default()).await;
    assert_eq!(keys(&next), ["21", "22", "23", "24", "25", "26", "27", "28", "29", "30"]);
}

#[tokio::test]
async fn one_claim_fills_several_batches_up_to_the_first_course_that_does_not_fit() {
    let database = database().await;
    let pool = database.pool();
    enqueue_numbered(pool, 25).await;
    let lease = leader(pool).await;
    let few = ClaimLimits { courses: 4, ..generous() };
    let sizes = async |limits, from: Remaining| {
        let taken =
            match claim_for(pool, lease, &[(); 3].map(|()| BatchId(Uuid::now_v7())), limits, from.cursor())
                .await
            {
                ClaimResult::Taken(taken) => taken,
                ClaimResult::Refused => panic!("the claim is refused"),
            };
        let sizes: Vec<_> = taken.batches.iter().map(|batch| batch.courses.len()).collect();
        (sizes, taken.remaining)
    };
    let (full, remaining) = sizes(few, Remaining::Nothing).await;
    assert_eq!(full, [4, 4, 4]);
    assert!(matches!(remaining, Remaining::After(_)));
    // The 17th course may only be sent alone, the 20th in a batch of two.
    execute(
        pool,
        "update course_outbox set batch_limit = case id when 17 then 1 else 2 end where id in (17, 20)",
    )
    .await;
    let (narrowed, remaining) = sizes(few, remaining).await;
    assert_eq!((narrowed, remaining), (vec![4, 1], Remaining::FromStart));
    let (rest, remaining) = sizes(few, remaining).await;
    assert_eq!((rest, remaining), (vec![2], Remaining::FromStart));
    let (rest, remaining) = sizes(few, remaining).await;
    assert_eq!((rest, remaining), (vec![2], Remaining::FromStart));
    let (rest, remaining) = sizes(few, remaining).await;
    assert_eq!((rest, remaining), (vec![4], Remaining::Nothing));
    let numbers: Vec<(i64, i64)> =
        sqlx::query_as("select claim_number, oldest_open from course_sync_batch order by claim_number")
            .fetch_all(pool)
            .await
            .unwrap();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8].map(|number| (number, 1)));
}

/// The courses of closed requests may be claimed again, and those of open ones not, however old the request is.
#[tokio::test]
async fn a_claim_leaves_out_the_courses_of_every_open_request() {
    let database = database().await;
    let pool = database.pool();
    enqueue_numbered(pool, 30).await;
    let lease = leader(pool).await;
    let one = ClaimLimits { courses: 1, ..generous() };
    let mut requests = Vec::new();
    for _ in 0..30 {
        requests.push(take(pool, lease, one, Cursor::default()).await.0);
    }
    let mut expected = Vec::new();
    for (place, request) in requests.iter().enumerate().filter(|(place, _)| place % 7 == 0 || *place > 20) {
        assert_eq!(withdraw(pool, &[*request]).await.unwrap(), 1);
        expected.push((place + 1).to_string());
    }
    let (last, taken) = take(pool, lease, generous(), Cursor::default()).await;
    assert_eq!(keys(&taken), expected);
    let floor: i64 = sqlx::query_scalar("select oldest_open from course_sync_batch where batch_id = $1")
        .bind(last)
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(floor, 2, "the first request is closed, the second is open");
    let (_, nothing) = take(pool, lease, generous(), Cursor::default()).await;
    assert!(keys(&nothing).is_empty());
}

#[tokio::test]
async fn a_claim_takes_as_many_bytes_as_fit_and_at_least_one_course() {
    let database = database().await;
    let pool = database.pool();
    for key in ["a", "b", "c"] {
        enqueue(pool, key, json!({ "x": "y".repeat(1000) })).await;
    }
    let lease = leader(pool).await;
    let (_, taken) = take(pool, lease, ClaimLimits { bytes: 2_500, ..generous() }, Cursor::default()).await;
    assert_eq!(keys(&taken), ["a", "b"]);
    assert_eq!(taken.remaining, Remaining::FromStart);
    let (_, taken) =
        take(pool, lease, ClaimLimits { bytes: 10, ..generous() }, taken.remaining.cursor()).await;
    assert_eq!(keys(&taken), ["c"]);
}

#[tokio::test]
async fn equal_courses_are_claimed_together() {
    let database = database().await;
    let pool = database.pool();
    for (key, name) in [("a", "same"), ("b", "same"), ("c", "other")] {
        enqueue(pool, key, json!({ "name": name })).await;
    }
    let lease = leader(pool).await;
    let (_, taken) =
        take(pool, lease, ClaimLimits { unique_property: None, ..generous() }, Cursor::default()).await;
    assert_eq!(keys(&taken), ["a", "b", "c"]);
    assert_eq!(taken.remaining, Remaining::Nothing);
}

#[tokio::test]
async fn no_batch_exceeds_the_limit_of_any_of_its_courses() {
    let database = database().await;
    let pool = database.pool();
    for key in ["a", "b", "c", "d", "e"] {
        enqueue(pool, key, json!({})).await;
    }
    sqlx::query("update course_outbox set batch_limit = 2 where course_key in ('b', 'c')")
        .execute(pool)
        .await
        .unwrap();
    let lease = leader(pool).await;
    let mut batches = Vec::new();
    for _ in 0..3 {
        let (_, taken) = take(pool, lease, generous(), Cursor::default()).await;
        batches.push(keys(&taken).join(""));
    }
    assert_eq!(batches, ["ab", "cd", "e"]);
}

#[tokio::test]
async fn a_claim_reads_only_its_index() {
    let database = database().await;
    let pool = database.pool();
    sqlx::query(
        "insert into course_outbox (course_key, properties, status, hubspot_id, synced_at)
         select 'done-' || n, '{}', 'synced', n::text, now() from generate_series(1, 20000) n",
    )
    .execute(pool)
    .await
    .unwrap();
    for n in 0..50 {
        enqueue(pool, &format!("a-{n}"), json!({})).await;
    }
    let lease = leader(pool).await;
    reset_index_use(pool).await;
    let (_, taken) = take(pool, lease, generous(), Cursor::default()).await;
    assert_eq!(keys(&taken).len(), 50);
    // Postgres publishes the statistics of a session only after it was idle for a moment.
    let scanned = eventually("the statistics are published", async || {
        let (scans, reads) = index_use(pool, "course_outbox_pending").await;
        if scans > 0 { Ok(reads) } else { Err((scans, reads)) }
    })
    .await;
    assert_eq!(scanned, 0, "the claim scanned the table");
}

#[tokio::test]
async fn a_withdrawn_claim_leaves_no_trace_and_affects_no_other() {
    let database = database().await;
    let pool = database.pool();
    let lease = leader(pool).await;
    for key in ["A", "B"] {
        enqueue(pool, key, json!({})).await;
    }
    let (lost, _) = take(pool, lease, ClaimLimits { courses: 1, ..generous() }, Cursor::default()).await;
    let (kept, _) = take(pool, lease, ClaimLimits { courses: 1, ..generous() }, Cursor::default()).await;
    assert_ne!(lost, kept);
    assert_eq!(withdraw(pool, &[BatchId(Uuid::now_v7())]).await.unwrap(), 0);
    assert_eq!(withdraw(pool, &[lost]).await.unwrap(), 1);
    assert_eq!(withdraw(pool, &[lost]).await.unwrap(), 0);
    let expected = [("A", "pending", 0), ("B", "in_flight", 0)];
    assert_eq!(
        statuses(pool).await,
        expected.map(|(key, status, attempts)| (key.to_owned(), status.to_owned(), attempts))
    );
}

#[tokio::test]
async fn a_claim_leaves_the_rows_of_an_inheriting_table_that_are_not_due() {
    let database = database().await;
    let pool = database.pool();
    // Rows of both tables have the same positions.
    execute(
        pool,
        "create table archive () inherits (course_outbox);
         insert into archive (id, course_key, properties, status, hubspot_id, synced_at)
         select -n, 'old-' || n, '{}', 'synced', n::text, now() from generate_series(1, 3) n;
         insert into archive (id, course_key, properties) values (-4, 'due', '{}')",
    )
    .await;
    for key in ["a", "b", "c", "d"] {
        enqueue(pool, key, json!({})).await;
    }
    let lease = leader(pool).await;
    let (_, taken) = take(pool, lease, ClaimLimits { courses: 4, ..generous() }, Cursor::default()).await;
    assert_eq!(taken.courses.len(), 4);
    let (_, rest) = take(pool, lease, generous(), Cursor::default()).await;
    let mut all = [keys(&taken), keys(&rest)].concat();
    all.sort_unstable();
    assert_eq!(all, ["a", "b", "c", "d", "due"]);
}

/// Ends a claim that waits for a lock by this Postgres function. Returns whether it may have been committed.
async fn may_have_committed_after(function: &'static str) -> bool {
    let database = database().await;
    let pool = database.pool();
    enqueue(pool, "a", json!({})).await;
    let lease = leader(pool).await;
    let mut locker = pool.begin().await.unwrap();
    sqlx::query("lock table course_sync_batch in share mode").execute(&mut *locker).await.unwrap();
    let claiming = tokio::spawn({
        let pool = pool.clone();
        async move {
            claim(
                &pool,
                lease,
                Duration::ZERO,
                &[BatchId(Uuid::now_v7())],
                generous(),
                Cursor::default(),
                LEASE,
            )
            .await
        }
    });
    eventually("the claim was ended", async || {
        let ended = sqlx::query(sqlx::AssertSqlSafe(format!(
            "select {function}(pid) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        )));
        match ended.execute(pool).await.unwrap().rows_affected() {
            0 => Err(()),
            _ => Ok(()),
        }
    })
    .await;
    claiming.await.unwrap().unwrap_err().may_have_committed()
}

#[tokio::test]
async fn a_cancelled_statement_was_not_committed_and_a_terminated_one_may_have_been() {
    assert!(!may_have_committed_after("pg_cancel_backend").await);
    assert!(may_have_committed_after("pg_terminate_backend").await);
}

/// Enqueues courses with the keys 1, 2 and so on.
async fn enqueue_numbered(pool: &PgPool, courses: usize) {
    sqlx::query(
        "insert into course_outbox (course_key, properties)
         select n::text, jsonb_build_object('hs_course_name', n) from generate_series(1, $1) n",
    )
    .bind(i64::try_from(courses).unwrap())
    .execute(pool)
    .await
    .unwrap();
}
