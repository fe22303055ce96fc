//! Snapshots of the help texts and usage errors: `tests/cmd/*.trycmd`. After an intended change, run
//! `TRYCMD=overwrite cargo test --test it texts` to update them.

use std::path::Path;

#[test]
fn help_and_usage_texts_match_the_snapshots() {
    let cases = trycmd::TestCases::new();
    cases.register_bin("course-sync", Path::new(env!("CARGO_BIN_EXE_course-sync")));
    // Settings of the machine are cleared, and the width of the terminal is 100.
    let is_setting = |name: &String| {
        name.starts_with("COURSE_SYNC") || name.starts_with("DATABASE_URL") || name.starts_with("HUBSPOT_")
    };
    for (name, _) in std::env::vars().filter(|(name, _)| is_setting(name)) {
        cases.env(name, "");
    }
    cases.env("COLUMNS", "100");
    cases.case("tests/cmd/*.trycmd");
}
