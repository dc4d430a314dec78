//! All programs, by their reports.

use std::{collections::BTreeMap, time::Duration};

use odds::Timestamp;

use crate::{CHANNELS, report::Report};

/// A program that has missed two reports is silent,
const SILENT_AFTER: Duration = Duration::from_secs(10);
/// and is forgotten after this time.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);

/// Whether a program reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramState {
    Running,
    Silent,
}

/// What is known of a program.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) report: Report,
    heard_at: Timestamp,
    /// When it last wrote a dead letter, by channel.
    pub(crate) dead_letter_at: BTreeMap<&'static str, Timestamp>,
}

/// The newest report of each program.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    known: BTreeMap<String, Known>,
    /// When the newest report of any program came.
    heard_at: Option<Timestamp>,
}

impl Programs {
    /// Takes a report that came at this time.
    pub fn take(&mut self, report: Report, heard_at: Timestamp) {
        self.heard_at = self.heard_at.max(Some(heard_at));
        let key = report.key();
        let known = self.known.get(&key);
        if report.ends {
            // One that has started again under the same name has reported since.
            if known.is_some_and(|known| known.report.since <= report.since) {
                self.known.remove(&key);
            }
            return;
        }
        let mut dead_letter_at = known.map(|known| known.dead_letter_at.clone()).unwrap_or_default();
        for channel in CHANNELS {
            let count = |report: &Report| report.values.of("notifier_dead_letters", channel).unwrap_or_default();
            // A program that has started again counts from zero.
            let before = known.filter(|known| known.report.since == report.since);
            if count(&report) > before.map_or(0.0, |known| count(&known.report)) {
                dead_letter_at.insert(channel, heard_at);
            }
        }
        self.known.insert(key, Known { report, heard_at, dead_letter_at });
    }

    /// When the newest report of any program came.
    pub(crate) fn heard_at(&self) -> Option<Timestamp> {
        self.heard_at
    }

    /// Forgets those that have been silent for long.
    pub fn forget(&mut self, now: Timestamp) {
        self.known.retain(|_, known| !passed(known.heard_at, now, FORGOTTEN_AFTER));
    }

    /// All programs, by name.
    pub fn all(&self) -> impl Iterator<Item = (&Report, ProgramState)> {
        self.known().map(|(known, state)| (&known.report, state))
    }

    pub(crate) fn known(&self) -> impl Iterator<Item = (&Known, ProgramState)> {
        // While nobody reports, nobody is silent: then, Kafka doesn't answer.
        let newest = self.heard_at.unwrap_or(Timestamp::from_millis(0));
        self.known.values().map(move |known| {
            let is_silent = passed(known.heard_at, newest, SILENT_AFTER);
            (known, if is_silent { ProgramState::Silent } else { ProgramState::Running })
        })
    }

    /// Those that run.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Report> {
        self.all().filter(|(_, state)| *state == ProgramState::Running).map(|(report, _)| report)
    }
}

/// Whether more than a time has passed.
pub(crate) fn passed(since: Timestamp, now: Timestamp, time: Duration) -> bool {
    now.millis_since(since) > time.as_millis() as i64
}
