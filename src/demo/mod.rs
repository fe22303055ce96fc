//! `course-sync demo`: the whole system in one process, without a HubSpot account.
//!
//! It starts a throwaway Postgres, the HubSpot simulator on a socket and the real daemon, and sends the courses
//! of a made-up university. Halfway through, the simulator fails for a short time. Then the catalogue changes and withdraws
//! some courses. At the end every course is compared with the simulator's records.
//!
//! May touch: child processes and the temp directory (through [`postgres`]), sockets on 127.0.0.1,
//! stderr, and the process's signals. The tests use [`postgres`] too.

mod catalogue;
mod changes;
mod closing_table;
mod incident;
mod interrupt;
pub mod postgres;
mod progress;
mod system;
mod totals;
mod verification;

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Context;

use self::catalogue::Catalogue;
use self::interrupt::Interrupt;
use self::postgres::ThrowawayPostgres;
use self::progress::{ProgressDisplay, Snapshot};
use self::system::DemoSystem;
use self::totals::Totals;
use crate::course::Status;
use crate::outbox::ops::{audit, enqueue};
use crate::outbox::overview;
use crate::telemetry::logging;
use crate::telemetry::metrics::CourseOutcome;

/// The command-line options.
#[derive(Debug, Clone, Copy)]
pub struct DemoOptions {
    /// Number of courses.
    pub courses: usize,
    /// Seed of the courses and of the simulator.
    pub seed: u64,
    /// Keeps console and simulator running until a signal.
    pub keep_open: bool,
    /// Writes the daemon's log to stderr.
    pub verbose: bool,
}

/// How the demo ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoResult {
    /// Every course is in the right state.
    Passed,
    /// At least one course is not; the output lists what is wrong.
    Failed,
    /// Stopped early by the signal with this number.
    Interrupted(u8),
}

/// Courses enqueued by one statement.
const CHUNK: usize = 1_000;
/// How often the progress display is updated.
const TICK: Duration = Duration::from_millis(200);
/// The demo gives up after this long without progress. Its own incident lasts less than half of that.
const STALLED: Duration = Duration::from_mins(1);
/// After a signal, how long to wait for a starting Postgres, so that it can be stopped cleanly. A start takes one
/// second, up to ten on a busy machine; only a download takes longer.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// Runs the demo. The closing table is written to `out`, everything before it to stderr.
///
/// # Errors
/// When Postgres cannot be started, or another part cannot be set up. Everything that was started is removed
/// then too.
pub async fn run(options: &DemoOptions, out: &mut impl Write) -> anyhow::Result<DemoResult> {
    let interrupt = Interrupt::listen().context("listening for signals")?;
    let mut progress = ProgressDisplay::new(options.courses, options.verbose);
    progress.print_line("Starting a throwaway Postgres …");
    let started = start_postgres(&interrupt).await?;
    match (started, interrupt.signal()) {
        (Some(postgres), None) => {
            let result = run_on(&postgres, options, &interrupt, &mut progress, out).await;
            progress.abort();
            let stopped = postgres.stop().await;
            let result = result?;
            stopped?;
            if matches!(result, DemoResult::Interrupted(_)) {
                progress.print_line("Stopped. The throwaway Postgres was removed; nothing is left behind.");
            }
            Ok(result)
        }
        (Some(postgres), Some(signal)) => {
            postgres.stop().await?;
            progress.print_line("Stopped before any course was sent; nothing is left behind.");
            Ok(DemoResult::Interrupted(signal))
        }
        (None, signal) => {
            progress.print_line("Stopped. The Postgres that was being started ends with this program.");
            Ok(DemoResult::Interrupted(signal.unwrap_or_default()))
        }
    }
}

/// `None`: interrupted. The watchdog then removes the cluster when this process ends.
async fn start_postgres(interrupt: &Interrupt) -> anyhow::Result<Option<ThrowawayPostgres>> {
    let options = postgres::PostgresOptions {
        on_progress: progress::print_to_stderr,
        ..postgres::PostgresOptions::default()
    };
    let mut starting = Box::pin(ThrowawayPostgres::start(options));
    let started = tokio::select! {
        started = &mut starting => Some(started),
        () = interrupt.received() => tokio::time::timeout(START_TIMEOUT, starting).await.ok(),
    };
    Ok(started.transpose()?)
}

async fn run_on(
    postgres: &ThrowawayPostgres,
    options: &DemoOptions,
    interrupt: &Interrupt,
    progress: &mut ProgressDisplay,
    out: &mut impl Write,
) -> anyhow::Result<DemoResult> {
    let catalogue = catalogue::generate(options.courses, options.seed);
    let mut system = DemoSystem::start(&postgres.url("postgres"), &catalogue, options).await?;
    let _log_guard = logging::init(&system.config.log)?;
    print_introduction(&system, postgres, options, progress);
    let result = send_all(&mut system, &catalogue, interrupt, progress, out).await;
    if options.keep_open && result.is_ok() && interrupt.signal().is_none() {
        progress.print_line("Console and simulator keep running until Ctrl-C.");
        interrupt.received().await;
    }
    system.shut_down().await;
    result
}

