//! `explain`: the life of one course.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::terminal::{at, plain};
use super::{Outcome, say_as};
use crate::config::Config;
use crate::daemon::{Settings, explain};
use crate::hubspot::Candidate;
use crate::outbox::{Database, history};
use crate::policy::explain::{Explanation, State};

/// Tell the life of one course: what happened, what comes next, what you can do
///
/// Reads the database alone. Only for a course that is held for a person HubSpot is asked, where a token is
/// configured, for records of the same name: hints, since what its search does not find may be there all the
/// same.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The course's key, as in the catalogue
    #[arg(value_name = "KEY")]
    key: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// HubSpot's clock and ours may differ, and a course is created after it was enqueued.
const CLOCKS: SignedDuration = SignedDuration::from_mins(5);

#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    explanation: Explanation,
    /// Records that look like it; absent where nobody asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates: Option<Vec<Candidate>>,
    /// Why there are no candidates.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates_error: Option<String>,
}

pub(super) async fn run(args: &Args, config: &Config, database: &Database) -> anyhow::Result<Outcome> {
    let doubts = Settings::new(config, false).doubts();
    let Some(explanation) = explain::read(database, &args.key, doubts).await? else {
        return Err(unknown(&args.key, &history::neighbours(database, &args.key).await?));
    };
    let (candidates, candidates_error) = match candidates(config, &explanation).await {
        Some(Ok(found)) => (Some(found), None),
        Some(Err(why)) => (None, Some(why)),
        None => (None, None),
    };
    let told = Told { explanation, candidates, candidates_error };
    say_as(args.json, &told, in_words)?;
    Ok(Outcome::Fine)
}

/// No course has this key; which ones a slip of the pen may have meant.
pub(super) fn unknown(key: &str, neighbours: &[String]) -> anyhow::Error {
    let likeness = |other: &String| strsim::jaro_winkler(&key.to_lowercase(), &other.to_lowercase());
    let mut like: Vec<&String> = neighbours.iter().filter(|other| likeness(other) > 0.85).collect();
    like.sort_by(|one, other| likeness(other).total_cmp(&likeness(one)));
    let like: Vec<String> = like.into_iter().take(3).map(|key| plain(&format!("{key:?}"))).collect();
    let hint = if like.is_empty() { String::new() } else { format!("; did you mean {}?", like.join(", ")) };
    anyhow::anyhow!("the outbox holds no course with the key {:?}{hint}", plain(key))
}

/// Records that look like a course held for a person. `None`: there is nothing to ask, or nobody.
async fn candidates(config: &Config, told: &Explanation) -> Option<Result<Vec<Candidate>, String>> {
    let course = &told.life.course;
    let name = course.name.as_deref().filter(|_| told.state == State::Held)?;
    let client = super::client(config)?;
    let since = course.created_at.checked_sub(CLOCKS).unwrap_or(course.created_at);
    Some(match client {
        Ok(client) => client.search(name, since).await,
        Err(error) => Err(error.to_string()),
    })
}

fn in_words(told: &Told) -> String {
    let Told { explanation, candidates, candidates_error } = told;
    let mut lines = vec![format!("{}: {}", plain(&explanation.life.course.key), plain(&explanation.summary))];
    lines.push("\nwhat happened".to_owned());
    for step in &explanation.happened {
        lines.push(format!("  {}  {}", at(step.at), plain(&step.what)));
    }
    lines.push("\nwhat comes next".to_owned());
    lines.push(format!("  {}", plain(&explanation.next)));
    if let Some(later) = explanation.next_at.filter(|when| *when > Timestamp::now()) {
        lines.push(format!("  not before {}", at(later)));
    }
    if !explanation.you_can.is_empty() {
        lines.push("\nwhat you can do".to_owned());
        lines.extend(explanation.you_can.iter().map(|advice| format!("  {}", plain(advice))));
    }
    match (candidates.as_deref(), candidates_error) {
        (Some([]), _) => lines.push(
            "\nHubSpot's search finds no record of this name; it lags behind, so that is no proof".to_owned(),
        ),
        (Some(found), _) => {
            lines.push("\nrecords of the same name that HubSpot's search finds (hints, no proof)".to_owned());
            lines.extend(found.iter().map(candidate));
        }
        (None, Some(why)) => {
            lines.push(format!("\nHubSpot could not be asked for candidates: {}", plain(why)));
        }
        (None, None) => {}
    }
    lines.join("\n")
}

fn candidate(found: &Candidate) -> String {
    let created = found.created_at.as_deref().map(|at| format!(", created {at}")).unwrap_or_default();
    let url = found.url.as_deref().map(|url| format!(", {url}")).unwrap_or_default();
    plain(&format!("  {} {:?}{created}{url}", found.id, found.name.as_deref().unwrap_or_default()))
}
