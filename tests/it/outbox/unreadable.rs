//! Rows with values that Postgres can store and this program cannot represent.

use course_sync::course::Status;
use course_sync::outbox::failures::{group_failures, list_failures};
use course_sync::outbox::history::read_history;
use course_sync::outbox::ops::preview::{PageCursor, read_pending_page};
use course_sync::outbox::overview::read_oldest;
use course_sync::outbox::recover::due_lookups;
use course_sync::outbox::verify::{VerifyCursor, VerifyStep, mark_pending_unconfirmed};
use course_sync::policy::backlog::Cursor;
use sqlx::PgPool;

use super::{execute, generous, keys, leader, statuses, take};
use crate::support::postgres::database;
use crate::support::unreadable::insert_unreadable;

/// The columns of the rows that cannot be read, by the text of each error.
fn columns<E: ToString>(unreadable: &[(course_sync::course::RowId, E)]) -> Vec<&'static str> {
    let column = |text: String| {
        let columns = ["created_at", "properties", "associations", "doubted_since"];
        columns.into_iter().find(|column| text.contains(column)).unwrap_or("unknown")
    };
    unreadable.iter().map(|(_, error)| column(error.to_string())).collect()
}

const EXPECTED: [&str; 6] =
    ["created_at", "created_at", "created_at", "properties", "properties", "associations"];

async fn fill(pool: &PgPool) {
    execute(pool, "insert into course_outbox (course_key, properties) values ('first', '{}')").await;
    insert_unreadable(pool).await;
    execute(pool, "insert into course_outbox (course_key, properties) values ('last', '{}')").await;
}

#[tokio::test]
async fn a_claim_separates_each_row_that_cannot_be_read() {
    let database = database().await;
    let pool = database.pool();
    fill(pool).await;
    let page = read_pending_page(pool, PageCursor::default(), 100).await.unwrap();
    assert_eq!(columns(&page.unreadable), EXPECTED);
    assert_eq!(page.courses.len(), 2);
    assert!(read_oldest(pool).await.unwrap().pending.is_some());
    let lease = leader(pool).await;
    let (_, taken) = take(pool, lease, generous(), Cursor::default()).await;
    assert_eq!(keys(&taken), ["first", "last"]);
    assert_eq!(columns(&taken.unreadable), EXPECTED);
    for (key, ..) in statuses(pool).await {
        assert!(read_history(pool, &key).await.unwrap().is_some(), "{key}");
    }
}

#[tokio::test]
async fn pages_continue_after_a_time_that_cannot_be_represented() {
    let database = database().await;
    let pool = database.pool();
    execute(
        pool,
        "insert into course_outbox (course_key, properties, next_attempt_at)
         select key, '{}', time from unnest(
             array['a', 'b', 'c', 'd', 'e', 'f'],
             array['-infinity', '4000-01-01 BC', '2026-01-01', '12000-01-01', 'infinity', 'infinity']::timestamptz[])
             as row (key, time)",
    )
    .await;
    let (mut position, mut seen) = (Some(PageCursor::default()), Vec::new());
    while let Some(after) = position {
        let page = read_pending_page(pool, after, 1).await.unwrap();
        seen.extend(page.courses.iter().map(|course| course.key.as_str().to_owned()));
        position = page.next;
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e", "f"]);
    let lease = leader(pool).await;
    let few = course_sync::outbox::claim::ClaimLimits { courses: 1, ..generous() };
    let (_, taken) = take(pool, lease, few, Cursor::default()).await;
    assert_eq!(keys(&taken), ["a"]);
    assert!(taken.remaining.cursor().is_beginning(), "there is no position after it");
    // The verification after lost commits marks the others, and ends.
    let step = mark_pending_unconfirmed(pool, lease, VerifyCursor::default()).await.unwrap();
    let VerifyStep::Progress(cursor) = step else { panic!("{step:?}") };
    assert_eq!(mark_pending_unconfirmed(pool, lease, cursor).await.unwrap(), VerifyStep::Complete);
}

#[tokio::test]
async fn look_ups_and_reports_separate_each_row_that_cannot_be_read() {
    let database = database().await;
    let pool = database.pool();
    fill(pool).await;
    execute(
        pool,
        "update course_outbox set status = 'unconfirmed', batch_id = gen_random_uuid(), doubt = 'unknown',
                doubt_property = 'key', doubted_since = case when course_key in ('first', 'last') then now()
                                                             else 'infinity' end,
                updated_at = case when course_key = 'first' then now() else 'infinity' end,
                error = '{\"category\": [[1]], \"at\": \"infinity\"}'",
    )
    .await;
    execute(pool, "update course_outbox set updated_at = now() where course_key = 'last'").await;
    let due = due_lookups(pool, Some("key"), false, 100).await.unwrap();
    let found: Vec<_> = due.courses.iter().map(|course| course.key.as_str()).collect();
    assert_eq!(found, ["first", "last"]);
    assert_eq!(columns(&due.unreadable), ["doubted_since"; EXPECTED.len()]);
    let listed = list_failures(pool, None, 100).await.unwrap();
    assert_eq!(listed.len(), EXPECTED.len() + 2);
    assert!(listed.iter().all(|failure| failure.status == Status::Unconfirmed && failure.error.is_none()));
    let grouped: i64 = group_failures(pool, None).await.unwrap().iter().map(|group| group.courses).sum();
    assert_eq!(usize::try_from(grouped).unwrap(), listed.len());
    for failure in listed {
        assert!(read_history(pool, &failure.key).await.unwrap().is_some(), "{}", failure.key);
    }
}
