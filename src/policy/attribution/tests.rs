//! Single requests in sequence. Complete runs with poisoned courses are in `tests/it/policy/attribution.rs`.

use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::course::{Category, HubSpotId};
use crate::hubspot::api::outcome::RequestOutcome;

const SECOND: Duration = Duration::from_secs(1);

fn interpretation(signal: Signal, verdicts: Vec<Verdict>) -> Interpretation {
    Interpretation { verdicts, signal, outcome: RequestOutcome::Ok, surplus: 0, may_be_size: false }
}

fn failed(reason: Reason) -> Interpretation {
    interpretation(Signal::Failed(Incident { reason, retry_after: None, message: "why".into() }), Vec::new())
}

fn created() -> Interpretation {
    let hubspot_id = HubSpotId::parse("7").unwrap();
    interpretation(Signal::Passed, vec![Verdict::Applied { hubspot_id, warning: None }])
}

fn refused(messages: &[&str]) -> Interpretation {
    let errors =
        messages.iter().map(|message| CourseError::new(Category::Validation, message, Timestamp::UNIX_EPOCH));
    interpretation(Signal::Judged, errors.map(Verdict::Refused).collect())
}

/// Requests that end one after the other, one per second.
struct RequestSequence {
    attribution: Attribution,
    now: Instant,
}

impl RequestSequence {
    fn new() -> Self {
        Self { attribution: Attribution::new(100), now: Instant::now() }
    }

    fn end_request(&mut self, lane: Lane, interpretation: &Interpretation) -> Decision {
        let sent = SentRequest { courses: interpretation.verdicts.len().max(1), lane, began: self.now };
        self.now += SECOND;
        self.attribution.on_response(sent, interpretation, false, self.now)
    }
}

fn is_pause(decision: &Decision, reason: Reason) -> bool {
    matches!(&decision.effect, GateEffect::Pause(incident) if incident.reason == reason)
}

#[test]
fn the_first_failure_requires_a_probe_and_the_second_pauses() {
    for reason in [Reason::Token, Reason::Scopes, Reason::ObjectType, Reason::Unavailable] {
        let mut run = RequestSequence::new();
        assert_eq!(run.end_request(Lane::Fresh, &created()).effect, GateEffect::Passed);
        let first = run.end_request(Lane::Fresh, &failed(reason));
        assert_eq!((first.effect, first.passed), (GateEffect::Probe, Some(false)));
        assert!(is_pause(&run.end_request(Lane::Fresh, &failed(reason)), reason));
        // After a success, the next failure is a first one again.
        assert_eq!(run.end_request(Lane::Fresh, &created()).effect, GateEffect::Passed);
        assert_eq!(run.end_request(Lane::Fresh, &failed(reason)).effect, GateEffect::Probe);
    }
}

#[test]
fn a_term_whose_first_request_fails_pauses_at_once() {
    let mut run = RequestSequence::new();
    assert!(is_pause(&run.end_request(Lane::Fresh, &failed(Reason::Token)), Reason::Token));
    run.end_request(Lane::Fresh, &created());
    run.attribution.begin_term();
    assert!(is_pause(&run.end_request(Lane::Fresh, &failed(Reason::Token)), Reason::Token));
}

#[test]
fn requests_sent_before_a_failure_was_known_change_nothing() {
    let mut run = RequestSequence::new();
    run.end_request(Lane::Fresh, &created());
    let before = SentRequest { courses: 100, lane: Lane::Fresh, began: run.now };
    run.end_request(Lane::Fresh, &failed(Reason::Unavailable));
    let late = run.attribution.on_response(before, &failed(Reason::Unavailable), false, run.now);
    assert_eq!(
        (late.effect, late.passed),
        (GateEffect::None, Some(false)),
        "it is still evidence for the journal"
    );
    run.attribution.on_response(before, &created(), false, run.now);
    assert!(
        is_pause(&run.end_request(Lane::Fresh, &failed(Reason::Unavailable)), Reason::Unavailable),
        "the request that passed was sent before the failure as well"
    );
}

#[test]
fn a_failed_probe_is_followed_by_one_with_other_courses() {
    let mut run = RequestSequence::new();
    let mut probes = Vec::new();
    for _ in 0..PROBES.len() {
        probes.push(run.attribution.next_probe());
        run.end_request(Lane::Fresh, &failed(Reason::Unavailable));
    }
    assert_eq!(probes, PROBES);
    run.end_request(Lane::Fresh, &failed(Reason::Unavailable));
    run.end_request(Lane::Fresh, &created());
    assert_eq!(run.attribution.next_probe(), PROBES[1], "more courses may pass at the end where one passed");
    let mut sizes = Vec::new();
    while run.attribution.is_cautious() {
        let courses = usize::from(run.attribution.limit());
        sizes.push(courses);
        let many = Interpretation { verdicts: vec![created().verdicts[0].clone(); courses], ..created() };
        run.end_request(Lane::Fresh, &many);
    }
    assert_eq!(sizes, [2, 4, 8, 16, 32, 64], "doubled with each request that passes");
    assert_eq!((run.attribution.next_probe(), run.attribution.limit()), (PROBES[0], 100));
}

#[test]
fn suspects_that_fail_while_others_pass_stop_nothing() {
    let mut run = RequestSequence::new();
    run.end_request(Lane::Fresh, &created());
    let first = run.end_request(Lane::Suspects, &failed(Reason::Scopes));
    assert_eq!((first.effect, first.passed), (GateEffect::None, None));
    run.end_request(Lane::Fresh, &failed(Reason::Scopes));
    assert!(
        is_pause(&run.end_request(Lane::Suspects, &failed(Reason::Scopes)), Reason::Scopes),
        "nothing passed since"
    );
    run.end_request(Lane::Fresh, &created());
    let sent = SentRequest { courses: 1, lane: Lane::Suspects, began: run.now };
    let while_paused = run.attribution.on_response(sent, &failed(Reason::Scopes), true, run.now);
    assert!(is_pause(&while_paused, Reason::Scopes), "while sending is paused, suspects are used as probes");
}

