//! Reads a TOML file into a layer, with the line of each key. Touches the configuration file.

use std::path::{Path, PathBuf};

use config::Value;
use serde::de::{Deserialize as _, IntoDeserializer as _};
use toml::de::{DeTable, DeValue};

use super::layer::{Layer, Setting};
use super::problems::Problems;
use super::reference::{self, FILE_VARIABLE};
use super::sources::Sources;

/// The settings of the configuration file; empty without a file, `None` if the file cannot be read or parsed.
pub(super) fn read(sources: &Sources, problems: &mut Problems) -> Option<Layer> {
    let Some((path, named_by)) = find(sources) else { return Some(Layer::new()) };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            let text = format!("the configuration file named by {named_by} cannot be read: {error}");
            problems.add(path.display(), None, text);
            return None;
        }
    };
    match DeTable::parse(&text) {
        Ok(table) => {
            let mut reader = FileReader { text: &text, path: &path, layer: Layer::new(), problems };
            reader.read_table(table.into_inner(), "");
            Some(reader.layer)
        }
        Err(error) => {
            // The error's own text quotes the line, which may hold a secret.
            let place = match error.span() {
                Some(span) => position(&text, span.start),
                None => String::new(),
            };
            problems.add(path.display(), None, format!("TOML parse error{place}: {}", error.message()));
            None
        }
    }
}

fn find(sources: &Sources) -> Option<(PathBuf, &'static str)> {
    if let Some(path) = &sources.file {
        return Some((path.clone(), "--config"));
    }
    let (_, path) = sources.env.iter().find(|(name, path)| name == FILE_VARIABLE && !path.is_empty())?;
    Some((PathBuf::from(path), FILE_VARIABLE))
}

struct FileReader<'a> {
    text: &'a str,
    path: &'a Path,
    layer: Layer,
    problems: &'a mut Problems,
}

impl FileReader<'_> {
    fn read_table(&mut self, table: DeTable<'_>, section: &str) {
        for (name, value) in table {
            let path = join(section, name.get_ref());
            let source = format!("{}:{}", self.path.display(), line(self.text, name.span().start));
            if reference::is_key(&path) {
                match Value::deserialize(value.into_deserializer()) {
                    Ok(value) => drop(self.layer.insert(path, Setting { value: value.kind, source })),
                    Err(_) => self.problems.add(path, Some(&source), "the number is out of range"),
                }
                continue;
            }
            match value.into_inner() {
                DeValue::Table(table) if !table.is_empty() || reference::is_section(&path) => {
                    self.read_table(table, &path);
                }
                _ => self.problems.add(&path, Some(&source), unknown_key(&path)),
            }
        }
    }
}

fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn position(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
    format!(" at line {}, column {column}", line(text, offset))
}

/// A name that needs quotes keeps them: its dots do not separate sections.
fn join(section: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let name = if bare { name.to_owned() } else { format!("{name:?}") };
    if section.is_empty() { name } else { format!("{section}.{name}") }
}

fn unknown_key(path: &str) -> String {
    if reference::is_section(path) {
        return format!("is a section, not a key: write [{path}] and its keys below");
    }
    match reference::nearest_key(path) {
        Some(key) => format!("unknown key; did you mean {key}?"),
        None => "unknown key; config/default.toml lists all keys".to_owned(),
    }
}
