//! Every state of a course, and its explanation.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::*;
use crate::course::{BatchId, CourseError};
use crate::policy::explain::history::{CourseEvent, CourseRequest, Purpose};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const BATCH: BatchId = BatchId(Uuid::nil());

fn at(seconds: i64) -> Timestamp {
    NOW + SignedDuration::from_secs(seconds)
}

fn history(status: Status) -> CourseHistory {
    let course = CourseRow {
        archived: false,
        archive_released: false,
        changed_at: None,
        is_change_unknown: false,
        key: "A-1".into(),
        name: None,
        revision: 1,
        synced_revision: None,
        status,
        blocked: None,
        attempts: 1,
        faults: 0,
        doubts: 0,
        carried_key: true,
        is_suspect: false,
        batch_limit: 100,
        next_attempt_at: at(-60),
        hubspot_id: None,
        error: None,
        created_at: at(-60),
        updated_at: at(-50),
        synced_at: None,
    };
    CourseHistory { course, events: Vec::new(), requests: Vec::new(), is_truncated: false }
}

fn failed(category: Category) -> CourseHistory {
    let mut history = history(Status::Failed);
    history.course.error = Some(CourseError::new(category, "HubSpot's words", at(-50)));
    history
}

fn unconfirmed() -> CourseHistory {
    let mut history = history(Status::Unconfirmed);
    let error = CourseError::new(Category::UnknownOutcome, "it is not known: no response", at(-50));
    history.course.error = Some(error);
    history.course.next_attempt_at = at(20);
    history
}

fn synced(by: Option<EventKind>) -> CourseHistory {
    let mut history = history(Status::Synced);
    history.course.hubspot_id = Some("77".into());
    history.course.synced_at = Some(at(-10));
    history.events.extend(by.map(|event| CourseEvent {
        at: at(-10),
        event,
        request: None,
        error: None,
        hubspot_id: None,
    }));
    history
}

fn look_up() -> UnconfirmedPolicy {
    UnconfirmedPolicy::LookUp { by: "course_key".into() }
}

fn context(unconfirmed: UnconfirmedPolicy) -> ExplainContext {
    ExplainContext { now: NOW, has_leader: true, pauses: Vec::new(), unconfirmed }
}

fn paused(reason: Reason) -> ExplainContext {
    let pause = PauseReport {
        reason: reason.into(),
        message: "because".into(),
        since: None,
        author: None,
        operation: None,
        until: None,
        ends: None,
    };
    ExplainContext { pauses: vec![pause], ..context(look_up()) }
}

fn without_leader() -> ExplainContext {
    ExplainContext { has_leader: false, ..context(look_up()) }
}

fn with(mut history: CourseHistory, change: impl FnOnce(&mut CourseRow)) -> CourseHistory {
    change(&mut history.course);
    history
}

/// Checks the state, the seconds until the next step, and parts of the summary, of the next step and of the advice.
fn assert_explained(
    history: CourseHistory,
    context: &ExplainContext,
    state: DetailedStatus,
    parts: [&str; 3],
    seconds: Option<i64>,
) {
    let explanation = explain(history, context);
    let [summary, next, you_can] = parts;
    assert_eq!(explanation.state, state, "{explanation:?}");
    assert!(explanation.summary.contains(summary), "{explanation:?}");
    assert!(explanation.next.contains(next), "{explanation:?}");
    assert_eq!(explanation.next_at, seconds.map(at), "{explanation:?}");
    let advice = explanation.you_can.join("\n");
    assert!(advice.contains(you_can) && advice.is_empty() == you_can.is_empty(), "{explanation:?}");
}

