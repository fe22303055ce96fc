//! Lays the sources over each other: built-in defaults, the file, the environment. Touches the file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use config::ValueKind;

use super::keys::{FILE_VARIABLE, SECRETS};
use super::problems::{Origin, Problems};
use super::sources::Sources;
use super::{environment, toml};

const DEFAULTS: &str = include_str!("../../config/default.toml");

/// A value as it was written, not yet understood.
pub(super) struct Setting {
    pub(super) value: ValueKind,
    pub(super) origin: Origin,
}

/// Known keys with what one source, or all of them together, say.
pub(super) type Layer = BTreeMap<&'static str, Setting>;

/// All sources, the later ones over the earlier ones.
pub(super) struct Merged {
    pub(super) settings: Layer,
    /// Whether every source could be read. If not, nobody can say what is not set.
    pub(super) complete: bool,
}

pub(super) fn collect(sources: &Sources, problems: &mut Problems) -> Merged {
    let defaults = toml::read(DEFAULTS, None, problems);
    let file = match file_path(sources) {
        Some((path, named_by)) => file(path, named_by, problems),
        None => Some(Layer::new()),
    };
    let complete = file.is_some();
    let environment = environment::read(&sources.env, problems);
    let mut settings = Layer::new();
    for layer in [defaults, file, Some(environment)].into_iter().flatten() {
        merge(&mut settings, layer, problems);
    }
    Merged { settings, complete }
}

fn file_path(sources: &Sources) -> Option<(PathBuf, &'static str)> {
    let from_env = || {
        let (_, value) =
            sources.env.iter().find(|(name, value)| name == FILE_VARIABLE && !value.is_empty())?;
        Some((PathBuf::from(value), FILE_VARIABLE))
    };
    sources.file.clone().map(|path| (path, "--config")).or_else(from_env)
}

fn file(path: PathBuf, named_by: &str, problems: &mut Problems) -> Option<Layer> {
    match std::fs::read_to_string(&path) {
        Ok(text) => toml::read(&text, Some(path), problems),
        Err(error) => {
            let text = format!("the configuration file named by {named_by} cannot be read: {error}");
            problems.add(path.display(), None, text);
            None
        }
    }
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
