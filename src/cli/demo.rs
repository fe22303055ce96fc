//! `demo`: everything in one process, without an account.

use super::Outcome;
use crate::demo::{self, Ending, Options};

/// Show the whole in half a minute, without account or database
///
/// Courses of a made-up university go through the outbox, sent by the real daemon, to a HubSpot
/// simulator that allows 190 requests in 10 s, refuses bad courses and has a bad moment on the way. At
/// the end every course is checked against the simulator's records; the exit code is 1 if one of them
/// is not where it belongs. Reads no configuration and leaves nothing behind.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many courses (100 to 100000)
    #[arg(long, value_name = "N", default_value_t = 40_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    courses: u32,
    /// Where the randomness of the courses and of the simulator starts
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Leave the console and the simulator up at the end, until Ctrl-C
    #[arg(long)]
    keep_open: bool,
    /// Show the daemon's log on stderr, and plain lines in place of the bar
    #[arg(long)]
    verbose: bool,
}

pub(super) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let options = Options {
        courses: args.courses as usize,
        seed: args.seed,
        keep_open: args.keep_open,
        verbose: args.verbose,
    };
    let ending = demo::run(&options, &mut std::io::stdout()).await?;
    Ok(match ending {
        Ending::Proven => Outcome::Fine,
        Ending::Broken => Outcome::Failed,
        Ending::Interrupted(signal) => Outcome::Interrupted(signal),
    })
}
