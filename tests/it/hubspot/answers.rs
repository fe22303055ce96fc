//! Answers that HubSpot, or something on the way to it, has given or is documented to give, as they
//! stand on the wire; and what each means for every course and for the account.

mod account;
mod created;
mod partial;
mod whole;
mod world;

use course_sync::course::CourseError;
use course_sync::policy::batch::Batch;
use course_sync::policy::interpret::{Interpretation, NotTaken, Signal, Verdict, interpret};
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
/// In `means`, one line a course and a last one for the account; `all …` speaks of every course. An
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
    let error = |error: &CourseError| {
        let parts = [Some(error.category.as_str()), error.code.as_deref(), error.property.as_deref()];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        format!("{}: {}", parts.join("/"), error.message)
    };
    match verdict {
        Verdict::Created(id) => format!("created {}", id.as_str()),
        Verdict::Exists { error: why, suspects: 1 } => format!("exists {}", error(why)),
        Verdict::Exists { error: why, suspects } => format!("one of {suspects} exists {}", error(why)),
        Verdict::Refused(why) => format!("refused {}", error(why)),
        Verdict::NotTaken(NotTaken::NotSent) => "not sent".into(),
        Verdict::NotTaken(NotTaken::Untouched) => "untouched".into(),
        Verdict::NotTaken(NotTaken::Unnamed(why)) => format!("unnamed {}", error(why)),
        Verdict::Unknown { error: why, suspects: None } => format!("unknown {}", error(why)),
        Verdict::Unknown { error: why, suspects: Some(1) } => format!("own doubt {}", error(why)),
        Verdict::Unknown { error: why, suspects: Some(many) } => format!("doubt among {many} {}", error(why)),
    }
}

fn said_of_account(meaning: &Interpretation) -> String {
    let signal = match &meaning.signal {
        Signal::Proceed => "proceed".to_owned(),
        Signal::Reachable => "reachable".to_owned(),
        Signal::Answering => "answering".to_owned(),
        Signal::Silence => "silence".to_owned(),
        Signal::Pause(trouble) => match trouble.retry_after {
            Some(wait) => format!("pause {} {}s", trouble.reason.as_str(), wait.as_secs()),
            None => format!("pause {}", trouble.reason.as_str()),
        },
    };
    let surplus = if meaning.surplus == 0 { String::new() } else { format!(", surplus {}", meaning.surplus) };
    format!("{signal}, {}{surplus}", meaning.outcome.as_str())
}

fn agrees(said: &str, expected: &str) -> bool {
    said == expected
        || said.starts_with(&format!("{expected}: "))
        || (expected.contains(": ") && said.starts_with(expected))
}

/// Every row means what it says, and every error tells the status it came with.
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
            if let Verdict::Exists { error, .. } | Verdict::Refused(error) | Verdict::Unknown { error, .. } =
                verdict
            {
                assert_eq!(error.http_status, Some(row.status), "{}", row.name);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
