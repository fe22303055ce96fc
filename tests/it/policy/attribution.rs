//! Attribution against an adversary: whatever subset of the courses he poisons, with whatever answer, the others get
//! through, and no healthy course ever fails. Nor does any course while every request fails.
//!
//! A small world in virtual time: rows, the journal, and a HubSpot that answers by what the adversary chose. The
//! decisions are the real ones (`Attribution`, `Pauses`, `RetryPolicy`, `Evidence`); what the database's statements do
//! (which courses are claimed, what is counted as evidence) is played here, and tested against the real statements in
//! `tests/it/outbox`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use course_sync::course::{Again, Category, CourseError, HubSpotId, Suspicion, Transition};
use course_sync::policy::attribution::{Attribution, Effect, Evidence, Lane, Sample, Sent, narrowed};
use course_sync::policy::interpret::{Interpretation, NotTaken, RequestOutcome, Signal, Verdict};
use course_sync::policy::pause::{Gate, Pauses, Reason, Trouble};
use course_sync::policy::retry::{RetryPolicy, Sending};
use course_sync::policy::turns::{Turns, Waiting};
use jiff::Timestamp;
use proptest::collection::btree_set;
use proptest::prelude::*;
use proptest::sample::select;

/// What a request gets that holds a poisoned course.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Poison {
    /// Turned away without a name, for this reason; certainly not taken.
    TurnedAway(Reason),
    /// No usable answer: the outcome is unknown, and the look-up after `settle` finds nothing.
    Unknown,
    /// Refused as a whole without a name, in HubSpot's own JSON.
    Unnamed,
    /// HubSpot names the course and asks to come later.
    Later,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    /// To be looked up then.
    Doubted(Duration),
    Synced,
    Failed,
}

#[derive(Debug, Clone)]
struct Row {
    state: State,
    due: Duration,
    is_suspect: bool,
    batch_limit: usize,
    faults: u32,
    attempts: u32,
    batch: usize,
}

struct Noted {
    rows: Vec<usize>,
    passed: Option<bool>,
}

struct World {
    policy: RetryPolicy,
    poisoned: BTreeSet<usize>,
    poison: Poison,
    /// Every request fails as if it held a poisoned course.
    is_down: bool,
    rows: Vec<Row>,
    journal: Vec<Noted>,
    attribution: Attribution,
    pauses: Pauses,
    start: Instant,
    now: Duration,
    turns: Turns,
}

const SETTLE: Duration = Duration::from_secs(30);
const TOOK: Duration = Duration::from_millis(100);

impl World {
    fn new(courses: usize, poisoned: BTreeSet<usize>, poison: Poison) -> Self {
        let policy = RetryPolicy::default();
        let row = Row {
            state: State::Pending,
            due: Duration::ZERO,
            is_suspect: false,
            batch_limit: 100,
            faults: 0,
            attempts: 0,
            batch: usize::MAX,
        };
        let mut pauses = Pauses::new(policy.clone(), Duration::from_secs(10));
        pauses.begin_term();
        Self {
            poisoned,
            poison,
            is_down: false,
            rows: vec![row; courses],
            journal: Vec::new(),
            attribution: Attribution::new(100),
            pauses,
            start: Instant::now(),
            now: Duration::ZERO,
            turns: Turns::default(),
            policy,
        }
    }

    /// Runs until every healthy course is synced, at most so long. The time it took.
    fn run(&mut self, at_most: Duration) -> Option<Duration> {
        while self.now < at_most {
            if self.healthy().all(|row| row.state == State::Synced) {
                return Some(self.now);
            }
            self.turn();
        }
        None
    }

    fn healthy(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().enumerate().filter(|(at, _)| !self.poisoned.contains(at)).map(|(_, row)| row)
    }

