//! The evidence about a failed request: the results of the requests around it, read from the journal.

use course_sync::course::BatchId;
use course_sync::outbox::evidence::load_evidence;
use course_sync::policy::attribution::Evidence;
use sqlx::PgPool;
use uuid::Uuid;

use super::execute;
use crate::support::postgres::database;

/// A request near the examined one.
#[derive(Clone, Copy)]
struct NearbyRequest {
    /// Its position in the order of claims, relative to the examined request; also its distance in seconds.
    at: i32,
    course: i64,
    passed: Option<bool>,
}

/// A request with another course that passed.
const fn passed(at: i32) -> NearbyRequest {
    NearbyRequest { at, course: 9, passed: Some(true) }
}

/// A request with another course that failed too.
const fn failed(at: i32) -> NearbyRequest {
    NearbyRequest { at, course: 9, passed: Some(false) }
}

const fn id(at: i32) -> BatchId {
    BatchId(Uuid::from_u128(0x0192_7d9e_0000_7000_8000_0000_0010_0000_u128.saturating_add_signed(at as i128)))
}

async fn insert_request(pool: &PgPool, operation: &str, it: NearbyRequest) {
    sqlx::query(
        "insert into course_sync_batch (batch_id, operation, term, holder, row_ids, state, claimed_at, send_by, passed)
         select $1, $2, 1, $1, array[$3], 'closed', at, at, $5
           from (select now() - interval '30 minutes' + make_interval(secs => $4) as at) moment",
    )
    .bind(id(it.at))
    .bind(operation)
    .bind(it.course)
    .bind(f64::from(it.at))
    .bind(it.passed)
    .execute(pool)
    .await
    .unwrap();
}

/// The evidence about a request with course 1 and this result, between these requests.
async fn evidence_about(pool: &PgPool, own: Option<bool>, beside: &[NearbyRequest]) -> Evidence {
    execute(pool, "truncate course_sync_batch").await;
    insert_request(pool, "create", NearbyRequest { at: 0, course: 1, passed: own }).await;
    for it in beside {
        insert_request(pool, "create", *it).await;
    }
    let found = load_evidence(pool, &[id(0)]).await.unwrap();
    assert_eq!(found.len(), 1);
    found[&id(0)]
}

#[tokio::test]
async fn evidence_comes_from_the_nearest_requests_with_other_courses() {
    let database = database().await;
    let pool = database.pool();
    let overlapping = |at, is_passed| NearbyRequest { at, course: 1, passed: Some(is_passed) };
    let silent = |at| NearbyRequest { at, course: 9, passed: None };
    let (pass, failure) = (Some(true), Some(false));
    for (name, own, beside, [before, after], is_blamed) in [
        ("no other request", failure, &[][..], [None, None], false),
        ("a pass before only: an outage may have begun", failure, &[passed(-1)], [pass, None], false),
        ("a pass after only: an outage may have ended", failure, &[passed(1)], [None, pass], false),
        ("a pass before and one after", failure, &[passed(-1), passed(1)], [pass, pass], true),
        (
            "the last failure of an outage",
            failure,
            &[passed(-2), failed(-1), passed(1)],
            [failure, pass],
            false,
        ),
        (
            "the first failure of an outage",
            failure,
            &[passed(-1), failed(1), passed(2)],
            [pass, failure],
            false,
        ),
        (
            "failures that are not the nearest",
            failure,
            &[failed(-2), passed(-1), passed(1), failed(2)],
            [pass, pass],
            true,
        ),
        (
            "passes of the same course",
            failure,
            &[overlapping(-1, true), overlapping(1, true)],
            [None, None],
            false,
        ),
        (
            "a failure of the same course",
            failure,
            &[passed(-1), overlapping(1, false), passed(2)],
            [pass, pass],
            true,
        ),
        (
            "requests that show nothing",
            failure,
            &[passed(-2), silent(-1), silent(1), passed(2)],
            [pass, pass],
            true,
        ),
        ("it passed itself", pass, &[], [None, None], true),
        ("it passed itself, near a failure", pass, &[failed(1)], [None, failure], true),
        (
            "a request of suspects is no evidence about itself",
            None,
            &[passed(-1), passed(1)],
            [pass, pass],
            true,
        ),
    ] {
        let found = evidence_about(pool, own, beside).await;
        let expected = Evidence { is_judged: own == pass, before, after, batch_size: 1 };
        assert_eq!(found, expected, "{name}");
        assert_eq!(found.blames_courses(), is_blamed, "{name}");
    }
}

#[tokio::test]
async fn requests_of_other_operations_are_no_evidence() {
    let database = database().await;
    let pool = database.pool();
    insert_request(pool, "update", NearbyRequest { at: 0, course: 1, passed: Some(false) }).await;
    for at in [-1, 1] {
        insert_request(pool, "create", passed(at)).await;
    }
    let found = load_evidence(pool, &[id(0)]).await.unwrap();
    assert_eq!([found[&id(0)].before, found[&id(0)].after], [None, None]);
    // Further away, updates of other courses.
    for at in [-2, 2] {
        insert_request(pool, "update", passed(at)).await;
    }
    let found = load_evidence(pool, &[id(0)]).await.unwrap();
    assert_eq!([found[&id(0)].before, found[&id(0)].after], [Some(true), Some(true)]);
}

#[tokio::test]
async fn each_request_gets_its_own_evidence() {
    let database = database().await;
    let pool = database.pool();
    for (at, course) in [(0, 1), (1, 2)] {
        insert_request(pool, "create", NearbyRequest { at, course, passed: Some(false) }).await;
    }
    insert_request(pool, "create", passed(2)).await;
    insert_request(pool, "create", passed(-1)).await;
    // Only create requests are evidence.
    insert_request(pool, "read", NearbyRequest { at: 3, course: 1, passed: None }).await;
    let found = load_evidence(pool, &[id(0), id(1), id(77)]).await.unwrap();
    let expected = Evidence { is_judged: false, before: Some(true), after: Some(false), batch_size: 1 };
    assert_eq!(found.len(), 2, "an unknown request has no evidence: {found:?}");
    assert_eq!(found[&id(0)], expected);
    assert_eq!(found[&id(1)], Evidence { before: expected.after, after: expected.before, ..expected });
    assert!(load_evidence(pool, &[]).await.unwrap().is_empty());
}
