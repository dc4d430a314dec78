//! The delivery log: where a record is, by the producer's and the gateway's own lines.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(60);

struct Standalone(Child);

impl Drop for Standalone {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What it logs, line by line, until the deadline.
fn log_of(child: &mut Child) -> impl Iterator<Item = Value> {
    let (lines, all) = mpsc::channel();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    std::thread::spawn(move || {
        for line in stderr.lines() {
            // Nobody listens any more when the test is over.
            let _ = lines.send(line.unwrap());
        }
    });
    let end = Instant::now() + DEADLINE;
    std::iter::from_fn(move || all.recv_timeout(end.saturating_duration_since(Instant::now())).ok()).map(|line| {
        serde_json::from_str::<Value>(&line).unwrap_or_else(|_| panic!("not JSON: {line}"))["fields"].take()
    })
}

#[test]
fn a_record_is_found_in_the_log_of_who_writes_it_and_of_who_reads_it() {
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_standalone"));
    command.args(["--listen=127.0.0.1:0", "--log=warn,kafka=debug", "--log-format=json", "--speed=20"]);
    command.arg("--data").arg(data.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut standalone = Standalone(command.spawn().unwrap());
    let mut delivered = None;
    for line in log_of(&mut standalone.0) {
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
