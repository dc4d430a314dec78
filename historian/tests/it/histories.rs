//! Random histories, and how two stores that should have the same one are compared.

use std::{path::Path, sync::Arc};

use historian::{ExportFormat, ExportSettings, Exported, Progress};
use history::{HistoryError, Moment, Playback, Played, RecordedBoard, RecordedStep, Recorder, SqliteStore, Store};
use odds::{Change, LogPosition, Marker, StepId, Timestamp};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use testkit::region::Region;
use tokio_util::sync::CancellationToken;

pub const REGION: odds::Region = odds::Region::Uk;
const EVENTS: u32 = 5;

/// A store in a folder of its own.
pub struct Scene {
    pub folder: TempDir,
    pub store: Arc<dyn Store>,
}

impl Scene {
    pub fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("history.db")).unwrap());
        Self { folder, store }
    }

    /// A history with gaps, clocks that go back, new terms and topics that are created again.
    pub async fn random(seed: u64, steps: u32) -> Self {
        let scene = Self::empty();
        let mut random = StdRng::seed_from_u64(seed);
        let mut topic = Region::new(noon().plus_millis(random.random_range(0..86_400_000)));
        let mut recorder = Recorder::default();
        let mut waiting = Vec::new();
        for n in 0..steps {
            topic.wait(match random.random_range(0..20) {
                0 => random.random_range(0..30_000_000),
                1 => -500,
                _ => random.random_range(0..3_000),
            });
            match random.random_range(0..30) {
                0 => topic.new_term(n),
                1 => {
                    topic.recreate_topic(n);
                    recorder.restart();
                }
                // The historian did not see the step before.
                2 => recorder.restart(),
                _ => {}
            }
            topic.step(&mut random, EVENTS);
            match random.random_range(0..20) {
                // Nor this one.
                0 => recorder.restart(),
                _ => waiting.extend(recorder.record(&topic.reader)),
            }
        }
        let waiting = Arc::<[RecordedStep]>::from(waiting);
        scene.store.append(REGION, waiting).await.unwrap();
        scene
    }

    /// A history without gaps, with a step each minute.
    pub async fn regular(seed: u64, steps: u32) -> Self {
        Self::forked(seed, steps, None).await
    }

    /// Like [`Self::regular`], but another leader took over at a step.
    pub async fn forked(seed: u64, steps: u32, fork: Option<(u32, u32)>) -> Self {
        let scene = Self::empty();
        let mut random = StdRng::seed_from_u64(seed);
        let (mut topic, mut recorder) = (Region::new(noon()), Recorder::default());
        let mut recorded = Vec::new();
        for n in 0..steps {
            topic.wait(60_000);
            if let Some((_, tie)) = fork.filter(|(at, _)| *at == n) {
                topic.new_term(tie);
            }
            topic.step(&mut random, EVENTS);
            recorded.push(recorder.record(&topic.reader).unwrap());
        }
        scene.store.append(REGION, recorded.into()).await.unwrap();
        scene
    }

    /// Every step in order, as a playback goes through them. A gap is before those of which this is true.
    pub async fn steps(&self) -> Vec<(Timestamp, StepId, bool)> {
        let first = Moment::At(Timestamp::from_millis(i64::MIN));
        let (mut playback, mut played) = Playback::start(self.store.clone(), REGION, first, None).await.unwrap();
        let mut steps = Vec::new();
        while !matches!(played, Played::End(_)) {
            steps.push((playback.marker().at, playback.step(), matches!(played, Played::AfterGap(_))));
            played = playback.next().await.unwrap();
        }
        steps
    }

    /// The times of the steps before the first damaged one.
    pub async fn steps_until_damage(&self) -> Vec<Timestamp> {
        let first = Moment::At(Timestamp::from_millis(i64::MIN));
        let (mut playback, _) = Playback::start(self.store.clone(), REGION, first, None).await.unwrap();
        let mut steps = vec![playback.marker().at];
        while playback.next().await.is_ok() {
            steps.push(playback.marker().at);
        }
        steps
    }

    pub async fn export(&self, settings: &ExportSettings) -> anyhow::Result<Exported> {
        settings.export(self.store.clone(), &CancellationToken::new(), Progress::hidden()).await
    }

    /// All of it, as a file.
    pub async fn exported(&self, format: ExportFormat) -> Vec<u8> {
        let settings = everything(format, &self.folder.path().join("exported"));
        let _ = std::fs::remove_file(settings.output.as_ref().unwrap());
        assert!(matches!(self.export(&settings).await.unwrap(), Exported::Complete { .. }));
        std::fs::read(settings.output.unwrap()).unwrap()
    }
}

pub fn noon() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

pub fn everything(format: ExportFormat, output: &Path) -> ExportSettings {
    ExportSettings { region: REGION, from: None, to: None, format, output: Some(output.to_owned()) }
}

type Found = Result<(LogPosition, StepId, Marker, Vec<Change>, Option<Timestamp>), HistoryError>;

async fn board(store: &dyn Store, moment: Moment) -> Found {
    let RecordedBoard { position, id, marker, board, until, .. } = store.board_at(REGION, moment).await?;
    Ok((position, id, marker, board.content(), until))
}

/// Asserts that two stores have the same boards and the same gaps: by step, by time, and one after the other.
pub async fn are_equal(one: &Scene, other: &Scene, random: &mut StdRng) {
    let steps = one.steps().await;
    assert_eq!(other.steps().await, steps);
    let (begin, end) = (steps[0].0, steps[steps.len() - 1].0);
    let span = end.millis_since(begin);
    let mut instants: Vec<Timestamp> =
        (0..200).map(|_| begin.plus_millis(random.random_range(-10_000..span + 10_000))).collect();
    for (at, id, _) in steps {
        let (left, right) = (board(&*one.store, Moment::Step(id)).await, board(&*other.store, Moment::Step(id)).await);
        let (left, right) = (left.unwrap(), right.unwrap());
        assert_eq!((left.0, left.1, left.2, left.3), (right.0, right.1, right.2, right.3));
        instants.extend([-1, 0, 1].map(|millis| at.plus_millis(millis)));
    }
    for at in instants {
        assert_eq!(board(&*one.store, Moment::At(at)).await, board(&*other.store, Moment::At(at)).await, "at {at}");
    }
    assert_eq!(one.store.last_step(REGION).await, other.store.last_step(REGION).await);
}
