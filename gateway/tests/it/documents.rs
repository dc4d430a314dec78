//! Checks that the tests that documents name exist.

use std::{collections::BTreeSet, fs, path::Path};

use crate::examples::checkout;

/// Appends the source of all programs and tests.
fn sources(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && !["target", "node_modules", ".git"].iter().any(|it| name == *it) {
            sources(&path, into);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_test_that_is_named_is_there() {
    let mut code = String::new();
    sources(&checkout(), &mut code);
    let mut named = BTreeSet::new();
    for document in ["docs/security.md", "docs/operating.md"] {
        let text = fs::read_to_string(checkout().join(document)).unwrap();
        // A test's name has at least four words; settings and error codes have fewer.
        let is_test = |name: &&str| {
            name.matches('_').count() >= 3 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        named.extend(text.split('`').skip(1).step_by(2).filter(is_test).map(str::to_owned));
    }
    assert!(named.len() > 40, "{named:?}");
    // The tests of the store contract are listed one per line.
    named.retain(|name| !code.contains(&format!("fn {name}(")) && !code.contains(&format!("{name}\n")));
    // Metrics also have such names.
    named.retain(|name| !name.starts_with("toteboard_"));
    assert!(named.is_empty(), "no such tests: {named:?}");
}