    fn turn(&mut self) {
        self.look_up();
        let Gate::Open { courses, concurrent } = self.pauses.gate(self.start + self.now) else {
            self.now += TOOK;
            return;
        };
        let limit = usize::from(courses.min(self.attribution.limit()));
        let concurrent = concurrent && !self.attribution.is_cautious();
        let (fresh, suspects) = (self.due(Lane::Fresh), self.due(Lane::Suspects));
        let probe = (!concurrent).then(|| self.attribution.probe());
        let waiting =
            Waiting { fresh: !fresh.is_empty(), may_be_fresh: false, suspects: !suspects.is_empty() };
        let Some(lane) = self.turns.next(probe.map(|(lane, _)| lane), waiting) else {
            self.now += TOOK;
            return;
        };
        self.turns.took(lane);
        let mut due = if lane == Lane::Fresh { fresh } else { suspects };
        if probe.is_some_and(|(_, sample)| sample == Sample::Newest) {
            due.reverse();
        }
        let (rows, blamed) = match lane {
            Lane::Fresh => (due.into_iter().take(limit).collect(), false),
            Lane::Suspects => self.group(&due, limit),
        };
        self.send(lane, &rows, blamed);
    }

    /// The courses that are due, in the order in which they would be claimed.
    fn due(&self, lane: Lane) -> Vec<usize> {
        let is_due = |at: &usize| {
            let row = &self.rows[*at];
            row.state == State::Pending && row.due <= self.now && row.is_suspect == (lane == Lane::Suspects)
        };
        let mut due: Vec<usize> = (0..self.rows.len()).filter(is_due).collect();
        due.sort_by_key(|at| (self.rows[*at].due, *at));
        due
    }

    /// As many suspects as each of them may travel with; and whether the first, alone, is to blame.
    fn group(&self, suspects: &[usize], limit: usize) -> (Vec<usize>, bool) {
        let limit_of = |at: usize| {
            let row = &self.rows[at];
            let narrowed = self.evidence(row.batch).narrows_to();
            row.batch_limit.min(narrowed.map_or(100, usize::from))
        };
        let mut narrowest = limit;
        let mut group = Vec::new();
        for at in suspects {
            narrowest = narrowest.min(limit_of(*at));
            if group.len() >= narrowest {
                break;
            }
            group.push(*at);
        }
        let evidence = self.evidence(self.rows[group[0]].batch);
        (group, evidence.company == 1 && evidence.blames_courses())
    }

    /// As `recover::evidence` reads it.
    fn evidence(&self, batch: usize) -> Evidence {
        let Some(noted) = self.journal.get(batch) else { return Evidence::default() };
        let shows = |at: &usize| {
            let other = &self.journal[*at];
            other.passed.is_some() && !other.rows.iter().any(|row| noted.rows.contains(row))
        };
        let passed = |at: usize| self.journal[at].passed;
        Evidence {
            is_judged: noted.passed == Some(true),
            before: (0..batch).rev().find(shows).and_then(passed),
            after: (batch + 1..self.journal.len()).find(shows).and_then(passed),
            company: u32::try_from(noted.rows.len()).unwrap(),
        }
    }

    fn send(&mut self, lane: Lane, rows: &[usize], is_blamed: bool) {
        let began = self.start + self.now;
        let reading = self.answer(rows);
        self.now += TOOK;
        let is_paused = self.is_paused();
        let sent = Sent { courses: rows.len(), lane, began };
        let decision = self.attribution.on_response(sent, &reading, is_paused, self.start + self.now);
        let now = self.start + self.now;
        match &decision.effect {
            Effect::Pause(trouble) => drop(self.pauses.trouble(trouble, began, now, 0.5)),
            Effect::Probe => self.pauses.probe(),
            Effect::Passed => drop(self.pauses.success(began, true)),
            Effect::Judged => drop(self.pauses.success(began, false)),
            Effect::None => {}
        }
        let batch = self.journal.len();
        self.journal.push(Noted { rows: rows.to_vec(), passed: decision.passed });
        for (at, verdict) in rows.iter().zip(reading.verdicts) {
            let row = &mut self.rows[*at];
            (row.batch, row.attempts) = (batch, row.attempts + 1);
            let sending = Sending {
                company: rows.len(),
                attempts: row.attempts,
                faults: row.faults,
                is_blamed,
                may_be_held: false,
                lane,
                others: decision.others,
                settle: SETTLE,
                jitter: 0.5,
                now: Timestamp::UNIX_EPOCH,
            };
            let transition = self.policy.transition(verdict, &sending);
            self.record(*at, &transition);
        }
    }

