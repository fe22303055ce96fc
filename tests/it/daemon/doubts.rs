//! Outcomes that nobody knows: asked for, adopted, or held; never sent blindly again.

use course_sync::simulator::{Answer, Behaviour, Commit, Fault, Operation, PropertyType};

use crate::support::eventually::eventually;
use crate::support::world::{UNIQUE, World};

/// Faults of one request, each with and without the courses being created behind it.
async fn settles(fault: impl Fn(Commit) -> Fault) {
    for commit in [Commit::No, Commit::Yes] {
        let mut world = World::new().await;
        world.set("HUBSPOT__REQUEST_TIMEOUT", "600ms");
        world.set("HUBSPOT__CONNECT_TIMEOUT", "300ms");
        let daemon = world.daemon();
        world.warm_up().await;
        world.hubspot.add_fault(fault(commit).on(Operation::BatchCreate).times(1));
        world.enqueue_many("A", 40).await;
        world.all_are(&["synced"]).await;
        world.audit().await;
        eventually("each has its delay", async || {
            match daemon.metric("course_sync_sync_delay_seconds_count").await {
                count if count == "151" => Ok(()),
                count => Err(count),
            }
        })
        .await;
        let expected = if commit == Commit::Yes { 1 } else { 2 };
        let sends = world.sends();
        let of_these = |(key, _): &(&String, &usize)| key.starts_with("A-");
        assert!(sends.iter().filter(of_these).all(|(_, times)| *times == expected), "{commit:?}: {sends:?}");
    }
}

#[tokio::test]
async fn after_a_timeout() {
    settles(|commit| Fault::new(Answer::Hang).committing(commit)).await;
}

#[tokio::test]
async fn after_a_reset() {
    settles(|commit| Fault::new(Answer::Reset).committing(commit)).await;
}

#[tokio::test]
async fn after_a_bad_gateway() {
    settles(|commit| {
        let answer =
            Answer::Error { status: 502, body: course_sync::simulator::ErrorForm::Html, retry_after: None };
        Fault::new(answer).committing(commit)
    })
    .await;
}

#[tokio::test]
async fn after_an_answer_cut_short() {
    let world = World::new().await;
    world.hubspot.add_fault(Fault::new(Answer::Cut { at: 100 }).on(Operation::BatchCreate).times(1));
    world.enqueue_many("A", 40).await;
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
    world.audit().await;
    assert!(world.sends().values().all(|times| *times == 1));
}

#[tokio::test]
async fn after_an_answer_that_leaves_some_out() {
    let world = World::new().await;
    world.hubspot.add_fault(Fault::new(Answer::DropResults(7)).on(Operation::BatchCreate).times(1));
    world.enqueue_many("A", 40).await;
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
    world.audit().await;
}

#[tokio::test]
async fn a_late_commit_loses_against_the_resend_or_wins_and_is_adopted() {
    let mut world = World::new().await;
    world.set("HUBSPOT__REQUEST_TIMEOUT", "400ms");
    world.set("HUBSPOT__CONNECT_TIMEOUT", "200ms");
    let late = Fault::new(Answer::Hang).committing(Commit::Late { after_ms: 700 });
    world.hubspot.add_fault(late.on(Operation::BatchCreate).times(1));
    world.enqueue_many("A", 40).await;
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
    eventually("the late request is over", async || match world.hubspot.summary().open {
        0 => Ok(()),
        open => Err(open),
    })
    .await;
    world.audit().await;
}

#[tokio::test]
async fn a_record_that_already_carries_the_key_is_adopted() {
    let world = World::new().await;
    let properties = [("hs_course_name", "By hand"), (crate::support::world::UNIQUE, "A-3")];
    let id = world.hubspot.create_record(properties.map(|(name, value)| (name.into(), value.into())).into());
    world.enqueue_many("A", 5).await;
    let mut daemon = world.daemon();
    world.all_are(&["synced"]).await;
    assert_eq!(world.row("A-3").await.hubspot_id, Some(id.to_string()));
    assert_eq!(daemon.metric("course_sync_courses_total{outcome=\"adopted\"}").await, "1");
    assert!(daemon.stop().await.success());
    world.audit().await;
}

