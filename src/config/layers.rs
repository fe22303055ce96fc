//! Reads each source by itself and lays one over the other; knows the keys, not their meaning.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat, Map, Source as _, Value, ValueKind};

use super::keys::{self, FILE_VARIABLE, PREFIX, SECRETS, SEPARATOR, SHORT_VARIABLES};
use super::problems::{Origin, Problems};
use super::sources::Sources;

const DEFAULTS: &str = include_str!("../../config/default.toml");

/// A value as it was written, not yet understood.
pub(super) struct Setting {
    pub(super) value: ValueKind,
    pub(super) origin: Origin,
}

/// Known keys with what one source, or all of them together, say.
pub(super) type Layer = BTreeMap<&'static str, Setting>;

/// All sources, the later ones over the earlier ones.
pub(super) fn collect(sources: &Sources, problems: &mut Problems) -> Layer {
    let mut merged = from_toml(DEFAULTS, None, problems);
    let mut layers = Vec::new();
    if let Some((path, named_by)) = file_path(sources) {
        match std::fs::read_to_string(&path) {
            Ok(text) => layers.push(from_toml(&text, Some(&path), problems)),
            Err(error) => problems.add(
                path.display(),
                None,
                format!("the configuration file named by {named_by} cannot be read: {error}"),
            ),
        }
    }
    layers.push(from_environment(&sources.env, problems));
    for layer in layers {
        merge(&mut merged, layer, problems);
    }
    merged
}

fn file_path(sources: &Sources) -> Option<(PathBuf, &'static str)> {
    let from_env = || {
        let (_, value) =
            sources.env.iter().find(|(name, value)| name == FILE_VARIABLE && !value.is_empty())?;
        Some((PathBuf::from(value), FILE_VARIABLE))
    };
    sources.file.clone().map(|path| (path, "--config")).or_else(from_env)
}

/// A secret given as a value hides one given as a file below it, and the other way round.
fn merge(below: &mut Layer, layer: Layer, problems: &mut Problems) {
    for (value, file) in SECRETS {
        match (layer.get(value), layer.get(file)) {
            (Some(one), Some(other)) => problems.add(
                value,
                Some(&one.origin),
                format!("contradicts {file} ({}): give the secret or its file, not both", other.origin),
            ),
            (None, None) => continue,
            _ => {}
        }
        below.remove(value);
        below.remove(file);
    }
    below.extend(layer);
}

fn from_toml(text: &str, path: Option<&Path>, problems: &mut Problems) -> Layer {
    let origin = |key: &str| match path {
        None => Origin::BuiltIn,
        Some(path) => Origin::File { path: path.to_owned(), line: line_of(text, key) },
    };
    let mut layer = Layer::new();
    match File::from_str(text, FileFormat::Toml).collect() {
        Ok(map) => walk(map, "", &origin, &mut layer, problems),
        Err(error) => {
            let subject = path.unwrap_or(Path::new("default.toml")).display();
            problems.add(subject, None, syntax_error(&error.to_string()));
        }
    }
    layer
}

/// The parser's position and advice without the line it quotes, which may hold a secret.
fn syntax_error(message: &str) -> String {
    let mut lines = message.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or("not valid TOML");
    match lines.next_back().filter(|line| !line.contains('|')) {
        Some(advice) => format!("{first}: {advice}"),
        None => first.to_owned(),
    }
}

fn walk(
    map: Map<String, Value>,
    section: &str,
    origin: &impl Fn(&str) -> Origin,
    layer: &mut Layer,
    problems: &mut Problems,
) {
    let mut entries: Vec<_> = map.into_iter().collect();
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (name, value) in entries {
        // A dot inside a name was quoted in the file and separates nothing.
        let name = if name.contains('.') { format!("{name:?}") } else { name };
        let path = if section.is_empty() { name } else { format!("{section}.{name}") };
        match (keys::known(&path), value.kind) {
            (Some(key), value) => {
                layer.insert(key, Setting { value, origin: origin(key) });
            }
            (None, ValueKind::Table(map)) if !map.is_empty() || keys::is_section(&path) => {
                walk(map, &path, origin, layer, problems);
            }
            (None, _) => problems.add(&path, Some(&origin(&path)), unknown_key(&path)),
        }
    }
}

