//! What is wrong, from the reports of all programs and the freshness of each region.

use std::{collections::BTreeMap, time::Duration};

use odds::{Feed, FeedState, Region, Timestamp};

use crate::{
    problem::{Kind, Problem},
    programs::{ProgramState, Programs},
    report::Report,
};

/// A reader that has just started has not heard of everybody.
const HEARD_AFTER: Duration = Duration::from_secs(12);
/// If no program reports for longer, not even the reader's own, then Kafka doesn't answer.
const KAFKA_WITHIN: Duration = Duration::from_secs(11);
/// How long something has to last that comes and goes by itself: longer than from one report to the next.
const LASTS: Duration = Duration::from_secs(7);

const SHARDS: f64 = kafka::ALERT_PARTITIONS as f64;
const CHANNELS: [&str; 2] = ["email", "sms"];
const FEW_CREDITS: f64 = 100.0;
const MANY_RECORDS: f64 = 1_000.0;
const LONG_WAIT: f64 = 300.0;

/// What a reader sees.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub programs: &'a Programs,
    pub feeds: &'a [Feed],
    /// Whether the system has a history, so that historians should run.
    pub has_history: bool,
    /// Whether the system sends messages, so that notifiers should run.
    pub has_messages: bool,
}

/// Remembers since when each problem lasts.
#[derive(Debug)]
pub struct Verdicts {
    started: Timestamp,
    heard_at: Timestamp,
    since: BTreeMap<(Kind, String), Timestamp>,
}

type Found = BTreeMap<(Kind, String), String>;

impl Verdicts {
    pub fn new(now: Timestamp) -> Self {
        Self { started: now, heard_at: now, since: BTreeMap::new() }
    }

    /// Notes that a report has come.
    pub fn heard(&mut self, now: Timestamp) {
        self.heard_at = now;
    }

    /// What is wrong now, the most important first.
    pub fn look(&mut self, seen: Seen<'_>, now: Timestamp) -> Vec<Problem> {
        let mut found = Found::new();
        of_feeds(seen.feeds, &mut found);
        of_reports(seen.programs, now, &mut found);
        if passed(self.heard_at, now, KAFKA_WITHIN) {
            // Nothing is known of the others, so they are not blamed.
            found.retain(|(kind, _), _| *kind == Kind::PricesAreOld);
            let text = "no program's report has come: Kafka doesn't answer, or the topic `fleet` doesn't exist";
            found.insert((Kind::KafkaDoesNotAnswer, String::new()), text.into());
        } else if passed(self.started, now, HEARD_AFTER) {
            of_absence(seen, now, &mut found);
        }
        self.since.retain(|problem, _| found.contains_key(problem));
        let mut problems = Vec::new();
        for ((name, about), text) in found {
            let since = *self.since.entry((name, about.clone())).or_insert(now);
            if !comes_and_goes(name) || passed(since, now, LASTS) {
                let (severity, what_to_do) = (name.severity(), name.what_to_do());
                problems.push(Problem { name, severity, about, text, since, what_to_do });
            }
        }
        problems
    }
}

fn comes_and_goes(kind: Kind) -> bool {
    matches!(kind, Kind::EventsWaitForKafka | Kind::GatewayLags | Kind::AlerterLags | Kind::MessagesNotRead)
}

fn passed(since: Timestamp, now: Timestamp, time: Duration) -> bool {
    now.millis_since(since) > time.as_millis() as i64
}

fn of_feeds(feeds: &[Feed], found: &mut Found) {
    for feed in feeds {
        let reason = feed.reason.as_deref();
        let (kind, text) = match (feed.state, reason) {
            (FeedState::Live, None) => continue,
            (FeedState::Live, Some(reason)) => (Kind::PollsFail, reason.to_owned()),
            (FeedState::Stale, reason) => {
                (Kind::PricesAreOld, format!("stale: {}", reason.unwrap_or("all prices are old")))
            }
            (FeedState::Down, reason) => {
                (Kind::PricesAreOld, format!("down: {}", reason.unwrap_or("there is no board")))
            }
        };
        found.insert((kind, feed.region.key().to_owned()), text);
    }
}

