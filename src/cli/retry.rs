//! `retry`: failed courses go back to pending.
//!
//! With `--canary` a few courses go first, and the rest only if these are synced. All state is in the outbox: if the
//! command is interrupted, the remaining courses stay failed, and the command can be run again.

use std::time::{Duration, Instant};

use clap::ArgGroup;
use jiff::Timestamp;
use serde::Serialize;

use super::failures::{format_error, parse_category};
use super::format::{pluralize, sanitize};
use super::outcome::CommandOutcome;
use super::output::{print_as, print_progress};
use super::unknown_key::unknown_key_message;
use crate::course::{Category, Status};
use crate::outbox::failures::{self, ErrorGroup};
use crate::outbox::ops::retry::{self, CourseState, FailureFilter};
use crate::outbox::{Database, DatabaseRef, overview, pause};
use crate::policy::leader_report::PauseReport;

/// Retry failed courses
///
/// Run it after the cause is fixed in the rows or in the HubSpot account. Sets failed courses back to pending and
/// leaves all others unchanged. The number of attempts is kept, the number of failures is reset. If several
/// options are given, a course must match all of them.
///
/// For courses whose record was deleted or merged (`record_gone`, `record_merged`) use `course-sync resolve`: retry
/// sends the change to the same record again, and fails in the same way unless the record was restored in HubSpot.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["keys", "category", "code", "all"]))]
pub(super) struct RetryArgs {
    /// Retry this course (repeatable)
    #[arg(long = "key", value_name = "KEY", allow_hyphen_values = true, conflicts_with_all = ["category", "code", "all"])]
    keys: Vec<String>,
    /// Retry courses with an error of this category
    #[arg(long, value_name = "CATEGORY", value_parser = parse_category, conflicts_with = "all")]
    category: Option<Category>,
    /// Retry courses with this HubSpot error code
    #[arg(long, value_name = "CODE", conflicts_with = "all")]
    code: Option<String>,
    /// Retry all failed courses
    #[arg(long)]
    all: bool,
    /// Retry COUNT courses first, one of each kind of failure in turn, and the others only if all of these are synced
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100))]
    canary: Option<u32>,
    /// How long --canary waits for the first courses
    #[arg(long, value_name = "TIME", default_value = "5m", requires = "canary", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Show how many courses would be retried, without changing anything
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How often the canaries are read.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How often progress is printed.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// The report of the command.
#[derive(Serialize)]
struct RetryReport {
    /// Nothing was changed; `courses` is the number that would be retried.
    dry_run: bool,
    /// Courses set back to pending, including the canaries.
    courses: i64,
    /// The courses that went first; `None` without `--canary`.
    canaries: Option<CanaryReport>,
    /// Named courses that were not changed.
    left: Vec<UnchangedCourse>,
    /// The selected courses whose record is lost.
    #[serde(skip)]
    lost_records: i64,
}

#[derive(Serialize)]
struct CanaryReport {
    /// All are synced, so the rest was retried too.
    arrived: bool,
    /// The last state of each.
    courses: Vec<CourseState>,
}

#[derive(Serialize)]
struct UnchangedCourse {
    key: String,
    why: String,
}

pub(super) async fn run(args: &RetryArgs, database: &Database) -> anyhow::Result<CommandOutcome> {
    let report = tokio::select! {
        report = retry_courses(args, database) => report?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            print_progress("interrupted: the remaining courses stay failed");
            return Ok(CommandOutcome::Interrupted(2));
        }
    };
    if !args.json {
        for line in describe_problems(&report) {
            print_progress(&line);
        }
    }
    print_as(args.json, &report, format_text)?;
    let has_failed_canary = report.canaries.is_some_and(|canaries| !canaries.arrived);
    Ok(if has_failed_canary || !report.left.is_empty() {
        CommandOutcome::Failure
    } else {
        CommandOutcome::Success
    })
}

