//! The rules. Each takes one file and names every violation as `path:line: what`.

use super::source::{Source, is_word};

const LONGEST_FILE: usize = 500;
const LONGEST_FUNCTION: usize = 90;

/// Who may import whom. What is not listed here may not be a module.
const IMPORTS: &[(&str, &[&str])] = &[
    ("course", &[]),
    ("policy", &["course"]),
    ("config", &[]),
    ("telemetry", &["config", "course", "policy"]),
    ("outbox", &["config", "course", "policy", "telemetry"]),
    ("hubspot", &["config", "course", "policy", "telemetry"]),
    ("daemon", &["config", "course", "hubspot", "outbox", "policy", "telemetry"]),
    ("admin", &["cli", "config", "course", "daemon", "demo", "hubspot", "outbox", "policy", "telemetry"]),
    (
        "cli",
        &[
            "admin",
            "config",
            "course",
            "daemon",
            "demo",
            "hubspot",
            "outbox",
            "policy",
            "simulator",
            "telemetry",
        ],
    ),
    (
        "demo",
        &[
            "admin",
            "cli",
            "config",
            "course",
            "daemon",
            "hubspot",
            "outbox",
            "policy",
            "simulator",
            "telemetry",
        ],
    ),
    ("simulator", &[]),
];

/// Code that may stand in some places only.
struct Absence {
    words: &'static [&'static str],
    within: &'static [&'static str],
    except: &'static [&'static str],
    /// Whether a file's own tests must do without, too.
    in_tests: bool,
    why: &'static str,
}

const ABSENCES: &[Absence] = &[
    Absence {
        words: &["todo!", "unimplemented!", "dbg!"],
        within: &["src/", "tests/"],
        except: &[],
        in_tests: true,
        why: "unfinished",
    },
    Absence {
        words: &["print!", "println!", "eprint!", "eprintln!"],
        within: &["src/"],
        except: &["src/cli/", "src/demo/", "src/demo.rs", "src/main.rs"],
        in_tests: true,
        why: "only the command line speaks to a terminal; log, or return it",
    },
    Absence {
        words: &["reqwest::"],
        within: &["src/"],
        // The spans' way out has rules of its own: no credentials of HubSpot's, no quota, nothing that may not be lost.
        except: &["src/hubspot/", "src/telemetry/traces/otlp.rs"],
        in_tests: true,
        why: "HubSpot is reached through src/hubspot alone",
    },
    Absence {
        words: &["backoff::"],
        within: &["src/"],
        except: &["src/policy/retry.rs"],
        in_tests: true,
        why: "the sole owner of retrying is src/policy/retry.rs",
    },
    Absence {
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
        within: &["src/course/", "src/policy/"],
        except: &[],
        in_tests: false,
        why: "decisions know no I/O, no clock, no randomness; take it as an argument",
    },
];

/// Every violation in one file.
pub fn violations(source: &Source) -> Vec<String> {
    [header(source), lengths(source), imports(source), absences(source), sql(source), notes(source)].concat()
}

fn finding(source: &Source, line: usize, what: impl std::fmt::Display) -> String {
    format!("{}:{line}: {what}", source.path)
}

fn lies_in(source: &Source, places: &[&str]) -> bool {
    places.iter().any(|place| source.path.starts_with(place))
}

fn header(source: &Source) -> Vec<String> {
    let has_header = source.text.starts_with("//!");
    let what = "begins without a header (`//!`: what the file is for, what it may touch)";
    (!has_header).then(|| finding(source, 1, what)).into_iter().collect()
}

fn lengths(source: &Source) -> Vec<String> {
    if !lies_in(source, &["src/"]) {
        return Vec::new();
    }
    let lines = source.text.lines().count();
    let file = (lines > LONGEST_FILE)
        .then(|| finding(source, LONGEST_FILE, format!("the file has {lines} lines, of {LONGEST_FILE}")));
    let long = |(_, length): &(usize, usize)| *length > LONGEST_FUNCTION;
    let functions = functions(&source.code).into_iter().filter(long).map(|(line, length)| {
        finding(source, line, format!("the function has {length} lines, of {LONGEST_FUNCTION}"))
    });
    file.into_iter().chain(functions).collect()
}

