//! Courses change and are withdrawn: HubSpot is made to match the row.

use serde_json::{Value, json};
use simulator::{
    Answer, Change, Commit, ErrorForm, Fault, MergeSurvivor, MergedArchive, MergedUpdate, MissingNamedBy,
    MissingOnUpdate, Operation, UpdateErrors,
};

use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
use crate::support::world::{UNIQUE_PROPERTY, World};

/// A world whose course `A` is synced, and its daemon.
async fn with_a_synced_course() -> (World, Daemon) {
    with_settings(&[]).await
}

async fn with_settings(settings: &[(&str, &str)]) -> (World, Daemon) {
    let mut world = World::new().await;
    for (name, value) in settings {
        world.set(name, value);
    }
    world.enqueue("A", &course("Algebra", "old")).await;
    let daemon = world.start_daemon();
    world.wait_until_settled("A", "synced").await;
    (world, daemon)
}

fn course(name: &str, description: &str) -> Value {
    json!({ "hs_course_name": name, "hs_course_description": description, "hs_enrollment_capacity": 50 })
}

/// The record of a course.
async fn record_of(world: &World, key: &str) -> u64 {
    world.row(key).await.hubspot_id.expect("the course has a record").parse().expect("a number")
}

/// What the updates of a record set, in order.
fn updates(world: &World, record: u64) -> Vec<Value> {
    let is_update = |change: &Change| matches!(change, Change::Updated | Change::Unchanged);
    let versions = world.hubspot.versions_of(record).into_iter().filter(|version| is_update(&version.change));
    versions.map(|version| serde_json::to_value(version.properties).unwrap()).collect()
}

/// An answer that takes a second.
fn slow(operation: Operation) -> Fault {
    Fault { delay_ms: 1_000, ..Fault::new(Answer::Real).on(operation).times(1) }
}

/// An answer that is lost, after HubSpot committed the request or not.
fn lost(operation: Operation, commit: Commit) -> Fault {
    let answer = Answer::Error { status: 504, body: ErrorForm::Html, retry_after: None };
    Fault::new(answer).on(operation).times(1).committing(commit)
}

#[tokio::test]
async fn a_change_sends_only_what_differs_and_clears_what_is_gone() {
    let (world, daemon) = with_a_synced_course().await;
    // A property that is null was never set, so it is not cleared either.
    world
        .change(
            "A",
            &json!({ "hs_course_name": "Algebra II", "hs_enrollment_capacity": 50, "hs_course_code": null }),
        )
        .await;
    world.wait_until_settled("A", "synced").await;
    let record = record_of(&world, "A").await;
    assert_eq!(
        updates(&world, record),
        [json!({ "hs_course_name": "Algebra II", "hs_course_description": "" })]
    );
    assert_eq!(world.create_requests(), 1);
    assert_eq!(daemon.metric("course_sync_courses_total{outcome=\"updated\"}").await, "1");
    assert_eq!(daemon.metric("course_sync_requests_total{operation=\"update\",outcome=\"ok\"}").await, "1");
    world
        .change(
            "A",
            &json!({ "hs_course_name": "Algebra II", "hs_enrollment_capacity": 60, "hs_course_code": null }),
        )
        .await;
    world.wait_until_settled("A", "synced").await;
    assert_eq!(updates(&world, record)[1..], [json!({ "hs_enrollment_capacity": "60" })]);
    world.audit_values().await;
}

#[tokio::test]
async fn a_write_that_changes_nothing_sends_nothing_and_leaves_no_row_version() {
    let (world, _daemon) = with_a_synced_course().await;
    let version = async || -> (String, i64) {
        sqlx::query_as("select ctid::text, revision from course_outbox")
            .fetch_one(world.pool())
            .await
            .unwrap()
    };
    let before = version().await;
    world.change("A", &course("Algebra", "old")).await;
    assert_eq!(version().await, before);
    // A change and its reverse are a change of the row, and need no request.
    let mut writer = world.pool().begin().await.unwrap();
    for archived in [true, false] {
        let change = sqlx::query("update course_outbox set archived = $1").bind(archived);
        change.execute(&mut *writer).await.unwrap();
    }
    writer.commit().await.unwrap();
    world.wait_until_settled("A", "synced").await;
    assert!(world.received(Operation::BatchUpdate).is_empty());
    assert!(world.received(Operation::BatchArchive).is_empty());
}