#[test]
fn a_reason_that_no_course_can_cause_pauses_at_once() {
    let quota = Incident { reason: Reason::IntervalQuota, retry_after: None, message: "429".into() };
    let mut run = RequestSequence::new();
    run.end_request(Lane::Fresh, &created());
    for lane in [Lane::Fresh, Lane::Suspects] {
        let decision = run.end_request(lane, &interpretation(Signal::Pause(quota.clone()), Vec::new()));
        assert_eq!((decision.effect, decision.passed), (GateEffect::Pause(quota.clone()), None));
    }
}

#[test]
fn a_sample_decides_whether_courses_or_the_account_cause_equal_refusals() {
    let limit = refused(&["limit of 1000 reached", "limit of 1000 reached"]);
    let mut run = RequestSequence::new();
    for _ in 0..3 {
        let decision = run.end_request(Lane::Fresh, &limit);
        assert_eq!((decision.effect, decision.others), (GateEffect::Judged, OtherRequests::Pass));
        assert_eq!(run.attribution.limit(), CAUTIOUS_BATCH_SIZE);
    }
    assert_eq!(run.attribution.next_probe(), (Lane::Fresh, ClaimOrder::Newest));
    // The sample passes: the courses themselves cause the error.
    let mut passes = RequestSequence { attribution: run.attribution.clone(), now: run.now };
    passes.end_request(Lane::Fresh, &created());
    assert_eq!((passes.attribution.next_probe().1, passes.attribution.limit()), (ClaimOrder::Oldest, 100));
    for _ in 0..5 {
        assert_eq!(passes.end_request(Lane::Fresh, &limit).effect, GateEffect::Judged);
        assert_eq!(passes.attribution.limit(), 100, "the courses themselves cause this error");
    }
    passes.now += COURSE_ERROR_MAX_AGE;
    passes.end_request(Lane::Fresh, &limit);
    assert_eq!(passes.attribution.limit(), CAUTIOUS_BATCH_SIZE, "the account may have changed");
    // The sample is refused with the same error: the account causes it, and no further course fails.
    let decision = run.end_request(Lane::Fresh, &limit);
    assert!(is_pause(&decision, Reason::Rejected) && decision.others == OtherRequests::RefusedEqually);
    assert!(run.end_request(Lane::Fresh, &limit).others == OtherRequests::RefusedEqually);
    // A course that passes may be the last one that fits.
    run.end_request(Lane::Fresh, &created());
    assert_eq!((run.attribution.next_probe().1, run.attribution.limit()), (ClaimOrder::Oldest, 100));
    assert!(
        run.end_request(Lane::Fresh, &limit).others == OtherRequests::RefusedEqually,
        "the next refusal with this error counts as equal at once"
    );
    // After a single course was refused, a course that passes later shows that the account recovered.
    assert!(
        run.end_request(Lane::Fresh, &refused(&["limit of 1000 reached"])).others
            == OtherRequests::RefusedEqually
    );
    run.end_request(Lane::Fresh, &created());
    assert_eq!(run.end_request(Lane::Fresh, &limit).others, OtherRequests::Pass);
}

#[test]
fn refusals_with_different_errors_are_attributed_to_the_courses() {
    let mut run = RequestSequence::new();
    for messages in [["no name"; 2], ["no date"; 2], ["no name"; 2], ["no date"; 2]] {
        assert_eq!(run.end_request(Lane::Fresh, &refused(&messages)).effect, GateEffect::Judged);
    }
    run.end_request(Lane::Fresh, &refused(&["no name", "no date"]));
    assert_eq!((run.attribution.next_probe().1, run.attribution.limit()), (ClaimOrder::Oldest, 100));
}

#[test]
fn refusals_are_not_final_while_a_saved_rejection_is_in_effect() {
    let mut run = RequestSequence::new();
    run.attribution.adopt_rejection(run.now);
    let decision = run.end_request(Lane::Fresh, &refused(&["limit reached"]));
    assert!(decision.others == OtherRequests::RefusedEqually && is_pause(&decision, Reason::Rejected));
    run.attribution.end_rejection(run.now);
    for _ in 0..5 {
        assert_eq!(
            run.end_request(Lane::Fresh, &refused(&["limit reached"])).effect,
            GateEffect::Judged,
            "as the operator decided"
        );
    }
    assert_eq!(run.end_request(Lane::Fresh, &refused(&["limit reached"])).others, OtherRequests::Pass);
}

#[test]
fn refusals_that_differ_in_numbers_and_quotations_are_equal() {
    for (one, other, is_same) in [
        ("The limit of 1000 is reached", "The limit of 1001 is reached", true),
        ("\"Algebra\" is not allowed", "\"Botany\" is not allowed", true),
        ("Course A-17 is refused", "Course A-18 is refused", true),
        ("The limit is reached", "The name is missing", false),
    ] {
        let [one_error, other_error] =
            [one, other].map(|message| CourseError::new(Category::Refused, message, Timestamp::UNIX_EPOCH));
        assert_eq!(
            comparable_error(&one_error) == comparable_error(&other_error),
            is_same,
            "{one} / {other}"
        );
    }
}

#[test]
fn a_group_of_a_hundred_is_down_to_one_in_two_steps() {
    let mut batch_size = 100;
    let mut sizes = Vec::new();
    while batch_size > 1 {
        batch_size = usize::from(isolation_group_size(batch_size));
        sizes.push(batch_size);
    }
    assert_eq!(sizes, [10, 1]);
}
