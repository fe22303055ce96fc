//! HubSpot responds with 500 to every request that contains a certain course. That course is isolated and fails, and
//! all others pass. An outage with the same responses fails no course.

use simulator::{Answer, ErrorForm, Fault, Operation};

use crate::support::eventually::eventually;
use crate::support::world::{Row, World};

const MAX_ATTEMPTS: i32 = 3;

fn internal_error() -> Fault {
    let answer = Answer::Error { status: 500, body: ErrorForm::Json, retry_after: None };
    Fault::new(answer).on(Operation::BatchCreate)
}

async fn world_with_few_attempts() -> World {
    let mut world = World::new().await;
    world.set("RETRY__MAX_ATTEMPTS", &MAX_ATTEMPTS.to_string());
    world.set("RETRY__INITIAL_INTERVAL", "20ms");
    world
}

fn keys_with_status<'a>(rows: &'a [Row], status: &str) -> Vec<&'a str> {
    rows.iter().filter(|row| row.status == status).map(|row| row.course_key.as_str()).collect()
}

async fn check_failures(world: &World, bad_keys: &[&str]) {
    // Only successful requests before and after it make a failure count against the course.
    let mut others = 0;
    eventually("every bad course has failed", async || {
        others += 1;
        world.enqueue_many(&format!("other{others}"), 1).await;
        let counts = world.counts().await;
        let failed = counts.get("failed").and_then(|count| usize::try_from(*count).ok());
        if failed == Some(bad_keys.len()) { Ok(()) } else { Err(counts) }
    })
    .await;
    world.wait_until_all_are(&["synced", "failed"]).await;
    world.audit().await;
    let rows = world.rows().await;
    assert_eq!(keys_with_status(&rows, "failed"), bad_keys);
    for row in &rows {
        let expected = if row.status == "failed" { MAX_ATTEMPTS - 1 } else { 0 };
        assert_eq!(row.faults, expected, "{row:?}");
    }
    for row in rows.iter().filter(|row| row.status == "failed") {
        assert_eq!((row.error("category").as_str(), row.error("http_status").as_str()), ("refused", "500"));
        assert!(row.error("message").contains("while other courses succeeded"), "{row:?}");
        assert!(!row.error("correlation_id").is_empty(), "{row:?}");
    }
}

#[tokio::test]
async fn two_bad_courses_among_hundreds_fail_and_the_others_pass() {
    let world = world_with_few_attempts().await;
    for key in ["A-17", "B-90"] {
        world.hubspot.add_fault(internal_error().containing(&format!("\"{key}\"")));
    }
    world.enqueue_many("A", 100).await;
    world.enqueue_many("B", 150).await;
    let _daemon = world.start_daemon();
    check_failures(&world, &["A-17", "B-90"]).await;
}

#[tokio::test]
async fn a_bad_first_course_fails_and_the_others_pass() {
    let world = world_with_few_attempts().await;
    world.hubspot.add_fault(internal_error().containing("\"A-1\""));
    world.enqueue_many("A", 20).await;
    let _daemon = world.start_daemon();
    check_failures(&world, &["A-1"]).await;
}

#[tokio::test]
async fn no_course_fails_when_every_create_fails() {
    let world = world_with_few_attempts().await;
    world.enqueue_many("A", 300).await;
    world.hubspot.add_fault(internal_error());
    let _daemon = world.start_daemon();
    eventually("more requests failed than a course may have faults", async || {
        let creates = world.create_requests();
        if creates > 8 { Ok(()) } else { Err(creates) }
    })
    .await;
    let rows = world.rows().await;
    assert!(keys_with_status(&rows, "failed").is_empty());
    assert!(rows.iter().all(|row| row.faults == 0), "{rows:?}");
    world.hubspot.clear_faults();
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
}