fn print_introduction(
    system: &DemoSystem,
    postgres: &ThrowawayPostgres,
    options: &DemoOptions,
    progress: &mut ProgressDisplay,
) {
    let (quota, root) = (&system.config.rate_limit, postgres.root().display());
    let courses = progress::count(options.courses);
    progress.print_line(&format!(
        "Sending {courses} courses of {} to a simulated HubSpot.\n",
        catalogue::UNIVERSITY
    ));
    progress.print_line(&format!("  outbox    a throwaway Postgres in {root}"));
    progress.print_line(&format!(
        "  HubSpot   {}  (simulated; {} requests in {} s)",
        system.simulator.url(),
        quota.requests,
        quota.per.as_secs()
    ));
    progress.print_line(&format!("  console   {}\n", system.console));
}

async fn send_all(
    system: &mut DemoSystem,
    catalogue: &Catalogue,
    interrupt: &Interrupt,
    progress: &mut ProgressDisplay,
    out: &mut impl Write,
) -> anyhow::Result<DemoResult> {
    for courses in catalogue.courses.chunks(CHUNK) {
        if let Some(signal) = interrupt.signal() {
            return Ok(DemoResult::Interrupted(signal));
        }
        enqueue::enqueue(&system.context.edges.database, courses, enqueue::Existing::Keep).await?;
    }
    let began = Instant::now();
    system.start_daemon();
    let Some(rows) = wait_until_settled(system, interrupt, progress).await? else {
        return Ok(DemoResult::Interrupted(interrupt.signal().unwrap_or_default()));
    };
    let took = began.elapsed();
    let changes = changes::choose(&catalogue.courses, &rows);
    progress.print_line(&format!(
        "  The catalogue changes {} and withdraws {}.",
        progress::counted(changes.names.len(), "course"),
        changes.withdrawn
    ));
    for courses in changes.courses.chunks(CHUNK) {
        enqueue::enqueue(&system.context.edges.database, courses, enqueue::Existing::Update).await?;
    }
    let Some(rows) = wait_until_settled(system, interrupt, progress).await? else {
        return Ok(DemoResult::Interrupted(interrupt.signal().unwrap_or_default()));
    };
    progress.finish();

    let simulator = &system.simulator;
    let (records, journal) = (simulator.records(), simulator.journal());
    let verification = verification::verify(&rows, &records, catalogue::UNIQUE_PROPERTY, &changes.names);
    let totals = Totals {
        changed: changes.names.len(),
        ..Totals::new(&rows, &system.preexisting, &simulator.summary(), took, system.config.rate_limit.per)
    };
    let incidents = incident::describe(&journal);
    closing_table::write(out, &totals, &totals::group_failures(&rows), &incidents, &verification)?;
    Ok(if verification.is_ok() { DemoResult::Passed } else { DemoResult::Failed })
}

/// Shows the progress until every course is synced, failed or archived, or until nothing changes for [`STALLED`]. Returns the
/// outbox; `None`: interrupted.
async fn wait_until_settled(
    system: &DemoSystem,
    interrupt: &Interrupt,
    progress: &mut ProgressDisplay,
) -> anyhow::Result<Option<Vec<audit::AuditedCourse>>> {
    let (mut last, mut last_change) = (Snapshot::default(), Instant::now());
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = interrupt.received() => {}
        }
        let now = snapshot(system).await?;
        if interrupt.signal().is_some() {
            return Ok(None);
        }
        if (now.settled(), now.changed) != (last.settled(), last.changed) {
            last_change = Instant::now();
        }
        progress.update(&now);
        let has_stopped = last_change.elapsed() > STALLED || system.daemon_has_stopped();
        if has_stopped || progress.is_complete(&now) {
            let rows = audit::read_all_courses(&system.context.edges.database).await?;
            let is_settled = |row: &audit::AuditedCourse| {
                matches!(row.status, Status::Synced | Status::Failed | Status::Archived)
            };
            if has_stopped || rows.iter().all(is_settled) {
                return Ok(Some(rows));
            }
        }
        last = now;
    }
}

async fn snapshot(system: &DemoSystem) -> anyhow::Result<Snapshot> {
    let (database, metrics, quota) =
        (&system.context.edges.database, &system.context.reporting.metrics, &system.config.rate_limit);
    let counts = overview::count_courses(database).await?;
    let unconfirmed = counts.iter().find(|count| count.status == Status::Unconfirmed);
    Ok(Snapshot {
        synced: metrics.courses_so_far(CourseOutcome::Synced)
            + metrics.courses_so_far(CourseOutcome::Adopted),
        failed: metrics.courses_so_far(CourseOutcome::Failed),
        changed: metrics.courses_so_far(CourseOutcome::Updated)
            + metrics.courses_so_far(CourseOutcome::Archived),
        unconfirmed: unconfirmed.map_or(0, |count| count.courses),
        requests: overview::read_recent_requests(database, quota.per).await?.in_window,
        quota: quota.requests,
        pause: system.context.account.pauses().into_iter().next(),
    })
}
