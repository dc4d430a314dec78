//! How much of the code the tests run, line by line: all tests, those in Chromium and on real engines included, with
//! the programs that they start.
//!
//! Only our own crates are compiled for it, and once: dependencies are those of every other build. A process that is
//! killed tells nothing of what it ran, so the figures are a little too low.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::{
    commands::PROGRAMS_AND_TESTS,
    engines::Engines,
    prerequisites, root,
    steps::{MINUTE, compile, empty_folder, output, step, without_us, works},
    target,
};

/// What is to be covered at least, in percent of all lines.
const LEAST: f64 = 85.0;
/// Not counted: tests and benchmarks themselves, what a developer types, and trials, which are tests. Of the page,
/// what is compiled for the host is counted; the rest runs only in a browser, in the tests in Chromium.
const LEFT_OUT: &str = "(/tests/|/benches/|^.*/dev/|/\\.cargo/|/rustc/|/lib/rustlib/|/target[^/]*/)";
/// What our own crates are compiled with.
const WRAPPER: &str = "#!/bin/sh\nexec \"$@\" -C instrument-coverage\n";
/// The programs that read what was counted. Debian's are older than the compiler, and can.
const VERSIONS: [u32; 4] = [22, 21, 20, 19];
const REPORT_WITHIN: Duration = MINUTE.saturating_mul(10);

/// Has cargo compile our own crates so. What is compiled otherwise has to remove it.
pub(crate) const WRAPPER_VARIABLE: &str = "RUSTC_WORKSPACE_WRAPPER";

/// Where they write their counts; in the current folder without it.
pub(crate) const COUNTS_VARIABLE: &str = "LLVM_PROFILE_FILE";

struct Tools {
    profdata: PathBuf,
    cov: PathBuf,
}

/// All tests, as `cargo xtask test` and `cargo xtask engines` run them.
pub(crate) fn coverage(engines: &Engines, no_install: bool) -> anyhow::Result<()> {
    let tools = tools(no_install)?;
    // It will be compiled anew, and be another file then.
    let this = std::env::current_exe()?;
    let folder = target().join("coverage");
    let profiles = folder.join("profiles");
    empty_folder(&profiles)?;
    let wrapper = folder.join("rustc");
    fs::write(&wrapper, WRAPPER)?;
    make_executable(&wrapper)?;
    let counted = |command: &mut Command| {
        command.env(WRAPPER_VARIABLE, &wrapper).env(COUNTS_VARIABLE, profiles.join("%9m.profraw"));
    };
    for (name, arguments) in [("all tests", vec!["test".to_owned()]), ("all engines", engines.arguments())] {
        let mut xtask = Command::new(&this);
        xtask.args(no_install.then_some("--no-install")).args(arguments);
        counted(&mut xtask);
        // Each of its steps has a limit.
        compile(name, &mut xtask)?;
    }
    let programs = programs(counted)?;
    let data = folder.join("all.profdata");
    let mut merge = Command::new(&tools.profdata);
    merge.args(["merge", "--sparse", "--failure-mode=all", "-o"]).arg(&data);
    for file in fs::read_dir(&profiles)? {
        merge.arg(file?.path());
    }
    step("putting together what was counted", REPORT_WITHIN, &mut merge)?;
    let mut export = vec!["export".to_owned(), "--summary-only".to_owned(), "--ignore-filename-regex".to_owned()];
    export.extend([LEFT_OUT.to_owned(), "--instr-profile".to_owned(), data.display().to_string()]);
    for (n, program) in programs.iter().enumerate() {
        export.extend((n > 0).then(|| "--object".to_owned()));
        export.push(program.display().to_string());
    }
    let export: Vec<&str> = export.iter().map(String::as_str).collect();
    let report = output(&tools.cov.display().to_string(), &export)?;
    print(&serde_json::from_str(&report).context("the report")?)
}

/// What reads the counts is there.
pub(crate) fn ensure(no_install: bool) -> anyhow::Result<()> {
    tools(no_install).map(drop)
}

/// rustup's, else Debian's.
fn tools(no_install: bool) -> anyhow::Result<Tools> {
    prerequisites::ensure(prerequisites::BUILD, no_install)?;
    if let Some(tools) = find()? {
        return Ok(tools);
    }
    ensure!(!no_install, "missing: llvm-cov. Install with: rustup component add llvm-tools");
    let mut rustup = Command::new("rustup");
    if step("rustup component add llvm-tools", 10 * MINUTE, rustup.args(["component", "add", "llvm-tools"])).is_err() {
        prerequisites::ensure(prerequisites::LLVM, no_install)?;
    }
    find()?.context("llvm-cov is still missing after its installation")
}

fn find() -> anyhow::Result<Option<Tools>> {
    let sysroot = output("rustc", &["--print", "sysroot"])?;
    let host = output("rustc", &["--print", "host-tuple"])?;
    let rustups = Path::new(&sysroot).join("lib/rustlib").join(host).join("bin");
    if rustups.join("llvm-cov").is_file() {
        return Ok(Some(Tools { profdata: rustups.join("llvm-profdata"), cov: rustups.join("llvm-cov") }));
    }
    let version = VERSIONS.into_iter().find(|version| works(&format!("llvm-cov-{version}"), &["--version"]));
    Ok(version.map(|version| Tools {
        profdata: format!("llvm-profdata-{version}").into(),
        cov: format!("llvm-cov-{version}").into(),
    }))
}

fn make_executable(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
}

/// All that was compiled: programs and tests.
fn programs(counted: impl Fn(&mut Command)) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut cargo = Command::new("cargo");
    cargo.arg("build").args(PROGRAMS_AND_TESTS).args(["--quiet", "--message-format=json"]);
    counted(&mut cargo);
    let answer = without_us(&mut cargo).output().context("cargo can't be run")?;
    ensure!(answer.status.success(), "cargo build failed ({})", answer.status);
    let mut programs = BTreeSet::new();
    for line in answer.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let message: Value = serde_json::from_slice(line)?;
        programs.extend(message["executable"].as_str().map(PathBuf::from));
    }
    Ok(programs)
}

fn print(report: &Value) -> anyhow::Result<()> {
    let mut crates: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for file in report["data"][0]["files"].as_array().context("a report without files")? {
        let name = Path::new(file["filename"].as_str().unwrap_or_default());
        let Ok(inside) = name.strip_prefix(root()) else { continue };
        let mut folders = inside.iter().filter(|folder| *folder != "crates");
        let part = folders.next().unwrap_or_default().to_string_lossy().into_owned();
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
