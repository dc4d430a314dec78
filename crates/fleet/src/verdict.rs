//! What is wrong, from the reports of all programs and the freshness of each region.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kafka::{ClusterState, Difference, TopicSpec};
use odds::{Feed, FeedState, Region, Timestamp};

use crate::{
    CHANNELS,
    problem::{Kind, Problem},
    programs::{Program, ProgramState, Programs, passed},
    report::Report,
};

/// A reader that has just started, or that Kafka answers again, has not heard of everybody.
const HEARD_AFTER: Duration = Duration::from_secs(12);
/// If no program reports for longer, not even the reader's own, then Kafka doesn't answer.
const KAFKA_WITHIN: Duration = Duration::from_secs(10);
/// How long a dead letter is a problem.
const DEAD_LETTER_FOR: Duration = Duration::from_secs(600);

const SHARDS: f64 = kafka::ALERT_PARTITIONS as f64;
const FEW_CREDITS: f64 = 100.0;
const MANY_RECORDS: f64 = 1_000.0;
const LONG_WAIT: f64 = 300.0;

/// What should be done by some program, once any has been seen to do it.
const JOBS: [&str; 4] = ["producer_leading", "historian_leading", "alerter_shards", "notifier_waiting"];

/// Remembers since when each problem lasts, and which jobs there are.
#[derive(Debug)]
pub struct Verdicts {
    /// Since when all programs should have been heard of, but for a moment.
    listening_since: Timestamp,
    since: BTreeMap<(Kind, String), Timestamp>,
    /// The metrics of jobs that were seen, with the region or channel: not every system has historians or sends SMS.
    jobs: BTreeSet<(&'static str, &'static str)>,
}

type Found = BTreeMap<(Kind, String), String>;

/// The cluster, and how the planned topics should be.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub state: ClusterState,
    pub plan: Vec<TopicSpec>,
    /// The settings that are other than planned, by topic.
    pub settings: BTreeMap<String, Vec<Difference>>,
}

impl Cluster {
    /// Whether a topic is planned, or one that Kafka needs for them. Others are somebody else's.
    pub fn concerns(&self, topic: &str) -> bool {
        topic.starts_with("__") || self.plan.iter().any(|plan| plan.name == topic)
    }

    /// The planned topics that don't exist.
    pub fn missing_topics(&self) -> impl Iterator<Item = &str> {
        self.plan.iter().map(|plan| plan.name.as_str()).filter(|name| self.state.topic(name).is_none())
    }

    /// How a topic differs from its plan. Fewer replicas than planned are as planned if there are no more brokers.
    pub fn differences(&self, topic: &str) -> Vec<Difference> {
        let plan = self.plan.iter().find(|plan| plan.name == topic);
        let (Some(plan), Some(found)) = (plan, self.state.topic(topic)) else { return Vec::new() };
        let brokers = self.state.brokers.len() + self.state.missing_brokers().len();
        let plan = TopicSpec { replication: plan.replication.min(brokers as i32), ..plan.clone() };
        let mut differences = found.differences(&plan);
        differences.extend(self.settings.get(topic).into_iter().flatten().cloned());
        differences
    }
}

impl Verdicts {
    pub fn new(now: Timestamp) -> Self {
        Self { listening_since: now, since: BTreeMap::new(), jobs: BTreeSet::new() }
    }

    /// The time at which a report came that is read now. What the topic still had at the start came when it was written.
    pub fn came_at(&self, report: &Report, now: Timestamp) -> Timestamp {
        if passed(self.listening_since, now, HEARD_AFTER) { now } else { now.min(report.at) }
    }

