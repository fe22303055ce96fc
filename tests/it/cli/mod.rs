//! The command line, with the real program.

mod adopt;
mod archives;
mod attach;
mod audit;
mod audit_results;
mod check;
mod commands;
mod demo;
mod enqueue;
mod explain;
mod failures;
mod lost_records;
mod preview;
mod quota_of_commands;
mod readme;
mod resolve;
mod retry;
mod texts;

use serde_json::json;

use crate::support::world::World;

/// Inserts a course that is unconfirmed, as if its response had been lost, or failed, as if HubSpot had refused it.
async fn insert_ended(world: &World, status: &str, key: &str, error: serde_json::Value) {
    let mut writer = world.pool().begin().await.unwrap();
    // Without triggers, as a row from before such keys were refused.
    sqlx::query("set local session_replication_role = replica").execute(&mut *writer).await.unwrap();
    sqlx::query(
        "insert into course_outbox (course_key, properties, status, attempts, faults, batch_limit, error, batch_id)
         values ($2, jsonb_build_object('hs_course_name', 'Course ' || replace($2, '-', ' ')), $1, 1, 3, 1,
                 $3 || jsonb_build_object('at', now()), gen_random_uuid())",
    )
    .bind(status)
    .bind(key)
    .bind(error)
    .execute(&mut *writer)
    .await
    .unwrap();
    writer.commit().await.unwrap();
}

/// Inserts a failed course with an unknown property, as after a daemon sent it.
async fn insert_failed(world: &World, key: &str) {
    let error = json!({ "category": "VALIDATION_ERROR", "code": "PROPERTY_DOESNT_EXIST", "property": "colour",
                        "message": "Property \"colour\" does not exist" });
    insert_ended(world, "failed", key, error).await;
}
