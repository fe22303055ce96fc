//! What the end of one request means, by what went before it: tables. Whole runs against an adversary are in
//! `tests/it/policy/attribution.rs`.

use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::course::{Category, HubSpotId};
use crate::policy::interpret::RequestOutcome;

const SECOND: Duration = Duration::from_secs(1);

fn reading(signal: Signal, verdicts: Vec<Verdict>) -> Interpretation {
    Interpretation { verdicts, signal, outcome: RequestOutcome::Ok, surplus: 0, may_be_size: false }
}

fn failed(reason: Reason) -> Interpretation {
    reading(Signal::Failed(Trouble { reason, retry_after: None, message: "why".into() }), Vec::new())
}

fn created() -> Interpretation {
    let hubspot_id = HubSpotId::parse("7").unwrap();
    reading(Signal::Passed, vec![Verdict::Created { hubspot_id, warning: None }])
}

fn refused(messages: &[&str]) -> Interpretation {
    let error = |message: &&str| CourseError::new(Category::Validation, message, Timestamp::UNIX_EPOCH);
    reading(Signal::Judged, messages.iter().map(|message| Verdict::Refused(error(message))).collect())
}

/// Requests that end one after the other, a second each.
struct Run {
    attribution: Attribution,
    now: Instant,
}

impl Run {
    fn new() -> Self {
        Self { attribution: Attribution::new(100), now: Instant::now() }
    }

    fn ends(&mut self, lane: Lane, reading: &Interpretation) -> Decision {
        let sent = Sent { courses: reading.verdicts.len().max(1), lane, began: self.now };
        self.now += SECOND;
        self.attribution.on_response(sent, reading, false, self.now)
    }
}

fn is_pause(decision: &Decision, reason: Reason) -> bool {
    matches!(&decision.effect, Effect::Pause(trouble) if trouble.reason == reason)
}

#[test]
fn the_first_failure_after_a_success_asks_for_a_probe_and_the_second_pauses() {
    for reason in [Reason::Token, Reason::Scopes, Reason::ObjectType, Reason::Unavailable] {
        let mut run = Run::new();
        assert_eq!(run.ends(Lane::Fresh, &created()).effect, Effect::Passed);
        let first = run.ends(Lane::Fresh, &failed(reason));
        assert_eq!((first.effect, first.passed), (Effect::Probe, Some(false)));
        assert!(is_pause(&run.ends(Lane::Fresh, &failed(reason)), reason));
        // Once others pass, it is a single failure again.
        assert_eq!(run.ends(Lane::Fresh, &created()).effect, Effect::Passed);
        assert_eq!(run.ends(Lane::Fresh, &failed(reason)).effect, Effect::Probe);
    }
}

#[test]
fn a_term_whose_first_request_fails_pauses_at_once() {
    let mut run = Run::new();
    assert!(is_pause(&run.ends(Lane::Fresh, &failed(Reason::Token)), Reason::Token));
    run.ends(Lane::Fresh, &created());
    run.attribution.begin_term();
    assert!(is_pause(&run.ends(Lane::Fresh, &failed(Reason::Token)), Reason::Token));
}

#[test]
fn what_had_begun_before_the_failure_was_known_means_nothing_more() {
    let mut run = Run::new();
    run.ends(Lane::Fresh, &created());
    let before = Sent { courses: 100, lane: Lane::Fresh, began: run.now };
    run.ends(Lane::Fresh, &failed(Reason::Unavailable));
    let late = run.attribution.on_response(before, &failed(Reason::Unavailable), false, run.now);
    assert_eq!((late.effect, late.passed), (Effect::None, Some(false)), "it is evidence all the same");
    run.attribution.on_response(before, &created(), false, run.now);
    assert!(
        is_pause(&run.ends(Lane::Fresh, &failed(Reason::Unavailable)), Reason::Unavailable),
        "what passed had begun before, too"
    );
}

#[test]
fn probes_that_fail_are_followed_by_other_courses() {
    let mut run = Run::new();
    let mut probes = Vec::new();
    for _ in 0..PROBES.len() {
        probes.push(run.attribution.probe());
        run.ends(Lane::Fresh, &failed(Reason::Unavailable));
    }
    assert_eq!(probes, PROBES);
    run.ends(Lane::Fresh, &failed(Reason::Unavailable));
    run.ends(Lane::Fresh, &created());
    assert_eq!(run.attribution.probe(), PROBES[1], "where one passed there may be more");
    let mut sizes = Vec::new();
    while run.attribution.is_cautious() {
        let courses = usize::from(run.attribution.limit());
        sizes.push(courses);
        let many = Interpretation { verdicts: vec![created().verdicts[0].clone(); courses], ..created() };
        run.ends(Lane::Fresh, &many);
    }
    assert_eq!(sizes, [2, 4, 8, 16, 32, 64], "twice as many with each one that passes");
    assert_eq!((run.attribution.probe(), run.attribution.limit()), (PROBES[0], 100));
}