    /// What is wrong now, the most important first.
    pub fn look(
        &mut self,
        programs: &Programs,
        feeds: &[Feed],
        cluster: Option<&Cluster>,
        now: Timestamp,
    ) -> Vec<Problem> {
        self.note_jobs(programs);
        let mut found = Found::new();
        of_feeds(feeds, &mut found);
        if let Some(cluster) = cluster {
            of_cluster(cluster, &mut found);
        }
        if programs.heard_at().is_none_or(|at| passed(at, now, KAFKA_WITHIN)) {
            if passed(self.listening_since, now, KAFKA_WITHIN) {
                let text = "no program's report has come: Kafka doesn't answer, or the topic `fleet` doesn't exist";
                found.insert((Kind::KafkaDoesNotAnswer, String::new()), text.into());
                // What comes first when it answers again was written before: `came_at` must know.
                self.listening_since = now.plus_millis(-(KAFKA_WITHIN.as_millis() as i64) - 1);
            }
        } else {
            // When it answers again, nobody is blamed at once.
            if self.since.keys().any(|(kind, _)| *kind == Kind::KafkaDoesNotAnswer) {
                self.listening_since = now;
            }
            let has_heard_all = passed(self.listening_since, now, HEARD_AFTER);
            of_reports(programs, now, has_heard_all, &mut found);
            if has_heard_all {
                self.of_absence(programs, &mut found);
            }
        }
        self.since.retain(|problem, _| found.contains_key(problem));
        let mut problems = Vec::new();
        for ((name, about), text) in found {
            let since = *self.since.entry((name, about.clone())).or_insert(now);
            if lasts(name).is_none_or(|time| passed(since, now, time)) {
                let (severity, what_to_do) = (name.severity(), name.what_to_do());
                problems.push(Problem { name, severity, about, text, since, what_to_do });
            }
        }
        problems
    }

    fn note_jobs(&mut self, programs: &Programs) {
        for (Program { report, .. }, _) in programs.all() {
            for job in JOBS {
                let of = Region::ALL.map(Region::key).into_iter().chain(CHANNELS);
                self.jobs.extend(of.filter(|of| report.values.of(job, of).is_some()).map(|of| (job, of)));
                if report.values.one(job).is_some() {
                    self.jobs.insert((job, ""));
                }
            }
        }
    }

    /// What nobody does.
    fn of_absence(&self, programs: &Programs, found: &mut Found) {
        for (job, of) in &self.jobs {
            let of_each = || programs.running().filter_map(|report| report.values.of(job, of));
            let (kind, text) = match *job {
                "producer_leading" if !of_each().any(|leads| leads == 1.0) => {
                    (Kind::NobodyLeads, "no producer leads: its odds are not updated".to_owned())
                }
                "historian_leading" if !of_each().any(|leads| leads == 1.0) => {
                    (Kind::NobodyRecords, "no historian records it".to_owned())
                }
                "notifier_waiting" if of_each().next().is_none() => {
                    (Kind::NoNotifier, "no notifier sends by this channel".to_owned())
                }
                "alerter_shards" => {
                    let shards: f64 = programs.running().filter_map(|report| report.values.one(job)).sum();
                    if shards >= SHARDS {
                        continue;
                    }
                    let text = format!("alerters evaluate {shards} of {SHARDS} shards: the other users get no alerts");
                    (Kind::ShardsWithoutAlerter, text)
                }
                _ => continue,
            };
            found.insert((kind, (*of).to_owned()), text);
        }
    }
}

/// How long something has to last that comes and goes by itself, when leaders change for example: longer than from one
/// report to the next.
fn lasts(kind: Kind) -> Option<Duration> {
    match kind {
        Kind::NobodyLeads
        | Kind::NobodyRecords
        | Kind::ShardsWithoutAlerter
        | Kind::NoNotifier
        | Kind::EventsWaitForKafka => Some(Duration::from_secs(12)),
        Kind::PartitionsWithoutLeader
        | Kind::ReplicasOutOfSync
        | Kind::TopicsAreMissing
        | Kind::GatewayLags
        | Kind::HistorianLags
        | Kind::AlerterLags
        | Kind::MessagesNotRead => Some(Duration::from_secs(5)),
        _ => None,
    }
}

