//! Examines the first lines of NDJSON before any course is added: whether they are NDJSON, and have the members that the
//! options name. Pure.

use std::collections::BTreeSet;

use serde_json::{Deserializer, Map, Value};

use super::{ObjectForm, parse_course, parse_object};
use crate::cli::enqueue::columns::{find_similar, key_columns, missing_column};
use crate::cli::enqueue::encoding::SourceEncoding;
use crate::cli::enqueue::input::FileHead;
use crate::cli::enqueue::lines::filled_lines;
use crate::cli::enqueue::plan::EnqueuePlan;
use crate::cli::outcome::UsageError;
use crate::hubspot::api::request::COURSE_NAME;

/// The largest number of lines that are examined.
const MAX_LINES: usize = 1000;
/// So many lines that are not JSON, and none that is, show that the file is not NDJSON.
const MANY_NOT_JSON: usize = 2;
/// So many lines that are not UTF-8, and none that shows that it is, show another encoding.
const MANY_NOT_UTF8: usize = 3;

/// The members of a file that the options name.
pub(super) struct Members {
    key_names: Vec<String>,
    /// For each `--map`, whether a line has had its member.
    is_seen: Vec<bool>,
    /// A flat line was read, so members are selected at all.
    has_flat_lines: bool,
    /// A course among the first lines has a name.
    pub(super) sends_names: bool,
}

impl Members {
    pub(super) fn key_names(&self) -> &[String] {
        &self.key_names
    }

    /// Notes the members of a flat line.
    pub(super) fn note(&mut self, plan: &EnqueuePlan, object: &Map<String, Value>) {
        self.has_flat_lines = true;
        for ((member, _), is_seen) in plan.map.iter().zip(&mut self.is_seen) {
            *is_seen = *is_seen || object.contains_key(member.trim());
        }
    }

    /// The members of `--map` that no line had.
    pub(super) fn missing(&self, plan: &EnqueuePlan) -> Vec<String> {
        let unseen = plan.map.iter().zip(&self.is_seen).filter(|(_, is_seen)| !**is_seen);
        unseen.filter(|_| self.has_flat_lines).map(|((member, _), _)| member.clone()).collect()
    }
}

/// Examines the first lines.
pub(super) fn check(
    head: &FileHead,
    encoding: SourceEncoding,
    plan: &EnqueuePlan,
) -> Result<Members, UsageError> {
    check_form(head)?;
    let lines = complete_lines(head);
    let forms = lines.iter().filter_map(|(_, line)| parse_object(&String::from_utf8_lossy(line)).ok());
    let (mut objects, mut sends_names) = (Vec::new(), plan.sets(COURSE_NAME));
    for form in forms {
        match form {
            ObjectForm::Flat(object) => objects.push(object),
            ObjectForm::Nested { .. } if plan.selects_columns() => {
                return Err(UsageError(
                    "the lines have \"properties\"; --key and --map apply only to lines without it"
                        .to_owned(),
                ));
            }
            ObjectForm::Nested { properties, .. } => sends_names |= properties.contains_key(COURSE_NAME),
        }
    }
    let names: BTreeSet<&String> = objects.iter().flat_map(Map::keys).collect();
    let names: Vec<String> = names.into_iter().cloned().collect();
    let mut members = Members {
        key_names: key_columns(plan, &names),
        is_seen: vec![false; plan.map.len()],
        has_flat_lines: false,
        sends_names: sends_names || plan_sends_names(plan, &names),
    };
    for object in &objects {
        members.note(plan, object);
    }
    if !objects.is_empty() {
        check_members(&members, plan, &names, head.is_whole)?;
    }
    check_encoding(&lines, encoding, plan, &mut members)?;
    Ok(members)
}

/// Refuses a file in another encoding: several lines are refused because they are not UTF-8, and none has a character
/// that shows that it is.
fn check_encoding(
    lines: &[(u64, &[u8])],
    encoding: SourceEncoding,
    plan: &EnqueuePlan,
    members: &mut Members,
) -> Result<(), UsageError> {
    let is_utf8 = |line: &[u8]| str::from_utf8(line).is_ok();
    let mut invalid = lines.iter().filter(|(_, line)| {
        !is_utf8(line) && parse_line(line).is_ok() && parse_course(plan, encoding, members, line).is_err()
    });
    let first = invalid.next().and_then(|(number, line)| Some((*number, encoding.decode(line).err()?)));
    let others = invalid.count();
    match first {
        Some((number, why))
            if others + 1 >= MANY_NOT_UTF8
                && lines.iter().all(|(_, line)| line.is_ascii() || !is_utf8(line)) =>
        {
            Err(UsageError(format!("the file is not in {}: line {number}: {why}", encoding.name())))
        }
        _ => Ok(()),
    }
}