#[test]
fn suspects_that_fail_while_others_pass_stop_nothing() {
    let mut run = Run::new();
    run.ends(Lane::Fresh, &created());
    let alone = run.ends(Lane::Suspects, &failed(Reason::Scopes));
    assert_eq!((alone.effect, alone.passed), (Effect::None, None));
    run.ends(Lane::Fresh, &failed(Reason::Scopes));
    assert!(
        is_pause(&run.ends(Lane::Suspects, &failed(Reason::Scopes)), Reason::Scopes),
        "nothing passed since"
    );
    run.ends(Lane::Fresh, &created());
    let sent = Sent { courses: 1, lane: Lane::Suspects, began: run.now };
    let while_paused = run.attribution.on_response(sent, &failed(Reason::Scopes), true, run.now);
    assert!(is_pause(&while_paused, Reason::Scopes), "while sending is paused they are the probes");
}

#[test]
fn what_no_course_can_cause_pauses_whatever_passed() {
    let quota = Trouble { reason: Reason::IntervalQuota, retry_after: None, message: "429".into() };
    let mut run = Run::new();
    run.ends(Lane::Fresh, &created());
    for lane in [Lane::Fresh, Lane::Suspects] {
        let decision = run.ends(lane, &reading(Signal::Pause(quota.clone()), Vec::new()));
        assert_eq!((decision.effect, decision.passed), (Effect::Pause(quota.clone()), None));
    }
}

#[test]
fn when_everything_is_refused_alike_a_sample_decides() {
    let limit = refused(&["limit of 1000 reached", "limit of 1000 reached"]);
    let mut run = Run::new();
    for _ in 0..3 {
        let decision = run.ends(Lane::Fresh, &limit);
        assert_eq!((decision.effect, decision.others), (Effect::Judged, Others::Pass));
        assert_eq!(run.attribution.limit(), FEW);
    }
    assert_eq!(run.attribution.probe(), (Lane::Fresh, Sample::Newest));
    // The sample passes: the refusals were the courses' own.
    let mut passes = Run { attribution: run.attribution.clone(), now: run.now };
    passes.ends(Lane::Fresh, &created());
    assert_eq!((passes.attribution.probe().1, passes.attribution.limit()), (Sample::Oldest, 100));
    for _ in 0..5 {
        assert_eq!(passes.ends(Lane::Fresh, &limit).effect, Effect::Judged);
        assert_eq!(passes.attribution.limit(), 100, "these words are known to be the courses' own");
    }
    passes.now += OWN_FOR;
    passes.ends(Lane::Fresh, &limit);
    assert_eq!(passes.attribution.limit(), FEW, "the account may have changed");
    // The sample is refused alike: it is the account, and no course fails for it any more.
    let decision = run.ends(Lane::Fresh, &limit);
    assert!(is_pause(&decision, Reason::Rejected) && decision.others == Others::RefusedAlike);
    assert!(run.ends(Lane::Fresh, &limit).others == Others::RefusedAlike);
    // Two that pass may be what still fits.
    run.ends(Lane::Fresh, &created());
    assert_eq!((run.attribution.probe().1, run.attribution.limit()), (Sample::Oldest, 100));
    assert!(
        run.ends(Lane::Fresh, &limit).others == Others::RefusedAlike,
        "the next refusal is one of that kind"
    );
    // Where not even one fits, what passes later shows that the account is well.
    assert!(run.ends(Lane::Fresh, &refused(&["limit of 1000 reached"])).others == Others::RefusedAlike);
    run.ends(Lane::Fresh, &created());
    assert_eq!(run.ends(Lane::Fresh, &limit).others, Others::Pass);
}

#[test]
fn refusals_in_different_words_are_the_courses_own() {
    let mut run = Run::new();
    for messages in [["no name"; 2], ["no date"; 2], ["no name"; 2], ["no date"; 2]] {
        assert_eq!(run.ends(Lane::Fresh, &refused(&messages)).effect, Effect::Judged);
    }
    run.ends(Lane::Fresh, &refused(&["no name", "no date"]));
    assert_eq!((run.attribution.probe().1, run.attribution.limit()), (Sample::Oldest, 100));
}

#[test]
fn a_pause_of_an_earlier_process_keeps_refusals_from_the_first_one_on() {
    let mut run = Run::new();
    run.attribution.adopt_rejection(run.now);
    let decision = run.ends(Lane::Fresh, &refused(&["limit reached"]));
    assert!(decision.others == Others::RefusedAlike && is_pause(&decision, Reason::Rejected));
    run.attribution.forget_rejection(run.now);
    for _ in 0..5 {
        assert_eq!(
            run.ends(Lane::Fresh, &refused(&["limit reached"])).effect,
            Effect::Judged,
            "as the operator decided"
        );
    }
    assert_eq!(run.ends(Lane::Fresh, &refused(&["limit reached"])).others, Others::Pass);
}

#[test]
fn words_are_the_same_without_what_is_the_courses_own() {
    let words = |message: &str| words(&CourseError::new(Category::Refused, message, Timestamp::UNIX_EPOCH));
    for (one, other, is_same) in [
        ("The limit of 1000 is reached", "The limit of 1001 is reached", true),
        ("\"Algebra\" is not allowed", "\"Botany\" is not allowed", true),
        ("Course A-17 is refused", "Course A-18 is refused", true),
        ("The limit is reached", "The name is missing", false),
    ] {
        assert_eq!(words(one) == words(other), is_same, "{one} / {other}");
    }
}

#[test]
fn a_group_of_a_hundred_is_down_to_one_in_two_steps() {
    let mut company = 100;
    let mut sizes = Vec::new();
    while company > 1 {
        company = usize::from(narrowed(company));
        sizes.push(company);
    }
    assert_eq!(sizes, [10, 1]);
}
