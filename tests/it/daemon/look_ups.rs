//! Looking doubts up: absence needs proof, contradictions stay in doubt, a look-up that fails stops no other.

use course_sync::simulator::{Answer, Behaviour, Commit, Fault, Keys, Normalise, Operation};
use serde_json::json;

use crate::support::eventually::eventually;
use crate::support::world::{UNIQUE, World};

async fn synced(world: &World, courses: i64) {
    eventually(&format!("{courses} courses are synced"), async || {
        let counts = world.counts().await;
        if counts.get("synced") == Some(&courses) { Ok(()) } else { Err(counts) }
    })
    .await;
}

/// The next create is carried out, and its answer lost.
fn lost_answer() -> Fault {
    Fault::new(Answer::Reset).on(Operation::BatchCreate).committing(Commit::Yes).times(1)
}

#[tokio::test]
async fn a_key_whose_look_up_always_fails_is_set_aside_alone_and_creates_go_on() {
    let world = World::new().await;
    world.enqueue_many("A", 200).await;
    // Every batch of some size loses its answer once, so that a hundred courses are in doubt.
    world.hubspot.add_fault(
        Fault::new(Answer::Reset).on(Operation::BatchCreate).committing(Commit::Yes).more_than(50).times(1),
    );
    world.hubspot.add_fault(Fault::new(Answer::literal(500, "")).on(Operation::BatchRead).id("A-60"));
    let daemon = world.daemon();
    synced(&world, 199).await;
    world.enqueue_many("B", 2_000).await;
    synced(&world, 2_199).await;
    world.audit().await;
    let row = eventually("its row shows why", async || {
        let row = world.row("A-60").await;
        let is_shown = row
            .error
            .as_ref()
            .is_some_and(|error| error["message"].to_string().contains("looking it up failed"));
        if is_shown { Ok(row) } else { Err(row) }
    })
    .await;
    assert_eq!((row.status.as_str(), row.faults), ("unconfirmed", 0));
    assert!(!daemon.log().contains("\"paused\""), "creates were paused: {}", daemon.log());
    world.hubspot.clear_faults();
    synced(&world, 2_200).await;
    world.audit().await;
}

#[tokio::test]
async fn look_ups_of_more_than_fifty_keys_may_be_refused() {
    let world = World::with(true, Behaviour { max_read_inputs: 50, ..Behaviour::default() }).await;
    world.hubspot.add_fault(
        Fault::new(Answer::Reset).on(Operation::BatchCreate).committing(Commit::Yes).more_than(50).times(2),
    );
    world.enqueue_many("A", 400).await;
    let _daemon = world.daemon();
    synced(&world, 400).await;
    world.audit().await;
}

#[tokio::test]
async fn reads_that_lag_fail_no_course_and_create_none_twice() {
    for misses_are_listed in [true, false] {
        let behaviour =
            Behaviour { read_lag_ms: 3_000, read_omits_missing: !misses_are_listed, ..Behaviour::default() };
        let mut world = World::with(true, behaviour).await;
        world.set("RETRY__MAX_ATTEMPTS", "2");
        world.hubspot.add_fault(lost_answer());
        world.enqueue_many("A", 30).await;
        let _daemon = world.daemon();
        synced(&world, 30).await;
        world.audit().await;
    }
}

#[tokio::test]
async fn an_answer_that_leaves_a_key_out_does_not_prove_its_absence() {
    let world = World::with(true, Behaviour { read_omits_missing: true, ..Behaviour::default() }).await;
    // Not created: the look-up finds nothing, and lists nothing either.
    world.hubspot.add_fault(Fault::new(Answer::Reset).on(Operation::BatchCreate).times(1));
    world.enqueue_many("A", 1).await;
    let _daemon = world.daemon();
    eventually("it was looked up twice", async || {
        let reads = world.received(Operation::BatchRead).len();
        if reads >= 2 { Ok(()) } else { Err(reads) }
    })
    .await;
    assert_eq!((world.row("A-1").await.status.as_str(), world.creates()), ("unconfirmed", 1));
    world.hubspot.change_behaviour(|behaviour| behaviour.read_omits_missing = false);
    synced(&world, 1).await;
    world.audit().await;
}

#[tokio::test]
async fn a_record_in_the_recycle_bin_is_never_adopted() {
    let world = World::new().await;
    let properties = [("hs_course_name", "By hand"), (UNIQUE, "A-1")];
    let id = world.hubspot.create_record(properties.map(|(name, value)| (name.into(), value.into())).into());
    world.hubspot.archive_record(id);
    world.enqueue_many("A", 3).await;
    let _daemon = world.daemon();
    world.all_are(&["synced", "failed"]).await;
    let row = world.row("A-1").await;
    assert_eq!((row.status.as_str(), row.error("category").as_str()), ("failed", "CONFLICT"));
    assert!(row.error("message").contains(&format!("record {id}")), "{row:?}");
}

