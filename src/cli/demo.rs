//! `course-sync demo`: the whole system in one process, without an account.

use super::outcome::CommandOutcome;
use crate::demo::{self, DemoOptions, DemoResult};

/// Run a demo against a HubSpot simulator, without account or database
///
/// The real daemon sends the courses of a made-up university from an outbox to a HubSpot simulator. The
/// simulator allows 190 requests in 10 s, rejects invalid courses and fails for a short time. At the
/// end every course is compared with the simulator's records; the exit code is 1 if one of them is in
/// the wrong state. Takes half a minute, reads no configuration and leaves nothing behind.
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// Number of courses (100 to 100000)
    #[arg(long, value_name = "N", default_value_t = 40_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    courses: u32,
    /// Seed of the courses and of the simulator
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Keep the console and the simulator running at the end, until Ctrl-C
    #[arg(long)]
    keep_open: bool,
    /// Write the daemon's log to stderr, and plain lines instead of the progress bar
    #[arg(long)]
    verbose: bool,
}

pub(super) async fn run(args: DemoArgs) -> anyhow::Result<CommandOutcome> {
    let options = DemoOptions {
        courses: args.courses as usize,
        seed: args.seed,
        keep_open: args.keep_open,
        verbose: args.verbose,
    };
    let result = demo::run(&options, &mut std::io::stdout()).await?;
    Ok(match result {
        DemoResult::Passed => CommandOutcome::Success,
        DemoResult::Failed => CommandOutcome::Failure,
        DemoResult::Interrupted(signal) => CommandOutcome::Interrupted(signal),
    })
}
