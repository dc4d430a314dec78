//! All programs, by their reports.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use odds::Timestamp;

use crate::{
    CHANNELS,
    report::Report,
    values::{Sports, Values},
};

/// A program that has missed two reports is silent,
const SILENT_AFTER: Duration = Duration::from_secs(10);
/// and is forgotten after this time.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);
/// How many former reports say how a program's numbers change: those of a minute.
const REMEMBERED: usize = 12;
/// The numbers that should be zero again and again.
const LAGS: [&str; 5] = ["alerter_lag", "gateway_lag", "historian_lag", "historian_waiting_steps", "notifier_lag"];

/// Whether a program reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramState {
    Running,
    Silent,
    /// Something went wrong, and it has ended.
    Failed,
}

/// How far a program is behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Lag {
    /// The metric with the region or channel.
    pub of: String,
    pub records: f64,
    /// Since when it has not been at the end, as far as its reports tell.
    pub since: Timestamp,
    /// How much it grows a second.
    pub grows: f64,
}

/// What is known of a program.
#[derive(Clone, Debug)]
pub struct Program {
    /// The newest report. What it lacks is of the last one that had it.
    pub report: Report,
    /// When the sports were reported.
    sports_at: Timestamp,
    heard_at: Timestamp,
    /// When it last wrote a dead letter, by channel.
    pub(crate) dead_letter_at: BTreeMap<&'static str, Timestamp>,
    /// The numbers of the reports before this one, and their times, the oldest first.
    former: VecDeque<(Timestamp, Values)>,
    /// Since when each of its lags has not been zero.
    behind_since: BTreeMap<String, Timestamp>,
}

impl Program {
    /// How much each number that only grows has grown a second.
    pub fn per_second(&self) -> BTreeMap<&str, f64> {
        let counters = self.report.values.iter().filter(|(name, _)| is_counter(name));
        counters.filter_map(|(name, _)| Some((name, self.change(name)?))).collect()
    }

    /// How each sport is polled, as it was at the newest report.
    pub fn sports(&self) -> Sports {
        let mut sports = self.report.sports.clone().unwrap_or_default();
        let since = self.report.at.millis_since(self.sports_at) as f64 / 1_000.0;
        for polls in sports.values_mut().flat_map(BTreeMap::values_mut) {
            polls.1 = polls.1.map(|age| age + since);
        }
        sports
    }

    /// The lags that are not zero.
    pub fn lags(&self) -> Vec<Lag> {
        let lag = |(of, since): (&String, &Timestamp)| Lag {
            of: of.clone(),
            records: self.report.values.one(of).unwrap_or_default(),
            since: *since,
            grows: self.change(of).unwrap_or_default(),
        };
        self.behind_since.iter().map(lag).collect()
    }

    /// What it does: its name, and the regions that it polls or records.
    fn kind(&self) -> (&str, Vec<&str>) {
        let of = |name: &str| name.starts_with("producer_leading{") || name.starts_with("historian_leading{");
        (&self.report.role, self.report.values.iter().map(|(name, _)| name).filter(|name| of(name)).collect())
    }

    /// How much a number has changed a second, over the former reports.
    fn change(&self, name: &str) -> Option<f64> {
        let (at, values) = self.former.front()?;
        let seconds = self.report.at.millis_since(*at) as f64 / 1_000.0;
        let change = self.report.values.one(name)? - values.one(name).unwrap_or_default();
        (seconds > 0.0).then(|| change / seconds)
    }
}

fn is_counter(name: &str) -> bool {
    name.split('{').next().is_some_and(|name| name.ends_with("_total"))
}

fn is_lag(name: &str) -> bool {
    name.split('{').next().is_some_and(|name| LAGS.contains(&name))
}

/// The newest report of each program.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    known: BTreeMap<String, Program>,
    /// When the newest report of any program came.
    heard_at: Option<Timestamp>,
}

