//! Sections of the documentation that are generated from the code.

use std::path::Path;

/// Compares a generated section of a file with `expected`. With `UPDATE_DOCS=1` in the environment, the section is
/// rewritten instead. The section is between the lines `<!-- generated: NAME -->` and `<!-- end: NAME -->`.
pub fn assert_section(file: &str, name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let (begin, end) = (format!("<!-- generated: {name} -->\n"), format!("<!-- end: {name} -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{file} has no line {begin}"));
    let (found, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{file} has no line {end}"));
    let expected = format!("\n{}\n\n", expected.trim());
    if found == expected {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{begin}{expected}{end}{after}"))
            .expect("the file is writable");
        return;
    }
    let missing: Vec<_> =
        expected.lines().filter(|line| !found.lines().any(|other| other == *line)).collect();
    let surplus: Vec<_> =
        found.lines().filter(|line| !expected.lines().any(|other| other == *line)).collect();
    panic!(
        "{file}: the section {name:?} is out of date. Run `UPDATE_DOCS=1 cargo test --test it docs_are_generated`\n\
         missing:\n{}\nsurplus:\n{}\n",
        missing.join("\n"),
        surplus.join("\n")
    );
}
