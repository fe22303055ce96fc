//! What happens to a course by what was read, as a table.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::{Facts, RecordFinding, Whereabouts, interpret_records, settle};
use crate::course::{
    BatchId, Category, CourseError, CourseKey, HeldProperties, HubSpotId, Properties, RowId, Write,
};
use crate::hubspot::api::decode::decode_body;
use crate::hubspot::api::response::{Exchange, Meta};
use crate::outbox::changes::{Cause, ChangeSettlement, LateWrites, UncertainRecord};
use crate::policy::backoff::RetryPolicy;

const SETTLE: Duration = Duration::from_secs(30);

/// A course with the new name `new`; HubSpot held `old`.
fn record(write: Write) -> UncertainRecord {
    UncertainRecord {
        id: RowId(1),
        key: CourseKey::parse("K").unwrap(),
        revision: 2,
        hubspot_id: HubSpotId::parse("7").unwrap(),
        properties: Properties::parse(json!({ "name": "new", "room": "1" })).unwrap(),
        is_archived: write == Write::Archive,
        held: Some(HeldProperties::parse(json!({ "name": "old", "room": "1" }))),
        late: LateWrites::default(),
        cause: Cause::Unconfirmed {
            batch: BatchId(uuid::Uuid::nil()),
            write,
            since: Duration::from_secs(40),
            is_current: true,
        },
        faults: 0,
        error: Some(CourseError::new(Category::UnknownOutcome, "no answer", Timestamp::UNIX_EPOCH)),
    }
}

fn decide(record: &UncertainRecord, found: &Whereabouts) -> ChangeSettlement {
    let retry = RetryPolicy::default();
    settle(record, found, &Facts { settle: SETTLE, retry: &retry, jitter: 1.0, now: Timestamp::UNIX_EPOCH })
}

fn live(name: &str) -> Whereabouts {
    Whereabouts::Live(
        [("name".to_owned(), name.to_owned()), ("room".to_owned(), "by hand".to_owned())].into(),
    )
}

