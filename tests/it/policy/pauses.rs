//! The pauses of an account under any sequence of faults, successes and operators' commands.

use std::time::{Duration, Instant};

use course_sync::policy::pause::{Gate, Pauses, Reason, Trouble};
use course_sync::policy::retry::RetryPolicy;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

#[derive(Debug, Clone)]
enum Event {
    /// A request failed; HubSpot asks to wait so many seconds, if it does.
    Trouble(Reason, Option<u64>, f64),
    /// One that created, or whose courses were merely judged.
    Success(bool),
    /// One that began so many seconds ago ends now.
    Late(Option<Reason>, u64),
    Operator(bool),
    /// The day is known to end in so many seconds; or its end is not known.
    DayEnds(Option<u64>),
    /// A noted pause is there after a restart, for so many seconds or until it is resumed.
    Adopted(Reason, Option<u64>),
    /// What raised a reason is gone: the property is usable, the noted pause was resumed.
    Lifted(Reason),
    TermBegins,
    ProbeIsDue,
    /// A try is due now: what is configured changed.
    TryAgain(Reason),
    Expiry,
    Wait(u64),
}

const DAY: u64 = 86_400;
/// No wait is longer, whatever an answer asks for: an hour and some jitter.
const LONGEST: Duration = Duration::from_secs(3_601);

fn reasons() -> impl Strategy<Value = Reason> {
    select(Reason::ALL.into_iter().filter(|reason| *reason != Reason::Operator).collect::<Vec<_>>())
}

fn event() -> impl Strategy<Value = Event> {
    let asked = prop_oneof![Just(None), (0..2 * DAY).prop_map(Some), Just(Some(u64::MAX / 4))];
    prop_oneof![
        4 => (reasons(), asked, 0.0..1.0).prop_map(|(reason, asked, jitter)| Event::Trouble(reason, asked, jitter)),
        3 => any::<bool>().prop_map(Event::Success),
        2 => (prop::option::of(reasons()), 0..100_u64).prop_map(|(reason, ago)| Event::Late(reason, ago)),
        1 => any::<bool>().prop_map(Event::Operator),
        1 => prop::option::of(0..DAY).prop_map(Event::DayEnds),
        1 => (select(&[Reason::DailyQuota, Reason::Rejected][..]), prop::option::of(0..DAY))
            .prop_map(|(reason, left)| Event::Adopted(reason, left)),
        1 => reasons().prop_map(Event::Lifted),
        1 => Just(Event::TermBegins),
        1 => Just(Event::ProbeIsDue),
        1 => reasons().prop_map(Event::TryAgain),
        1 => Just(Event::Expiry),
        4 => (0..1_000_u64).prop_map(Event::Wait),
    ]
}

fn trouble(reason: Reason, asked: Option<u64>) -> Trouble {
    Trouble { reason, retry_after: asked.map(Duration::from_secs), message: "why".into() }
}

fn holds(pauses: &Pauses, reason: Reason) -> bool {
    pauses.active().iter().any(|(active, _)| *active == reason)
}

struct Run {
    pauses: Pauses,
    now: Instant,
}

impl Run {
    fn take(&mut self, event: &Event) {
        let now = self.now;
        match event {
            // Only what was sent can be answered.
            Event::Trouble(reason, asked, jitter) if self.is_open() => {
                self.pauses.trouble(&trouble(*reason, *asked), now, now, *jitter);
            }
            Event::Success(creates) if self.is_open() => {
                self.pauses.success(now, *creates);
            }
            Event::Trouble(..) | Event::Success(_) => {}
            Event::Late(reason, ago) => {
                let sent_at = now.checked_sub(Duration::from_secs(*ago)).unwrap();
                match reason {
                    Some(reason) => drop(self.pauses.trouble(&trouble(*reason, None), sent_at, now, 0.5)),
                    None => drop(self.pauses.success(sent_at, true)),
                }
            }
            Event::Operator(pauses) => {
                self.pauses.operator(pauses.then_some("because"), now);
            }
            Event::DayEnds(left) => self.pauses.day_ends(left.map(|left| now + Duration::from_secs(left))),
            Event::Adopted(reason, left) => {
                let held = holds(&self.pauses, *reason);
                let ends = left.map(|left| now + Duration::from_secs(left));
                assert_eq!(
                    self.pauses.adopt(*reason, "why", ends, now),
                    !held,
                    "news only where it did not hold"
                );
            }
            Event::Lifted(reason) => {
                let held = holds(&self.pauses, *reason);
                assert_eq!(self.pauses.lift(*reason), held);
            }
            Event::TermBegins => self.pauses.begin_term(),
            Event::ProbeIsDue => self.pauses.probe(),
            Event::TryAgain(reason) => self.pauses.try_again(*reason, now),
            Event::Expiry => drop(self.pauses.expire(now)),
            Event::Wait(seconds) => self.now += Duration::from_secs(*seconds),
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.pauses.gate(self.now), Gate::Open { .. })
    }
}

