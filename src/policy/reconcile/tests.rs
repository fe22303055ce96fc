//! What an answer proves, and what becomes of a doubt: tables.

use super::*;

const HOUR: Duration = Duration::from_hours(1);

/// An hour has passed since the catalogue enqueued the course, and half of it since it was sent.
fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH + HOUR
}

fn doubted(key: &str, doubt: Doubt) -> Doubted {
    Doubted {
        id: RowId(1),
        batch: Uuid::nil(),
        key: CourseKey::parse(key).unwrap(),
        doubt,
        property: Some("key".into()),
        doubted_since: now() - HOUR / 2,
        sent_at: now() - HOUR / 2,
        attempts: 1,
        faults: 0,
        doubts: 1,
        company: 1,
        is_suspect: false,
        error: None,
        created_at: Timestamp::UNIX_EPOCH,
    }
}

fn context() -> Context<'static> {
    Context {
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

fn findings(keys: &[&str], body: &str) -> Vec<Finding> {
    findings_in(keys, Place::Live, body)
}

fn findings_in(keys: &[&str], place: Place, body: &str) -> Vec<Finding> {
    let keys: Vec<CourseKey> = keys.iter().map(|key| CourseKey::parse(*key).unwrap()).collect();
    interpret_read(&keys.iter().collect::<Vec<_>>(), "key", place, &read(207, body)).findings
}

fn holder(text: &str, created_at: Option<Timestamp>) -> Holder {
    Holder { id: id(text), created_at }
}

fn id(text: &str) -> HubSpotId {
    HubSpotId::parse(text).unwrap()
}

#[test]
fn a_record_is_found_by_the_key_it_carries_wherever_it_stands() {
    let body = r#"{"status":"COMPLETE","results":[
        {"id":"7","properties":{"key":"B"}},{"id":"8","properties":{"key":"A"}}],
        "numErrors":1,"errors":[{"category":"OBJECT_NOT_FOUND","context":{"ids":["C"]}}]}"#;
    assert_eq!(
        findings(&["A", "B", "C"], body),
        [Finding::Held(id("8")), Finding::Held(id("7")), Finding::Absent]
    );
}

#[test]
fn a_key_equal_only_after_folding_is_similar_unless_it_is_listed_as_missing() {
    let body = r#"{"results":[{"id":"7","properties":{"key":"abc"},"createdAt":"1970-01-01T00:00:00Z"}]}"#;
    let similar = Finding::Similar(holder("7", Some(Timestamp::UNIX_EPOCH)));
    assert_eq!(findings(&["ABC", "abc"], body), [similar, Finding::Held(id("7"))]);
    let body = r#"{"results":[{"id":"7","properties":{"key":"abc"}}],
        "errors":[{"category":"OBJECT_NOT_FOUND","context":{"ids":["ABC"]}}]}"#;
    assert_eq!(findings(&["ABC", "abc"], body), [Finding::Absent, Finding::Held(id("7"))]);
}

#[test]
fn a_record_in_the_recycle_bin_is_never_one_that_is_held() {
    let body = r#"{"results":[{"id":"7","properties":{"key":"A"},"createdAt":"2026-01-01T00:00:00Z"}]}"#;
    let created_at = "2026-01-01T00:00:00Z".parse().ok();
    assert_eq!(findings_in(&["A"], Place::Archived, body), [Finding::InBin(holder("7", created_at))]);
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
        assert_eq!(findings(&["A"], body), [Finding::Unclear], "{body}");
    }
}

#[test]
fn what_cannot_be_read_proves_nothing() {
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
            body: Body::Unreadable(super::super::answer::Unreadable::Empty),
        };
        let reading = interpret_read(&[&key], "key", Place::Live, &exchange);
        assert_eq!(reading.findings, [Finding::Unclear]);
        match reading.signal {
            Signal::Pause(trouble) if is_pause => assert_eq!(trouble.reason, reason, "{status}"),
            Signal::Failed(trouble) if !is_pause => assert_eq!(trouble.reason, reason, "{status}"),
            other => panic!("{status}: {other:?}"),
        }
    }
}

#[test]
fn a_contradiction_or_an_unfinished_answer_proves_nothing() {
    for body in [
        r#"{"results":[{"id":"7","properties":{"key":"A","hs_object_id":"8"}}]}"#,
        r#"{"results":[7]}"#,
        r#"{"results":[]}"#,
        r#"{"status":"PENDING","results":[{"id":"7","properties":{"key":"A"}}]}"#,
    ] {
        assert_eq!(findings(&["A"], body), [Finding::Unclear], "{body}");
    }
}

