//! Publishes an exported history as if it happened now: in the place of a producer, with the times of the history moved
//! to the present.

use std::{
    collections::BTreeSet,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use history::{ExportReader, RecordedStep};
use kafka::{KafkaSettings, LeadError, SoleLeader};
use odds::{Board, EventId, Image, Marker, Pending, REPLAYED, Region, SportFreshness, SportKey, Status, Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error_span, info};

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Replay")]
pub(crate) struct ReplaySettings {
    /// Show a history that `historian export --format jsonl` has written, instead of live odds; repeat it for more
    /// regions. It is not recorded again.
    #[arg(long, value_name = "FILE", conflicts_with = "source")]
    pub(crate) replay: Vec<PathBuf>,

    /// How many seconds of the history pass in one.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = speed)]
    pub(crate) replay_speed: f64,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (0.01..=1_000.0).contains(speed));
    speed.ok_or_else(|| "expected a number from 0.01 to 1000".to_owned())
}

/// An exported history that is about to be published.
pub(crate) struct FileReplay {
    file: PathBuf,
    reader: ExportReader<BufReader<File>>,
    speed: f64,
}

impl ReplaySettings {
    /// Opens all files. There must be one for each region.
    pub(crate) fn open(&self) -> anyhow::Result<Vec<FileReplay>> {
        let mut regions = BTreeSet::new();
        let mut replays = Vec::new();
        for file in &self.replay {
            let replay = FileReplay::open(file, self.replay_speed).with_context(|| file.display().to_string())?;
            if !regions.insert(replay.region()) {
                bail!("{}: another file is of the region {}, too", file.display(), replay.region());
            }
            replays.push(replay);
        }
        Ok(replays)
    }
}

impl FileReplay {
    fn open(file: &Path, speed: f64) -> anyhow::Result<Self> {
        let reader = ExportReader::open(BufReader::new(File::open(file)?))?;
        Ok(Self { file: file.to_owned(), reader, speed })
    }

    pub(crate) fn region(&self) -> Region {
        self.reader.header().region
    }

    /// Publishes all steps, and waits for the end of the program.
    pub(crate) async fn run(self, kafka: KafkaSettings, stop: CancellationToken) -> anyhow::Result<()> {
        let span = error_span!("replay", region = %self.region());
        let file = self.file.display().to_string();
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            published = self.publish(kafka).instrument(span) => {
                published.context(file)?;
                stop.cancelled().await;
                Ok(())
            }
        }
    }

    async fn publish(mut self, kafka: KafkaSettings) -> anyhow::Result<()> {
        let mut leader = SoleLeader::start(&kafka, self.region(), service::now(), 0).await?;
        // What happened at this time of the history happens at this time of the present.
        let mut begun: Option<(Timestamp, Instant)> = None;
        while let Some(step) = self.reader.next_step()? {
            let at = step.marker.at;
            // A time of which nothing is recorded is left out.
            let is_after_gap = step.difference.is_none();
            let (from, then) = *begun.insert(begun.filter(|_| !is_after_gap).unwrap_or((at, Instant::now())));
            let passed = at.millis_since(from).max(0) as f64 / 1e3 / self.speed;
            tokio::time::sleep_until(then + Duration::from_secs_f64(passed)).await;
            publish(&mut leader, &step, self.reader.board(), self.speed).await?;
        }
        info!("the replay is over");
        Ok(())
    }
}

/// Publishes a step of the history, after which the board is this.
async fn publish(leader: &mut SoleLeader, step: &RecordedStep, board: &Board, speed: f64) -> Result<(), LeadError> {
    let published = leader.reader().board();
    let mut pending = Pending::default();
    for sport in changed_sports(step, published, board) {
        let events = board.event_ids().filter(|id| sport_of(board, id) == Some(&sport));
        let answer: Vec<(EventId, Image)> =
            events.filter_map(|id| Some((id.clone(), board.image(id, step.marker.at)?))).collect();
        // An answer without any event is accepted the second time.
        pending.poll(published, &sport, answer.clone());
        pending.poll(published, &sport, answer);
    }
    leader.publish(&pending, status(&step.marker, service::now(), speed)).await
}

/// The sports of the events that a step changed, before and after it.
fn changed_sports(step: &RecordedStep, before: &Board, after: &Board) -> BTreeSet<SportKey> {
    let sports = |id: &EventId| [sport_of(before, id).cloned(), sport_of(after, id).cloned()];
    let changed = match &step.difference {
        Some(difference) => difference.changes.iter().flat_map(|change| sports(change.id())).collect::<Vec<_>>(),
        None => before.event_ids().chain(after.event_ids()).flat_map(sports).collect(),
    };
    changed.into_iter().flatten().collect()
}

fn sport_of<'a>(board: &'a Board, id: &EventId) -> Option<&'a SportKey> {
    board.details(id).map(|details| &details.sport_key)
}

/// A marker's status, with its times moved from the time of the step to the present.
fn status(marker: &Marker, now: Timestamp, speed: f64) -> Status {
    let moved = |time: Timestamp| now.plus_millis((time.millis_since(marker.at) as f64 / speed) as i64);
    let fresh = |(sport, it): (&SportKey, &SportFreshness)| {
        let fresh = SportFreshness { polled_at: moved(it.polled_at), stale_after: moved(it.stale_after) };
        (sport.clone(), fresh)
    };
    Status {
        at: now,
        next_by: moved(marker.next_by),
        state: marker.state,
        reason: marker.reason.clone(),
        source: format!("{REPLAYED}{}", marker.source),
        credits: marker.credits,
        sports: marker.sports.iter().map(fresh).collect(),
        bookmakers: marker.bookmakers.iter().map(|(key, time)| (key.clone(), moved(*time))).collect(),
        bookmaker_names: marker.bookmaker_names.clone(),
        spent_today: None,
    }
}
