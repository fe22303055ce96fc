//! `failures`: what failed or is in doubt, and why.

use serde::Serialize;

use super::terminal::{plain, short};
use super::{Outcome, say_as};
use crate::course::{Category, CourseError, Status};
use crate::outbox::failures::{self, Failure, Group};
use crate::outbox::{Database, report};

/// Show failed and unconfirmed courses with their reasons, in groups and one by one
///
/// Courses that failed alike are one group, with an example and what mends it. Below, the courses themselves,
/// the latest to arrive first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only errors of this category
    #[arg(long, value_name = "CATEGORY", value_parser = category)]
    category: Option<Category>,
    /// Courses of each status that are listed
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A category by its name, in whatever case.
pub(super) fn category(text: &str) -> Result<Category, String> {
    Category::ALL.into_iter().find(|category| category.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
        let names: Vec<_> = Category::ALL.iter().map(|category| category.as_str()).collect();
        format!("expected one of: {}", names.join(", "))
    })
}

/// Characters of a message that a line shows.
const SHOWN: usize = 160;
/// Characters of a name or a key that a group shows.
const SHOWN_NAME: usize = 60;

#[derive(Serialize)]
struct Told {
    failed: i64,
    unconfirmed: i64,
    groups: Vec<Group>,
    courses: Vec<Failure>,
}

pub(super) async fn run(args: &Args, database: &Database) -> anyhow::Result<Outcome> {
    let groups = failures::groups(database, args.category).await?;
    let narrowed = args.category.map(|_| groups.as_slice());
    let courses = failures::list(database, narrowed, args.limit).await?;
    let counts = report::counts(database).await?;
    let count = |status| counts.iter().find(|count| count.status == status).map_or(0, |count| count.courses);
    let told =
        Told { failed: count(Status::Failed), unconfirmed: count(Status::Unconfirmed), groups, courses };
    say_as(args.json, &told, in_words)?;
    Ok(Outcome::Fine)
}

fn in_words(told: &Told) -> String {
    let mut parts = vec![format!("failed {}, unconfirmed {}", told.failed, told.unconfirmed)];
    if !told.groups.is_empty() {
        parts.push(groups(&told.groups));
    }
    if !told.courses.is_empty() {
        parts.push(told.courses.iter().map(line).collect::<Vec<_>>().join("\n"));
    }
    parts.join("\n\n")
}

fn groups(groups: &[Group]) -> String {
    let count = |group: &Group| format!("{}{}", group.courses, if group.is_exact { "" } else { "+" });
    let width = groups.iter().map(|group| count(group).len()).max().unwrap_or_default();
    let told = groups.iter().map(|group| {
        let category = group.category.map_or("an error that cannot be read", Category::as_str);
        let named = [group.code.as_deref(), group.property.as_deref()].into_iter().flatten();
        let named = named.map(|name| short(name, SHOWN_NAME));
        let what = std::iter::once(category.to_owned()).chain(named).collect::<Vec<_>>().join(" ");
        let (status, example) = (group.status.as_str(), short(&group.example, SHOWN_NAME));
        let (count, mend) = (count(group), plain(&group.mend));
        format!("{count:>width$} {status} {what}, such as {example}\n{:width$} → {mend}", "")
    });
    told.collect::<Vec<_>>().join("\n")
}

fn line(failure: &Failure) -> String {
    let said = failure.error.as_ref().map(reason).unwrap_or_default();
    format!("{} {}: {}", failure.status.as_str(), plain(&failure.key), said)
}

/// An error on one line.
pub(super) fn reason(error: &CourseError) -> String {
    format!("{} {}", error.category.as_str(), short(&error.message, SHOWN))
}