#[test]
fn a_pending_course_is_explained_in_each_state() {
    use DetailedStatus::{BackingOff, Isolating, Paused, Waiting};
    let fresh = with(history(Status::Pending), |course| course.attempts = 0);
    let backing_off = with(history(Status::Pending), |course| course.next_attempt_at = at(30));
    let isolated = with(history(Status::Pending), |course| course.batch_limit = 7);
    let running = context(look_up());
    assert_explained(fresh, &running, Waiting, ["not sent yet", "next requests", ""], Some(-60));
    assert_explained(backing_off, &running, BackingOff, ["sent once", "sent again", ""], Some(30));
    let in_batches = ["a batch of at most 7", "a batch of at most 7", ""];
    assert_explained(isolated, &running, Isolating, in_batches, Some(-60));
    let by_operator = ["sending is paused", "operator (because)", "course-sync resume"];
    assert_explained(history(Status::Pending), &paused(Reason::Operator), Paused, by_operator, None);
    let by_account = ["sending is paused", "token (because)", "course-sync status"];
    assert_explained(history(Status::Pending), &paused(Reason::Token), Paused, by_account, None);
    let not_running = ["waiting to be sent", "no instance is sending", "course-sync run"];
    assert_explained(history(Status::Pending), &without_leader(), Waiting, not_running, None);
}

fn without_key() -> CourseHistory {
    with(unconfirmed(), |course| course.carried_key = false)
}

#[test]
fn a_course_in_flight_or_unconfirmed_is_explained_in_each_state() {
    use DetailedStatus::{Held, InFlight, LookedUp, SentAgain};
    let running = context(look_up());
    assert_explained(
        history(Status::InFlight),
        &running,
        InFlight,
        ["claimed for a request", "within seconds", ""],
        None,
    );
    let not_running = ["claimed for a request", "no instance is sending", "course-sync run"];
    assert_explained(history(Status::InFlight), &without_leader(), InFlight, not_running, None);
    let by_its_key = ["looked up in HubSpot", "looked up in HubSpot", ""];
    assert_explained(unconfirmed(), &running, LookedUp, by_its_key, Some(20));
    let during_pause = ["looked up", "unavailable (because)", ""];
    assert_explained(unconfirmed(), &paused(Reason::Unavailable), LookedUp, during_pause, None);
    let held = ["held for an operator", "until an operator", "resolve A-1 --hubspot-id ID"];
    assert_explained(without_key(), &context(UnconfirmedPolicy::Hold), Held, held, None);
    assert_explained(without_key(), &running, Held, held, None);
    let resend = context(UnconfirmedPolicy::Resend { max_attempts: 2 });
    assert_explained(without_key(), &resend, SentAgain, ["it is not known", "duplicate", ""], Some(20));
    assert_explained(with(without_key(), |course| course.doubts = 2), &resend, Held, held, None);
    assert_explained(unconfirmed(), &context(UnconfirmedPolicy::Hold), LookedUp, by_its_key, Some(20));
    let several = with(unconfirmed(), |course| {
        course.error = Some(CourseError::new(Category::Conflict, "several records", at(-50)));
    });
    let ambiguous = ["several", "looked up", "archive all but one"];
    assert_explained(several, &running, LookedUp, ambiguous, Some(20));
}

#[test]
fn a_synced_or_failed_course_is_explained_in_each_state() {
    let running = context(look_up());
    for (by, words) in [
        (None, "record 77"),
        (Some(EventKind::Confirmed), "unknown outcome"),
        (Some(EventKind::Adopted), "already had its key"),
        (Some(EventKind::Resolved), "an operator decided"),
        (Some(EventKind::Retried), "record 77"),
    ] {
        let parts = [words, "the course is synced", ""];
        assert_explained(synced(by), &running, DetailedStatus::Synced, parts, None);
    }
    let mut sent_again = synced(Some(EventKind::Resolved));
    sent_again.events[0].at = at(-30);
    let explanation = explain(sent_again, &running);
    assert!(!explanation.summary.contains("an operator decided"), "{}", explanation.summary);
    assert!(explanation.happened.iter().any(|entry| entry.what.ends_with("the course was not created")));
    for category in Category::ALL {
        let parts = match category {
            Category::RecordGone | Category::RecordMerged => {
                ["HubSpot's words", "an operator decides about its record", "resolve A-1 --recreate"]
            }
            _ => ["HubSpot's words", "an operator retries it", "retry --key A-1"],
        };
        assert_explained(failed(category), &running, DetailedStatus::Failed, parts, None);
    }
}

