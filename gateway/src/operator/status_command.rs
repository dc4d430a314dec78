//! The command that prints what is wrong.

use std::{collections::BTreeMap, fmt::Write as _, io::Write, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use http::StatusCode;
use odds::Timestamp;
use serde::Deserialize;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Args)]
pub struct StatusCommand {
    /// The address of a gateway.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,

    /// A token of an operator, with the scope `operator`.
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    operator_token: String,
}

#[derive(Debug, Deserialize)]
struct Status {
    at: Timestamp,
    is_well: bool,
    regions: Vec<RegionStatus>,
    problems: Vec<Problem>,
    programs: Vec<Program>,
    kafka: Option<Kafka>,
}

#[derive(Debug, Deserialize)]
struct RegionStatus {
    region: String,
    state: String,
    verdict: String,
    credits: Option<Credits>,
}

#[derive(Debug, Deserialize)]
struct Credits {
    left: f64,
    run_out_at: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
struct Kafka {
    brokers: Vec<Broker>,
    topics: Vec<Topic>,
}

#[derive(Debug, Deserialize)]
struct Broker {
    id: i32,
    address: Option<String>,
    leads: usize,
}

#[derive(Debug, Deserialize)]
struct Topic {
    name: String,
    exists: bool,
    without_leader: usize,
    out_of_sync: usize,
    differences: Vec<Difference>,
}

#[derive(Debug, Deserialize)]
struct Difference {
    what: String,
    planned: String,
    found: String,
}

#[derive(Debug, Deserialize)]
struct Problem {
    name: String,
    severity: String,
    about: String,
    text: String,
    since: Timestamp,
    what_to_do: String,
}

#[derive(Debug, Deserialize)]
struct Program {
    role: String,
    instance: String,
    version: String,
    state: String,
    since: Timestamp,
    reported_at: Timestamp,
    memory: Option<u64>,
    per_second: BTreeMap<String, f64>,
    lags: Vec<Lag>,
    clients: Option<Clients>,
    troubles: Vec<Trouble>,
}

#[derive(Debug, Deserialize)]
struct Lag {
    of: String,
    records: f64,
    since: Timestamp,
    grows: f64,
}

#[derive(Debug, Deserialize)]
struct Clients {
    users: u64,
    slow: Vec<SlowClient>,
}

#[derive(Debug, Deserialize)]
struct SlowClient {
    id: String,
    name: String,
    since: Timestamp,
}

#[derive(Debug, Deserialize)]
struct Trouble {
    at: Timestamp,
    level: String,
    text: String,
    #[serde(default = "once")]
    count: u64,
}

fn once() -> u64 {
    1
}

/// The exit code if what is wrong is unknown.
const UNKNOWN: u8 = 2;

impl StatusCommand {
    /// Prints what is wrong and all programs. The exit code is 1 if users miss something, and 2 if no gateway answers.
    pub async fn execute(self, out: &mut (dyn Write + Send)) -> anyhow::Result<ExitCode> {
        match self.ask().await {
            Ok(status) => {
                write!(out, "{}", status.shown()?)?;
                Ok(if status.is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Err(error) => {
                eprintln!("error: {error:#}");
                Ok(ExitCode::from(UNKNOWN))
            }
        }
    }

    async fn ask(self) -> anyhow::Result<Status> {
        let url = format!("{}/api/operator/status", self.url.trim_end_matches('/'));
        let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).build()?;
        let answer = client.get(&url).bearer_auth(self.operator_token).send().await;
        let answer = answer.with_context(|| format!("no gateway answers at {}", self.url))?;
        match answer.status() {
            StatusCode::OK => answer.json().await.context("the answer is not that of a gateway"),
            StatusCode::NOT_FOUND => {
                bail!(
                    "the token is not an operator's with the scope `operator`, or the gateway can't read its accounts, or {} is \
                     no gateway",
                    self.url
                )
            }
            code => bail!("the gateway answers {code}: {}", answer.text().await.unwrap_or_default()),
        }
    }
}

impl Status {
    fn shown(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        match self.problems.len() {
            0 => writeln!(text, "All is well at {}.", self.at)?,
            1 => writeln!(text, "One problem at {}:", self.at)?,
            count => writeln!(text, "{count} problems at {}:", self.at)?,
        }
        for Problem { name, severity, about, text: what, since, what_to_do } in &self.problems {
            let about = if about.is_empty() { String::new() } else { format!(" ({about})") };
            writeln!(text, "\n{severity}: {name}{about}, for {}", lasting(*since, self.at))?;
            writeln!(text, "    {what}")?;
            writeln!(text, "    What to do: {what_to_do}.")?;
        }
        writeln!(text)?;
        for RegionStatus { region, state, verdict, credits } in &self.regions {
            write!(text, "{region}  {state:5}  {verdict}")?;
            match credits {
                Some(Credits { left, run_out_at: Some(at) }) => writeln!(text, "  ({left} credits, used up {at})")?,
                Some(Credits { left, run_out_at: None }) => writeln!(text, "  ({left} credits)")?,
                None => writeln!(text)?,
            }
        }
        self.kafka(&mut text)?;
        writeln!(text)?;
        for program in &self.programs {
            self.program(program, &mut text)?;
        }
        // By time, since one fault troubles many.
        let troubles = self.programs.iter().flat_map(|program| program.troubles.iter().map(move |it| (program, it)));
        let troubles: BTreeMap<_, _> =
            troubles.map(|(program, it)| ((it.at, &program.role, &program.instance), it)).collect();
        if !troubles.is_empty() {
            writeln!(text, "\nWarnings and errors:")?;
        }
        for ((at, role, instance), trouble) in troubles {
            let times = if trouble.count > 1 { format!(" ({} times)", trouble.count) } else { String::new() };
            writeln!(text, "{at}  {role} {instance}  {}: {}{times}", trouble.level, trouble.text)?;
        }
        Ok(text)
    }
}

impl Status {
    /// The brokers, and the topics that are other than planned.
    fn kafka(&self, text: &mut String) -> std::fmt::Result {
        let Some(Kafka { brokers, topics }) = &self.kafka else { return writeln!(text, "\nKafka: no broker answers") };
        writeln!(text, "\nKafka: {} topics", topics.len())?;
        for Broker { id, address, leads } in brokers {
            let address = address.as_deref().unwrap_or("DOES NOT ANSWER");
            writeln!(text, "broker {id}  {address}  leads {leads} partitions")?;
        }
        for Topic { name, exists, without_leader, out_of_sync, differences } in topics {
            let mut faults = Vec::new();
            faults.extend((!exists).then(|| "missing".to_owned()));
            faults.extend((*without_leader > 0).then(|| format!("{without_leader} partitions without a leader")));
            faults.extend((*out_of_sync > 0).then(|| format!("{out_of_sync} partitions out of sync")));
            let differs = |it: &Difference| format!("{} is {}, planned is {}", it.what, it.found, it.planned);
            faults.extend(differences.iter().map(differs));
            if !faults.is_empty() {
                writeln!(text, "{name}  {}", faults.join("; "))?;
            }
        }
        Ok(())
    }

