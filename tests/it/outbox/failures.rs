//! Failed and unconfirmed courses, grouped and listed.

use course_sync::course::{Category, Status};
use course_sync::outbox::failures::{MAX_COUNTED, group_failures, list_failures};
use sqlx::PgPool;

use crate::support::postgres::database;

/// Inserts `count` courses with this status and error.
async fn insert_ended(pool: &PgPool, status: &str, prefix: &str, count: i64, error: serde_json::Value) {
    let sql = "insert into course_outbox (course_key, properties, status, error, batch_id)
               select $2 || '-' || n, '{}', $1, $4 || jsonb_build_object('at', now(), 'message', 'no'), gen_random_uuid()
                 from generate_series(1, $3) n";
    let query = sqlx::query(sql).bind(status).bind(prefix).bind(count).bind(error);
    query.execute(pool).await.unwrap();
}

async fn insert_failures(pool: &PgPool) {
    let missing = serde_json::json!({ "category": "VALIDATION_ERROR", "code": "PROPERTY_DOESNT_EXIST", "property": "colour" });
    insert_ended(pool, "failed", "missing", 3, missing).await;
    insert_ended(pool, "failed", "plain", 2, serde_json::json!({ "category": "VALIDATION_ERROR" })).await;
    insert_ended(pool, "failed", "refused", 1, serde_json::json!({ "category": "refused" })).await;
    insert_ended(pool, "failed", "gone", 1, serde_json::json!({ "category": "record_gone" })).await;
    insert_ended(pool, "failed", "strange", 1, serde_json::json!({ "category": "by hand" })).await;
    insert_ended(pool, "unconfirmed", "doubt", 4, serde_json::json!({ "category": "unknown_outcome" })).await;
}

#[tokio::test]
async fn courses_with_the_same_error_form_one_group_with_a_fix() {
    let database = database().await;
    insert_failures(database.pool()).await;
    let found = group_failures(database.pool(), None).await.unwrap();
    let shown: Vec<_> = found
        .iter()
        .map(|it| (it.courses, it.category, it.property.as_deref(), it.example.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            (4, Some(Category::UnknownOutcome), None, "doubt-4"),
            (3, Some(Category::Validation), Some("colour"), "missing-3"),
            (2, Some(Category::Validation), None, "plain-2"),
            (1, None, None, "strange-1"),
            (1, Some(Category::RecordGone), None, "gone-1"),
            (1, Some(Category::Refused), None, "refused-1"),
        ]
    );
    assert!(found.iter().all(|group| group.is_exact));
    assert!(found[1].fix.contains("create the property `colour`"), "{}", found[1].fix);
    let of_one = group_failures(database.pool(), Some(Category::Validation)).await.unwrap();
    assert_eq!(of_one, found[1..3]);
    let too_large = group_failures(database.pool(), Some(Category::TooLarge)).await.unwrap();
    assert!(too_large.is_empty(), "{too_large:?}");
}

#[tokio::test]
async fn the_list_shows_the_latest_failures_of_the_selected_groups() {
    let database = database().await;
    let pool = database.pool();
    insert_failures(pool).await;
    let keys = async |category: Option<Category>, limit| {
        let of = match category {
            Some(_) => Some(group_failures(pool, category).await.unwrap()),
            None => None,
        };
        let found = list_failures(pool, of.as_deref(), limit).await.unwrap();
        found.into_iter().map(|it| it.key).collect::<Vec<_>>()
    };
    assert_eq!(keys(None, 2).await, ["strange-1", "gone-1", "doubt-1", "doubt-2"]);
    assert_eq!(keys(Some(Category::Validation), 4).await, ["plain-2", "plain-1", "missing-3", "missing-2"]);
    assert_eq!(keys(Some(Category::UnknownOutcome), 1).await, ["doubt-1"]);
    assert_eq!(keys(Some(Category::RecordGone), 4).await, ["gone-1"]);
    for absent in [Category::Conflict, Category::Deferred] {
        assert!(keys(Some(absent), 9).await.is_empty(), "{absent:?}");
    }
}

#[tokio::test]
async fn large_groups_are_counted_up_to_a_limit() {
    let database = database().await;
    insert_ended(
        database.pool(),
        "failed",
        "crowd",
        MAX_COUNTED + 1,
        serde_json::json!({ "category": "refused" }),
    )
    .await;
    let found = group_failures(database.pool(), None).await.unwrap();
    assert_eq!((found[0].status, found[0].courses, found[0].is_exact), (Status::Failed, MAX_COUNTED, false));
}
