//! Cost of a course: CPU and allocations of the program, WAL and dead rows of the database.

use std::alloc::System;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use sqlx::PgPool;
use stats_alloc::StatsAlloc;
use tokio::process::Command;

use super::environment::{Daemon, Environment, Scope, UNLIMITED, drained, settings};
use super::fake_hubspot::FakeHubSpot;
use super::payload;
use super::table::{Goal, Report, median};
use super::throughput::run;

/// The argument that selects this role: it is the command of course-sync.
pub const ROLE: &str = "run";
/// Environment variable with the file for the allocation counts.
const COUNTS: &str = "BENCH_COUNTS";
const RESPONSE_TIME: Duration = Duration::from_millis(100);

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

#[allow(clippy::cast_precision_loss)]
pub async fn measure(scope: Scope, report: &mut Report) -> anyhow::Result<()> {
    let environment = Environment::new().await?;
    let (url, pool) = environment.database("cost").await?;
    let hubspot = FakeHubSpot::start(RESPONSE_TIME).await?;
    let per_100_000 = 100_000.0 / scope.courses as f64;
    let courses = scope.courses as f64;
    let (mut cpu, mut wal, mut dead, mut hot) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scope.rounds {
        payload::preload_usual(&pool, scope.courses).await?;
        sqlx::query("checkpoint").execute(&pool).await?;
        let before = read_statistics(&pool).await?;
        cpu.push(run(&url, &pool, &hubspot, UNLIMITED).await?.cpu * per_100_000);
        let after = read_statistics(&pool).await?;
        wal.push((after.wal - before.wal) / courses);
        dead.push((after.updated - before.updated) as f64 / courses);
        hot.push((after.hot - before.hot) as f64 / courses);
    }
    let (count, bytes) = allocations(&url, &pool, &hubspot, scope.courses).await?;
    report.add("CPU of the program per 100,000 courses", median(&cpu), "s", Goal::None);
    report.add("allocations per course", count / courses, "", Goal::None);
    report.add("bytes allocated per course", bytes / courses, "B", Goal::None);
    report.add("WAL per course, after a checkpoint", median(&wal), "B", Goal::None);
    report.add("dead rows per course", median(&dead), "", Goal::AtMost(2.0));
    report.add("dead rows removed without vacuum (HOT)", median(&hot), "", Goal::None);
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
