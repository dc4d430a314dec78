//! Rows as CSV (RFC 4180), and where to go on in a file that was cut off.

use std::{
    io::{BufReader, Read, Write},
    sync::Arc,
};

use anyhow::{Context, bail, ensure};
use csv::{ReaderBuilder, StringRecord, Terminator, WriterBuilder};
use history::{HistoryError, Moment, Playback, Store};
use odds::{FeedState, Timestamp};

use super::{
    ExportSettings, Format, Start, begin,
    rows::{Row, RowWriter, Rows},
    target::{ExportFile, standard_output},
};

const COLUMNS: [&str; 20] = [
    "time",
    "until",
    "kind",
    "region",
    "log",
    "seq",
    "feed",
    "event",
    "sport",
    "start",
    "home",
    "away",
    "bookmaker",
    "market",
    "outcome",
    "description",
    "point",
    "price",
    "previous_price",
    "last_update",
];
const TIME: usize = 0;
const LOG: usize = 4;
const SEQ: usize = 5;

struct CsvWriter<W: Write>(csv::Writer<W>);

impl<W: Write> CsvWriter<W> {
    /// Begins a file with the names of the columns.
    fn begin(out: W) -> anyhow::Result<Self> {
        let mut writer = Self::go_on(out);
        writer.0.write_record(COLUMNS)?;
        Ok(writer)
    }

    fn go_on(out: W) -> Self {
        Self(WriterBuilder::new().terminator(Terminator::CRLF).from_writer(out))
    }
}

/// A time with milliseconds, even if they are zero.
fn time(at: Timestamp) -> String {
    let text = at.to_string();
    match text.strip_suffix('Z') {
        Some(seconds) if !text.contains('.') => format!("{seconds}.000Z"),
        _ => text,
    }
}

impl<W: Write + Send> RowWriter for CsvWriter<W> {
    fn write(&mut self, row: &Row<'_>) -> anyhow::Result<()> {
        fn text(value: Option<impl ToString>) -> String {
            value.map(|value| value.to_string()).unwrap_or_default()
        }
        let details = row.event.map(|(_, details)| details);
        let price = row.price;
        self.0.write_record([
            time(row.time),
            text(row.until.map(time)),
            row.kind.name().to_owned(),
            row.region.to_string(),
            text(row.position.map(|position| position.log)),
            text(row.position.map(|position| position.seq)),
            text(row.feed.map(FeedState::key)),
            text(row.event.map(|(id, _)| id)),
            text(details.map(|details| &details.sport_key)),
            text(details.map(|details| time(details.commence_time))),
            text(details.and_then(|details| details.home_team.as_ref())),
            text(details.and_then(|details| details.away_team.as_ref())),
            text(price.map(|price| price.bookmaker)),
            text(price.map(|price| price.market)),
            text(price.map(|price| &price.outcome.name)),
            text(price.and_then(|price| price.outcome.description.as_ref())),
            text(price.and_then(|price| price.outcome.point)),
            text(price.and_then(|price| price.price)),
            text(price.and_then(|price| price.previous)),
            text(price.map(|price| time(price.last_update))),
        ])?;
        Ok(())
    }

    fn end(&mut self) -> anyhow::Result<()> {
        self.pause()
    }

    fn pause(&mut self) -> anyhow::Result<()> {
        Ok(self.0.flush()?)
    }
}

/// Opens the output, and finds out where to go on in it.
pub(super) async fn open(settings: &ExportSettings, store: Arc<dyn Store>) -> anyhow::Result<(Start, Box<dyn Format>)> {
    let Some(path) = &settings.output else {
        return Ok((Start::Anew, Box::new(Rows::new(settings, CsvWriter::begin(standard_output())?))));
    };
    let mut file = ExportFile::open(path)?;
    let first = first_rows(settings, store).await?;
    let part = RowsPart::of(file.reader()?, &first, settings.to);
    let part = part.with_context(|| format!("{} can't be continued: choose another file", path.display()))?;
    let target = file.write_after(part.map_or(0, |part| part.bytes));
    Ok(match part {
        None => (Start::Anew, Box::new(Rows::new(settings, CsvWriter::begin(target)?))),
        Some(part) => (Start::After(Moment::At(part.at)), Box::new(Rows::new(settings, CsvWriter::go_on(target)))),
    })
}

/// What a file of this export begins with: the first board. It names no range, so it is recognised by this.
async fn first_rows(settings: &ExportSettings, store: Arc<dyn Store>) -> anyhow::Result<Vec<u8>> {
    let mut rows = Rows::new(settings, CsvWriter::begin(Vec::new())?);
    match Playback::start(store, settings.region, settings.first(), settings.to).await {
        Ok((playback, played)) => begin(&mut rows, &playback, played)?,
        // Then the export can't go on either, and says why.
        Err(HistoryError::NotRecorded { .. } | HistoryError::Damaged(_) | HistoryError::DamagedRow) => {}
        Err(error) => return Err(error.into()),
    }
    rows.writer.0.into_inner().map_err(|error| error.into_error().into())
}

/// The rows of whole steps in a file.
#[derive(Clone, Copy, Debug)]
struct RowsPart {
    bytes: u64,
    /// The time of the last of those steps.
    at: Timestamp,
}

impl RowsPart {
    /// Reads a file up to the step before its last one, of which rows may be missing. `None` if it has none.
    fn of(mut file: BufReader<impl Read>, first: &[u8], to: Option<Timestamp>) -> anyhow::Result<Option<Self>> {
        let mut begins = Vec::new();
        file.by_ref().take(first.len() as u64).read_to_end(&mut begins)?;
        ensure!(first.starts_with(&begins), "it is not an export of this region, format and range");
        if begins.len() < first.len() {
            return Ok(None);
        }
        // A carriage return belongs to the last field, so that a row begins right behind a line feed.
        let lines = Terminator::Any(b'\n');
        let mut rows = ReaderBuilder::new().flexible(true).terminator(lines).from_reader((&begins[..]).chain(file));
        let mut row = StringRecord::new();
        let mut part = None;
        // The step of the row before, its time, and where its rows begin.
        let mut last: Option<(String, String)> = None;
        loop {
            let begin = rows.position().byte();
            // A row that was cut off has too few fields, or is not text.
            let is_whole = rows.read_record(&mut row).is_ok_and(|found| found) && row.len() == COLUMNS.len();
            if !is_whole {
                return Ok(part);
            }
            let step = format!("{}/{}", &row[LOG], &row[SEQ]);
            if let Some((before, at)) = last.replace((step, row[TIME].to_owned()))
                && last.as_ref().is_some_and(|(step, _)| *step != before)
                && before != "/"
            {
                let at = at.parse()?;
                if to.is_some_and(|to| at > to) {
                    bail!("it is an export of a longer time");
                }
                part = Some(Self { bytes: begin, at });
            }
        }
    }
}
