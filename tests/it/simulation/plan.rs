//! What one simulation does, drawn from its seed. Pure: the same seed is the same plan.

use std::fmt;
use std::time::Duration;

use course_sync::simulator::{
    Answer, Behaviour, Commit, ConflictForm, Dialect, ErrorForm, Fault, Latency, Limits, Operation,
    RefusedBatches,
};
use fastrand::Rng;

/// The window of the quota, in milliseconds.
pub const PER_MS: u64 = 500;
/// Courses in one request, at most.
pub const BATCH: usize = 5;
/// How long a request may take, in milliseconds.
pub const TIMEOUT_MS: u64 = 300;

/// One simulation.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whether the account has a property that carries the course's key.
    pub unique: bool,
    /// Whether Postgres wakes the engine; where not, it keeps nothing in a session.
    pub listen: bool,
    /// What this HubSpot is like, and what quota it grants.
    pub behaviour: Behaviour,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// One thing that happens while the engine works.
#[derive(Clone, Debug)]
pub enum Step {
    /// The catalogue enqueues good courses, and bad ones, which HubSpot can never accept.
    Enqueue { good: usize, bad: usize },
    /// HubSpot has another fault from now on.
    Trouble(Fault),
    /// Connections to HubSpot are cut, new ones refused.
    HubSpotGoes,
    /// HubSpot is back where it was, with what it held.
    HubSpotReturns,
    /// The eldest instance ends in the middle of everything; another starts.
    Crash,
    /// The eldest instance stops cleanly; another starts.
    Stop,
    /// One more instance starts.
    Another,
    /// The eldest instance stands still for so many milliseconds; the others go on.
    Freeze { ms: u64 },
    /// Postgres ends every session of the engine's.
    CutDatabase,
    /// The same, and for so many milliseconds it lets nobody in.
    DatabaseGoes { ms: u64 },
    /// Time for so many more requests, or for a while if they do not come.
    Let { requests: usize },
}

/// What can happen; each simulation has about half of it, for much of everything hides what only some of it
/// brings to light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Crash,
    Stop,
    Another,
    Freeze,
    CutDatabase,
    DatabaseGoes,
    Outage,
    Answer(AnswerKind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AnswerKind {
    Reset,
    ResetUnread,
    Close,
    Hang,
    Late,
    BadGateway,
    Cut,
    DropResults,
    Nonsense,
    RateLimited,
}

const KINDS: [Kind; 17] = [
    Kind::Crash,
    Kind::Stop,
    Kind::Another,
    Kind::Freeze,
    Kind::CutDatabase,
    Kind::DatabaseGoes,
    Kind::Outage,
    Kind::Answer(AnswerKind::Reset),
    Kind::Answer(AnswerKind::ResetUnread),
    Kind::Answer(AnswerKind::Close),
    Kind::Answer(AnswerKind::Hang),
    Kind::Answer(AnswerKind::Late),
    Kind::Answer(AnswerKind::BadGateway),
    Kind::Answer(AnswerKind::Cut),
    Kind::Answer(AnswerKind::DropResults),
    Kind::Answer(AnswerKind::Nonsense),
    Kind::Answer(AnswerKind::RateLimited),
];

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let unique = rng.u8(..4) > 0;
        let mut behaviour = behaviour(&mut rng);
        let listen = rng.bool();
        let flawed = rng.bool();
        let kinds: Vec<Kind> = KINDS.into_iter().filter(|_| rng.bool()).collect();
        let mut steps = vec![enqueue(&mut rng, flawed)];
        let mut away = false;
        for _ in 0..rng.usize(11..20) {
            let step = match rng.u8(..10) {
                0..2 => enqueue(&mut rng, flawed),
                2..5 => Step::Let { requests: rng.usize(1..12) },
                _ => match rng.choice(&kinds) {
                    Some(Kind::Outage) => {
                        away = !away;
                        if away { Step::HubSpotGoes } else { Step::HubSpotReturns }
                    }
                    Some(kind) => happening(&mut rng, *kind),
                    None => Step::Let { requests: rng.usize(1..12) },
                },
            };
            steps.push(step);
        }
        // Drawn apart, so that what a seed stood for before stays in it.
        let mut rng = Rng::with_seed(!seed);
        if unique && rng.bool() {
            behaviour.refused_batches = RefusedBatches::WriteTheGood;
        }
        if rng.bool() {
            steps.iter_mut().for_each(fail_within);
        }
        Self { unique, listen, behaviour, steps }
    }

    /// How long after a request HubSpot may still carry it out, though nobody waits for it.
    pub fn latest_commit(&self) -> Duration {
        let after = self.steps.iter().filter_map(|step| match step {
            Step::Trouble(Fault { commit: Commit::Late { after_ms }, .. }) => Some(*after_ms),
            _ => None,
        });
        Duration::from_millis(after.max().map_or(0, |after| after + 2 * self.behaviour.latency.max_ms))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "unique: {}, listen: {}, {:?}", self.unique, self.listen, self.behaviour)?;
        self.steps.iter().enumerate().try_for_each(|(number, step)| writeln!(f, "{number:3} {step:?}"))
    }
}

