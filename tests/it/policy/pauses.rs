//! The pauses of an account under any sequence of trouble, success and a person's words.

use std::time::{Duration, Instant};

use course_sync::policy::pause::{Gate, Pauses, Reason, Trouble};
use course_sync::policy::retry::RetryPolicy;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

#[derive(Debug, Clone)]
enum Event {
    /// A request met trouble; HubSpot asks to wait so many seconds, if it does.
    Trouble(Reason, Option<u64>, f64),
    /// One that created, or merely reached HubSpot.
    Success(bool),
    /// One that began so many seconds ago ends now.
    Late(Option<Reason>, u64),
    Person(bool),
    /// The day is known to end in so many seconds; nobody knows.
    DayEnds(Option<u64>),
    /// The row of a used-up day is there after a restart, for so many seconds.
    Restart(u64),
    /// It has gone.
    DayIsOver,
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
        1 => any::<bool>().prop_map(Event::Person),
        1 => prop::option::of(0..DAY).prop_map(Event::DayEnds),
        1 => (0..DAY).prop_map(Event::Restart),
        1 => Just(Event::DayIsOver),
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
            Event::Person(pauses) => {
                self.pauses.operator(pauses.then_some("because"), now);
            }
            Event::DayEnds(left) => self.pauses.day_ends(left.map(|left| now + Duration::from_secs(left))),
            Event::Restart(left) => {
                self.pauses.day_was_used_up("why", now + Duration::from_secs(*left), now);
            }
            Event::DayIsOver => {
                self.pauses.day_is_over();
            }
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
    fn no_pause_but_a_persons_is_without_an_end(events in vec(event(), 0..60)) {
        let mut run = started();
        let mut person = false;
        for event in &events {
            run.take(event);
            if let Event::Person(pauses) = event {
                person = *pauses;
            }
            prop_assert_eq!(holds(&run.pauses, Reason::Operator), person, "a person's word, and nothing else, counts");
            match run.pauses.gate(run.now) {
                Gate::Closed(None) => prop_assert!(person, "{event:?} closed the gate for ever"),
                Gate::Closed(Some(until)) => {
                    prop_assert!(until > run.now && until - run.now <= LONGEST, "{event:?}: {:?}", until - run.now);
                }
                Gate::Open { courses, concurrent } => {
                    prop_assert!((1..=100).contains(&courses) && (courses == 100 || !concurrent));
                    prop_assert!(!person);
                }
            }
        }
    }

    #[test]
    fn once_faults_stop_everything_is_open_again(events in vec(event(), 0..60)) {
        let mut run = started();
        for event in &events {
            run.take(event);
        }
        run.pauses.operator(None, run.now);
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

    #[test]
    fn what_outlives_a_restart_is_dropped_by_nothing_that_does_not(events in vec(event(), 0..60)) {
        let mut run = started();
        run.pauses.day_was_used_up("why", run.now + Duration::from_secs(DAY), run.now);
        run.pauses.operator(Some("because"), run.now);
        let is_no_end = |event: &&Event| {
            !matches!(event, Event::Person(_) | Event::DayIsOver | Event::DayEnds(_) | Event::Wait(_))
        };
        for event in events.iter().filter(is_no_end) {
            run.take(event);
            prop_assert!(holds(&run.pauses, Reason::Operator) && holds(&run.pauses, Reason::DailyQuota), "{event:?}");
            prop_assert_eq!(run.pauses.gate(run.now), Gate::Closed(None));
        }
        run.pauses.operator(None, run.now);
        prop_assert!(matches!(run.pauses.gate(run.now), Gate::Closed(Some(_))), "the day is used up all the same");
    }

    #[test]
    fn the_strongest_reason_is_shown_first(events in vec(event(), 0..60)) {
        let mut run = started();
        for event in &events {
            run.take(event);
            let active = run.pauses.active();
            let rank = |reason: Reason| match reason {
                Reason::Operator => 0,
                reason if reason.needs_a_person() => 1,
                _ => 2,
            };
            prop_assert!(active.is_sorted_by_key(|(reason, _)| rank(*reason)), "{active:?}");
            let volatile = active.iter().filter(|(reason, _)| rank(*reason) == 2);
            let lasts: Vec<_> = volatile.map(|(_, pause)| pause.ends.max(pause.until)).collect();
            prop_assert!(lasts.is_sorted_by(|one, other| one >= other), "{active:?}");
        }
    }
}
