//! What a look-up proves, and what happens to the course then, as tables.

use super::*;
use crate::course::{BatchId, RowId};
use uuid::Uuid;

const HOUR: Duration = Duration::from_hours(1);

/// An hour has passed since the catalogue enqueued the course, and half of it since it was sent.
fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH + HOUR
}

fn unconfirmed(key: &str, doubt: Doubt) -> UnconfirmedCourse {
    UnconfirmedCourse {
        is_archived: false,
        id: RowId(1),
        batch: BatchId(Uuid::nil()),
        key: CourseKey::parse(key).unwrap(),
        doubt,
        property: Some("key".into()),
        doubted_since: now() - HOUR / 2,
        sent_at: now() - HOUR / 2,
        attempts: 1,
        faults: 0,
        doubts: 1,
        batch_size: 1,
        is_suspect: false,
        error: None,
        created_at: Timestamp::UNIX_EPOCH,
    }
}

fn facts() -> SettlementFacts<'static> {
    SettlementFacts {
        evidence: Evidence::default(),
        is_taken: false,
        unique_property: Some("key"),
        settle: Duration::from_secs(30),
        now: now(),
        jitter: 1.0,
    }
}

fn read(status: u16, body: &str) -> Exchange {
    let reply: BatchReply = serde_json::from_str(body).unwrap();
    Exchange::Answered { meta: Meta { status, ..Meta::default() }, body: Body::Batch(Box::new(reply)) }
}

fn findings(keys: &[&str], body: &str) -> Vec<LookupFinding> {
    findings_in(keys, RecordState::Live, body)
}

fn findings_in(keys: &[&str], state: RecordState, body: &str) -> Vec<LookupFinding> {
    let keys: Vec<CourseKey> = keys.iter().map(|key| CourseKey::parse(*key).unwrap()).collect();
    interpret_read(&keys.iter().collect::<Vec<_>>(), "key", state, &read(207, body)).findings
}

fn record(text: &str, created_at: Option<Timestamp>) -> FoundRecord {
    FoundRecord { id: id(text), created_at }
}

fn id(text: &str) -> HubSpotId {
    HubSpotId::parse(text).unwrap()
}

#[test]
fn a_record_is_found_by_its_key_whatever_its_position() {
    let body = r#"{"status":"COMPLETE","results":[
        {"id":"7","properties":{"key":"B"}},{"id":"8","properties":{"key":"A"}}],
        "numErrors":1,"errors":[{"category":"OBJECT_NOT_FOUND","context":{"ids":["C"]}}]}"#;
    assert_eq!(
        findings(&["A", "B", "C"], body),
        [LookupFinding::Found(id("8")), LookupFinding::Found(id("7")), LookupFinding::Absent]
    );
}

#[test]
fn a_key_that_is_equal_after_normalisation_is_similar_unless_listed_as_missing() {
    let body = r#"{"results":[{"id":"7","properties":{"key":"abc"},"createdAt":"1970-01-01T00:00:00Z"}]}"#;
    let similar = LookupFinding::SimilarKey(record("7", Some(Timestamp::UNIX_EPOCH)));
    assert_eq!(findings(&["ABC", "abc"], body), [similar, LookupFinding::Found(id("7"))]);
    let body = r#"{"results":[{"id":"7","properties":{"key":"abc"}}],
        "errors":[{"category":"OBJECT_NOT_FOUND","context":{"ids":["ABC"]}}]}"#;
    assert_eq!(findings(&["ABC", "abc"], body), [LookupFinding::Absent, LookupFinding::Found(id("7"))]);
}

#[test]
fn a_record_in_the_recycle_bin_is_archived_not_found() {
    let body = r#"{"results":[{"id":"7","properties":{"key":"A"},"createdAt":"2026-01-01T00:00:00Z"}]}"#;
    let created_at = "2026-01-01T00:00:00Z".parse().ok();
    assert_eq!(
        findings_in(&["A"], RecordState::Archived, body),
        [LookupFinding::Archived(record("7", created_at))]
    );
}

