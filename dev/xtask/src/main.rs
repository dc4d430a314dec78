//! What a developer types: `cargo xtask <command>`.

mod bench;
mod commands;
mod coverage;
mod deny;
mod engines;
mod guard;
mod mutants;
mod page;
mod prerequisites;
mod reference;
mod starts;
mod steps;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

/// Builds, runs and tests Toteboard.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Xtask {
    /// Install nothing: say what is missing instead.
    #[arg(long, global = true)]
    no_install: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Builds everything and starts it in one process, on made-up odds.
    #[command(after_help = commands::RUN_HELP)]
    Run(commands::Run),
    /// Builds just the page, and says where it is.
    Page,
    /// Runs all tests that need no server: unit, property, integration, and the page in Chromium.
    Test(commands::Test),
    /// For some minutes each: an odds API that misbehaves, producers that are killed, stopped and cut off,
    /// clients that resume, stall and change their minds, and clients of others whose connections break; then
    /// everything that a few leaders can do to a board, and a minute of fuzzing for each kind of input.
    Soak(commands::Soak),
    /// Prints what things cost, beside a peer or a limit.
    Bench(bench::Bench),
    /// Counts the instructions that the board takes, and fails if they have grown.
    Guard,
    /// Takes the board's rules away, one at a time, and fails if a rule's test doesn't.
    Mutants,
    /// Runs `test` and `engines`, and prints how much of each crate they run, line by line.
    Coverage(engines::Engines),
    /// Runs the tests on real engines, which it starts: a MongoDB-speaking server and three Kafka brokers.
    Engines(engines::Engines),
    /// Checks licences, duplicates and sources of what is depended on; and known vulnerabilities, where the
    /// advisory database can be fetched.
    Deny,
    /// Writes docs/settings.md, from what the programs say of their settings.
    Settings,
    /// What CI runs: formatting, clippy, dependencies, counted instructions, and all tests, with what they cover.
    Ci(engines::Engines),
}

fn main() -> ExitCode {
    match execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute() -> anyhow::Result<()> {
    let Xtask { no_install, command } = Xtask::parse();
    std::env::set_current_dir(root())?;
    match command {
        Command::Run(run) => run.execute(no_install),
        Command::Page => {
            prerequisites::ensure(prerequisites::BUILD, no_install)?;
            println!("the page is in {}", page::build(no_install)?.display());
            Ok(())
        }
        Command::Test(test) => test.execute(no_install),
        Command::Soak(soak) => soak.execute(no_install),
        Command::Bench(bench) => bench.execute(no_install),
        Command::Guard => {
            prerequisites::ensure(prerequisites::BUILD, no_install)?;
            guard::guard(no_install)
        }
        Command::Mutants => {
            prerequisites::ensure(prerequisites::BUILD, no_install)?;
            mutants::mutants()
        }
        Command::Coverage(engines) => coverage::coverage(&engines, no_install),
        Command::Engines(engines) => engines.execute(no_install),
        Command::Deny => {
            prerequisites::ensure(prerequisites::BUILD, no_install)?;
            deny::deny(no_install)
        }
        Command::Settings => {
            prerequisites::ensure(prerequisites::BUILD, no_install)?;
            commands::compile_all()?;
            reference::write()
        }
        Command::Ci(engines) => commands::ci(&engines, no_install),
    }
}

/// The checkout. As cargo says it now: where checkouts share a target folder, this program may have been
/// compiled in another one.
fn root() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "cargo's own, not a setting of ours")]
    let said = std::env::var("CARGO_MANIFEST_DIR");
    let own = said.unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&own).ancestors().nth(2).expect("it is dev/xtask in the checkout").to_owned()
}

/// Where cargo puts what it builds.
fn target() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "cargo's own setting, not one of ours")]
    let set = std::env::var("CARGO_TARGET_DIR");
    set.map_or_else(|_| root().join("target"), |folder| root().join(folder))
}
