//! Attribution of failures, in a model: any subset of courses is poisoned, with any form of error. All other courses
//! must be synced, no healthy course may fail, and no course may fail while every request fails.
//!
//! The model has virtual time, rows, the journal and a HubSpot. The decisions are the real ones (`Attribution`,
//! `Pauses`, `RetryPolicy`, `Evidence`). The effect of the SQL statements (which courses are claimed, what counts as
//! evidence) is modelled here. `tests/it/outbox` tests the real statements.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use course_sync::course::{Category, CourseError, HubSpotId, Requeue, Suspicion, Transition};
use course_sync::course::{NotTaken, Verdict, Write};
use course_sync::hubspot::api::outcome::RequestOutcome;
use course_sync::pipeline::transition::SentCourse;
use course_sync::policy::attribution::{
    Attribution, ClaimOrder, Evidence, GateEffect, Lane, SentRequest, isolation_group_size,
};
use course_sync::policy::backoff::RetryPolicy;
use course_sync::policy::gate::{Gate, Incident, Pauses, Reason};
use course_sync::policy::signal::{Interpretation, Signal};
use course_sync::policy::turns::{Turns, WaitingLanes};
use jiff::Timestamp;
use proptest::collection::btree_set;
use proptest::prelude::*;
use proptest::sample::select;

/// The response to a request that contains a poisoned course.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Poison {
    /// HubSpot or a proxy rejects the request for this reason, without naming a course. No course is created.
    TurnedAway(Reason),
    /// No usable response: the outcome is unknown, and the look-up after `settle` finds no record.
    Unknown,
    /// Refused as a whole in HubSpot's JSON, without naming a course.
    Unnamed,
    /// HubSpot names the course and requests a later retry.
    Later,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    /// Unconfirmed; the look-up is due at this time.
    LookUpAt(Duration),
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

impl Row {
    /// A pending course that was never sent.
    fn new() -> Self {
        Self {
            state: State::Pending,
            due: Duration::ZERO,
            is_suspect: false,
            batch_limit: 100,
            faults: 0,
            attempts: 0,
            batch: usize::MAX,
        }
    }
}

struct JournalEntry {
    rows: Vec<usize>,
    passed: Option<bool>,
}

struct World {
    policy: RetryPolicy,
    poisoned: BTreeSet<usize>,
    poison: Poison,
    /// Every request fails as if it contained a poisoned course.
    is_down: bool,
    rows: Vec<Row>,
    journal: Vec<JournalEntry>,
    attribution: Attribution,
    pauses: Pauses,
    start: Instant,
    now: Duration,
    turns: Turns,
}

const SETTLE: Duration = Duration::from_secs(30);
const LATENCY: Duration = Duration::from_millis(100);

impl World {
    fn new(courses: usize, poisoned: BTreeSet<usize>, poison: Poison) -> Self {
        let policy = RetryPolicy::default();
        let mut pauses = Pauses::new(policy.clone(), Duration::from_secs(10));
        pauses.begin_term();
        Self {
            poisoned,
            poison,
            is_down: false,
            rows: vec![Row::new(); courses],
            journal: Vec::new(),
            attribution: Attribution::new(100),
            pauses,
            start: Instant::now(),
            now: Duration::ZERO,
            turns: Turns::default(),
            policy,
        }
    }

    /// Runs until every healthy course is synced. Returns the time it took, or `None` if it took longer than `at_most`.
    fn run(&mut self, at_most: Duration) -> Option<Duration> {
        while self.now < at_most {
            if self.healthy().all(|row| row.state == State::Synced) {
                return Some(self.now);
            }
            self.step();
        }
        None
    }

    fn healthy(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().enumerate().filter(|(at, _)| !self.poisoned.contains(at)).map(|(_, row)| row)
    }

