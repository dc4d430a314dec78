//! All programs, by their reports.

use std::{collections::BTreeMap, time::Duration};

use odds::Timestamp;

use crate::report::Report;

/// A program that has missed two reports is silent,
const SILENT_AFTER: Duration = Duration::from_secs(11);
/// and is forgotten after this time.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);

/// Whether a program reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramState {
    Running,
    Silent,
}

/// The newest report of each program.
#[derive(Clone, Debug, Default)]
pub struct Programs(BTreeMap<String, Report>);

impl Programs {
    pub fn take(&mut self, report: Report) {
        let key = report.key();
        match report.ends {
            // One that has started again under the same name has reported since.
            true if self.0.get(&key).is_none_or(|known| known.since <= report.since) => drop(self.0.remove(&key)),
            true => {}
            false => drop(self.0.insert(key, report)),
        }
    }

    /// Forgets those that have been silent for long.
    pub fn forget(&mut self, now: Timestamp) {
        self.0.retain(|_, report| age(report, now) < FORGOTTEN_AFTER.as_millis() as i64);
    }

    /// All programs, by name.
    pub fn all(&self, now: Timestamp) -> impl Iterator<Item = (&Report, ProgramState)> {
        self.0.values().map(move |report| {
            let is_silent = age(report, now) > SILENT_AFTER.as_millis() as i64;
            (report, if is_silent { ProgramState::Silent } else { ProgramState::Running })
        })
    }

    /// Those that run.
    pub(crate) fn running(&self, now: Timestamp) -> impl Iterator<Item = &Report> {
        self.all(now).filter(|(_, state)| *state == ProgramState::Running).map(|(report, _)| report)
    }
}

fn age(report: &Report, now: Timestamp) -> i64 {
    now.millis_since(report.at)
}
