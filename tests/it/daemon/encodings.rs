//! Databases whose encoding is not UTF8.

use serde_json::json;
use simulator::{Answer, Fault, Operation};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::support::postgres::cluster;
use crate::support::world::World;

/// A world with a new, empty database of this encoding.
async fn world_with_encoding(encoding: &str) -> World {
    let cluster = cluster().await;
    let name = format!("test_{}_{}", encoding.to_lowercase(), uuid::Uuid::new_v4().simple());
    let mut admin = PgConnection::connect(&cluster.url("postgres")).await.unwrap();
    let create = format!(
        "create database {name} template template0 encoding '{encoding}' lc_collate 'C' lc_ctype 'C'"
    );
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut admin).await.unwrap();
    let mut world = World::new().await;
    world.use_cluster(&cluster.url(&name));
    world
}

#[tokio::test]
async fn a_latin1_database_is_migrated_and_its_courses_are_sent() {
    let world = world_with_encoding("LATIN1").await;
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.enqueue("größe", &json!({ "hs_course_name": "Größe" })).await;
    world.enqueue_many("A", 20).await;
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    let names: Vec<_> = world.hubspot.records().into_iter().map(|record| record.properties).collect();
    assert!(names.iter().any(|properties| properties["hs_course_name"] == "Größe"), "{names:?}");
    // The recorded checksums are those of the files.
    let (code, text) = world.run(&["migrate"]).await;
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = world.run(&["check"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("! database") && text.contains("LATIN1"), "{text}");
}

#[tokio::test]
async fn one_wrong_byte_in_a_database_without_an_encoding_fails_one_row() {
    let world = world_with_encoding("SQL_ASCII").await;
    let (code, text) = world.run(&["migrate"]).await;
    assert_eq!(code, Some(0), "{text}");
    world.enqueue("größe", &json!({ "hs_course_name": "Größe" })).await;
    world.enqueue_many("A", 20).await;
    sqlx::raw_sql(
        r#"insert into course_outbox (course_key, properties)
           values ('bad-value', ('{"hs_course_name":"' || chr(255) || '"}')::jsonb),
                  ('bad-key-' || chr(255), '{"hs_course_name":"x"}')"#,
    )
    .execute(world.pool())
    .await
    .unwrap();
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["synced", "failed"]).await;
    assert_eq!(world.counts().await["failed"], 2, "{}", daemon.log());
    let categories: Vec<String> = sqlx::query_scalar(
        "select error ->> 'category' from course_outbox where status = 'failed' order by id",
    )
    .fetch_all(world.pool())
    .await
    .unwrap();
    assert_eq!(categories, ["invalid_row", "invalid_row"]);
    for command in ["status", "failures", "check"] {
        let (code, text) = world.run(&[command]).await;
        assert_eq!(code, Some(0), "{command}: {text}");
    }
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_message_with_characters_that_the_encoding_lacks_is_recorded() {
    let world = world_with_encoding("LATIN1").await;
    let message = "größe → “klein”";
    let body = json!({ "status": "error", "category": "VALIDATION_ERROR", "message": message, "correlationId": "c-1" });
    let refusal = Fault::new(Answer::literal(400, body.to_string())).on(Operation::BatchCreate);
    world.hubspot.add_fault(refusal.containing("Course bad 1"));
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.enqueue_many("A", 20).await;
    world.enqueue_many("bad", 1).await;
    world.wait_until_all_are(&["synced", "failed"]).await;
    assert_eq!(world.row("bad-1").await.error("message"), "gr??e ? ?klein?");
    assert!(daemon.stop().await.success());
}
