//! The house rules that no compiler checks: who imports whom, headers, lengths, words that may not appear, and a
//! comment on every table and column. `rules` holds them, and the tests here show that each finds its offender.

mod rules;
pub mod source;

use std::path::Path;

use rules::violations;
use source::Source;

use crate::support::postgres::database;

/// Every Rust file below a folder of the repository.
pub fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_str().unwrap();
            found.push(Source::new(name, &std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn the_repository_keeps_its_rules() {
    let mut sources = Vec::new();
    for folder in ["src", "tests"] {
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut sources);
    }
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "looked into the wrong folder");
    let found: Vec<String> = sources.iter().flat_map(violations).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// What stands beside the source at the top, by its card and what a repository needs.
const TOP_LEVEL: [&str; 19] = [
    ".ci",
    ".clippy.toml",
    ".deny.toml",
    ".dockerignore",
    ".gitignore",
    ".rustfmt.toml",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "README.md",
    "benches",
    "config",
    "deploy",
    "docs",
    "migrations",
    "src",
    "tests",
];

#[test]
fn nothing_else_lies_at_the_top() {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let Some(listed) = listed.ok().filter(|listed| listed.status.success()) else {
        return eprintln!("skipped: this is no checkout of git");
    };
    let listed = String::from_utf8(listed.stdout).unwrap();
    let top = |file: &str| file.split('/').next().unwrap_or_default().to_owned();
    let strays: std::collections::BTreeSet<_> =
        listed.split_terminator('\0').map(top).filter(|name| !TOP_LEVEL.contains(&name.as_str())).collect();
    assert!(strays.is_empty(), "{strays:?}");
}

#[tokio::test]
async fn every_table_and_column_says_what_it_is_for() {
    const UNSAID: &str = "
        select c.relname || coalesce('.' || a.attname, '')
          from pg_class c
          join pg_attribute a on a.attrelid = c.oid and a.attnum >= 0 and not a.attisdropped
         where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
           and (col_description(c.oid, a.attnum) is null or obj_description(c.oid, 'pg_class') is null)";
    let database = database().await;
    let unsaid: Vec<String> = sqlx::query_scalar(UNSAID).fetch_all(database.pool()).await.unwrap();
    assert!(unsaid.is_empty(), "without `comment on` in migrations/: {}", unsaid.join(", "));
}

/// What is wrong with a file of this code, its header added.
fn found(path: &str, code: &str) -> Vec<String> {
    violations(&Source::new(path, &format!("//! Header.\n{code}\n")))
}

#[test]
fn offenders_are_found_with_file_and_line() {
    let long_function = format!("pub fn long() {{\n{}}}", "    work();\n".repeat(90));
    let cases = [
        ("src/policy/x.rs", "use crate::outbox::Claimed;", "policy may not import outbox"),
        ("src/policy/x.rs", "use crate::{course::Key, config::Settings};", "policy may not import config"),
        ("src/policy/x.rs", "use super::super::hubspot;", "policy may not import hubspot"),
        ("src/policy/mod.rs", "use super::hubspot;", "policy may not import hubspot"),
        ("src/course/x.rs", "fn f() { crate::policy::go() }", "course may not import policy"),
        ("src/hubspot/x.rs", "use crate::outbox::Lease;", "hubspot may not import outbox"),
        ("src/daemon/x.rs", "use crate::simulator::Server;", "daemon may not import simulator"),
        ("src/simulator/x.rs", "use crate::course::CourseKey;", "simulator may not import course"),
        ("src/helpers/x.rs", "", "the import rule does not know the module helpers"),
        ("src/daemon/x.rs", "fn f() { println!(); }", "`println!`"),
        ("src/policy/x.rs", "fn f() { tokio::spawn(g()); }", "`tokio::`"),
        ("src/policy/x.rs", "fn f() { Instant::now(); }", "`Instant::now`"),
        ("src/daemon/x.rs", "use backoff::ExponentialBackoff;", "`backoff::`"),
        ("src/daemon/x.rs", "use reqwest::Client;", "`reqwest::`"),
        ("tests/it/x.rs", "fn f() { todo!() }", "`todo!`"),
        ("src/cli/x.rs", "const Q: &str = \"SELECT 1\n  FROM course_outbox\";", "SQL stands in src/outbox"),
        ("src/cli/x.rs", "const Q: &str = r#\"insert into t\"#;", "SQL stands in src/outbox"),
        ("src/cli/x.rs", "// FIXME: later", "a note to oneself"),
        ("src/cli/x.rs", &long_function, "the function has 92 lines"),
    ];
    for (path, code, expected) in cases {
        let found = found(path, code);
        assert!(matches!(found.as_slice(), [one] if one.contains(expected)), "{path} {code}: {found:?}");
    }
    assert_eq!(
        found("src/cli/x.rs", "\n\n/* a\n TODO */").as_slice(),
        ["src/cli/x.rs:4: a note to oneself: do it, or say what is so"]
    );
    assert_eq!(violations(&Source::new("tests/it/x.rs", "fn f() {}\n")).len(), 1, "no header");
    let long_file = found("src/cli/x.rs", &"const A: u8 = 1;\n".repeat(500));
    assert!(matches!(long_file.as_slice(), [one] if one.contains("the file has 502 lines")), "{long_file:?}");
}

#[test]
fn what_only_looks_like_an_offence_is_let_pass() {
    let short_functions =
        "trait T {\n    fn declared(\n        one: u8,\n    );\n    fn short(self) {}\n}\n".repeat(60);
    let cases = [
        ("src/policy/x.rs", "//! see crate::outbox\nuse crate::course::{Key, outbox::Name};"),
        ("src/policy/x.rs", "use super::retry; mod tests { use super::super::retry; }"),
        (
            "src/policy/x.rs",
            "fn f<'a>(c: char, s: &'a str) { g('\"', '\\'', 'x', \"tokio::spawn\\\" dbg!()\") }",
        ),
        ("src/policy/x.rs", "#[cfg(test)]\nmod tests { fn f() { Instant::now(); } }"),
        ("src/policy/x/tests.rs", "fn f() { Instant::now(); }"),
        ("src/cli/x/tests.rs", "const Q: &str = \"select 1 from course_outbox\";"),
        ("src/outbox/x.rs", "const Q: &str = \"select 1 from course_outbox\";"),
        ("src/cli/x.rs", "fn f() { println!(\"from the list, select a course\"); }"),
        ("src/daemon/x.rs", "/* outer /* println!() */ dbg!() */ const R: &str = r##\"a \"# todo!()\"##;"),
        ("src/admin/x.rs", "const HELP: &str = \"FIXME is no comment here\"; // nor eprintln!()"),
        ("src/admin/x.rs", &short_functions),
    ];
    for (path, code) in cases {
        assert_eq!(found(path, code), [""; 0], "{path} {code}");
    }
}
