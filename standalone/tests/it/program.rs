//! How the program starts and ends, its exit codes, and its admin port.

use std::{
    io::{BufRead, BufReader, Lines},
    net::TcpListener,
    path::Path,
    process::{ChildStdout, Command, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{Running, standalone};

const DEADLINE: Duration = Duration::from_secs(60);

struct Standalone {
    running: Running,
    _lines: Lines<BufReader<ChildStdout>>,
    _data: TempDir,
}

impl Standalone {
    /// Starts the program, and returns once it has printed its address.
    fn start(settings: &[String]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut command = command(data.path(), settings);
        let mut running = Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
        let address = lines.find(|line| line.as_ref().unwrap().starts_with("Toteboard is at "));
        assert!(address.is_some(), "it ended before it was ready");
        Self { running, _lines: lines, _data: data }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.running.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            if let Some(status) = self.running.0.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("it did not end within {DEADLINE:?}")
    }
}

fn command(data: &Path, settings: &[String]) -> Command {
    let mut command = standalone(data);
    command.env("TOTEBOARD_LOG", "error").args(settings);
    command
}

/// The output of a program that can't start.
fn output(settings: &[&str]) -> Output {
    let settings: Vec<String> = settings.iter().map(|it| (*it).to_owned()).collect();
    command(tempfile::tempdir().unwrap().path(), &settings).output().unwrap()
}

#[test]
fn it_exits_with_0_when_it_is_asked_to_end() {
    for signal in ["TERM", "INT"] {
        let mut running = Standalone::start(&["--listen=127.0.0.1:0".into()]);
        running.signal(signal);
        assert_eq!(running.exit_code(), Some(0), "SIG{signal}");
    }
}

#[test]
fn it_exits_with_1_and_one_line_when_it_cannot_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (settings, expected) in [
        (vec![format!("--listen={address}")], address.to_string()),
        (vec!["--listen=127.0.0.1:0".to_owned(), format!("--admin={address}")], format!("--admin {address}")),
        (vec!["--listen=127.0.0.1:0".to_owned(), "--log=a=b=c".to_owned()], "--log".to_owned()),
    ] {
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let Output { status, stderr, .. } = output(&settings);
        let stderr = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(1), "{settings:?}: {stderr}");
        let last = stderr.lines().last().unwrap();
        assert!(last.starts_with("error: ") && last.contains(&expected), "{settings:?}: {stderr}");
    }
}

#[test]
fn it_exits_with_2_when_a_setting_makes_no_sense() {
    for setting in ["--no-such-setting", "--max-filters=0", "--credits=-1"] {
        let Output { status, stderr, .. } = output(&[setting]);
        let stderr = String::from_utf8(stderr).unwrap();
        let name = setting.split('=').next().unwrap();
        assert!(status.code() == Some(2) && stderr.contains(name), "{setting}: {status}: {stderr}");
    }
}

#[tokio::test]
async fn the_admin_port_serves_health_and_metrics() {
    service::install_tls_provider();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _running = Standalone::start(&["--listen=127.0.0.1:0".into(), format!("--admin={free}")]);
    let health = reqwest::get(format!("http://{free}/healthz")).await.unwrap();
    assert_eq!((health.status().as_u16(), health.text().await.unwrap().as_str()), (200, "ok\n"));
    let metrics = reqwest::get(format!("http://{free}/metrics")).await.unwrap();
    let kind = metrics.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    let text = metrics.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    for of in ["toteboard_gateway_board_events{region=\"uk\"}", "toteboard_producer_leading{region=\"uk\"}"] {
        assert!(text.lines().any(|line| line.starts_with(of)), "{of} is not in {text}");
    }
    assert_eq!(reqwest::get(format!("http://{free}/api/site")).await.unwrap().status(), 404, "it has no API");
}
