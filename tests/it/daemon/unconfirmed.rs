//! Courses with an unknown result: they are looked up, adopted or held, and never sent again without a look-up.

use simulator::{Answer, Behaviour, Commit, Fault, Operation, PropertyType};

use crate::support::eventually::eventually;
use crate::support::world::{UNIQUE_PROPERTY, World};

/// Checks that courses settle after this fault of one request, both if the request was executed and if not.
async fn check_settlement(fault: impl Fn(Commit) -> Fault) {
    for commit in [Commit::No, Commit::Yes] {
        let mut world = World::new().await;
        world.set("HUBSPOT__REQUEST_TIMEOUT", "600ms");
        world.set("HUBSPOT__CONNECT_TIMEOUT", "300ms");
        let daemon = world.start_daemon();
        world.warm_up().await;
        world.hubspot.add_fault(fault(commit).on(Operation::BatchCreate).times(1));
        world.enqueue_many("A", 40).await;
        world.wait_until_all_are(&["synced"]).await;
        world.audit().await;
        eventually("the delay of each course was measured", async || {
            match daemon.metric("course_sync_sync_delay_seconds_count").await {
                count if count == "151" => Ok(()),
                count => Err(count),
            }
        })
        .await;
        let expected = if commit == Commit::Yes { 1 } else { 2 };
        let sends = world.sends_per_course();
        let is_of_batch = |(key, _): &(&String, &usize)| key.starts_with("A-");
        assert!(
            sends.iter().filter(is_of_batch).all(|(_, times)| *times == expected),
            "{commit:?}: {sends:?}"
        );
    }
}

#[tokio::test]
async fn courses_settle_after_a_timeout() {
    check_settlement(|commit| Fault::new(Answer::Hang).committing(commit)).await;
}

#[tokio::test]
async fn courses_settle_after_a_reset() {
    check_settlement(|commit| Fault::new(Answer::Reset).committing(commit)).await;
}

#[tokio::test]
async fn courses_settle_after_a_bad_gateway() {
    check_settlement(|commit| {
        let answer = Answer::Error { status: 502, body: simulator::ErrorForm::Html, retry_after: None };
        Fault::new(answer).committing(commit)
    })
    .await;
}

#[tokio::test]
async fn courses_settle_after_a_truncated_response() {
    let world = World::new().await;
    world.hubspot.add_fault(Fault::new(Answer::Cut { at: 100 }).on(Operation::BatchCreate).times(1));
    world.enqueue_many("A", 40).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert!(world.sends_per_course().values().all(|times| *times == 1));
}

#[tokio::test]
async fn courses_settle_after_a_response_that_omits_some() {
    let world = World::new().await;
    world.hubspot.add_fault(Fault::new(Answer::DropResults(7)).on(Operation::BatchCreate).times(1));
    world.enqueue_many("A", 40).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
}

#[tokio::test]
async fn a_late_commit_creates_no_duplicate() {
    let mut world = World::new().await;
    world.set("HUBSPOT__REQUEST_TIMEOUT", "400ms");
    world.set("HUBSPOT__CONNECT_TIMEOUT", "200ms");
    let late = Fault::new(Answer::Hang).committing(Commit::Late { after_ms: 700 });
    world.hubspot.add_fault(late.on(Operation::BatchCreate).times(1));
    world.enqueue_many("A", 40).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    eventually("the late request has ended", async || match world.hubspot.summary().open {
        0 => Ok(()),
        open => Err(open),
    })
    .await;
    world.audit().await;
}

#[tokio::test]
async fn an_existing_record_with_the_key_is_adopted() {
    let world = World::new().await;
    let properties = [("hs_course_name", "By hand"), (crate::support::world::UNIQUE_PROPERTY, "A-3")];
    let id = world.hubspot.create_record(properties.map(|(name, value)| (name.into(), value.into())).into());
    world.enqueue_many("A", 5).await;
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    assert_eq!(world.row("A-3").await.hubspot_id, Some(id.to_string()));
    assert_eq!(daemon.metric("course_sync_courses_total{outcome=\"adopted\"}").await, "1");
    assert!(daemon.stop().await.success());
    world.audit().await;
}