/// The functions' first lines and lengths. Leans on rustfmt: the closing brace stands under the first word.
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

fn imports(source: &Source) -> Vec<String> {
    let Some((module, _)) = source
        .path
        .strip_prefix("src/")
        .and_then(|path| path.split_once('/').or_else(|| path.strip_suffix(".rs").map(|name| (name, ""))))
    else {
        return Vec::new();
    };
    if matches!(module, "lib" | "main") {
        return Vec::new();
    }
    let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
        return vec![finding(source, 1, format!("the import rule does not know the module {module}"))];
    };
    let roots = source.word("crate::").map(|at| at + "crate::".len());
    let imports = roots
        .chain(roots_by_super(source))
        .flat_map(|at| names_at(&source.code[at..]).into_iter().map(move |name| (at, name)));
    imports
        .filter(|(_, name)| *name != module && !allowed.contains(name))
        .filter(|(_, name)| IMPORTS.iter().any(|(known, _)| known == name))
        .map(|(at, name)| finding(source, source.line_of(at), format!("{module} may not import {name}")))
        .collect()
}

/// Where a chain of `super::` has climbed to the crate's root.
fn roots_by_super(source: &Source) -> impl Iterator<Item = usize> + '_ {
    let inner = source.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let depth = inner.split('/').count();
    source.word("super::").filter_map(move |at| {
        let is_first = !source.code[..at].ends_with("super::");
        let rest = source.code[at..].trim_start_matches("super::");
        let end = source.code.len() - rest.len();
        (is_first && end - at >= depth * "super::".len()).then_some(end)
    })
}

/// The first names of the path or of the group of paths that stands at the beginning of `code`.
fn names_at(code: &str) -> Vec<&str> {
    let name = |code: &'_ str| code.find(|c| !is_word(c)).unwrap_or(code.len());
    let Some(group) = code.strip_prefix('{') else {
        return vec![&code[..name(code)]];
    };
    let (mut names, mut depth, mut is_new) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => is_new = true,
            _ if is_new && is_word(c) => {
                names.push(&group[at..at + name(&group[at..])]);
                is_new = false;
            }
            _ => {}
        }
    }
    names
}

/// Where a file's own tests begin: tests stand last, or in a file of their own.
fn tests_begin(source: &Source) -> usize {
    if source.path.ends_with("/tests.rs") || source.path.contains("/tests/") {
        return 0;
    }
    source.code.find("#[cfg(test)]").unwrap_or(source.code.len())
}

fn absences(source: &Source) -> Vec<String> {
    let apply = ABSENCES.iter().filter(|rule| lies_in(source, rule.within) && !lies_in(source, rule.except));
    let tests = tests_begin(source);
    let found = apply.flat_map(|rule| {
        let places =
            rule.words.iter().flat_map(move |word| source.word(word).map(move |at| (at, *word, rule.why)));
        places.filter(move |(at, ..)| rule.in_tests || *at < tests)
    });
    found.map(|(at, word, why)| finding(source, source.line_of(at), format!("`{word}`: {why}"))).collect()
}

fn sql(source: &Source) -> Vec<String> {
    if !lies_in(source, &["src/"]) || lies_in(source, &["src/outbox/", "src/demo/", "src/demo.rs"]) {
        return Vec::new();
    }
    let is_sql = |text: &str| {
        let text = text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        let selects =
            text.trim_start_matches(['r', '#', '"', ' ']).starts_with("select ") && text.contains(" from ");
        selects || ["insert into ", "update course_", "delete from "].iter().any(|verb| text.contains(verb))
    };
    let tests = source.line_of(tests_begin(source));
    let found = source.strings.iter().filter(|(line, text)| *line < tests && is_sql(text));
    found.map(|(line, _)| finding(source, *line, "SQL stands in src/outbox only")).collect()
}

fn notes(source: &Source) -> Vec<String> {
    let words = ["TODO", "FIXME", "XXX"];
    let found = source.comments.iter().filter(|(_, text)| words.iter().any(|word| text.contains(word)));
    found.map(|(line, _)| finding(source, *line, "a note to oneself: do it, or say what is so")).collect()
}
