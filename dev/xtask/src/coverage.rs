//! Line coverage of all tests, including those in Chromium and on real engines, and of the programs that they start.
//!
//! Only our own crates are compiled with instrumentation; dependencies are shared with other builds. A process that is
//! killed writes no counts, so the figures are slightly too low.

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
    engines::Engines,
    prerequisites,
    programs::PROGRAMS_AND_TESTS,
    root,
    steps::{MINUTE, compile, empty_folder, output, step, without_us, works},
    target,
};

/// Minimum coverage, in percent of all lines.
const LEAST: f64 = 85.0;
/// Not counted: tests, benchmarks and developer tools. The page's code that is compiled only for a browser isn't
/// counted either, although the tests in Chromium run it.
const LEFT_OUT: &str = "(/tests/|/benches/|^.*/dev/|/\\.cargo/|/rustc/|/lib/rustlib/|/target[^/]*/)";
/// The compiler wrapper that instruments our own crates.
const WRAPPER: &str = "#!/bin/sh\nexec \"$@\" -C instrument-coverage\n";
/// Versions of Debian's LLVM tools to try. They read the counts even though they are older than the compiler.
const VERSIONS: [u32; 4] = [22, 21, 20, 19];
const REPORT_WITHIN: Duration = MINUTE.saturating_mul(10);

/// Cargo's variable for the compiler wrapper. A build without instrumentation must remove it.
pub(crate) const WRAPPER_VARIABLE: &str = "RUSTC_WORKSPACE_WRAPPER";

/// Where instrumented programs write their counts; if unset, in the current folder.
pub(crate) const COUNTS_VARIABLE: &str = "LLVM_PROFILE_FILE";

struct Tools {
    profdata: PathBuf,
    cov: PathBuf,
}

/// Runs `test` and `engines` with instrumentation and prints the coverage. Fails if it is below the minimum.
pub(crate) fn coverage(engines: &Engines, no_install: bool) -> anyhow::Result<()> {
    let tools = tools(no_install)?;
    // Cargo replaces this file when it recompiles xtask, so the path is resolved now.
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
        // No time limit here: each step of the inner xtask has its own.
        compile(name, &mut xtask)?;
    }
    let programs = programs(counted)?;
    let data = folder.join("all.profdata");
    let mut merge = Command::new(&tools.profdata);
    merge.args(["merge", "--sparse", "--failure-mode=all", "-o"]).arg(&data);
    for file in fs::read_dir(&profiles)? {
        merge.arg(file?.path());
    }
    step("merging the counts", REPORT_WITHIN, &mut merge)?;
    let mut export = vec!["export".to_owned(), "--summary-only".to_owned(), "--ignore-filename-regex".to_owned()];
    export.extend([LEFT_OUT.to_owned(), "--instr-profile".to_owned(), data.display().to_string()]);
    for (n, program) in programs.iter().enumerate() {
        export.extend((n > 0).then(|| "--object".to_owned()));
        export.push(program.display().to_string());
    }
    let export: Vec<&str> = export.iter().map(String::as_str).collect();
    let report = output(&tools.cov.display().to_string(), &export)?;
    print(&serde_json::from_str(&report).context("reading the coverage report")?)
}

/// Ensures that the tools that read the counts are installed.
pub(crate) fn ensure(no_install: bool) -> anyhow::Result<()> {
    tools(no_install).map(drop)
}

/// Returns rustup's LLVM tools or else Debian's; installs them if needed.
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

/// Returns the paths of all compiled programs and tests.
fn programs(counted: impl Fn(&mut Command)) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut cargo = Command::new("cargo");
    cargo.arg("build").args(PROGRAMS_AND_TESTS).args(["--quiet", "--message-format=json"]);
    counted(&mut cargo);
    let answer = without_us(&mut cargo).output().context("cannot run cargo")?;
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
    for file in report["data"][0]["files"].as_array().context("the coverage report lists no files")? {
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
    ensure!(percent(all) >= LEAST, "line coverage is below {LEAST} %: add tests");
    Ok(())
}