#[tokio::test]
async fn a_withdrawn_course_is_read_archived_and_read_again() {
    let (world, daemon) = with_a_synced_course().await;
    let reads = world.received(Operation::BatchRead).len();
    let record = record_of(&world, "A").await;
    world.withdraw("A", true).await;
    world.wait_until_settled("A", "archived").await;
    assert_eq!(world.received(Operation::BatchArchive).len(), 1);
    assert_eq!(world.received(Operation::BatchRead).len(), reads + 2);
    assert!(world.hubspot.records()[0].archived);
    assert_eq!(record_of(&world, "A").await, record, "the row names the archived record");
    assert_eq!(daemon.metric("course_sync_courses_total{outcome=\"archived\"}").await, "1");
    world.audit_values().await;

    world.hubspot.change_behaviour(|behaviour| behaviour.archived_hold_unique = false);
    world.withdraw("A", false).await;
    world.wait_until_settled("A", "synced").await;
    assert_ne!(record_of(&world, "A").await, record, "HubSpot cannot restore a record");
    let old: Option<String> =
        sqlx::query_scalar("select hubspot_id from course_sync_history where event = 'archived'")
            .fetch_one(world.pool())
            .await
            .unwrap();
    assert_eq!(old, Some(record.to_string()));
    world.audit_values().await;
}

#[tokio::test]
async fn a_course_that_is_withdrawn_before_it_was_sent_needs_no_request() {
    let world = World::new().await;
    world.enqueue_many("A", 3).await;
    sqlx::query("update course_outbox set archived = true").execute(world.pool()).await.unwrap();
    let _daemon = world.start_daemon();
    for key in ["A-1", "A-2", "A-3"] {
        world.wait_until_settled(key, "archived").await;
    }
    assert!(world.hubspot.records().is_empty());
    assert!(world.received(Operation::BatchArchive).is_empty());
}

#[tokio::test]
async fn a_change_in_flight_is_sent_after_the_revision_before() {
    let world = World::new().await;
    world.hubspot.add_fault(slow(Operation::BatchCreate));
    world.enqueue("A", &course("Algebra", "old")).await;
    let _daemon = world.start_daemon();
    eventually("the create is in flight", async || {
        if world.create_requests() == 1 { Ok(()) } else { Err("not sent") }
    })
    .await;
    world.change("A", &course("Algebra", "new")).await;
    world.wait_until_settled("A", "synced").await;
    let record = record_of(&world, "A").await;
    assert_eq!(updates(&world, record), [json!({ "hs_course_description": "new" })]);
    assert_eq!(world.create_requests(), 1);
    world.audit_values().await;

    // The same while an update is in flight.
    world.hubspot.add_fault(slow(Operation::BatchUpdate));
    world.change("A", &course("Algebra", "newer")).await;
    eventually("the update is in flight", async || {
        if world.received(Operation::BatchUpdate).len() == 2 { Ok(()) } else { Err("not sent") }
    })
    .await;
    world.change("A", &course("Algebra", "newest")).await;
    world.wait_until_settled("A", "synced").await;
    let sent = updates(&world, record);
    assert_eq!(
        sent[1..],
        [json!({ "hs_course_description": "newer" }), json!({ "hs_course_description": "newest" })]
    );
    world.audit_values().await;
}

#[tokio::test]
async fn an_update_whose_answer_is_lost_is_read_back() {
    for (commit, requests) in [(Commit::Yes, 1), (Commit::No, 2)] {
        let (world, _daemon) = with_a_synced_course().await;
        world.hubspot.add_fault(lost(Operation::BatchUpdate, commit));
        world.change("A", &course("Algebra", "new")).await;
        world.wait_until_settled("A", "synced").await;
        assert_eq!(world.received(Operation::BatchUpdate).len(), requests, "{commit:?}");
        world.audit_values().await;
    }
}