#[test]
fn absence_is_proved_only_by_an_error_that_lists_the_key_as_not_found() {
    for body in [
        r#"{"status":"COMPLETE","results":[]}"#,
        r#"{"results":[],"errors":[{"category":"OBJECT_NOT_FOUND","context":{"ids":["B"]}}]}"#,
        r#"{"results":[],"errors":[{"category":"OBJECT_NOT_FOUND"}]}"#,
        r#"{"results":[],"errors":[{"category":"INTERNAL_ERROR","context":{"ids":["A"]}}]}"#,
        r#"{"results":[],"errors":[{"context":{"ids":["A"]}}]}"#,
    ] {
        assert_eq!(findings(&["A"], body), [LookupFinding::Inconclusive], "{body}");
    }
}

#[test]
fn a_failed_read_proves_nothing() {
    let key = CourseKey::parse("A").unwrap();
    for (status, reason, is_pause) in [
        (400, Reason::Unavailable, false),
        (401, Reason::Token, false),
        (403, Reason::Unavailable, false),
        (404, Reason::ObjectType, false),
        (429, Reason::IntervalQuota, true),
        (500, Reason::Unavailable, false),
    ] {
        let exchange = Exchange::Answered {
            meta: Meta { status, ..Meta::default() },
            body: Body::Unreadable(crate::hubspot::api::response::Unreadable::Empty),
        };
        let result = interpret_read(&[&key], "key", RecordState::Live, &exchange);
        assert_eq!(result.findings, [LookupFinding::Inconclusive]);
        match result.signal {
            Signal::Pause(incident) if is_pause => assert_eq!(incident.reason, reason, "{status}"),
            Signal::Failed(incident) if !is_pause => assert_eq!(incident.reason, reason, "{status}"),
            other => panic!("{status}: {other:?}"),
        }
    }
}

#[test]
fn a_contradictory_or_incomplete_response_proves_nothing() {
    for body in [
        r#"{"results":[{"id":"7","properties":{"key":"A","hs_object_id":"8"}}]}"#,
        r#"{"results":[7]}"#,
        r#"{"results":[]}"#,
        r#"{"status":"PENDING","results":[{"id":"7","properties":{"key":"A"}}]}"#,
    ] {
        assert_eq!(findings(&["A"], body), [LookupFinding::Inconclusive], "{body}");
    }
}

fn settled(course: &UnconfirmedCourse, finding: &LookupFinding) -> Settlement {
    settle(course, finding, &RetryPolicy::default(), &facts())
}

