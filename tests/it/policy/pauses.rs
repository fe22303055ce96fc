//! The pauses of an account, for any sequence of faults, successes and commands of an operator.

use std::time::{Duration, Instant};

use course_sync::policy::backoff::RetryPolicy;
use course_sync::policy::gate::{Gate, Incident, Pauses, Reason};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

#[derive(Debug, Clone)]
enum Event {
    /// A request failed. HubSpot may request a wait of this many seconds. The last value is the jitter.
    Incident(Reason, Option<u64>, f64),
    /// A request succeeded: it created a course (true), or HubSpot judged its courses only (false).
    Success(bool),
    /// A request that began this many seconds ago ends now.
    Late(Option<Reason>, u64),
    Operator(bool),
    /// The daily quota resets in this many seconds, or at an unknown time.
    DayEnds(Option<u64>),
    /// A stored pause is read after a restart. It lasts this many seconds, or until it is resumed.
    Adopted(Reason, Option<u64>),
    /// The cause of a reason is gone: the property is usable, or the stored pause was resumed.
    Lifted(Reason),
    TermBegins,
    ProbeIsDue,
    /// The configuration changed, so a retry is due now.
    RetryNow(Reason),
    Expiry,
    Wait(u64),
}

const DAY: u64 = 86_400;
/// The longest wait, whatever a response requests: an hour and some jitter.
const MAX_WAIT: Duration = Duration::from_secs(3_601);

fn reasons() -> impl Strategy<Value = Reason> {
    // No response begins the pause of an operator, or holds archives.
    let by_response = |reason: &Reason| !matches!(reason, Reason::Operator | Reason::ArchiveLimit);
    select(Reason::ALL.into_iter().filter(by_response).collect::<Vec<_>>())
}

fn event() -> impl Strategy<Value = Event> {
    let requested = prop_oneof![Just(None), (0..2 * DAY).prop_map(Some), Just(Some(u64::MAX / 4))];
    prop_oneof![
        4 => (reasons(), requested, 0.0..1.0)
            .prop_map(|(reason, requested, jitter)| Event::Incident(reason, requested, jitter)),
        3 => any::<bool>().prop_map(Event::Success),
        2 => (prop::option::of(reasons()), 0..100_u64).prop_map(|(reason, ago)| Event::Late(reason, ago)),
        1 => any::<bool>().prop_map(Event::Operator),
        1 => prop::option::of(0..DAY).prop_map(Event::DayEnds),
        1 => (select(&[Reason::DailyQuota, Reason::Rejected][..]), prop::option::of(0..DAY))
            .prop_map(|(reason, left)| Event::Adopted(reason, left)),
        1 => reasons().prop_map(Event::Lifted),
        1 => Just(Event::TermBegins),
        1 => Just(Event::ProbeIsDue),
        1 => reasons().prop_map(Event::RetryNow),
        1 => Just(Event::Expiry),
        4 => (0..1_000_u64).prop_map(Event::Wait),
    ]
}

fn incident(reason: Reason, requested: Option<u64>) -> Incident {
    Incident { reason, retry_after: requested.map(Duration::from_secs), message: "why".into() }
}

fn is_active(pauses: &Pauses, reason: Reason) -> bool {
    pauses.active().iter().any(|(active, _)| *active == reason)
}

struct Run {
    pauses: Pauses,
    now: Instant,
}

impl Run {
    fn apply(&mut self, event: &Event) {
        let now = self.now;
        match event {
            // A request is sent only if the gate is open.
            Event::Incident(reason, requested, jitter) if self.is_open() => {
                self.pauses.record_incident(&incident(*reason, *requested), now, now, *jitter);
            }
            Event::Success(creates) if self.is_open() => {
                self.pauses.record_success(now, *creates);
            }
            Event::Incident(..) | Event::Success(_) => {}
            Event::Late(reason, ago) => {
                let sent_at = now.checked_sub(Duration::from_secs(*ago)).unwrap();
                match reason {
                    Some(reason) => {
                        self.pauses.record_incident(&incident(*reason, None), sent_at, now, 0.5);
                    }
                    None => drop(self.pauses.record_success(sent_at, true)),
                }
            }
            Event::Operator(pauses) => {
                self.pauses.set_operator(pauses.then_some("because"), now);
            }
            Event::DayEnds(left) => self.pauses.set_day_end(left.map(|left| now + Duration::from_secs(left))),
            Event::Adopted(reason, left) => {
                let was_active = is_active(&self.pauses, *reason);
                let ends = left.map(|left| now + Duration::from_secs(left));
                assert_eq!(
                    self.pauses.adopt(*reason, "why", ends, now),
                    !was_active,
                    "a change is reported only if the pause was not active"
                );
            }
            Event::Lifted(reason) => {
                let was_active = is_active(&self.pauses, *reason);
                assert_eq!(self.pauses.lift(*reason), was_active);
            }
            Event::TermBegins => self.pauses.begin_term(),
            Event::ProbeIsDue => self.pauses.require_probe(),
            Event::RetryNow(reason) => self.pauses.retry_now(*reason, now),
            Event::Expiry => drop(self.pauses.expire(now)),
            Event::Wait(seconds) => self.now += Duration::from_secs(*seconds),
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.pauses.gate(self.now), Gate::Open { .. })
    }
}