#[tokio::test]
async fn without_a_unique_property_a_doubt_is_held_for_a_person() {
    let mut world = World::with(false, Behaviour::default()).await;
    world.set("HUBSPOT__REQUEST_TIMEOUT", "400ms");
    world.set("HUBSPOT__CONNECT_TIMEOUT", "200ms");
    world
        .hubspot
        .add_fault(Fault::new(Answer::Hang).committing(Commit::Yes).on(Operation::BatchCreate).times(1));
    world.enqueue_many("A", 10).await;
    let daemon = world.daemon();
    daemon.logged("no course is created twice, but one whose outcome is unknown is held").await;
    world.enqueue_many("B", 10).await;
    eventually("one is held and the others go on", async || {
        let counts = world.counts().await;
        if counts == [("synced".into(), 19), ("unconfirmed".into(), 1)].into() { Ok(()) } else { Err(counts) }
    })
    .await;
    world.audit().await;
    let row = world.row("A-1").await;
    assert_eq!((row.status.as_str(), row.error("category").as_str()), ("unconfirmed", "unknown_outcome"));
    assert!(world.sends().values().all(|times| *times == 1));
}

#[tokio::test]
async fn without_a_unique_property_resend_sends_again() {
    let mut world = World::with(false, Behaviour::default()).await;
    world.set("OUTBOX__UNCONFIRMED", "resend");
    world.set("HUBSPOT__REQUEST_TIMEOUT", "400ms");
    world.set("HUBSPOT__CONNECT_TIMEOUT", "200ms");
    world
        .hubspot
        .add_fault(Fault::new(Answer::Hang).committing(Commit::No).on(Operation::BatchCreate).times(1));
    world.enqueue_many("A", 10).await;
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
    world.audit().await;
}

#[tokio::test]
async fn an_outage_fails_no_course() {
    let mut world = World::new().await;
    world.set("RETRY__MAX_ATTEMPTS", "1");
    world.hubspot_goes().await;
    world.enqueue_many("A", 250).await;
    let daemon = world.daemon();
    daemon.logged("\"unavailable\"").await;
    assert!(world.rows().await.iter().all(|row| row.status != "failed"));
    world.hubspot_returns().await;
    world.all_are(&["synced"]).await;
    world.audit().await;
    assert!(
        world.rows().await.iter().all(|row| row.attempts == 1),
        "what was not sent does not count as an attempt"
    );
}

#[tokio::test]
async fn a_refusal_after_a_doubt_is_not_believed_before_hubspot_was_asked() {
    let world = World::new().await;
    let bad_gateway =
        Answer::Error { status: 502, body: course_sync::simulator::ErrorForm::Html, retry_after: None };
    let late = Fault::new(bad_gateway).committing(Commit::Late { after_ms: 1_500 });
    world.hubspot.add_fault(late.on(Operation::BatchCreate).times(1));
    // It comes when the first request has been carried out after all.
    let body = r#"{"status":"error","message":"That will not do","category":"VALIDATION_ERROR"}"#;
    let refusal =
        Answer::Literal { status: 400, headers: std::collections::BTreeMap::default(), body: body.into() };
    world.hubspot.add_fault(Fault::new(refusal).on(Operation::BatchCreate).times(1).after_ms(3_000));
    world.enqueue_many("A", 1).await;
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
    world.audit().await;
    assert_eq!(world.sends()["A-1"], 2);
}

#[tokio::test]
async fn what_was_in_doubt_before_there_was_a_unique_property_stays_with_a_person() {
    let mut world = World::with(false, Behaviour::default()).await;
    let reset = Fault::new(Answer::Reset).committing(Commit::Yes);
    world.hubspot.add_fault(reset.on(Operation::BatchCreate).times(1));
    world.enqueue_many("A", 1).await;
    let mut daemon = world.daemon();
    world.all_are(&["unconfirmed"]).await;
    assert!(daemon.stop().await.success());

    world.hubspot.create_property(UNIQUE, PropertyType::String, true);
    world.set("HUBSPOT__UNIQUE_PROPERTY", UNIQUE);
    let _daemon = world.daemon();
    world.enqueue_many("B", 3).await;
    world.all_are(&["unconfirmed", "synced"]).await;
    world.audit().await;
    assert_eq!(world.counts().await["unconfirmed"], 1);
    assert_eq!(world.hubspot.records().len(), 4, "nothing was created twice");
    assert_eq!(world.received(Operation::BatchRead).len(), 0, "a look-up could prove nothing");
}
