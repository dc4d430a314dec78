//! Imports an exported history into a store: each line and each board is checked before it is written.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal},
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context, ensure};
use clap::Args;
use history::{Append, BadLine, ExportError, ExportReader, RecordedStep, Store};
use odds::{LogPosition, Region};
use tokio::{sync::mpsc, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::Progress;

/// How many steps, and about how many quotes of them, are written at once.
const MOST_STEPS: usize = 200;
const MOST_QUOTES: usize = 20_000;
/// How many batches are read ahead.
const BATCHES_AHEAD: usize = 1;
/// How much is read at once.
const BUFFER: usize = 256 << 10;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Import")]
pub struct ImportSettings {
    /// A file that `historian export --format jsonl` has written. Without it: standard input.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// How an import ended. All its steps are in the store, whether they were there before or not.
#[derive(Debug)]
pub enum Imported {
    Complete {
        region: Region,
        steps: u64,
    },
    /// The rest of the file can't be imported.
    Refused {
        reason: Refusal,
        steps: u64,
    },
    Interrupted {
        steps: u64,
    },
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete { region, steps } => write!(f, "imported: {steps} steps of {region}"),
            Self::Refused { reason, steps } => {
                write!(f, "error: {reason}; the {steps} steps before it are in the store")
            }
            Self::Interrupted { steps } => {
                write!(f, "interrupted after {steps} steps: run the same command again to go on")
            }
        }
    }
}

/// Why the rest of a file can't be imported.
#[derive(Debug)]
pub enum Refusal {
    /// The file is not what an export has written.
    File(ExportError),
    /// The store has another step there: it is the store of another history.
    OtherStep { line: u64, position: LogPosition },
}

impl Refusal {
    /// Whether the file is an export that was damaged or cut off.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::File(ExportError::CutOff { .. }) => true,
            Self::File(ExportError::Line { reason, .. }) => {
                !matches!(reason, BadLine::NotAnExport | BadLine::OtherVersion(_))
            }
            Self::File(ExportError::Io(_)) | Self::OtherStep { .. } => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::OtherStep { line, position: LogPosition { log, seq } } => {
                write!(f, "line {line}: the store has another step at position {seq} of log {log}")
            }
        }
    }
}

/// Steps that are written together, and their lines.
#[derive(Default)]
struct Batch {
    steps: Vec<RecordedStep>,
    lines: Vec<u64>,
    quotes: usize,
}

impl Batch {
    fn push(&mut self, step: RecordedStep, line: u64) {
        let changes = step.difference.iter().flat_map(|difference| &difference.changes);
        self.quotes +=
            changes.chain(step.keyframe.iter().flatten()).map(|change| 1 + change.quotes().len()).sum::<usize>();
        self.steps.push(step);
        self.lines.push(line);
    }

    fn is_full(&self) -> bool {
        self.steps.len() >= MOST_STEPS || self.quotes >= MOST_QUOTES
    }
}

impl ImportSettings {
    /// Imports the file, until `stop` is cancelled.
    pub async fn import(
        &self,
        store: Arc<dyn Store>,
        stop: &CancellationToken,
        progress: Progress,
    ) -> anyhow::Result<Imported> {
        let input: Box<dyn BufRead + Send> = match &self.file {
            Some(path) => {
                let file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
                Box::new(BufReader::with_capacity(BUFFER, file))
            }
            None => {
                ensure!(!io::stdin().is_terminal(), "give a file, or pass an exported history to standard input");
                Box::new(BufReader::with_capacity(BUFFER, io::stdin()))
            }
        };
        import(input, store, stop, progress).await
    }
}

/// Imports what an exported history has.
pub async fn import(
    input: impl BufRead + Send + 'static,
    store: Arc<dyn Store>,
    stop: &CancellationToken,
    mut progress: Progress,
) -> anyhow::Result<Imported> {
    let (send, mut batches) = mpsc::channel(BATCHES_AHEAD);
    // Reading may wait for whoever writes to standard input, for as long as it likes.
    let open = spawn_blocking(|| ExportReader::open(input));
    let reader = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(Imported::Interrupted { steps: 0 }),
        opened = open => opened?,
    };
    let mut steps = 0;
    let reader = match reader {
        Ok(reader) => reader,
        Err(error) => return Ok(Imported::Refused { reason: Refusal::File(error), steps }),
    };
    let region = reader.header().region;
    progress.begin(region, None);
    let mut reading = spawn_blocking(move || read(reader, &send));
    let imported = loop {
        let batch = tokio::select! {
            biased;
            () = stop.cancelled() => break Imported::Interrupted { steps },
            batch = batches.recv() => batch,
        };
        let Batch { steps: read, lines, .. } = match batch {
            Some(Ok(batch)) => batch,
            Some(Err(error)) => break Imported::Refused { reason: Refusal::File(error), steps },
            None => {
                (&mut reading).await?;
                break Imported::Complete { region, steps };
            }
        };
        let Some(at) = read.last().map(|last| last.marker.at) else { continue };
        let read = Arc::<[RecordedStep]>::from(read);
        if store.append(region, read.clone()).await? == Append::Unconnected {
            let (stored, reason) = first_refused(&*store, region, &read, &lines).await?;
            break Imported::Refused { reason, steps: steps + stored };
        }
        steps += read.len() as u64;
        progress.advance(read.len() as u64, at);
    };
    progress.clear();
    Ok(imported)
}

/// Reads batches until the end of the file, or until nobody waits for them.
fn read(mut reader: ExportReader<impl BufRead>, send: &mpsc::Sender<Result<Batch, ExportError>>) {
    loop {
        let (batch, more) = read_batch(&mut reader);
        if send.blocking_send(Ok(batch)).is_err() {
            return;
        }
        match more {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                // Nobody needs the error if the import has ended.
                let _ = send.blocking_send(Err(error));
                return;
            }
        }
    }
}

/// Reads steps until a batch is full. Returns whether there may be more.
fn read_batch(reader: &mut ExportReader<impl BufRead>) -> (Batch, Result<bool, ExportError>) {
    let mut batch = Batch::default();
    while !batch.is_full() {
        match reader.next_step() {
            Ok(Some(step)) => batch.push(step, reader.line()),
            Ok(None) => return (batch, Ok(false)),
            Err(error) => return (batch, Err(error)),
        }
    }
    (batch, Ok(true))
}

/// The number of steps before the first one of a batch that the store refuses, and why it does.
async fn first_refused(
    store: &dyn Store,
    region: Region,
    steps: &[RecordedStep],
    lines: &[u64],
) -> anyhow::Result<(u64, Refusal)> {
    for (stored, (step, line)) in steps.iter().zip(lines).enumerate() {
        if store.append(region, [step.clone()].into()).await? == Append::Unconnected {
            return Ok((stored as u64, Refusal::OtherStep { line: *line, position: step.position }));
        }
    }
    anyhow::bail!("another process writes to the history at the same time: import again");
}