fn of_feeds(feeds: &[Feed], found: &mut Found) {
    for feed in feeds {
        let reason = feed.reason.as_deref();
        let (kind, text) = match (feed.state, reason) {
            (FeedState::Live, None) => continue,
            (FeedState::Live, Some(reason)) if reason.contains("used up") => (Kind::CreditsUsedUp, reason.to_owned()),
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

fn of_cluster(cluster: &Cluster, found: &mut Found) {
    let counted = |count: usize, what: &str| if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") };
    for broker in cluster.state.missing_brokers() {
        found.insert((Kind::BrokerIsDown, format!("broker {broker}")), "it has replicas, and does not answer".into());
    }
    let mut late = Vec::new();
    for topic in cluster.state.topics.iter().filter(|topic| cluster.concerns(&topic.name)) {
        let (leaderless, out_of_sync) = (topic.without_leader(), topic.out_of_sync());
        if leaderless > 0 {
            let text =
                format!("{} without a leader: nothing can be read or written there", counted(leaderless, "partition"));
            found.insert((Kind::PartitionsWithoutLeader, topic.name.clone()), text);
        }
        if out_of_sync > 0 {
            late.push(format!("{} of {}", counted(out_of_sync, "partition"), topic.name));
        }
        let differs = cluster.differences(&topic.name);
        if !differs.is_empty() {
            let each = differs.iter().map(|it| format!("{} is {}, planned is {}", it.what, it.found, it.planned));
            found.insert((Kind::TopicsDiffer, topic.name.clone()), each.collect::<Vec<_>>().join("; "));
        }
    }
    if !late.is_empty() {
        let text = format!("replicas lack the newest records: {}", late.join(", "));
        found.insert((Kind::ReplicasOutOfSync, String::new()), text);
    }
    let missing: Vec<&str> = cluster.missing_topics().collect();
    if !missing.is_empty() {
        found.insert((Kind::TopicsAreMissing, String::new()), format!("there is no {}", missing.join(", ")));
    }
}

/// What the programs that run report of themselves, and which are silent.
fn of_reports(programs: &Programs, now: Timestamp, has_heard_all: bool, found: &mut Found) {
    let missed = programs.missed();
    for (known, state) in programs.all() {
        let report = &known.report;
        let program = report.key();
        if state != ProgramState::Running && !missed.contains(program.as_str()) {
            continue;
        }
        match state {
            ProgramState::Running => {}
            ProgramState::Failed => {
                let reason = report.troubles.iter().flatten().rev().find(|trouble| trouble.level == "error");
                let text = reason.map_or("it ended with an error", |trouble| trouble.text.as_str());
                found.insert((Kind::ProgramHasFailed, program), text.to_owned());
                continue;
            }
            ProgramState::Silent => {
                if has_heard_all {
                    let text = format!("it has not reported since {}", report.at);
                    found.insert((Kind::ProgramIsSilent, program), text);
                }
                continue;
            }
        }
        of_regions(report, found);
        of_channels(known, now, found);
        let values = &report.values;
        if values.one("gateway_store_writable") == Some(0.0) {
            found.insert((Kind::AccountsNotStored, program.clone()), "it can't store changes of accounts".into());
        }
        if values.one("alerter_store_available") == Some(0.0) {
            found.insert((Kind::AlertsNotStored, program.clone()), "it can't use the account store".into());
        }
    }
    for channel in CHANNELS {
        let lag: f64 = programs.running().filter_map(|report| report.values.of("notifier_lag", channel)).sum();
        if lag > MANY_RECORDS {
            let text = format!("{lag} records wait to become messages");
            found.insert((Kind::MessagesNotRead, channel.to_owned()), text);
        }
    }
}

fn of_regions(report: &Report, found: &mut Found) {
    let program = report.key();
    for region in Region::ALL.map(Region::key) {
        let value = |name| report.values.of(name, region);
        let mut add = |kind, text: String| drop(found.insert((kind, region.to_owned()), text));
        if value("producer_leading") == Some(1.0) {
            if let Some(events) = value("producer_pending_events").filter(|events| *events > 0.0) {
                add(Kind::EventsWaitForKafka, format!("{events} events wait to be published"));
            }
            if let Some(credits) = value("producer_credits_remaining").filter(|credits| *credits < FEW_CREDITS) {
                add(Kind::CreditsRunOut, format!("the key has {credits} credits left"));
            }
        }
        if value("historian_leading") == Some(1.0) && value("historian_store_available") == Some(0.0) {
            add(Kind::HistoryNotStored, format!("{program} can't store the history"));
        }
        for (kind, name, what) in [
            (Kind::GatewayLags, "gateway_lag", "to read"),
            (Kind::HistorianLags, "historian_lag", "to record"),
            (Kind::AlerterLags, "alerter_lag", "to evaluate"),
        ] {
            if let Some(lag) = value(name).filter(|lag| *lag > MANY_RECORDS) {
                let text = format!("it has {lag} records of {region} {what}");
                found.insert((kind, format!("{program}, {region}")), text);
            }
        }
    }
}

fn of_channels(known: &Program, now: Timestamp, found: &mut Found) {
    let program = known.report.key();
    for channel in CHANNELS {
        let value = |name| known.report.values.of(name, channel);
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
        if known.dead_letter_at.get(channel).is_some_and(|at| !passed(*at, now, DEAD_LETTER_FOR)) {
            add(Kind::DeadLetters, format!("{program} could not read a record"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LoggedTrouble, Values};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000_000 + 1_000 * seconds)
    }

    fn report(role: &str, metrics: &str) -> Report {
        Report {
            v: 1,
            role: role.into(),
            instance: "a".into(),
            version: Some("1".into()),
            since: at(0),
            at: at(0),
            values: Values::of_metrics(metrics).0,
            sports: None,
            clients: None,
            memory: None,
            troubles: None,
            ends: false,
            failed: false,
        }
    }

    /// What a reader knows, second by second.
    struct Scene {
        verdicts: Verdicts,
        programs: Programs,
        cluster: Option<Cluster>,
    }

    impl Scene {
        /// A healthy system after half a minute.
        fn healthy() -> Self {
            let mut scene = Self { verdicts: Verdicts::new(at(0)), programs: Programs::default(), cluster: None };
            for second in [0, 5, 10, 15, 20, 25, 30] {
                scene.report("producer", "toteboard_producer_leading{region=\"uk\"} 1", second);
                scene.report("alerter", "toteboard_alerter_shards 8", second);
                assert_eq!(scene.told(second), []);
            }
            scene
        }

        fn report(&mut self, role: &str, metrics: &str, second: i64) {
            self.programs.take(Report { at: at(second), ..report(role, metrics) }, at(second));
        }

        fn told(&mut self, second: i64) -> Vec<(Kind, String)> {
            let problems = self.verdicts.look(&self.programs, &[], self.cluster.as_ref(), at(second)).into_iter();
            problems.map(|it| (it.name, it.about)).collect()
        }
    }

    #[test]
    fn a_program_that_was_killed_is_told_within_fifteen_seconds_and_what_it_did_soon_after() {
        let mut scene = Scene::healthy();
        let silent = (Kind::ProgramIsSilent, "producer a".to_owned());
        for second in [35, 40] {
            scene.report("alerter", "toteboard_alerter_shards 8", second);
            assert_eq!(scene.told(second), []);
        }
        scene.report("alerter", "toteboard_alerter_shards 8", 45);
        assert_eq!(scene.told(45), vec![silent.clone()]);
        for second in [50, 55] {
            scene.report("alerter", "toteboard_alerter_shards 8", second);
            scene.told(second);
        }
        assert_eq!(scene.told(58), [(Kind::NobodyLeads, "uk".into()), silent]);
        scene.report("producer", "toteboard_producer_leading{region=\"uk\"} 1", 59);
        assert_eq!(scene.told(59), []);
    }

    #[test]
    fn a_change_of_leaders_is_no_problem() {
        let mut scene = Scene::healthy();
        scene.programs.take(Report { ends: true, ..report("producer", "") }, at(31));
        assert_eq!(scene.told(31), []);
        scene.report("alerter", "toteboard_alerter_shards 8", 35);
        assert_eq!(scene.told(40), []);
        let mut other = report("producer", "toteboard_producer_leading{region=\"uk\"} 1");
        other.instance = "b".into();
        scene.programs.take(other, at(42));
        for second in 42..50 {
            assert_eq!(scene.told(second), []);
        }
    }

    #[test]
    fn while_nobody_reports_only_kafka_is_to_blame_and_nobody_when_it_answers_again() {
        let mut scene = Scene::healthy();
        for second in 31..=40 {
            assert_eq!(scene.told(second), [], "{second}");
        }
        for second in 41..60 {
            assert_eq!(scene.told(second), [(Kind::KafkaDoesNotAnswer, String::new())], "{second}");
        }
        for second in 60..=72 {
            if second % 5 == 0 {
                scene.report("alerter", "toteboard_alerter_shards 8", second);
            }
            assert_eq!(scene.told(second), [], "{second}");
        }
        scene.report("alerter", "toteboard_alerter_shards 8", 73);
        assert_eq!(scene.told(73), [(Kind::ProgramIsSilent, "producer a".into())]);
    }

    #[test]
    fn a_reader_that_starts_hears_everybody_before_it_blames_anybody() {
        let mut scene = Scene { verdicts: Verdicts::new(at(100)), programs: Programs::default(), cluster: None };
        for (role, written) in [("historian", 20), ("producer", 98)] {
            let old = Report { at: at(written), ..report(role, "") };
            let came_at = scene.verdicts.came_at(&old, at(101));
            scene.programs.take(old, came_at);
        }
        assert_eq!(scene.told(101), []);
        scene.report("producer", "", 108);
        assert_eq!(scene.told(112), []);
        assert_eq!(scene.told(113), [(Kind::ProgramIsSilent, "historian a".into())]);
        // What was never there is not missed.
        scene.programs.forget(at(20 + 3_601));
        assert_eq!(scene.programs.all().count(), 1);
    }

    #[test]
    fn what_programs_report_of_themselves_is_told() {
        let mut scene = Scene::healthy();
        let metrics = "toteboard_gateway_store_writable 0\ntoteboard_notifier_provider_failing{channel=\"sms\"} 1\n\
            toteboard_gateway_lag{region=\"uk\",partition=\"0\"} 600\ntoteboard_gateway_lag{region=\"uk\",partition=\"1\"} 600\n\
            toteboard_producer_leading{region=\"eu\"} 1\ntoteboard_producer_credits_remaining{region=\"eu\"} 5\n";
        scene.report("standalone", metrics, 30);
        let told: Vec<Kind> = scene.told(30).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(told, [Kind::AccountsNotStored, Kind::ProviderFails, Kind::CreditsRunOut]);
        // A lag has to last.
        let told = scene.told(36);
        assert!(told.contains(&(Kind::GatewayLags, "standalone a, uk".into())), "{told:?}");
    }

    #[test]
    fn a_dead_letter_is_told_for_ten_minutes() {
        let mut scene = Scene::healthy();
        scene.report("notifier", "toteboard_notifier_dead_letters{channel=\"sms\"} 1\n", 30);
        let dead = (Kind::DeadLetters, "sms".to_owned());
        assert!(scene.told(31).contains(&dead));
        for second in (35..=640).step_by(5) {
            scene.report("notifier", "toteboard_notifier_dead_letters{channel=\"sms\"} 1\n", second);
        }
        assert!(!scene.told(640).contains(&dead));
        scene.report("notifier", "toteboard_notifier_dead_letters{channel=\"sms\"} 2\n", 641);
        assert!(scene.told(641).contains(&dead));
    }

    #[test]
    fn one_that_was_started_in_the_place_of_another_ends_the_problem() {
        let mut scene = Scene::healthy();
        let silent = (Kind::ProgramIsSilent, "producer a".to_owned());
        let other = |region: &str, since: i64| Report {
            instance: format!("of {region} since {since}"),
            since: at(since),
            ..report("producer", &format!("toteboard_producer_leading{{region=\"{region}\"}} 1"))
        };
        // One that ran before, one of another region, and one that takes its place.
        for (second, since, region) in [(41, 1, "uk"), (42, 40, "eu")] {
            scene.programs.take(other(region, since), at(second));
            scene.report("alerter", "toteboard_alerter_shards 8", second);
            assert!(scene.told(second).contains(&silent), "{region}");
        }
        scene.programs.take(other("uk", 40), at(43));
        assert_eq!(scene.told(43), []);
        assert_eq!(scene.programs.all().filter(|(_, state)| *state == ProgramState::Silent).count(), 1);
        // It fails in its turn, and somebody takes its place.
        scene.programs.take(Report { failed: true, at: at(44), ..other("uk", 40) }, at(44));
        assert_eq!(scene.told(44), [(Kind::ProgramHasFailed, "producer of uk since 40".into())]);
        scene.programs.take(other("uk", 45), at(46));
        assert_eq!(scene.told(46), []);
    }

    #[test]
    fn a_program_that_failed_is_told_at_once_with_its_error() {
        let mut scene = Scene::healthy();
        let error = LoggedTrouble { at: at(31), level: "error".into(), text: "the key is wrong".into(), count: 1 };
        let last = Report { failed: true, troubles: Some(vec![error]), ..report("producer", "") };
        scene.programs.take(last, at(31));
        let problems = scene.verdicts.look(&scene.programs, &[], None, at(31));
        let failed = &problems[0];
        assert_eq!((failed.name, failed.about.as_str()), (Kind::ProgramHasFailed, "producer a"));
        assert_eq!(failed.text, "the key is wrong");
        // It was started again.
        scene.programs.take(Report { since: at(32), ..report("producer", "") }, at(33));
        assert_eq!(scene.told(33), []);
    }

    #[test]
    fn what_is_wrong_with_the_cluster_is_told() {
        let mut scene = Scene::healthy();
        let partition = |leader, replicas: &[i32], in_sync: &[i32]| kafka::Partition {
            id: 0,
            leader,
            replicas: replicas.to_vec(),
            in_sync: in_sync.to_vec(),
        };
        let topic = |name: &str, partitions| kafka::Topic { name: name.into(), partitions };
        let plan =
            |name: &str, replication| TopicSpec { name: name.into(), partitions: 1, replication, settings: Vec::new() };
        let broker = |id| kafka::Broker { id, address: format!("b{id}:9092") };
        let mut cluster = Cluster {
            state: ClusterState {
                brokers: vec![broker(1), broker(2)],
                topics: vec![
                    topic("a", vec![partition(1, &[1, 2], &[1, 2])]),
                    topic("b", vec![partition(2, &[2], &[2])]),
                ],
            },
            plan: vec![plan("a", 3), plan("b", 1)],
            settings: BTreeMap::new(),
        };
        scene.cluster = Some(cluster.clone());
        assert_eq!(scene.told(31), [], "two brokers can't have three replicas");
        cluster.state.brokers.pop();
        cluster.state.topics =
            vec![topic("a", vec![partition(1, &[1, 2], &[1]); 2]), topic("b", vec![partition(-1, &[2], &[2])])];
        cluster.plan.push(plan("c", 1));
        cluster.state.topics.push(topic("of others", vec![partition(-1, &[2], &[2])]));
        scene.cluster = Some(cluster);
        scene.report("alerter", "toteboard_alerter_shards 8", 32);
        scene.report("producer", "toteboard_producer_leading{region=\"uk\"} 1", 32);
        assert_eq!(scene.told(32), [(Kind::BrokerIsDown, "broker 2".into()), (Kind::TopicsDiffer, "a".into())]);
        let told = scene.told(38);
        let expected = [
            (Kind::PartitionsWithoutLeader, "b"),
            (Kind::TopicsAreMissing, ""),
            (Kind::BrokerIsDown, "broker 2"),
            (Kind::ReplicasOutOfSync, ""),
            (Kind::TopicsDiffer, "a"),
        ];
        assert_eq!(told, expected.map(|(kind, about)| (kind, about.to_owned())));
    }
}
