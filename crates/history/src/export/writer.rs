//! Writes lines.

use std::io::{self, Write};

use odds::{Cursor, Filter, Timestamp};

use super::{
    ExportHeader, ExportedPart,
    line::{EndData, GapData, json, line},
};
use crate::{Gap, Playback};

/// Writes what a playback goes through.
#[derive(Debug)]
pub struct ExportWriter<W> {
    out: W,
    header: ExportHeader,
    last: Option<(Cursor, Timestamp)>,
    steps: u64,
    gaps: u64,
}

impl<W: Write> ExportWriter<W> {
    /// Begins a file.
    pub fn begin(mut out: W, header: ExportHeader) -> io::Result<Self> {
        out.write_all(header.line().as_bytes())?;
        Ok(Self { out, header, last: None, steps: 0, gaps: 0 })
    }

    /// Goes on after the steps that a file has.
    pub fn go_on(out: W, header: ExportHeader, after: &ExportedPart) -> Self {
        Self { out, header, last: after.last, steps: after.steps, gaps: after.gaps }
    }

    /// The board at which the playback is: the first one, or the first one after a gap.
    pub fn board(&mut self, playback: &Playback) -> io::Result<()> {
        let cursor = playback.cursor(&Filter::default());
        let data = playback.board().whole(self.header.region, &cursor, &Filter::default());
        self.write("snapshot", playback, &data, cursor)
    }

    /// The step to which the playback has gone on, whatever it changed.
    pub fn step(&mut self, playback: &Playback) -> io::Result<()> {
        let cursor = playback.cursor(&Filter::default());
        let prev = self.last.map_or(cursor, |(last, _)| last);
        let data = match playback.odds(&prev, &Filter::default()) {
            Some(frame) => frame.json,
            None => format!(r#"{{"region":"{}","prev":"{prev}","cursor":"{cursor}","events":[]}}"#, self.header.region),
        };
        self.write("odds", playback, &data, cursor)
    }

    fn write(&mut self, event: &str, playback: &Playback, data: &str, cursor: Cursor) -> io::Result<()> {
        let marker = playback.marker();
        self.out.write_all(line(event, Some(marker.at), data, Some(marker)).as_bytes())?;
        self.last = Some((cursor, marker.at));
        self.steps += 1;
        Ok(())
    }

    /// A time of which nothing is recorded. A board follows, or the end.
    pub fn gap(&mut self, gap: Gap) -> io::Result<()> {
        let data = GapData { region: self.header.region, from: gap.from, until: gap.until };
        self.gaps += 1;
        self.out.write_all(line("gap", Some(gap.until), &json(&data), None).as_bytes())
    }

    /// Ends the file.
    pub fn end(&mut self) -> io::Result<()> {
        let cursor = self.last.map(|(cursor, _)| cursor);
        let data = EndData { cursor, steps: self.steps, gaps: self.gaps };
        let at = self.last.map(|(_, at)| at);
        self.out.write_all(line("end", at, &json(&data), None).as_bytes())
    }

    /// Writes what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
