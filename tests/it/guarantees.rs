//! Checks that each test named in docs/guarantees.md exists.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_test_named_in_the_guarantees_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/guarantees.md")).unwrap();
    let named: Vec<_> = page.split('`').skip(1).step_by(2).filter(|code| code.contains("::")).collect();
    assert!(named.len() > 20, "too few test names were found: {}", named.len());
    let missing: Vec<_> = named.iter().filter(|name| !exists(root, name)).collect();
    assert!(missing.is_empty(), "these tests do not exist: {missing:?}");
}

/// Whether this module of tests, or this test in a module, exists.
fn exists(root: &Path, name: &str) -> bool {
    let parts: Vec<_> = name.split("::").filter(|part| *part != "tests").collect();
    let file = |parts: &[&str]| -> Option<PathBuf> {
        let stem: PathBuf = parts.iter().collect();
        ["tests/it", "src"].iter().map(|folder| root.join(folder).join(&stem)).find_map(|stem| {
            [stem.with_extension("rs"), stem.join("mod.rs")].into_iter().find(|path| path.exists())
        })
    };
    let contains = |path: PathBuf, test: &str| {
        fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("fn {test}()")))
    };
    match parts.split_last() {
        Some((test, module)) => {
            file(&parts).is_some() || file(module).is_some_and(|path| contains(path, test))
        }
        None => false,
    }
}
