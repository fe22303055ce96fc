//! `explain`: the history of one course, what happens next, and what an operator can do.

use anyhow::bail;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::connections::open_client;
use super::format::{format_time, sanitize};
use super::outcome::CommandOutcome;
use super::output::print_as;
use super::unknown_key::unknown_key_message;
use crate::config::Config;
use crate::hubspot::Candidate;
use crate::outbox::Database;
use crate::pipeline::settings::Settings;
use crate::policy::explain::{DetailedStatus, Explanation};
use crate::report::explain::read_explanation;

/// Show the history of a course, what happens next, and what you can do
///
/// Reads the database. For a course that is held for an operator it also searches HubSpot for records with the
/// same name, if a token is configured. The results are only hints, because HubSpot's search may miss records.
#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    /// Course key, as in the catalogue
    #[arg(value_name = "KEY")]
    key: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How much earlier than the course was enqueued a record may have been created: the clocks may differ.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

#[derive(Serialize)]
struct ExplainReport {
    #[serde(flatten)]
    explanation: Explanation,
    /// Records with the same name; absent if no search was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates: Option<Vec<Candidate>>,
    /// Why the search failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates_error: Option<String>,
}

pub(super) async fn run(
    args: &ExplainArgs,
    config: &Config,
    database: &Database,
) -> anyhow::Result<CommandOutcome> {
    let unconfirmed = Settings::new(config, false).unconfirmed_policy();
    let Some(explanation) = read_explanation(database, &args.key, unconfirmed).await? else {
        bail!(unknown_key_message(database, &args.key).await?);
    };
    let (candidates, candidates_error) = match search_candidates(config, &explanation).await {
        Some(Ok(found)) => (Some(found), None),
        Some(Err(why)) => (None, Some(why)),
        None => (None, None),
    };
    let report = ExplainReport { explanation, candidates, candidates_error };
    print_as(args.json, &report, format_text)?;
    Ok(CommandOutcome::Success)
}

/// Searches HubSpot for records with the same name. `None` if the course is not held, has no name, or no access to
/// HubSpot is configured.
async fn search_candidates(
    config: &Config,
    explanation: &Explanation,
) -> Option<Result<Vec<Candidate>, String>> {
    let course = &explanation.history.course;
    let name = course.name.as_deref().filter(|_| explanation.state == DetailedStatus::Held)?;
    let client = open_client(config)?;
    let since = course.created_at.checked_sub(CLOCK_TOLERANCE).unwrap_or(course.created_at);
    Some(match client {
        Ok(client) => client.search(name, since).await,
        Err(error) => Err(error.to_string()),
    })
}

fn format_text(report: &ExplainReport) -> String {
    let ExplainReport { explanation, candidates, candidates_error } = report;
    let mut lines =
        vec![format!("{}: {}", sanitize(&explanation.history.course.key), sanitize(&explanation.summary))];
    lines.push("\nhistory".to_owned());
    for entry in &explanation.happened {
        lines.push(format!("  {}  {}", format_time(entry.at), sanitize(&entry.what)));
    }
    lines.push("\nnext".to_owned());
    lines.push(format!("  {}", sanitize(&explanation.next)));
    if let Some(later) = explanation.next_at.filter(|when| *when > Timestamp::now()) {
        lines.push(format!("  not before {}", format_time(later)));
    }
    if !explanation.you_can.is_empty() {
        lines.push("\nwhat you can do".to_owned());
        lines.extend(explanation.you_can.iter().map(|advice| format!("  {}", sanitize(advice))));
    }
    match (candidates.as_deref(), candidates_error) {
        (Some([]), _) => lines.push(
            "\nHubSpot's search found no record with this name; this is no proof, because the search is not up to date"
                .to_owned(),
        ),
        (Some(found), _) => {
            lines.push("\nrecords with the same name in HubSpot's search (hints, not proof)".to_owned());
            lines.extend(found.iter().map(format_candidate));
        }
        (None, Some(why)) => {
            lines.push(format!("\nsearching HubSpot for records with the same name failed: {}", sanitize(why)));
        }
        (None, None) => {}
    }
    lines.join("\n")
}

fn format_candidate(found: &Candidate) -> String {
    let created = found.created_at.as_deref().map(|at| format!(", created {at}")).unwrap_or_default();
    let url = found.url.as_deref().map(|url| format!(", {url}")).unwrap_or_default();
    sanitize(&format!("  {} {:?}{created}{url}", found.id, found.name.as_deref().unwrap_or_default()))
}
