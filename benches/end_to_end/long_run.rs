//! Hours at the full quota, with short retention: what grows? Samples memory, descriptors, connections, tables and log of the
//! program each minute, and compares the last hour with the first.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::ensure;
use comfy_table::{Table, presets};
use sqlx::PgPool;
use tokio::process::Command;

use super::environment::{Daemon, Environment, Scope, drained, program, settings};
use super::fake_hubspot::FakeHubSpot;
use super::feeder::Feeder;
use super::table::{Goal, Report, format_number};

const QUOTA: (&str, &str) = ("190", "10s");
/// Requests and seconds of [`QUOTA`].
const REQUESTS: usize = 190;
const PER: f64 = 10.0;
const RESPONSE_TIME: Duration = Duration::from_millis(150);
/// Cleanups run this often, so that they keep up with the quota.
const RETENTION: &str = "1m";
const SAMPLE_EVERY: Duration = Duration::from_mins(1);
/// Tables and memory settle in this part (1/n) of the run; it is not compared.
const WARM_UP: usize = 12;
/// How much more the last hour may take than the first.
const GROWTH: f64 = 1.05;
/// KiB of the log in a minute.
const MAX_LOG: f64 = 16.0;

/// The figures of a sample, with their units.
const FIGURES: [(&str, &str); 13] = [
    ("memory (RSS)", "MiB"),
    ("peak memory", "MiB"),
    ("open descriptors", ""),
    ("database connections", ""),
    ("course_outbox: rows", ""),
    ("course_outbox: size", "MiB"),
    ("course_sync_batch: rows", ""),
    ("course_sync_batch: size", "MiB"),
    ("course_sync_history: rows", ""),
    ("course_sync_history: size", "MiB"),
    ("log written in the minute", "KiB"),
    ("requests in the minute", ""),
    ("courses per request", ""),
];
/// So many of the figures, the first ones, must not grow.
const FLAT: usize = 10;
/// The position of the log's figure.
const LOG: usize = 10;

/// The figures at one time.
type Sample = [f64; FIGURES.len()];

/// What is sampled, and the totals of the last sample.
struct Sampler<'a> {
    daemon: &'a Daemon,
    pool: &'a PgPool,
    hubspot: &'a FakeHubSpot,
    log: &'a Path,
    logged: u64,
    requests: usize,
}

impl Sampler<'_> {
    #[allow(clippy::cast_precision_loss)]
    async fn sample(&mut self) -> anyhow::Result<Sample> {
        let connections: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where application_name like 'course-sync%'",
        )
        .fetch_one(self.pool)
        .await?;
        let (outbox, journal, history) = (
            self.table("course_outbox").await?,
            self.table("course_sync_batch").await?,
            self.table("course_sync_history").await?,
        );
        let arrivals = self.hubspot.arrivals().await?;
        let sent = arrivals.get(self.requests..).unwrap_or_default();
        self.requests = arrivals.len();
        let courses: usize = sent.iter().map(|request| request.courses).sum();
        let writes = sent.iter().filter(|request| request.courses > 0).count();
        let logged = std::fs::metadata(self.log)?.len();
        let log = (logged - self.logged) as f64 / 1024.0;
        self.logged = logged;
        Ok([
            self.daemon.memory("VmRSS:")?,
            self.daemon.peak()?,
            self.daemon.descriptors()? as f64,
            connections as f64,
            outbox.0,
            outbox.1,
            journal.0,
            journal.1,
            history.0,
            history.1,
            log,
            sent.len() as f64,
            courses as f64 / (writes as f64).max(1.0),
        ])
    }

    /// Rows and MiB of a table.
    async fn table(&self, name: &str) -> anyhow::Result<(f64, f64)> {
        // The names are constants of this benchmark.
        let query = format!(
            "select count(*)::float8, pg_total_relation_size('{name}')::float8 / 1024 / 1024 from {name}"
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(query)).fetch_one(self.pool).await?)
    }
}