#[tokio::test]
async fn an_update_that_is_committed_late_is_noticed_and_repaired() {
    // The look-up comes before the late commit, and the second look after it.
    let (world, daemon) = with_settings(&[("OUTBOX__SETTLE", "1s")]).await;
    world.hubspot.add_fault(lost(Operation::BatchUpdate, Commit::Late { after_ms: 3_500 }));
    world.change("A", &course("Algebra", "first")).await;
    eventually("the first update is lost", async || {
        let row = world.row("A").await;
        if row.status == "unconfirmed" { Ok(()) } else { Err(row) }
    })
    .await;
    world.change("A", &course("Algebra", "second")).await;
    daemon.wait_for_event("record_repaired").await;
    world.wait_until_settled("A", "synced").await;
    world.audit_values().await;
    let record = record_of(&world, "A").await;
    let written: Vec<_> = updates(&world, record);
    assert_eq!(written.last(), Some(&json!({ "hs_course_description": "second" })), "{written:?}");
}

#[tokio::test]
async fn a_deleted_record_is_not_created_again_and_delays_no_other_course() {
    let (world, _daemon) = with_a_synced_course().await;
    world.warm_up().await;
    let record = record_of(&world, "A").await;
    world.hubspot.archive_record(record);
    world.change("A", &course("Algebra", "new")).await;
    world.change("warm-1", &course("Warm", "new")).await;
    world.wait_until_settled("A", "failed").await;
    world.wait_until_settled("warm-1", "synced").await;
    let row = world.row("A").await;
    assert_eq!(row.error("category"), "record_gone");
    assert_eq!(row.hubspot_id, Some(record.to_string()));
    let creates = world.create_requests();
    world.change("A", &course("Algebra", "newer")).await;
    world.wait_until_settled("A", "failed").await;
    assert_eq!(world.create_requests(), creates);
}

#[tokio::test]
async fn a_merged_record_is_named_and_its_survivor_is_not_archived() {
    let (world, _daemon) = with_a_synced_course().await;
    world.enqueue("B", &course("Biology", "b")).await;
    world.enqueue("C", &course("Chemistry", "c")).await;
    world.wait_until_all_are(&["synced"]).await;
    let (one, other) = (record_of(&world, "A").await, record_of(&world, "B").await);
    let survivor = world.hubspot.merge_records(one, other).unwrap();
    world.change("A", &course("Algebra", "new")).await;
    world.withdraw("B", true).await;
    world.change("C", &course("Chemistry", "new")).await;
    for key in ["A", "B"] {
        world.wait_until_settled(key, "failed").await;
        let row = world.row(key).await;
        assert_eq!(row.error("category"), "record_merged");
        assert!(row.error("message").contains(&survivor.to_string()), "{row:?}");
    }
    world.wait_until_settled("C", "synced").await;
    let records = world.hubspot.records();
    assert!(records.iter().any(|record| record.id == survivor && !record.archived));
}

#[tokio::test]
async fn a_refused_change_keeps_the_record_and_a_correction_is_sent_by_itself() {
    let (world, _daemon) = with_a_synced_course().await;
    world.warm_up().await;
    let record = record_of(&world, "A").await;
    world.change("A", &json!({ "hs_course_name": "Algebra", "hs_enrollment_capacity": "many" })).await;
    world.change("warm-2", &course("Warm", "new")).await;
    world.wait_until_settled("A", "failed").await;
    world.wait_until_settled("warm-2", "synced").await;
    let row = world.row("A").await;
    assert_eq!(
        (row.error("category"), row.hubspot_id),
        ("VALIDATION_ERROR".to_owned(), Some(record.to_string()))
    );
    world.change("A", &course("Algebra", "corrected")).await;
    world.wait_until_settled("A", "synced").await;
    world.audit_values().await;

    // A clearing that HubSpot refuses, because the property is required.
    world.change("A", &json!({ "hs_course_description": "without a name" })).await;
    world.wait_until_settled("A", "failed").await;
    let row = world.row("A").await;
    assert_eq!(row.hubspot_id, Some(record.to_string()));
    assert!(
        row.error("message").contains("A value for hs_course_name must be provided"),
        "{}",
        row.error("message")
    );
    world.change("A", &course("Algebra", "corrected again")).await;
    world.wait_until_settled("A", "synced").await;

    // The same for a course that was never created.
    world.enqueue("B", &json!({ "hs_course_name": "Biology", "hs_enrollment_capacity": "many" })).await;
    world.wait_until_settled("B", "failed").await;
    world.change("B", &course("Biology", "corrected")).await;
    world.wait_until_settled("B", "synced").await;
    world.audit_values().await;
}

