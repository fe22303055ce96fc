//! Tables of responses, as bytes on the wire, that HubSpot or an intermediary has sent or is documented to send, with
//! the meaning of each for every course and for the account.

mod account;
mod created;
mod outages;
mod partial;
mod whole;

use course_sync::course::Batch;
use course_sync::course::{Category, CourseError};
use course_sync::course::{NotTaken, Verdict};
use course_sync::pipeline::interpret::interpret;
use course_sync::policy::gate::Incident;
use course_sync::policy::signal::{Interpretation, Signal};
use serde_json::json;

use super::{NOW, UNIQUE_PROPERTY, batch, claimed, response};

/// A batch with this many of the three courses, with or without a unique property.
#[derive(Debug, Clone, Copy)]
enum Of {
    Keyed(usize),
    Plain(usize),
}

/// A response and its meaning.
///
/// In `body`, `«A 101»` stands for the record of course A with the id 101, `«A 101 traced»` for the same with its trace
/// id, and `«T0»` for the trace id of the first course.
///
/// `means` has one line per course and a last line for the account. A single line `all …` applies to every course. An
/// error is given by its category, code and property, optionally followed by the beginning of its message.
struct Row {
    name: &'static str,
    of: Of,
    status: u16,
    headers: &'static str,
    body: &'static str,
    means: &'static [&'static str],
}

const KEYS: [&str; 3] = ["A-1", "B-2", "C-3"];

fn courses(of: Of) -> Batch {
    let all = [
        claimed(1, KEYS[0], json!({"hs_course_name": "Algebra", "hs_enrollment_capacity": 50})),
        claimed(2, KEYS[1], json!({"hs_course_name": "Botany", "closedate": "asd000", "missing": "1"})),
        claimed(3, KEYS[2], json!({"hs_course_name": "Chess"})),
    ];
    let (size, unique) = match of {
        Of::Keyed(size) => (size, Some(UNIQUE_PROPERTY)),
        Of::Plain(size) => (size, None),
    };
    batch(all.into_iter().take(size).collect(), unique)
}

/// Replaces the abbreviations in a body.
fn expand(body: &str, batch: &Batch) -> String {
    let mut parts = body.split(['«', '»']);
    let mut text = parts.next().unwrap().to_owned();
    while let Some(short) = parts.next() {
        text += &match short.strip_prefix('T') {
            Some(position) => batch.trace_id(position.parse().unwrap()),
            None => record(short, batch),
        };
        text += parts.next().unwrap();
    }
    text
}

fn record(short: &str, batch: &Batch) -> String {
    let words: Vec<_> = short.split(' ').collect();
    let position = usize::from(words[0].as_bytes()[0] - b'A');
    let course = &batch.courses()[position];
    let id = words[1];
    let mut properties: serde_json::Map<_, _> =
        batch.sent_properties(course).map(|(name, value)| (name.to_owned(), json!(value))).collect();
    properties.insert("hs_object_id".into(), json!(id));
    properties.insert("hs_createdate".into(), json!("2026-02-17T20:19:27.424Z"));
    let mut record = json!({"id": id, "properties": properties, "createdAt": "2026-02-17T20:19:27.424Z",
        "updatedAt": "2026-02-17T20:19:27.424Z", "archived": false});
    if words.contains(&"traced") {
        record["objectWriteTraceId"] = json!(batch.trace_id(position));
    }
    record.to_string()
}

fn meaning(row: &Row) -> Interpretation {
    let batch = courses(row.of);
    let body = expand(row.body, &batch);
    interpret(&batch, &response(row.status, row.headers, body.as_bytes()), NOW)
}