fn format_text(report: &RetryReport) -> String {
    let courses = pluralize(report.courses, "course");
    match &report.canaries {
        _ if report.dry_run => format!("would set {courses} back to pending"),
        Some(canaries) if !canaries.arrived => {
            format!("{courses} set back to pending; the rest stays failed")
        }
        _ => format!("{courses} set back to pending"),
    }
}

/// One line for each course that was not changed, and for each canary that is not synced.
fn describe_problems(report: &RetryReport) -> Vec<String> {
    let unchanged =
        report.left.iter().map(|course| format!("{} not changed: {}", sanitize(&course.key), course.why));
    let canaries = report.canaries.iter().flat_map(|canaries| &canaries.courses);
    let lost = (report.lost_records > 0).then(|| {
        format!(
            "the record of {} was deleted or merged: retry sends the change to the same record again; \
             `course-sync resolve` gives a course a new or another record",
            pluralize(report.lost_records, "course")
        )
    });
    unchanged.chain(canaries.filter_map(describe_canary_problem)).chain(lost).collect()
}

fn describe_canary_problem(course: &CourseState) -> Option<String> {
    match course.status {
        Status::Synced | Status::Archived => None,
        Status::Failed => {
            let why = course.error.as_ref().map(format_error).unwrap_or_default();
            Some(format!("{} failed again: {why}", sanitize(&course.key)))
        }
        Status::Pending | Status::InFlight | Status::Unconfirmed => {
            Some(format!("{} is still {}", sanitize(&course.key), course.status.as_str()))
        }
    }
}

async fn retry_courses(args: &RetryArgs, database: &Database) -> anyhow::Result<RetryReport> {
    let since = retry::database_time(database).await?;
    let filter = FailureFilter { category: args.category, code: args.code.clone() };
    let (named, left) = split_by_status(&args.keys, database).await?;
    let lost_records = count_lost_records(args, &filter, since, database).await?;
    let mut report = RetryReport { dry_run: args.dry_run, courses: 0, canaries: None, left, lost_records };
    if args.dry_run {
        report.courses = if args.keys.is_empty() {
            retry::count_failed(database, &filter, since).await?
        } else {
            i64::try_from(named.len()).unwrap_or(i64::MAX)
        };
        return Ok(report);
    }
    if let Some(count) = args.canary {
        let keys = choose_canaries(args, &named, count, database).await?;
        if keys.is_empty() {
            return Ok(report);
        }
        report.courses = retry::retry_keys(database, &keys).await?;
        let canaries = wait_for_canaries(&keys, args.wait, database).await?;
        let all_synced = canaries.arrived;
        report.canaries = Some(canaries);
        if !all_synced {
            return Ok(report);
        }
    }
    // The canaries are no longer failed, so they are not retried twice.
    report.courses += if args.keys.is_empty() {
        retry_matching(&filter, since, database).await?
    } else {
        retry::retry_keys(database, &named).await?
    };
    Ok(report)
}

/// The keys of failed courses, and the reason for each other key why it is not retried.
async fn split_by_status(
    keys: &[String],
    database: &Database,
) -> anyhow::Result<(Vec<String>, Vec<UnchangedCourse>)> {
    let (mut failed, mut left) = (Vec::new(), Vec::new());
    if keys.is_empty() {
        return Ok((failed, left));
    }
    for CourseState { key, status, .. } in retry::course_states(database, keys).await? {
        match status {
            Status::Failed => failed.push(key),
            other => left.push(UnchangedCourse { key, why: format!("it is {}, not failed", other.as_str()) }),
        }
    }
    let missing: Vec<&String> = (keys.iter())
        .filter(|key| !failed.contains(key) && !left.iter().any(|left| left.key == **key))
        .collect();
    for key in missing {
        let why = unknown_key_message(database, key).await?;
        left.push(UnchangedCourse { key: key.clone(), why });
    }
    Ok((failed, left))
}

