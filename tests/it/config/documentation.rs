//! What is written about the keys holds.

use std::collections::BTreeMap;

use config::{File, FileFormat, Map, Source as _, Value, ValueKind};
use course_sync::config::KEYS;

use super::{NOTHING, load};

const DEFAULTS: &str = include_str!("../../../config/default.toml");
const GUIDE: &str = include_str!("../../../docs/configuration.md");

/// The keys of a TOML text, each with its value as the guide writes it.
fn leaves(text: &str) -> BTreeMap<String, String> {
    fn walk(map: Map<String, Value>, section: &str, leaves: &mut BTreeMap<String, String>) {
        for (name, value) in map {
            let path = format!("{section}{name}");
            match value.kind {
                ValueKind::Table(map) => walk(map, &format!("{path}."), leaves),
                ValueKind::Float(number) => drop(leaves.insert(path, format!("{number:?}"))),
                other => drop(leaves.insert(path, other.to_string())),
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(File::from_str(text, FileFormat::Toml).collect().unwrap(), "", &mut all);
    all
}

/// `default.toml` with the keys that have no default brought to life.
fn uncommented() -> String {
    let is_key = |line: &str| {
        line.split_once(" = ").is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let line = |line: &'static str| line.strip_prefix("# ").filter(|rest| is_key(rest)).unwrap_or(line);
    DEFAULTS.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn default_toml_holds_every_key_and_no_other() {
    let documented: Vec<_> = leaves(&uncommented()).into_keys().collect();
    let mut known = KEYS.to_vec();
    known.sort_unstable();
    assert_eq!(documented, known);
}

#[test]
fn the_examples_in_default_toml_are_valid() {
    let text = uncommented();
    // Each secret stands there twice, as value and as file, and both ways to authenticate do.
    let text: Vec<_> = text.lines().filter(|line| !line.contains("_file = ")).collect();
    let (oauth, token): (Vec<&str>, Vec<&str>) =
        text.iter().partition(|line| line.starts_with("client_") || line.starts_with("refresh_"));
    assert_eq!(oauth.len(), 3);
    load(&token.join("\n"), &[], NOTHING).unwrap();
    load(&format!("[hubspot.oauth]\n{}", oauth.join("\n")), &[], NOTHING).unwrap();
}

#[test]
fn the_guide_lists_every_key_with_its_default() {
    let defaults = leaves(DEFAULTS);
    let rows: Vec<_> = GUIDE
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter(|(key, _)| key.contains('.'))
        .map(|(key, rest)| (key, rest.split(" |").next().unwrap()))
        .collect();
    let expected: Vec<_> = KEYS
        .iter()
        .filter(|key| !key.ends_with("_file"))
        .map(|key| (*key, defaults.get(*key).map_or("–".to_owned(), |value| format!("`{value}`"))))
        .collect();
    let rows: Vec<_> = rows.into_iter().map(|(key, default)| (key, default.to_owned())).collect();
    assert_eq!(rows, expected);
}
