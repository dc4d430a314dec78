//! How much of the code the tests run, line by line.

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::{
    prerequisites, root,
    steps::{MINUTE, compile, output, step, works},
    target,
};

/// What is to be covered at least, in percent of all lines.
const LEAST: f64 = 85.0;
/// Not measured: tests and benchmarks themselves, what a developer types, trials (they are tests), and what
/// only runs in a browser, where the tests in Chromium look at it.
const LEFT_OUT: &str = "(/tests/|/benches/|^.*/xtask/|^.*/trials/|/examples/rust/src/main.rs|/web/src/[a-z_]+\\.rs)";

pub(crate) fn coverage(no_install: bool) -> anyhow::Result<()> {
    prerequisites::ensure(prerequisites::BUILD, no_install)?;
    if !works("cargo", &["llvm-cov", "--version"]) {
        ensure!(!no_install, "missing: cargo-llvm-cov. Install with: cargo install --locked cargo-llvm-cov");
        let mut install = Command::new("cargo");
        install.args(["install", "--quiet", "--locked", "cargo-llvm-cov"]);
        compile("installing cargo-llvm-cov", &mut install)?;
    }
    if !has_tools()? {
        ensure!(!no_install, "missing: llvm-tools. Install with: rustup component add llvm-tools");
        step("installing llvm-tools", 10 * MINUTE, Command::new("rustup").args(["component", "add", "llvm-tools"]))?;
    }
    let report = target().join("coverage.json");
    let mut cargo = Command::new("cargo");
    cargo.args(["llvm-cov", "--workspace", "--json", "--summary-only", "--ignore-filename-regex", LEFT_OUT]);
    step("tests, with every line counted", 80 * MINUTE, cargo.arg("--output-path").arg(&report))?;
    let text = std::fs::read_to_string(&report).context("the report")?;
    print(&serde_json::from_str(&text)?)
}

fn has_tools() -> anyhow::Result<bool> {
    let sysroot = output("rustc", &["--print", "sysroot"])?;
    let host = output("rustc", &["--print", "host-tuple"])?;
    Ok(Path::new(&sysroot).join("lib/rustlib").join(host).join("bin/llvm-cov").is_file())
}

fn print(report: &Value) -> anyhow::Result<()> {
    let mut crates: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for file in report["data"][0]["files"].as_array().context("a report without files")? {
        let name = Path::new(file["filename"].as_str().unwrap_or_default());
        let Ok(inside) = name.strip_prefix(root()) else { continue };
        let part = inside.iter().next().unwrap_or_default().to_string_lossy().into_owned();
        let lines = &file["summary"]["lines"];
        let sum = crates.entry(part).or_default();
        sum.0 += lines["covered"].as_u64().unwrap_or_default();
        sum.1 += lines["count"].as_u64().unwrap_or_default();
    }
    let percent = |(covered, count): (u64, u64)| 100.0 * covered as f64 / count.max(1) as f64;
    let mut all = (0, 0);
    for (part, sum) in crates {
        println!("{part:16} {:6.1} % of {} lines", percent(sum), sum.1);
        all = (all.0 + sum.0, all.1 + sum.1);
    }
    println!("{:16} {:6.1} % of {} lines", "all", percent(all), all.1);
    ensure!(percent(all) >= LEAST, "less than {LEAST} % of the lines are run by tests");
    Ok(())
}
