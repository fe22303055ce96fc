//! What an answer proves, what becomes of a doubt, and whom a 500 is about: tables.

use super::*;

fn doubted(key: &str, faults: u32) -> Doubted {
    Doubted {
        id: RowId(1),
        batch: Uuid::nil(),
        key: CourseKey::parse(key).unwrap(),
        attempts: 1,
        faults,
        doubts: 1,
        company: 1,
        carried_key: true,
        error: None,
        created_at: Timestamp::UNIX_EPOCH,
    }
}

fn read(status: u16, body: &str) -> Exchange {
    let reply: BatchReply = serde_json::from_str(body).unwrap();
    Exchange::Answered { meta: Meta { status, ..Meta::default() }, body: Body::Batch(Box::new(reply)) }
}

fn findings(keys: &[&str], body: &str) -> Vec<Finding> {
    let asked: Vec<_> = keys.iter().map(|key| doubted(key, 0)).collect();
    interpret_read(&asked, "key", &read(207, body)).findings
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
fn a_key_equal_only_after_folding_is_a_collision() {
    let body = r#"{"results":[{"id":"7","properties":{"key":"abc"}}]}"#;
    assert_eq!(findings(&["ABC", "abc"], body), [Finding::Collision(id("7")), Finding::Held(id("7"))]);
}

#[test]
fn what_cannot_be_read_proves_nothing() {
    for (status, reason) in [(401, Reason::Token), (404, Reason::ObjectType), (500, Reason::Unavailable)] {
        let exchange = Exchange::Answered {
            meta: Meta { status, ..Meta::default() },
            body: Body::Unreadable(super::super::answer::Unreadable::Empty),
        };
        let reading = interpret_read(&[doubted("A", 0)], "key", &exchange);
        assert_eq!(reading.findings, [Finding::Unclear]);
        assert!(matches!(reading.signal, Signal::Pause(trouble) if trouble.reason == reason), "{status}");
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

#[test]
fn a_key_that_several_records_carry_is_told_to_a_person() {
    let body = r#"{"results":[{"id":"7","properties":{"key":"A"}},{"id":"8","properties":{"key":"A"}}]}"#;
    let found = findings(&["A"], body);
    assert_eq!(found, [Finding::Several(vec![id("7"), id("8")])]);
    let (policy, now) = (RetryPolicy::default(), Timestamp::UNIX_EPOCH);
    let to = settle(&doubted("A", 0), &found[0], Neighbours::default(), &policy, now, 0.0);
    let Some(Transition::Unconfirmed { error, own_fault: false, .. }) = to else { panic!("{to:?}") };
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
fn what_becomes_of_a_doubt() {
    let policy = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
    let settle = |faults, finding| {
        settle(&doubted("A", faults), &finding, Neighbours::default(), &policy, Timestamp::UNIX_EPOCH, 1.0)
    };
    let after = |seconds| {
        Some(Transition::Pending(Again::Resend { after: Duration::from_secs(seconds), suspicion: None }))
    };
    assert_eq!(settle(0, Finding::Absent), after(0));
    assert_eq!(settle(2, Finding::Absent), after(2));
    assert!(matches!(settle(3, Finding::Absent), Some(Transition::Failed { .. })));
    assert_eq!(settle(9, Finding::Unclear), None);
    let adopted = Transition::Synced { hubspot_id: id("5"), provenance: Provenance::Confirmed };
    assert_eq!(settle(9, Finding::Held(id("5"))), Some(adopted));
    assert!(
        matches!(settle(0, Finding::Collision(id("5"))), Some(Transition::Failed { error }) if error.category == Category::KeyCollision)
    );
}

fn at_500(company: usize, faults: u32) -> Doubted {
    let error = CourseError {
        http_status: Some(POISONED),
        ..CourseError::new(Category::UnknownOutcome, "HubSpot answered 500", Timestamp::UNIX_EPOCH)
    };
    Doubted { company, error: Some(error), ..doubted("A", faults) }
}

const OTHERS_PASS: Neighbours = Neighbours { passed: 5, failed: 1 };
const OUTAGE: Neighbours = Neighbours { passed: 5, failed: 5 };

#[test]
fn what_hubspot_fails_at_while_others_pass_is_isolated_and_then_counts() {
    let policy = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
    let resend = |course: &Doubted, neighbours| match resend(
        course,
        neighbours,
        &policy,
        Timestamp::UNIX_EPOCH,
        0.0,
    ) {
        Transition::Pending(Again::Resend { suspicion, .. }) => Ok(suspicion),
        other => Err(Box::new(other)),
    };
    let in_company = |batch_limit| Ok(Some(Suspicion::InCompany { batch_limit }));
    assert_eq!(resend(&at_500(89, 0), OTHERS_PASS), in_company(45));
    assert_eq!(resend(&at_500(2, 0), OTHERS_PASS), in_company(1));
    assert_eq!(resend(&at_500(1, 0), OTHERS_PASS), Ok(Some(Suspicion::Alone)));
    assert_eq!(resend(&at_500(1, 1), OTHERS_PASS), Ok(Some(Suspicion::Alone)));
    let Err(to) = resend(&at_500(1, 2), OTHERS_PASS) else { panic!("goes again") };
    let Transition::Failed { error } = *to else { panic!("{to:?}") };
    assert_eq!((error.category, error.http_status), (Category::Refused, Some(POISONED)));
    assert!(error.message.contains("3 times"), "{}", error.message);

    // No outage, however long, is anybody's fault; nor is what no neighbour bears witness to.
    assert_eq!(resend(&at_500(1, 2), OUTAGE), Ok(None));
    assert_eq!(resend(&at_500(1, 2), Neighbours::default()), Ok(None));
    // What stands between HubSpot and us fails at whatever comes.
    let mut gateway = at_500(1, 2);
    gateway.error.as_mut().unwrap().http_status = Some(502);
    assert_eq!(resend(&gateway, OTHERS_PASS), Ok(None));
}

#[test]
fn a_refusal_that_was_looked_up_is_final_where_hubspot_holds_nothing() {
    let refusal = CourseError::new(Category::Validation, "no such option", Timestamp::UNIX_EPOCH);
    let course = Doubted { error: Some(refusal.clone()), ..doubted("A", 0) };
    let settle = |finding| {
        let policy = RetryPolicy::default();
        settle(&course, &finding, Neighbours::default(), &policy, Timestamp::UNIX_EPOCH, 0.0)
    };
    assert_eq!(settle(Finding::Absent), Some(Transition::Failed { error: refusal }));
    assert!(matches!(settle(Finding::Held(id("7"))), Some(Transition::Synced { .. })));
}

#[test]
fn a_course_in_doubt_again_and_again_is_not_sent_blindly_for_ever() {
    let policy = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
    let resend = |doubts| {
        let course = Doubted { doubts, ..doubted("A", 0) };
        resend_blindly(&course, Neighbours::default(), &policy, Timestamp::UNIX_EPOCH, 0.0)
    };
    assert!(matches!(resend(2), Some(Transition::Pending(_))));
    assert_eq!(resend(3), None);
}

#[test]
fn what_was_sent_without_its_key_cannot_be_found_by_it() {
    let course = Doubted { carried_key: false, ..doubted("A", 0) };
    let settle = |finding| {
        let policy = RetryPolicy::default();
        settle(&course, &finding, Neighbours::default(), &policy, Timestamp::UNIX_EPOCH, 0.0)
    };
    assert_eq!(settle(Finding::Absent), None);
    // Somebody has given the record its key meanwhile.
    assert!(matches!(settle(Finding::Held(id("7"))), Some(Transition::Synced { .. })));
}
