//! A course that HubSpot fails at with 500 every time: isolated and failed, while all others pass. An outage
//! that looks the same is nobody's fault.

use course_sync::simulator::{Answer, ErrorForm, Fault, Operation};

use crate::support::eventually::eventually;
use crate::support::world::{Row, World};

const MAX_ATTEMPTS: i32 = 3;

fn internal_error() -> Fault {
    let answer = Answer::Error { status: 500, body: ErrorForm::Json, retry_after: None };
    Fault::new(answer).on(Operation::BatchCreate)
}

async fn impatient() -> World {
    let mut world = World::new().await;
    world.set("RETRY__MAX_ATTEMPTS", &MAX_ATTEMPTS.to_string());
    world.set("RETRY__INITIAL_INTERVAL", "20ms");
    world
}

fn of<'a>(rows: &'a [Row], status: &str) -> Vec<&'a str> {
    rows.iter().filter(|row| row.status == status).map(|row| row.course_key.as_str()).collect()
}

async fn judge(world: &World, poisons: &[&str]) {
    // Others have to pass, or nothing is evidence.
    let mut others = 0;
    eventually("every poisoned course has failed", async || {
        others += 1;
        world.enqueue_many(&format!("other{others}"), 1).await;
        let counts = world.counts().await;
        let failed = counts.get("failed").and_then(|count| usize::try_from(*count).ok());
        if failed == Some(poisons.len()) { Ok(()) } else { Err(counts) }
    })
    .await;
    world.all_are(&["synced", "failed"]).await;
    world.audit().await;
    let rows = world.rows().await;
    assert_eq!(of(&rows, "failed"), poisons);
    for row in &rows {
        let expected = if row.status == "failed" { MAX_ATTEMPTS - 1 } else { 0 };
        assert_eq!(row.faults, expected, "{row:?}");
    }
    for row in rows.iter().filter(|row| row.status == "failed") {
        assert_eq!((row.error("category").as_str(), row.error("http_status").as_str()), ("refused", "500"));
        assert!(row.error("message").contains("while it let others pass"), "{row:?}");
        assert!(!row.error("correlation_id").is_empty(), "{row:?}");
    }
}

#[tokio::test]
async fn two_of_hundreds_fail_alone_and_all_others_pass() {
    let world = impatient().await;
    for key in ["A-17", "B-90"] {
        world.hubspot.add_fault(internal_error().containing(&format!("\"{key}\"")));
    }
    world.enqueue_many("A", 100).await;
    world.enqueue_many("B", 150).await;
    let _daemon = world.daemon();
    judge(&world, &["A-17", "B-90"]).await;
}

#[tokio::test]
async fn the_first_in_line_fails_alone_and_all_others_pass() {
    let world = impatient().await;
    world.hubspot.add_fault(internal_error().containing("\"A-1\""));
    world.enqueue_many("A", 20).await;
    let _daemon = world.daemon();
    judge(&world, &["A-1"]).await;
}

#[tokio::test]
async fn where_every_create_fails_no_course_is_at_fault() {
    let world = impatient().await;
    world.enqueue_many("A", 300).await;
    world.hubspot.add_fault(internal_error());
    let _daemon = world.daemon();
    eventually("many more requests failed than a course may have faults", async || {
        let creates = world.creates();
        if creates > 8 { Ok(()) } else { Err(creates) }
    })
    .await;
    let rows = world.rows().await;
    assert!(of(&rows, "failed").is_empty());
    assert!(rows.iter().all(|row| row.faults == 0), "{rows:?}");
    world.hubspot.clear_faults();
    world.all_are(&["synced"]).await;
    world.audit().await;
}