fn started() -> Run {
    let now = Instant::now() + Duration::from_secs(1_000);
    Run { pauses: Pauses::new(RetryPolicy::default(), Duration::from_secs(10)), now }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn only_an_operators_pause_and_an_unusable_property_have_no_end(events in vec(event(), 0..60)) {
        let mut run = started();
        let mut operator = false;
        for event in &events {
            run.take(event);
            if let Event::Operator(pauses) = event {
                operator = *pauses;
            }
            prop_assert_eq!(
                holds(&run.pauses, Reason::Operator), operator,
                "an operator's command, and nothing else, counts"
            );
            let is_endless = operator || holds(&run.pauses, Reason::Schema);
            match run.pauses.gate(run.now) {
                Gate::Closed(None) => prop_assert!(is_endless, "{event:?} closed the gate for ever"),
                Gate::Closed(Some(until)) => {
                    prop_assert!(!is_endless);
                    prop_assert!(until > run.now && until - run.now <= LONGEST, "{event:?}: {:?}", until - run.now);
                }
                Gate::Open { courses, concurrent } => {
                    prop_assert!((1..=100).contains(&courses) && (courses == 100 || !concurrent));
                    prop_assert!(!is_endless);
                }
            }
        }
    }

    /// Sending a create would not show that the property can be used, so none is sent for it, and nothing else ends it.
    #[test]
    fn an_unusable_property_holds_until_it_is_lifted(events in vec(event(), 0..60)) {
        let mut run = started();
        run.pauses.trouble(&trouble(Reason::Schema, Some(1)), run.now, run.now, 0.5);
        for event in &events {
            run.take(event);
            if matches!(event, Event::Lifted(Reason::Schema)) {
                break;
            }
            let held = run.pauses.held(Reason::Schema);
            prop_assert!(held.is_some_and(|pause| pause.until.is_none()), "{event:?}: {held:?}");
            prop_assert_eq!(run.pauses.gate(run.now), Gate::Closed(None));
        }
        run.pauses.operator(None, run.now);
        let held = run.pauses.held(Reason::Schema).is_some();
        prop_assert_eq!(run.pauses.lift(Reason::Schema), held);
        prop_assert_ne!(run.pauses.gate(run.now), Gate::Closed(None));
    }

    #[test]
    fn once_faults_stop_everything_is_open_again(events in vec(event(), 0..60)) {
        let mut run = started();
        for event in &events {
            run.take(event);
        }
        run.pauses.operator(None, run.now);
        run.pauses.lift(Reason::Schema);
        // One wait, then a request, ten, a hundred.
        for _ in 0..8 {
            if let Gate::Closed(Some(until)) = run.pauses.gate(run.now) {
                run.now = until;
            }
            let Gate::Open { .. } = run.pauses.gate(run.now) else {
                return Err(TestCaseError::fail(format!("{:?}", run.pauses)));
            };
            run.pauses.success(run.now, true);
        }
        prop_assert_eq!(run.pauses.gate(run.now), Gate::Open { courses: 100, concurrent: true });
        prop_assert!(run.pauses.active().is_empty());
    }

    /// That courses are judged is what such a pause is about: only a created course ends it.
    #[test]
    fn a_refusal_of_every_course_ends_by_a_created_course(events in vec(event(), 0..60), creates in any::<bool>()) {
        let mut run = started();
        for event in &events {
            run.take(event);
        }
        run.pauses.adopt(Reason::Rejected, "why", None, run.now);
        run.now += LONGEST;
        let ended = run.pauses.success(run.now, creates);
        prop_assert_eq!(ended.contains(&Reason::Rejected), creates);
        prop_assert_eq!(holds(&run.pauses, Reason::Rejected), !creates);
        let others = [Reason::Token, Reason::Scopes, Reason::ObjectType, Reason::IntervalQuota, Reason::DailyQuota,
            Reason::Unavailable];
        prop_assert!(others.into_iter().all(|reason| !holds(&run.pauses, reason)), "{:?}", run.pauses.active());
    }

    #[test]
    fn a_term_begins_with_a_single_course(events in vec(event(), 0..60)) {
        let mut run = started();
        for event in &events {
            run.take(event);
        }
        run.pauses.operator(None, run.now);
        run.pauses.lift(Reason::Schema);
        run.pauses.begin_term();
        for expected in [1, 10, 100] {
            if let Gate::Closed(Some(until)) = run.pauses.gate(run.now) {
                run.now = until;
            }
            prop_assert_eq!(run.pauses.gate(run.now), Gate::Open { courses: expected, concurrent: false });
            run.pauses.success(run.now, true);
        }
        prop_assert_eq!(run.pauses.gate(run.now), Gate::Open { courses: 100, concurrent: true });
    }

    /// An outage whose next try is long due, because there is nothing to try it with, is no longer shown; the next
    /// request is a probe all the same.
    #[test]
    fn an_overdue_fault_of_the_world_expires_into_a_probe(events in vec(event(), 0..60), late in 0..300_u64) {
        let mut run = started();
        for event in &events {
            run.take(event);
        }
        run.now += LONGEST;
        run.pauses.trouble(&trouble(Reason::Unavailable, None), run.now, run.now, 0.5);
        let before: Vec<_> =
            run.pauses.active().into_iter().map(|(reason, pause)| (reason, pause.until)).collect();
        run.now += Duration::from_secs(late);
        let expired = run.pauses.expire(run.now);
        for (reason, until) in before {
            let is_overdue = matches!(reason, Reason::Unavailable | Reason::IntervalQuota)
                && until.is_some_and(|until| until + Duration::from_secs(30) <= run.now);
            prop_assert_eq!(expired.contains(&reason), is_overdue, "{:?}", reason);
            prop_assert_eq!(holds(&run.pauses, reason), !is_overdue, "{:?}", reason);
        }
        if let Gate::Open { courses, concurrent } = run.pauses.gate(run.now) {
            prop_assert_eq!((courses, concurrent), (1, false));
        }
    }

    #[test]
    fn what_outlives_a_restart_is_dropped_by_nothing_that_does_not(events in vec(event(), 0..60)) {
        const DURABLE: [Reason; 3] = [Reason::Operator, Reason::DailyQuota, Reason::Rejected];
        let mut run = started();
        prop_assert!(run.pauses.adopt(Reason::DailyQuota, "why", Some(run.now + Duration::from_secs(DAY)), run.now));
        prop_assert!(run.pauses.adopt(Reason::Rejected, "why", None, run.now));
        run.pauses.operator(Some("because"), run.now);
        let is_no_end = |event: &&Event| match event {
            Event::Lifted(reason) | Event::TryAgain(reason) => !DURABLE.contains(reason),
            Event::Operator(_) | Event::DayEnds(_) | Event::Wait(_) => false,
            _ => true,
        };
        for event in events.iter().filter(is_no_end) {
            run.take(event);
            prop_assert!(DURABLE.into_iter().all(|reason| holds(&run.pauses, reason)), "{event:?}");
            prop_assert_eq!(run.pauses.gate(run.now), Gate::Closed(None));
        }
        run.pauses.operator(None, run.now);
        run.pauses.lift(Reason::Schema);
        // Nothing is tried at once, or a process that ends again and again would try each time.
        prop_assert!(matches!(run.pauses.gate(run.now), Gate::Closed(Some(_))), "the day is used up all the same");
    }

    #[test]
    fn the_strongest_reason_is_shown_first(events in vec(event(), 0..60)) {
        let mut run = started();
        for event in &events {
            run.take(event);
            let active = run.pauses.active();
            for reason in Reason::ALL {
                let shown = active.iter().find(|(active, _)| *active == reason).map(|(_, pause)| *pause);
                prop_assert_eq!(run.pauses.held(reason), shown);
            }
            let rank = |reason: Reason| match reason {
                Reason::Operator => 0,
                Reason::Schema => 1,
                reason if reason.needs_a_person() => 2,
                _ => 3,
            };
            prop_assert!(active.is_sorted_by_key(|(reason, _)| rank(*reason)), "{active:?}");
            let volatile = active.iter().filter(|(reason, _)| rank(*reason) == 3);
            let lasts: Vec<_> = volatile.map(|(_, pause)| pause.ends.max(pause.until)).collect();
            prop_assert!(lasts.is_sorted_by(|one, other| one >= other), "{active:?}");
        }
    }
}
