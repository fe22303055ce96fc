//! Every state of a course, and what is said of it.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::life::{Course, Event, Purpose, Request};
use super::*;
use crate::course::CourseError;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn at(seconds: i64) -> Timestamp {
    NOW + SignedDuration::from_secs(seconds)
}

fn life(status: Status) -> Life {
    let course = Course {
        key: "A-1".into(),
        name: None,
        status,
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
    Life { course, events: Vec::new(), requests: Vec::new(), is_cut: false }
}

fn failed(category: Category) -> Life {
    let mut life = life(Status::Failed);
    life.course.error = Some(CourseError::new(category, "HubSpot's words", at(-50)));
    life
}

fn doubted() -> Life {
    let mut life = life(Status::Unconfirmed);
    let error = CourseError::new(Category::UnknownOutcome, "it is not known: no answer", at(-50));
    life.course.error = Some(error);
    life.course.next_attempt_at = at(20);
    life
}

fn synced(how: Option<Happening>) -> Life {
    let mut life = life(Status::Synced);
    life.course.hubspot_id = Some("77".into());
    life.course.synced_at = Some(at(-10));
    life.events.extend(how.map(|event| Event { at: at(-10), event, request: None, error: None }));
    life
}

fn looked_up() -> Doubts {
    Doubts::LookedUp { by: "course_key".into() }
}

fn around(doubts: Doubts) -> Situation {
    Situation { now: NOW, is_led: true, pauses: Vec::new(), doubts }
}

fn paused(reason: &str) -> Situation {
    let pauses = vec![Standstill { reason: reason.into(), message: "because".into() }];
    Situation { pauses, ..around(looked_up()) }
}

fn with(mut life: Life, change: impl FnOnce(&mut Course)) -> Life {
    change(&mut life.course);
    life
}

/// Checks the state, parts of the summary, of what is next and of what to do, and the seconds until then.
fn told(life: Life, around: &Situation, state: State, parts: [&str; 3], seconds: Option<i64>) {
    let told = explain(life, around);
    let [summary, next, you_can] = parts;
    assert_eq!(told.state, state, "{told:?}");
    assert!(told.summary.contains(summary), "{told:?}");
    assert!(told.next.contains(next), "{told:?}");
    assert_eq!(told.next_at, seconds.map(at), "{told:?}");
    let advice = told.you_can.join("\n");
    assert!(advice.contains(you_can) && advice.is_empty() == you_can.is_empty(), "{told:?}");
}

#[test]
fn pending_in_each_way() {
    let pending = || life(Status::Pending);
    let fresh = with(pending(), |it| it.attempts = 0);
    let backing_off = with(pending(), |it| it.next_attempt_at = at(30));
    let isolated = with(pending(), |it| it.batch_limit = 7);
    let led = around(looked_up());
    let nobody = Situation { is_led: false, ..led.clone() };
    told(fresh, &led, State::Waiting, ["not sent yet", "next requests", ""], Some(-60));
    told(backing_off, &led, State::BackingOff, ["sent once", "sent again", ""], Some(30));
    told(isolated, &led, State::Isolating, ["a batch of 7 at most", "of 7 at most", ""], Some(-60));
    let by_a_person = ["nothing is sent", "operator (because)", "course-sync resume"];
    told(pending(), &paused("operator"), State::Paused, by_a_person, None);
    let by_the_account = ["nothing is sent", "token (because)", "course-sync status"];
    told(pending(), &paused("token"), State::Paused, by_the_account, None);
    told(pending(), &nobody, State::Waiting, ["waits for its turn", "nobody sends", "course-sync run"], None);
}

#[test]
fn in_flight_and_in_doubt_in_each_way() {
    use Doubts::Held;
    let flying = || life(Status::InFlight);
    let nobody = Situation { is_led: false, ..around(looked_up()) };
    told(flying(), &around(looked_up()), State::InFlight, ["handed to HubSpot", "within seconds", ""], None);
    told(flying(), &nobody, State::InFlight, ["handed to HubSpot", "nobody sends", "course-sync run"], None);
    let by_its_key = ["looked up in HubSpot", "HubSpot is asked", ""];
    told(doubted(), &around(looked_up()), State::LookedUp, by_its_key, Some(20));
    told(
        doubted(),
        &paused("unavailable"),
        State::LookedUp,
        ["looked up", "unavailable (because)", ""],
        None,
    );
    let held = ["held for a person", "until a person", "resolve A-1 --hubspot-id ID"];
    let doubted_blindly = || with(doubted(), |it| it.carried_key = false);
    told(doubted_blindly(), &around(Held), State::Held, held, None);
    told(doubted_blindly(), &around(looked_up()), State::Held, held, None);
    let again = around(Doubts::SentAgain { up_to: 2 });
    told(doubted_blindly(), &again, State::SentAgain, ["it is not known", "there twice", ""], Some(20));
    told(with(doubted_blindly(), |it| it.doubts = 2), &again, State::Held, held, None);
    told(doubted(), &around(Held), State::LookedUp, by_its_key, Some(20));
    let several = with(doubted(), |it| {
        it.error = Some(CourseError::new(Category::Conflict, "several records", at(-50)));
    });
    told(
        several,
        &around(looked_up()),
        State::LookedUp,
        ["several", "asked", "archive all but one"],
        Some(20),
    );
}

#[test]
fn synced_and_failed_in_each_way() {
    let led = around(looked_up());
    for (how, words) in [
        (None, "record 77"),
        (Some(Happening::Confirmed), "in doubt"),
        (Some(Happening::Adopted), "carried its key"),
        (Some(Happening::Resolved), "a person said"),
        (Some(Happening::Retried), "record 77"),
    ] {
        told(synced(how), &led, State::Synced, [words, "done", ""], None);
    }
    let mut sent_again = synced(Some(Happening::Resolved));
    sent_again.events[0].at = at(-30);
    let told_of_it = explain(sent_again, &led);
    assert!(!told_of_it.summary.contains("a person said"), "{}", told_of_it.summary);
    assert!(told_of_it.happened.iter().any(|step| step.what.ends_with("it was not created")));
    for category in Category::ALL {
        let parts = ["HubSpot's words", "until a person", "retry --key A-1"];
        told(failed(category), &led, State::Failed, parts, None);
    }
}

#[test]
fn a_failed_course_is_told_the_mend_of_its_category() {
    for category in Category::ALL {
        let told = explain(failed(category), &around(looked_up()));
        assert_eq!(told.you_can[0], mend(Some(category), None, None));
    }
}

#[test]
fn what_happened_is_told_in_order_with_the_requests_that_carried_it() {
    let mut life = synced(Some(Happening::Confirmed));
    let request = |seconds, operation, courses, http_status, outcome: Option<&str>| Request {
        id: Uuid::nil(),
        operation,
        at: at(seconds),
        courses,
        answered_at: None,
        http_status,
        correlation_id: http_status.map(|_| "c-1".into()),
        outcome: outcome.map(str::to_owned),
    };
    life.requests = vec![
        request(-40, Purpose::Create, 100, Some(207), Some("partial")),
        request(-20, Purpose::Read, 2, None, None),
    ];
    let error = CourseError::new(Category::UnknownOutcome, "its answer leaves it out", at(-39));
    let doubt = Event { at: at(-39), event: Happening::Unconfirmed, request: None, error: Some(error) };
    life.events.insert(0, doubt);
    let told: Vec<_> =
        explain(life, &around(looked_up())).happened.into_iter().map(|step| step.what).collect();
    assert_eq!(
        told,
        [
            "enqueued",
            "sent with 99 others: HubSpot answered 207 (partial, correlation id c-1)",
            "in doubt: unknown_outcome: its answer leaves it out",
            "looked up in HubSpot with 1 other",
            "found in HubSpot: it had been created",
            "synced as HubSpot's record 77",
        ]
    );
}

#[test]
fn a_command_holds_the_key_as_a_shell_takes_it() {
    for (key, expected) in [
        ("AAS-201", "--key AAS-201`"),
        ("two words", "--key 'two words'`"),
        ("it's; rm -rf", r"--key 'it'\''s; rm -rf'`"),
    ] {
        let told = explain(with(failed(Category::Refused), |it| it.key = key.into()), &around(looked_up()));
        assert!(told.you_can[1].contains(expected), "{:?}", told.you_can);
    }
}

#[test]
fn what_failed_unasked_was_not_sent() {
    let mut life = failed(Category::Validation);
    life.requests = vec![Request {
        id: Uuid::nil(),
        operation: Purpose::Create,
        at: at(-51),
        courses: 100,
        answered_at: None,
        http_status: Some(201),
        correlation_id: None,
        outcome: Some("ok".into()),
    }];
    let error = life.course.error.clone();
    life.events = vec![Event { at: at(-50), event: Happening::Failed, request: Some(Uuid::nil()), error }];
    let told: Vec<_> =
        explain(life, &around(looked_up())).happened.into_iter().map(|step| step.what).collect();
    assert_eq!(told, ["enqueued", "failed: VALIDATION_ERROR: HubSpot's words"]);
}