fn settled(course: &Doubted, finding: &Finding) -> Settlement {
    course.settle(finding, &RetryPolicy::default(), &context())
}

fn failed(settlement: Settlement) -> CourseError {
    match settlement {
        Settlement::To(Transition::Failed { error }) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn several_records_with_one_key_are_left_to_an_operator() {
    let body = r#"{"results":[{"id":"7","properties":{"key":"A"}},{"id":"8","properties":{"key":"A"}}]}"#;
    let found = findings(&["A"], body);
    assert_eq!(found, [Finding::Several(vec![id("7"), id("8")])]);
    let to = settled(&doubted("A", Doubt::Unknown), &found[0]);
    let Settlement::To(Transition::Unconfirmed { error, .. }) = to else { panic!("{to:?}") };
    assert!(error.message.contains("7, 8"));
}

#[test]
fn absence_needs_both_places() {
    let held = Finding::Held(id("1"));
    assert_eq!(combined(Finding::Absent, None), Finding::Unclear);
    assert_eq!(combined(Finding::Absent, Some(Finding::Absent)), Finding::Absent);
    assert_eq!(combined(Finding::Absent, Some(held.clone())), held);
    assert_eq!(combined(held.clone(), None), held);
}

#[test]
fn a_record_settles_every_kind_of_doubt() {
    for doubt in Doubt::ALL {
        for (attempts, provenance) in [(1, Provenance::Adopted), (2, Provenance::Confirmed)] {
            let course = Doubted { attempts, ..doubted("A", doubt) };
            let provenance = if doubt == Doubt::Conflict { provenance } else { Provenance::Confirmed };
            let synced = Transition::Synced { hubspot_id: id("5"), provenance, warning: None };
            assert_eq!(settled(&course, &Finding::Held(id("5"))), Settlement::To(synced), "{doubt:?}");
        }
    }
}

#[test]
fn what_proved_absence_means_depends_on_what_is_in_doubt() {
    let refusal = CourseError::new(Category::Validation, "no such option", Timestamp::UNIX_EPOCH);
    let absent = |doubt| {
        let course = Doubted { error: Some(refusal.clone()), ..doubted("A", doubt) };
        settled(&course, &Finding::Absent)
    };
    let again = |settlement| matches!(settlement, Settlement::To(Transition::Pending(Again::Later { .. })));
    assert!(again(absent(Doubt::Unknown)), "an unknown outcome is never read as a refusal");
    assert_eq!(failed(absent(Doubt::Refused)), refusal);
    assert!(matches!(absent(Doubt::Created), Settlement::Remains(_)), "it exists: it is never sent again");
    assert!(again(absent(Doubt::Conflict)));
}

#[test]
fn a_key_that_is_taken_and_not_found_stays_in_doubt_with_growing_waits_and_is_never_counted() {
    let policy = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
    let mut waits = Vec::new();
    for seconds in [0, 10, 60, 3_600, 86_400] {
        let since = now() - Duration::from_secs(seconds);
        let course = Doubted {
            doubted_since: since,
            // Just sent again.
            sent_at: now(),
            faults: 5,
            ..doubted("A", Doubt::Conflict)
        };
        match course.settle(&Finding::Absent, &policy, &context()) {
            Settlement::Remains(wait) => waits.push(wait.as_secs()),
            other @ Settlement::To(_) => panic!("{other:?}"),
        }
    }
    assert_eq!(waits, [2, 5, 30, 600, 600]);
}

#[test]
fn a_conflict_over_another_value_is_final() {
    let message =
        "Cannot set PropertyValueCoordinates{propertyName=code, value=same} on 1. 2 already has that value.";
    let error = CourseError::new(Category::Conflict, message, Timestamp::UNIX_EPOCH);
    let course = Doubted { error: Some(error), ..doubted("A", Doubt::Conflict) };
    assert_eq!(failed(settled(&course, &Finding::Absent)).property.as_deref(), Some("code"));
}

#[test]
fn a_record_in_the_recycle_bin_is_never_adopted() {
    let older = Finding::InBin(holder("7", Some(Timestamp::UNIX_EPOCH - HOUR)));
    let newer = Finding::InBin(holder("7", Some(Timestamp::UNIX_EPOCH + HOUR / 2)));
    for doubt in Doubt::ALL {
        let error = failed(settled(&doubted("A", doubt), &newer));
        assert!(error.category == Category::RecordGone && error.message.contains("record 7"), "{error:?}");
    }
    let error = failed(settled(&doubted("A", Doubt::Conflict), &older));
    assert!(error.category == Category::Conflict && error.message.contains("Restore record 7"), "{error:?}");
    assert!(matches!(settled(&doubted("A", Doubt::Unknown), &older), Settlement::To(Transition::Pending(_))));
}

#[test]
fn a_record_with_a_similar_key_is_ours_only_if_it_can_be_and_no_other_course_is_it() {
    let course = doubted("ABC", Doubt::Unknown);
    let policy = RetryPolicy::default();
    let settle = |created_at, is_taken| {
        let finding = Finding::Similar(holder("7", created_at));
        course.settle(&finding, &policy, &Context { is_taken, ..context() })
    };
    let after = Some(course.doubted_since + Duration::from_secs(1));
    assert!(matches!(settle(after, false), Settlement::To(Transition::Synced { .. })));
    for (created_at, is_taken) in [(after, true), (Some(Timestamp::UNIX_EPOCH), false), (None, false)] {
        let error = failed(settle(created_at, is_taken));
        assert_eq!(error.category, Category::KeyCollision, "{created_at:?}, {is_taken}");
    }
}

const OTHERS_PASS: Evidence =
    Evidence { is_judged: false, before: Some(true), after: Some(true), company: 1 };

#[test]
fn what_fails_while_others_pass_is_isolated_and_then_counts() {
    let policy = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
    let resend = |company, is_suspect, faults, evidence| {
        let course = Doubted { faults, company, is_suspect, ..doubted("A", Doubt::Unknown) };
        match course.settle(&Finding::Absent, &policy, &Context { evidence, ..context() }) {
            Settlement::To(Transition::Pending(Again::Later { suspicion, .. })) => Ok(suspicion),
            other => Err(Box::new(other)),
        }
    };
    let among = |batch_limit| Ok(Suspicion::Among { batch_limit });
    assert_eq!(resend(89, false, 0, OTHERS_PASS), among(89));
    assert_eq!(resend(89, true, 0, OTHERS_PASS), among(9));
    assert_eq!(resend(9, true, 0, OTHERS_PASS), among(1));
    assert_eq!(resend(1, true, 0, OTHERS_PASS), Ok(Suspicion::Alone));
    let error = failed(*resend(1, true, 2, OTHERS_PASS).unwrap_err());
    assert!(error.category == Category::Refused && error.message.contains("3 times"), "{error:?}");

    // No outage counts against a course, however long; nor does what no other request is evidence of.
    for evidence in [
        Evidence::default(),
        Evidence { after: None, ..OTHERS_PASS },
        Evidence { before: Some(false), ..OTHERS_PASS },
        Evidence { after: Some(false), ..OTHERS_PASS },
    ] {
        assert_eq!(resend(1, true, 2, evidence), among(1), "{evidence:?}");
    }
    assert_eq!(resend(0, false, 0, OTHERS_PASS), Ok(Suspicion::Unchanged), "it was never sent");
}

#[test]
fn a_course_in_doubt_again_and_again_is_not_sent_blindly_for_ever() {
    let policy = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
    let resend =
        |doubts, doubt| Doubted { doubts, ..doubted("A", doubt) }.resend_blindly(&policy, &context());
    assert!(matches!(resend(2, Doubt::Unknown), Some(Settlement::To(Transition::Pending(_)))));
    assert_eq!(resend(3, Doubt::Unknown), None);
    assert_eq!(resend(1, Doubt::Created), None, "HubSpot holds it for certain");
}

#[test]
fn what_was_sent_under_another_property_is_looked_up_by_it_and_not_sent_again() {
    let course = doubted("A", Doubt::Unknown);
    for unique_property in [None, Some("another")] {
        let context = Context { unique_property, ..context() };
        let settle = |finding| course.settle(&finding, &RetryPolicy::default(), &context);
        assert!(matches!(settle(Finding::Absent), Settlement::Remains(_)), "{unique_property:?}");
        assert!(matches!(settle(Finding::Held(id("7"))), Settlement::To(Transition::Synced { .. })));
    }
}
