//! A changed course: what the row becomes, and which claim takes it.

use std::time::Duration;

use course_sync::course::{HubSpotId, Provenance, RowId, Transition, Write};
use course_sync::outbox::changes::{
    Cause, ChangeSettlement, count_held_archives, due_records, release_archives, settle_changes,
};
use course_sync::outbox::claim::ClaimLimits;
use course_sync::outbox::record::{LockedRows, record};
use course_sync::outbox::recover::mark_orphans_unconfirmed;
use course_sync::policy::backlog::Cursor;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{
    REQUEST_END, Taken, claimed, enqueue, execute, generous, keys, leader, record_all, synced, take,
};
use crate::support::postgres::database;

/// `key status revision/synced_revision hubspot_id hubspot_properties` of each course.
async fn rows(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select concat_ws(' ', course_key, status, revision || '/' || coalesce(synced_revision::text, '-'), hubspot_id,
                          hubspot_properties::text) from course_outbox order by id",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

fn of(write: Write) -> ClaimLimits<'static> {
    ClaimLimits { write, ..generous() }
}

/// Courses with these keys and a name, synced as records 1, 2 and so on.
async fn synced_courses(pool: &PgPool, keys: &[&str]) -> Vec<RowId> {
    let (lease, batch, ids) = claimed(pool, keys).await;
    let outcomes: Vec<_> = ids.iter().map(|id| (*id, synced(&id.0.to_string()))).collect();
    record_all(pool, batch, &outcomes, &REQUEST_END).await.unwrap();
    course_sync::outbox::lease::release(pool, lease).await.unwrap();
    execute(
        pool,
        "alter table course_outbox disable trigger user;
         update course_outbox set properties = '{\"name\": \"old\", \"room\": null}';
         alter table course_outbox enable trigger user",
    )
    .await;
    ids
}

#[tokio::test]
async fn a_change_of_each_status_becomes_pending_or_is_kept() {
    let database = database().await;
    let pool = database.pool();
    synced_courses(pool, &["synced", "failed", "archived", "offered", "unconfirmed"]).await;
    enqueue(pool, "new", json!({ "name": "old" })).await;
    execute(
        pool,
        "update course_outbox set status = 'failed', error = '{}', hubspot_id = null, faults = 3 where course_key = 'failed';
         update course_outbox set archived = true where course_key in ('archived', 'offered');
         update course_outbox set status = 'archived', synced_revision = 2 where course_key in ('archived', 'offered');
         update course_outbox set status = 'unconfirmed' where course_key = 'unconfirmed';
         update course_outbox set properties = '{\"name\": \"new\"}', archived = course_key = 'archived'",
    )
    .await;
    assert_eq!(
        rows(pool).await,
        [
            // What HubSpot holds is kept; a null was never sent.
            "synced pending 2/1 1 {\"name\": \"old\"}",
            "failed pending 2/1",
            // Its record stays where it is.
            "archived archived 3/3 3 {\"name\": \"old\"}",
            // A new record is created.
            "offered pending 3/2 {\"name\": null}",
            "unconfirmed unconfirmed 2/1 5 {\"name\": null}",
            "new pending 2/- {\"name\": null}",
        ]
    );
    let faults: i32 =
        sqlx::query_scalar("select max(faults) from course_outbox").fetch_one(pool).await.unwrap();
    assert_eq!(faults, 0);
}

#[tokio::test]
async fn a_claim_takes_courses_of_one_kind() {
    let database = database().await;
    let pool = database.pool();
    synced_courses(pool, &["update", "archive"]).await;
    for key in ["create", "never sent"] {
        enqueue(pool, key, json!({})).await;
    }
    execute(
        pool,
        "update course_outbox set properties = '{\"name\": \"new\"}' where course_key = 'update';
         update course_outbox set archived = true where course_key in ('archive', 'never sent')",
    )
    .await;
    let lease = leader(pool).await;
    let mut taken: Vec<(Write, Taken)> = Vec::new();
    for write in Write::ALL {
        taken.push((write, take(pool, lease, of(write), Cursor::default()).await.1));
    }
    let taken: Vec<(Write, Vec<&str>)> = taken.iter().map(|(write, taken)| (*write, keys(taken))).collect();
    assert_eq!(
        taken,
        [
            (Write::Create, vec!["create"]),
            (Write::Update, vec!["update"]),
            (Write::Archive, vec!["archive", "never sent"])
        ]
    );
    // Courses in flight are not taken again, whatever they become.
    execute(pool, "update course_outbox set archived = not archived").await;
    for write in Write::ALL {
        assert_eq!(keys(&take(pool, lease, of(write), Cursor::default()).await.1), [""; 0], "{write:?}");
    }
}

