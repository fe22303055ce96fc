//! `retry`: failed courses go back to pending.
//!
//! With `--canary` a few go first, and the rest only if these arrive. Everything that holds in between is in
//! the outbox: should the command be stopped at any point, the rest stays failed and it can be run again.

use std::time::{Duration, Instant};

use clap::ArgGroup;

use super::failures::{category, reason};
use super::terminal::{counted, plain, tell};
use super::{Outcome, explain, say};
use crate::course::{Category, Status};
use crate::outbox::failures::{self, Group};
use crate::outbox::retry::{self, Choice, Standing};
use crate::outbox::{Database, Reach, history, pause, report};

/// Put failed courses back, to be sent again
///
/// After the cause is mended: the row corrected, or the account. Touches nothing but what is failed. How often
/// a course was sent still counts on; its faults are forgotten. With several options a course must fit all.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["keys", "category", "code", "all"]))]
pub(super) struct Args {
    /// This course; may be given many times
    #[arg(long = "key", value_name = "KEY", allow_hyphen_values = true, conflicts_with_all = ["category", "code", "all"])]
    keys: Vec<String>,
    /// Those with an error of this category
    #[arg(long, value_name = "CATEGORY", value_parser = category, conflicts_with = "all")]
    category: Option<Category>,
    /// Those with this code of HubSpot's
    #[arg(long, value_name = "CODE", conflicts_with = "all")]
    code: Option<String>,
    /// All of them
    #[arg(long)]
    all: bool,
    /// Send so many first, of each kind of failure some, and the rest only if all of these arrive
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100))]
    canary: Option<u32>,
    /// How long --canary waits for them
    #[arg(long, value_name = "TIME", default_value = "5m", requires = "canary", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Tell how many it would be, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// How often the first few are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How often their progress is told.
const TELL: Duration = Duration::from_secs(10);

pub(super) async fn run(args: &Args, database: &Database) -> anyhow::Result<Outcome> {
    let Some(canary) = args.canary.filter(|_| !args.dry_run) else {
        return match args.keys.as_slice() {
            [] => some(args, database).await,
            keys => these(keys, args.dry_run, 0, database).await,
        };
    };
    let work = with_canary(args, canary, database);
    tokio::select! {
        outcome = work => outcome,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            tell("stopped: what was not put back yet stays failed");
            Ok(Outcome::Interrupted(2))
        }
    }
}

fn choice(args: &Args) -> Choice {
    Choice { category: args.category, code: args.code.clone() }
}

/// Those of a kind.
async fn some(args: &Args, database: &Database) -> anyhow::Result<Outcome> {
    let (choice, since) = (choice(args), retry::now(database).await?);
    if args.dry_run {
        let count = retry::count(database, &choice, since).await?;
        say(&format!("would put back {}", counted(count, "course")))?;
        return Ok(Outcome::Fine);
    }
    let retried = put_back(database, &choice, since).await?;
    say(&format!("put back {}", counted(retried, "course")))?;
    Ok(Outcome::Fine)
}

/// In bites; each is a transaction of its own.
async fn put_back(database: &Database, choice: &Choice, since: jiff::Timestamp) -> anyhow::Result<i64> {
    let (mut retried, mut after) = (0, Some(i64::MIN));
    while let Some(from) = after {
        let pass = retry::some(database, choice, since, from).await?;
        retried += pass.retried;
        after = pass.after;
    }
    Ok(retried)
}

/// Those named. Each that is not put back is told, with the reason. `already` are put back and counted too.
async fn these(keys: &[String], dry_run: bool, already: i64, database: &Database) -> anyhow::Result<Outcome> {
    let standing = retry::standing(database, keys).await?;
    let (failed, others): (Vec<_>, Vec<_>) =
        standing.iter().partition(|course| course.status == Status::Failed);
    for course in &others {
        let status = course.status.as_str();
        tell(&format!("{} is {status}, not failed: left as it is", plain(&course.key)));
    }
    let mut missing = 0;
    for key in keys.iter().filter(|key| standing.iter().all(|course| course.key != **key)) {
        tell(&explain::unknown(key, &history::neighbours(database, key).await?).to_string());
        missing += 1;
    }
    let failed: Vec<String> = failed.into_iter().map(|course| course.key.clone()).collect();
    if dry_run {
        let count = i64::try_from(failed.len()).unwrap_or(i64::MAX);
        say(&format!("would put back {}", counted(count, "course")))?;
    } else {
        let retried = already + retry::these(database, &failed).await?;
        say(&format!("put back {}", counted(retried, "course")))?;
    }
    Ok(if others.is_empty() && missing == 0 { Outcome::Fine } else { Outcome::Failed })
}

