//! Exports what was recorded: every step for another store, or every changed price as rows for analysts.

mod csv;
mod jsonl;
mod parquet;
mod rows;
mod target;

use std::{fmt, ops::ControlFlow, path::PathBuf, sync::Arc};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use history::{Gap, HistoryError, Moment, Playback, Played, Store};
use odds::{Region, StepId, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::{Progress, recorded_range::recorded_range};

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Export")]
pub struct ExportSettings {
    /// The region to export.
    #[arg(long, value_name = "us|uk|eu|au")]
    pub region: Region,

    /// Begin with the board as it was at this time, such as 2026-11-21T12:00:00Z. Without it: with the first one.
    #[arg(long, value_name = "TIME")]
    pub from: Option<Timestamp>,

    /// The time of the last step. Without it: the newest recorded step.
    #[arg(long, value_name = "TIME")]
    pub to: Option<Timestamp>,

    /// jsonl has everything and can be imported. csv and parquet have a row for each changed price.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: ExportFormat,

    /// The file to write. An export that was interrupted goes on where it stopped, except with parquet. Without it:
    /// standard output.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    Jsonl,
    Csv,
    Parquet,
}

/// A format of a file: it gets what a playback goes through.
trait Format: Send {
    /// The first board, or the first one after a gap.
    fn board(&mut self, playback: &Playback) -> anyhow::Result<()>;

    /// The board at which the file has ended so far. Fails if the file ends at another one.
    fn go_on(&mut self, playback: &Playback) -> anyhow::Result<()>;

    /// The step to which the playback has gone on.
    fn step(&mut self, playback: &Playback) -> anyhow::Result<()>;

    /// A time of which nothing is recorded. A board follows, or the end.
    fn gap(&mut self, gap: Gap) -> anyhow::Result<()>;

    /// Completes the file.
    fn end(&mut self) -> anyhow::Result<()>;

    /// Writes what is buffered of a file that is not complete.
    fn pause(&mut self) -> anyhow::Result<()>;
}

/// Where an export begins.
#[derive(Clone, Copy, Debug)]
enum Start {
    Anew,
    /// After the step of this moment.
    After(Moment),
}

/// How an export ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exported {
    Complete {
        steps: u64,
    },
    /// The board of a step can't be rebuilt. All steps before it are exported.
    Damaged {
        step: Option<StepId>,
        /// The next time at which a board can be rebuilt.
        until: Option<Timestamp>,
    },
    /// All steps up to a time are exported.
    Interrupted {
        at: Timestamp,
        go_on: GoOn,
    },
}

/// How to go on after an interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoOn {
    InTheFile,
    InAnotherFile,
}

impl fmt::Display for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete { steps } => write!(f, "exported: {steps} steps"),
            Self::Damaged { step, until } => {
                match step {
                    Some(step) => write!(f, "stopped before the damaged step {step}")?,
                    None => write!(f, "stopped before a damaged step")?,
                }
                match until {
                    Some(until) => write!(f, ": to export what comes behind it to another file, add --from {until}"),
                    None => write!(f, ": nothing behind it can be exported"),
                }
            }
            Self::Interrupted { at, go_on: GoOn::InTheFile } => {
                write!(f, "interrupted at {at}: run the same command again to go on")
            }
            Self::Interrupted { at, go_on: GoOn::InAnotherFile } => {
                write!(f, "interrupted at {at}: to go on with another file, add --from {at}")
            }
        }
    }
}

impl ExportSettings {
    /// Exports until `stop` is cancelled.
    pub async fn export(
        &self,
        store: Arc<dyn Store>,
        stop: &CancellationToken,
        mut progress: Progress,
    ) -> anyhow::Result<Exported> {
        ensure!(self.from.is_none_or(|from| self.to.is_none_or(|to| from <= to)), "--to is before --from");
        progress.begin(self.region, recorded_range(&*store, self.region, self.from, self.to).await?);
        let (start, mut format) = match self.format {
            ExportFormat::Jsonl => jsonl::open(self)?,
            ExportFormat::Csv => csv::open(self, store.clone()).await?,
            ExportFormat::Parquet => parquet::open(self)?,
        };
        let exported = self.play(store, start, &mut *format, stop, &mut progress).await;
        progress.clear();
        let paused = match exported {
            Ok(Exported::Complete { .. }) => Ok(()),
            Ok(_) | Err(_) => format.pause(),
        };
        exported.and_then(|exported| paused.map(|()| exported))
    }