fn unknown_key(path: &str) -> String {
    if keys::is_section(path) {
        return format!("is a section, not a key: write [{path}] and its keys below");
    }
    match keys::nearest_key(path) {
        Some(key) => format!("unknown key; did you mean {key}?"),
        None => "unknown key; config/default.toml lists them all".to_owned(),
    }
}

/// The line that sets `key`, found by its look: good enough to point at, wrong at worst by a few lines.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let bare = |name: &str| name.replace([' ', '\t', '"', '\''], "");
    let mut section = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let path = if let Some(header) = line.strip_prefix('[') {
            section = bare(header.split(']').next().unwrap_or(header));
            section.clone()
        } else if let Some((name, _)) = line.split_once('=') {
            if section.is_empty() { bare(name) } else { format!("{section}.{}", bare(name)) }
        } else {
            continue;
        };
        let inline_table =
            || line.contains('{') && key.strip_prefix(&path).is_some_and(|r| r.starts_with('.'));
        if path == bare(key) || inline_table() {
            return Some(index + 1);
        }
    }
    None
}

fn from_environment(env: &[(OsString, OsString)], problems: &mut Problems) -> Layer {
    let (mut long, mut short) = (HashMap::new(), Layer::new());
    for (name, value) in env.iter().filter(|(_, value)| !value.is_empty()) {
        let Some(variable) = recognise(name, value, problems) else { continue };
        let Some(value) = value.to_str() else {
            problems.add(name.to_string_lossy(), None, "the value is not valid UTF-8 (not shown)");
            continue;
        };
        match variable {
            Variable::Long(name) => {
                long.insert(name.to_owned(), value.to_owned());
            }
            Variable::Short(name, key) => {
                let origin = Origin::Variable(name.to_owned());
                short.insert(key, Setting { value: ValueKind::String(value.to_owned()), origin });
            }
        }
    }
    let mut layer = Layer::new();
    // No `try_parsing`: it would turn a token 00123 into the number 123.
    let environment =
        Environment::with_prefix(PREFIX).prefix_separator(SEPARATOR).separator(SEPARATOR).source(Some(long));
    // Collecting fails on what is not UTF-8 only, and that was told above.
    for (path, value) in environment.collect().unwrap_or_default() {
        if let Some(key) = keys::known(&path) {
            layer.insert(key, Setting { value: value.kind, origin: Origin::Variable(keys::variable(key)) });
        }
    }
    for (key, short) in short {
        match layer.get(key) {
            Some(long) if long.value != short.value => problems.add(
                key,
                Some(&long.origin),
                format!("contradicts {}, which says something else: unset one of them", short.origin),
            ),
            Some(_) => {}
            None => {
                layer.insert(key, short);
            }
        }
    }
    layer
}

enum Variable<'a> {
    Long(&'a str),
    Short(&'static str, &'static str),
}

/// What a variable means to this program, if anything; one of ours that means nothing is a problem.
fn recognise<'a>(name: &'a OsStr, value: &OsStr, problems: &mut Problems) -> Option<Variable<'a>> {
    let Some(text) = name.to_str() else {
        if name.to_string_lossy().starts_with(PREFIX) {
            problems.add(name.to_string_lossy(), None, "the variable's name is not valid UTF-8");
        }
        return None;
    };
    if let Some((short, key)) = SHORT_VARIABLES.iter().find(|(short, _)| *short == text) {
        return Some(Variable::Short(short, key));
    }
    if !text.to_ascii_uppercase().starts_with(PREFIX) || text == FILE_VARIABLE || is_service_link(text, value)
    {
        return None;
    }
    if keys::KEYS.iter().any(|key| keys::variable(key) == text) {
        return Some(Variable::Long(text));
    }
    let hint = match keys::nearest_variable(text) {
        Some(name) => format!("did you mean {name}?"),
        None => "the names are COURSE_SYNC__SECTION__KEY, with two underscores each".to_owned(),
    };
    problems.add(text, None, format!("unknown variable; {hint}"));
    None
}

/// Kubernetes sets such variables in every pod for a Service named `course-sync` or `course-sync-…`.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let is_url = || value.to_str().is_some_and(|value| value.contains("://"));
    let of_port = |rest: &str| ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| rest.contains(protocol));
    !name.starts_with("COURSE_SYNC__")
        && (name.ends_with("_SERVICE_HOST")
            || name.contains("_SERVICE_PORT")
            || (name.ends_with("_PORT") && is_url())
            || name.split_once("_PORT_").is_some_and(|(_, rest)| of_port(rest)))
}
