//! docs/guarantees.md names tests; each of them is there.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_test_that_the_guarantees_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/guarantees.md")).unwrap();
    let named: Vec<_> = page.split('`').skip(1).step_by(2).filter(|code| code.contains("::")).collect();
    assert!(named.len() > 20, "too few to be true: {}", named.len());
    let missing: Vec<_> = named.iter().filter(|name| !is_there(root, name)).collect();
    assert!(missing.is_empty(), "no such test: {missing:?}");
}

/// A module of tests, or one test in it.
fn is_there(root: &Path, name: &str) -> bool {
    let parts: Vec<_> = name.split("::").filter(|part| *part != "tests").collect();
    let file = |parts: &[&str]| -> Option<PathBuf> {
        let stem: PathBuf = parts.iter().collect();
        ["tests/it", "src"].iter().map(|place| root.join(place).join(&stem)).find_map(|stem| {
            [stem.with_extension("rs"), stem.join("mod.rs")].into_iter().find(|path| path.exists())
        })
    };
    let holds = |path: PathBuf, test: &str| {
        fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("fn {test}()")))
    };
    match parts.split_last() {
        Some((test, module)) => file(&parts).is_some() || file(module).is_some_and(|path| holds(path, test)),
        None => false,
    }
}
