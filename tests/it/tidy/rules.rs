//! The rules about a single Rust file. Each returns its violations as `path:line: what`.

use super::imports::forbidden_imports;
use super::source::{Source, is_word};

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 90;

/// Code that is forbidden in some places.
struct ForbiddenCode {
    /// Beginnings of paths, or macro calls.
    words: &'static [&'static str],
    /// Beginnings of the paths of files.
    within: &'static [&'static str],
    except: &'static [&'static str],
    /// Whether the rule also applies to the tests in a file.
    in_tests: bool,
    why: &'static str,
}

/// Files that contain pure functions and values only.
const PURE: &[&str] = &[
    "src/course/",
    "src/hubspot/api",
    "src/pipeline/batch.rs",
    "src/pipeline/interpret",
    "src/pipeline/reconcile/meaning",
    "src/pipeline/transition.rs",
    "src/policy/",
];

const FORBIDDEN_CODE: &[ForbiddenCode] = &[
    ForbiddenCode {
        words: &["todo!", "unimplemented!", "dbg!"],
        within: &["crates/", "src/", "tests/"],
        except: &[],
        in_tests: true,
        why: "finish it before it is committed",
    },
    ForbiddenCode {
        words: &["print!", "println!", "eprint!", "eprintln!"],
        within: &["crates/", "src/"],
        except: &["crates/compared/", "src/cli/", "src/demo/", "src/demo.rs", "src/main.rs"],
        in_tests: true,
        why: "only the command line writes to a terminal; log it, or return it",
    },
    ForbiddenCode {
        words: &["reqwest::"],
        within: &["src/"],
        // The span exporter needs a client of its own: without HubSpot's credentials and quota, for data that may be
        // lost.
        except: &["src/hubspot/", "src/telemetry/traces/otlp.rs"],
        in_tests: true,
        why: "only src/hubspot sends requests to HubSpot",
    },
    ForbiddenCode {
        words: &["backoff::"],
        within: &["src/"],
        except: &["src/policy/backoff.rs"],
        in_tests: true,
        why: "only src/policy/backoff.rs computes delays",
    },
    ForbiddenCode {
        words: &["simulator::"],
        within: &["src/"],
        except: &["src/cli/", "src/demo/", "src/demo.rs"],
        in_tests: true,
        why: "only the command line and the demo start the simulator",
    },
    ForbiddenCode {
        words: &["course_sync::"],
        within: &["crates/simulator/"],
        except: &[],
        in_tests: true,
        why: "the simulator shares no code with the client, or both could misread a field in the same way",
    },
    ForbiddenCode {
        words: &[
            "tokio::",
            "sqlx::",
            "reqwest::",
            "axum::",
            "fastrand::",
            "std::env",
            "std::fs",
            "std::net",
            "Instant::now",
            "SystemTime::now",
            "Timestamp::now",
            "Zoned::now",
        ],
        within: PURE,
        except: &[],
        in_tests: false,
        why: "pure code uses no I/O, no clock and no randomness; take the value as an argument",
    },
];

/// Every violation in a file.
pub fn violations(source: &Source) -> Vec<String> {
    [
        missing_header(source),
        excess_length(source),
        forbidden_imports(source),
        forbidden_code(source),
        sql_outside_outbox(source),
        notes_to_self(source),
    ]
    .concat()
}

fn is_in(source: &Source, places: &[&str]) -> bool {
    places.iter().any(|place| source.path.starts_with(place))
}

fn missing_header(source: &Source) -> Vec<String> {
    let has_header = source.text.starts_with("//!");
    let what = "the file has no header (`//!`: what it is for and what it may use)";
    (!has_header).then(|| source.finding(1, what)).into_iter().collect()
}

fn excess_length(source: &Source) -> Vec<String> {
    if !is_in(source, &["crates/", "src/"]) {
        return Vec::new();
    }
    let lines = source.text.lines().count();
    let file = (lines > MAX_FILE_LINES).then(|| {
        source.finding(MAX_FILE_LINES, format!("the file has {lines} lines; the limit is {MAX_FILE_LINES}"))
    });
    let long = |(_, length): &(usize, usize)| *length > MAX_FUNCTION_LINES;
    let functions = functions(&source.code).into_iter().filter(long).map(|(line, length)| {
        source.finding(line, format!("the function has {length} lines; the limit is {MAX_FUNCTION_LINES}"))
    });
    file.into_iter().chain(functions).collect()
}

/// The first line and the length of each function. Relies on rustfmt: the closing brace has the indentation of the
/// first line.
fn functions(code: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = code.lines().map(str::trim_end).collect();
    let begins = lines.iter().enumerate().filter(|(_, line)| {
        let before = line.split_whitespace().take_while(|word| *word != "fn");
        let all_qualify = before.clone().all(|word| {
            matches!(word, "async" | "const" | "extern" | "unsafe" | "pub" | "in") || word.starts_with("pub(")
        });
        all_qualify && before.count() < line.split_whitespace().count()
    });
    begins
        .map(|(first, line)| {
            let indent = &line[..line.len() - line.trim_start().len()];
            let ends = |line: &str| {
                line.strip_prefix(indent)
                    .is_some_and(|rest| rest == "}" || rest.starts_with(')') && rest.ends_with(';'))
            };
            let more = match line.chars().last() {
                Some('}' | ';') => Some(0),
                _ => lines[first..].iter().position(|line| ends(line)),
            };
            (first + 1, more.map_or(lines.len() - first, |more| more + 1))
        })
        .collect()
}

fn forbidden_code(source: &Source) -> Vec<String> {
    let apply =
        FORBIDDEN_CODE.iter().filter(|rule| is_in(source, rule.within) && !is_in(source, rule.except));
    let tests = source.tests_begin();
    let found = apply.flat_map(|rule| {
        let places =
            rule.words.iter().flat_map(move |word| source.word(word).map(move |at| (at, *word, rule.why)));
        places.filter(move |(at, ..)| (rule.in_tests || *at < tests) && begins_path(source, *at))
    });
    found.map(|(at, word, why)| source.finding(source.line_of(at), format!("`{word}`: {why}"))).collect()
}

/// Whether the name at this position is the first one of its path: `backoff::` in `crate::policy::backoff::delay` is
/// not.
fn begins_path(source: &Source, at: usize) -> bool {
    let before = &source.code[..at];
    before.strip_suffix("::").is_none_or(|before| !before.ends_with(is_word))
}

fn sql_outside_outbox(source: &Source) -> Vec<String> {
    if !is_in(source, &["src/"]) || is_in(source, &["src/outbox/", "src/demo/", "src/demo.rs"]) {
        return Vec::new();
    }
    let is_sql = |text: &str| {
        let text = text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        let selects =
            text.trim_start_matches(['r', '#', '"', ' ']).starts_with("select ") && text.contains(" from ");
        selects || ["insert into ", "update course_", "delete from "].iter().any(|verb| text.contains(verb))
    };
    let tests = source.line_of(source.tests_begin());
    let found = source.strings.iter().filter(|(line, text)| *line < tests && is_sql(text));
    found.map(|(line, _)| source.finding(*line, "SQL belongs in src/outbox")).collect()
}

fn notes_to_self(source: &Source) -> Vec<String> {
    let words = ["TODO", "FIXME", "XXX"];
    let found = source.comments.iter().filter(|(_, text)| words.iter().any(|word| text.contains(word)));
    found
        .map(|(line, _)| source.finding(*line, "a note to self: do it, or describe the current state"))
        .collect()
}
