//! What must hold in the end, over the shared auditor: by what HubSpot received and holds and what the outbox
//! says, and by nothing of the engine's.

use std::collections::BTreeMap;
use std::time::Duration;

use course_sync::simulator::{Limits, Operation};
use serde_json::Value;

use super::plan::{BATCH, Plan};
use super::play::BAD;
use crate::support::world::{Row, UNIQUE, World};

/// Judges a world in which nobody writes any more.
pub async fn audit(world: &World, plan: &Plan) {
    world.audit().await;
    let rows = world.rows().await;
    for row in &rows {
        verdict_is_just(row, plan.unique);
    }
    every_record_is_a_course(world, &rows, plan.unique).await;
    every_sending_was_intended(world, &rows);
    requests_are_within_bounds(world, plan.behaviour.limits);
}

/// Only what HubSpot can never accept fails; only what nothing can prove stays in doubt.
fn verdict_is_just(row: &Row, unique: bool) {
    let is_bad = row.course_key.starts_with(BAD);
    match (row.status.as_str(), is_bad) {
        ("failed", true) | ("synced", false) => {}
        ("unconfirmed", _) if !unique => assert_eq!(row.error("category"), "unknown_outcome", "{row:?}"),
        _ => panic!("not what this course deserves: {row:?}"),
    }
}

/// No record is left over, and each holds exactly what was sent.
async fn every_record_is_a_course(world: &World, rows: &[Row], unique: bool) {
    let sent: BTreeMap<String, Value> = sqlx::query_as("select course_key, properties from course_outbox")
        .fetch_all(world.pool())
        .await
        .expect("the outbox is readable")
        .into_iter()
        .collect();
    let key_of = |record: &BTreeMap<String, String>| {
        let key = record.get("hs_course_name")?.strip_prefix("Course ")?.replace(' ', "-");
        (!unique || record.get(UNIQUE) == Some(&key)).then_some(key)
    };
    let mut records: BTreeMap<String, u64> = BTreeMap::new();
    for record in world.hubspot.records() {
        let key = key_of(&record.properties).unwrap_or_else(|| panic!("nobody's record: {record:?}"));
        let mut expected = texts(sent.get(&key).unwrap_or_else(|| panic!("no course: {record:?}")));
        if unique {
            expected.insert(UNIQUE.to_owned(), key.clone());
        }
        assert_eq!(record.properties, expected, "{key} holds what was sent");
        assert_eq!(records.insert(key.clone(), record.id), None, "{key} has one record");
    }
    for row in rows.iter().filter(|row| row.status == "synced") {
        let id = records.get(&row.course_key).map(u64::to_string);
        assert_eq!(row.hubspot_id, id, "{} knows its record", row.course_key);
    }
}

/// Properties as HubSpot keeps them: all texts.
fn texts(properties: &Value) -> BTreeMap<String, String> {
    let properties = properties.as_object().expect("an object");
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    properties.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// No course was received more often than its row says it was sent.
fn every_sending_was_intended(world: &World, rows: &[Row]) {
    let received = world.sends();
    for row in rows {
        // Without a unique property the name stands for the key.
        let name = format!("Course {}", row.course_key.replace('-', " "));
        let times =
            received.get(&row.course_key).or_else(|| received.get(&name)).copied().unwrap_or_default();
        let attempts = usize::try_from(row.attempts).expect("attempts are counted from 0");
        assert!(times <= attempts, "{} was received {times} times: {row:?}", row.course_key);
    }
}

/// The quota as HubSpot counts it, and the size of each request.
fn requests_are_within_bounds(world: &World, limits: Limits) {
    let worst = world.hubspot.worst_window(Duration::from_millis(limits.per_ms));
    assert!(worst as u64 <= limits.requests, "{worst} requests in a window of {}", limits.requests);
    for entry in world.hubspot.journal() {
        let is_small = entry.operation != Operation::BatchCreate || entry.inputs.len() <= BATCH;
        assert!(is_small, "a request of {} courses", entry.inputs.len());
    }
}
