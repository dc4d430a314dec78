//! An exported history that is shown instead of live odds.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use history::{ExportHeader, ExportWriter, Moment, Playback, Played, Recorder, StoreUrl};
use odds::{Digest, Region, Timestamp};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::Value;
use testkit::region;

use crate::{Running, standalone};

const REGION: Region = Region::Uk;
const EVENTS: u32 = 8;
const STEPS: usize = 40;
const DEADLINE: Duration = Duration::from_secs(60);

/// Writes a file with the steps of a minute. Returns the digest of the last board.
async fn export(folder: &Path, file: &Path) -> Digest {
    let begin: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    let store = StoreUrl::Sqlite(folder.join("history.db")).open().await.unwrap();
    let (mut topic, mut recorder) = (region::Region::new(begin), Recorder::default());
    let mut random = StdRng::seed_from_u64(11);
    let mut steps = Vec::new();
    for _ in 0..STEPS {
        topic.wait(1_500);
        topic.step(&mut random, EVENTS);
        steps.push(recorder.record(&topic.reader).unwrap());
    }
    store.append(REGION, steps.into()).await.unwrap();
    let (mut playback, _) = Playback::start(store, REGION, Moment::At(begin), None).await.unwrap();
    let header = ExportHeader { region: REGION, from: None, to: None };
    let mut writer = ExportWriter::begin(File::create(file).unwrap(), header).unwrap();
    writer.board(&playback).unwrap();
    while playback.next().await.unwrap() == Played::Step {
        writer.step(&playback).unwrap();
    }
    writer.end().unwrap();
    playback.marker().digest
}

#[tokio::test]
async fn an_exported_history_is_shown_to_its_end() {
    service::install_tls_provider();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("uk.jsonl");
    let last = export(folder.path(), &file).await;
    let mut command = standalone(&folder.path().join("data"));
    command.arg("--replay").arg(&file).args(["--replay-speed=20", "--listen=127.0.0.1:0", "--log=warn"]);
    let mut running = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let url = lines.find_map(|line| line.strip_prefix("Toteboard is at ").map(str::to_owned)).unwrap();
    let password = lines.find_map(|line| line.rsplit_once(" with the password ").map(|(_, word)| word.to_owned()));
    let http = reqwest::Client::new();
    let body = serde_json::json!({ "name": "demo", "password": password.unwrap() });
    let login = http.post(format!("{url}/api/login")).header("origin", &url).json(&body).send().await.unwrap();
    let cookie = login.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let get = async |path: &str| -> Value {
        let answer = http.get(format!("{url}{path}")).header("cookie", &cookie).send().await.unwrap();
        answer.json().await.unwrap()
    };
    let end = Instant::now() + DEADLINE;
    while !get("/api/odds/uk").await["cursor"].as_str().is_some_and(|cursor| cursor.ends_with(&last.to_string())) {
        assert!(Instant::now() < end, "the last board of the file is not shown");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let feeds = get("/api/regions").await;
    let of_uk = feeds.as_array().unwrap().iter().find(|feed| feed["region"] == "uk").unwrap().clone();
    assert_eq!(of_uk["source"], "replay:test");
    // It is not recorded.
    let recorded = get(&format!("/api/history/board/uk?at={}", service::now())).await;
    assert_eq!(recorded["error"]["code"], "not_recorded");
}

#[test]
fn what_can_not_be_replayed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("not.jsonl");
    std::fs::write(&file, "{}\n").unwrap();
    let missing = folder.path().join("missing.jsonl");
    for (file, expected) in [(&file, "this is not an exported history"), (&missing, "No such file")] {
        let output = standalone(folder.path()).arg("--replay").arg(file).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let last = stderr.lines().last().unwrap();
        assert!(last.contains(&file.display().to_string()) && last.contains(expected), "{stderr}");
    }
}