#[tokio::test]
async fn a_mass_withdrawal_is_held_until_a_person_releases_it() {
    let (world, daemon) = with_settings(&[("OUTBOX__ARCHIVE_LIMIT", "20")]).await;
    world.warm_up().await;
    sqlx::query("update course_outbox set archived = true").execute(world.pool()).await.unwrap();
    daemon.wait_for_event("archives_held").await;
    world.enqueue("B", &course("Biology", "b")).await;
    world.wait_until_settled("B", "synced").await;
    assert!(world.received(Operation::BatchArchive).is_empty());
    assert_eq!(daemon.metric("course_sync_paused{reason=\"archive_limit\"}").await, "1");
    let released = world.run(&["resume", "--archives"]).await;
    assert_eq!(released.0, Some(0), "{}", released.1);
    world.wait_until_settled("A", "archived").await;
    world.wait_until_all_are(&["archived", "synced"]).await;
    daemon.wait_for_event("archives_released").await;
    assert_eq!(daemon.metric("course_sync_paused{reason=\"archive_limit\"}").await, "0");
    world.audit_values().await;
}

#[tokio::test]
async fn an_archive_whose_answer_is_lost_is_confirmed_by_a_read() {
    for commit in [Commit::Yes, Commit::No] {
        let (world, _daemon) = with_a_synced_course().await;
        world.hubspot.add_fault(lost(Operation::BatchArchive, commit));
        world.withdraw("A", true).await;
        world.wait_until_settled("A", "archived").await;
        world.audit_values().await;
    }
}

#[tokio::test]
async fn many_changes_are_sent_in_full_batches() {
    let world = World::new().await;
    world.enqueue_many("A", 2_000).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    sqlx::query("update course_outbox set properties = properties || '{\"hs_course_description\": \"new\"}'")
        .execute(world.pool())
        .await
        .unwrap();
    eventually("all changes are synced", async || {
        let open: i64 = sqlx::query_scalar(
            "select count(*) from course_outbox where synced_revision is distinct from revision",
        )
        .fetch_one(world.pool())
        .await
        .unwrap();
        if open == 0 { Ok(()) } else { Err(open) }
    })
    .await;
    assert_eq!(world.received(Operation::BatchUpdate).len(), 20);
    // Each course: its creation is recorded, the catalogue changes it, and the change is recorded.
    let versions = eventually("the statistics are published", async || {
        let versions: i64 =
            sqlx::query_scalar("select n_tup_upd from pg_stat_user_tables where relname = 'course_outbox'")
                .fetch_one(world.pool())
                .await
                .unwrap();
        if versions >= 6_000 { Ok(versions) } else { Err(versions) }
    })
    .await;
    assert_eq!(versions, 6_000, "a change costs one row version more than its own write");
    world.audit_values().await;
}

#[tokio::test]
async fn a_course_whose_old_record_holds_the_key_says_so_and_is_sent_after_the_record_is_deleted() {
    let (world, _daemon) = with_a_synced_course().await;
    let record = record_of(&world, "A").await;
    world.withdraw("A", true).await;
    world.wait_until_settled("A", "archived").await;
    world.withdraw("A", false).await;
    world.wait_until_settled("A", "failed").await;
    let row = world.row("A").await;
    assert_eq!((row.error("category").as_str(), row.hubspot_id.as_ref()), ("CONFLICT", None));
    assert!(row.error("message").contains(&format!("record {record}")), "{row:?}");
    world.hubspot.purge_record(record);
    let retried = world.run(&["retry", "--key", "A"]).await;
    assert_eq!(retried.0, Some(0), "{}", retried.1);
    world.wait_until_settled("A", "synced").await;
    world.audit_values().await;
}

