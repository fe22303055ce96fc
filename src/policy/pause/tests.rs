//! The pauses one by one; any sequence of them is in `tests/it/policy/pauses.rs`. Touches nothing.

use super::*;

fn pauses() -> Pauses {
    Pauses::new(RetryPolicy::default(), Duration::from_secs(10))
}

fn trouble(reason: Reason) -> Trouble {
    Trouble { reason, retry_after: None, message: "why".into() }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_outage_closes_the_gate_and_a_probe_opens_it_step_by_step() {
    let (mut pauses, start) = (pauses(), Instant::now());
    assert!(pauses.trouble(&trouble(Reason::Unavailable), start, start, 0.5));
    assert!(matches!(pauses.gate(start), Gate::Closed(Some(until)) if until > start));
    let later = start + 60 * SECOND;
    let mut widths = Vec::new();
    for _ in 0..4 {
        let Gate::Open { courses, concurrent } = pauses.gate(later) else { panic!("closed") };
        widths.push((courses, concurrent));
        pauses.success(later, true);
    }
    assert_eq!(widths, [(1, false), (10, false), (100, false), (100, true)]);
}

#[test]
fn what_was_under_way_neither_lengthens_nor_ends_a_pause() {
    let (mut pauses, start) = (pauses(), Instant::now());
    pauses.trouble(&trouble(Reason::Unavailable), start, start + SECOND, 0.0);
    let gate = pauses.gate(start + SECOND);
    assert!(!pauses.trouble(&trouble(Reason::Unavailable), start, start + SECOND, 0.9));
    assert!(pauses.success(start, true).is_empty());
    assert_eq!(pauses.gate(start + SECOND), gate);
}

#[test]
fn waits_grow_and_are_bounded() {
    let (mut pauses, mut now) = (pauses(), Instant::now());
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        pauses.trouble(&trouble(Reason::Unavailable), now, now, 0.999);
        let Gate::Closed(Some(until)) = pauses.gate(now) else { panic!("open") };
        assert!(until - now >= longest.min(UNAVAILABLE_MAX / 2), "a wait shrank");
        longest = until - now;
        now = until;
    }
    assert!(longest <= UNAVAILABLE_MAX);
}

#[test]
fn a_mend_is_tried_at_once_and_by_a_single_course() {
    let (mut pauses, start) = (pauses(), Instant::now());
    pauses.trouble(&trouble(Reason::Token), start, start, 0.9);
    pauses.try_again(Reason::Scopes, start);
    assert!(matches!(pauses.gate(start), Gate::Closed(_)));
    pauses.try_again(Reason::Token, start);
    assert_eq!(pauses.gate(start), Gate::Open { courses: 1, concurrent: false });
    assert_eq!(pauses.success(start, true), [Reason::Token]);
}

#[test]
fn hubspots_own_word_is_kept_within_reason() {
    let start = Instant::now();
    for (asked, at_least, at_most) in [(30, 30, 31), (1_000_000_000, 3_600, 3_601), (0, 10, 11)] {
        let mut pauses = pauses();
        let asked = Some(Duration::from_secs(asked));
        pauses.trouble(&Trouble { retry_after: asked, ..trouble(Reason::IntervalQuota) }, start, start, 0.9);
        let Gate::Closed(Some(until)) = pauses.gate(start) else { panic!("open") };
        let wait = (until - start).as_secs();
        assert!((at_least..=at_most).contains(&wait), "{asked:?} gave {wait} s");
    }
}

#[test]
fn a_quota_pause_is_not_followed_by_a_probe() {
    let (mut pauses, start) = (pauses(), Instant::now());
    pauses.trouble(&trouble(Reason::IntervalQuota), start, start, 0.0);
    assert_eq!(pauses.gate(start + 11 * SECOND), Gate::Open { courses: 100, concurrent: true });
}

#[test]
fn a_used_up_day_is_tried_now_and_then_until_it_ends() {
    let (mut pauses, start) = (pauses(), Instant::now());
    let minutes = |minutes| Duration::from_mins(minutes);
    let next = |pauses: &Pauses, now| match pauses.gate(now) {
        Gate::Closed(Some(until)) => until - now,
        other => panic!("{other:?}"),
    };
    pauses.trouble(&trouble(Reason::DailyQuota), start, start, 0.0);
    assert_eq!(next(&pauses, start), minutes(15), "nobody knows its end");
    pauses.day_ends(Some(start + minutes(20)));
    assert_eq!(next(&pauses, start), minutes(15));
    let mut now = start + minutes(15);
    let said = Trouble { retry_after: Some(SECOND), ..trouble(Reason::DailyQuota) };
    assert!(!pauses.trouble(&said, now, now, 0.9), "a try that fails is no news");
    assert_eq!(next(&pauses, now), minutes(5), "it ends before the next try");
    now = start + minutes(20);
    assert_eq!(pauses.gate(now), Gate::Open { courses: 1, concurrent: false });
    // HubSpot's midnight is a little later, and ours is now told to be tomorrow's.
    pauses.day_ends(Some(now + minutes(24 * 60)));
    pauses.trouble(&trouble(Reason::DailyQuota), now, now, 0.0);
    assert_eq!(next(&pauses, now), minutes(15), "no day is lost by a clock that differs");
    now += minutes(15);
    assert_eq!(pauses.success(now, true), [Reason::DailyQuota]);
}

