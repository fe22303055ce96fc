//! Cost of a course: CPU and allocations of the program, WAL and dead rows of the database.

use std::alloc::System;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use sqlx::PgPool;
use stats_alloc::StatsAlloc;
use tokio::process::Command;

use super::baseline::unsafe_loop;
use super::environment::{Daemon, Environment, Scope, UNLIMITED, drained, settings};
use super::fake_hubspot::FakeHubSpot;
use super::payload;
use super::table::{Goal, Report, median};
use super::throughput::run;

/// The argument that selects this role: it is the command of course-sync.
pub const ROLE: &str = "run";
/// Environment variable with the file for the allocation counts.
const COUNTS: &str = "BENCH_COUNTS";

/// Runs course-sync, then writes the number of allocations.
pub fn run_counted(allocator: &StatsAlloc<System>) -> ExitCode {
    let outcome = course_sync::cli::main();
    let stats = allocator.stats();
    let counts = format!("{} {}", stats.allocations + stats.reallocations, stats.bytes_allocated);
    match std::env::var_os(COUNTS).map(|path| std::fs::write(path, counts)) {
        Some(Ok(())) => outcome,
        _ => ExitCode::FAILURE,
    }
}

/// Statistics of the database.
struct Statistics {
    wal: f64,
    updated: i64,
    hot: i64,
}

async fn read_statistics(pool: &PgPool) -> anyhow::Result<Statistics> {
    // A session reports its statistics with a delay of up to one second.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let (wal, updated, hot) = sqlx::query_as(
        "select (pg_current_wal_insert_lsn() - '0/0')::float8, n_tup_upd, n_tup_hot_upd
           from pg_stat_user_tables where relname = 'course_outbox'",
    )
    .fetch_one(pool)
    .await?;
    Ok(Statistics { wal, updated, hot })
}

/// The cost of one run for the database.
#[derive(Default)]
struct DatabaseCost {
    /// CPU seconds of the server per 100,000 courses.
    server_cpu: Vec<f64>,
    /// Bytes per course.
    wal: Vec<f64>,
    /// Row versions written per course, and those that vacuum need not remove.
    versions: Vec<f64>,
    hot: Vec<f64>,
}

impl DatabaseCost {
    /// Measures a run over freshly inserted courses.
    #[allow(clippy::cast_precision_loss)]
    async fn measure<T>(
        &mut self,
        environment: &Environment,
        pool: &PgPool,
        courses: usize,
        run: impl AsyncFnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        payload::preload_usual(pool, courses).await?;
        sqlx::query("checkpoint").execute(pool).await?;
        let (before, cpu_before) = (read_statistics(pool).await?, environment.server_cpu()?);
        let result = run().await?;
        let (cpu_after, after) = (environment.server_cpu()?, read_statistics(pool).await?);
        let courses = courses as f64;
        self.server_cpu.push((cpu_after - cpu_before) * 100_000.0 / courses);
        self.wal.push((after.wal - before.wal) / courses);
        self.versions.push((after.updated - before.updated) as f64 / courses);
        self.hot.push((after.hot - before.hot) as f64 / courses);
        Ok(result)
    }
}

#[allow(clippy::cast_precision_loss)]
pub async fn measure(scope: Scope, report: &mut Report) -> anyhow::Result<()> {
    let environment = Environment::new().await?;
    let (url, pool) = environment.database("cost").await?;
    let hubspot = FakeHubSpot::start(Duration::ZERO).await?;
    let courses = scope.courses as f64;
    let (mut ours, mut baseline) = (DatabaseCost::default(), DatabaseCost::default());
    let (mut cpu, mut rates, mut baseline_rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scope.rounds {
        let run = ours
            .measure(&environment, &pool, scope.courses, async || run(&url, &pool, &hubspot, UNLIMITED).await)
            .await?;
        cpu.push(run.cpu * 100_000.0 / courses);
        rates.push(courses / run.seconds);
        let seconds = baseline
            .measure(&environment, &pool, scope.courses, async || unsafe_loop(&pool, &hubspot).await)
            .await?;
        baseline_rates.push(courses / seconds);
    }
    let (count, bytes) = allocations(&url, &pool, &hubspot, scope.courses).await?;
    report.add("CPU of the program per 100,000 courses", median(&cpu), "s", Goal::None);
    report.add("allocations per course", count / courses, "", Goal::None);
    report.add("bytes allocated per course", bytes / courses, "B", Goal::None);
    report.add("row versions per course", median(&ours.versions), "", Goal::AtMost(1.1));
    report.add("of these HOT", median(&ours.hot), "", Goal::None);
    report.add("WAL per course, after a checkpoint", median(&ours.wal), "B", Goal::AtMost(1_700.0));
    report.add("the same, unsafe loop", median(&baseline.wal), "B", Goal::None);
    report.add("CPU of the server per 100,000 courses", median(&ours.server_cpu), "s", Goal::None);
    report.add("the same, unsafe loop", median(&baseline.server_cpu), "s", Goal::None);
    let ratio = median(&ours.server_cpu) / median(&baseline.server_cpu);
    report.add("CPU of the server against the unsafe loop", ratio, "×", Goal::AtMost(1.5));
    let ratio = median(&rates) / median(&baseline_rates);
    report.add("courses a second against the unsafe loop", ratio, "×", Goal::AtLeast(1.5));
    pool.close().await;
    environment.stop().await
}

async fn allocations(
    url: &str,
    pool: &PgPool,
    hubspot: &FakeHubSpot,
    courses: usize,
) -> anyhow::Result<(f64, f64)> {
    let counts = tempfile::NamedTempFile::new()?;
    payload::preload_usual(pool, courses).await?;
    let mut settings = settings(url, hubspot, UNLIMITED);
    settings.insert(COUNTS.to_owned(), counts.path().display().to_string());
    let daemon = Daemon::spawn(Command::new(std::env::current_exe()?).arg(ROLE), &settings)?;
    drained(pool).await?;
    daemon.stop().await?;
    let text = std::fs::read_to_string(counts.path())?;
    let (count, bytes) = text.split_once(' ').context("no counts")?;
    Ok((count.parse()?, bytes.parse()?))
}
