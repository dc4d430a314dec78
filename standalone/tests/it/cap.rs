//! The daily cap of the standalone program, which loses its topics when it ends but must keep the cap.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use producers::simulator::{Simulator, SimulatorSettings};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{Running, standalone};

/// Enough for three polls of each of the four regions, and one of a sport that costs less.
const CAP: f64 = 40.0;
const DEADLINE: Duration = Duration::from_secs(90);

struct Standalone {
    _running: Running,
    url: String,
    cookie: String,
}

fn command(upstream: &str, data: &Path) -> Command {
    let mut command = standalone(data);
    command.args(["--listen=127.0.0.1:0", "--source=the-odds-api", "--api-key=k", "--log=error"]);
    command.args(["--credit-share=1".to_owned(), "--poll-speed=600".to_owned(), format!("--api-url={upstream}")]);
    command.arg(format!("--max-credits-per-day={CAP}"));
    command
}

impl Standalone {
    async fn start(upstream: &str, data: &Path) -> Self {
        let mut running = Running(command(upstream, data).stdout(Stdio::piped()).spawn().unwrap());
        let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines().map(Result::unwrap);
        let url = lines.by_ref().find_map(|line| line.strip_prefix("Toteboard is at ").map(str::to_owned)).unwrap();
        let password = lines.find_map(|line| line.rsplit_once(" password ").map(|(_, it)| it.to_owned())).unwrap();
        let account = json!({ "name": "demo", "password": password }).to_string();
        let login = reqwest::Client::new().post(format!("{url}/api/login")).header("origin", &url);
        let login = login.header("content-type", "application/json").body(account).send().await.unwrap();
        let cookie = login.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        Self { _running: running, url, cookie }
    }

    /// Waits until every region reports that the day's credits are used up.
    async fn has_used_all(&self) {
        let end = Instant::now() + DEADLINE;
        loop {
            let request =
                reqwest::Client::new().get(format!("{}/api/regions", self.url)).header("cookie", &self.cookie);
            let feeds: Value = serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
            let is_used_up = |feed: &Value| feed["reason"].as_str().is_some_and(|reason| reason.contains("today"));
            if feeds.as_array().unwrap().iter().all(is_used_up) {
                return;
            }
            assert!(Instant::now() < end, "{feeds}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn upstream() -> String {
    service::install_tls_provider();
    let settings = SimulatorSettings { seed: 3, speed: 1.0, credits: 1e6, requests_per_hour: 1e6, fault_rate: 0.0 };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(Simulator::new(&settings, service::now).serve(listener, std::future::pending()));
    url
}

/// The credits that the simulator has charged so far. This request is free.
async fn charged(upstream: &str) -> f64 {
    let answer = reqwest::get(format!("{upstream}/v4/sports?apiKey=k")).await.unwrap();
    answer.headers()["x-requests-used"].to_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daily_cap_is_for_all_regions_and_kept_across_restarts() {
    let (upstream, data) = (upstream().await, tempfile::tempdir().unwrap());
    let before = Standalone::start(&upstream, data.path()).await;
    before.has_used_all().await;
    let spent = charged(&upstream).await;
    assert!(spent > CAP / 2.0 && spent <= CAP, "{spent} credits were charged, and {CAP} may be spent");
    drop(before);
    let again = Standalone::start(&upstream, data.path()).await;
    again.has_used_all().await;
    let all = charged(&upstream).await;
    assert!(all <= CAP, "{spent} credits were charged at first, and {all} in the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_file_of_spent_credits_is_an_error() {
    let (upstream, data) = (upstream().await, tempfile::tempdir().unwrap());
    std::fs::write(data.path().join("credits-uk.json"), "{").unwrap();
    let mut child = command(&upstream, data.path()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    let mut stderr = child.stderr.take().unwrap();
    // Ends when the program does.
    tokio::task::spawn_blocking(move || stderr.read_to_string(&mut text).map(|_| text))
        .await
        .unwrap()
        .map(|text| assert!(text.contains("credits-uk.json"), "{text}"))
        .unwrap();
    assert!(!child.wait().unwrap().success());
}
