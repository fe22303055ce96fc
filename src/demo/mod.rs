//! The whole of course-sync in one process, on an embedded default that needs no account.
//!
//! A throwaway Postgres, the HubSpot simulator behind a real socket, a made-up university's courses and
//! the real daemon between them. In the middle HubSpot has a bad moment; at the end every course is
//! checked against the simulator's records.
//!
//! May touch: child processes and the temp directory (through [`postgres`]), sockets on 127.0.0.1,
//! stderr, and the process's signals. The tests share [`postgres`].

mod catalogue;
mod check;
mod closing;
mod interrupt;
pub mod postgres;
mod progress;
mod stage;
mod tally;
mod trouble;

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Context;

use self::catalogue::Catalogue;
use self::interrupt::Interrupt;
use self::postgres::ThrowawayPostgres;
use self::progress::{Progress, Standing};
use self::stage::Stage;
use self::tally::Tally;
use crate::course::Status;
use crate::outbox::{audit, enqueue, report};
use crate::telemetry::logging;
use crate::telemetry::metrics::CourseOutcome;

/// What a person may choose.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many courses the university offers.
    pub courses: usize,
    /// Where the randomness of the courses and of the simulator starts.
    pub seed: u64,
    /// Leaves console and simulator up until a signal.
    pub keep_open: bool,
    /// The daemon's log goes to stderr.
    pub verbose: bool,
}

/// How the demo ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every course is where it belongs.
    Proven,
    /// Something is not as promised; the output says what.
    Broken,
    /// A signal of this number ended it early.
    Interrupted(u8),
}

/// Courses that one statement enqueues.
const CHUNK: usize = 1_000;
/// How often the progress is shown anew.
const TICK: Duration = Duration::from_millis(200);
/// Without any progress for so long, the demo gives up: no trouble of its own takes half of it.
const STALLED: Duration = Duration::from_mins(1);
/// How long a start of Postgres that a signal interrupts may take to come to a clean end. A cluster is made in a
/// second, and in ten on a machine that does much else; only a download takes longer.
const START_PATIENCE: Duration = Duration::from_secs(15);

/// Runs it. The closing table goes to `out`, everything before it to stderr.
///
/// # Errors
/// There is no Postgres to be had, or a part of the demo could not be set up. Nothing is left behind
/// then either.
pub async fn run(options: &Options, out: &mut impl Write) -> anyhow::Result<Ending> {
    let interrupt = Interrupt::listen().context("listening for signals")?;
    let mut progress = Progress::new(options.courses, options.verbose);
    progress.tell("Starting a throwaway Postgres …");
    let started = start(&interrupt).await?;
    match (started, interrupt.signal()) {
        (Some(postgres), None) => {
            let ending = perform(&postgres, options, &interrupt, &mut progress, out).await;
            progress.break_off();
            let stopped = postgres.stop().await;
            let ending = ending?;
            stopped?;
            if matches!(ending, Ending::Interrupted(_)) {
                progress.tell("Stopped. The throwaway Postgres is gone; nothing is left behind.");
            }
            Ok(ending)
        }
        (Some(postgres), Some(signal)) => {
            postgres.stop().await?;
            progress.tell("Stopped before anything began; nothing is left behind.");
            Ok(Ending::Interrupted(signal))
        }
        (None, signal) => {
            progress.tell("Stopped. What was being started ends with this program.");
            Ok(Ending::Interrupted(signal.unwrap_or_default()))
        }
    }
}

/// `None`: interrupted, and whatever exists by then goes away with this process.
async fn start(interrupt: &Interrupt) -> anyhow::Result<Option<ThrowawayPostgres>> {
    let options = postgres::Options { announce: progress::announce, ..postgres::Options::default() };
    let mut starting = Box::pin(ThrowawayPostgres::start(options));
    let started = tokio::select! {
        started = &mut starting => Some(started),
        () = interrupt.came() => tokio::time::timeout(START_PATIENCE, starting).await.ok(),
    };
    Ok(started.transpose()?)
}