fn plan_sends_names(plan: &EnqueuePlan, names: &[String]) -> bool {
    let is_name = |(_, property): &(String, String)| property == COURSE_NAME;
    plan.map.iter().any(is_name) || plan.map.is_empty() && names.iter().any(|name| name == COURSE_NAME)
}

/// Refuses names that no line has. A member of `--map` may be rare: while the file goes on, only a name that is similar
/// to another one is refused.
fn check_members(
    members: &Members,
    plan: &EnqueuePlan,
    names: &[String],
    is_whole: bool,
) -> Result<(), UsageError> {
    if let Some(name) = members.key_names.iter().find(|name| !names.contains(name)) {
        return Err(missing_column("member", name, "--key", names));
    }
    let is_wrong = |name: &&String| is_whole || find_similar(names, name).is_some();
    match members.missing(plan).iter().find(is_wrong) {
        Some(name) => Err(missing_column("member", name, "--map", names)),
        None => Ok(()),
    }
}

/// The lines that are in the head as a whole.
fn complete_lines(head: &FileHead) -> Vec<(u64, &[u8])> {
    let last = head.text.iter().rposition(|byte| *byte == head.lines.ends().byte());
    let end = match (head.is_whole, last) {
        (false, Some(last)) => last,
        (true, _) => head.text.len(),
        (false, None) => 0,
    };
    filled_lines(head.text.get(..end).unwrap_or_default(), &head.lines).take(MAX_LINES).collect()
}

/// Refuses JSON that is not one object per line.
fn check_form(head: &FileHead) -> Result<(), UsageError> {
    let start = head.text.trim_ascii_start();
    if start.starts_with(b"[") {
        return Err(UsageError(
            "the file is one JSON array; convert it to NDJSON with `jq -c '.[]' FILE`".to_owned(),
        ));
    }
    let (_, first) = filled_lines(&head.text, &head.lines).next().unwrap_or_default();
    let is_cut = parse_line(first).is_err_and(|error| error.is_eof());
    let spans_lines = is_cut && spans_lines(start);
    let lines = complete_lines(head);
    let wrapped = if spans_lines || lines.len() == 1 { wrapped_array(start) } else { None };
    if let Some(member) = wrapped {
        return Err(UsageError(format!(
            "the file is one JSON object; convert its courses to NDJSON with `jq -c '.[{member:?}][]' FILE`"
        )));
    }
    if spans_lines {
        return Err(UsageError(
            "the JSON objects span several lines; convert the file to NDJSON with `jq -c . FILE`".to_owned(),
        ));
    }
    if lines.len() >= MANY_NOT_JSON && lines.iter().all(|(_, line)| parse_line(line).is_err()) {
        return Err(UsageError(
            "the file is not NDJSON: none of its first lines is JSON; if it is CSV, use --format csv"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Bytes that are not UTF-8 do not matter here.
fn parse_line(line: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_str(&String::from_utf8_lossy(line))
}

/// Whether the first value of the text is valid, or may become valid after the head, although it spans lines.
fn spans_lines(text: &[u8]) -> bool {
    match Deserializer::from_slice(text).into_iter::<Value>().next() {
        Some(Ok(_)) => true,
        Some(Err(error)) => error.is_eof(),
        None => false,
    }
}

/// The member of an object that holds an array of objects.
fn wrapped_array(text: &[u8]) -> Option<String> {
    let first = Deserializer::from_slice(text).into_iter::<Map<String, Value>>().next()?;
    let is_list = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_object));
    let is_course = |(name, value): &(String, Value)| {
        is_list(value) && name != super::ASSOCIATIONS && value.as_array().is_some_and(|list| !list.is_empty())
    };
    first.ok()?.into_iter().find(is_course).map(|(name, _)| name)
}
