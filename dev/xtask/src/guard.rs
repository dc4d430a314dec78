//! Counts the CPU instructions of board operations and checks the ratios between them. The counts don't depend on the
//! machine's load, and the ratios don't depend on the machine.

use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::{
    prerequisites,
    steps::{MINUTE, compile, quietly},
    target,
};

struct Rule {
    what: &'static str,
    /// The benchmark that does the work.
    bench: &'static str,
    work: &'static str,
    than: &'static str,
    most: f64,
}

const RULES: [Rule; 5] = [
    Rule {
        what: "a step with one image of 60 quotes, compared with serde_json parsing that image",
        bench: "guard",
        work: "apply",
        than: "parse",
        most: 0.75,
    },
    Rule {
        what: "the same step, compared with a board of a tenth of the size",
        bench: "guard",
        work: "apply",
        than: "apply-small",
        most: 1.05,
    },
    Rule {
        what: "a frame of ten events' changes, compared with serde_json writing that frame",
        bench: "guard",
        work: "since",
        than: "write",
        most: 0.25,
    },
    Rule {
        what: "the same frame, compared with a board of a tenth of the size",
        bench: "guard",
        work: "since",
        than: "since-small",
        most: 1.05,
    },
    Rule {
        what: "a step that reaches no rule's value, compared with a twentieth of the rules",
        bench: "rules_guard",
        work: "many-rules",
        than: "few-rules",
        most: 1.1,
    },
];

/// Numbers of repetitions. Both counts include the setup, so their difference is the work alone.
const FEW: u32 = 30;
const MANY: u32 = 60;

/// Ensures that valgrind is installed, on Linux.
pub(crate) fn ensure(no_install: bool) -> anyhow::Result<()> {
    if cfg!(target_os = "linux") { prerequisites::ensure(prerequisites::VALGRIND, no_install) } else { Ok(()) }
}

pub(crate) fn guard(no_install: bool) -> anyhow::Result<()> {
    if !cfg!(target_os = "linux") {
        eprintln!("skipping the guard: instructions are counted only on Linux");
        return Ok(());
    }
    ensure(no_install)?;
    let mut cargo = Command::new("cargo");
    let benches = ["test", "--workspace", "--bench", "guard", "--bench", "rules_guard", "--no-run"];
    compile("compiling the guard", cargo.args(benches))?;
    let mut broken = 0;
    for Rule { what, bench, work, than, most } in RULES {
        let ratio = instructions(bench, work)? / instructions(bench, than)?;
        let verdict = if ratio <= most { "" } else { ": TOO MANY" };
        println!("{what}: {ratio:.2} x the instructions, at most {most:.2}{verdict}");
        broken += u32::from(ratio > most);
    }
    ensure!(broken == 0, "{broken} of {} ratios are above their limit", RULES.len());
    Ok(())
}

/// Returns the instructions of one repetition.
fn instructions(bench: &str, work: &str) -> anyhow::Result<f64> {
    let (few, many) = (counted(bench, work, FEW)?, counted(bench, work, MANY)?);
    ensure!(many > few, "{work} does nothing");
    Ok((many - few) as f64 / f64::from(MANY - FEW))
}

fn counted(bench: &str, work: &str, times: u32) -> anyhow::Result<u64> {
    let log = target().join(format!("guard-{work}-{times}.log"));
    let runner = format!(
        "target.'cfg(unix)'.runner=['valgrind','--tool=callgrind','--callgrind-out-file=/dev/null','--log-file={}']",
        log.display()
    );
    let mut cargo = Command::new("cargo");
    cargo.args(["--config", &runner, "test", "--quiet", "--workspace", "--bench", bench, "--", work]);
    quietly(&format!("counting the instructions of {work}"), 5 * MINUTE, cargo.arg(times.to_string()))?;
    let text = std::fs::read_to_string(&log).with_context(|| log.display().to_string())?;
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    let Some(Ok(count)) = collected.map(|(_, count)| count.trim().parse()) else {
        bail!("valgrind printed no count: see {}", log.display())
    };
    Ok(count)
}
