//! End-to-end benchmark: the real program, a real Postgres and a minimal fake HubSpot on this machine. Throughput is
//! compared with baselines measured in the same run. Prints one table.
//!
//! `cargo bench --bench end_to_end -- [SECTION]… [--courses N] [--rows N] [--rounds N] [--minutes N]`; see docs/performance.md.

// A benchmark prints to the terminal and reads only its own data.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::indexing_slicing, clippy::format_push_string)]

mod baseline;
mod cost;
mod environment;
mod fake_hubspot;
mod feeder;
mod latency;
mod long_run;
mod memory;
mod payload;
mod quota;
mod scale;
mod table;
mod throughput;
mod trigger;

use std::alloc::System;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use self::environment::Scope;
use self::table::Report;

/// Counts the allocations of the program, which the section `cost` runs in this executable.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The sections of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Courses per second, compared with a bare sender and a simple loop
    Throughput,
    /// CPU, allocations, WAL and dead rows per course
    Cost,
    /// Peak memory with large courses in flight and a large backlog
    Memory,
    /// Claim, record and status at millions of rows
    Scale,
    /// Time from the catalogue's commit to the request
    Latency,
    /// The catalogue's inserts with and without the notification trigger
    Trigger,
    /// Fraction of the quota that is used
    Quota,
    /// Whether anything grows in hours at the full quota; only if it is named
    #[value(name = "long_run")]
    LongRun,
}

#[derive(Debug, Parser)]
#[command(name = "end_to_end")]
struct Args {
    /// Sections to run; default: all but `long_run`
    sections: Vec<Section>,
    /// Courses per run
    #[arg(long, default_value_t = 20_000)]
    courses: usize,
    /// Rows of the large outbox
    #[arg(long, default_value_t = 200_000)]
    rows: usize,
    /// Repetitions of each measurement, alternating with its baseline
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Minutes of `long_run`
    #[arg(long, default_value_t = 120)]
    minutes: usize,
    /// Added by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    // This executable has three roles, each in its own process.
    match std::env::args().nth(1).as_deref() {
        Some(fake_hubspot::ROLE) => fake_hubspot::main(),
        Some(cost::ROLE) => cost::run_counted(ALLOCATOR),
        _ => measure(&Args::parse()),
    }
}

fn measure(args: &Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (rounds, minutes) = (args.rounds.max(1), args.minutes.max(2));
    let scope = Scope { courses: args.courses, rows: args.rows, rounds, minutes };
    let all = || Section::value_variants().iter().copied().filter(|section| *section != Section::LongRun);
    let sections: Vec<_> = if args.sections.is_empty() { all().collect() } else { args.sections.clone() };
    let mut report = Report::default();
    for section in sections {
        eprintln!("measuring {section:?} …");
        let measured = runtime.block_on(run_section(section, scope, &mut report));
        if let Err(error) = measured {
            eprintln!("{section:?}: {error:#}");
            println!("{report}");
            return ExitCode::FAILURE;
        }
    }
    println!("{report}");
    ExitCode::SUCCESS
}

async fn run_section(section: Section, scope: Scope, report: &mut Report) -> anyhow::Result<()> {
    match section {
        Section::Throughput => throughput::measure(scope, report).await,
        Section::Cost => cost::measure(scope, report).await,
        Section::Memory => memory::measure(scope, report).await,
        Section::Scale => scale::measure(scope, report).await,
        Section::Latency => latency::measure(scope, report).await,
        Section::Trigger => trigger::measure(scope, report).await,
        Section::Quota => quota::measure(scope, report).await,
        Section::LongRun => long_run::measure(scope, report).await,
    }
}
