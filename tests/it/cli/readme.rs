//! The commands, links, metrics and settings that the README mentions exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use course_sync::config::KEYS;

use crate::support::daemon::{output, program};

const README: &str = include_str!("../../../README.md");

/// The words of the README that `is_wanted` selects, without punctuation.
fn readme_words(is_wanted: impl Fn(&str) -> bool) -> BTreeSet<&'static str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    README.split(|c| !is_part(c)).map(|word| word.trim_matches('.')).filter(|word| is_wanted(word)).collect()
}

#[tokio::test]
async fn the_readme_table_lists_exactly_the_commands() {
    let mut command = program(&BTreeMap::new());
    command.arg("--help");
    let help = String::from_utf8(output(command).await.stdout).unwrap();
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands: BTreeSet<_> =
        listed.lines().filter_map(|line| line.split_whitespace().next()).filter(|it| *it != "help").collect();
    let rows = README.lines().filter(|line| line.starts_with("| `course-sync "));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    let named = cells.flat_map(|cell| cell.split("`course-sync ").skip(1));
    let table: BTreeSet<_> = named.filter_map(|name| name.split([' ', '`']).next()).collect();
    assert_eq!(table, commands);
}

#[test]
fn links_in_the_readme_have_a_target() {
    let targets = README.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for target in targets {
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let file = if file.is_empty() { "README.md" } else { file };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        assert!(path.exists(), "{target}");
        if !anchor.is_empty() {
            let text = std::fs::read_to_string(path).unwrap().to_lowercase();
            assert!(text.contains(&format!("\n## {}", anchor.replace('-', " "))), "{target}");
        }
    }
}

#[test]
fn metrics_and_settings_in_the_readme_exist() {
    let metrics = course_sync::telemetry::metrics::Metrics::new().encode(false);
    for metric in readme_words(|word| word.starts_with("course_sync_")) {
        assert!(metrics.contains(&format!("# TYPE {metric} ")), "{metric}");
    }
    for variable in readme_words(|word| word.starts_with("COURSE_SYNC__")) {
        let key = variable.trim_start_matches("COURSE_SYNC__").to_lowercase().replace("__", ".");
        assert!(KEYS.contains(&key.as_str()), "{variable}");
    }
    let sections: BTreeSet<_> = KEYS.iter().filter_map(|key| key.split('.').next()).collect();
    let is_key = |word: &str| word.split_once('.').is_some_and(|(section, _)| sections.contains(section));
    for key in readme_words(|word| is_key(word) && !word.contains('/')) {
        assert!(KEYS.contains(&key), "{key}");
    }
}