/// What the programs that run report of themselves, and which are silent.
fn of_reports(programs: &Programs, now: Timestamp, found: &mut Found) {
    for (report, state) in programs.all(now) {
        let program = format!("{} {}", report.role, report.instance);
        if state == ProgramState::Silent {
            let text = format!("{program} has not reported since {}", report.at);
            found.insert((Kind::ProgramIsSilent, program), text);
            continue;
        }
        of_regions(report, found);
        of_channels(report, found);
        let values = &report.values;
        if values.one("gateway_store_writable") == Some(0.0) {
            found.insert(
                (Kind::AccountsNotStored, program.clone()),
                format!("{program} can't store changes of accounts"),
            );
        }
        if values.one("alerter_store_available") == Some(0.0) {
            found.insert((Kind::AlertsNotStored, program.clone()), format!("{program} can't use the account store"));
        }
    }
}

fn of_regions(report: &Report, found: &mut Found) {
    let program = format!("{} {}", report.role, report.instance);
    for region in Region::ALL.map(Region::key) {
        let value = |name| report.values.of(name, region);
        let is = |name, holds: fn(f64) -> bool| value(name).is_some_and(holds);
        let mut add = |kind, text: String| drop(found.insert((kind, region.to_owned()), text));
        if is("producer_leading", |leads| leads == 1.0) {
            if let Some(events) = value("producer_pending_events").filter(|events| *events > 0.0) {
                add(Kind::EventsWaitForKafka, format!("{events} events wait to be published"));
            }
            if let Some(credits) = value("producer_credits_remaining").filter(|credits| *credits < FEW_CREDITS) {
                add(Kind::CreditsRunOut, format!("the key has {credits} credits left"));
            }
        }
        if is("historian_leading", |leads| leads == 1.0) && is("historian_store_available", |is| is == 0.0) {
            add(Kind::HistoryNotStored, format!("{program} can't store the history"));
        }
        if let Some(lag) = value("gateway_lag").filter(|lag| *lag > MANY_RECORDS) {
            add(Kind::GatewayLags, format!("{program} has {lag} records to read"));
        }
        if let Some(lag) = value("alerter_lag").filter(|lag| *lag > MANY_RECORDS) {
            add(Kind::AlerterLags, format!("{program} has {lag} records to evaluate"));
        }
    }
}

fn of_channels(report: &Report, found: &mut Found) {
    let program = format!("{} {}", report.role, report.instance);
    for channel in CHANNELS {
        let value = |name| report.values.of(name, channel);
        let mut add = |kind, text: String| drop(found.insert((kind, channel.to_owned()), text));
        if value("notifier_provider_failing") == Some(1.0) {
            add(Kind::ProviderFails, "the provider accepts nothing".into());
        }
        if value("notifier_store_available") == Some(0.0) {
            add(Kind::MessagesNotStored, format!("{program} can't use the outbox"));
        }
        if let Some(oldest) = value("notifier_oldest_seconds").filter(|oldest| *oldest > LONG_WAIT) {
            add(Kind::MessagesWait, format!("a message has waited for {oldest} s"));
        }
        if let Some(lag) = value("notifier_lag").filter(|lag| *lag > MANY_RECORDS) {
            add(Kind::MessagesNotRead, format!("{lag} records wait to become messages"));
        }
        if let Some(dead) = value("notifier_dead_letters").filter(|dead| *dead > 0.0) {
            add(Kind::DeadLetters, format!("{program} could not read {dead} records since its start"));
        }
    }
}

