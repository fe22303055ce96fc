//! Rules of the repository that no compiler checks: imports between modules, headers, lengths, forbidden code, the
//! words of docs/STYLE.md, and a comment on every table and column. The tests here also show that each rule finds
//! violations.

mod imports;
mod language;
mod rules;
pub mod source;

use std::path::Path;

use language::{avoided_words, repeated_type_names};
use rules::violations;
use source::Source;

use crate::support::postgres::database;

/// Adds every Rust file below a folder of the repository to `found`.
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

/// Every Rust file of the repository that the rules apply to.
fn all_sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for folder in ["crates", "src", "tests"] {
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut sources);
    }
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "src/lib.rs was not found");
    sources
}

fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "{} violations\n{}\n", found.len(), found.join("\n"));
}

#[test]
fn the_repository_follows_the_rules() {
    assert_none(&all_sources().iter().flat_map(violations).collect::<Vec<_>>());
}

#[test]
fn the_repository_uses_no_avoided_word() {
    let sources = all_sources().into_iter().map(|source| (source.path, source.text));
    let documents = language::documents(Path::new(env!("CARGO_MANIFEST_DIR")));
    let found: Vec<_> =
        sources.chain(documents).flat_map(|(path, text)| avoided_words(&path, &text)).collect();
    assert_none(&found);
}

#[test]
fn each_type_name_is_defined_once() {
    assert_none(&repeated_type_names(&all_sources()));
}

/// The files and folders that the repository has at the top.
const TOP_LEVEL: [&str; 20] = [
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
    "crates",
    "deploy",
    "docs",
    "migrations",
    "src",
    "tests",
];

#[test]
fn the_top_level_has_no_other_files() {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let Some(listed) = listed.ok().filter(|listed| listed.status.success()) else {
        return eprintln!("skipped: this is not a git checkout");
    };
    let listed = String::from_utf8(listed.stdout).unwrap();
    let top = |file: &str| file.split('/').next().unwrap_or_default().to_owned();
    let strays: std::collections::BTreeSet<_> =
        listed.split_terminator('\0').map(top).filter(|name| !TOP_LEVEL.contains(&name.as_str())).collect();
    assert!(strays.is_empty(), "{strays:?}");
}

#[tokio::test]
async fn every_table_and_column_has_a_comment() {
    const MISSING: &str = "
        select c.relname || coalesce('.' || a.attname, '')
          from pg_class c
          join pg_attribute a on a.attrelid = c.oid and a.attnum >= 0 and not a.attisdropped
         where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
           and (col_description(c.oid, a.attnum) is null or obj_description(c.oid, 'pg_class') is null)";
    let database = database().await;
    let missing: Vec<String> = sqlx::query_scalar(MISSING).fetch_all(database.pool()).await.unwrap();
    assert!(missing.is_empty(), "no `comment on` in migrations/ for: {}", missing.join(", "));
}

/// The violations in a file with this code and a header.
fn violations_in(path: &str, code: &str) -> Vec<String> {
    violations(&Source::new(path, &format!("//! Header.\n{code}\n")))
}

