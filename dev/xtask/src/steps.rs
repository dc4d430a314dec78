//! Running other programs: each a named step that says what failed, and has a time limit unless it compiles.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::target;

/// Runs a program to its end, shown as a step. A failure or too long a time is an error that names it.
pub(crate) fn step(name: &str, limit: Duration, command: &mut Command) -> anyhow::Result<()> {
    shown_step(name, Some(limit), command)
}

/// The same for what compiles: how long that takes is a matter of the machine, and of what else it does.
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

/// The same for what prints nothing that anybody needs: only a failure is shown.
pub(crate) fn quietly(name: &str, limit: Duration, command: &mut Command) -> anyhow::Result<()> {
    let status = run(Some(limit), command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    let status = status.with_context(|| format!("{name}: {}", shown(command)))?;
    anyhow::ensure!(status.success(), "{name} failed ({status}): {}", shown(command));
    Ok(())
}

/// To its end, without a word.
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

/// Without the variables that cargo sets for this program. Build scripts that look at them (ring's, and so all that
/// needs ring) would run once for us and once for whoever types `cargo build`.
pub(crate) fn without_us(command: &mut Command) -> &mut Command {
    let of_us = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_us)) {
        command.env_remove(name);
    }
    command
}

/// Where programs of npm are that Debian has too old.
pub(crate) fn npm_folder() -> PathBuf {
    target().join("npm")
}

/// They come before Debian's.
fn with_npm(command: &mut Command) -> &mut Command {
    let programs = npm_folder().join("node_modules/.bin");
    if programs.is_dir() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(programs).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(all).expect("a folder of builds has no colon in its name"));
    }
    command
}

/// Asks first, so that what it started ends with it.
fn stop(child: &mut Child) {
    works("kill", &[&child.id().to_string()]);
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(Duration::from_millis(50));
    }
    // It may just have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// Removes a folder, if it is there.
pub(crate) fn remove_folder(folder: &Path) -> std::io::Result<()> {
    if folder.exists() { std::fs::remove_dir_all(folder) } else { Ok(()) }
}

/// Makes a folder that is empty.
pub(crate) fn empty_folder(folder: &Path) -> std::io::Result<()> {
    remove_folder(folder)?;
    std::fs::create_dir_all(folder)
}

/// Whether a program runs and ends well, with its output kept quiet.
pub(crate) fn works(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let quiet = with_npm(&mut command).status();
    quiet.is_ok_and(|status| status.success())
}

/// What a program prints.
pub(crate) fn output(program: &str, args: &[&str]) -> anyhow::Result<String> {
    let output =
        with_npm(Command::new(program).args(args)).output().with_context(|| format!("{program} can't be run"))?;
    anyhow::ensure!(output.status.success(), "{program} {} failed ({})", args.join(" "), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
