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
}

#[derive(Debug, Deserialize)]
struct RegionStatus {
    region: String,
    state: String,
    verdict: String,
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
    troubles: Vec<Trouble>,
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
        for RegionStatus { region, state, verdict } in &self.regions {
            writeln!(text, "{region}  {state:5}  {verdict}")?;
        }
        writeln!(text)?;
        for program in &self.programs {
            let Program { role, instance, version, state, since, reported_at, .. } = program;
            let state = match state.as_str() {
                "running" => format!("running for {}", lasting(*since, self.at)),
                other => format!("{} for {}", other.to_uppercase(), lasting(*reported_at, self.at)),
            };
            writeln!(text, "{role} {instance}  {version}  {state}")?;
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
            "regions": [{ "region": "uk", "state": "down", "verdict": "no producer leads" }],
            "problems": [{ "name": "NobodyLeads", "severity": "page", "about": "uk", "text": "no producer leads",
                "since": "2026-01-01T00:59:20Z", "what_to_do": "start one" }],
            "programs": [{ "role": "producer", "instance": "a", "version": "1", "state": "silent", "values": {},
                "since": "2026-01-01T00:00:00Z", "reported_at": "2026-01-01T00:58:00Z",
                "troubles": [{ "at": "2026-01-01T00:57:00Z", "level": "error", "text": "no network", "count": 3 }] }] }"#;
        let status: Status = serde_json::from_str(status).unwrap();
        let expected = "One problem at 2026-01-01T01:00:00Z:\n\n\
            page: NobodyLeads (uk), for 40 s\n    no producer leads\n    What to do: start one.\n\n\
            uk  down   no producer leads\n\n\
            producer a  1  SILENT for 2 min\n\n\
            Warnings and errors:\n2026-01-01T00:57:00Z  producer a  error: no network (3 times)\n";
        assert_eq!(status.shown().unwrap(), expected);
    }
}
