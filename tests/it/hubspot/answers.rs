//! Answers that HubSpot, or something on the way to it, has given or is documented to give, as they
//! stand on the wire; and what each means for every course and for the account.

mod account;
mod created;
mod partial;
mod whole;
mod world;

use course_sync::course::{Category, CourseError};
use course_sync::policy::batch::Batch;
use course_sync::policy::interpret::{Interpretation, NotTaken, Signal, Verdict, interpret};
use course_sync::policy::pause::Trouble;
use serde_json::json;

use super::{NOW, UNIQUE, answer, batch, claimed};

/// So many of the three courses, with a unique property or without.
#[derive(Debug, Clone, Copy)]
enum Of {
    Keyed(usize),
    Plain(usize),
}

/// One answer and its meaning.
///
/// In `body`, `«A 101»` is the record of course A with this id, `«A 101 traced»` the same with its
/// trace id, `«T0»` the first course's trace id.
///
/// In `means`, one line a course and a last one for the account; `all …` is about every course. An
/// error may be given as far as its category, code and property, or with the beginning of its message.
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
        Of::Keyed(size) => (size, Some(UNIQUE)),
        Of::Plain(size) => (size, None),
    };
    batch(all.into_iter().take(size).collect(), unique)
}

/// The body with its abbreviations written out.
fn written_out(body: &str, batch: &Batch) -> String {
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
        batch.sent(course).map(|(name, value)| (name.to_owned(), json!(value))).collect();
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
    let body = written_out(row.body, &batch);
    interpret(&batch, &answer(row.status, row.headers, body.as_bytes()), NOW)
}

fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Created { hubspot_id, warning: None } => format!("created {}", hubspot_id.as_str()),
        Verdict::Created { hubspot_id, warning: Some(why) } => {
            format!("created {}, warning {}", hubspot_id.as_str(), said_of(why))
        }
        Verdict::CreatedUnidentified(why) => format!("created unidentified {}", said_of(why)),
        Verdict::Exists { error: why, candidates: 1 } => format!("exists {}", said_of(why)),
        Verdict::Exists { error: why, candidates } => format!("one of {candidates} exists {}", said_of(why)),
        Verdict::Refused(why) => format!("refused {}", said_of(why)),
        Verdict::NotTaken(NotTaken::NotSent) => "not sent".into(),
        Verdict::NotTaken(NotTaken::Untouched) => "untouched".into(),
        Verdict::NotTaken(NotTaken::Unnamed(why)) => format!("unnamed {}", said_of(why)),
        Verdict::NotTaken(NotTaken::TurnedAway(why)) => format!("turned away {}", said_of(why)),
        Verdict::NotTaken(NotTaken::Later(why)) => format!("later {}", said_of(why)),
        Verdict::Unknown(why) => format!("unknown {}", said_of(why)),
    }
}

fn said_of(error: &CourseError) -> String {
    let parts = [Some(error.category.as_str()), error.code.as_deref(), error.property.as_deref()];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    format!("{}: {}", parts.join("/"), error.message)
}

/// The error of a verdict, where it has one.
fn error_of(verdict: &Verdict) -> Option<&CourseError> {
    match verdict {
        Verdict::Created { warning, .. } => warning.as_ref(),
        Verdict::CreatedUnidentified(error)
        | Verdict::Exists { error, .. }
        | Verdict::Refused(error)
        | Verdict::NotTaken(
            NotTaken::Unnamed(error) | NotTaken::TurnedAway(error) | NotTaken::Later(error),
        )
        | Verdict::Unknown(error) => Some(error),
        Verdict::NotTaken(NotTaken::NotSent | NotTaken::Untouched) => None,
    }
}

fn said_of_account(meaning: &Interpretation) -> String {
    let with_wait = |kind: &str, trouble: &Trouble| match trouble.retry_after {
        Some(wait) => format!("{kind} {} {}s", trouble.reason.as_str(), wait.as_secs()),
        None => format!("{kind} {}", trouble.reason.as_str()),
    };
    let signal = match &meaning.signal {
        Signal::Passed => "passed".to_owned(),
        Signal::Judged => "judged".to_owned(),
        Signal::Pause(trouble) => with_wait("pause", trouble),
        Signal::Failed(trouble) => with_wait("failed", trouble),
    };
    let surplus = if meaning.surplus == 0 { String::new() } else { format!(", surplus {}", meaning.surplus) };
    let size = if meaning.may_be_size { ", may be size" } else { "" };
    format!("{signal}, {}{surplus}{size}", meaning.outcome.as_str())
}

fn agrees(said: &str, expected: &str) -> bool {
    said == expected
        || said.starts_with(&format!("{expected}: "))
        || (expected.contains(": ") && said.starts_with(expected))
}

/// Every row has its meaning, and every error holds the status it came with. An unknown outcome, or one without an
/// identifier, has no other category, so that nothing can take it for a refusal.
fn check(rows: &[Row]) {
    let mut wrong = Vec::new();
    for row in rows {
        let meaning = meaning(row);
        let (account, verdicts) = row.means.split_last().unwrap();
        let expected: Vec<&str> = match verdicts {
            [all] if all.starts_with("all ") => vec![all.trim_start_matches("all "); meaning.verdicts.len()],
            each => each.to_vec(),
        };
        let said: Vec<_> = meaning.verdicts.iter().map(said).collect();
        let fits = said.len() == expected.len()
            && said.iter().zip(&expected).all(|(said, expected)| agrees(said, expected))
            && said_of_account(&meaning) == *account;
        if !fits {
            wrong.push(format!("{}:\n  {said:#?}\n  {}", row.name, said_of_account(&meaning)));
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
