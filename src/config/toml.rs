//! Reads the keys of a TOML text and where each stands. Knows the keys' names, not their meaning.

use std::path::PathBuf;

use config::{File, FileFormat, Map, Source as _, Value, ValueKind};

use super::keys;
use super::layers::{Layer, Setting};
use super::problems::{Origin, Problems};

/// The known keys of `text`; `None` where it is no TOML. Without a `path` it is the built-in text.
pub(super) fn read(text: &str, path: Option<PathBuf>, problems: &mut Problems) -> Option<Layer> {
    match File::from_str(text, FileFormat::Toml).collect() {
        Ok(map) => {
            let mut walk = Walk { text, path, layer: Layer::new(), problems };
            walk.table(map, "");
            Some(walk.layer)
        }
        Err(error) => {
            let subject = path.unwrap_or_else(|| PathBuf::from("default.toml"));
            problems.add(subject.display(), None, syntax_error(&error.to_string()));
            None
        }
    }
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

struct Walk<'a> {
    text: &'a str,
    path: Option<PathBuf>,
    layer: Layer,
    problems: &'a mut Problems,
}

impl Walk<'_> {
    fn table(&mut self, map: Map<String, Value>, section: &str) {
        let mut entries: Vec<_> = map.into_iter().collect();
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (name, value) in entries {
            let path = join(section, &name);
            match (keys::known(&path), value.kind) {
                (Some(key), value) => {
                    let origin = self.origin(key);
                    self.layer.insert(key, Setting { value, origin });
                }
                (None, ValueKind::Table(map)) if !map.is_empty() || keys::is_section(&path) => {
                    self.table(map, &path);
                }
                (None, _) => self.problems.add(&path, Some(&self.origin(&path)), unknown_key(&path)),
            }
        }
    }

    fn origin(&self, key: &str) -> Origin {
        match &self.path {
            None => Origin::BuiltIn,
            Some(path) => Origin::File { path: path.clone(), line: line_of(self.text, key) },
        }
    }
}

/// A name that had to be quoted in the file stays quoted: its dots separate nothing, and it may hold anything.
fn join(section: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let name = if bare { name.to_owned() } else { format!("{name:?}") };
    if section.is_empty() { name } else { format!("{section}.{name}") }
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
    let bare = |name: &str| name.replace(['[', ' ', '\t', '"', '\''], "");
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
