//! Developer commands: `cargo xtask <command>`.

mod bench;
mod commands;
mod coverage;
mod deny;
mod engines;
mod guard;
mod mutants;
mod page;
mod prerequisites;
mod programs;
mod reference;
mod sdks;
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
    /// Install nothing; fail with a list of what is missing.
    #[arg(long, global = true)]
    no_install: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Builds everything and starts it in one process, with simulated odds.
    #[command(after_help = commands::RUN_HELP)]
    Run(commands::Run),
    /// Builds only the page, and prints its folder.
    Page,
    /// Takes the documents' pictures: every view of the page, on a large screen and on a phone.
    Pictures,
    /// Runs all tests that need no engines: unit, property and integration tests, and the page in Chromium.
    Test(commands::Test),
    /// Runs long tests: an odds API that misbehaves; producers that are killed, stopped and disconnected; alerters that
    /// are killed and suspended; messages while everything they need fails; clients that resume, stall and resubscribe;
    /// example clients on a bad network; every interleaving of a few leaders; fuzzing.
    Soak(commands::Soak),
    /// Measures performance, compared with other servers or with a limit.
    Bench(bench::Bench),
    /// Counts the instructions of board operations, and fails if they have grown.
    Guard,
    /// Removes the board's rules one at a time, and fails if the rule's test still passes.
    Mutants,
    /// Runs `test` and `engines`, and prints the line coverage of each crate.
    Coverage(engines::Engines),
    /// Starts real engines (a MongoDB-compatible server and three Kafka brokers) and runs the tests that need them.
    Engines(engines::Engines),
    /// Checks the licences, duplicates and sources of dependencies, and known vulnerabilities if the advisory database
    /// can be fetched.
    Deny,
    /// Writes docs/settings.md from the programs' help texts, and docs/asyncapi.json.
    Settings,
    /// Runs what CI runs: formatting, clippy, dependencies, instruction counts, and all tests with coverage.
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
        Command::Pictures => commands::pictures(no_install),
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
            programs::compile_all()?;
            reference::write()
        }
        Command::Ci(engines) => commands::ci(&engines, no_install),
    }
}

/// Returns the checkout's folder. Prefers the value at run time: if several checkouts share a target folder, this
/// program may have been compiled in another one.
fn root() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "cargo's variable, not one of our settings")]
    let at_run_time = std::env::var("CARGO_MANIFEST_DIR");
    let own = at_run_time.unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&own).ancestors().nth(2).expect("dev/xtask is two folders below the root").to_owned()
}

/// Returns cargo's target folder.
fn target() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "cargo's variable, not one of our settings")]
    let set = std::env::var("CARGO_TARGET_DIR");
    set.map_or_else(|_| root().join("target"), |folder| root().join(folder))
}
