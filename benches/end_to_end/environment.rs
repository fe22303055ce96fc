//! The environment of a measurement: a throwaway Postgres, and the program in its own process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use course_sync::demo::postgres::{PostgresOptions, ThrowawayPostgres};
use course_sync::outbox::connect;
use secrecy::SecretString;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::process::{Child, Command};

use super::fake_hubspot::FakeHubSpot;
use super::payload::UNIQUE;

/// The size of the measurements.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// Courses per run.
    pub courses: usize,
    /// Rows of the large outbox.
    pub rows: usize,
    /// Repetitions.
    pub rounds: usize,
    /// Minutes of the long run.
    pub minutes: usize,
}

/// A throwaway Postgres.
pub struct Environment {
    postgres: ThrowawayPostgres,
}

impl Environment {
    /// Starts it with the settings of a production server: durable commits, full page writes, autovacuum.
    pub async fn new() -> anyhow::Result<Self> {
        let settings = [
            ("shared_buffers", "512MB"),
            ("max_wal_size", "4GB"),
            ("autovacuum_naptime", "15s"),
            ("maintenance_work_mem", "256MB"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let options = PostgresOptions { durable: true, settings, ..PostgresOptions::default() };
        Ok(Self { postgres: ThrowawayPostgres::start(options).await? })
    }

    /// Creates a database with the schema. Returns its URL and a connection pool.
    pub async fn database(&self, name: &str) -> anyhow::Result<(String, PgPool)> {
        let server = PgPool::connect(&self.postgres.url("postgres")).await?;
        // The name is a constant of this benchmark and needs no quoting.
        sqlx::query(sqlx::AssertSqlSafe(format!("create database {name}"))).execute(&server).await?;
        let url = self.postgres.url(name);
        connect::migrate(&SecretString::from(url.clone())).await?;
        let pool = PgPoolOptions::new().max_connections(4).connect(&url).await?;
        Ok((url, pool))
    }

    /// The path of one of the server's programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.postgres.bin_dir().join(name)
    }

    /// The CPU time that the server's processes have used so far, in seconds.
    pub fn server_cpu(&self) -> anyhow::Result<f64> {
        let pid_file = self.postgres.data_dir().join("postmaster.pid");
        let text = std::fs::read_to_string(pid_file)?;
        let server: u32 = text.lines().next().context("an empty postmaster.pid")?.trim().parse()?;
        // Its children that have ended are counted in its own statistics.
        let mut ticks = ticks(server, 4)?;
        for process in std::fs::read_dir("/proc")? {
            let Ok(process) = process?.file_name().to_string_lossy().parse::<u32>() else { continue };
            if parent(process) == Some(server) {
                // A child may end at this moment.
                ticks += self::ticks(process, 2).unwrap_or_default();
            }
        }
        Ok(ticks / TICKS)
    }

    /// The folder of the server's socket.
    pub fn socket_dir(&self) -> PathBuf {
        self.postgres.root().to_owned()
    }

    /// Stops and removes it.
    pub async fn stop(self) -> anyhow::Result<()> {
        Ok(self.postgres.stop().await?)
    }
}

/// A quota that is never reached.
pub const UNLIMITED: (&str, &str) = ("100000", "1s");
/// Clock ticks of `/proc` in a second; the same on every Linux.
const TICKS: f64 = 100.0;

/// The program's settings for this database and fake HubSpot.
pub fn settings(database: &str, hubspot: &FakeHubSpot, quota: (&str, &str)) -> BTreeMap<String, String> {
    let settings = [
        ("DATABASE_URL", database),
        ("HUBSPOT_ACCESS_TOKEN", "pat-na1-bench"),
        ("COURSE_SYNC__HUBSPOT__BASE_URL", &hubspot.url()),
        ("COURSE_SYNC__HUBSPOT__UNIQUE_PROPERTY", UNIQUE),
        ("COURSE_SYNC__ADMIN__LISTEN", "127.0.0.1:0"),
        ("COURSE_SYNC__RATE_LIMIT__REQUESTS", quota.0),
        ("COURSE_SYNC__RATE_LIMIT__PER", quota.1),
        ("COURSE_SYNC__LOG__FILTER", "warn"),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Environment variable with the path of another build of the program, to compare two builds.
const PROGRAM: &str = "BENCH_PROGRAM";

/// The program that is measured.
pub fn program() -> OsString {
    std::env::var_os(PROGRAM).unwrap_or_else(|| env!("CARGO_BIN_EXE_course-sync").into())
}

/// A running `course-sync run`. Killed when dropped.
pub struct Daemon {
    child: Child,
    id: u32,
}

impl Daemon {
    /// Starts the real program.
    pub fn start(settings: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        Self::spawn(Command::new(program()).arg("run"), settings)
    }

    /// Starts another program with the same settings.
    pub fn spawn(command: &mut Command, settings: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let child = command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(settings)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting the program")?;
        let id = child.id().context("the program runs")?;
        Ok(Self { child, id })
    }

    /// The CPU time used so far, in seconds.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        Ok(ticks(self.id, 2)? / TICKS)
    }

    /// The peak memory so far, in MiB.
    pub fn peak(&self) -> anyhow::Result<f64> {
        self.memory("VmHWM:")
    }

    /// The number of open descriptors.
    pub fn descriptors(&self) -> anyhow::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.id))?.count())
    }

    /// A line of the process's status, in MiB.
    pub fn memory(&self, name: &str) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("an unknown /proc")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }

    /// Sends SIGTERM and waits until it has stopped.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let status = std::process::Command::new("kill").args(["-TERM", &self.id.to_string()]).status()?;
        ensure!(status.success(), "the program was not running");
        let status = self.child.wait().await?;
        ensure!(status.success(), "the program ended with {status}");
        Ok(())
    }
}

/// The first so many of a process's times: user, system, and those of its children that have ended.
fn ticks(process: u32, times: usize) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // After the name, which may contain any character, the times begin at the 12th field.
    let (_, fields) = stat.rsplit_once(')').context("an unknown /proc")?;
    let ticks = fields.split_whitespace().skip(11).take(times).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()?)
}

fn parent(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Time limit of a run.
const TIMEOUT: Duration = Duration::from_mins(20);

/// Waits until no course is pending and no batch is open.
pub async fn drained(pool: &PgPool) -> anyhow::Result<()> {
    let began = Instant::now();
    while began.elapsed() < TIMEOUT {
        // Uses the partial indexes, so that waiting hardly affects the measurement.
        let waits: bool = sqlx::query_scalar(
            "select exists (select from course_outbox where status = 'pending')
                 or exists (select from course_sync_batch where state = 'open')",
        )
        .fetch_one(pool)
        .await?;
        if !waits {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the outbox is not empty after {TIMEOUT:?}")
}
