//! `retry`: failed courses go back to pending.
//!
//! With `--canary` a few go first, and the rest only if these arrive. Everything that holds in between is in
//! the outbox: should the command be stopped at any point, the rest stays failed and it can be run again.

use std::time::{Duration, Instant};

use clap::ArgGroup;
use jiff::Timestamp;
use serde::Serialize;

use super::failures::{category, reason};
use super::terminal::{counted, plain, tell};
use super::{Outcome, explain, say_as};
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
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How often the first few are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How often their progress is told.
const TELL: Duration = Duration::from_secs(10);

/// What was put back, and what was not.
#[derive(Serialize)]
struct Retried {
    /// Nothing was put back; `courses` tells how many it would be.
    dry_run: bool,
    /// Courses put back, the first few among them.
    courses: i64,
    /// Those that went first; `None`: all went at once.
    canaries: Option<Canaries>,
    /// Named courses that were left as they are.
    left: Vec<Left>,
}

#[derive(Serialize)]
struct Canaries {
    /// All are synced, so the rest went too.
    arrived: bool,
    /// Where each stood at last.
    courses: Vec<Standing>,
}

#[derive(Serialize)]
struct Left {
    key: String,
    why: String,
}

pub(super) async fn run(args: &Args, database: &Database) -> anyhow::Result<Outcome> {
    let retried = tokio::select! {
        retried = retry_meant(args, database) => retried?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            tell("stopped: what was not put back yet stays failed");
            return Ok(Outcome::Interrupted(2));
        }
    };
    if !args.json {
        for complaint in complaints(&retried) {
            tell(&complaint);
        }
    }
    say_as(args.json, &retried, in_words)?;
    let is_held_back = retried.canaries.is_some_and(|canaries| !canaries.arrived);
    Ok(if is_held_back || !retried.left.is_empty() { Outcome::Failed } else { Outcome::Fine })
}

fn in_words(retried: &Retried) -> String {
    let courses = counted(retried.courses, "course");
    match &retried.canaries {
        _ if retried.dry_run => format!("would put back {courses}"),
        Some(canaries) if !canaries.arrived => format!("put back {courses}; the rest stays failed"),
        _ => format!("put back {courses}"),
    }
}

/// Why not everything that was wished was done, a line each.
fn complaints(retried: &Retried) -> Vec<String> {
    let left = |left: &Left| format!("{} is left as it is: {}", plain(&left.key), left.why);
    let canary = |course: &Standing| match course.status {
        Status::Synced => None,
        Status::Failed => {
            let why = course.error.as_ref().map(reason).unwrap_or_default();
            Some(format!("{} failed again: {why}", plain(&course.key)))
        }
        Status::Pending | Status::InFlight | Status::Unconfirmed => {
            Some(format!("{} is still {}", plain(&course.key), course.status.as_str()))
        }
    };
    let canaries = retried.canaries.iter().flat_map(|canaries| &canaries.courses).filter_map(canary);
    retried.left.iter().map(left).chain(canaries).collect()
}

async fn retry_meant(args: &Args, database: &Database) -> anyhow::Result<Retried> {
    let since = retry::now(database).await?;
    let choice = Choice { category: args.category, code: args.code.clone() };
    let (named, left) = sort_out(&args.keys, database).await?;
    let mut retried = Retried { dry_run: args.dry_run, courses: 0, canaries: None, left };
    if args.dry_run {
        retried.courses = if args.keys.is_empty() {
            retry::count(database, &choice, since).await?
        } else {
            i64::try_from(named.len()).unwrap_or(i64::MAX)
        };
        return Ok(retried);
    }
    if let Some(count) = args.canary {
        let few = few(args, &named, count, database).await?;
        if few.is_empty() {
            return Ok(retried);
        }
        retried.courses = retry::these(database, &few).await?;
        let canaries = arrival(&few, args.wait, database).await?;
        let goes_on = canaries.arrived;
        retried.canaries = Some(canaries);
        if !goes_on {
            return Ok(retried);
        }
    }
    // The first few are no longer failed, so they are not put back again.
    retried.courses += if args.keys.is_empty() {
        some(&choice, since, database).await?
    } else {
        retry::these(database, &named).await?
    };
    Ok(retried)
}

/// Of the courses named those that are failed, and why the others are left alone.
async fn sort_out(keys: &[String], database: &Database) -> anyhow::Result<(Vec<String>, Vec<Left>)> {
    let (mut failed, mut left) = (Vec::new(), Vec::new());
    if keys.is_empty() {
        return Ok((failed, left));
    }
    for Standing { key, status, .. } in retry::standing(database, keys).await? {
        match status {
            Status::Failed => failed.push(key),
            other => left.push(Left { key, why: format!("it is {}, not failed", other.as_str()) }),
        }
    }
    let is_there = |key: &String| failed.contains(key) || left.iter().any(|left| left.key == *key);
    let missing: Vec<&String> = keys.iter().filter(|key| !is_there(key)).collect();
    for key in missing {
        let why = explain::unknown(key, &history::neighbours(database, key).await?).to_string();
        left.push(Left { key: key.clone(), why });
    }
    Ok((failed, left))
}

/// Those of a kind, in bites; each is a transaction of its own.
async fn some(choice: &Choice, since: Timestamp, database: &Database) -> anyhow::Result<i64> {
    let (mut retried, mut after) = (0, Some(i64::MIN));
    while let Some(from) = after {
        let pass = retry::some(database, choice, since, from).await?;
        retried += pass.retried;
        after = pass.after;
    }
    Ok(retried)
}

/// The courses that go first.
async fn few(args: &Args, named: &[String], count: u32, database: &Database) -> anyhow::Result<Vec<String>> {
    if !args.keys.is_empty() {
        return Ok(named.iter().take(usize::try_from(count).unwrap_or(usize::MAX)).cloned().collect());
    }
    let mut groups = failures::groups(database, args.category).await?;
    let is_meant = |group: &Group| args.code.is_none() || group.code == args.code;
    groups.retain(is_meant);
    Ok(retry::few(database, &groups, count).await?)
}

/// Waits until each of these ended, or one failed again, or patience did.
async fn arrival(keys: &[String], patience: Duration, database: &Database) -> anyhow::Result<Canaries> {
    let count = i64::try_from(keys.len()).unwrap_or(i64::MAX);
    tell(&format!("put back {} first: {}", counted(count, "course"), plain(&keys.join(", "))));
    warn_of_a_standstill(database.into()).await?;
    let (began, mut told) = (Instant::now(), Instant::now());
    loop {
        let courses = retry::standing(database, keys).await?;
        let are = |status: Status| courses.iter().filter(|course| course.status == status).count();
        let (arrived, failed) = (are(Status::Synced), are(Status::Failed));
        if arrived == courses.len() {
            tell("all of these arrived");
            return Ok(Canaries { arrived: true, courses });
        }
        if failed > 0 || began.elapsed() > patience {
            return Ok(Canaries { arrived: false, courses });
        }
        if told.elapsed() > TELL {
            told = Instant::now();
            tell(&format!("waiting: {arrived} of {} have arrived", courses.len()));
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