    fn step(&mut self) {
        self.look_up_unconfirmed();
        let Gate::Open { courses, concurrent } = self.pauses.gate(self.start + self.now) else {
            self.now += LATENCY;
            return;
        };
        let limit = usize::from(courses.min(self.attribution.limit()));
        let concurrent = concurrent && !self.attribution.is_cautious();
        let (fresh, suspects) = (self.due(Lane::Fresh), self.due(Lane::Suspects));
        let probe = (!concurrent).then(|| self.attribution.next_probe());
        let waiting = WaitingLanes { fresh: !fresh.is_empty(), suspects: !suspects.is_empty() };
        let Some(lane) = self.turns.next_lane(probe.map(|(lane, _)| lane), waiting) else {
            self.now += LATENCY;
            return;
        };
        self.turns.record(lane, 1);
        let mut due = if lane == Lane::Fresh { fresh } else { suspects };
        if probe.is_some_and(|(_, order)| order == ClaimOrder::Newest) {
            due.reverse();
        }
        let (rows, is_blamed) = match lane {
            Lane::Fresh => (due.into_iter().take(limit).collect(), false),
            Lane::Suspects => self.claim_suspects(&due, limit),
        };
        self.send(lane, &rows, is_blamed);
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

    /// The suspects of the next batch, within the batch limit of each; and whether a single one counts as the cause.
    fn claim_suspects(&self, suspects: &[usize], limit: usize) -> (Vec<usize>, bool) {
        let mut smallest_limit = limit;
        let mut claimed = Vec::new();
        for at in suspects {
            smallest_limit = smallest_limit.min(self.batch_limit(*at));
            if claimed.len() >= smallest_limit {
                break;
            }
            claimed.push(*at);
        }
        let evidence = self.evidence(self.rows[claimed[0]].batch);
        (claimed, evidence.batch_size == 1 && evidence.blames_courses())
    }

    /// The batch limit of a course, within the limit by the evidence.
    fn batch_limit(&self, at: usize) -> usize {
        let row = &self.rows[at];
        let isolation_limit = self.evidence(row.batch).isolation_limit();
        row.batch_limit.min(isolation_limit.map_or(100, usize::from))
    }

    /// The evidence, as `evidence::load_evidence` reads it.
    fn evidence(&self, batch: usize) -> Evidence {
        let Some(entry) = self.journal.get(batch) else { return Evidence::default() };
        let shows = |at: &usize| {
            let other = &self.journal[*at];
            other.passed.is_some() && !other.rows.iter().any(|row| entry.rows.contains(row))
        };
        let passed = |at: usize| self.journal[at].passed;
        Evidence {
            is_judged: entry.passed == Some(true),
            before: (0..batch).rev().find(shows).and_then(passed),
            after: (batch + 1..self.journal.len()).find(shows).and_then(passed),
            batch_size: u32::try_from(entry.rows.len()).unwrap(),
        }
    }

    fn send(&mut self, lane: Lane, rows: &[usize], is_blamed: bool) {
        let began = self.start + self.now;
        let interpretation = self.respond(rows);
        self.now += LATENCY;
        let is_paused = self.is_paused();
        let sent = SentRequest { courses: rows.len(), lane, began };
        let decision = self.attribution.on_response(sent, &interpretation, is_paused, self.start + self.now);
        let now = self.start + self.now;
        match &decision.effect {
            GateEffect::Pause(incident) => drop(self.pauses.record_incident(incident, began, now, 0.5)),
            GateEffect::Probe => self.pauses.require_probe(),
            GateEffect::Passed => drop(self.pauses.record_success(began, true)),
            GateEffect::Judged => drop(self.pauses.record_success(began, false)),
            GateEffect::None => {}
        }
        let batch = self.journal.len();
        self.journal.push(JournalEntry { rows: rows.to_vec(), passed: decision.passed });
        for (at, verdict) in rows.iter().zip(interpretation.verdicts) {
            let row = &mut self.rows[*at];
            (row.batch, row.attempts) = (batch, row.attempts + 1);
            let sent_course = SentCourse {
                write: Write::Create,
                batch_size: rows.len(),
                attempts: row.attempts,
                faults: row.faults,
                is_blamed,
                may_exist: false,
                lane,
                others: decision.others,
                settle: SETTLE,
                jitter: 0.5,
                now: Timestamp::UNIX_EPOCH,
            };
            let transition = self.policy.transition(verdict, &sent_course);
            self.record(*at, &transition);
        }
    }

    fn is_paused(&self) -> bool {
        self.pauses.active().iter().any(|(reason, _)| reason.may_be_caused_by_course())
    }

    fn record(&mut self, at: usize, transition: &Transition) {
        let (now, row) = (self.now, &mut self.rows[at]);
        match transition {
            Transition::Synced { .. } | Transition::Archived { .. } => row.state = State::Synced,
            Transition::Failed { .. } | Transition::Gone { .. } => row.state = State::Failed,
            Transition::Unconfirmed { look_after, .. } => row.state = State::LookUpAt(now + *look_after),
            Transition::Pending(Requeue::NotSent | Requeue::Held) => row.state = State::Pending,
            Transition::Pending(Requeue::Later { after, suspicion, .. }) => {
                row.state = State::Pending;
                row.due = now + *after;
                row.is_suspect |= *suspicion != Suspicion::Unchanged;
                row.faults += u32::from(*suspicion == Suspicion::Single);
                if let Some(limit) = suspicion.batch_limit() {
                    row.batch_limit = usize::from(limit);
                }
            }
        }
    }

    /// Look-ups that are due find no record. The courses are sent again, or fail, according to the evidence.
    fn look_up_unconfirmed(&mut self) {
        for at in 0..self.rows.len() {
            let row = &self.rows[at];
            if !matches!(row.state, State::LookUpAt(until) if until <= self.now) {
                continue;
            }
            let batch_size = self.journal[row.batch].rows.len();
            let suspicion = match batch_size {
                1 if self.evidence(row.batch).blames_courses() => Suspicion::Single,
                batch_size if row.is_suspect => {
                    Suspicion::InBatch { batch_limit: isolation_group_size(batch_size) }
                }
                batch_size => Suspicion::InBatch { batch_limit: u16::try_from(batch_size).unwrap() },
            };
            let faults = row.faults + u32::from(suspicion == Suspicion::Single);
            let after = if faults == 0 { Duration::ZERO } else { self.policy.backoff(faults, 0.5) };
            let transition = if faults >= self.policy.max_attempts {
                Transition::Failed { error: error() }
            } else {
                Transition::Pending(Requeue::Later { error: None, after, suspicion })
            };
            self.record(at, &transition);
        }
    }

    fn respond(&self, rows: &[usize]) -> Interpretation {
        let is_bad = |at: &usize| self.is_down || self.poisoned.contains(at);
        let created = || Verdict::Applied { hubspot_id: HubSpotId::parse("7").unwrap(), warning: None };
        let failed = |reason| Signal::Failed(Incident { reason, retry_after: None, message: "why".into() });
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
    fn healthy_courses_are_synced_and_never_fail(
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
    fn healthy_courses_are_synced_when_every_second_course_is_poisoned(
        courses in 2..120_usize,
        poison in poison(),
        odd in any::<bool>(),
    ) {
        let poisoned = (0..courses).filter(|at| (at % 2 == 1) == odd).collect();
        let mut world = World::new(courses, poisoned, poison);
        let took = world.run(Duration::from_hours(1));
        prop_assert!(world.healthy().all(|row| row.state != State::Failed), "a healthy course failed");
        let left = world.healthy().filter(|row| row.state != State::Synced).count();
        prop_assert!(took.is_some(), "{left} of {courses} left");
    }

    #[test]
    fn repeated_outages_fail_no_course(
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
                    world.step();
                }
            }
            prop_assert!(world.rows.iter().all(|row| row.state != State::Failed));
            // The catalogue enqueues further courses.
            let row = Row { due: world.now, ..Row::new() };
            world.rows.extend(vec![row; 20]);
        }
        prop_assert!(world.run(world.now + Duration::from_mins(20)).is_some());
    }
}

#[test]
fn a_thousand_poisoned_courses_do_not_block_three_healthy_ones() {
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

/// The number of requests and the time, by the number of poisoned courses.
#[test]
fn poisoned_courses_cost_few_requests_and_little_time() {
    for poison in [Poison::TurnedAway(Reason::Scopes), Poison::Unknown, Poison::Later] {
        for bad in [0, 1, 2, 10] {
            let poisoned = (0..bad).map(|at| 37 + at * 97).collect();
            let mut world = World::new(1_000, poisoned, poison);
            let took = world.run(Duration::from_mins(10)).expect("the healthy courses are synced");
            println!("{poison:?}, {bad} of 1,000: {} requests, {took:?}", world.journal.len());
            assert!(took < Duration::from_mins(2), "{poison:?}, {bad}: {took:?}");
            assert!(world.journal.len() <= 12 + bad * 40, "{poison:?}, {bad}: {}", world.journal.len());
        }
    }
}
