//! Look-ups of unconfirmed courses: absence needs proof, and a look-up that fails does not stop the others.

use serde_json::json;
use simulator::{Answer, Behaviour, Commit, Fault, Keys, Normalise, Operation};

use crate::support::eventually::eventually;
use crate::support::world::{UNIQUE_PROPERTY, World};

async fn wait_until_synced(world: &World, courses: i64) {
    eventually(&format!("{courses} courses are synced"), async || {
        let counts = world.counts().await;
        if counts.get("synced") == Some(&courses) { Ok(()) } else { Err(counts) }
    })
    .await;
}

/// Executes the next create and loses its response.
fn lost_response() -> Fault {
    Fault::new(Answer::Reset).on(Operation::BatchCreate).committing(Commit::Yes).times(1)
}

#[tokio::test]
async fn a_key_whose_look_up_always_fails_does_not_stop_creates() {
    let world = World::new().await;
    world.enqueue_many("A", 200).await;
    // The first large batch loses its response, so that its courses are unconfirmed.
    world.hubspot.add_fault(
        Fault::new(Answer::Reset).on(Operation::BatchCreate).committing(Commit::Yes).more_than(50).times(1),
    );
    world.hubspot.add_fault(Fault::new(Answer::literal(500, "")).on(Operation::BatchRead).id("A-60"));
    let daemon = world.start_daemon();
    wait_until_synced(&world, 199).await;
    world.enqueue_many("B", 2_000).await;
    wait_until_synced(&world, 2_199).await;
    world.audit().await;
    let row = eventually("the row shows the reason", async || {
        let row = world.row("A-60").await;
        let is_shown = row
            .error
            .as_ref()
            .is_some_and(|error| error["message"].to_string().contains("looking it up failed"));
        if is_shown { Ok(row) } else { Err(row) }
    })
    .await;
    assert_eq!((row.status.as_str(), row.faults), ("unconfirmed", 0));
    assert!(daemon.events("sending_paused").is_empty(), "creates were paused: {}", daemon.log());
    world.hubspot.clear_faults();
    wait_until_synced(&world, 2_200).await;
    world.audit().await;
}

#[tokio::test]
async fn look_ups_are_split_when_hubspot_refuses_more_than_fifty_keys() {
    let world = World::with(true, Behaviour { max_read_inputs: 50, ..Behaviour::default() }).await;
    world.hubspot.add_fault(
        Fault::new(Answer::Reset).on(Operation::BatchCreate).committing(Commit::Yes).more_than(50).times(2),
    );
    world.enqueue_many("A", 400).await;
    let _daemon = world.start_daemon();
    wait_until_synced(&world, 400).await;
    world.audit().await;
}

#[tokio::test]
async fn lagging_reads_fail_and_duplicate_no_course() {
    for misses_are_listed in [true, false] {
        let behaviour =
            Behaviour { read_lag_ms: 3_000, read_omits_missing: !misses_are_listed, ..Behaviour::default() };
        let mut world = World::with(true, behaviour).await;
        world.set("RETRY__MAX_ATTEMPTS", "2");
        world.hubspot.add_fault(lost_response());
        world.enqueue_many("A", 30).await;
        let _daemon = world.start_daemon();
        wait_until_synced(&world, 30).await;
        world.audit().await;
    }
}

#[tokio::test]
async fn a_key_omitted_from_a_read_response_is_not_treated_as_absent() {
    let world = World::with(true, Behaviour { read_omits_missing: true, ..Behaviour::default() }).await;
    // The course was not created. The look-up does not find it, and does not list it as missing either.
    world.hubspot.add_fault(Fault::new(Answer::Reset).on(Operation::BatchCreate).times(1));
    world.enqueue_many("A", 1).await;
    let _daemon = world.start_daemon();
    eventually("the course was looked up twice", async || {
        let reads = world.received(Operation::BatchRead).len();
        if reads >= 2 { Ok(()) } else { Err(reads) }
    })
    .await;
    assert_eq!((world.row("A-1").await.status.as_str(), world.create_requests()), ("unconfirmed", 1));
    world.hubspot.change_behaviour(|behaviour| behaviour.read_omits_missing = false);
    wait_until_synced(&world, 1).await;
    world.audit().await;
}

