//! How the requests around one that failed fared, counted from the journal.

use course_sync::outbox::recover::evidence;
use course_sync::policy::attribution::Evidence;
use sqlx::PgPool;
use uuid::Uuid;

use super::execute;
use crate::support::postgres::database;

/// A request beside the one in question.
#[derive(Clone, Copy)]
struct Beside {
    /// Its place in the order of claims, the one in question being 0; also its distance in seconds.
    at: i32,
    course: i64,
    passed: Option<bool>,
}

/// One that HubSpot judged, with a course of its own.
const fn passed(at: i32) -> Beside {
    Beside { at, course: 9, passed: Some(true) }
}

/// One that failed as well, with a course of its own.
const fn failed(at: i32) -> Beside {
    Beside { at, course: 9, passed: Some(false) }
}

const fn id(at: i32) -> Uuid {
    Uuid::from_u128(0x0192_7d9e_0000_7000_8000_0000_0010_0000_u128.saturating_add_signed(at as i128))
}

async fn note(pool: &PgPool, operation: &str, it: Beside) {
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

/// The evidence about a request for course 1 that ended so, with these beside it.
async fn about(pool: &PgPool, own: Option<bool>, beside: &[Beside]) -> Evidence {
    execute(pool, "truncate course_sync_batch").await;
    note(pool, "create", Beside { at: 0, course: 1, passed: own }).await;
    for it in beside {
        note(pool, "create", *it).await;
    }
    let found = evidence(pool, &[id(0)]).await.unwrap();
    assert_eq!(found.len(), 1);
    found[&id(0)]
}

#[tokio::test]
async fn what_a_journal_shows() {
    let database = database().await;
    let pool = database.pool();
    let overlapping = |at, is_passed| Beside { at, course: 1, passed: Some(is_passed) };
    let silent = |at| Beside { at, course: 9, passed: None };
    let (pass, failure) = (Some(true), Some(false));
    for (name, own, beside, [before, after], is_blamed) in [
        ("nothing else", failure, &[][..], [None, None], false),
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
            "failures farther off",
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
        ("judged itself", pass, &[], [None, None], true),
        ("judged itself beside a failure", pass, &[failed(1)], [None, failure], true),
        ("a suspects' failure shows nothing of itself", None, &[passed(-1), passed(1)], [pass, pass], true),
    ] {
        let found = about(pool, own, beside).await;
        let expected = Evidence { is_judged: own == pass, before, after, company: 1 };
        assert_eq!(found, expected, "{name}");
        assert_eq!(found.blames_courses(), is_blamed, "{name}");
    }
}

#[tokio::test]
async fn each_request_has_evidence_of_its_own() {
    let database = database().await;
    let pool = database.pool();
    for (at, course) in [(0, 1), (1, 2)] {
        note(pool, "create", Beside { at, course, passed: Some(false) }).await;
    }
    note(pool, "create", passed(2)).await;
    note(pool, "create", passed(-1)).await;
    // What is about no create shows nothing.
    note(pool, "read", Beside { at: 3, course: 1, passed: None }).await;
    let found = evidence(pool, &[id(0), id(1), id(77)]).await.unwrap();
    let expected = Evidence { is_judged: false, before: Some(true), after: Some(false), company: 1 };
    assert_eq!(found.len(), 2, "there is no such request: {found:?}");
    assert_eq!(found[&id(0)], expected);
    assert_eq!(found[&id(1)], Evidence { before: expected.after, after: expected.before, ..expected });
    assert!(evidence(pool, &[]).await.unwrap().is_empty());
}
