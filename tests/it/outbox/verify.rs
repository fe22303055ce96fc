//! After commits may have been lost, pending courses become unconfirmed.

use course_sync::course::{Category, Doubt};
use course_sync::outbox::recover::due_lookups;
use course_sync::outbox::verify::{VerifyCursor, VerifyStep, mark_pending_unconfirmed};
use serde_json::json;

use super::{enqueue, execute, leader, rows};
use crate::support::postgres::database;

#[tokio::test]
async fn pending_courses_become_unconfirmed_since_they_were_enqueued() {
    let database = database().await;
    let pool = database.pool();
    enqueue(pool, "a", json!({})).await;
    enqueue(pool, "suspect", json!({})).await;
    enqueue(pool, "doubted", json!({})).await;
    execute(
        pool,
        "update course_outbox set suspected_at = now() where course_key = 'suspect';
         update course_outbox set created_at = '2026-01-01 00:00+00';
         update course_outbox set doubts = 1, doubt_property = 'former', doubted_since = '2026-02-01 00:00+00'
          where course_key = 'doubted'",
    )
    .await;
    let lease = leader(pool).await;
    assert!(matches!(
        mark_pending_unconfirmed(pool, lease, VerifyCursor::default()).await.unwrap(),
        VerifyStep::Progress(_)
    ));
    let row =
        |start: &str, more: &str| format!("{start} limit=100 error=unknown_outcome{more} since-no request");
    assert_eq!(
        rows(pool).await,
        [
            row("a unconfirmed attempts=0 faults=0 doubts=1", " doubt=unknown"),
            row("suspect unconfirmed attempts=0 faults=0 doubts=1", " suspect doubt=unknown"),
            row("doubted unconfirmed attempts=0 faults=0 doubts=2", " doubt=unknown by=former"),
        ]
    );
    // The lost request may have used any property: the courses are looked up by the configured one.
    let doubted = due_lookups(pool, Some("key"), false, 100).await.unwrap().courses;
    let asked: Vec<_> = doubted
        .iter()
        .map(|it| (it.key.as_str(), it.doubt, it.property.as_deref(), it.doubted_since.to_string()))
        .collect();
    let (enqueued, first) = ("2026-01-01T00:00:00Z".to_owned(), "2026-02-01T00:00:00Z".to_owned());
    assert_eq!(
        asked,
        [
            ("a", Doubt::Unknown, Some("key"), enqueued.clone()),
            ("suspect", Doubt::Unknown, Some("key"), enqueued),
            ("doubted", Doubt::Unknown, Some("former"), first),
        ]
    );
    // The entry that marks the verification is no request, so it isolates no course.
    let context: Vec<_> = doubted.iter().map(|it| (it.batch_size, it.is_suspect)).collect();
    assert_eq!(context, [(0, false), (0, true), (0, false)]);
    assert!(doubted.iter().all(|it| it.error.as_ref().unwrap().category == Category::UnknownOutcome));
    // Without a unique property, only the course that was unconfirmed before can be looked up.
    let unprovable = due_lookups(pool, None, true, 100).await.unwrap().courses;
    assert_eq!(unprovable.iter().map(|it| it.key.as_str()).collect::<Vec<_>>(), ["a", "suspect"]);
}