#[tokio::test]
async fn a_record_in_the_recycle_bin_is_never_adopted() {
    let world = World::new().await;
    let properties = [("hs_course_name", "By hand"), (UNIQUE_PROPERTY, "A-1")];
    let id = world.hubspot.create_record(properties.map(|(name, value)| (name.into(), value.into())).into());
    world.hubspot.archive_record(id);
    world.enqueue_many("A", 3).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced", "failed"]).await;
    let row = world.row("A-1").await;
    assert_eq!((row.status.as_str(), row.error("category").as_str()), ("failed", "CONFLICT"));
    assert!(row.error("message").contains(&format!("record {id}")), "{row:?}");
}

#[tokio::test]
async fn a_course_whose_record_was_deleted_is_not_created_again() {
    let mut world = World::new().await;
    world.set("OUTBOX__SETTLE", "2s");
    world.hubspot.add_fault(lost_response());
    world.enqueue_many("A", 1).await;
    let _daemon = world.start_daemon();
    let id = eventually("HubSpot created the course", async || {
        world.hubspot.records().first().map(|it| it.id).ok_or(())
    })
    .await;
    world.hubspot.archive_record(id);
    world.wait_until_all_are(&["failed"]).await;
    let row = world.row("A-1").await;
    assert_eq!(row.error("category"), "record_gone");
    assert!(row.error("message").contains(&format!("record {id}")), "{row:?}");
    assert_eq!(world.create_requests(), 1);
}

#[tokio::test]
async fn a_key_that_hubspot_normalises_is_still_matched() {
    for (keys, key) in [(Keys::LowerCase, "Ä-1X"), (Keys::Collapsed, " a  b "), (Keys::Composed, "plain-1")]
    {
        for echo_trace_ids in [true, false] {
            for is_lost in [false, true] {
                let world =
                    World::with(true, Behaviour { keys, echo_trace_ids, ..Behaviour::default() }).await;
                if is_lost {
                    world.hubspot.add_fault(lost_response());
                }
                world.enqueue(key, &json!({ "hs_course_name": "x" })).await;
                world.enqueue_many("B", 5).await;
                let _daemon = world.start_daemon();
                wait_until_synced(&world, 6).await;
                assert_eq!(world.hubspot.records().len(), 6, "{key:?} {echo_trace_ids} {is_lost}");
            }
        }
    }
}

#[tokio::test]
async fn without_a_unique_property_rewritten_values_are_still_matched() {
    for normalise in [Normalise::Dates, Normalise::EpochMs, Normalise::Html] {
        let mut world = World::with(false, Behaviour { normalise, ..Behaviour::default() }).await;
        world.set("OUTBOX__UNCONFIRMED", "hold");
        world
            .create_property(&json!({
                "groupName": "course_information", "name": "starts", "label": "Starts", "type": "datetime", "fieldType": "date",
            }))
            .await;
        for n in 0..30 {
            let properties = json!({
                "hs_course_name": format!("Course H {n}"), "starts": "2026-11-30T09:00:00Z",
                "hs_course_description": format!("<p class=\"x\">Text {n} & more</p>"),
            });
            world.enqueue(&format!("H-{n}"), &properties).await;
        }
        // Courses with equal properties are interchangeable.
        for n in 0..10 {
            world
                .enqueue(
                    &format!("twin-{n}"),
                    &json!({ "hs_course_name": "Twin", "hs_enrollment_capacity": 50 }),
                )
                .await;
        }
        let _daemon = world.start_daemon();
        wait_until_synced(&world, 40).await;
        assert_eq!(world.hubspot.records().len(), 40, "{normalise:?}");
        assert!(world.create_requests() <= 5, "{normalise:?}: {} creates", world.create_requests());
    }
}

