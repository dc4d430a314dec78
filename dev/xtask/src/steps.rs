//! Runs other programs as named steps. Each has a time limit, except compilation.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::target;

/// Runs a program and prints the step's name and duration. Fails if the program fails or exceeds the limit.
pub(crate) fn step(name: &str, limit: Duration, command: &mut Command) -> anyhow::Result<()> {
    shown_step(name, Some(limit), command)
}

/// Runs a compilation as a step, without a time limit: its duration depends on the machine and its load.
pub(crate) fn compile(name: &str, command: &mut Command) -> anyhow::Result<()> {
    shown_step(name, None, command)
}

fn shown_step(name: &str, limit: Option<Duration>, command: &mut Command) -> anyhow::Result<()> {
    let began = Instant::now();
    eprintln!("==> {name}");
    let status = run(limit, command).with_context(|| format!("{name}: {}", shown(command)))?;
    if !status.success() {
        bail!("{name} failed ({status}): {}", shown(command));
    }
    eprintln!("    {name}: {} s", began.elapsed().as_secs());
    Ok(())
}

/// Runs a program without showing its output or the step. Fails like `step`.
pub(crate) fn quietly(name: &str, limit: Duration, command: &mut Command) -> anyhow::Result<()> {
    let status = run(Some(limit), command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    let status = status.with_context(|| format!("{name}: {}", shown(command)))?;
    anyhow::ensure!(status.success(), "{name} failed ({status}): {}", shown(command));
    Ok(())
}

/// Runs a program and returns its exit status; prints nothing itself. Fails if it exceeds the limit.
pub(crate) fn run(limit: Option<Duration>, command: &mut Command) -> anyhow::Result<ExitStatus> {
    let mut child = with_npm(without_us(command)).spawn()?;
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if let Some(limit) = limit.filter(|limit| began.elapsed() > *limit) {
            stop(&mut child);
            bail!("took longer than {} s", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Removes the variables that cargo sets for this program. Otherwise build scripts that read them (ring's, and with it
/// everything that depends on ring) would run again after each switch between xtask and a plain `cargo build`.
pub(crate) fn without_us(command: &mut Command) -> &mut Command {
    let of_us = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_us)) {
        command.env_remove(name);
    }
    command
}

/// Returns the folder of npm's programs whose versions in Debian are too old.
pub(crate) fn npm_folder() -> PathBuf {
    target().join("npm")
}

/// Puts npm's programs before Debian's on the PATH.
fn with_npm(command: &mut Command) -> &mut Command {
    let programs = npm_folder().join("node_modules/.bin");
    if programs.is_dir() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(programs).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(all).expect("the target folder has no colon in its path"));
    }
    command
}

/// Stops a program: first with SIGTERM, so that it can stop its own children, then with SIGKILL.
fn stop(child: &mut Child) {
    works("kill", &[&child.id().to_string()]);
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(Duration::from_millis(50));
    }
    // Fails if the process has already ended.
    let _ = child.kill();
    let _ = child.wait();
}

/// Removes a folder, if it exists.
pub(crate) fn remove_folder(folder: &Path) -> std::io::Result<()> {
    if folder.exists() { std::fs::remove_dir_all(folder) } else { Ok(()) }
}

/// Creates an empty folder; removes what was there.
pub(crate) fn empty_folder(folder: &Path) -> std::io::Result<()> {
    remove_folder(folder)?;
    std::fs::create_dir_all(folder)
}

/// Returns whether a program can be run and succeeds. Its output is hidden.
pub(crate) fn works(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let quiet = with_npm(&mut command).status();
    quiet.is_ok_and(|status| status.success())
}

/// Returns what a program prints. Fails if it can't be run or doesn't succeed.
pub(crate) fn output(program: &str, args: &[&str]) -> anyhow::Result<String> {
    let output =
        with_npm(Command::new(program).args(args)).output().with_context(|| format!("cannot run {program}"))?;
    anyhow::ensure!(output.status.success(), "{program} {} failed ({})", args.join(" "), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
