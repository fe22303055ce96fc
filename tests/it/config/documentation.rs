//! `config/default.toml` is valid, and the table of keys in docs/configuration.md is generated from it.

use std::fmt::Write as _;

use course_sync::config::{KeyReference, REFERENCE};

use super::{NOTHING, load};
use crate::support::generated::assert_section;

fn assignment(key: &KeyReference) -> String {
    format!("{} = {}\n", key.name, key.value)
}

/// The keys that `key` needs beside it.
fn companions(key: &KeyReference) -> impl Iterator<Item = &'static KeyReference> {
    let is_oauth = |key: &KeyReference| key.name.starts_with("hubspot.oauth.");
    REFERENCE.iter().filter(move |other| {
        let is_part = is_oauth(key) && is_oauth(other) && !other.name.ends_with("_file");
        let is_needed = key.name == "outbox.retention" && other.name == "hubspot.unique_property";
        is_needed || (is_part && !key.name.starts_with(&other.name))
    })
}

#[test]
fn every_default_and_example_in_default_toml_is_valid() {
    for key in REFERENCE.iter() {
        let toml: String = companions(key).chain([key]).map(assignment).collect();
        load(&toml, &[], NOTHING).unwrap_or_else(|problems| panic!("{toml}: {problems:#?}"));
    }
}

#[test]
fn docs_are_generated_configuration() {
    let mut table = "| Key | Default | Meaning |\n|---|---|---|\n".to_owned();
    for key in REFERENCE.iter().filter(|key| !key.name.ends_with("_file")) {
        assert!(!key.comment.is_empty(), "config/default.toml: {} has no comment", key.name);
        let default =
            if key.has_default { format!("`{}`", key.value.trim_matches('"')) } else { "–".to_owned() };
        writeln!(table, "| `{}` | {default} | {} |", key.name, key.comment).unwrap();
    }
    assert_section("docs/configuration.md", "keys", &table);
}