    fn first(&self) -> Moment {
        Moment::At(self.from.unwrap_or(Timestamp::from_millis(i64::MIN)))
    }

    async fn play(
        &self,
        store: Arc<dyn Store>,
        start: Start,
        format: &mut dyn Format,
        stop: &CancellationToken,
        progress: &mut Progress,
    ) -> anyhow::Result<Exported> {
        let mut playback = match self.start(&store, start, format).await? {
            ControlFlow::Continue(playback) => playback,
            ControlFlow::Break(exported) => return Ok(exported),
        };
        let mut steps = u64::from(matches!(start, Start::Anew));
        loop {
            let at = playback.marker().at;
            if stop.is_cancelled() {
                let goes_on = self.output.is_some() && self.format != ExportFormat::Parquet;
                let go_on = if goes_on { GoOn::InTheFile } else { GoOn::InAnotherFile };
                return Ok(Exported::Interrupted { at, go_on });
            }
            match playback.next().await {
                Ok(Played::Step) => format.step(&playback)?,
                Ok(played @ Played::AfterGap(_)) => begin(format, &playback, played)?,
                Ok(Played::End(next)) => {
                    if let Some(until) = next {
                        format.gap(Gap { from: Some(at), until })?;
                    }
                    format.end()?;
                    return Ok(Exported::Complete { steps });
                }
                Err(error) => return self.stopped(&*store, error, Some(at)).await,
            }
            steps += 1;
            progress.advance(1, playback.marker().at);
        }
    }

    /// Finds the first board, or the one at which the file has ended so far. Breaks if there is none.
    async fn start(
        &self,
        store: &Arc<dyn Store>,
        start: Start,
        format: &mut dyn Format,
    ) -> anyhow::Result<ControlFlow<Exported, Playback>> {
        let moment = match start {
            Start::Anew => self.first(),
            Start::After(moment) => moment,
        };
        let started = Playback::start(store.clone(), self.region, moment, self.to).await;
        match (started, start) {
            (Ok((playback, played)), Start::Anew) => {
                begin(format, &playback, played)?;
                Ok(ControlFlow::Continue(playback))
            }
            (Ok((playback, _)), Start::After(_)) => {
                format.go_on(&playback)?;
                Ok(ControlFlow::Continue(playback))
            }
            (Err(HistoryError::NotRecorded { from, until }), Start::Anew) => {
                if let Some(until) = until {
                    format.gap(Gap { from, until })?;
                }
                format.end()?;
                Ok(ControlFlow::Break(Exported::Complete { steps: 0 }))
            }
            (Err(error @ HistoryError::NotRecorded { .. }), Start::After(_)) => {
                Err(error).context("the last step in the file is not in the history: export to another file")
            }
            (Err(error), _) => self.stopped(&**store, error, self.from).await.map(ControlFlow::Break),
        }
    }

    /// A board after a time can't be read.
    async fn stopped(
        &self,
        store: &dyn Store,
        error: HistoryError,
        after: Option<Timestamp>,
    ) -> anyhow::Result<Exported> {
        let step = match error {
            HistoryError::Damaged(step) => Some(step),
            HistoryError::DamagedRow => None,
            error => return Err(error).context("the history can't be read: run the same command again to go on"),
        };
        let mut after = after.unwrap_or(Timestamp::from_millis(i64::MIN));
        while let Some((at, keyframe)) = store.next_keyframe(self.region, after).await? {
            if self.to.is_some_and(|to| at > to) {
                break;
            }
            if store.board_at(self.region, Moment::Step(keyframe)).await.is_ok() {
                return Ok(Exported::Damaged { step, until: Some(at) });
            }
            after = at;
        }
        Ok(Exported::Damaged { step, until: None })
    }
}

/// Begins with a board, after the gap before it.
fn begin(format: &mut dyn Format, playback: &Playback, played: Played) -> anyhow::Result<()> {
    if let Played::AfterGap(from) = played {
        format.gap(Gap { from, until: playback.marker().at })?;
    }
    format.board(playback)
}