fn new_run() -> Run {
    let now = Instant::now() + Duration::from_secs(1_000);
    Run { pauses: Pauses::new(RetryPolicy::default(), Duration::from_secs(10)), now }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn only_operator_pauses_and_unusable_properties_have_no_end(events in vec(event(), 0..60)) {
        let mut run = new_run();
        let mut operator = false;
        for event in &events {
            run.apply(event);
            if let Event::Operator(pauses) = event {
                operator = *pauses;
            }
            prop_assert_eq!(
                is_active(&run.pauses, Reason::Operator), operator,
                "only a command of the operator changes this pause"
            );
            let is_endless = operator || is_active(&run.pauses, Reason::Schema);
            match run.pauses.gate(run.now) {
                Gate::Closed(None) => prop_assert!(is_endless, "{event:?} closed the gate without an end"),
                Gate::Closed(Some(until)) => {
                    prop_assert!(!is_endless);
                    prop_assert!(until > run.now && until - run.now <= MAX_WAIT, "{event:?}: {:?}", until - run.now);
                }
                Gate::Open { courses, concurrent } => {
                    prop_assert!((1..=100).contains(&courses) && (courses == 100 || !concurrent));
                    prop_assert!(!is_endless);
                }
            }
        }
    }

    /// A create would not show whether the property can be used, so no probe is sent. Only lifting ends this pause.
    #[test]
    fn a_pause_for_an_unusable_property_lasts_until_it_is_lifted(events in vec(event(), 0..60)) {
        let mut run = new_run();
        run.pauses.record_incident(&incident(Reason::Schema, Some(1)), run.now, run.now, 0.5);
        for event in &events {
            run.apply(event);
            if matches!(event, Event::Lifted(Reason::Schema)) {
                break;
            }
            let pause = run.pauses.pause_for(Reason::Schema);
            prop_assert!(pause.is_some_and(|pause| pause.until.is_none()), "{event:?}: {pause:?}");
            prop_assert_eq!(run.pauses.gate(run.now), Gate::Closed(None));
        }
        run.pauses.set_operator(None, run.now);
        let is_held = run.pauses.pause_for(Reason::Schema).is_some();
        prop_assert_eq!(run.pauses.lift(Reason::Schema), is_held);
        prop_assert_ne!(run.pauses.gate(run.now), Gate::Closed(None));
    }

    #[test]
    fn the_gate_opens_fully_once_faults_stop(events in vec(event(), 0..60)) {
        let mut run = new_run();
        for event in &events {
            run.apply(event);
        }
        run.pauses.set_operator(None, run.now);
        run.pauses.lift(Reason::Schema);
        // After one wait, batches of one, ten and a hundred courses follow.
        for _ in 0..8 {
            if let Gate::Closed(Some(until)) = run.pauses.gate(run.now) {
                run.now = until;
            }
            let Gate::Open { .. } = run.pauses.gate(run.now) else {
                return Err(TestCaseError::fail(format!("{:?}", run.pauses)));
            };
            run.pauses.record_success(run.now, true);
        }
        prop_assert_eq!(run.pauses.gate(run.now), Gate::Open { courses: 100, concurrent: true });
        prop_assert!(run.pauses.active().is_empty());
    }

    /// HubSpot judges and refuses every course in such a pause, so only a created course ends it.
    #[test]
    fn only_a_created_course_ends_a_pause_for_rejected_courses(events in vec(event(), 0..60), creates in any::<bool>()) {
        let mut run = new_run();
        for event in &events {
            run.apply(event);
        }
        run.pauses.adopt(Reason::Rejected, "why", None, run.now);
        run.now += MAX_WAIT;
        let ended = run.pauses.record_success(run.now, creates);
        prop_assert_eq!(ended.contains(&Reason::Rejected), creates);
        prop_assert_eq!(is_active(&run.pauses, Reason::Rejected), !creates);
        let others = [Reason::Token, Reason::Scopes, Reason::ObjectType, Reason::IntervalQuota, Reason::DailyQuota,
            Reason::Unavailable];
        prop_assert!(others.into_iter().all(|reason| !is_active(&run.pauses, reason)), "{:?}", run.pauses.active());
    }

    #[test]
    fn a_term_begins_with_a_single_course(events in vec(event(), 0..60)) {
        let mut run = new_run();
        for event in &events {
            run.apply(event);
        }
        run.pauses.set_operator(None, run.now);
        run.pauses.lift(Reason::Schema);
        run.pauses.begin_term();
        for expected in [1, 10, 100] {
            if let Gate::Closed(Some(until)) = run.pauses.gate(run.now) {
                run.now = until;
            }
            prop_assert_eq!(run.pauses.gate(run.now), Gate::Open { courses: expected, concurrent: false });
            run.pauses.record_success(run.now, true);
        }
        prop_assert_eq!(run.pauses.gate(run.now), Gate::Open { courses: 100, concurrent: true });
    }

    /// If no course is left to send as a probe, an outage is no longer reported when its retry is long overdue. The
    /// next request is still a probe.
    #[test]
    fn an_overdue_outage_expires_and_the_next_request_is_a_probe(events in vec(event(), 0..60), late in 0..300_u64) {
        let mut run = new_run();
        for event in &events {
            run.apply(event);
        }
        run.now += MAX_WAIT;
        run.pauses.record_incident(&incident(Reason::Unavailable, None), run.now, run.now, 0.5);
        let before: Vec<_> =
            run.pauses.active().into_iter().map(|(reason, pause)| (reason, pause.until)).collect();
        run.now += Duration::from_secs(late);
        let expired = run.pauses.expire(run.now);
        for (reason, until) in before {
            let is_overdue = matches!(reason, Reason::Unavailable | Reason::IntervalQuota)
                && until.is_some_and(|until| until + Duration::from_secs(30) <= run.now);
            prop_assert_eq!(expired.contains(&reason), is_overdue, "{:?}", reason);
            prop_assert_eq!(is_active(&run.pauses, reason), !is_overdue, "{:?}", reason);
        }
        if let Gate::Open { courses, concurrent } = run.pauses.gate(run.now) {
            prop_assert_eq!((courses, concurrent), (1, false));
        }
    }

    #[test]
    fn durable_pauses_are_not_ended_by_other_events(events in vec(event(), 0..60)) {
        const DURABLE: [Reason; 3] = [Reason::Operator, Reason::DailyQuota, Reason::Rejected];
        let mut run = new_run();
        prop_assert!(run.pauses.adopt(Reason::DailyQuota, "why", Some(run.now + Duration::from_secs(DAY)), run.now));
        prop_assert!(run.pauses.adopt(Reason::Rejected, "why", None, run.now));
        run.pauses.set_operator(Some("because"), run.now);
        let is_no_end = |event: &&Event| match event {
            Event::Lifted(reason) | Event::RetryNow(reason) => !DURABLE.contains(reason),
            Event::Operator(_) | Event::DayEnds(_) | Event::Wait(_) => false,
            _ => true,
        };
        for event in events.iter().filter(is_no_end) {
            run.apply(event);
            prop_assert!(DURABLE.into_iter().all(|reason| is_active(&run.pauses, reason)), "{event:?}");
            prop_assert_eq!(run.pauses.gate(run.now), Gate::Closed(None));
        }
        run.pauses.set_operator(None, run.now);
        run.pauses.lift(Reason::Schema);
        // No immediate retry: a process that restarts continually would send a request each time.
        prop_assert!(matches!(run.pauses.gate(run.now), Gate::Closed(Some(_))), "the daily quota is still exhausted");
    }

    #[test]
    fn the_most_severe_reason_is_shown_first(events in vec(event(), 0..60)) {
        let mut run = new_run();
        for event in &events {
            run.apply(event);
            let active = run.pauses.active();
            for reason in Reason::ALL {
                let shown = active.iter().find(|(active, _)| *active == reason).map(|(_, pause)| *pause);
                prop_assert_eq!(run.pauses.pause_for(reason), shown);
            }
            let rank = |reason: Reason| match reason {
                Reason::Operator => 0,
                Reason::Schema => 1,
                reason if reason.needs_operator() => 2,
                _ => 3,
            };
            prop_assert!(active.is_sorted_by_key(|(reason, _)| rank(*reason)), "{active:?}");
            let volatile = active.iter().filter(|(reason, _)| rank(*reason) == 3);
            let lasts: Vec<_> = volatile.map(|(_, pause)| pause.ends.max(pause.until)).collect();
            prop_assert!(lasts.is_sorted_by(|one, other| one >= other), "{active:?}");
        }
    }
}
