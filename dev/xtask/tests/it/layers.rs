//! Checks which crate depends on what.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `None` for a normal dependency.
    kind: Option<String>,
    /// Only for dependencies in the workspace.
    path: Option<PathBuf>,
}

/// Returns the checkout's folder. Tests run in their package's folder.
fn root() -> PathBuf {
    fs::canonicalize("../..").unwrap()
}

/// Returns the folder and the normal dependencies of each package in the workspace.
fn packages() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--no-deps", "--format-version=1", "--offline"]).current_dir(root());
    let metadata: Metadata = serde_json::from_slice(&cargo.output().unwrap().stdout).unwrap();
    let folder_of = |path: &Path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    let of_package = |package: Package| {
        let needed = package.dependencies.into_iter().filter(|it| it.kind.is_none());
        let needed = needed.map(|it| it.path.map_or(it.name, |path| folder_of(&path))).collect();
        (package.name, (folder_of(package.manifest_path.parent().unwrap()), needed))
    };
    metadata.packages.into_iter().map(of_package).collect()
}

fn folders_that_need(what: &str) -> Vec<String> {
    let needing = packages().into_values().filter(|(_, needed)| needed.contains(what));
    needing.map(|(folder, _)| folder).filter(|folder| !folder.starts_with("dev/")).collect()
}

#[test]
fn the_domain_does_no_input_and_output() {
    let (_, needed) = packages().remove("toteboard-odds").unwrap();
    let pure = ["crc32fast", "serde", "serde_json", "thiserror", "time", "xxhash-rust"];
    assert_eq!(needed, pure.map(str::to_owned).into());
}

#[test]
fn libraries_know_no_program_and_nothing_needs_what_only_developers_run() {
    for (folder, needed) in packages().into_values() {
        let is_library = folder.starts_with("crates/");
        for other in needed.iter().filter(|other| root().join(other).is_dir()) {
            assert!(!is_library || other.starts_with("crates/"), "{folder} needs the program {other}");
            assert!(folder.starts_with("dev/") || !other.starts_with("dev/"), "{folder} needs {other}");
        }
    }
}

#[test]
fn few_know_each_outside_system() {
    // The topic creator manages Kafka directly.
    assert_eq!(folders_that_need("rdkafka"), ["crates/kafka", "topic-creator"]);
    assert_eq!(folders_that_need("mongodb"), ["crates/accounts", "crates/messages"]);
    assert_eq!(folders_that_need("rusqlite"), ["crates/accounts", "crates/history", "crates/messages"]);
    assert_eq!(folders_that_need("lettre"), ["crates/messages"]);
    assert_eq!(folders_that_need("socketioxide"), ["gateway"]);
    assert_eq!(folders_that_need("leptos"), ["web"]);
}

/// Other files only name the store.
#[test]
fn only_one_folder_knows_questdb() {
    let knows = |file: &Path| {
        let text = fs::read_to_string(file).unwrap();
        ["wal_tables", "RESUME WAL", "DEDUP", "/exec", "/write"].iter().any(|word| text.contains(word))
    };
    let mut folders = vec![root().join("crates/history/src"), root().join("historian/src"), root().join("gateway/src")];
    let mut knowing = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if knows(&entry) {
                knowing.insert(folder.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    assert_eq!(knowing, BTreeSet::from([PathBuf::from("crates/history/src/questdb")]));
}
