//! What a measurement stands on: a throwaway Postgres, and the program in a process of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use course_sync::demo::postgres::{Options, ThrowawayPostgres};
use course_sync::outbox::connect;
use secrecy::SecretString;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::process::{Child, Command};

use super::payload::UNIQUE;
use super::stand_in::StandIn;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// Courses of one run.
    pub courses: usize,
    /// Rows of the large outbox.
    pub rows: usize,
    /// Repetitions.
    pub rounds: usize,
}

/// A Postgres of one's own, removed at the end.
pub struct Ground {
    postgres: ThrowawayPostgres,
}

impl Ground {
    /// As a server is set up: commits are flushed, pages are written whole, vacuum comes by.
    pub async fn new() -> anyhow::Result<Self> {
        let settings = [
            ("shared_buffers", "512MB"),
            ("max_wal_size", "4GB"),
            ("autovacuum_naptime", "15s"),
            ("maintenance_work_mem", "256MB"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let options = Options { durable: true, settings, ..Options::default() };
        Ok(Self { postgres: ThrowawayPostgres::start(options).await? })
    }

    /// The address of a new database with the schema, and a pool of it.
    pub async fn database(&self, name: &str) -> anyhow::Result<(String, PgPool)> {
        let server = PgPool::connect(&self.postgres.url("postgres")).await?;
        // A name from this file's neighbours: nothing to quote.
        sqlx::query(sqlx::AssertSqlSafe(format!("create database {name}"))).execute(&server).await?;
        let url = self.postgres.url(name);
        connect::migrate(&SecretString::from(url.clone())).await?;
        let pool = PgPoolOptions::new().max_connections(4).connect(&url).await?;
        Ok((url, pool))
    }

    /// One of the server's programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.postgres.bin_dir().join(name)
    }

    /// Where the server's socket lies.
    pub fn socket_dir(&self) -> PathBuf {
        self.postgres.root().to_owned()
    }

    /// The end.
    pub async fn end(self) -> anyhow::Result<()> {
        Ok(self.postgres.stop().await?)
    }
}

/// The quota as good as lifted.
pub const LIFTED: (&str, &str) = ("100000", "1s");
/// Clock ticks of `/proc` in a second; the same on every Linux.
const TICKS: f64 = 100.0;

/// The program's settings between a database and a stand-in.
pub fn settings(database: &str, hubspot: &StandIn, quota: (&str, &str)) -> BTreeMap<String, String> {
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

/// Names another build of the program, to compare two.
const PROGRAM: &str = "WHOLE_PROGRAM";

/// A running `course-sync run`. Killed when dropped.
pub struct Daemon {
    child: Child,
    id: u32,
}

impl Daemon {
    /// The real program.
    pub fn start(settings: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let program = std::env::var_os(PROGRAM).unwrap_or_else(|| env!("CARGO_BIN_EXE_course-sync").into());
        Self::spawn(Command::new(program).arg("run"), settings)
    }

    /// A program that behaves like it.
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

    /// The CPU time that it has used, in seconds.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id))?;
        // After the name, which may hold anything, user and system time are the 12th and 13th field.
        let (_, fields) = stat.rsplit_once(')').context("an unknown /proc")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
        Ok(ticks.sum::<Result<f64, _>>()? / TICKS)
    }

    /// The most memory that it has held, in MiB.
    pub fn peak(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("an unknown /proc")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }

    /// Asks it to stop, and waits for it.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let status = std::process::Command::new("kill").args(["-TERM", &self.id.to_string()]).status()?;
        ensure!(status.success(), "the program was gone");
        let status = self.child.wait().await?;
        ensure!(status.success(), "the program ended with {status}");
        Ok(())
    }
}

/// The longest that anything here takes.
const PATIENCE: Duration = Duration::from_mins(20);

/// Waits until nothing is pending and nothing in flight.
pub async fn drained(pool: &PgPool) -> anyhow::Result<()> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        // Served by the partial indexes, so that the wait does not disturb.
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
    anyhow::bail!("the outbox is not empty after {PATIENCE:?}")
}