fn behaviour(rng: &mut Rng) -> Behaviour {
    let conflicts = [ConflictForm::WholeBatch, ConflictForm::Text, ConflictForm::ExistingId];
    Behaviour {
        limits: Limits { requests: rng.u64(6..30), per_ms: PER_MS, ..Limits::default() },
        latency: Latency { min_ms: 1, max_ms: rng.u64(1..150) },
        echo_trace_ids: rng.bool(),
        conflict: *rng.choice(&conflicts).unwrap_or(&ConflictForm::Text),
        mixed_status: if rng.bool() { 207 } else { 201 },
        name_properties: rng.bool(),
        name_inputs: rng.bool(),
        ..Behaviour::default()
    }
}

fn enqueue(rng: &mut Rng, flawed: bool) -> Step {
    let bad = if flawed { rng.usize(..3) } else { 0 };
    Step::Enqueue { good: rng.usize(1..40), bad }
}

fn happening(rng: &mut Rng, kind: Kind) -> Step {
    match kind {
        Kind::Outage => unreachable!("drawn elsewhere"),
        Kind::Crash => Step::Crash,
        Kind::Stop => Step::Stop,
        Kind::Another => Step::Another,
        Kind::Freeze => Step::Freeze { ms: rng.u64(50..500) },
        Kind::CutDatabase => Step::CutDatabase,
        Kind::DatabaseGoes => Step::DatabaseGoes { ms: rng.u64(20..400) },
        Kind::Answer(kind) => Step::Trouble(fault(rng, kind)),
    }
}

/// HubSpot itself fails, instead of what stands before it.
fn fail_within(step: &mut Step) {
    if let Step::Trouble(Fault { answer: Answer::Error { status: status @ 502, body, .. }, .. }) = step {
        (*status, *body) = (500, ErrorForm::Json);
    }
}

fn fault(rng: &mut Rng, kind: AnswerKind) -> Fault {
    let commit = if rng.bool() { Commit::Yes } else { Commit::No };
    let (answer, commit) = match kind {
        AnswerKind::Reset => (Answer::Reset, commit),
        AnswerKind::ResetUnread => (Answer::ResetUnread, Commit::No),
        AnswerKind::Close => (Answer::Close, commit),
        AnswerKind::Hang => (Answer::Hang, commit),
        AnswerKind::Late => (Answer::Hang, Commit::Late { after_ms: rng.u64(50..3 * TIMEOUT_MS) }),
        AnswerKind::BadGateway => {
            (Answer::Error { status: 502, body: ErrorForm::Html, retry_after: None }, commit)
        }
        AnswerKind::Cut => (Answer::Cut { at: rng.usize(..400) }, Commit::Yes),
        AnswerKind::DropResults => (Answer::DropResults(rng.usize(1..=BATCH)), Commit::Yes),
        AnswerKind::Nonsense => {
            let answers = [Answer::Garbage, Answer::BrokenJson, Answer::EmptyBody];
            (rng.choice(answers).unwrap_or(Answer::Garbage), commit)
        }
        AnswerKind::RateLimited => {
            (Answer::RateLimited { dialect: Dialect::TenSecondlyRolling, retry_after: None }, Commit::No)
        }
    };
    let on = if rng.u8(..3) > 0 { Operation::BatchCreate } else { Operation::BatchRead };
    Fault::new(answer).committing(commit).on(on).times(rng.u64(1..4))
}