pub async fn measure(scope: Scope, report: &mut Report) -> anyhow::Result<()> {
    let environment = Environment::new().await?;
    let (url, pool) = environment.database("long_run").await?;
    let hubspot = FakeHubSpot::start(RESPONSE_TIME).await?;
    let mut settings = settings(&url, &hubspot, QUOTA);
    for (name, value) in [
        ("COURSE_SYNC__OUTBOX__RETENTION", RETENTION),
        ("COURSE_SYNC__OUTBOX__HISTORY_RETENTION", RETENTION),
        ("COURSE_SYNC__LOG__FILTER", "info"),
        // As in the image.
        ("MALLOC_MMAP_THRESHOLD_", "131072"),
    ] {
        settings.insert(name.to_owned(), value.to_owned());
    }
    let log = tempfile::NamedTempFile::new()?;
    let mut run = Command::new(program());
    run.arg("run").stdout(Stdio::null()).stderr(log.as_file().try_clone()?);
    let daemon = Daemon::spawn(&mut run, &settings)?;
    let feeder = tokio::spawn(Feeder::default().run(pool.clone()));
    let mut probe =
        Sampler { daemon: &daemon, pool: &pool, hubspot: &hubspot, log: log.path(), logged: 0, requests: 0 };
    let mut samples = Vec::new();
    let mut next = tokio::time::Instant::now();
    while samples.len() < scope.minutes {
        next += SAMPLE_EVERY;
        tokio::time::sleep_until(next).await;
        ensure!(!feeder.is_finished(), "the feeder ended: {:?}", feeder.await);
        let sample = probe.sample().await?;
        samples.push(sample);
        let figures: Vec<_> =
            FIGURES.iter().zip(sample).map(|((name, _), value)| figure(name, value)).collect();
        eprintln!("  minute {}: {}", samples.len(), figures.join(", "));
    }
    feeder.abort();
    feeder.await.ok();
    // Nothing is lost: each row is at rest as it says.
    drained(&pool).await?;
    let not_synced: i64 = sqlx::query_scalar(
        "select count(*) from course_outbox
          where case when archived then status <> 'archived' else status <> 'synced' end",
    )
    .fetch_one(&pool)
    .await?;
    print(&samples);
    compare(&samples, report);
    let lost = usize::try_from(not_synced)?;
    add(report, "courses that are neither synced nor archived at the end", lost, 0);
    add(report, "most requests in any 10 s, at the receiver", fullest_window(&hubspot).await?, REQUESTS);
    daemon.stop().await?;
    pool.close().await;
    environment.stop().await
}

fn figure(name: &str, value: f64) -> String {
    format!("{name} {}", format_number(value))
}

#[allow(clippy::cast_precision_loss)]
fn add(report: &mut Report, what: &str, value: usize, most: usize) {
    report.add(what, value as f64, "", Goal::AtMost(most as f64));
}

/// Prints the samples at five times, and the maximum.
fn print(samples: &[Sample]) {
    let last = samples.len().saturating_sub(1);
    let at = [0, last / 4, last / 2, last * 3 / 4, last];
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let minutes = at.map(|at| format!("Minute {}", at + 1));
    table.set_header(["Figure".to_owned()].into_iter().chain(minutes).chain(["Maximum".to_owned()]));
    for (figure, (name, unit)) in FIGURES.iter().enumerate() {
        let values = at.iter().map(|at| samples[*at][figure]).chain([max(samples, figure)]);
        let values = values.map(|value| format!("{} {unit}", format_number(value)));
        table.add_row([(*name).to_owned()].into_iter().chain(values));
    }
    println!("{table}");
}

/// Compares the last hour, or the last half of a shorter run, with the first one after the warm-up.
fn compare(samples: &[Sample], report: &mut Report) {
    let settled = &samples[samples.len() / WARM_UP..];
    let hour = (settled.len() / 2).min(60);
    let (first, last) = (&settled[..hour], &settled[settled.len() - hour..]);
    for (figure, (name, _)) in FIGURES.iter().enumerate().take(FLAT) {
        let growth = max(last, figure) / max(first, figure);
        report.add(format!("{name}: last hour compared with the first"), growth, "×", Goal::AtMost(GROWTH));
    }
    report.add("log in the busiest minute", max(settled, LOG), "KiB", Goal::AtMost(MAX_LOG));
}

fn max(samples: &[Sample], figure: usize) -> f64 {
    samples.iter().map(|sample| sample[figure]).fold(0.0, f64::max)
}

/// The number of requests in the fullest window.
async fn fullest_window(hubspot: &FakeHubSpot) -> anyhow::Result<usize> {
    let arrivals: Vec<f64> = hubspot.arrivals().await?.iter().map(|arrival| arrival.at).collect();
    let in_window =
        |(position, from): (usize, &f64)| arrivals[position..].partition_point(|at| *at <= from + PER);
    Ok(arrivals.iter().enumerate().map(in_window).max().unwrap_or_default())
}