async fn perform(
    postgres: &ThrowawayPostgres,
    options: &Options,
    interrupt: &Interrupt,
    progress: &mut Progress,
    out: &mut impl Write,
) -> anyhow::Result<Ending> {
    let catalogue = catalogue::generate(options.courses, options.seed);
    let mut stage = Stage::open(&postgres.url("postgres"), &catalogue, options).await?;
    let _flush_at_end = logging::init(&stage.config.log)?;
    introduce(&stage, postgres, options, progress);
    let performed = play(&mut stage, &catalogue, interrupt, progress, out).await;
    if options.keep_open && performed.is_ok() && interrupt.signal().is_none() {
        progress.tell("Console and simulator stay up until Ctrl-C.");
        interrupt.came().await;
    }
    stage.close().await;
    performed
}

fn introduce(stage: &Stage, postgres: &ThrowawayPostgres, options: &Options, progress: &mut Progress) {
    let (quota, root) = (&stage.config.rate_limit, postgres.root().display());
    let courses = progress::count(options.courses);
    progress.tell(&format!("{courses} courses of {} go to a simulated HubSpot.\n", catalogue::UNIVERSITY));
    progress.tell(&format!("  outbox    a throwaway Postgres in {root}"));
    progress.tell(&format!(
        "  HubSpot   {}  (simulated; {} requests in {} s)",
        stage.simulator.url(),
        quota.requests,
        quota.per.as_secs()
    ));
    progress.tell(&format!("  console   {}\n", stage.console));
}

async fn play(
    stage: &mut Stage,
    catalogue: &Catalogue,
    interrupt: &Interrupt,
    progress: &mut Progress,
    out: &mut impl Write,
) -> anyhow::Result<Ending> {
    for courses in catalogue.courses.chunks(CHUNK) {
        if let Some(signal) = interrupt.signal() {
            return Ok(Ending::Interrupted(signal));
        }
        enqueue::enqueue(&stage.shared.database, courses).await?;
    }
    let began = Instant::now();
    stage.begin();
    let Some(rows) = watch(stage, interrupt, progress).await? else {
        return Ok(Ending::Interrupted(interrupt.signal().unwrap_or_default()));
    };
    let took = began.elapsed();
    progress.end();

    let simulator = &stage.simulator;
    let (records, journal) = (simulator.records(), simulator.journal());
    let check = check::check(&rows, &records, catalogue::UNIQUE_PROPERTY);
    let tally =
        Tally::of(&rows, &stage.made_elsewhere, &simulator.summary(), took, stage.config.rate_limit.per);
    let stories = trouble::lines(&journal);
    closing::write(out, &tally, &tally::reasons(&rows), &stories, &check)?;
    Ok(if check.is_good() { Ending::Proven } else { Ending::Broken })
}

/// Shows the progress until every course has come to rest, or nothing moves any more: the outbox then.
/// `None`: interrupted.
async fn watch(
    stage: &Stage,
    interrupt: &Interrupt,
    progress: &mut Progress,
) -> anyhow::Result<Option<Vec<audit::Audited>>> {
    let (mut last, mut moved) = (Standing::default(), Instant::now());
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = interrupt.came() => {}
        }
        let now = standing(stage).await?;
        if interrupt.signal().is_some() {
            return Ok(None);
        }
        if now.settled() != last.settled() {
            moved = Instant::now();
        }
        progress.show(&now);
        let is_over = moved.elapsed() > STALLED || stage.has_ended();
        if is_over || progress.is_full(&now) {
            let rows = audit::all(&stage.shared.database).await?;
            let rests = |row: &audit::Audited| matches!(row.status, Status::Synced | Status::Failed);
            if is_over || rows.iter().all(rests) {
                return Ok(Some(rows));
            }
        }
        last = now;
    }
}

async fn standing(stage: &Stage) -> anyhow::Result<Standing> {
    let (database, metrics, quota) =
        (&stage.shared.database, &stage.shared.metrics, &stage.config.rate_limit);
    let counts = report::counts(database).await?;
    let in_doubt = counts.iter().find(|count| count.status == Status::Unconfirmed);
    Ok(Standing {
        synced: metrics.courses_so_far(CourseOutcome::Synced)
            + metrics.courses_so_far(CourseOutcome::Adopted),
        failed: metrics.courses_so_far(CourseOutcome::Failed),
        in_doubt: in_doubt.map_or(0, |count| count.courses),
        requests: report::recent(database, quota.per).await?.in_window,
        quota: quota.requests,
        pause: stage.shared.account.view().into_iter().next(),
    })
}
