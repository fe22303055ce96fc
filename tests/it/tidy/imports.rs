//! The import rule: which module may import which. `crate::hubspot::api` counts as a module of its own, `api`, because
//! it is pure and `policy` may import it, in contrast to the rest of `hubspot`.

use super::source::{Source, is_word};

/// The modules that each module may import. A module that is not listed here must not exist.
const IMPORTS: &[(&str, &[&str])] = &[
    ("course", &[]),
    ("config", &[]),
    ("tls", &[]),
    ("api", &["course"]),
    ("policy", &["api", "course"]),
    ("telemetry", &["api", "config", "course", "policy", "tls"]),
    ("outbox", &["api", "config", "course", "policy", "telemetry"]),
    ("hubspot", &["api", "config", "course", "telemetry", "tls"]),
    ("account", &["api", "config", "course", "policy", "telemetry"]),
    ("runtime", &["course", "outbox", "policy", "telemetry"]),
    (
        "pipeline",
        &["account", "api", "config", "course", "hubspot", "outbox", "policy", "runtime", "telemetry"],
    ),
    (
        "daemon",
        &[
            "account",
            "api",
            "config",
            "course",
            "hubspot",
            "outbox",
            "pipeline",
            "policy",
            "runtime",
            "telemetry",
        ],
    ),
    ("report", &["account", "config", "course", "outbox", "policy", "telemetry"]),
    ("admin", ABOVE_DAEMON),
    ("cli", ABOVE_DAEMON),
    ("demo", ABOVE_DAEMON),
];

const ABOVE_DAEMON: &[&str] = &[
    "account",
    "admin",
    "api",
    "cli",
    "config",
    "course",
    "daemon",
    "demo",
    "hubspot",
    "outbox",
    "pipeline",
    "policy",
    "report",
    "runtime",
    "telemetry",
    "tls",
];

/// Every import of a file that the rule forbids.
pub fn forbidden_imports(source: &Source) -> Vec<String> {
    let Some(path) = module_path(source) else {
        return Vec::new();
    };
    let module = module_of(&path);
    let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
        return vec![source.finding(1, format!("the import rule does not know the module {module}"))];
    };
    let absolute = source.word("crate::").map(|at| (at + "crate::".len(), Vec::new()));
    absolute
        .chain(super_chains(source, &path))
        .flat_map(|(at, prefix)| {
            imported_modules(&prefix, &source.code[at..]).into_iter().map(move |name| (at, name))
        })
        .filter(|(_, name)| *name != module && !allowed.contains(name))
        .filter(|(_, name)| IMPORTS.iter().any(|(known, _)| known == name))
        .map(|(at, name)| source.finding(source.line_of(at), format!("{module} may not import {name}")))
        .collect()
}

/// The path of the module that a file of src/ contains, such as `["policy", "gate"]`.
fn module_path(source: &Source) -> Option<Vec<&str>> {
    let path = source.path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let path = path.strip_suffix("/mod").unwrap_or(path);
    (!matches!(path, "lib" | "main")).then(|| path.split('/').collect())
}

/// The module of the rule that a path belongs to.
fn module_of<'a>(path: &[&'a str]) -> &'a str {
    match path {
        ["hubspot", "api", ..] => "api",
        [first, ..] => first,
        [] => "",
    }
}

/// Where each chain of `super::` ends, with the path of the module that it leads to.
fn super_chains<'a>(
    source: &'a Source,
    path: &'a [&'a str],
) -> impl Iterator<Item = (usize, Vec<&'a str>)> + 'a {
    source.word("super::").filter_map(move |at| {
        let is_first = !source.code[..at].ends_with("super::");
        let rest = source.code[at..].trim_start_matches("super::");
        let end = source.code.len() - rest.len();
        let levels = (end - at) / "super::".len();
        let remaining = path.len().checked_sub(levels)?;
        is_first.then(|| (end, path[..remaining].to_vec()))
    })
}

/// The modules of the rule that the path, or group of paths, at the beginning of `code` belongs to. `prefix` is the
/// path before it.
fn imported_modules<'a>(prefix: &[&'a str], code: &'a str) -> Vec<&'a str> {
    if prefix.len() >= 2 {
        return vec![module_of(prefix)];
    }
    heads(code)
        .into_iter()
        .flat_map(|(name, rest)| {
            let path: Vec<&str> = prefix.iter().copied().chain([name]).collect();
            match rest.strip_prefix("::") {
                Some(rest) if path == ["hubspot"] => imported_modules(&path, rest),
                _ => vec![module_of(&path)],
            }
        })
        .collect()
}

/// The first names of the path, or of each path in the group, at the beginning of `code`, with what follows each name.
fn heads(code: &str) -> Vec<(&str, &str)> {
    let split = |code| -> (&str, &str) {
        let code: &str = code;
        code.split_at(code.find(|c| !is_word(c)).unwrap_or(code.len()))
    };
    let Some(group) = code.strip_prefix('{') else {
        return vec![split(code)];
    };
    let (mut heads, mut depth, mut is_new) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => is_new = true,
            _ if is_new && is_word(c) => {
                heads.push(split(&group[at..]));
                is_new = false;
            }
            _ => {}
        }
    }
    heads
}
