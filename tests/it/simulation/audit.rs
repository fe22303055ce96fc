//! What must hold at the end, in addition to the shared audit. It reads only what HubSpot received and holds and what
//! the outbox shows, and shares nothing with the engine.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use simulator::{Limits, Operation};

use super::plan::{BATCH, Plan};
use super::runner::BAD;
use crate::support::world::{Row, UNIQUE_PROPERTY, World};

/// Audits a world in which nothing changes any more.
pub async fn audit(world: &World, plan: &Plan) {
    world.audit().await;
    let rows = world.rows().await;
    for row in &rows {
        assert_expected_outcome(row, plan.unique);
    }
    assert_every_record_is_a_course(world, &rows, plan.unique).await;
    assert_every_send_was_intended(world, &rows);
    assert_requests_within_limits(world, plan.behaviour.limits);
}

/// Only courses that HubSpot can never accept fail; only courses that cannot be looked up stay unconfirmed.
fn assert_expected_outcome(row: &Row, unique: bool) {
    let is_bad = row.course_key.starts_with(BAD);
    match (row.status.as_str(), is_bad) {
        ("failed", true) | ("synced", false) => {}
        // Withdrawn, which the shared audit compares with HubSpot.
        ("archived", _) => {}
        // An archive whose answer was lost was executed after the course was offered again.
        ("failed", false) => assert_eq!(row.error("category"), "record_gone", "{row:?}"),
        ("unconfirmed", _) if !unique => assert_eq!(row.error("category"), "unknown_outcome", "{row:?}"),
        _ => panic!("unexpected outcome: {row:?}"),
    }
}

/// Each live record belongs to one course, and that of a synced course holds exactly what the row says.
async fn assert_every_record_is_a_course(world: &World, rows: &[Row], unique: bool) {
    let wanted: BTreeMap<String, Value> = sqlx::query_as("select course_key, properties from course_outbox")
        .fetch_all(world.pool())
        .await
        .expect("the outbox can be read")
        .into_iter()
        .collect();
    let key_of = |record: &BTreeMap<String, String>| {
        let key = record.get("hs_course_name")?.strip_prefix("Course ")?.replace(' ', "-");
        (!unique || record.get(UNIQUE_PROPERTY) == Some(&key)).then_some(key)
    };
    let mut records = BTreeMap::new();
    for record in world.hubspot.records().into_iter().filter(|record| !record.archived) {
        let key = key_of(&record.properties).unwrap_or_else(|| panic!("a record without a key: {record:?}"));
        assert!(wanted.contains_key(&key), "a record without a course: {record:?}");
        let twin = records.insert(key.clone(), record);
        assert!(twin.is_none(), "{key} has two records");
    }
    for row in rows {
        let record = records.get(&row.course_key);
        match row.status.as_str() {
            "synced" => {
                let record = record.unwrap_or_else(|| panic!("{row:?} has no live record"));
                assert_eq!(
                    row.hubspot_id,
                    Some(record.id.to_string()),
                    "{row:?} is synced with its own record"
                );
                let mut expected = as_text(&wanted[&row.course_key]);
                if unique {
                    expected.insert(UNIQUE_PROPERTY.to_owned(), row.course_key.clone());
                }
                assert_eq!(record.properties, expected, "{} holds what its row says", row.course_key);
            }
            "archived" => assert_eq!(record, None, "{row:?} has a live record"),
            _ => {}
        }
    }
}

/// The properties as HubSpot stores them: all values are text.
fn as_text(properties: &Value) -> BTreeMap<String, String> {
    let properties = properties.as_object().expect("an object");
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    properties.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// HubSpot received no course more often than its row shows attempts.
fn assert_every_send_was_intended(world: &World, rows: &[Row]) {
    let received = world.sends_per_course();
    for row in rows {
        // Without a unique property the name identifies the course.
        let name = format!("Course {}", row.course_key.replace('-', " "));
        let times =
            received.get(&row.course_key).or_else(|| received.get(&name)).copied().unwrap_or_default();
        let attempts = usize::try_from(row.attempts).expect("attempts are not negative");
        assert!(times <= attempts, "{} was received {times} times: {row:?}", row.course_key);
    }
}

/// The quota as HubSpot counts it, and the size of each request.
fn assert_requests_within_limits(world: &World, limits: Limits) {
    let worst = world.hubspot.worst_window(Duration::from_millis(limits.per_ms));
    assert!(worst as u64 <= limits.requests, "{worst} requests in a window of {}", limits.requests);
    for entry in world.hubspot.journal() {
        let writes = [Operation::BatchCreate, Operation::BatchUpdate, Operation::BatchArchive];
        let is_within_limit = !writes.contains(&entry.operation) || entry.inputs.len() <= BATCH;
        assert!(is_within_limit, "a request of {} courses", entry.inputs.len());
    }
}