    fn program(&self, program: &Program, text: &mut String) -> std::fmt::Result {
        let Program { role, instance, version, state, since, reported_at, memory, per_second, lags, clients, .. } =
            program;
        let state = match state.as_str() {
            "running" => format!("running for {}", lasting(*since, self.at)),
            other => format!("{} for {}", other.to_uppercase(), lasting(*reported_at, self.at)),
        };
        write!(text, "{role} {instance}  {version}  {state}")?;
        if let Some(bytes) = memory {
            write!(text, "  {} MB", bytes / 1_000_000)?;
        }
        if let Some(Clients { users, .. }) = clients {
            let rate = |name: &str| per_second.get(name).copied().unwrap_or_default();
            let (frames, bytes) = (rate("gateway_frames_total"), rate("gateway_sent_bytes_total"));
            write!(text, "  {users} users, {frames:.0} frames and {:.0} KB a second", bytes / 1_000.0)?;
        }
        writeln!(text)?;
        for Lag { of, records, since, grows } in lags {
            let behind = lasting(*since, self.at);
            writeln!(text, "    {of}: {records} records, for {behind}, and {grows:+.1} a second")?;
        }
        for SlowClient { id, name, since } in clients.iter().flat_map(|clients| &clients.slow) {
            writeln!(text, "    a client of {name} takes nothing, for {} (socket {id})", lasting(*since, self.at))?;
        }
        Ok(())
    }
}

/// A time in words.
fn lasting(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.millis_since(since).max(0) / 1_000;
    match (seconds / 86_400, seconds / 3_600, seconds / 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, _) => format!("{hours} h"),
        (days, ..) => format!("{days} d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_with_what_to_do() {
        let status = r#"{ "at": "2026-01-01T01:00:00Z", "is_well": false,
            "regions": [{ "region": "uk", "state": "down", "verdict": "no producer leads",
                "credits": { "left": 400, "run_out_at": "2026-01-02T00:00:00Z", "history": [] } }],
            "problems": [{ "name": "NobodyLeads", "severity": "page", "about": "uk", "text": "no producer leads",
                "since": "2026-01-01T00:59:20Z", "what_to_do": "start one" }],
            "programs": [{ "role": "producer", "instance": "a", "version": "1", "state": "silent", "values": {},
                "since": "2026-01-01T00:00:00Z", "reported_at": "2026-01-01T00:58:00Z", "per_second": {}, "lags": [],
                "troubles": [{ "at": "2026-01-01T00:57:00Z", "level": "error", "text": "no network", "count": 3 }] },
                { "role": "gateway", "instance": "b", "version": "1", "state": "running", "values": {}, "memory": 20500000,
                "since": "2026-01-01T00:00:00Z", "reported_at": "2026-01-01T00:59:58Z", "troubles": [],
                "per_second": { "gateway_frames_total": 90.4, "gateway_sent_bytes_total": 12345 },
                "lags": [{ "of": "gateway_lag{uk}", "records": 7, "since": "2026-01-01T00:59:00Z", "grows": 0.5 }],
                "clients": { "users": 3, "most": [], "slow": [{ "id": "s1", "name": "anna",
                    "since": "2026-01-01T00:59:40Z" }] } }],
            "kafka": { "brokers": [{ "id": 1, "address": "b1:9092", "leads": 4 }, { "id": 2, "address": null, "leads": 0 }],
                "topics": [{ "name": "odds.uk", "exists": true, "without_leader": 0, "out_of_sync": 2,
                    "differences": [{ "what": "partitions", "planned": "2", "found": "3" }] },
                    { "name": "odds.us", "exists": true, "without_leader": 0, "out_of_sync": 0, "differences": [] }] } }"#;
        let status: Status = serde_json::from_str(status).unwrap();
        let expected = "One problem at 2026-01-01T01:00:00Z:\n\n\
            page: NobodyLeads (uk), for 40 s\n    no producer leads\n    What to do: start one.\n\n\
            uk  down   no producer leads  (400 credits, used up 2026-01-02T00:00:00Z)\n\n\
            Kafka: 2 topics\nbroker 1  b1:9092  leads 4 partitions\nbroker 2  DOES NOT ANSWER  leads 0 partitions\n\
            odds.uk  2 partitions out of sync; partitions is 3, planned is 2\n\n\
            producer a  1  SILENT for 2 min\n\
            gateway b  1  running for 1 h  20 MB  3 users, 90 frames and 12 KB a second\n    \
            gateway_lag{uk}: 7 records, for 1 min, and +0.5 a second\n    \
            a client of anna takes nothing, for 20 s (socket s1)\n\n\
            Warnings and errors:\n2026-01-01T00:57:00Z  producer a  error: no network (3 times)\n";
        assert_eq!(status.shown().unwrap(), expected);
    }
}