fn failed(settlement: ChangeSettlement) -> Category {
    match settlement {
        ChangeSettlement::Failed(error) => error.category,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_update_that_is_there_is_synced_and_another_value_is_sent_again() {
    // A property that a person has edited meanwhile, and that the change did not set, is not compared.
    let synced = decide(&record(Write::Update), &live("new"));
    assert!(
        matches!(synced, ChangeSettlement::Synced { late: Some(_), .. }),
        "the request may still be executed"
    );
    let ChangeSettlement::Resend { held, late: Some(late), recheck_after, is_fault: false, .. } =
        decide(&record(Write::Update), &live("old"))
    else {
        panic!("it is not sent again");
    };
    assert_eq!(held.to_json(), json!({ "name": "old", "room": "1" }));
    assert_eq!(late.to_json(), json!({ "properties": { "name": "new" }, "archives": false }));
    assert_eq!(recheck_after, 4 * SETTLE);
}

#[test]
fn an_update_that_hubspot_answered_and_did_not_make_counts_against_the_course() {
    let mut answered = record(Write::Update);
    answered.error = Some(CourseError::new(Category::Refused, "other values", Timestamp::UNIX_EPOCH));
    assert!(matches!(
        decide(&answered, &live("old")),
        ChangeSettlement::Resend { late: None, is_fault: true, .. }
    ));
    answered.faults = RetryPolicy::default().max_attempts - 1;
    assert_eq!(failed(decide(&answered, &live("old"))), Category::Refused);
}

#[test]
fn a_newer_revision_is_compared_with_everything_that_may_have_been_sent() {
    let mut changed = record(Write::Update);
    let Cause::Unconfirmed { is_current, .. } = &mut changed.cause else { unreachable!() };
    *is_current = false;
    let ChangeSettlement::Resend { held, late: Some(late), .. } = decide(&changed, &live("between")) else {
        panic!("it is not sent again");
    };
    assert_eq!(held.to_json(), json!({ "name": "between", "room": "by hand" }));
    assert_eq!(late.to_json(), json!({ "properties": { "name": null, "room": null }, "archives": false }));
}

#[test]
fn a_record_that_is_not_live() {
    let merged = Whereabouts::Merged(HubSpotId::parse("9").unwrap());
    for write in [Write::Update, Write::Archive] {
        assert_eq!(failed(decide(&record(write), &merged)), Category::RecordMerged);
    }
    for found in [Whereabouts::InRecycleBin, Whereabouts::Gone] {
        assert_eq!(failed(decide(&record(Write::Update), &found)), Category::RecordGone);
        // It was withdrawn, and is offered again.
        let offered = UncertainRecord { is_archived: false, ..record(Write::Archive) };
        assert_eq!(decide(&offered, &found), ChangeSettlement::ArchivedBefore);
    }
    assert_eq!(decide(&record(Write::Archive), &Whereabouts::InRecycleBin), ChangeSettlement::Archived(None));
    assert!(matches!(
        decide(&record(Write::Archive), &Whereabouts::Gone),
        ChangeSettlement::Archived(Some(_))
    ));
    assert!(matches!(
        decide(&record(Write::Archive), &live("old")),
        ChangeSettlement::Resend { late: Some(LateWrites { archives: true, .. }), .. }
    ));
    assert!(matches!(
        decide(&record(Write::Update), &Whereabouts::Unknown(None)),
        ChangeSettlement::Postponed(wait, None) if wait == Duration::from_secs(20)
    ));
}

#[test]
fn only_what_a_late_request_wrote_is_repaired() {
    let late =
        |value| LateWrites { properties: HeldProperties::parse(json!({ "name": value })), archives: false };
    let rechecked = |late| UncertainRecord { cause: Cause::Recheck, late, ..record(Write::Update) };
    let repaired = |settlement| match settlement {
        ChangeSettlement::Repair(held) => Some(held.to_json()),
        ChangeSettlement::Checked => None,
        other => panic!("{other:?}"),
    };
    let first = || rechecked(late(json!("first")));
    assert_eq!(repaired(decide(&first(), &live("new"))), None);
    assert_eq!(repaired(decide(&first(), &live("first"))), Some(json!({ "name": "first", "room": "1" })));
    assert_eq!(repaired(decide(&first(), &live("by hand"))), None, "a person's edit is left alone");
    assert!(repaired(decide(&rechecked(late(json!(null))), &live("any"))).is_some());
    assert_eq!(repaired(decide(&first(), &Whereabouts::InRecycleBin)), None);
    let archives = LateWrites { archives: true, ..LateWrites::default() };
    assert_eq!(decide(&rechecked(archives), &Whereabouts::InRecycleBin), ChangeSettlement::ArchivedBefore);
}

#[test]
fn what_a_read_by_ids_shows() {
    let read = |ids: &[&str], body: &str| {
        let ids: Vec<HubSpotId> = ids.iter().map(|id| HubSpotId::parse(id).unwrap()).collect();
        let meta = Meta { status: 207, ..Meta::default() };
        let exchange = Exchange::Answered { meta, body: decode_body(body.as_bytes()) };
        interpret_records(&ids.iter().collect::<Vec<_>>(), &exchange).findings
    };
    let reply = |results: &str, missing: &str| {
        format!(
            r#"{{"status":"COMPLETE","results":[{results}],"errors":[{{"category":"OBJECT_NOT_FOUND","context":{{"ids":[{missing}]}}}}]}}"#
        )
    };
    let merged = |id: &str| RecordFinding::Merged(HubSpotId::parse(id).unwrap());
    let named = r#"{"id":"9","properties":{"hs_merged_object_ids":"1;2"}}"#;
    assert_eq!(read(&["1", "2"], &reply(named, "")), [merged("9"), merged("9")]);
    // Of two, either may be the one that was merged; a single one is.
    let unnamed = r#"{"id":"9","properties":{}}"#;
    assert_eq!(
        read(&["1", "2"], &reply(unnamed, "\"2\"")),
        [RecordFinding::Inconclusive, RecordFinding::Absent]
    );
    assert_eq!(read(&["1"], &reply(unnamed, "")), [merged("9")]);
    // A record that the response does not mention is not proved to be absent.
    assert_eq!(read(&["1"], &reply("", "\"2\"")), [RecordFinding::Inconclusive]);
    assert_eq!(
        read(&["1"], &reply(r#"{"id":"1","properties":{"name":null}}"#, "")),
        [RecordFinding::Present([("name".to_owned(), String::new())].into())]
    );
}