#[test]
fn violations_are_found_with_file_and_line() {
    let long_function = format!("pub fn long() {{\n{}}}", "    work();\n".repeat(90));
    let cases = [
        ("src/policy/x.rs", "use crate::outbox::Claimed;", "policy may not import outbox"),
        ("src/policy/x.rs", "use crate::{course::Key, config::Settings};", "policy may not import config"),
        ("src/policy/x.rs", "use super::super::hubspot;", "policy may not import hubspot"),
        ("src/policy/mod.rs", "use super::hubspot;", "policy may not import hubspot"),
        ("src/course/x.rs", "fn f() { crate::policy::go() }", "course may not import policy"),
        ("src/hubspot/x.rs", "use crate::outbox::Lease;", "hubspot may not import outbox"),
        ("src/policy/x.rs", "use crate::hubspot::client::Client;", "policy may not import hubspot"),
        ("src/policy/x.rs", "use crate::hubspot::{api::Code, client};", "policy may not import hubspot"),
        ("src/course/x.rs", "use crate::hubspot::api::Code;", "course may not import api"),
        ("src/hubspot/api/x.rs", "use super::super::client::Client;", "api may not import hubspot"),
        ("src/hubspot/api/x.rs", "use crate::policy::Verdict;", "api may not import policy"),
        ("src/hubspot/x.rs", "use crate::policy::Verdict;", "hubspot may not import policy"),
        ("src/pipeline/x.rs", "use crate::daemon::Leader;", "pipeline may not import daemon"),
        ("src/report/x.rs", "use crate::cli::Shell;", "report may not import cli"),
        ("src/daemon/x.rs", "use simulator::Server;", "`simulator::`"),
        ("crates/simulator/src/x.rs", "use course_sync::course::CourseKey;", "`course_sync::`"),
        ("src/helpers/x.rs", "", "the import rule does not know the module helpers"),
        ("src/daemon/x.rs", "fn f() { println!(); }", "`println!`"),
        ("src/policy/x.rs", "fn f() { tokio::spawn(g()); }", "`tokio::`"),
        ("src/policy/x.rs", "fn f() { Instant::now(); }", "`Instant::now`"),
        ("src/hubspot/api/x.rs", "fn f() { Instant::now(); }", "`Instant::now`"),
        ("src/pipeline/interpret/x.rs", "use sqlx::PgPool;", "`sqlx::`"),
        ("src/pipeline/reconcile/meaning.rs", "fn f() { fastrand::u8(..); }", "`fastrand::`"),
        ("src/daemon/x.rs", "use backoff::ExponentialBackoff;", "`backoff::`"),
        ("src/daemon/x.rs", "use reqwest::Client;", "`reqwest::`"),
        ("tests/it/x.rs", "fn f() { todo!() }", "`todo!`"),
        ("src/cli/x.rs", "const Q: &str = \"SELECT 1\n  FROM course_outbox\";", "SQL belongs in src/outbox"),
        ("src/cli/x.rs", "const Q: &str = r#\"insert into t\"#;", "SQL belongs in src/outbox"),
        ("src/cli/x.rs", "// FIXME: later", "a note to self"),
        ("src/cli/x.rs", &long_function, "the function has 92 lines"),
    ];
    for (path, code, expected) in cases {
        let found = violations_in(path, code);
        assert!(matches!(found.as_slice(), [one] if one.contains(expected)), "{path} {code}: {found:?}");
    }
    assert_eq!(
        violations_in("src/cli/x.rs", "\n\n/* a\n TODO */").as_slice(),
        ["src/cli/x.rs:4: a note to self: do it, or describe the current state"]
    );
    assert_eq!(violations(&Source::new("tests/it/x.rs", "fn f() {}\n")).len(), 1, "no header");
    let long_file = violations_in("src/cli/x.rs", &"const A: u8 = 1;\n".repeat(500));
    assert!(matches!(long_file.as_slice(), [one] if one.contains("the file has 502 lines")), "{long_file:?}");
}

#[test]
fn similar_code_is_not_reported() {
    let short_functions =
        "trait T {\n    fn declared(\n        one: u8,\n    );\n    fn short(self) {}\n}\n".repeat(60);
    let cases = [
        ("src/policy/x.rs", "//! see crate::outbox\nuse crate::course::{Key, outbox::Name};"),
        ("src/policy/x.rs", "use crate::hubspot::api::{Code, client::Name};"),
        ("src/policy/x.rs", "use crate::{course::Key, hubspot::{api::Code}};"),
        ("src/hubspot/api/x.rs", "use super::response::Code;"),
        ("src/hubspot/x.rs", "use super::api::Code; use crate::hubspot::client::Client;"),
        ("src/pipeline/transition.rs", "use crate::policy::backoff::RetryPolicy;"),
        ("src/pipeline/send.rs", "fn f() { Instant::now(); }"),
        ("src/policy/backoff.rs", "use backoff::ExponentialBackoff;"),
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
        assert_eq!(violations_in(path, code), [""; 0], "{path} {code}");
    }
}