/// Counts the selected courses whose record was deleted or merged.
async fn count_lost_records(
    args: &RetryArgs,
    filter: &FailureFilter,
    since: Timestamp,
    database: &Database,
) -> anyhow::Result<i64> {
    let lost = [Category::RecordGone, Category::RecordMerged];
    if !args.keys.is_empty() {
        let courses = retry::course_states(database, &args.keys).await?;
        let categories = courses.iter().filter(|course| course.status == Status::Failed);
        let categories = categories.filter_map(|course| Some(course.error.as_ref()?.category));
        let count = categories.filter(|category| lost.contains(category)).count();
        return Ok(i64::try_from(count).unwrap_or(i64::MAX));
    }
    let mut count = 0;
    for category in lost.into_iter().filter(|lost| filter.category.is_none_or(|only| only == *lost)) {
        let filter = FailureFilter { category: Some(category), code: filter.code.clone() };
        count += retry::count_failed(database, &filter, since).await?;
    }
    Ok(count)
}

/// Retries the matching courses in chunks, each in its own transaction.
async fn retry_matching(
    filter: &FailureFilter,
    since: Timestamp,
    database: &Database,
) -> anyhow::Result<i64> {
    let (mut retried, mut after) = (0, None);
    loop {
        let pass = retry::retry_next(database, filter, since, after).await?;
        retried += pass.retried;
        if pass.after.is_none() {
            return Ok(retried);
        }
        after = pass.after;
    }
}

/// The courses that go first.
async fn choose_canaries(
    args: &RetryArgs,
    named: &[String],
    count: u32,
    database: &Database,
) -> anyhow::Result<Vec<String>> {
    if !args.keys.is_empty() {
        return Ok(named.iter().take(usize::try_from(count).unwrap_or(usize::MAX)).cloned().collect());
    }
    let mut groups = failures::group_failures(database, args.category).await?;
    groups.retain(|group: &ErrorGroup| args.code.is_none() || group.code == args.code);
    Ok(retry::sample_failed_keys(database, &groups, count).await?)
}

/// Waits until all canaries are synced, one has failed again, or the time is up.
async fn wait_for_canaries(
    keys: &[String],
    timeout: Duration,
    database: &Database,
) -> anyhow::Result<CanaryReport> {
    let count = i64::try_from(keys.len()).unwrap_or(i64::MAX);
    print_progress(&format!(
        "{} set back to pending first: {}",
        pluralize(count, "course"),
        sanitize(&keys.join(", "))
    ));
    warn_if_not_sending(database.into()).await?;
    let (started, mut last_progress) = (Instant::now(), Instant::now());
    loop {
        let courses = retry::course_states(database, keys).await?;
        // A withdrawn course ends as archived.
        let synced =
            count_with_status(&courses, Status::Synced) + count_with_status(&courses, Status::Archived);
        let failed = count_with_status(&courses, Status::Failed);
        if synced == courses.len() {
            print_progress("all of these are synced");
            return Ok(CanaryReport { arrived: true, courses });
        }
        if failed > 0 || started.elapsed() > timeout {
            return Ok(CanaryReport { arrived: false, courses });
        }
        if last_progress.elapsed() > PROGRESS_INTERVAL {
            last_progress = Instant::now();
            print_progress(&format!("waiting: {synced} of {} synced", courses.len()));
            warn_if_not_sending(database.into()).await?;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn count_with_status(courses: &[CourseState], status: Status) -> usize {
    courses.iter().filter(|course| course.status == status).count()
}

/// Prints a warning if no instance is sending, because then the canaries cannot become synced.
async fn warn_if_not_sending(database: DatabaseRef<'_>) -> anyhow::Result<()> {
    let leader = overview::read_leader(database).await?.filter(|leader| leader.is_current);
    let Some(leader) = leader else {
        print_progress("no instance is sending: start `course-sync run`");
        return Ok(());
    };
    let is_paused = leader.report.pauses.iter().any(PauseReport::stops_creates);
    if is_paused || !pause::read_active(database).await?.is_empty() {
        print_progress("sending is paused: see `course-sync status`");
    }
    Ok(())
}
