//! The daily limit on credits holds while producers are killed and restarted.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use kafka::{ConsumerMode, Embedded, KafkaSettings, RegionFollower, Steps, all_topics};
use odds::SIMULATOR;
use odds::{DaySpending, Region, Term};
use producers::simulator::{Simulator, SimulatorSettings};
use tokio::{net::TcpListener, time::Instant};

const REGION: Region = Region::Uk;
/// Pays for four polls. The simulator has more sports than that.
const CAP: f64 = 12.0;
const DEADLINE: Duration = Duration::from_secs(60);
/// Longer than the simulator needs for a request that it has.
const A_WHILE: Duration = Duration::from_millis(500);

/// A producer's process, which is killed on drop, as by a power cut.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn producer(kafka: &KafkaSettings, upstream: &str) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_producer"));
    command.args([format!("--region={REGION}"), format!("--brokers={}", kafka.brokers)]);
    command.args(kafka.properties.iter().map(|property| format!("--kafka={property}")));
    command.args(["--source=simulator".to_owned(), format!("--simulator-url={upstream}")]);
    command.args(["--credit-share=1", "--poll-speed=600", "--log=error"]);
    command.arg(format!("--max-credits-per-day={CAP}"));
    Process(command.stdin(Stdio::null()).spawn().unwrap())
}

/// Returns the credits that the simulator has charged so far. This request is free.
async fn charged(upstream: &str) -> f64 {
    let answer = reqwest::get(format!("{upstream}/v4/sports?apiKey=simulator")).await.unwrap();
    answer.headers()["x-requests-used"].to_str().unwrap().parse().unwrap()
}

/// Reads until a leader of a greater term reports that the day's credits are used up. Returns its term.
async fn used_up(follower: &mut RegionFollower, above: Term) -> Term {
    let is_used_up = |follower: &RegionFollower| {
        let reason = follower.reader().marker().and_then(|marker| marker.reason.clone());
        follower.reader().applied().term > above && reason.is_some_and(|reason| reason.contains("today"))
    };
    let waiting = async {
        while !is_used_up(follower) {
            follower.next().await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("{:?}", follower.reader().marker()));
    follower.reader().applied().term
}

fn spent_today(follower: &RegionFollower) -> DaySpending {
    follower.reader().marker().unwrap().spent_today.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daily_cap_is_kept_by_programs_that_are_killed_and_take_turns() {
    service::install_tls_provider();
    let cluster = Embedded::start(&all_topics()).unwrap();
    let settings = SimulatorSettings { seed: 3, speed: 1.0, credits: 1e6, requests_per_hour: 1e6, fault_rate: 0.0 };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(Simulator::new(&settings, service::now).serve(listener, std::future::pending()));
    let kafka = cluster.settings();
    let mut follower = RegionFollower::new(kafka.clone(), REGION, ConsumerMode::Alone, Steps::Newest);

    let first = producer(&kafka, &upstream);
    let end = Instant::now() + DEADLINE;
    while charged(&upstream).await <= 0.0 {
        assert!(Instant::now() < end, "nothing is polled");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // Kill the first producer between its polls, while a stand-by runs.
    let second = producer(&kafka, &upstream);
    drop(first);
    let term = used_up(&mut follower, Term::new(0, 0)).await;
    // The last poll is on the topic before it is made: it may be under way.
    drop(second);
    tokio::time::sleep(A_WHILE).await;
    let spent = charged(&upstream).await;
    assert!(spent <= CAP, "{spent} credits were charged, and {CAP} may be spent");

    // A producer that starts after the day's credits are used up spends nothing.
    let third = producer(&kafka, &upstream);
    used_up(&mut follower, term).await;
    let day = spent_today(&follower);
    assert_eq!(charged(&upstream).await, spent, "nothing more is spent");
    let source = format!("{SIMULATOR}:600");
    assert!(day.credits[&source] >= spent && day.credits[&source] <= CAP, "{day:?}, {spent} charged");
    drop(third);
}
