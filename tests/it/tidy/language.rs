//! The rules on words and names: texts and identifiers avoid the words that docs/STYLE.md lists, and each type name is
//! defined once.

use std::collections::BTreeMap;
use std::path::Path;

use super::source::{Source, is_word};

/// Words that must not occur in code, comments, messages or documentation.
const AVOIDED_WORDS: [&str; 18] = [
    "anew",
    "hence",
    "horizon",
    "lest",
    "likewise",
    "mend",
    "mended",
    "mends",
    "nobody",
    "pulse",
    "reckon",
    "somebody",
    "standstill",
    "tell",
    "tells",
    "told",
    "trouble",
    "whoever",
];

/// The files that list the words.
const LISTS: [&str; 2] = ["docs/STYLE.md", "tests/it/tidy/language.rs"];

/// Words that are proper names, each with the file that needs it.
const PROPER_NAMES: [(&str, &str); 3] = [
    // The former name of a JSON key.
    ("CHANGELOG.md", "mend"),
    // A user account of Unix systems.
    ("src/demo/postgres.rs", "nobody"),
    ("src/demo/postgres/user.rs", "nobody"),
];

/// Every use of an avoided word in the path or the text of a file. Identifiers are split at underscores and at changes
/// of case.
pub fn avoided_words(path: &str, text: &str) -> Vec<String> {
    if LISTS.contains(&path) {
        return Vec::new();
    }
    let in_path = words(path).into_iter().map(|word| (1, word));
    let in_text = text
        .lines()
        .enumerate()
        .flat_map(|(index, line)| words(line).into_iter().map(move |word| (index + 1, word)));
    in_path
        .chain(in_text)
        .filter(|(_, word)| AVOIDED_WORDS.contains(&word.as_str()))
        .filter(|(_, word)| !PROPER_NAMES.contains(&(path, word.as_str())))
        .map(|(line, word)| format!("{path}:{line}: `{word}`: see the words to avoid in docs/STYLE.md"))
        .collect()
}

/// The words of a text, in lower case.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in text.chars() {
        if !c.is_alphabetic() || (c.is_uppercase() && was_lower) {
            words.push(String::new());
        }
        if c.is_alphabetic() {
            words.last_mut().expect("there is always a word").extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The texts outside of Rust files that the rule on words applies to.
pub fn documents(root: &Path) -> Vec<(String, String)> {
    let mut paths =
        ["ARCHITECTURE.md", "CHANGELOG.md", "README.md", "config/default.toml"].map(str::to_owned).to_vec();
    for entry in std::fs::read_dir(root.join("docs")).expect("the folder docs") {
        let name = entry.expect("a readable folder").file_name().into_string().expect("a name in UTF-8");
        if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
            paths.push(format!("docs/{name}"));
        }
    }
    let read = |path: String| {
        let text =
            std::fs::read_to_string(root.join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// Every struct, enum or trait of src/ whose name has more than one definition, tests aside.
pub fn repeated_type_names(sources: &[Source]) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.path.starts_with("src/")) {
        for (line, name) in type_names(source) {
            places.entry(name).or_default().push(format!("{}:{line}", source.path));
        }
    }
    places.retain(|_, places| places.len() > 1);
    places
        .into_iter()
        .map(|(name, places)| {
            format!("{}: the type {name} is also defined in {}", places[0], places[1..].join(", "))
        })
        .collect()
}

/// The structs, enums and traits that a file defines outside of its tests, each with its line.
fn type_names(source: &Source) -> Vec<(usize, &str)> {
    let code = &source.code[..source.tests_begin()];
    let mut names = Vec::new();
    for keyword in ["struct ", "enum ", "trait "] {
        for at in source.word(keyword).take_while(|at| *at < code.len()) {
            let rest = &code[at + keyword.len()..];
            let name = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
            if name.starts_with(char::is_uppercase) {
                names.push((source.line_of(at), name));
            }
        }
    }
    names
}

#[test]
fn avoided_words_are_found_in_identifiers_and_texts() {
    for (text, word) in [
        ("fn nobody_is_told() {}", "nobody"),
        ("struct WordTold;", "told"),
        ("const TOLD: u8 = 1;", "told"),
        ("// Hence it waits.", "hence"),
        ("the database is in trouble.", "trouble"),
        ("`mend`", "mend"),
    ] {
        let found = avoided_words("src/x.rs", &format!("\n{text}\n"));
        let expected = format!("src/x.rs:2: `{word}`: ");
        assert!(found.iter().any(|found| found.starts_with(&expected)), "{text}: {found:?}");
    }
    assert_eq!(avoided_words("tests/it/horizon.rs", "").len(), 1);
    for text in ["commend, amendment", "mentally, untold", "fn telling_pulsed() {}", "struct Intelligence;"] {
        assert_eq!(avoided_words("src/x.rs", text), [""; 0], "{text}");
    }
    assert_eq!(avoided_words("docs/STYLE.md", "told"), [""; 0], "this file lists the words");
}

#[test]
fn repeated_type_names_are_found_outside_of_tests() {
    let sources = [
        Source::new("src/a.rs", "pub struct State;\nenum Only {}\n#[cfg(test)]\nmod tests { struct World; }"),
        Source::new("src/b.rs", "// struct Only\nimpl State for X {}\npub(crate) trait State {}"),
        Source::new("src/c/tests.rs", "struct World;\nstruct State;"),
        Source::new("tests/it/d.rs", "struct State;"),
    ];
    assert_eq!(repeated_type_names(&sources), ["src/a.rs:1: the type State is also defined in src/b.rs:3"]);
}