/// A few, and the rest if these arrive.
async fn with_canary(args: &Args, canary: u32, database: &Database) -> anyhow::Result<Outcome> {
    let since = retry::now(database).await?;
    let few = if args.keys.is_empty() {
        let mut groups = failures::groups(database, args.category).await?;
        let is_meant = |group: &Group| args.code.is_none() || group.code == args.code;
        groups.retain(is_meant);
        retry::few(database, &groups, canary).await?
    } else {
        let standing = retry::standing(database, &args.keys).await?;
        let failed = standing.into_iter().filter(|course| course.status == Status::Failed);
        failed.map(|course| course.key).take(usize::try_from(canary).unwrap_or(usize::MAX)).collect()
    };
    if few.is_empty() {
        say("put back 0 courses")?;
        return Ok(Outcome::Fine);
    }
    let first = retry::these(database, &few).await?;
    tell(&format!("put back {} first: {}", counted(first, "course"), plain(&few.join(", "))));
    if !arrived(database, &few, args.wait).await? {
        say(&format!("put back {}; the rest stays failed", counted(first, "course")))?;
        return Ok(Outcome::Failed);
    }
    tell("all of these arrived");
    if args.keys.is_empty() {
        let rest = put_back(database, &choice(args), since).await?;
        say(&format!("put back {}", counted(first + rest, "course")))?;
        return Ok(Outcome::Fine);
    }
    let rest: Vec<String> = args.keys.iter().filter(|key| !few.contains(key)).cloned().collect();
    these(&rest, false, first, database).await
}

/// Waits until each of these ended. True where all are synced; else why not is told.
async fn arrived(database: &Database, keys: &[String], patience: Duration) -> anyhow::Result<bool> {
    let began = Instant::now();
    let mut told = Instant::now();
    warn_of_a_standstill(database.into()).await?;
    loop {
        let standing = retry::standing(database, keys).await?;
        let is_open = |course: &&Standing| match course.status {
            Status::Pending | Status::InFlight | Status::Unconfirmed => true,
            Status::Synced | Status::Failed => false,
        };
        let open: Vec<&Standing> = standing.iter().filter(is_open).collect();
        let failed: Vec<&Standing> =
            standing.iter().filter(|course| course.status == Status::Failed).collect();
        for course in &failed {
            let why = course.error.as_ref().map(reason).unwrap_or_default();
            tell(&format!("{} failed again: {why}", plain(&course.key)));
        }
        if !failed.is_empty() || open.is_empty() {
            return Ok(failed.is_empty());
        }
        if began.elapsed() > patience {
            for course in open {
                tell(&format!("{} is still {}", plain(&course.key), course.status.as_str()));
            }
            return Ok(false);
        }
        if told.elapsed() > TELL {
            told = Instant::now();
            tell(&format!("waiting: {} of {} have arrived", standing.len() - open.len(), standing.len()));
            warn_of_a_standstill(database.into()).await?;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whoever waits for a sending that cannot come should know.
async fn warn_of_a_standstill(reach: Reach<'_>) -> anyhow::Result<()> {
    let leader = report::leader(reach).await?.filter(|leader| leader.is_current);
    let Some(leader) = leader else {
        tell("nobody sends at present: start `course-sync run`");
        return Ok(());
    };
    let is_paused =
        leader.report.get("pauses").and_then(|pauses| pauses.as_array()).is_some_and(|it| !it.is_empty());
    if is_paused || !pause::active(reach).await?.is_empty() {
        tell("nothing is sent at present: see `course-sync status`");
    }
    Ok(())
}
