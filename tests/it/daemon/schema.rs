//! The account's properties: what they speak against is failed unsent, and goes again when they change.

use course_sync::simulator::{Answer, ErrorForm, Fault, Operation, PropertyType};
use serde_json::json;

use crate::support::eventually::eventually;
use crate::support::world::{Row, World};

/// A world in which changes of the properties are looked for often.
async fn world() -> World {
    let mut world = World::new().await;
    world.set("OUTBOX__POLL_INTERVAL", "20ms");
    world
}

async fn events(world: &World, key: &str) -> Vec<String> {
    sqlx::query_scalar("select event from course_sync_history where course_key = $1 order by id")
        .bind(key)
        .fetch_all(world.pool())
        .await
        .unwrap()
}

async fn becomes(world: &World, key: &str, status: &str) -> Row {
    eventually(&format!("{key} is {status}"), async || {
        let row = world.row(key).await;
        if row.status == status { Ok(row) } else { Err(row) }
    })
    .await
}

/// The course was failed by us, unsent.
fn is_unasked(world: &World, row: &Row) {
    let error = row.error.as_ref().unwrap();
    assert!(error.get("http_status").is_none() && error.get("correlation_id").is_none(), "{row:?}");
    assert!(row.error("message").contains("HubSpot was not asked"), "{row:?}");
    assert_eq!((row.attempts, row.error("category").as_str()), (0, "VALIDATION_ERROR"), "{row:?}");
    assert_eq!(world.sends().get(&row.course_key), None, "{} was sent", row.course_key);
}

#[tokio::test]
async fn what_hubspot_would_refuse_costs_no_request() {
    let world = world().await;
    world.create_format().await;
    world.enqueue_many("A", 20).await;
    let bad = [
        (
            "no-property",
            json!({ "hs_course_name": "x", "hs_course_nmae": "3" }),
            "PROPERTY_DOESNT_EXIST",
            "hs_course_nmae",
        ),
        (
            "no-number",
            json!({ "hs_course_name": "x", "hs_enrollment_capacity": "many" }),
            "INVALID_INTEGER",
            "hs_enrollment_capacity",
        ),
        ("no-option", json!({ "hs_course_name": "x", "format": "by post" }), "INVALID_OPTION", "format"),
        ("too-long", json!({ "hs_course_name": "x".repeat(65_537) }), "INVALID_LENGTH", "hs_course_name"),
        (
            "read-only",
            json!({ "hs_course_name": "x", "hs_object_id": "7" }),
            "READ_ONLY_VALUE",
            "hs_object_id",
        ),
    ];
    for (key, properties, ..) in &bad {
        world.enqueue(key, properties).await;
    }
    let daemon = world.daemon();
    world.all_are(&["synced", "failed"]).await;
    world.audit().await;
    for (key, _, code, property) in &bad {
        daemon.logged(&format!("\"course_key\":\"{key}\"")).await;
        let row = world.row(key).await;
        assert_eq!((row.error("code"), row.error("property")), ((*code).to_owned(), (*property).to_owned()));
        is_unasked(&world, &row);
    }
    assert!(world.row("no-property").await.error("message").contains("did you mean \"hs_course_name\"?"));
    assert!(world.rows().await.iter().all(|row| row.status == "failed" || row.attempts == 1));
    assert_eq!(world.creates(), 1);

    let lists = world.received(Operation::PropertyList).len();
    let noted: i64 = sqlx::query_scalar("select count(*) from course_sync_batch where operation = 'schema'")
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert!(noted >= i64::try_from(lists).unwrap() && lists >= 3, "{noted} of {lists} are in the journal");
    let read = daemon.metric("course_sync_requests_total{operation=\"schema\",outcome=\"ok\"}").await;
    assert_ne!(read, "0");
}