#[tokio::test]
async fn an_adopted_record_is_made_to_match_the_row() {
    let world = World::new().await;
    let properties = [("hs_course_name", "By hand"), (UNIQUE_PROPERTY, "A"), ("hs_course_code", "kept")];
    let record =
        world.hubspot.create_record(properties.map(|(name, value)| (name.into(), value.into())).into());
    world.enqueue("A", &course("Algebra", "new")).await;
    let daemon = world.start_daemon();
    world.wait_until_settled("A", "synced").await;
    assert_eq!(record_of(&world, "A").await, record);
    assert_eq!(daemon.metric("course_sync_courses_total{outcome=\"adopted\"}").await, "1");
    assert_eq!(world.hubspot.records()[0].properties["hs_course_code"], "kept");
    world.audit_values().await;
}

/// Each way in which HubSpot may answer an update or an archive (the open questions of its documentation).
#[tokio::test]
async fn whatever_hubspot_answers_each_course_ends_as_its_row_says() {
    type Switch = fn(&mut simulator::LifecycleSwitches);
    let switches: [(&str, Switch); 9] = [
        ("whole batch refused", |it| it.update_errors = UpdateErrors::WholeBatch),
        ("missing named by trace ids", |it| it.missing_named_by = MissingNamedBy::TraceIds),
        ("missing unreported in 207", |it| it.missing_on_update = MissingOnUpdate::Unreported207),
        ("missing unreported in 200", |it| it.missing_on_update = MissingOnUpdate::Unreported200),
        ("survivor updated", |it| it.merged_update = MergedUpdate::Survivor),
        ("survivor archived", |it| it.merged_archive = MergedArchive::Survivor),
        ("primary survives", |it| it.merge_survivor = MergeSurvivor::Primary),
        ("reads repeat the survivor", |it| it.merged_reads_repeat = true),
        ("status 201", |it| it.update_status = 201),
    ];
    for (name, switch) in switches {
        eprintln!("{name}");
        let world = World::new().await;
        world.hubspot.change_behaviour(|behaviour| switch(&mut behaviour.lifecycle));
        world.enqueue_many("A", 30).await;
        let _daemon = world.start_daemon();
        world.wait_until_all_are(&["synced"]).await;
        let (gone, one, other) =
            (record_of(&world, "A-3").await, record_of(&world, "A-5").await, record_of(&world, "A-7").await);
        world.hubspot.archive_record(gone);
        let survivor = world.hubspot.merge_records(one, other).unwrap();
        let name_before =
            world.hubspot.records().iter().find(|it| it.id == survivor).unwrap().properties.clone();
        sqlx::query(
            "update course_outbox
                set archived = course_key in ('A-7', 'A-9'),
                    properties = properties || case when course_key = 'A-11' then '{\"hs_enrollment_capacity\": \"many\"}'
                                                    else '{\"hs_course_description\": \"new\"}' end::jsonb",
        )
        .execute(world.pool())
        .await
        .unwrap();
        for n in 1..=30 {
            let status = match n {
                3 | 7 | 11 => "failed",
                5 if survivor != one => "failed",
                9 => "archived",
                _ => "synced",
            };
            world.wait_until_settled(&format!("A-{n}"), status).await;
        }
        assert_eq!(world.row("A-3").await.error("category"), "record_gone", "{name}");
        assert_eq!(world.row("A-7").await.error("category"), "record_merged", "{name}");
        assert_eq!(world.row("A-11").await.error("category"), "VALIDATION_ERROR", "{name}");
        let survivor = world.hubspot.records().into_iter().find(|it| it.id == survivor).unwrap();
        assert!(!survivor.archived, "{name}: the surviving record is not archived");
        if survivor.id != one && name != "survivor updated" {
            assert_eq!(survivor.properties, name_before, "{name}: the surviving record is not written");
        }
        assert_eq!(world.hubspot.records().iter().filter(|it| !it.archived).count(), 27, "{name}");
    }
}