#[tokio::test]
async fn a_course_whose_own_record_was_deleted_is_not_created_again() {
    let mut world = World::new().await;
    world.set("OUTBOX__SETTLE", "2s");
    world.hubspot.add_fault(lost_answer());
    world.enqueue_many("A", 1).await;
    let _daemon = world.daemon();
    let id =
        eventually("HubSpot created it", async || world.hubspot.records().first().map(|it| it.id).ok_or(()))
            .await;
    world.hubspot.archive_record(id);
    world.all_are(&["failed"]).await;
    let row = world.row("A-1").await;
    assert_eq!(row.error("category"), "record_gone");
    assert!(row.error("message").contains(&format!("record {id}")), "{row:?}");
    assert_eq!(world.creates(), 1);
}

#[tokio::test]
async fn a_key_that_hubspot_spells_otherwise_is_still_the_courses_own() {
    for (keys, key) in [(Keys::LowerCase, "Ä-1X"), (Keys::Collapsed, " a  b "), (Keys::Composed, "plain-1")]
    {
        for echo_trace_ids in [true, false] {
            for is_lost in [false, true] {
                let world =
                    World::with(true, Behaviour { keys, echo_trace_ids, ..Behaviour::default() }).await;
                if is_lost {
                    world.hubspot.add_fault(lost_answer());
                }
                world.enqueue(key, &json!({ "hs_course_name": "x" })).await;
                world.enqueue_many("B", 5).await;
                let _daemon = world.daemon();
                synced(&world, 6).await;
                assert_eq!(world.hubspot.records().len(), 6, "{key:?} {echo_trace_ids} {is_lost}");
            }
        }
    }
}

#[tokio::test]
async fn without_a_unique_property_values_that_hubspot_rewrites_hold_no_course_back() {
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
        // Equal in all that is sent: interchangeable.
        for n in 0..10 {
            world
                .enqueue(
                    &format!("twin-{n}"),
                    &json!({ "hs_course_name": "Twin", "hs_enrollment_capacity": 50 }),
                )
                .await;
        }
        let _daemon = world.daemon();
        synced(&world, 40).await;
        assert_eq!(world.hubspot.records().len(), 40, "{normalise:?}");
        assert!(world.creates() <= 5, "{normalise:?}: {} creates", world.creates());
    }
}

#[tokio::test]
async fn what_was_in_doubt_under_another_property_is_looked_up_by_that_and_not_sent_again() {
    let mut world = World::new().await;
    world.set("OUTBOX__SETTLE", "1s");
    for commit in [Commit::Yes, Commit::No] {
        world
            .hubspot
            .add_fault(Fault::new(Answer::Reset).on(Operation::BatchCreate).committing(commit).times(1));
        let key = format!("{commit:?}");
        world.enqueue(&key, &json!({ "hs_course_name": key })).await;
        let mut daemon = world.daemon();
        eventually("it is in doubt", async || {
            let row = world.row(&key).await;
            if row.status == "unconfirmed" { Ok(()) } else { Err(row) }
        })
        .await;
        daemon.signal("KILL");
        daemon.ended().await;
        let creates = world.creates();
        // The property is given up.
        let unique = world.settings.remove("COURSE_SYNC__HUBSPOT__UNIQUE_PROPERTY").unwrap();
        let mut daemon = world.daemon();
        let reads = world.received(Operation::BatchRead).len();
        eventually("it is looked up", async || {
            if world.received(Operation::BatchRead).len() > reads { Ok(()) } else { Err(()) }
        })
        .await;
        let expected = if matches!(commit, Commit::Yes) { "synced" } else { "unconfirmed" };
        eventually("it is settled by proof or stays", async || {
            let row = world.row(&key).await;
            if row.status == expected { Ok(()) } else { Err(row) }
        })
        .await;
        assert_eq!(world.creates(), creates, "it was sent without a guard");
        assert!(daemon.stop().await.success());
        world.settings.insert("COURSE_SYNC__HUBSPOT__UNIQUE_PROPERTY".into(), unique);
    }
}

#[tokio::test]
async fn what_no_look_up_can_prove_is_not_looked_up() {
    let mut world = World::new().await;
    let unique = world.settings.remove("COURSE_SYNC__HUBSPOT__UNIQUE_PROPERTY").unwrap();
    world.hubspot.add_fault(Fault::new(Answer::Reset).on(Operation::BatchCreate).times(1));
    world.enqueue_many("held", 1).await;
    let mut daemon = world.daemon();
    world.all_are(&["unconfirmed"]).await;
    assert!(daemon.stop().await.success());
    world.settings.insert("COURSE_SYNC__HUBSPOT__UNIQUE_PROPERTY".into(), unique);
    let _daemon = world.daemon();
    world.enqueue_many("B", 20).await;
    synced(&world, 20).await;
    assert_eq!(world.received(Operation::BatchRead).len(), 0);
    assert_eq!(world.row("held-1").await.status, "unconfirmed");
}

#[tokio::test]
async fn a_look_up_is_noted_with_its_end() {
    let world = World::new().await;
    world.hubspot.add_fault(lost_answer());
    world.enqueue_many("A", 5).await;
    let _daemon = world.daemon();
    synced(&world, 5).await;
    eventually("every request that creates nothing has its end", async || {
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
