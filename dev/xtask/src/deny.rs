//! Checks the licences, duplicates, sources and known vulnerabilities of dependencies against deny.toml.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::ensure;

use crate::{
    steps::{MINUTE, compile, output, quietly, step},
    target,
};

const VERSION: &str = "0.20.2";
/// The manifests to check, with extra lints. deny.toml lists the workspace's duplicates exactly; the fuzz workspace has
/// fewer of them.
const MANIFESTS: [(&str, &[&str]); 2] =
    [("Cargo.toml", &["--deny", "unmatched-skip", "--deny", "unnecessary-skip"]), ("dev/fuzz/Cargo.toml", &[])];

pub(crate) fn deny(no_install: bool) -> anyhow::Result<()> {
    let program = program(no_install)?;
    let mut checks = vec!["licenses", "bans", "sources"];
    let mut fetch = Command::new(&program);
    match quietly("fetching the advisory database", 3 * MINUTE, fetch.args(["fetch", "db"])) {
        Ok(()) => checks.push("advisories"),
        Err(_) => eprintln!("    skipping known vulnerabilities: cannot fetch the advisory database"),
    }
    for (manifest, lints) in MANIFESTS {
        let mut check = Command::new(&program);
        check.args(["--locked", "--log-level", "error", "--config", "deny.toml", "--manifest-path", manifest, "check"]);
        step(&format!("{} of {manifest}", checks.join(", ")), 5 * MINUTE, check.args(lints).args(&checks))?;
    }
    Ok(())
}

/// Returns cargo-deny in the right version; builds it if needed.
fn program(no_install: bool) -> anyhow::Result<PathBuf> {
    let folder = target().join("cargo-deny").join(VERSION);
    let built = folder.join("bin/cargo-deny");
    if let Some(there) = [PathBuf::from("cargo-deny"), built.clone()].into_iter().find(|program| is_current(program)) {
        return Ok(there);
    }
    ensure!(!no_install, "missing: cargo-deny. Install with: cargo install --locked cargo-deny@{VERSION}");
    let mut install = Command::new("cargo");
    install.args(["install", "--quiet", "--locked", &format!("cargo-deny@{VERSION}"), "--root"]).arg(&folder);
    // Otherwise its build files would stay in our target folder.
    install.env_remove("CARGO_TARGET_DIR");
    // It runs for a second, so build time matters more than run time.
    for (setting, value) in [("LTO", "off"), ("CODEGEN_UNITS", "16"), ("OPT_LEVEL", "1")] {
        install.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
    }
    compile("installing cargo-deny", &mut install)?;
    Ok(built)
}

fn is_current(program: &Path) -> bool {
    program.to_str().is_some_and(|it| output(it, &["--version"]).is_ok_and(|it| it.ends_with(&format!(" {VERSION}"))))
}
