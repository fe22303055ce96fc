//! Compares `deploy/` and `docs/runbook.md` with the program: settings, paths, ports and metrics. These tests read the
//! files; `tests/container/run` runs them.

mod compose;
mod kubernetes;
mod monitoring;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use course_sync::config::{Config, KEYS, Needs, Sources};
use serde_json::Value;

/// The text of a file, by its path from the root of the repository.
fn text(path: &str) -> String {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The value at a JSON pointer. Panics if there is none.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in {value:#}"))
}

fn string<'a>(value: &'a Value, pointer: &str) -> &'a str {
    at(value, pointer).as_str().unwrap_or_else(|| panic!("{pointer} is no string in {value:#}"))
}

/// The configuration of an instance with these environment variables, in addition to those of the image.
fn settings(variables: impl Iterator<Item = (String, String)>) -> Config {
    let dockerfile = text("Dockerfile");
    let of_the_image = dockerfile.lines().filter_map(|line| line.strip_prefix("ENV ")?.split_once('='));
    let own: Vec<_> = variables.collect();
    let inherited = of_the_image
        .filter(|(name, _)| own.iter().all(|(other, _)| other != name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let env = own.iter().cloned().chain(inherited).map(|(name, value)| (name.into(), value.into())).collect();
    Config::load(&Sources { file: None, env }, Needs { database: true, hubspot: true })
        .unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn every_setting_in_use_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sections: BTreeSet<_> = KEYS.iter().filter_map(|key| key.split('.').next()).collect();
    let mut named = 0;
    for path in files(&root.join("deploy")).into_iter().chain([root.join("docs/runbook.md")]) {
        let text = fs::read_to_string(&path).unwrap();
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_.-/".contains(c)));
        for word in words.map(|word| word.trim_matches('.')) {
            let key = match word.strip_prefix("COURSE_SYNC__") {
                Some(variable) => variable.to_lowercase().replace("__", "."),
                None => word.to_owned(),
            };
            let is_one = key.split_once('.').is_some_and(|(section, _)| sections.contains(section));
            named += usize::from(is_one);
            assert!(!is_one || KEYS.contains(&key.as_str()), "{}: {word}", path.display());
        }
    }
    assert!(named > 20, "too few settings were found: {named}");
}