fn failed(settlement: Settlement) -> CourseError {
    match settlement {
        Settlement::Apply(Transition::Failed { error }) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn several_records_with_one_key_are_left_to_an_operator() {
    let body = r#"{"results":[{"id":"7","properties":{"key":"A"}},{"id":"8","properties":{"key":"A"}}]}"#;
    let found = findings(&["A"], body);
    assert_eq!(found, [LookupFinding::Duplicates(vec![id("7"), id("8")])]);
    let to = settled(&unconfirmed("A", Doubt::Unknown), &found[0]);
    let Settlement::Apply(Transition::Unconfirmed { error, .. }) = to else { panic!("{to:?}") };
    assert!(error.message.contains("7, 8"));
}

#[test]
fn absence_needs_the_live_records_and_the_recycle_bin() {
    let held = LookupFinding::Found(id("1"));
    assert_eq!(combine(LookupFinding::Absent, None), LookupFinding::Inconclusive);
    assert_eq!(
        combine(LookupFinding::Absent, Some(LookupFinding::Interrupted)),
        LookupFinding::Interrupted,
        "the recycle bin is read again at once"
    );
    assert_eq!(combine(LookupFinding::Absent, Some(LookupFinding::Absent)), LookupFinding::Absent);
    assert_eq!(combine(LookupFinding::Absent, Some(held.clone())), held);
    assert_eq!(combine(held.clone(), None), held);
}

#[test]
fn a_found_record_confirms_the_course_whatever_was_in_doubt() {
    for doubt in Doubt::ALL {
        for (attempts, provenance) in [(1, Provenance::Adopted), (2, Provenance::Confirmed)] {
            let course = UnconfirmedCourse { attempts, ..unconfirmed("A", doubt) };
            let provenance = if doubt == Doubt::Conflict { provenance } else { Provenance::Confirmed };
            let synced = Transition::Synced { hubspot_id: id("5"), provenance, warning: None };
            assert_eq!(
                settled(&course, &LookupFinding::Found(id("5"))),
                Settlement::Apply(synced),
                "{doubt:?}"
            );
        }
    }
}

#[test]
fn the_meaning_of_absence_depends_on_what_is_in_doubt() {
    let refusal = CourseError::new(Category::Validation, "no such option", Timestamp::UNIX_EPOCH);
    let absent = |doubt| {
        let course = UnconfirmedCourse { error: Some(refusal.clone()), ..unconfirmed("A", doubt) };
        settled(&course, &LookupFinding::Absent)
    };
    let again =
        |settlement| matches!(settlement, Settlement::Apply(Transition::Pending(Requeue::Later { .. })));
    assert!(again(absent(Doubt::Unknown)), "an unknown outcome is never a refusal");
    assert_eq!(failed(absent(Doubt::Refused)), refusal);
    assert!(
        matches!(absent(Doubt::Created), Settlement::StillUnconfirmed(_)),
        "it exists, so it is never sent again"
    );
    assert!(again(absent(Doubt::Conflict)));
}

#[test]
fn a_taken_key_that_is_not_found_is_looked_up_at_growing_intervals_without_counting_faults() {
    let policy = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
    let mut waits = Vec::new();
    for seconds in [0, 10, 60, 3_600, 86_400] {
        let since = now() - Duration::from_secs(seconds);
        let course = UnconfirmedCourse {
            doubted_since: since,
            // Just sent again.
            sent_at: now(),
            faults: 5,
            ..unconfirmed("A", Doubt::Conflict)
        };
        match settle(&course, &LookupFinding::Absent, &policy, &facts()) {
            Settlement::StillUnconfirmed(wait) => waits.push(wait.as_secs()),
            other @ (Settlement::Apply(_) | Settlement::Unchanged) => panic!("{other:?}"),
        }
    }
    assert_eq!(waits, [2, 5, 30, 600, 600]);
}

#[test]
fn a_conflict_over_another_value_is_final() {
    let message =
        "Cannot set PropertyValueCoordinates{propertyName=code, value=same} on 1. 2 already has that value.";
    let error = CourseError::new(Category::Conflict, message, Timestamp::UNIX_EPOCH);
    let course = UnconfirmedCourse { error: Some(error), ..unconfirmed("A", Doubt::Conflict) };
    assert_eq!(failed(settled(&course, &LookupFinding::Absent)).property.as_deref(), Some("code"));
}

#[test]
fn a_record_in_the_recycle_bin_is_never_adopted() {
    let older = LookupFinding::Archived(record("7", Some(Timestamp::UNIX_EPOCH - HOUR)));
    let newer = LookupFinding::Archived(record("7", Some(Timestamp::UNIX_EPOCH + HOUR / 2)));
    for doubt in Doubt::ALL {
        let Settlement::Apply(Transition::Gone { hubspot_id, error }) =
            settled(&unconfirmed("A", doubt), &newer)
        else {
            panic!("{doubt:?} is not settled as gone");
        };
        assert!(error.category == Category::RecordGone && error.message.contains("record 7"), "{error:?}");
        assert_eq!(hubspot_id.as_str(), "7");
    }
    let error = failed(settled(&unconfirmed("A", Doubt::Conflict), &older));
    assert!(error.category == Category::Conflict && error.message.contains("Restore record 7"), "{error:?}");
    assert!(matches!(
        settled(&unconfirmed("A", Doubt::Unknown), &older),
        Settlement::Apply(Transition::Pending(_))
    ));
}

#[test]
fn a_record_with_a_similar_key_is_adopted_only_if_new_enough_and_not_taken() {
    let course = unconfirmed("ABC", Doubt::Unknown);
    let policy = RetryPolicy::default();
    let settled = |created_at, is_taken| {
        let finding = LookupFinding::SimilarKey(record("7", created_at));
        settle(&course, &finding, &policy, &SettlementFacts { is_taken, ..facts() })
    };
    let after = Some(course.doubted_since + Duration::from_secs(1));
    assert!(matches!(settled(after, false), Settlement::Apply(Transition::Synced { .. })));
    for (created_at, is_taken) in [(after, true), (Some(Timestamp::UNIX_EPOCH), false), (None, false)] {
        let error = failed(settled(created_at, is_taken));
        assert_eq!(error.category, Category::KeyCollision, "{created_at:?}, {is_taken}");
    }
}

const OTHERS_PASS: Evidence =
    Evidence { is_judged: false, before: Some(true), after: Some(true), batch_size: 1 };

fn in_batch(batch_limit: u16) -> Suspicion {
    Suspicion::InBatch { batch_limit }
}

#[test]
fn a_course_that_fails_while_others_pass_is_isolated_and_then_counts_faults() {
    let policy = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
    let resend = |batch_size, is_suspect, faults, evidence| {
        let course = UnconfirmedCourse { faults, batch_size, is_suspect, ..unconfirmed("A", Doubt::Unknown) };
        match settle(&course, &LookupFinding::Absent, &policy, &SettlementFacts { evidence, ..facts() }) {
            Settlement::Apply(Transition::Pending(Requeue::Later { suspicion, .. })) => Ok(suspicion),
            other => Err(Box::new(other)),
        }
    };
    assert_eq!(resend(89, false, 0, OTHERS_PASS), Ok(in_batch(89)));
    assert_eq!(resend(89, true, 0, OTHERS_PASS), Ok(in_batch(9)));
    assert_eq!(resend(9, true, 0, OTHERS_PASS), Ok(in_batch(1)));
    assert_eq!(resend(1, true, 0, OTHERS_PASS), Ok(Suspicion::Single));
    let error = failed(*resend(1, true, 2, OTHERS_PASS).unwrap_err());
    assert!(error.category == Category::Refused && error.message.contains("3 times"), "{error:?}");

    // An outage never counts as a fault of the course, and neither does a failure without evidence of other requests.
    for evidence in [
        Evidence::default(),
        Evidence { after: None, ..OTHERS_PASS },
        Evidence { before: Some(false), ..OTHERS_PASS },
        Evidence { after: Some(false), ..OTHERS_PASS },
    ] {
        assert_eq!(resend(1, true, 2, evidence), Ok(in_batch(1)), "{evidence:?}");
    }
    assert_eq!(resend(0, false, 0, OTHERS_PASS), Ok(Suspicion::Unchanged), "it was never sent");
}

#[test]
fn a_course_is_not_resent_without_proof_beyond_max_attempts() {
    let policy = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
    let resend = |doubts, doubt| {
        let course = UnconfirmedCourse { doubts, ..unconfirmed("A", doubt) };
        resend_without_proof(&course, &policy, &facts())
    };
    assert!(matches!(resend(2, Doubt::Unknown), Some(Settlement::Apply(Transition::Pending(_)))));
    assert_eq!(resend(3, Doubt::Unknown), None);
    assert_eq!(resend(1, Doubt::Created), None, "HubSpot holds it for certain");
}

#[test]
fn a_course_sent_with_another_unique_property_is_looked_up_and_not_resent() {
    let course = unconfirmed("A", Doubt::Unknown);
    for unique_property in [None, Some("another")] {
        let facts = SettlementFacts { unique_property, ..facts() };
        let settled = |finding| settle(&course, &finding, &RetryPolicy::default(), &facts);
        assert!(
            matches!(settled(LookupFinding::Absent), Settlement::StillUnconfirmed(_)),
            "{unique_property:?}"
        );
        assert!(matches!(
            settled(LookupFinding::Found(id("7"))),
            Settlement::Apply(Transition::Synced { .. })
        ));
    }
}