#[tokio::test]
async fn archives_are_held_until_they_are_released() {
    let database = database().await;
    let pool = database.pool();
    synced_courses(pool, &["a", "b"]).await;
    execute(pool, "update course_outbox set archived = true").await;
    let lease = leader(pool).await;
    assert_eq!(count_held_archives(pool, 1).await.unwrap(), 2);
    let held = ClaimLimits { archive_limit: 1, ..of(Write::Archive) };
    assert_eq!(keys(&take(pool, lease, held, Cursor::default()).await.1), [""; 0]);
    assert_eq!(release_archives(pool).await.unwrap(), 2);
    assert_eq!(count_held_archives(pool, 1).await.unwrap(), 0);
    // Later ones are held again.
    execute(pool, "update course_outbox set properties = '{\"name\": \"new\"}' where course_key = 'b'").await;
    let held = ClaimLimits { archive_limit: 0, ..held };
    assert_eq!(keys(&take(pool, lease, held, Cursor::default()).await.1), ["a"]);
}

#[tokio::test]
async fn an_outcome_of_an_older_revision_leaves_the_course_pending() {
    let database = database().await;
    let pool = database.pool();
    let ids = synced_courses(pool, &["updated", "offered", "still withdrawn"]).await;
    execute(
        pool,
        "update course_outbox set properties = '{\"name\": \"second\"}' where course_key = 'updated';
         update course_outbox set archived = true where course_key <> 'updated'",
    )
    .await;
    let lease = leader(pool).await;
    let (update, _) = take(pool, lease, of(Write::Update), Cursor::default()).await;
    let (archive, _) = take(pool, lease, of(Write::Archive), Cursor::default()).await;
    execute(
        pool,
        "update course_outbox set properties = '{\"name\": \"third\"}', archived = course_key = 'still withdrawn'",
    )
    .await;
    let hubspot_id = HubSpotId::parse("1").unwrap();
    let updated = Transition::Synced { hubspot_id, provenance: Provenance::Updated, warning: None };
    let sent = [json!({ "name": "second" })];
    record(pool, update, &[(ids[0], updated)], &sent, &REQUEST_END, None, LockedRows::Wait).await.unwrap();
    let archived = |id: &str| Transition::Archived { hubspot_id: HubSpotId::parse(id), remark: None };
    let outcomes = [(ids[1], archived("2")), (ids[2], archived("3"))];
    assert_eq!(record_all(pool, archive, &outcomes, &REQUEST_END).await.unwrap(), 2);
    assert_eq!(
        rows(pool).await,
        [
            "updated pending 3/2 1 {\"name\": \"second\"}",
            "offered pending 3/2 {\"name\": null}",
            "still withdrawn archived 3/3 3 {\"name\": null}",
        ]
    );
    let history: Vec<(String, Option<String>)> =
        sqlx::query_as("select event, hubspot_id from course_sync_history order by id")
            .fetch_all(pool)
            .await
            .unwrap();
    let event = |id: &str| ("archived".to_owned(), Some(id.to_owned()));
    assert_eq!(history, [event("2"), event("3")], "the old record is not forgotten");
}

#[tokio::test]
async fn an_orphaned_change_is_read_and_settled_for_the_revision_that_was_compared() {
    let database = database().await;
    let pool = database.pool();
    synced_courses(pool, &["a", "b"]).await;
    enqueue(pool, "never sent", json!({})).await;
    execute(
        pool,
        "update course_outbox set properties = '{\"name\": \"new\"}' where hubspot_id is not null;
         update course_outbox set archived = true where course_key = 'never sent'",
    )
    .await;
    let old = leader(pool).await;
    for write in [Write::Update, Write::Archive] {
        take(pool, old, of(write), Cursor::default()).await;
    }
    course_sync::outbox::lease::release(pool, old).await.unwrap();
    let lease = leader(pool).await;
    let marked =
        mark_orphans_unconfirmed(pool, lease, Duration::ZERO, Duration::from_mins(1), None).await.unwrap();
    assert_eq!(marked, 2, "nothing was to be sent for the third");
    execute(pool, "update course_outbox set properties = '{\"name\": \"newer\"}' where course_key = 'b'")
        .await;
    let (due, invalid) = due_records(pool, 10).await.unwrap();
    assert_eq!(invalid, []);
    let current: Vec<_> = due
        .iter()
        .map(|record| match &record.cause {
            Cause::Unconfirmed { write, is_current, .. } => (record.key.as_str(), *write, *is_current),
            Cause::Recheck => panic!("{record:?}"),
        })
        .collect();
    assert_eq!(current, [("a", Write::Update, true), ("b", Write::Update, false)]);
    // One changes again before the decision is written.
    execute(pool, "update course_outbox set properties = '{\"name\": \"newest\"}' where course_key = 'b'")
        .await;
    let settled: Vec<_> = due
        .iter()
        .map(|record| (record, ChangeSettlement::Synced { late: None, recheck_after: Duration::ZERO }))
        .collect();
    assert_eq!(settle_changes(pool, lease, &settled).await.unwrap(), [due[0].id]);
    assert_eq!(
        rows(pool).await,
        ["a synced 2/2 1", "b unconfirmed 4/1 2 {\"name\": \"old\"}", "never sent pending 2/- {}",]
    );
    course_sync::outbox::lease::release(pool, lease).await.unwrap();
    assert_eq!(
        settle_changes(pool, lease, &settled).await.unwrap(),
        [],
        "without the lease, nothing is decided"
    );
}

