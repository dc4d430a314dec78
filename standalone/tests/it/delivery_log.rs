//! What the log tells: of which region, and where a record is, by the producer's and the gateway's own lines.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::Stdio,
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Running, standalone};

const DEADLINE: Duration = Duration::from_secs(60);

struct Standalone {
    running: Running,
    _data: TempDir,
}

impl Standalone {
    fn start(settings: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut command = standalone(data.path());
        command.args(["--listen=127.0.0.1:0", "--log-format=json", "--speed=20"]).args(settings);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        Self { running: Running(child), _data: data }
    }

    /// What it logs, line by line, until the deadline.
    fn log(&mut self) -> impl Iterator<Item = Value> {
        let (lines, all) = mpsc::channel();
        let stderr = BufReader::new(self.running.0.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines() {
                // Nobody listens any more when the test is over.
                let _ = lines.send(line.unwrap());
            }
        });
        let end = Instant::now() + DEADLINE;
        std::iter::from_fn(move || all.recv_timeout(end.saturating_duration_since(Instant::now())).ok())
            .map(|line| serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}")))
    }
}

#[test]
fn a_record_is_found_in_the_log_of_who_writes_it_and_of_who_reads_it() {
    let mut standalone = Standalone::start(&["--log=warn,kafka=debug"]);
    let mut delivered = None;
    for line in standalone.log() {
        let line = &line["fields"];
        let says = |what: &str| line["message"] == what;
        if delivered.is_none() && says("delivered") {
            assert!(line["key"].as_str().is_some_and(|key| !key.is_empty()) && line["latency"].is_string(), "{line}");
            delivered = Some((line["topic"].clone(), line["partition"].clone(), line["offset"].as_i64().unwrap()));
        } else if let Some((topic, partition, offset)) = &delivered
            && says("committed")
            && (&line["topic"], &line["partition"]) == (topic, partition)
            && line["offset"].as_i64().unwrap() > *offset
        {
            return;
        }
    }
    panic!("within {DEADLINE:?} nobody logged to have read {delivered:?}");
}

/// Also of what upstream answers, of which the plan of polls and the reader of answers know no region.
#[test]
fn every_line_about_a_regions_work_names_the_region() {
    const MODULES: [&str; 5] = [
        "producers::producer",
        "producers::polling",
        "producers::the_odds_api",
        "gateway::region",
        "kafka::region_follower",
    ];
    let log = "--log=error,producers=debug,gateway::region=debug,kafka::region_follower=debug";
    let mut standalone = Standalone::start(&[log, "--fault-rate=0.3"]);
    let mut named = BTreeSet::new();
    for line in standalone.log() {
        let target = line["target"].as_str().unwrap();
        if let Some(module) = MODULES.into_iter().find(|module| target.starts_with(module)) {
            let region = line["span"]["region"].as_str().unwrap_or_else(|| panic!("no region: {line}"));
            named.insert((module, region.to_owned()));
        }
        let of = |module: &str| named.iter().filter(|(named, _)| *named == module).count();
        if named.len() >= 16
            && ["producers::producer", "gateway::region", "kafka::region_follower"].iter().all(|it| of(it) == 4)
        {
            return;
        }
    }
    panic!("within {DEADLINE:?} only these logged anything: {named:?}");
}
