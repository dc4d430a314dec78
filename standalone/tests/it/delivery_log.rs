//! The log: lines name their region, and a record can be followed from the producer's lines to the gateway's.

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
        command.args(["--listen=127.0.0.1:0", "--log-format=json"]).args(settings);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        Self { running: Running(child), _data: data }
    }

    /// The lines of its log until the deadline.
    fn log(&mut self) -> impl Iterator<Item = Value> {
        let (lines, all) = mpsc::channel();
        let stderr = BufReader::new(self.running.0.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines() {
                // The receiver is gone when the test is over.
                let _ = lines.send(line.unwrap());
            }
        });
        let end = Instant::now() + DEADLINE;
        std::iter::from_fn(move || all.recv_timeout(end.saturating_duration_since(Instant::now())).ok())
            .map(|line| serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}")))
    }
}

#[test]
fn a_record_is_logged_by_its_writer_and_by_its_reader() {
    let mut standalone = Standalone::start(&["--log=warn,kafka=debug"]);
    let mut delivered = None;
    for line in standalone.log() {
        let line = &line["fields"];
        let message_is = |what: &str| line["message"] == what;
        if delivered.is_none() && message_is("delivered") {
            assert!(line["key"].as_str().is_some_and(|key| !key.is_empty()) && line["latency"].is_string(), "{line}");
            delivered = Some((line["topic"].clone(), line["partition"].clone(), line["offset"].as_i64().unwrap()));
        } else if let Some((topic, partition, offset)) = &delivered
            && message_is("committed")
            && (&line["topic"], &line["partition"]) == (topic, partition)
            && line["offset"].as_i64().unwrap() > *offset
        {
            return;
        }
    }
    panic!("no reader of {delivered:?} logged it within {DEADLINE:?}");
}

/// Also lines about upstream's answers, although the code that plans polls and parses answers doesn't know the region.
#[test]
fn every_line_about_a_regions_work_names_the_region() {
    const MODULES: [&str; 5] =
        ["producers::leader", "producers::polling", "producers::source", "gateway::region", "kafka::region_follower"];
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
            && ["producers::leader", "gateway::region", "kafka::region_follower"].iter().all(|it| of(it) == 4)
        {
            return;
        }
    }
    panic!("only these logged anything within {DEADLINE:?}: {named:?}");
}
