//! docs/settings.md: what the programs say of their settings, as they say it.

use std::{fmt::Write, fs, path::PathBuf, process::Command};

use anyhow::{Context, ensure};

use crate::{commands::binary, coverage, root};

const HEAD: &str = "\
# Settings

Written by `cargo xtask settings`, from what the programs say themselves; CI sees to it that it is true.

Every setting is a flag, or an environment variable (`TOTEBOARD_` and its name in capitals), or a line of a
TOML file that `--config` names (its long name with `_` for `-`; a list for what may be repeated). Flags are
stronger than the environment, and that is stronger than the file. An empty variable is as good as none.
Every secret can come from a file of its own: `TOTEBOARD_STORE_FILE`, `TOTEBOARD_API_KEY_FILE`,
`TOTEBOARD_KAFKA_FILE` name one. In the last, each property has a line of its own, and its value may have commas.
";

/// The programs, and those of their subcommands that have settings of their own.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("gateway", &[]),
    ("producer", &[]),
    ("simulator", &[]),
    ("topic-creator", &["create", "tail", "produce"]),
    ("standalone", &[]),
];

fn file() -> PathBuf {
    root().join("docs/settings.md")
}

/// The page, by the programs as they were built last.
fn page() -> anyhow::Result<String> {
    let mut page = HEAD.to_owned();
    for (program, subcommands) in PROGRAMS {
        writeln!(page, "\n## {program}\n\n{}", said(program, &["--help"])?)?;
        for subcommand in *subcommands {
            writeln!(page, "\n### {program} {subcommand}\n\n{}", said(program, &[subcommand, "--help"])?)?;
        }
    }
    Ok(page)
}

fn said(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    // A setting of whoever runs this is no default. Passed on is only where an instrumented program writes its counts.
    let counts = std::env::vars_os().filter(|(name, _)| name == coverage::COUNTS_VARIABLE);
    let output = Command::new(binary(program)).args(arguments).env_clear().envs(counts).output();
    let output = output.with_context(|| format!("{program} can't be run"))?;
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), output.status);
    let text = String::from_utf8(output.stdout)?;
    Ok(format!("```text\n{}\n```", text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end()))
}

pub(crate) fn write() -> anyhow::Result<()> {
    fs::write(file(), page()?)?;
    println!("written: {}", file().display());
    Ok(())
}

pub(crate) fn check() -> anyhow::Result<()> {
    let there = fs::read_to_string(file()).context("docs/settings.md")?;
    ensure!(there == page()?, "docs/settings.md is not what the programs say: run `cargo xtask settings`");
    Ok(())
}
