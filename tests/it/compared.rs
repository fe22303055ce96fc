//! docs/compared.md shows the programs that course-sync is compared with as they are, and the versions that are locked.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::support::generated::assert_section;

const FOLDER: &str = "crates/compared";
const FILES: [&str; 5] = ["plain_loop.rs", "pgmq_worker.rs", "graphile.rs", "awa_worker.rs", "send.rs"];
const CRATES: [&str; 3] = ["awa", "graphile_worker", "pgmq"];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn docs_are_generated_compared() {
    let mut programs = String::new();
    for file in FILES {
        let path = format!("{FOLDER}/src/peers/{file}");
        writeln!(programs, "`{path}`:\n\n```rust\n{}```\n", read(&path)).unwrap();
    }
    assert_section("docs/compared.md", "programs", programs.trim_end());
    let lock = read(&format!("{FOLDER}/Cargo.lock"));
    let mut versions = "| Library | Version |\n|---|---|\n".to_owned();
    for name in CRATES {
        let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \"")).unwrap();
        writeln!(versions, "| `{name}` | {} |", rest.split('"').next().unwrap()).unwrap();
    }
    assert_section("docs/compared.md", "versions", &versions);
}