#[tokio::test]
async fn a_course_that_was_withdrawn_before_a_late_create_is_archived() {
    let mut world = World::new().await;
    world.set("OUTBOX__SETTLE", "1s");
    world.hubspot.add_fault(lost(Operation::BatchCreate, Commit::Late { after_ms: 3_500 }));
    world.enqueue("A", &course("Algebra", "old")).await;
    let _daemon = world.start_daemon();
    eventually("the create is lost", async || {
        let row = world.row("A").await;
        if row.status == "unconfirmed" { Ok(()) } else { Err(row) }
    })
    .await;
    world.withdraw("A", true).await;
    world.wait_until_settled("A", "archived").await;
    let records = world.hubspot.records();
    assert!(records.len() == 1 && records[0].archived, "{records:?}");
    world.audit_values().await;
}

/// The outcome of its creation was unknown once, so it is looked up once more before its record is archived.
#[tokio::test]
async fn a_course_that_is_withdrawn_after_an_unknown_creation_can_be_offered_again_at_any_time() {
    for is_archived in [true, false] {
        let mut world = World::new().await;
        world.set("OUTBOX__SETTLE", "1s");
        world.hubspot.change_behaviour(|behaviour| behaviour.archived_hold_unique = false);
        world.hubspot.add_fault(lost(Operation::BatchCreate, Commit::Yes));
        world.enqueue("A", &course("Algebra", "old")).await;
        let _daemon = world.start_daemon();
        world.wait_until_settled("A", "synced").await;
        let record = record_of(&world, "A").await;
        world.hubspot.add_fault(slow(Operation::BatchArchive));
        world.withdraw("A", true).await;
        eventually("the look-up waits, or the archive is in flight", async || {
            let row = world.row("A").await;
            let is_reached =
                if is_archived { world.hubspot.records()[0].archived } else { row.status == "unconfirmed" };
            if is_reached { Ok(()) } else { Err(row) }
        })
        .await;
        world.withdraw("A", false).await;
        world.wait_until_settled("A", "synced").await;
        assert_eq!(
            record_of(&world, "A").await != record,
            is_archived,
            "only an archived record is replaced"
        );
        world.audit_values().await;
    }
}

#[tokio::test]
async fn a_hold_ends_when_the_catalogue_takes_the_withdrawals_back() {
    let (world, daemon) = with_settings(&[("OUTBOX__ARCHIVE_LIMIT", "0")]).await;
    world.withdraw("A", true).await;
    daemon.wait_for_event("archives_held").await;
    world.withdraw("A", false).await;
    daemon.wait_for_event("archives_released").await;
    world.wait_until_settled("A", "synced").await;
    assert!(world.received(Operation::BatchArchive).is_empty());
    world.audit_values().await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_or_updated_delays_no_other_course() {
    let (world, _daemon) = with_a_synced_course().await;
    world.warm_up().await;
    let (unreadable, poison) = (record_of(&world, "warm-7").await, record_of(&world, "warm-9").await);
    let broken = || Answer::Error { status: 500, body: ErrorForm::Json, retry_after: None };
    world
        .hubspot
        .add_fault(Fault::new(broken()).on(Operation::BatchRead).containing(&format!("\"{unreadable}\"")));
    world.hubspot.add_fault(Fault::new(broken()).on(Operation::BatchUpdate).containing("poison"));
    sqlx::query(
        "update course_outbox
            set archived = id % 2 = 0 and course_key <> 'warm-9' or course_key = 'warm-7',
                properties = properties || jsonb_build_object('hs_course_description',
                                                              case course_key when 'warm-9' then 'poison' else 'new' end)",
    )
    .execute(world.pool())
    .await
    .unwrap();
    eventually("the others are settled", async || {
        let open: Vec<String> = sqlx::query_scalar(
            "select course_key from course_outbox where synced_revision is distinct from revision order by id",
        )
        .fetch_all(world.pool())
        .await
        .unwrap();
        if open.iter().all(|key| ["warm-7", "warm-9"].contains(&key.as_str())) { Ok(()) } else { Err(open) }
    })
    .await;
    // Their requests wait longer and longer.
    let requests = || world.hubspot.summary().requests;
    assert!(requests() < 150, "{} requests", requests());
    world.hubspot.clear_faults();
    world.wait_until_settled("warm-7", "archived").await;
    world.wait_until_settled("warm-9", "synced").await;
    assert!(world.hubspot.records().iter().any(|record| record.id == poison && !record.archived));
    world.audit_values().await;
}