#[test]
fn a_failed_course_is_explained_with_the_remedy_of_its_category() {
    let has_own_commands = |category| matches!(category, Category::RecordGone | Category::RecordMerged);
    for category in Category::ALL.into_iter().filter(|category| !has_own_commands(*category)) {
        let explanation = explain(failed(category), &context(look_up()));
        assert_eq!(explanation.you_can[0], remedy(Some(category), None, None));
    }
}

/// A change of a course whose record is 77.
fn changed(status: Status) -> CourseHistory {
    with(history(status), |course| {
        course.revision = 2;
        course.synced_revision = Some(1);
        course.changed_at = Some(at(-20));
        course.hubspot_id = Some("77".into());
    })
}

/// The record 77 of a course that is withdrawn.
fn withdrawn(status: Status) -> CourseHistory {
    with(changed(status), |course| course.archived = true)
}

#[test]
fn a_pending_change_is_explained_with_its_record() {
    use DetailedStatus::{ArchiveHeld, ReadBack, Waiting};
    let running = context(look_up());
    let update = ["record 77 will be updated to revision 2; HubSpot holds revision 1", "next requests", ""];
    assert_explained(changed(Status::Pending), &running, Waiting, update, Some(-60));
    let archive = ["record 77 will be archived", "next requests", ""];
    assert_explained(withdrawn(Status::Pending), &running, Waiting, archive, Some(-60));
    let no_record = with(withdrawn(Status::Pending), |course| course.hubspot_id = None);
    let no_request = ["withdrawn, and HubSpot has no record", "without a request", ""];
    assert_explained(no_record, &running, Waiting, no_request, Some(-60));
    let mut held = paused(Reason::ArchiveLimit);
    held.pauses[0].operation = Some("archive".into());
    let until_released = ["archives are held", "until an operator releases", "course-sync resume --archives"];
    assert_explained(withdrawn(Status::Pending), &held, ArchiveHeld, until_released, None);
    // A released archive, creates and updates go on.
    let released = with(withdrawn(Status::Pending), |course| course.archive_released = true);
    assert_explained(released, &held, Waiting, archive, Some(-60));
    assert_explained(changed(Status::Pending), &held, Waiting, update, Some(-60));
    let unknown = with(changed(Status::Unconfirmed), |course| {
        course.is_change_unknown = true;
        course.next_attempt_at = at(20);
        course.error = Some(CourseError::new(Category::UnknownOutcome, "no response", at(-5)));
    });
    let read_back = ["no response; HubSpot record 77 is read and compared", "its record is read", ""];
    assert_explained(unknown, &running, ReadBack, read_back, Some(20));
}

#[test]
fn a_withdrawn_course_or_a_lost_record_is_explained() {
    use DetailedStatus::{Archived, Failed};
    let running = context(look_up());
    let until_offered = "until the catalogue offers the course again";
    let in_recycle_bin = ["archived: HubSpot record 77 is in the recycle bin", until_offered, ""];
    assert_explained(withdrawn(Status::Archived), &running, Archived, in_recycle_bin, None);
    let no_record = with(withdrawn(Status::Archived), |course| course.hubspot_id = None);
    assert_explained(
        no_record,
        &running,
        Archived,
        ["withdrawn, and HubSpot has no record", until_offered, ""],
        None,
    );
    for category in [Category::RecordGone, Category::RecordMerged] {
        let lost = with(changed(Status::Failed), |course| {
            course.error = Some(CourseError::new(category, "the record is lost", at(-5)));
        });
        for command in ["`course-sync resolve A-1 --recreate`", "`course-sync resolve A-1 --hubspot-id ID`"] {
            let parts = ["the record is lost", "an operator decides about its record", command];
            assert_explained(lost.clone(), &running, Failed, parts, None);
        }
    }
}

