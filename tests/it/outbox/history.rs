//! The history of one course, as it is read from the database.

use std::time::Duration;

use course_sync::course::{
    BatchId, Category, CourseError, Doubt, HubSpotId, Provenance, Requeue, Status, Transition,
};
use course_sync::hubspot::api::outcome::RequestOutcome;
use course_sync::outbox::history::{read_adjacent_keys, read_history};
use course_sync::outbox::journal::{ReadPurpose, record_read_start};
use course_sync::outbox::record::RequestEnd;
use course_sync::outbox::recover::settle_unconfirmed;
use course_sync::policy::backlog::Cursor;
use course_sync::policy::explain::history::{EventKind, Purpose};
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::{enqueue, generous, leader, record_all, take};
use crate::support::postgres::database;

fn doubt() -> Transition {
    Transition::Unconfirmed {
        error: CourseError::new(Category::UnknownOutcome, "left out", Timestamp::now()),
        doubt: Doubt::Unknown,
        batch_limit: None,
        look_after: Duration::ZERO,
    }
}

#[tokio::test]
async fn a_history_has_each_event_and_each_request_that_carried_the_course() {
    let database = database().await;
    let pool = database.pool();
    enqueue(pool, "a", json!({})).await;
    enqueue(pool, "b", json!({ "x": 1 })).await;
    let lease = leader(pool).await;
    let (first, taken) = take(pool, lease, generous(), Cursor::default()).await;
    let ids: Vec<_> = taken.courses.iter().map(|course| course.id).collect();
    let end = RequestEnd {
        outcome: Some(RequestOutcome::Partial),
        http_status: Some(207),
        correlation_id: Some("c-1".into()),
        passed: Some(true),
    };
    record_all(pool, first, &[(ids[0], doubt()), (ids[1], Transition::Pending(Requeue::Held))], &end)
        .await
        .unwrap();
    let read = BatchId(Uuid::now_v7());
    record_read_start(pool, lease, read, ReadPurpose::Lookup, &ids[..1], Duration::from_secs(20))
        .await
        .unwrap();
    // A request about the account's properties carries no course.
    record_read_start(
        pool,
        lease,
        BatchId(Uuid::now_v7()),
        ReadPurpose::Account,
        &ids[..1],
        Duration::from_secs(20),
    )
    .await
    .unwrap();
    let found = Transition::Synced {
        hubspot_id: HubSpotId::parse("7").unwrap(),
        provenance: Provenance::Confirmed,
        warning: None,
    };
    assert_eq!(settle_unconfirmed(pool, lease, &[(ids[0], first, found)]).await.unwrap(), 1);
    let (second, _) = take(pool, lease, generous(), Cursor::default()).await;

    let shown = read_history(pool, "a").await.unwrap().expect("the course is there");
    assert_eq!((shown.course.status, shown.course.hubspot_id.as_deref()), (Status::Synced, Some("7")));
    let events: Vec<_> = shown.events.iter().map(|event| (event.event, event.request)).collect();
    assert_eq!(events, [(EventKind::Unconfirmed, Some(first)), (EventKind::Confirmed, Some(first))]);
    assert_eq!(shown.events[0].error.as_ref().unwrap().message, "left out");
    let requests: Vec<_> = shown.requests.iter().map(|it| (it.id, it.operation, it.courses)).collect();
    assert_eq!(requests, [(first, Purpose::Create, 2), (read, Purpose::Read, 1)]);
    let sent = &shown.requests[0];
    assert_eq!(
        (sent.http_status, sent.outcome.as_deref(), sent.correlation_id.as_deref()),
        (Some(207), Some("partial"), Some("c-1"))
    );
    assert!(!shown.is_truncated);

    let shown = read_history(pool, "b").await.unwrap().unwrap();
    assert_eq!((shown.course.status, shown.course.attempts), (Status::InFlight, 1));
    let requests: Vec<_> = shown.requests.iter().map(|request| request.id).collect();
    assert_eq!(requests, [first, second], "no event names the first one");
    assert!(read_history(pool, "c").await.unwrap().is_none());
}

#[tokio::test]
async fn adjacent_keys_are_the_next_ones_in_order() {
    let database = database().await;
    for key in ["A-1", "A-2", "A-20", "A-3", "B-1", "C-1", "D-1"] {
        enqueue(database.pool(), key, json!({})).await;
    }
    let mut found = read_adjacent_keys(database.pool(), "A-2x").await.unwrap();
    found.sort();
    assert_eq!(found, ["A-1", "A-2", "A-20", "A-3", "B-1", "C-1"]);
}

#[tokio::test]
async fn a_warning_of_a_created_course_is_in_its_row_and_history() {
    let database = database().await;
    let pool = database.pool();
    enqueue(pool, "a", json!({})).await;
    enqueue(pool, "b", json!({})).await;
    let lease = leader(pool).await;
    let (batch, taken) = take(pool, lease, generous(), Cursor::default()).await;
    let created = |id: &str, warning| Transition::Synced {
        hubspot_id: HubSpotId::parse(id).unwrap(),
        provenance: Provenance::Created,
        warning,
    };
    let warning = CourseError::new(Category::Refused, "No company with id 1", Timestamp::now());
    let end = RequestEnd {
        outcome: Some(RequestOutcome::Ok),
        http_status: Some(207),
        correlation_id: None,
        passed: Some(true),
    };
    let transitions =
        [(taken.courses[0].id, created("7", Some(warning))), (taken.courses[1].id, created("8", None))];
    record_all(pool, batch, &transitions, &end).await.unwrap();

    let shown = read_history(pool, "a").await.unwrap().unwrap();
    assert_eq!((shown.course.status, shown.course.hubspot_id.as_deref()), (Status::Synced, Some("7")));
    assert_eq!(shown.course.error.unwrap().message, "No company with id 1");
    let events: Vec<_> = shown.events.iter().map(|event| (event.event, event.request)).collect();
    assert_eq!(events, [(EventKind::Confirmed, Some(batch))]);
    assert_eq!(shown.events[0].error.as_ref().unwrap().message, "No company with id 1");

    let shown = read_history(pool, "b").await.unwrap().unwrap();
    assert_eq!((shown.course.status, shown.course.error), (Status::Synced, None));
    assert!(shown.events.is_empty(), "a course that is created at once leaves nothing there");
}