#[tokio::test]
async fn without_a_unique_property_an_unconfirmed_course_is_held_for_the_operator() {
    let mut world = World::with(false, Behaviour::default()).await;
    world.set("HUBSPOT__REQUEST_TIMEOUT", "400ms");
    world.set("HUBSPOT__CONNECT_TIMEOUT", "200ms");
    world
        .hubspot
        .add_fault(Fault::new(Answer::Hang).committing(Commit::Yes).on(Operation::BatchCreate).times(1));
    world.enqueue_many("A", 10).await;
    let daemon = world.start_daemon();
    daemon.wait_for_log("no course is created twice: a course with an unknown outcome is held").await;
    world.enqueue_many("B", 10).await;
    eventually("one course is held and the others are synced", async || {
        let counts = world.counts().await;
        if counts == [("synced".into(), 19), ("unconfirmed".into(), 1)].into() { Ok(()) } else { Err(counts) }
    })
    .await;
    world.audit().await;
    let row = world.row("A-1").await;
    assert_eq!((row.status.as_str(), row.error("category").as_str()), ("unconfirmed", "unknown_outcome"));
    assert!(world.sends_per_course().values().all(|times| *times == 1));
}

#[tokio::test]
async fn with_resend_an_unconfirmed_course_is_sent_again() {
    let mut world = World::with(false, Behaviour::default()).await;
    world.set("OUTBOX__UNCONFIRMED", "resend");
    world.set("HUBSPOT__REQUEST_TIMEOUT", "400ms");
    world.set("HUBSPOT__CONNECT_TIMEOUT", "200ms");
    world
        .hubspot
        .add_fault(Fault::new(Answer::Hang).committing(Commit::No).on(Operation::BatchCreate).times(1));
    world.enqueue_many("A", 10).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
}

#[tokio::test]
async fn an_outage_fails_no_course() {
    let mut world = World::new().await;
    world.set("RETRY__MAX_ATTEMPTS", "1");
    world.stop_hubspot().await;
    world.enqueue_many("A", 250).await;
    let daemon = world.start_daemon();
    daemon.wait_for_log("\"unavailable\"").await;
    assert!(world.rows().await.iter().all(|row| row.status != "failed"));
    world.restart_hubspot().await;
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert!(
        world.rows().await.iter().all(|row| row.attempts == 1),
        "an attempt was counted for a course that was not sent"
    );
}

#[tokio::test]
async fn a_refusal_of_an_unconfirmed_course_is_looked_up_first() {
    let world = World::new().await;
    let bad_gateway = Answer::Error { status: 502, body: simulator::ErrorForm::Html, retry_after: None };
    let late = Fault::new(bad_gateway).committing(Commit::Late { after_ms: 1_500 });
    world.hubspot.add_fault(late.on(Operation::BatchCreate).times(1));
    // The refusal arrives after the late commit of the first request.
    let body = r#"{"status":"error","message":"Invalid input","category":"VALIDATION_ERROR"}"#;
    let refusal =
        Answer::Literal { status: 400, headers: std::collections::BTreeMap::default(), body: body.into() };
    world.hubspot.add_fault(Fault::new(refusal).on(Operation::BatchCreate).times(1).after_ms(3_000));
    world.enqueue_many("A", 1).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert_eq!(world.sends_per_course()["A-1"], 2);
}

#[tokio::test]
async fn a_course_unconfirmed_before_the_unique_property_existed_stays_held() {
    let mut world = World::with(false, Behaviour::default()).await;
    let reset = Fault::new(Answer::Reset).committing(Commit::Yes);
    world.hubspot.add_fault(reset.on(Operation::BatchCreate).times(1));
    world.enqueue_many("A", 1).await;
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["unconfirmed"]).await;
    assert!(daemon.stop().await.success());

    world.hubspot.create_property(UNIQUE_PROPERTY, PropertyType::String, true);
    world.set("HUBSPOT__UNIQUE_PROPERTY", UNIQUE_PROPERTY);
    let _daemon = world.start_daemon();
    world.enqueue_many("B", 3).await;
    world.wait_until_all_are(&["unconfirmed", "synced"]).await;
    world.audit().await;
    assert_eq!(world.counts().await["unconfirmed"], 1);
    assert_eq!(world.hubspot.records().len(), 4, "a course was created twice");
    assert_eq!(
        world.received(Operation::BatchRead).len(),
        0,
        "a course that was sent without its key cannot be looked up"
    );
}