#[test]
fn the_timeline_names_the_record_of_each_decision() {
    let resolved = |error: Option<Category>, record: Option<&str>, request: Option<BatchId>| {
        let mut history = changed(Status::Pending);
        history.events.push(CourseEvent {
            at: at(-5),
            event: EventKind::Resolved,
            request,
            error: error.map(|category| CourseError::new(category, "lost", at(-9))),
            hubspot_id: record.map(str::to_owned),
        });
        timeline_of(history).pop().unwrap_or_default()
    };
    for (decision, expected) in [
        (
            resolved(Some(Category::RecordGone), Some("7"), None),
            "a new record is created in place of HubSpot record 7",
        ),
        (resolved(Some(Category::RecordGone), None, None), "a new record is created"),
        (
            resolved(None, Some("8"), None),
            "the course is HubSpot record 8, which is updated to match the row",
        ),
        (resolved(None, None, Some(BATCH)), "the course was not created"),
    ] {
        assert_eq!(decision, format!("settled by an operator (`course-sync resolve`): {expected}"));
    }
    let mut history = withdrawn(Status::Archived);
    history.course.synced_at = Some(at(-40));
    history.course.synced_revision = Some(2);
    history.events.push(CourseEvent {
        at: at(-10),
        event: EventKind::Archived,
        request: None,
        error: None,
        hubspot_id: Some("77".into()),
    });
    history.requests = vec![request(-12, Purpose::Archive, 1, Some(204), Some("ok"))];
    assert_eq!(
        timeline_of(history),
        [
            "enqueued",
            "synced as HubSpot record 77",
            "withdrawn by the catalogue (revision 2)",
            "archive sent as a single course: HubSpot answered 204 (ok, correlation id c-1)",
            "HubSpot record 77 archived",
        ]
    );
}

/// The sentences of the timeline.
fn timeline_of(history: CourseHistory) -> Vec<String> {
    explain(history, &context(look_up())).happened.into_iter().map(|entry| entry.what).collect()
}

/// A request at this time. With an HTTP status: its response has the correlation id `c-1`.
fn request(
    seconds: i64,
    operation: Purpose,
    courses: u32,
    http_status: Option<u16>,
    outcome: Option<&str>,
) -> CourseRequest {
    CourseRequest {
        id: BATCH,
        operation,
        at: at(seconds),
        courses,
        answered_at: None,
        http_status,
        correlation_id: http_status.map(|_| "c-1".into()),
        outcome: outcome.map(str::to_owned),
    }
}

#[test]
fn the_timeline_is_in_order_and_contains_the_requests() {
    let mut history = synced(Some(EventKind::Confirmed));
    history.requests = vec![
        request(-40, Purpose::Create, 100, Some(207), Some("partial")),
        request(-20, Purpose::Read, 2, None, None),
    ];
    let error = CourseError::new(Category::UnknownOutcome, "the response does not contain it", at(-39));
    let event = CourseEvent {
        at: at(-39),
        event: EventKind::Unconfirmed,
        request: None,
        error: Some(error),
        hubspot_id: None,
    };
    history.events.insert(0, event);
    assert_eq!(
        timeline_of(history),
        [
            "enqueued",
            "sent with 99 other courses: HubSpot answered 207 (partial, correlation id c-1)",
            "outcome unknown: unknown_outcome: the response does not contain it",
            "looked up in HubSpot with 1 other course",
            "found in HubSpot, as it was sent",
            "synced as HubSpot record 77",
        ]
    );
}

#[test]
fn a_key_is_quoted_for_the_shell() {
    for (key, expected) in [
        ("AAS-201", "--key AAS-201`"),
        ("two words", "--key 'two words'`"),
        ("it's; rm -rf", r"--key 'it'\''s; rm -rf'`"),
    ] {
        let history = with(failed(Category::Refused), |course| course.key = key.into());
        let explanation = explain(history, &context(look_up()));
        assert!(explanation.you_can[1].contains(expected), "{:?}", explanation.you_can);
    }
}

#[test]
fn a_course_that_failed_before_sending_has_no_request_in_its_timeline() {
    let mut history = failed(Category::Validation);
    history.requests = vec![CourseRequest {
        id: BATCH,
        operation: Purpose::Create,
        at: at(-51),
        courses: 100,
        answered_at: None,
        http_status: Some(201),
        correlation_id: None,
        outcome: Some("ok".into()),
    }];
    let error = history.course.error.clone();
    history.events = vec![CourseEvent {
        at: at(-50),
        event: EventKind::Failed,
        request: Some(BATCH),
        error,
        hubspot_id: None,
    }];
    assert_eq!(timeline_of(history), ["enqueued", "failed: VALIDATION_ERROR: HubSpot's words"]);
}
