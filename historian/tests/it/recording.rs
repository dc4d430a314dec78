//! What is recorded.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use historian::{Historian, Metrics};
use history::{HistoryError, Moment, RecordedBoard, SqliteStore, Store};
use kafka::{Embedded, all_topics};
use odds::{Digest, Region, StepId};
use rand::{SeedableRng, rngs::StdRng};
use service::MetricRegistry;
use tempfile::TempDir;
use testkit::author::{Author, draw_board, draw_changes};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::stubborn::Stubborn;

const REGION: Region = Region::Uk;
const EVENTS: u32 = 20;
const DEADLINE: Duration = Duration::from_secs(60);

struct Scene {
    cluster: Embedded,
    random: StdRng,
    author: Author,
    /// Every step that was written, and the digest of its board.
    steps: Vec<(StepId, Digest)>,
    store: Arc<Stubborn>,
    _folder: TempDir,
}

struct Running {
    stop: CancellationToken,
    ended: JoinHandle<anyhow::Result<()>>,
    metrics: MetricRegistry,
}

impl Scene {
    async fn set() -> Self {
        let cluster = Embedded::start(&all_topics()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("history.db")).unwrap();
        let author = Author::start(&cluster.settings(), REGION).await;
        let random = StdRng::seed_from_u64(5);
        let store = Stubborn::before(Arc::new(store));
        let mut scene = Self { cluster, random, author, steps: Vec::new(), store, _folder: folder };
        let board = draw_board(&mut scene.random, EVENTS);
        let first = scene.author.step(board).await;
        scene.steps.push((first, scene.author.board().digest()));
        scene
    }

    async fn write(&mut self, count: usize) {
        for _ in 0..count {
            let step = self.author.step(draw_changes(&mut self.random, EVENTS)).await;
            self.steps.push((step, self.author.board().digest()));
        }
    }

    fn historian(&self) -> Running {
        let mut metrics = MetricRegistry::default();
        let of_region = Metrics::new(&mut metrics, REGION);
        let kafka = self.cluster.settings();
        let historian = Historian::new(REGION, kafka, self.store.clone(), service::now, of_region);
        let stop = CancellationToken::new();
        Running { ended: tokio::spawn(historian.run(stop.clone())), stop, metrics }
    }

    async fn board(&self, (step, _): (StepId, Digest)) -> Result<RecordedBoard, HistoryError> {
        self.store.board_at(REGION, Moment::Step(step)).await
    }

    /// Waits until the newest step is recorded.
    async fn is_recorded(&self) {
        let end = Instant::now() + DEADLINE;
        while self.board(*self.steps.last().unwrap()).await.is_err() {
            assert!(Instant::now() < end, "the newest step is not recorded");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asserts that all steps are recorded, with their digests, one right after the other.
    async fn is_complete(&self) {
        let mut last: Option<RecordedBoard> = None;
        for step in &self.steps {
            let board = self.board(*step).await.unwrap_or_else(|error| panic!("step {}: {error}", step.0));
            assert_eq!(board.board.digest(), step.1);
            if let Some(last) = last {
                assert!(board.position.follows(last.position));
                assert_eq!(last.until, Some(board.marker.at), "there is no gap");
            }
            last = Some(board);
        }
    }
}

impl Running {
    async fn stops(self) {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.ended).await.unwrap().unwrap().unwrap();
    }

    fn metric(&self, name: &str) -> f64 {
        let name = format!("toteboard_historian_{name}{{region=\"uk\"}} ");
        let text = self.metrics.encode();
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_is_recorded_those_before_the_start_included() {
    let mut scene = Scene::set().await;
    scene.write(10).await;
    let historian = scene.historian();
    scene.is_recorded().await;
    scene.author.new_term().await;
    scene.write(10).await;
    scene.is_recorded().await;
    assert_eq!((historian.metric("leading"), historian.metric("gaps_total")), (1.0, 1.0), "the first is after a gap");
    historian.stops().await;
    scene.is_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_historian_leaves_no_gap() {
    let mut scene = Scene::set().await;
    for _ in 0..3 {
        let historian = scene.historian();
        scene.is_recorded().await;
        scene.write(5).await;
        historian.ended.abort();
        scene.write(5).await;
    }
    let historian = scene.historian();
    scene.is_recorded().await;
    historian.stops().await;
    scene.is_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_for_a_while_misses_nothing() {
    let mut scene = Scene::set().await;
    let historian = scene.historian();
    scene.is_recorded().await;
    for failing in [&scene.store.clone().refuses, &scene.store.clone().loses_answers] {
        failing.store(true, Ordering::Relaxed);
        let before = scene.store.failures.load(Ordering::Relaxed);
        scene.write(10).await;
        let end = Instant::now() + DEADLINE;
        while scene.store.failures.load(Ordering::Relaxed) < before + 2 {
            assert!(Instant::now() < end, "it is not tried again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(historian.metric("store_available"), 0.0);
        failing.store(false, Ordering::Relaxed);
        scene.is_recorded().await;
    }
    historian.stops().await;
    scene.is_complete().await;
}

/// As long as the store is away, a bounded number of steps waits in memory; the others wait on the topic.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_for_long_costs_bounded_memory_and_misses_nothing() {
    const MOST_WAITING: f64 = 1_000.0;
    let mut scene = Scene::set().await;
    let historian = scene.historian();
    scene.is_recorded().await;
    scene.store.refuses.store(true, Ordering::Relaxed);
    for _ in 0..1_400 {
        scene.author.step(draw_changes(&mut scene.random, 1)).await;
        scene.steps.push((scene.author.last_step(), scene.author.board().digest()));
        assert!(historian.metric("waiting_steps") <= MOST_WAITING);
    }
    scene.store.refuses.store(false, Ordering::Relaxed);
    scene.is_recorded().await;
    historian.stops().await;
    scene.is_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_gets_larger_batches() {
    let mut scene = Scene::set().await;
    let historian = scene.historian();
    scene.is_recorded().await;
    let (batches, steps) = (historian.metric("batches_total"), historian.metric("steps_total"));
    *scene.store.takes.lock().unwrap() = Duration::from_millis(500);
    scene.write(60).await;
    scene.is_recorded().await;
    let (batches, steps) = (historian.metric("batches_total") - batches, historian.metric("steps_total") - steps);
    assert!(steps == 60.0 && batches < 30.0, "{steps} steps in {batches} batches");
    assert!(historian.metric("quotes_total") > 60.0);
    historian.stops().await;
    scene.is_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_historians_that_both_write_duplicate_nothing() {
    let mut scene = Scene::set().await;
    let first = scene.historian();
    scene.is_recorded().await;
    // Stands by until the first has ended.
    let second = scene.historian();
    scene.write(10).await;
    first.stops().await;
    scene.write(10).await;
    scene.is_recorded().await;
    second.stops().await;
    scene.is_complete().await;
}
