//! What one simulation does, drawn from its seed. Pure: the same seed is the same plan.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use simulator::{
    Answer, Behaviour, Commit, ConflictForm, Dialect, ErrorForm, Fault, Latency, Limits, Operation,
    RefusedBatches,
};

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
    /// Whether Postgres notifies the engine; if not, the engine keeps nothing in a session, as behind a pooler.
    pub listen: bool,
    /// How this HubSpot behaves, including its quota.
    pub behaviour: Behaviour,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// One action on the system while the engine works.
#[derive(Clone, Debug)]
pub enum Step {
    /// The catalogue enqueues good courses, and bad ones, which HubSpot can never accept.
    Enqueue { good: usize, bad: usize },
    /// The catalogue changes courses, from this one on.
    Change { first: usize, courses: usize },
    /// The catalogue withdraws courses, from this one on, or offers them again.
    Withdraw { first: usize, courses: usize, archived: bool },
    /// HubSpot has another fault from now on.
    AddFault(Fault),
    /// HubSpot stops: open connections end, new ones are refused.
    StopHubSpot,
    /// HubSpot restarts at the same address with the same records.
    RestartHubSpot,
    /// The oldest instance crashes; another starts.
    Crash,
    /// The oldest instance stops cleanly; another starts.
    Stop,
    /// One more instance starts.
    StartInstance,
    /// The oldest instance freezes for this many milliseconds; the others continue.
    Freeze { ms: u64 },
    /// Postgres ends all sessions of the engine.
    EndSessions,
    /// Postgres ends all sessions and refuses new ones for this many milliseconds.
    DatabaseOutage { ms: u64 },
    /// Waits for this many more requests, or for a while if they do not come.
    WaitForRequests { requests: usize },
}

/// The kinds of steps. Each simulation uses about half of them, because a mixture of all hides bugs that only some of
/// them show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StepKind {
    Crash,
    Stop,
    StartInstance,
    Freeze,
    EndSessions,
    DatabaseOutage,
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

const KINDS: [StepKind; 17] = [
    StepKind::Crash,
    StepKind::Stop,
    StepKind::StartInstance,
    StepKind::Freeze,
    StepKind::EndSessions,
    StepKind::DatabaseOutage,
    StepKind::Outage,
    StepKind::Answer(AnswerKind::Reset),
    StepKind::Answer(AnswerKind::ResetUnread),
    StepKind::Answer(AnswerKind::Close),
    StepKind::Answer(AnswerKind::Hang),
    StepKind::Answer(AnswerKind::Late),
    StepKind::Answer(AnswerKind::BadGateway),
    StepKind::Answer(AnswerKind::Cut),
    StepKind::Answer(AnswerKind::DropResults),
    StepKind::Answer(AnswerKind::Nonsense),
    StepKind::Answer(AnswerKind::RateLimited),
];

impl Plan {
    /// The plan of a seed.
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let unique = rng.u8(..4) > 0;
        let mut behaviour = behaviour(&mut rng);
        let listen = rng.bool();
        let flawed = rng.bool();
        let kinds: Vec<StepKind> = KINDS.into_iter().filter(|_| rng.bool()).collect();
        let mut steps = vec![enqueue(&mut rng, flawed)];
        let mut is_stopped = false;
        for _ in 0..rng.usize(11..20) {
            let step = match rng.u8(..10) {
                0..2 => enqueue(&mut rng, flawed),
                2..5 => Step::WaitForRequests { requests: rng.usize(1..12) },
                _ => match rng.choice(&kinds) {
                    Some(StepKind::Outage) => {
                        is_stopped = !is_stopped;
                        if is_stopped { Step::StopHubSpot } else { Step::RestartHubSpot }
                    }
                    Some(kind) => draw_step(&mut rng, *kind),
                    None => Step::WaitForRequests { requests: rng.usize(1..12) },
                },
            };
            steps.push(step);
        }
        // Drawn from a second generator, so that older seeds keep their steps.
        let mut rng = Rng::with_seed(!seed);
        if unique && rng.bool() {
            behaviour.refused_batches = RefusedBatches::WriteTheGood;
        }
        if rng.bool() {
            steps.iter_mut().for_each(fail_within);
        }
        if rng.u8(..3) > 0 {
            change_courses(&mut rng, &mut steps);
            // Otherwise a withdrawn course could not be offered again.
            behaviour.archived_hold_unique = false;
        }
        Self { unique, listen, behaviour, steps }
    }

    /// How long after a request HubSpot may still execute it, after the client has stopped waiting.
    pub fn latest_commit(&self) -> Duration {
        let after = self.steps.iter().filter_map(|step| match step {
            Step::AddFault(Fault { commit: Commit::Late { after_ms }, .. }) => Some(*after_ms),
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

fn draw_step(rng: &mut Rng, kind: StepKind) -> Step {
    match kind {
        StepKind::Outage => unreachable!("drawn in `from_seed`"),
        StepKind::Crash => Step::Crash,
        StepKind::Stop => Step::Stop,
        StepKind::StartInstance => Step::StartInstance,
        StepKind::Freeze => Step::Freeze { ms: rng.u64(50..500) },
        StepKind::EndSessions => Step::EndSessions,
        StepKind::DatabaseOutage => Step::DatabaseOutage { ms: rng.u64(20..400) },
        StepKind::Answer(kind) => Step::AddFault(fault(rng, kind)),
    }
}

/// Lets the catalogue change and withdraw courses all the time, and faults concern these requests, too.
fn change_courses(rng: &mut Rng, steps: &mut Vec<Step>) {
    for step in steps.iter_mut() {
        if let Step::AddFault(fault) = step
            && rng.bool()
        {
            let on = if rng.u8(..3) > 0 { Operation::BatchUpdate } else { Operation::BatchArchive };
            *fault = fault.clone().on(on);
        }
    }
    let mut place = 1;
    while place <= steps.len() {
        if rng.bool() {
            let (first, courses) = (rng.usize(..100), rng.usize(1..30));
            let step = match rng.u8(..4) {
                0 => Step::Withdraw { first, courses, archived: true },
                1 => Step::Withdraw { first, courses, archived: false },
                _ => Step::Change { first, courses },
            };
            steps.insert(place, step);
        }
        place += 2;
    }
}

/// Turns a gateway's error into one of HubSpot itself.
fn fail_within(step: &mut Step) {
    if let Step::AddFault(Fault { answer: Answer::Error { status: status @ 502, body, .. }, .. }) = step {
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
