//! The log's calls match the table of events, and docs/logging.md is generated from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use course_sync::telemetry::events::{Event, GROUPS};

use crate::support::generated::assert_section;
use crate::tidy::collect;
use crate::tidy::source::Source;

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// A call of one of `tracing`'s macros.
#[derive(Debug)]
struct Call {
    place: String,
    level: &'static str,
    /// The constant in `events`.
    constant: String,
    fields: BTreeSet<String>,
    message: String,
}

/// The calls in a file, without its tests; and problems with their form.
fn calls(source: &Source) -> (Vec<Call>, Vec<String>) {
    let tests = source.code.find("#[cfg(test)]").unwrap_or(source.code.len());
    let (code, text): (Vec<char>, Vec<char>) = (source.code.chars().collect(), source.text.chars().collect());
    let (mut calls, mut problems) = (Vec::new(), Vec::new());
    for level in LEVELS {
        let name = format!("{level}!");
        for at in source.word(&name).filter(|at| *at < tests) {
            let place = format!("{}:{}", source.path, source.line_of(at));
            if !source.code[..at].ends_with("tracing::") {
                problems.push(format!("{place}: write tracing::{name}, so that this test finds it"));
                continue;
            }
            // Comments and literals are blanked character by character, so places are the same in both.
            let begin = source.code[..at].chars().count() + name.len() + 1;
            let arguments = arguments(&code, &text, begin);
            let Some((constant, fields, message)) = parse(&arguments) else {
                problems.push(format!("{place}: write (event = events::NAME, fields, \"message\")"));
                continue;
            };
            calls.push(Call { place, level, constant, fields, message });
        }
    }
    (calls, problems)
}

/// Event, fields and message of a call.
fn parse(arguments: &[String]) -> Option<(String, BTreeSet<String>, String)> {
    let [event, fields @ .., message] = arguments else { return None };
    let constant = event.strip_prefix("event = events::")?.to_owned();
    let message = message.strip_prefix('"')?.strip_suffix('"')?.to_owned();
    Some((constant, fields.iter().map(|argument| field(argument)).collect(), message))
}

/// The arguments of a macro whose parenthesis was opened just before `begin`.
fn arguments(code: &[char], text: &[char], begin: usize) -> Vec<String> {
    let (mut depth, mut found) = (0, vec![String::new()]);
    for at in begin..code.len() {
        match code[at] {
            ')' if depth == 0 => break,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(String::new());
                continue;
            }
            _ => {}
        }
        found.last_mut().expect("one at least").push(text[at]);
    }
    found.into_iter().map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

/// The name of a field: `%batch`, `?took`, `term = lease.term`.
fn field(argument: &str) -> String {
    argument.split('=').next().unwrap_or_default().trim_matches(|c: char| "%? ".contains(c)).to_owned()
}

/// The difference between a call and its event, if any.
fn mismatch(call: &Call, event: &Event) -> Option<String> {
    let level = event.level.as_str().to_lowercase();
    let message = event.name.replace('_', " ");
    let unknown: Vec<_> =
        call.fields.iter().filter(|field| !event.fields.contains(&field.as_str())).collect();
    if call.level != level {
        return Some(format!("{}: the level of {} is {level}", call.place, event.name));
    }
    if call.message != message {
        return Some(format!("{}: the message of {} is {message:?}", call.place, event.name));
    }
    (!unknown.is_empty()).then(|| format!("{}: {} has no fields {unknown:?}", call.place, event.name))
}

/// Every difference between the calls and the table.
fn mismatches(calls: &[Call]) -> Vec<String> {
    let mut by_constant: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in calls {
        by_constant.entry(&call.constant).or_default().push(call);
    }
    let mut found = Vec::new();
    for event in GROUPS.iter().flat_map(|group| group.events) {
        let Some(calls) = by_constant.remove(event.name.to_uppercase().as_str()) else {
            found.push(format!("{}: never logged", event.name));
            continue;
        };
        found.extend(calls.iter().filter_map(|call| mismatch(call, event)));
        let logged = |field: &&&str| calls.iter().any(|call| call.fields.contains(**field));
        let absent: Vec<_> = event.fields.iter().filter(|field| !logged(field)).collect();
        if !absent.is_empty() {
            found.push(format!("{}: the fields {absent:?} are never logged", event.name));
        }
    }
    let unknown = by_constant.values().flatten();
    found.extend(unknown.map(|call| format!("{}: {} is not in the table", call.place, call.constant)));
    found
}

#[test]
fn every_log_call_matches_its_event() {
    let mut sources = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
    let (calls, problems): (Vec<_>, Vec<_>) = sources.iter().map(calls).unzip();
    let (calls, mut problems) = (calls.into_iter().flatten().collect::<Vec<_>>(), problems.concat());
    problems.extend(mismatches(&calls));
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn event_names_are_unique() {
    let names: Vec<_> = GROUPS.iter().flat_map(|group| group.events).map(|event| event.name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
}

fn table(events: &[Event]) -> String {
    let mut table = "| Event | Level | Fields | Meaning | What to do |\n|---|---|---|---|---|\n".to_owned();
    for event in events {
        let fields: Vec<_> = event.fields.iter().map(|field| format!("`{field}`")).collect();
        let level = event.level.as_str().to_lowercase();
        let (meaning, action) = (event.meaning, event.action);
        let cells = [format!("`{}`", event.name), level, fields.join(", "), meaning.into(), action.into()];
        writeln!(table, "| {} |", cells.join(" | ")).unwrap();
    }
    table
}

#[test]
fn docs_are_generated_logging() {
    let sections = GROUPS.iter().map(|group| format!("### {}\n\n{}", group.title, table(group.events)));
    assert_section("docs/logging.md", "events", &sections.collect::<Vec<_>>().join("\n"));
}

#[test]
fn calls_are_parsed_and_wrong_ones_are_found() {
    let code = "fn f() {\n    tracing::warn!(event = events::LEASE_LOST, term = lease.term(1, 2), %reason, \"lease lost\");\n}\n";
    let (found, problems) = calls(&Source::new("src/x.rs", code));
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!((found[0].level, found[0].message.as_str()), ("warn", "lease lost"));
    assert_eq!(found[0].fields, ["term", "reason"].map(str::to_owned).into());
    for malformed in [
        "use tracing::warn; fn f() { warn!(event = events::X, \"x\") }",
        "fn f() { tracing::info!(\"x\") }",
        "fn f() { tracing::info!(event = \"x\", \"x\") }",
        "fn f() { tracing::info!(event = events::X) }",
    ] {
        assert_eq!(calls(&Source::new("src/x.rs", malformed)).1.len(), 1, "{malformed}");
    }
    let event =
        GROUPS.iter().flat_map(|group| group.events).find(|event| event.name == "lease_lost").unwrap();
    for (wrong, problem) in [
        ("tracing::info!(event = events::LEASE_LOST, \"lease lost\")", "level"),
        ("tracing::warn!(event = events::LEASE_LOST, \"the lease is lost\")", "message"),
        ("tracing::warn!(event = events::LEASE_LOST, batch, \"lease lost\")", "no fields"),
    ] {
        let found = calls(&Source::new("src/x.rs", &format!("fn f() {{ {wrong} }}"))).0;
        assert!(mismatch(&found[0], event).is_some_and(|found| found.contains(problem)), "{wrong}");
    }
}
