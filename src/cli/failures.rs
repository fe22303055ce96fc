//! `failures`: the failed and unconfirmed courses with their errors.

use serde::Serialize;

use super::format::{sanitize, truncate};
use super::outcome::CommandOutcome;
use super::output::print_as;
use crate::course::{Category, CourseError, Status};
use crate::outbox::Database;
use crate::outbox::failures::{self, ErrorGroup, Failure};
use crate::outbox::overview::{self, StatusCount};

/// Show failed and unconfirmed courses with reasons, grouped and listed
///
/// Courses that failed for the same reason form a group, with an example and a suggested fix. The courses
/// follow, the latest arrival first.
#[derive(Debug, clap::Args)]
pub(super) struct FailuresArgs {
    /// Show only errors of this category
    #[arg(long, value_name = "CATEGORY", value_parser = parse_category)]
    category: Option<Category>,
    /// Maximum number of courses listed per status
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Parses the name of a category, ignoring case.
pub(super) fn parse_category(text: &str) -> Result<Category, String> {
    Category::ALL.into_iter().find(|category| category.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
        let names: Vec<_> = Category::ALL.iter().map(|category| category.as_str()).collect();
        format!("expected one of: {}", names.join(", "))
    })
}

/// Characters of a message that are shown.
const MAX_MESSAGE: usize = 160;
/// Characters of a name or a key that are shown in a group.
const MAX_NAME: usize = 60;

#[derive(Serialize)]
struct FailuresReport {
    failed: i64,
    unconfirmed: i64,
    groups: Vec<ErrorGroup>,
    courses: Vec<Failure>,
}

pub(super) async fn run(args: &FailuresArgs, database: &Database) -> anyhow::Result<CommandOutcome> {
    let groups = failures::group_failures(database, args.category).await?;
    let only = args.category.map(|_| groups.as_slice());
    let courses = failures::list_failures(database, only, args.limit).await?;
    let counts = overview::count_courses(database).await?;
    let report = FailuresReport {
        failed: courses_with_status(&counts, Status::Failed),
        unconfirmed: courses_with_status(&counts, Status::Unconfirmed),
        groups,
        courses,
    };
    print_as(args.json, &report, format_text)?;
    Ok(CommandOutcome::Success)
}

fn courses_with_status(counts: &[StatusCount], status: Status) -> i64 {
    counts.iter().find(|count| count.status == status).map_or(0, |count| count.courses)
}

fn format_text(report: &FailuresReport) -> String {
    let mut parts = vec![format!("failed {}, unconfirmed {}", report.failed, report.unconfirmed)];
    if !report.groups.is_empty() {
        parts.push(format_groups(&report.groups));
    }
    if !report.courses.is_empty() {
        parts.push(report.courses.iter().map(format_failure).collect::<Vec<_>>().join("\n"));
    }
    parts.join("\n\n")
}

fn format_groups(groups: &[ErrorGroup]) -> String {
    let width = groups.iter().map(|group| format_count(group).len()).max().unwrap_or_default();
    let lines = groups.iter().map(|group| {
        let category = group.category.map_or("unreadable error", Category::as_str);
        let named = [group.code.as_deref(), group.property.as_deref()].into_iter().flatten();
        let named = named.map(|name| truncate(name, MAX_NAME));
        let what = std::iter::once(category.to_owned()).chain(named).collect::<Vec<_>>().join(" ");
        let (status, example) = (group.status.as_str(), truncate(&group.example, MAX_NAME));
        let (count, fix) = (format_count(group), sanitize(&group.fix));
        format!("{count:>width$} {status} {what}, for example {example}\n{:width$} → {fix}", "")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The number of courses of a group. `+` if there are more.
fn format_count(group: &ErrorGroup) -> String {
    format!("{}{}", group.courses, if group.is_exact { "" } else { "+" })
}

fn format_failure(failure: &Failure) -> String {
    let error = failure.error.as_ref().map(format_error).unwrap_or_default();
    format!("{} {}: {}", failure.status.as_str(), sanitize(&failure.key), error)
}

/// An error on one line.
pub(super) fn format_error(error: &CourseError) -> String {
    format!("{} {}", error.category.as_str(), truncate(&error.message, MAX_MESSAGE))
}
