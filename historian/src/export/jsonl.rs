//! Exports every step as a line, for another store.

use anyhow::{Context, ensure};
use history::{ExportHeader, ExportWriter, ExportedPart, Gap, Moment, Playback};
use odds::{Cursor, Filter};

use super::{
    ExportSettings, Format, Start,
    target::{ExportFile, Target, standard_output},
};

struct Lines {
    writer: ExportWriter<Target>,
    /// The last step that the file has.
    last: Option<Cursor>,
}

/// Opens the output, and finds out where to go on in it.
pub(super) fn open(settings: &ExportSettings) -> anyhow::Result<(Start, Box<dyn Format>)> {
    let header = ExportHeader { region: settings.region, from: settings.from, to: settings.to };
    let Some(path) = &settings.output else {
        let writer = ExportWriter::begin(standard_output(), header)?;
        return Ok((Start::Anew, Box::new(Lines { writer, last: None })));
    };
    let mut file = ExportFile::open(path)?;
    let part = ExportedPart::of(file.reader()?, &header);
    let part = part.with_context(|| format!("{} can't be continued: choose another file", path.display()))?;
    let target = file.write_after(part.bytes);
    let Some((last, _)) = part.last else {
        let writer = ExportWriter::begin(target, header)?;
        return Ok((Start::Anew, Box::new(Lines { writer, last: None })));
    };
    let writer = ExportWriter::go_on(target, header, &part);
    Ok((Start::After(Moment::Step(last.step())), Box::new(Lines { writer, last: Some(last) })))
}

impl Format for Lines {
    fn board(&mut self, playback: &Playback) -> anyhow::Result<()> {
        Ok(self.writer.board(playback)?)
    }

    fn go_on(&mut self, playback: &Playback) -> anyhow::Result<()> {
        let is_same = self.last == Some(playback.cursor(&Filter::default()));
        ensure!(is_same, "the last step in the file is another one in this history: export to another file");
        Ok(())
    }

    fn step(&mut self, playback: &Playback) -> anyhow::Result<()> {
        Ok(self.writer.step(playback)?)
    }

    fn gap(&mut self, gap: Gap) -> anyhow::Result<()> {
        Ok(self.writer.gap(gap)?)
    }

    fn end(&mut self) -> anyhow::Result<()> {
        self.writer.end()?;
        self.pause()
    }

    fn pause(&mut self) -> anyhow::Result<()> {
        Ok(self.writer.flush()?)
    }
}