#[test]
fn a_restart_goes_on_with_the_used_up_day_and_tries_nothing_at_once() {
    let (mut pauses, start) = (pauses(), Instant::now());
    let end = Some(start + 3600 * SECOND);
    assert!(pauses.adopt(Reason::DailyQuota, "why", end, start));
    assert!(!pauses.adopt(Reason::DailyQuota, "why", end, start));
    assert_eq!(pauses.gate(start), Gate::Closed(Some(start + DAILY_INTERVAL)));
    assert!(pauses.lift(Reason::DailyQuota));
    assert_eq!(pauses.gate(start), Gate::Open { courses: 1, concurrent: false });
    assert!(!pauses.lift(Reason::DailyQuota));
}

#[test]
fn the_reserve_of_the_day_is_left_to_others() {
    let at = |daily, left| {
        let quota = QuotaHeaders { daily, daily_remaining: left, ..QuotaHeaders::default() };
        reserve_reached(&quota, |daily| daily / 20).map(|trouble| trouble.reason)
    };
    assert_eq!(at(Some(1000), Some(51)), None);
    assert_eq!(at(Some(1000), Some(50)), Some(Reason::DailyQuota));
    assert_eq!(at(None, None), None, "OAuth's answers do not tell");
    assert_eq!(at(Some(10), Some(0)), None, "without a reserve the day ends with HubSpot's own word");
}

#[test]
fn only_a_person_ends_a_persons_pause() {
    let (mut pauses, start) = (pauses(), Instant::now());
    assert!(pauses.operator(Some("spring cleaning"), start));
    assert!(!pauses.operator(Some("spring cleaning"), start));
    assert!(pauses.success(start + SECOND, true).is_empty());
    assert_eq!(pauses.gate(start + 3600 * SECOND), Gate::Closed(None));
    assert!(pauses.operator(None, start));
    assert_eq!(pauses.gate(start), Gate::Open { courses: 100, concurrent: true });
}

#[test]
fn an_outage_with_nothing_to_try_ends_by_itself_and_what_comes_next_is_a_probe() {
    let start = Instant::now();
    for reason in Reason::ALL.into_iter().filter(|reason| *reason != Reason::Schema) {
        let mut pauses = pauses();
        let trouble = Trouble { retry_after: Some(SECOND), ..trouble(reason) };
        pauses.trouble(&trouble, start, start, 0.0);
        let Some(until) = pauses.active()[0].1.until else { panic!("{reason:?} has no end") };
        let is_of_the_world = matches!(reason, Reason::Unavailable | Reason::IntervalQuota);
        assert_eq!(pauses.expire(until + OVERDUE / 2), [], "{reason:?}");
        let expired = pauses.expire(until + OVERDUE);
        assert_eq!(expired, if is_of_the_world { vec![reason] } else { vec![] }, "{reason:?}");
        let is_probed = matches!(pauses.gate(until), Gate::Open { courses: 1, concurrent: false });
        assert_eq!(is_probed, reason.is_followed_by_a_probe(), "{reason:?}");
    }
}

#[test]
fn a_property_that_cannot_be_used_is_not_tried_by_a_create() {
    let (mut pauses, start) = (pauses(), Instant::now());
    pauses.trouble(&trouble(Reason::Schema), start, start, 0.0);
    assert_eq!(pauses.gate(start + 3600 * SECOND), Gate::Closed(None));
    assert!(pauses.success(start + 3600 * SECOND, true).is_empty());
    assert!(pauses.lift(Reason::Schema));
    assert_eq!(pauses.gate(start), Gate::Open { courses: 1, concurrent: false });
}

#[test]
fn a_refusal_of_every_course_ends_when_one_is_created_and_not_when_one_is_judged() {
    let (mut pauses, start) = (pauses(), Instant::now());
    pauses.trouble(&trouble(Reason::Rejected), start, start, 0.0);
    let later = start + 60 * SECOND;
    assert!(pauses.success(later, false).is_empty());
    assert_eq!(pauses.success(later, true), [Reason::Rejected]);
}

#[test]
fn a_term_begins_with_a_probe() {
    let (mut pauses, start) = (pauses(), Instant::now());
    pauses.begin_term();
    assert_eq!(pauses.gate(start), Gate::Open { courses: 1, concurrent: false });
}

#[test]
fn two_gates_allow_what_both_allow() {
    let now = Instant::now();
    let (probe, wide) =
        (Gate::Open { courses: 1, concurrent: false }, Gate::Open { courses: 100, concurrent: true });
    let (soon, late, never) = (Gate::Closed(Some(now)), Gate::Closed(Some(now + SECOND)), Gate::Closed(None));
    for (one, other, both) in
        [(wide, probe, probe), (wide, soon, soon), (late, soon, late), (never, late, never)]
    {
        assert_eq!(one.and(other), both);
        assert_eq!(other.and(one), both);
    }
}
