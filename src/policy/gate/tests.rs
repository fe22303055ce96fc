//! Single pauses. Random sequences of them are in `tests/it/policy/pauses.rs`.

use super::*;

fn pauses() -> Pauses {
    Pauses::new(RetryPolicy::default(), Duration::from_secs(10))
}

fn incident(reason: Reason) -> Incident {
    Incident { reason, retry_after: None, message: "why".into() }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_outage_closes_the_gate_and_a_probe_opens_it_step_by_step() {
    let (mut pauses, start) = (pauses(), Instant::now());
    assert!(pauses.record_incident(&incident(Reason::Unavailable), start, start, 0.5));
    assert!(matches!(pauses.gate(start), Gate::Closed(Some(until)) if until > start));
    let later = start + 60 * SECOND;
    let mut widths = Vec::new();
    for _ in 0..4 {
        let Gate::Open { courses, concurrent } = pauses.gate(later) else { panic!("closed") };
        widths.push((courses, concurrent));
        pauses.record_success(later, true);
    }
    assert_eq!(widths, [(1, false), (10, false), (100, false), (100, true)]);
}

#[test]
fn a_request_in_flight_neither_extends_nor_ends_a_pause() {
    let (mut pauses, start) = (pauses(), Instant::now());
    pauses.record_incident(&incident(Reason::Unavailable), start, start + SECOND, 0.0);
    let gate = pauses.gate(start + SECOND);
    assert!(!pauses.record_incident(&incident(Reason::Unavailable), start, start + SECOND, 0.9));
    assert!(pauses.record_success(start, true).is_empty());
    assert_eq!(pauses.gate(start + SECOND), gate);
}

#[test]
fn waits_in_an_outage_grow_and_are_bounded() {
    let (mut pauses, mut now) = (pauses(), Instant::now());
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        pauses.record_incident(&incident(Reason::Unavailable), now, now, 0.999);
        let Gate::Closed(Some(until)) = pauses.gate(now) else { panic!("open") };
        assert!(until - now >= longest.min(UNAVAILABLE_MAX / 2), "a wait shrank");
        longest = until - now;
        now = until;
    }
    assert!(longest <= UNAVAILABLE_MAX);
}

#[test]
fn after_a_fix_a_probe_is_due_at_once() {
    let (mut pauses, start) = (pauses(), Instant::now());
    pauses.record_incident(&incident(Reason::Token), start, start, 0.9);
    pauses.retry_now(Reason::Scopes, start);
    assert!(matches!(pauses.gate(start), Gate::Closed(_)));
    pauses.retry_now(Reason::Token, start);
    assert_eq!(pauses.gate(start), Gate::Open { courses: 1, concurrent: false });
    assert_eq!(pauses.record_success(start, true), [Reason::Token]);
}

#[test]
fn retry_after_is_respected_within_limits() {
    let start = Instant::now();
    for (requested, at_least, at_most) in [(30, 30, 31), (1_000_000_000, 3_600, 3_601), (0, 10, 11)] {
        let mut pauses = pauses();
        let retry_after = Some(Duration::from_secs(requested));
        pauses.record_incident(
            &Incident { retry_after, ..incident(Reason::IntervalQuota) },
            start,
            start,
            0.9,
        );
        let Gate::Closed(Some(until)) = pauses.gate(start) else { panic!("open") };
        let wait = (until - start).as_secs();
        assert!((at_least..=at_most).contains(&wait), "{requested} gave {wait} s");
    }
}

#[test]
fn no_probe_follows_a_pause_for_the_interval_quota() {
    let (mut pauses, start) = (pauses(), Instant::now());
    pauses.record_incident(&incident(Reason::IntervalQuota), start, start, 0.0);
    assert_eq!(pauses.gate(start + 11 * SECOND), Gate::Open { courses: 100, concurrent: true });
}