    fn is_paused(&self) -> bool {
        self.pauses.active().iter().any(|(reason, _)| reason.may_be_a_courses())
    }

    fn record(&mut self, at: usize, transition: &Transition) {
        let (now, row) = (self.now, &mut self.rows[at]);
        match transition {
            Transition::Synced { .. } => row.state = State::Synced,
            Transition::Failed { .. } => row.state = State::Failed,
            Transition::Unconfirmed { look_after, .. } => row.state = State::Doubted(now + *look_after),
            Transition::Pending(Again::NotSent | Again::Held) => row.state = State::Pending,
            Transition::Pending(Again::Later { after, suspicion, .. }) => {
                row.state = State::Pending;
                row.due = now + *after;
                row.is_suspect |= *suspicion != Suspicion::Unchanged;
                row.faults += u32::from(*suspicion == Suspicion::Alone);
                if let Some(limit) = suspicion.batch_limit() {
                    row.batch_limit = usize::from(limit);
                }
            }
        }
    }

    /// Doubts whose time has come are found absent, and go again by the evidence.
    fn look_up(&mut self) {
        for at in 0..self.rows.len() {
            let row = &self.rows[at];
            if !matches!(row.state, State::Doubted(until) if until <= self.now) {
                continue;
            }
            let company = self.journal[row.batch].rows.len();
            let suspicion = match company {
                1 if self.evidence(row.batch).blames_courses() => Suspicion::Alone,
                company if row.is_suspect => Suspicion::Among { batch_limit: narrowed(company) },
                company => Suspicion::Among { batch_limit: u16::try_from(company).unwrap() },
            };
            let faults = row.faults + u32::from(suspicion == Suspicion::Alone);
            let after = if faults == 0 { Duration::ZERO } else { self.policy.backoff(faults, 0.5) };
            let transition = if faults >= self.policy.max_attempts {
                Transition::Failed { error: error() }
            } else {
                Transition::Pending(Again::Later { error: None, after, suspicion })
            };
            self.record(at, &transition);
        }
    }

    fn answer(&self, rows: &[usize]) -> Interpretation {
        let is_bad = |at: &usize| self.is_down || self.poisoned.contains(at);
        let created = || Verdict::Created { hubspot_id: HubSpotId::parse("7").unwrap(), warning: None };
        let failed = |reason| Signal::Failed(Trouble { reason, retry_after: None, message: "why".into() });
        let all = |verdict: Verdict, signal| (vec![verdict; rows.len()], signal);
        let (verdicts, signal) = match self.poison {
            _ if !rows.iter().any(is_bad) => (rows.iter().map(|_| created()).collect(), Signal::Passed),
            Poison::TurnedAway(reason) => {
                all(Verdict::NotTaken(NotTaken::TurnedAway(error())), failed(reason))
            }
            Poison::Unknown => all(Verdict::Unknown(error()), failed(Reason::Unavailable)),
            Poison::Unnamed if rows.len() == 1 => all(Verdict::Refused(error()), Signal::Judged),
            Poison::Unnamed => all(Verdict::NotTaken(NotTaken::Unnamed(error())), Signal::Judged),
            Poison::Later => {
                let later = |at: &usize| {
                    if is_bad(at) { Verdict::NotTaken(NotTaken::Later(error())) } else { created() }
                };
                let any = rows.iter().any(|at| !is_bad(at));
                let signal = if any { Signal::Passed } else { failed(Reason::Unavailable) };
                (rows.iter().map(later).collect(), signal)
            }
        };
        Interpretation { verdicts, signal, outcome: RequestOutcome::Ok, surplus: 0, may_be_size: false }
    }
}

fn error() -> CourseError {
    CourseError::new(Category::Deferred, "why", Timestamp::UNIX_EPOCH)
}

