//! Reads a gateway's history over HTTP.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use odds::Timestamp;
use rand::RngExt;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use trials::race::{Server, quantile};

use crate::REGION;

/// Gets paths of a gateway's history.
#[derive(Clone)]
pub struct Reader {
    client: reqwest::Client,
    address: String,
    token: String,
}

/// How long an answer took, and its bytes.
pub type Answer = (Duration, usize);

impl Reader {
    pub fn new(server: &Server) -> Self {
        let token = server.auth(&[])["token"].as_str().unwrap_or_default().to_owned();
        Self { client: reqwest::Client::new(), address: server.address().to_owned(), token }
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        let begun = Instant::now();
        let length = self.text(path).await?.len();
        Ok((begun.elapsed(), length))
    }

    pub async fn text(&self, path: &str) -> anyhow::Result<String> {
        let request = self.client.get(format!("http://{}/api/history/{path}", self.address)).bearer_auth(&self.token);
        Ok(request.send().await?.error_for_status()?.text().await?)
    }
}

/// In milliseconds.
pub fn p99(answers: &[Answer]) -> f64 {
    quantile_of(answers, 0.99)
}

/// In milliseconds.
pub fn median(answers: &[Answer]) -> f64 {
    quantile_of(answers, 0.5)
}

fn quantile_of(answers: &[Answer], which: f64) -> f64 {
    let mut times: Vec<u64> = answers.iter().map(|(time, _)| time.as_micros() as u64).collect();
    times.sort_unstable();
    quantile(&times, which)
}

/// The mean, in kilobytes.
pub fn size(answers: &[Answer]) -> usize {
    answers.iter().map(|(_, bytes)| bytes).sum::<usize>() / answers.len().max(1) / 1_000
}

/// The path of a region's board at a random instant between two times.
pub fn board_path(from: Timestamp, to: Timestamp) -> String {
    let at = from.plus_millis(rand::rng().random_range(0..to.millis_since(from)));
    format!("board/{REGION}?at={at}")
}

/// Many readers in the background. Each asks for something once a second, or as often as it gets answers, whichever is
/// less: in turns the chart, and a board at a random instant.
pub struct Crowd {
    tasks: JoinSet<anyhow::Result<()>>,
    answers: Arc<AtomicUsize>,
}

const PAUSE: Duration = Duration::from_secs(1);

impl Crowd {
    pub fn start(reader: &Reader, readers: u32, chart: &str, (from, to): (Timestamp, Timestamp)) -> Self {
        let (mut tasks, answers) = (JoinSet::new(), Arc::<AtomicUsize>::default());
        for n in 0..readers {
            // Connections of its own.
            let (reader, chart, answers) =
                (Reader { client: reqwest::Client::new(), ..reader.clone() }, chart.to_owned(), answers.clone());
            tasks.spawn(async move {
                let mut pace = tokio::time::interval_at(Instant::now() + PAUSE * n / readers, PAUSE);
                pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let mut is_chart = n.is_multiple_of(2);
                loop {
                    pace.tick().await;
                    let path = if is_chart { chart.clone() } else { board_path(from, to) };
                    reader.get(&path).await?;
                    answers.fetch_add(1, Ordering::Relaxed);
                    is_chart = !is_chart;
                }
            });
        }
        Self { tasks, answers }
    }

    /// How many answers there were so far.
    pub fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    /// Ends all readers. Fails if one of them has failed.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(ended) = self.tasks.try_join_next() {
            ended??;
        }
        self.tasks.shutdown().await;
        Ok(())
    }
}