#[tokio::test]
async fn associations_change_only_before_the_course_is_sent() {
    let database = database().await;
    let pool = database.pool();
    synced_courses(pool, &["synced"]).await;
    for key in ["in flight", "pending"] {
        enqueue(pool, key, json!({})).await;
    }
    let lease = leader(pool).await;
    let one = ClaimLimits { courses: 1, ..generous() };
    take(pool, lease, one, Cursor::default()).await;
    let change = async |key: &str| {
        let link = json!([{ "to": { "id": "1" }, "types": [{ "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 1 }] }]);
        let done = sqlx::query("update course_outbox set associations = $2 where course_key = $1")
            .bind(key)
            .bind(link)
            .execute(pool)
            .await;
        done.map_err(|error| error.as_database_error().unwrap().code().unwrap().into_owned()).map(drop)
    };
    assert_eq!(change("synced").await, Err("0A000".to_owned()));
    assert_eq!(change("in flight").await, Err("0A000".to_owned()));
    assert_eq!(change("pending").await, Ok(()));
}

#[tokio::test]
async fn an_earlier_version_cannot_claim_changes() {
    let database = database().await;
    let pool = database.pool();
    synced_courses(pool, &["changed"]).await;
    enqueue(pool, "new", json!({})).await;
    execute(pool, "update course_outbox set properties = '{\"name\": \"new\"}' where course_key = 'changed'")
        .await;
    // The journal's row as the earlier version writes it.
    let claim = async |key: &str, number: i64| {
        sqlx::query(
            "insert into course_sync_batch (batch_id, operation, term, holder, row_ids, revisions, claim_number, send_by)
             select gen_random_uuid(), 'create', 1, gen_random_uuid(), array[id], array[revision], $2, now()
               from course_outbox where course_key = $1",
        )
        .bind(key)
        .bind(number)
        .execute(pool)
        .await
        .map(drop)
        .map_err(|error| error.as_database_error().unwrap().message().to_owned())
    };
    assert_eq!(claim("new", 101).await, Ok(()));
    let refused = claim("changed", 102).await.unwrap_err();
    assert!(refused.contains("this version of course-sync cannot send changes"), "{refused}");
}

/// The value of a column that the tests above do not show.
#[tokio::test]
async fn what_a_late_request_may_do_is_kept_until_the_record_was_read_once_more() {
    let database = database().await;
    let pool = database.pool();
    let ids = synced_courses(pool, &["a"]).await;
    execute(
        pool,
        "update course_outbox set late_values = '{\"properties\": {\"name\": \"late\"}, \"archives\": false}', recheck_at = now()",
    )
    .await;
    let lease = leader(pool).await;
    let (due, _) = due_records(pool, 10).await.unwrap();
    assert_eq!(
        due.iter().map(|record| (record.id, record.cause.clone())).collect::<Vec<_>>(),
        [(ids[0], Cause::Recheck)]
    );
    assert_eq!(due[0].late.to_json(), json!({ "properties": { "name": "late" }, "archives": false }));
    let kept = async || -> (Option<Value>, bool) {
        sqlx::query_as("select late_values, recheck_at > now() from course_outbox")
            .fetch_one(pool)
            .await
            .unwrap()
    };
    let postponed = [(&due[0], ChangeSettlement::Postponed(Duration::from_mins(1), None))];
    assert_eq!(settle_changes(pool, lease, &postponed).await.unwrap(), ids);
    assert_eq!(kept().await, (Some(due[0].late.to_json()), true));
    execute(pool, "update course_outbox set recheck_at = now()").await;
    settle_changes(pool, lease, &[(&due[0], ChangeSettlement::Checked)]).await.unwrap();
    let late: Option<Value> =
        sqlx::query_scalar("select late_values from course_outbox").fetch_one(pool).await.unwrap();
    assert_eq!(late, None);
}
