//! Compares course-sync with job queues on Postgres: duplicates and losses under faults, and cost. See docs/compared.md.
//!
//! `compared safety|cost [--courses N] [--only NAME]…`; a name is a program's, a fault's or a section's.

mod cluster;
mod cost;
mod peers;
mod process;
mod receiver;
mod safety;
mod subject;
mod table;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use self::subject::Subject;

/// What to measure.
pub struct Scope {
    /// Courses per run.
    pub courses: usize,
    only: Vec<String>,
}

/// The names of the faults and sections.
const PARTS: [&str; 8] = ["kill", "answers", "restart", "sessions", "stopped", "drain", "held", "latency"];

impl Scope {
    fn parse(mut words: impl Iterator<Item = String>, courses: usize) -> anyhow::Result<Self> {
        let mut scope = Self { courses, only: Vec::new() };
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word}: no value"))?;
            match word.as_str() {
                "--courses" => scope.courses = value.parse()?,
                "--only" => scope.only.push(value),
                _ => bail!("unknown option {word}"),
            }
        }
        Ok(scope)
    }

    /// Whether a fault or a section is to be measured.
    #[must_use]
    pub fn includes(&self, part: &str) -> bool {
        let names_parts = self.only.iter().any(|name| PARTS.contains(&name.as_str()));
        !names_parts || self.only.iter().any(|name| name == part)
    }

    /// The programs to measure.
    pub fn subjects(&self) -> impl Iterator<Item = Subject> {
        let is_named = |subject: &Subject| self.only.iter().any(|name| name == subject.name());
        let names_subjects = Subject::ALL.iter().any(is_named);
        Subject::ALL.into_iter().filter(move |subject| !names_subjects || is_named(subject))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("safety") => unless_interrupted(safety::measure(&Scope::parse(words, 5_000)?)).await,
        Some("cost") => unless_interrupted(cost::measure(&Scope::parse(words, 50_000)?)).await,
        Some("peer") => match words.next().as_deref() {
            Some("plain-loop") => peers::plain_loop::run().await,
            Some("pgmq") => peers::pgmq_worker::run().await,
            Some("graphile_worker") => peers::graphile::run().await,
            Some("awa") => peers::awa_worker::run().await,
            _ => bail!("unknown peer"),
        },
        _ => bail!("usage: compared safety|cost [--courses N] [--only NAME]…"),
    }
}

/// Ends a measurement at Ctrl-C or SIGTERM, so that its cluster is removed.
async fn unless_interrupted(measurement: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        result = measurement => result,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminated.recv() => bail!("interrupted"),
    }
}
