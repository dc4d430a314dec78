//! CPU time and memory of a process and all its descendants.

use std::{collections::BTreeMap, fs};

use anyhow::Context;

/// The unit of CPU times in /proc, the same on all Linux systems in use.
const TICKS_A_SECOND: f64 = 100.0;

#[derive(Clone, Copy, Debug)]
struct Process {
    parent: u32,
    ticks: u64,
}

/// Returns the CPU seconds used so far, in user and kernel mode.
pub fn cpu_seconds(root: u32) -> anyhow::Result<f64> {
    let all = processes()?;
    let ticks: u64 = family(root, &all).iter().map(|pid| all[pid].ticks).sum();
    Ok(ticks as f64 / TICKS_A_SECOND)
}

/// Returns the bytes of memory in use (PSS: shared pages are divided among the processes that share them).
pub(crate) fn memory(root: u32) -> anyhow::Result<f64> {
    let all = processes()?;
    let mut bytes = 0.0;
    for pid in family(root, &all) {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("a process has ended")?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("smaps_rollup has no Pss line")?;
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
        bytes += kilobytes * 1024.0;
    }
    Ok(bytes)
}

/// Returns the most bytes of memory that a process has had so far, without those that it started (VmHWM).
pub fn most_memory(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("status has no VmHWM line")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
}

fn processes() -> anyhow::Result<BTreeMap<u32, Process>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        // A process that has just ended is ignored.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if let Some(process) = read(&stat) {
            all.insert(pid, process);
        }
    }
    Ok(all)
}

/// Parses a line of /proc/PID/stat. The fields start after the name, which may contain any character.
fn read(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Process { parent: u32::try_from(number(1)?).ok()?, ticks: number(11)? + number(12)? })
}

fn family(root: u32, all: &BTreeMap<u32, Process>) -> Vec<u32> {
    let mut family = Vec::from_iter(all.contains_key(&root).then_some(root));
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(all.iter().filter(|(_, process)| process.parent == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let read = read("7 (a) b ( c) S 3 1 1 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 5 1 1").unwrap();
        assert_eq!((read.parent, read.ticks), (3, 300));
    }

    #[test]
    fn those_that_were_started_count() {
        let process = |parent| Process { parent, ticks: 1 };
        let all = BTreeMap::from([(1, process(0)), (2, process(1)), (3, process(2)), (4, process(1)), (5, process(9))]);
        let mut family = family(2, &all);
        family.sort_unstable();
        assert_eq!(family, [2, 3]);
    }
}