/// What nobody does.
fn of_absence(seen: Seen<'_>, now: Timestamp, found: &mut Found) {
    let does = |name, of: &str| seen.programs.running(now).any(|report| report.values.of(name, of) == Some(1.0));
    for region in Region::ALL.map(Region::key) {
        if !does("producer_leading", region) {
            found.insert((Kind::NobodyLeads, region.to_owned()), "no producer leads: its odds are not updated".into());
        }
        if seen.has_history && !does("historian_leading", region) {
            found.insert((Kind::NobodyRecords, region.to_owned()), "no historian records it".into());
        }
    }
    let running = || seen.programs.running(now);
    let shards: f64 = running().filter_map(|report| report.values.one("alerter_shards")).sum();
    if shards < SHARDS {
        let text = format!("alerters evaluate {shards} of {SHARDS} shards: the other users get no alerts");
        found.insert((Kind::ShardsWithoutAlerter, String::new()), text);
    }
    for channel in CHANNELS.iter().filter(|_| seen.has_messages) {
        if !running().any(|report| report.values.of("notifier_waiting", channel).is_some()) {
            found.insert((Kind::NoNotifier, (*channel).to_owned()), "no notifier sends by this channel".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Values;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000_000 + 1_000 * seconds)
    }

    fn report(role: &str, seconds: i64, metrics: &str) -> Report {
        Report {
            v: 1,
            role: role.into(),
            instance: "a".into(),
            version: "1".into(),
            since: at(0),
            at: at(seconds),
            values: Values::of_metrics(metrics),
            troubles: Vec::new(),
            ends: false,
        }
    }

    fn producers(leading: &[&str]) -> String {
        let line = |region: &&str| format!("toteboard_producer_leading{{region=\"{region}\"}} 1\n");
        leading.iter().map(line).collect()
    }

    fn healthy(seconds: i64) -> Programs {
        let mut programs = Programs::default();
        programs.take(report("producer", seconds, &producers(&["us", "uk", "eu", "au"])));
        programs.take(report("alerter", seconds, "toteboard_alerter_shards 8\n"));
        programs
    }

    fn look(verdicts: &mut Verdicts, programs: &Programs, seconds: i64) -> Vec<(Kind, String, i64)> {
        let seen = Seen { programs, feeds: &[], has_history: false, has_messages: false };
        let problems = verdicts.look(seen, at(seconds)).into_iter();
        problems.map(|it| (it.name, it.about, it.since.millis_since(at(0)) / 1_000)).collect()
    }

    #[test]
    fn nothing_is_wrong_with_a_healthy_system() {
        let mut verdicts = Verdicts::new(at(0));
        verdicts.heard(at(20));
        assert_eq!(look(&mut verdicts, &healthy(20), 21), []);
    }

    #[test]
    fn who_is_missing_is_told_once_all_have_had_time_to_report() {
        let mut verdicts = Verdicts::new(at(0));
        let mut programs = Programs::default();
        programs.take(report("producer", 4, &producers(&["us", "uk", "eu"])));
        verdicts.heard(at(4));
        assert_eq!(look(&mut verdicts, &programs, 5), []);
        programs.take(report("producer", 14, &producers(&["us", "uk", "eu"])));
        verdicts.heard(at(14));
        let expected = [(Kind::NobodyLeads, "au".into(), 15), (Kind::ShardsWithoutAlerter, String::new(), 15)];
        assert_eq!(look(&mut verdicts, &programs, 15), expected);
        // The time is that at which it began.
        assert_eq!(look(&mut verdicts, &programs, 17), expected);
        verdicts.heard(at(18));
        assert_eq!(look(&mut verdicts, &healthy(18), 19), []);
    }

    #[test]
    fn a_program_that_was_killed_is_silent_and_one_that_was_stopped_is_gone() {
        let mut verdicts = Verdicts::new(at(0));
        let mut programs = healthy(20);
        programs.take(report("notifier", 8, ""));
        programs.take(report("historian", 20, ""));
        programs.take(Report { ends: true, ..report("historian", 20, "") });
        verdicts.heard(at(20));
        assert_eq!(look(&mut verdicts, &programs, 20), [(Kind::ProgramIsSilent, "notifier a".into(), 20)]);
        programs.forget(at(8 + 3_600));
        assert_eq!(programs.all(at(21)).count(), 2);
    }

    #[test]
    fn without_any_report_kafka_is_to_blame_and_nobody_else() {
        let mut verdicts = Verdicts::new(at(0));
        verdicts.heard(at(20));
        assert_eq!(look(&mut verdicts, &healthy(20), 32), [(Kind::KafkaDoesNotAnswer, String::new(), 32)]);
    }

    #[test]
    fn what_programs_report_of_themselves_is_told() {
        let mut verdicts = Verdicts::new(at(0));
        let mut programs = healthy(20);
        let metrics = "toteboard_gateway_store_writable 0\ntoteboard_notifier_provider_failing{channel=\"sms\"} 1\n\
            toteboard_gateway_lag{region=\"uk\",partition=\"0\"} 600\ntoteboard_gateway_lag{region=\"uk\",partition=\"1\"} 600\n\
            toteboard_producer_leading{region=\"eu\"} 1\ntoteboard_producer_credits_remaining{region=\"eu\"} 5\n";
        programs.take(report("standalone", 20, metrics));
        verdicts.heard(at(20));
        let told: Vec<Kind> = look(&mut verdicts, &programs, 20).into_iter().map(|(kind, ..)| kind).collect();
        assert_eq!(told, [Kind::AccountsNotStored, Kind::ProviderFails, Kind::CreditsRunOut]);
        // A lag has to last.
        let told = look(&mut verdicts, &programs, 28);
        assert!(told.contains(&(Kind::GatewayLags, "uk".into(), 20)), "{told:?}");
    }
}