fn poison() -> impl Strategy<Value = Poison> {
    const REASONS: [Reason; 4] = [Reason::Token, Reason::Scopes, Reason::ObjectType, Reason::Unavailable];
    prop_oneof![
        3 => select(&REASONS[..]).prop_map(Poison::TurnedAway),
        2 => Just(Poison::Unknown),
        1 => Just(Poison::Unnamed),
        1 => Just(Poison::Later),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_others_get_through_and_none_of_them_fails(
        courses in 1..600_usize,
        poisoned in btree_set(0..600_usize, 0..12),
        poison in poison(),
    ) {
        let mut world = World::new(courses, poisoned, poison);
        let took = world.run(Duration::from_mins(10));
        prop_assert!(world.healthy().all(|row| row.state != State::Failed), "a healthy course failed");
        prop_assert!(took.is_some_and(|took| took <= Duration::from_mins(2)), "{took:?}");
    }

    #[test]
    fn even_where_every_second_course_is_poisoned(courses in 2..120_usize, poison in poison(), odd in any::<bool>()) {
        let poisoned = (0..courses).filter(|at| (at % 2 == 1) == odd).collect();
        let mut world = World::new(courses, poisoned, poison);
        let took = world.run(Duration::from_hours(1));
        prop_assert!(world.healthy().all(|row| row.state != State::Failed), "a healthy course failed");
        prop_assert!(took.is_some(), "{} of {courses} left", world.healthy().filter(|row| row.state != State::Synced).count());
    }

    #[test]
    fn no_outage_fails_a_course_however_often_it_comes(
        courses in 1..300_usize,
        outages in proptest::collection::vec((1..120_u64, 1..120_u64), 1..8),
        poison in poison().prop_filter("HubSpot judges the courses then", |poison| *poison != Poison::Unnamed),
    ) {
        let mut world = World::new(courses, BTreeSet::new(), poison);
        for (down, up) in outages {
            for (is_down, seconds) in [(true, down), (false, up)] {
                world.is_down = is_down;
                let until = world.now + Duration::from_secs(seconds);
                while world.now < until {
                    world.turn();
                }
            }
            prop_assert!(world.rows.iter().all(|row| row.state != State::Failed));
            // The catalogue goes on.
            let row = Row { state: State::Pending, due: world.now, is_suspect: false, batch_limit: 100, faults: 0, attempts: 0, batch: usize::MAX };
            world.rows.extend(vec![row; 20]);
        }
        prop_assert!(world.run(world.now + Duration::from_mins(20)).is_some());
    }
}

#[test]
fn a_thousand_poisoned_courses_at_either_end_do_not_hide_three_healthy_ones() {
    for poison in
        [Poison::TurnedAway(Reason::Unavailable), Poison::TurnedAway(Reason::Scopes), Poison::Unknown]
    {
        for (poisoned, minutes) in [(0..1_000, 2), (3..1_003, 30)] {
            let mut world = World::new(1_003, poisoned.clone().collect(), poison);
            let took = world.run(Duration::from_hours(1));
            println!("{poison:?} {poisoned:?}: {took:?}, {} requests", world.journal.len());
            assert!(
                took.is_some_and(|took| took < Duration::from_mins(minutes)),
                "{poison:?} {poisoned:?}: {took:?}"
            );
        }
    }
}

/// How many requests it takes beyond the fewest, and how long, by how many courses are poisoned.
#[test]
fn what_poisoned_courses_cost_the_others() {
    for poison in [Poison::TurnedAway(Reason::Scopes), Poison::Unknown, Poison::Later] {
        for bad in [0, 1, 2, 10] {
            let poisoned = (0..bad).map(|at| 37 + at * 97).collect();
            let mut world = World::new(1_000, poisoned, poison);
            let took = world.run(Duration::from_mins(10)).expect("the others get through");
            println!("{poison:?}, {bad} of 1,000: {} requests, {took:?}", world.journal.len());
            assert!(took < Duration::from_mins(2), "{poison:?}, {bad}: {took:?}");
            assert!(world.journal.len() <= 12 + bad * 40, "{poison:?}, {bad}: {}", world.journal.len());
        }
    }
}