impl Programs {
    /// Takes a report that came at this time.
    pub fn take(&mut self, mut report: Report, heard_at: Timestamp) {
        self.heard_at = self.heard_at.max(Some(heard_at));
        let key = report.key();
        if report.ends {
            // One that has started again under the same name has reported since.
            if self.known.get(&key).is_some_and(|known| known.report.since <= report.since) {
                self.known.remove(&key);
            }
            return;
        }
        let known = self.known.remove(&key);
        let mut dead_letter_at = known.as_ref().map(|known| known.dead_letter_at.clone()).unwrap_or_default();
        // A program that has started again counts from zero.
        let before = known.filter(|known| known.report.since == report.since);
        for channel in CHANNELS {
            let count = |report: &Report| report.values.of("notifier_dead_letters", channel).unwrap_or_default();
            if count(&report) > before.as_ref().map_or(0.0, |known| count(&known.report)) {
                dead_letter_at.insert(channel, heard_at);
            }
        }
        let mut former = VecDeque::new();
        let mut before_behind = BTreeMap::new();
        let mut sports_at = report.at;
        if let Some(before) = before {
            if report.sports.is_none() {
                (report.sports, sports_at) = (before.report.sports, before.sports_at);
            }
            report.memory = report.memory.or(before.report.memory);
            report.version = report.version.or(before.report.version);
            // Before version 2, absent troubles were none.
            if report.troubles.is_none() && report.v >= 2 {
                report.troubles = before.report.troubles;
            }
            former = before.former;
            if former.len() == REMEMBERED {
                former.pop_front();
            }
            former.push_back((before.report.at, before.report.values));
            before_behind = before.behind_since;
        }
        let behind = report.values.iter().filter(|(name, value)| *value > 0.0 && is_lag(name));
        let behind_since =
            behind.map(|(name, _)| (name.to_owned(), before_behind.get(name).copied().unwrap_or(heard_at))).collect();
        self.known.insert(key, Program { report, sports_at, heard_at, dead_letter_at, former, behind_since });
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
    pub fn all(&self) -> impl Iterator<Item = (&Program, ProgramState)> {
        // While nobody reports, nobody is silent: then, Kafka doesn't answer.
        let newest = self.heard_at.unwrap_or(Timestamp::from_millis(0));
        self.known.values().map(move |known| {
            let state = match passed(known.heard_at, newest, SILENT_AFTER) {
                _ if known.report.failed => ProgramState::Failed,
                true => ProgramState::Silent,
                false => ProgramState::Running,
            };
            (known, state)
        })
    }

    /// The keys of those that have ended, and in whose place no other of their kind has been started since. Whoever was
    /// started in somebody's place may have ended, too.
    pub(crate) fn missed(&self) -> BTreeSet<String> {
        let ended = self.all().filter(|(_, state)| *state != ProgramState::Running);
        let mut ended: Vec<&Program> = ended.map(|(program, _)| program).collect();
        // Whoever ended first is replaced first, by whoever started first after that.
        ended.sort_by_key(|program| program.report.at);
        let mut others: Vec<&Program> = self.known.values().collect();
        others.sort_by_key(|program| program.report.since);
        ended.retain(|program| {
            let replaces = |it: &&Program| it.report.since > program.report.at && it.kind() == program.kind();
            let found = others.iter().position(replaces);
            found.map(|found| others.remove(found)).is_none()
        });
        ended.into_iter().map(|program| program.report.key()).collect()
    }

    /// Those that run.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Report> {
        self.all().filter(|(_, state)| *state == ProgramState::Running).map(|(known, _)| &known.report)
    }
}

/// Whether more than a time has passed.
pub(crate) fn passed(since: Timestamp, now: Timestamp, time: Duration) -> bool {
    now.millis_since(since) > time.as_millis() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(second: i64, metrics: &str) -> Report {
        let at = Timestamp::from_millis(1_000 * second);
        let (values, sports) = Values::of_metrics(metrics);
        Report {
            v: 2,
            role: "gateway".into(),
            instance: "a".into(),
            version: Some("1".into()),
            since: Timestamp::from_millis(0),
            at,
            values,
            sports: Some(sports).filter(|sports| !sports.is_empty()),
            clients: None,
            memory: None,
            troubles: None,
            ends: false,
            failed: false,
        }
    }

    #[test]
    fn numbers_are_compared_with_those_of_a_minute_ago() {
        let mut programs = Programs::default();
        for second in (0..=120).step_by(5) {
            let lag = if second < 30 { 0 } else { second - 30 };
            let metrics = format!(
                "toteboard_gateway_frames_total{{region=\"uk\"}} {}\ntoteboard_gateway_lag{{region=\"uk\"}} {lag}\n",
                second * second
            );
            programs.take(report(second, &metrics), Timestamp::from_millis(1_000 * second + 500));
        }
        let (gateway, state) = programs.all().next().unwrap();
        assert_eq!(state, ProgramState::Running);
        // (120² - 60²) / 60
        assert_eq!(gateway.per_second(), BTreeMap::from([("gateway_frames_total", 180.0)]));
        let since = Timestamp::from_millis(35_500);
        assert_eq!(gateway.lags(), [Lag { of: "gateway_lag{uk}".into(), records: 90.0, since, grows: 1.0 }]);
        let polls = "toteboard_producer_poll_age_seconds{region=\"uk\",sport=\"golf\"} 2";
        programs.take(report(121, polls), Timestamp::from_millis(121_000));
        programs.take(report(125, "toteboard_gateway_lag{region=\"uk\"} 0\n"), Timestamp::from_millis(125_000));
        let (gateway, _) = programs.all().next().unwrap();
        assert!(gateway.lags().is_empty());
        // What a report lacks is as it was, but older.
        assert_eq!(gateway.sports()["uk"]["golf"].1, Some(6.0));
    }
}