#[tokio::test]
async fn a_property_made_later_lets_the_courses_go_again() {
    let world = world().await;
    let daemon = world.daemon();
    world.enqueue("C-1", &json!({ "hs_course_name": "Course C 1", "credits": 3 })).await;
    world.enqueue("C-2", &json!({ "hs_course_name": "Course C 2", "hs_object_id": "7" })).await;
    is_unasked(&world, &becomes(&world, "C-1", "failed").await);
    becomes(&world, "C-2", "failed").await;
    world.hubspot.create_property("credits", PropertyType::Number, false);
    let row = becomes(&world, "C-1", "synced").await;
    assert_eq!((row.attempts, row.error), (1, None));
    assert_eq!(events(&world, "C-1").await, ["failed", "retried"]);
    assert_eq!(world.row("C-2").await.status, "failed", "nothing has changed for it");
    assert_eq!(events(&world, "C-2").await, ["failed"]);
    world.audit().await;
    drop(daemon);
}

#[tokio::test]
async fn a_property_that_somebody_has_just_made_is_looked_for_before_a_course_fails() {
    let world = world().await;
    let _daemon = world.daemon();
    world.enqueue_many("A", 1).await;
    becomes(&world, "A-1", "synced").await;
    eventually("the list is older than what counts as fresh", async || {
        let since: f64 = sqlx::query_scalar(
            "select extract(epoch from now() - max(claimed_at))::float8 from course_sync_batch where operation = 'schema'",
        )
        .fetch_one(world.pool())
        .await
        .unwrap();
        if since > 2.1 { Ok(()) } else { Err(since) }
    })
    .await;
    world.hubspot.create_property("credits", PropertyType::Number, false);
    world.enqueue("C-1", &json!({ "hs_course_name": "Course C 1", "credits": 3 })).await;
    becomes(&world, "C-1", "synced").await;
    assert_eq!(events(&world, "C-1").await, [""; 0], "it was failed by an old list");
    world.audit().await;
}

#[tokio::test]
async fn without_the_scope_hubspot_alone_judges_and_it_is_said_once() {
    let world = world().await;
    world.hubspot_alone_judges();
    let mut daemon = world.daemon();
    world.enqueue("C-1", &json!({ "hs_course_name": "Course C 1", "credits": 3 })).await;
    world.enqueue_many("A", 3).await;
    let row = becomes(&world, "C-1", "failed").await;
    assert!(!row.error("correlation_id").is_empty() && row.attempts == 1, "{row:?}");
    world.all_are(&["synced", "failed"]).await;
    assert!(daemon.stop().await.success());
    assert_eq!(daemon.log().matches("courses are not checked").count(), 1, "{}", daemon.log());
    assert_eq!(world.received(Operation::PropertyList).len(), 1);
    world.audit().await;
}

#[tokio::test]
async fn properties_that_cannot_be_read_hold_nothing_up() {
    for answer in [
        Answer::Error { status: 502, body: ErrorForm::Html, retry_after: None },
        Answer::Reset,
        Answer::BrokenJson,
        Answer::Patched(json!({ "results": [] })),
    ] {
        let world = world().await;
        world.hubspot.add_fault(Fault::new(answer.clone()).on(Operation::PropertyList));
        world.enqueue_many("A", 150).await;
        let mut daemon = world.daemon();
        world.all_are(&["synced"]).await;
        assert!(daemon.stop().await.success());
        world.audit().await;
        assert!(world.rows().await.iter().all(|row| row.attempts == 1), "{answer:?}");
    }
}

#[tokio::test]
async fn what_hubspot_itself_missed_goes_again_under_a_later_leader() {
    let world = world().await;
    world.hubspot_alone_judges();
    let mut daemon = world.daemon();
    world.enqueue("C-1", &json!({ "hs_course_name": "Course C 1", "credits": 3 })).await;
    world.enqueue("C-2", &json!({ "hs_course_name": "Course C 2", "points": 3 })).await;
    world.all_are(&["failed"]).await;
    assert!(daemon.stop().await.success());
    world.hubspot.clear_faults();
    world.hubspot.create_property("credits", PropertyType::Number, false);
    // Nothing is pending: the failed ones alone are reason enough to look.
    let _daemon = world.daemon();
    becomes(&world, "C-1", "synced").await;
    assert_eq!(events(&world, "C-1").await, ["failed", "retried"]);
    assert_eq!(world.row("C-2").await.status, "failed");
    world.audit().await;
}
