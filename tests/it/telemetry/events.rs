//! docs/logging.md lists every line that the log can hold at info or above, with its level and its fields.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::tidy::collect;
use crate::tidy::source::Source;

const PAGE: &str = include_str!("../../../docs/logging.md");
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// A line of the log, as the code writes it.
#[derive(Debug)]
struct Event {
    level: &'static str,
    message: String,
    fields: BTreeSet<String>,
}

/// Levels and fields of a message, over all places that write it.
type Shape = (BTreeSet<String>, BTreeSet<String>);

/// Every event of a file, without its tests; and what stands in the way of finding them.
fn events(source: &Source) -> (Vec<Event>, Vec<String>) {
    let tests = source.code.find("#[cfg(test)]").unwrap_or(source.code.len());
    let (code, text): (Vec<char>, Vec<char>) = (source.code.chars().collect(), source.text.chars().collect());
    let (mut events, mut problems) = (Vec::new(), Vec::new());
    for level in LEVELS {
        let name = format!("{level}!");
        for at in source.word(&name).filter(|at| *at < tests) {
            let place = format!("{}:{}", source.path, source.line_of(at));
            if !source.code[..at].ends_with("tracing::") {
                problems.push(format!("{place}: write tracing::{name}, so that it is found"));
                continue;
            }
            // Comments and literals are blanked character by character, so places are the same in both.
            let begin = source.code[..at].chars().count() + name.len() + 1;
            let arguments = arguments(&code, &text, begin);
            match arguments.split_last().map(|(last, fields)| (literal(last), fields)) {
                Some((Some(message), fields)) if !message.contains(['{', '`', '|']) => {
                    events.push(Event { level, message, fields: fields.iter().map(|it| field(it)).collect() });
                }
                _ => problems.push(format!(
                    "{place}: an event ends with its message, a literal without {{}}, ` and |; what varies is a field"
                )),
            }
        }
    }
    (events, problems)
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

/// The text of a plain string literal, where the argument is nothing else.
fn literal(argument: &str) -> Option<String> {
    let inner = argument.strip_prefix('"')?.strip_suffix('"')?;
    let lines: Vec<_> = inner.split("\\\n").enumerate().collect();
    Some(lines.into_iter().map(|(n, line)| if n == 0 { line } else { line.trim_start() }).collect())
}

/// The name of a field: `%batch`, `?took`, `term = lease.term`.
fn field(argument: &str) -> String {
    argument.split('=').next().unwrap_or_default().trim_matches(|c: char| "%? ".contains(c)).to_owned()
}

fn written() -> BTreeMap<String, Shape> {
    let mut sources = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
    let mut written: BTreeMap<String, Shape> = BTreeMap::new();
    for source in &sources {
        let (events, problems) = events(source);
        assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
        for event in events.into_iter().filter(|event| !matches!(event.level, "debug" | "trace")) {
            let shape = written.entry(event.message).or_default();
            shape.0.insert(event.level.to_owned());
            shape.1.extend(event.fields);
        }
    }
    written
}

fn documented() -> BTreeMap<String, Shape> {
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    // The page's other tables have fewer columns.
    let rows = PAGE.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    rows.filter(|cells| cells.len() == 7 && cells[1].starts_with('`'))
        .map(|cells| {
            let levels = cells[2].split(", ").map(str::to_owned).collect();
            assert!(!cells[4].is_empty() && !cells[5].is_empty(), "what it means and what to do: {cells:?}");
            (cells[1].trim_matches('`').to_owned(), (levels, names(cells[3])))
        })
        .collect()
}

/// The row that is to stand in the page.
fn row(message: &str, (levels, fields): &Shape) -> String {
    let levels: Vec<_> = levels.iter().map(String::as_str).collect();
    let fields: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
    format!("| `{message}` | {} | {} | what it means | what to do |", levels.join(", "), fields.join(", "))
}

#[test]
fn the_page_lists_every_event_with_its_fields() {
    let (written, documented) = (written(), documented());
    assert!(written.len() > 30, "too few to be true: {}", written.len());
    let missing: Vec<_> = written
        .iter()
        .filter(|(message, shape)| documented.get(*message) != Some(shape))
        .map(|(message, shape)| row(message, shape))
        .collect();
    let gone: Vec<_> = documented.keys().filter(|message| !written.contains_key(*message)).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "docs/logging.md: write these rows (or mend those that are there)\n{}\nand take these out: {gone:?}\n",
        missing.join("\n")
    );
}

#[test]
fn events_are_found_as_they_are_written() {
    let code =
        "fn f() {\n    tracing::warn!(%batch, term = lease.term(1, 2), ?took, \"told, (once) ü\");\n}\n";
    let (found, problems) = events(&Source::new("src/x.rs", code));
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!((found[0].level, found[0].message.as_str()), ("warn", "told, (once) ü"));
    assert_eq!(found[0].fields, ["batch", "took", "term"].map(str::to_owned).into());
    let long = "fn f() { tracing::info!(\n    \"a long \\\n     one\"\n) }";
    assert_eq!(events(&Source::new("src/x.rs", long)).0[0].message, "a long one");
    for offence in [
        "use tracing::warn; fn f() { warn!(\"x\") }",
        "fn f() { tracing::info!(\"{x}\") }",
        "fn f() { tracing::info!(x) }",
    ] {
        assert_eq!(events(&Source::new("src/x.rs", offence)).1.len(), 1, "{offence}");
    }
}