fn describe_verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Applied { hubspot_id, warning: None } => format!("created {}", hubspot_id.as_str()),
        Verdict::Applied { hubspot_id, warning: Some(why) } => {
            format!("created {}, warning {}", hubspot_id.as_str(), describe_error(why))
        }
        Verdict::CreatedUnidentified(why) => format!("created unidentified {}", describe_error(why)),
        Verdict::LookUp(why) => format!("look up {}", describe_error(why)),
        Verdict::Exists { error: why, candidates: 1 } => format!("exists {}", describe_error(why)),
        Verdict::Exists { error: why, candidates } => {
            format!("one of {candidates} exists {}", describe_error(why))
        }
        Verdict::Refused(why) => format!("refused {}", describe_error(why)),
        Verdict::NotTaken(NotTaken::NotSent) => "not sent".into(),
        Verdict::NotTaken(NotTaken::Untouched) => "untouched".into(),
        Verdict::NotTaken(NotTaken::Unnamed(why)) => format!("unnamed {}", describe_error(why)),
        Verdict::NotTaken(NotTaken::TurnedAway(why)) => format!("turned away {}", describe_error(why)),
        Verdict::NotTaken(NotTaken::Later(why)) => format!("later {}", describe_error(why)),
        Verdict::Unknown(why) => format!("unknown {}", describe_error(why)),
    }
}

fn describe_error(error: &CourseError) -> String {
    let parts = [Some(error.category.as_str()), error.code.as_deref(), error.property.as_deref()];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    format!("{}: {}", parts.join("/"), error.message)
}

/// The error of a verdict, if it has one.
fn error_of(verdict: &Verdict) -> Option<&CourseError> {
    match verdict {
        Verdict::Applied { warning, .. } => warning.as_ref(),
        Verdict::CreatedUnidentified(error)
        | Verdict::LookUp(error)
        | Verdict::Exists { error, .. }
        | Verdict::Refused(error)
        | Verdict::NotTaken(
            NotTaken::Unnamed(error) | NotTaken::TurnedAway(error) | NotTaken::Later(error),
        )
        | Verdict::Unknown(error) => Some(error),
        Verdict::NotTaken(NotTaken::NotSent | NotTaken::Untouched) => None,
    }
}

fn describe_account(meaning: &Interpretation) -> String {
    let with_wait = |kind: &str, incident: &Incident| match incident.retry_after {
        Some(wait) => format!("{kind} {} {}s", incident.reason.as_str(), wait.as_secs()),
        None => format!("{kind} {}", incident.reason.as_str()),
    };
    let signal = match &meaning.signal {
        Signal::Passed => "passed".to_owned(),
        Signal::Judged => "judged".to_owned(),
        Signal::Pause(incident) => with_wait("pause", incident),
        Signal::Failed(incident) => with_wait("failed", incident),
    };
    let surplus = if meaning.surplus == 0 { String::new() } else { format!(", surplus {}", meaning.surplus) };
    let size = if meaning.may_be_size { ", may be size" } else { "" };
    format!("{signal}, {}{surplus}{size}", meaning.outcome.as_str())
}

fn matches_expectation(shown: &str, expected: &str) -> bool {
    shown == expected
        || shown.starts_with(&format!("{expected}: "))
        || (expected.contains(": ") && shown.starts_with(expected))
}

/// Checks that every response has the given meaning and that every error contains the HTTP status. An unknown outcome,
/// or a created course without id, must have the category `unknown_outcome`, so that it cannot be mistaken for a
/// refusal.
fn check(rows: &[Row]) {
    let mut wrong = Vec::new();
    for row in rows {
        let meaning = meaning(row);
        let (account, verdicts) = row.means.split_last().unwrap();
        let expected: Vec<&str> = match verdicts {
            [all] if all.starts_with("all ") => vec![all.trim_start_matches("all "); meaning.verdicts.len()],
            each => each.to_vec(),
        };
        let shown: Vec<_> = meaning.verdicts.iter().map(describe_verdict).collect();
        let is_expected = shown.len() == expected.len()
            && shown.iter().zip(&expected).all(|(shown, expected)| matches_expectation(shown, expected))
            && describe_account(&meaning) == *account;
        if !is_expected {
            wrong.push(format!("{}:\n  {shown:#?}\n  {}", row.name, describe_account(&meaning)));
        }
        for verdict in &meaning.verdicts {
            if let Some(error) = error_of(verdict) {
                assert_eq!(error.http_status, Some(row.status), "{}", row.name);
            }
            if let Verdict::Unknown(error) | Verdict::CreatedUnidentified(error) = verdict {
                assert_eq!(error.category, Category::UnknownOutcome, "{}", row.name);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