fn time_until_open(pauses: &Pauses, now: Instant) -> Duration {
    match pauses.gate(now) {
        Gate::Closed(Some(until)) => until - now,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_used_up_daily_quota_is_probed_every_15_minutes() {
    let (mut pauses, start) = (pauses(), Instant::now());
    pauses.record_incident(&incident(Reason::DailyQuota), start, start, 0.0);
    assert_eq!(time_until_open(&pauses, start), Duration::from_mins(15), "its end is unknown");
    pauses.set_day_end(Some(start + Duration::from_mins(20)));
    assert_eq!(time_until_open(&pauses, start), Duration::from_mins(15));
    let mut now = start + Duration::from_mins(15);
    let refused = Incident { retry_after: Some(SECOND), ..incident(Reason::DailyQuota) };
    assert!(!pauses.record_incident(&refused, now, now, 0.9), "a failed probe is not reported again");
    assert_eq!(time_until_open(&pauses, now), Duration::from_mins(5), "the day ends before the next probe");
    now = start + Duration::from_mins(20);
    assert_eq!(pauses.gate(now), Gate::Open { courses: 1, concurrent: false });
    // HubSpot's midnight is slightly later than ours, so the known end is that of the next day.
    pauses.set_day_end(Some(now + Duration::from_hours(24)));
    pauses.record_incident(&incident(Reason::DailyQuota), now, now, 0.0);
    assert_eq!(time_until_open(&pauses, now), Duration::from_mins(15), "a clock that differs costs no day");
    now += Duration::from_mins(15);
    assert_eq!(pauses.record_success(now, true), [Reason::DailyQuota]);
}

#[test]
fn a_saved_pause_is_taken_over_without_an_immediate_probe() {
    let (mut pauses, start) = (pauses(), Instant::now());
    let end = Some(start + 3600 * SECOND);
    assert!(pauses.adopt(Reason::DailyQuota, "why", end, start));
    assert!(!pauses.adopt(Reason::DailyQuota, "why", end, start));
    assert_eq!(pauses.gate(start), Gate::Closed(Some(start + DAILY_RETRY_INTERVAL)));
    assert!(pauses.lift(Reason::DailyQuota));
    assert_eq!(pauses.gate(start), Gate::Open { courses: 1, concurrent: false });
    assert!(!pauses.lift(Reason::DailyQuota));
}

/// The reason to pause with these daily calls and a reserve of 5 %.
fn reason_at(daily: Option<u64>, left: Option<u64>) -> Option<Reason> {
    let quota = QuotaHeaders { daily, daily_remaining: left, ..QuotaHeaders::default() };
    reserve_reached(&quota, |daily| daily / 20).map(|incident| incident.reason)
}

#[test]
fn the_daily_reserve_is_left_to_other_integrations() {
    assert_eq!(reason_at(Some(1000), Some(51)), None);
    assert_eq!(reason_at(Some(1000), Some(50)), Some(Reason::DailyQuota));
    assert_eq!(reason_at(None, None), None, "OAuth responses do not show it");
    assert_eq!(reason_at(Some(10), Some(0)), None, "without a reserve only a 429 from HubSpot pauses");
}

#[test]
fn only_an_operator_ends_an_operators_pause() {
    let (mut pauses, start) = (pauses(), Instant::now());
    assert!(pauses.set_operator(Some("maintenance"), start));
    assert!(!pauses.set_operator(Some("maintenance"), start));
    assert!(pauses.record_success(start + SECOND, true).is_empty());
    assert_eq!(pauses.gate(start + 3600 * SECOND), Gate::Closed(None));
    assert!(pauses.set_operator(None, start));
    assert_eq!(pauses.gate(start), Gate::Open { courses: 100, concurrent: true });
}

#[test]
fn an_outage_without_courses_ends_by_itself_and_the_next_request_is_a_probe() {
    let start = Instant::now();
    for reason in Reason::ALL.into_iter().filter(|reason| *reason != Reason::Schema) {
        let mut pauses = pauses();
        let incident = Incident { retry_after: Some(SECOND), ..incident(reason) };
        pauses.record_incident(&incident, start, start, 0.0);
        let Some(until) = pauses.active()[0].1.until else { panic!("{reason:?} has no end") };
        let is_outage = matches!(reason, Reason::Unavailable | Reason::IntervalQuota);
        assert_eq!(pauses.expire(until + OVERDUE_AFTER / 2), [], "{reason:?}");
        let expired = pauses.expire(until + OVERDUE_AFTER);
        assert_eq!(expired, if is_outage { vec![reason] } else { vec![] }, "{reason:?}");
        let is_probed = matches!(pauses.gate(until), Gate::Open { courses: 1, concurrent: false });
        assert_eq!(is_probed, reason.is_followed_by_probe(), "{reason:?}");
    }
}

#[test]
fn no_probe_is_sent_while_the_unique_property_is_unusable() {
    let (mut pauses, start) = (pauses(), Instant::now());
    pauses.record_incident(&incident(Reason::Schema), start, start, 0.0);
    assert_eq!(pauses.gate(start + 3600 * SECOND), Gate::Closed(None));
    assert!(pauses.record_success(start + 3600 * SECOND, true).is_empty());
    assert!(pauses.lift(Reason::Schema));
    assert_eq!(pauses.gate(start), Gate::Open { courses: 1, concurrent: false });
}

#[test]
fn a_rejection_ends_when_a_course_is_created_not_when_one_is_judged() {
    let (mut pauses, start) = (pauses(), Instant::now());
    pauses.record_incident(&incident(Reason::Rejected), start, start, 0.0);
    let later = start + 60 * SECOND;
    assert!(pauses.record_success(later, false).is_empty());
    assert_eq!(pauses.record_success(later, true), [Reason::Rejected]);
}

#[test]
fn a_term_begins_with_a_probe() {
    let (mut pauses, start) = (pauses(), Instant::now());
    pauses.begin_term();
    assert_eq!(pauses.gate(start), Gate::Open { courses: 1, concurrent: false });
}

#[test]
fn two_gates_permit_what_both_permit() {
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