#[tokio::test]
async fn an_unconfirmed_course_is_looked_up_by_the_property_it_was_sent_with() {
    let mut world = World::new().await;
    world.set("OUTBOX__SETTLE", "1s");
    for commit in [Commit::Yes, Commit::No] {
        world
            .hubspot
            .add_fault(Fault::new(Answer::Reset).on(Operation::BatchCreate).committing(commit).times(1));
        let key = format!("{commit:?}");
        world.enqueue(&key, &json!({ "hs_course_name": key })).await;
        let mut daemon = world.start_daemon();
        eventually("the course is unconfirmed", async || {
            let row = world.row(&key).await;
            if row.status == "unconfirmed" { Ok(()) } else { Err(row) }
        })
        .await;
        daemon.signal("KILL");
        daemon.wait_for_exit().await;
        let creates = world.create_requests();
        // The daemon restarts without the unique property.
        let unique = world.settings.remove("COURSE_SYNC__HUBSPOT__UNIQUE_PROPERTY").unwrap();
        let mut daemon = world.start_daemon();
        let reads = world.received(Operation::BatchRead).len();
        eventually("the course is looked up", async || {
            if world.received(Operation::BatchRead).len() > reads { Ok(()) } else { Err(()) }
        })
        .await;
        let expected = if matches!(commit, Commit::Yes) { "synced" } else { "unconfirmed" };
        eventually("the course is synced if it was created, else it stays unconfirmed", async || {
            let row = world.row(&key).await;
            if row.status == expected { Ok(()) } else { Err(row) }
        })
        .await;
        assert_eq!(world.create_requests(), creates, "the course was sent again without a unique property");
        assert!(daemon.stop().await.success());
        world.settings.insert("COURSE_SYNC__HUBSPOT__UNIQUE_PROPERTY".into(), unique);
    }
}

#[tokio::test]
async fn a_course_sent_without_a_key_is_not_looked_up() {
    let mut world = World::new().await;
    let unique = world.settings.remove("COURSE_SYNC__HUBSPOT__UNIQUE_PROPERTY").unwrap();
    world.hubspot.add_fault(Fault::new(Answer::Reset).on(Operation::BatchCreate).times(1));
    world.enqueue_many("held", 1).await;
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["unconfirmed"]).await;
    assert!(daemon.stop().await.success());
    world.settings.insert("COURSE_SYNC__HUBSPOT__UNIQUE_PROPERTY".into(), unique);
    let _daemon = world.start_daemon();
    world.enqueue_many("B", 20).await;
    wait_until_synced(&world, 20).await;
    assert_eq!(world.received(Operation::BatchRead).len(), 0);
    assert_eq!(world.row("held-1").await.status, "unconfirmed");
}

#[tokio::test]
async fn a_look_up_is_recorded_with_its_outcome() {
    let world = World::new().await;
    world.hubspot.add_fault(lost_response());
    world.enqueue_many("A", 5).await;
    let _daemon = world.start_daemon();
    wait_until_synced(&world, 5).await;
    eventually("every read has an outcome in the journal", async || {
        let open: i64 = sqlx::query_scalar(
            "select count(*) from course_sync_batch where operation <> 'create' and (answered_at is null or outcome is null)",
        )
        .fetch_one(world.pool())
        .await
        .unwrap();
        if open == 0 { Ok(()) } else { Err(open) }
    })
    .await;
}

#[tokio::test]
async fn a_large_backlog_is_looked_up_with_eight_requests_at_once() {
    let world = World::new().await;
    world.enqueue_many("A", 1_000).await;
    let mut daemon = world.start_daemon();
    wait_until_synced(&world, 1_000).await;
    assert!(daemon.stop().await.success());
    // As after a restore: HubSpot holds the courses, and no row shows it.
    sqlx::query(
        "update course_outbox
            set status = 'unconfirmed', hubspot_id = null, synced_at = null, synced_revision = null, doubt = 'unknown',
                doubt_property = 'course_sync_key', doubted_since = now() - interval '1 hour', next_attempt_at = now()",
    )
    .execute(world.pool())
    .await
    .unwrap();
    // The responses are held until the faults are removed.
    world.hubspot.add_fault(Fault::new(Answer::Real).on(Operation::BatchRead).after_ms(600_000));
    daemon = world.start_daemon();
    eventually("eight look-ups are open", async || {
        let open = world.received(Operation::BatchRead).len();
        if open >= 8 { Ok(()) } else { Err(open) }
    })
    .await;
    assert_eq!(world.received(Operation::BatchRead).len(), 8);
    world.hubspot.clear_faults();
    wait_until_synced(&world, 1_000).await;
    assert!(daemon.stop().await.success());
    world.audit().await;
}
