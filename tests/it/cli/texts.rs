//! What the program says when asked for help or asked wrongly, word by word: `tests/cmd/*.trycmd`. After a
//! change that is meant, `TRYCMD=overwrite cargo test --test it texts` writes them anew.

use std::path::Path;

#[test]
fn texts_stand_as_written() {
    let cases = trycmd::TestCases::new();
    cases.register_bin("course-sync", Path::new(env!("CARGO_BIN_EXE_course-sync")));
    // The machine's own settings count as unset, the width of its terminal as 100.
    let is_setting = |name: &String| {
        name.starts_with("COURSE_SYNC") || name.starts_with("DATABASE_URL") || name.starts_with("HUBSPOT_")
    };
    for (name, _) in std::env::vars().filter(|(name, _)| is_setting(name)) {
        cases.env(name, "");
    }
    cases.env("COLUMNS", "100");
    cases.case("tests/cmd/*.trycmd");
}
