//! The macro benchmark: the real program, a real Postgres and a lean HubSpot, all on this machine, and
//! every figure as a ratio to something measured in the same run. Prints one table.
//!
//! `cargo bench --bench whole -- [SECTION]… [--courses N] [--rows N] [--rounds N]`; see docs/performance.md.

// A bench speaks to a terminal, and what it reads is its own.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::indexing_slicing, clippy::format_push_string)]

mod baseline;
mod cost;
mod ground;
mod latency;
mod memory;
mod payload;
mod quota;
mod scale;
mod stand_in;
mod table;
mod throughput;
mod trigger;

use std::alloc::System;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use self::ground::Scope;
use self::table::Report;

/// Counts, so that the program can be run in here and its allocations be told.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Courses per second against a bare sender and a plain loop
    Throughput,
    /// CPU, allocations, WAL and dead rows per course
    Cost,
    /// Peak memory with large courses in flight and a large backlog
    Memory,
    /// Claim, record and status at millions of rows
    Scale,
    /// From the catalogue's commit to the request on the wire
    Latency,
    /// The catalogue's own inserts with and without the wake-up trigger
    Trigger,
    /// The share of the quota used
    Quota,
}

#[derive(Debug, Parser)]
#[command(name = "whole")]
struct Args {
    /// What to measure; everything if nothing is named
    sections: Vec<Section>,
    /// Courses of one run
    #[arg(long, default_value_t = 20_000)]
    courses: usize,
    /// Rows of the large outbox
    #[arg(long, default_value_t = 200_000)]
    rows: usize,
    /// How often each measurement is repeated, in turns with what it is compared to
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    // The same file plays three parts, each in a process of its own.
    match std::env::args().nth(1).as_deref() {
        Some(stand_in::ROLE) => stand_in::main(),
        Some(cost::ROLE) => cost::counted(ALLOCATOR),
        _ => measure(&Args::parse()),
    }
}

fn measure(args: &Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("whole: the runtime could not be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let scope = Scope { courses: args.courses, rows: args.rows, rounds: args.rounds.max(1) };
    let sections = match args.sections.as_slice() {
        [] => Section::value_variants(),
        some => some,
    };
    let mut report = Report::default();
    for section in sections {
        eprintln!("measuring {section:?} …");
        let measured = runtime.block_on(one(*section, scope, &mut report));
        if let Err(error) = measured {
            eprintln!("whole: {section:?}: {error:#}");
            println!("{report}");
            return ExitCode::FAILURE;
        }
    }
    println!("{report}");
    ExitCode::SUCCESS
}

async fn one(section: Section, scope: Scope, report: &mut Report) -> anyhow::Result<()> {
    match section {
        Section::Throughput => throughput::measure(scope, report).await,
        Section::Cost => cost::measure(scope, report).await,
        Section::Memory => memory::measure(scope, report).await,
        Section::Scale => scale::measure(scope, report).await,
        Section::Latency => latency::measure(scope, report).await,
        Section::Trigger => trigger::measure(scope, report).await,
        Section::Quota => quota::measure(scope, report).await,
    }
}
