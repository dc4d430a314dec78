//! Rows as Apache Parquet, for dataframes and databases. The file's table of contents is at its end, so a file that was
//! cut off can't be read, and one can't be continued. An export that is interrupted completes its file.

use std::{io::Write, sync::Arc};

use anyhow::{Context, ensure};
use odds::{Decimal, FeedState, Timestamp};
use parquet::{
    basic::Compression,
    column::writer::ColumnWriter,
    data_type::ByteArray,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};

use super::{
    ExportSettings, Format, Start,
    rows::{Row, RowWriter, Rows},
    target::{ExportFile, Target, standard_output},
};

/// The same columns as in a CSV file. Those of a row that do not apply are null.
const SCHEMA: &str = "
    message change {
        optional int64 time (TIMESTAMP(MILLIS, true));
        optional int64 until (TIMESTAMP(MILLIS, true));
        optional binary kind (STRING);
        optional binary region (STRING);
        optional binary log (STRING);
        optional int64 seq;
        optional binary feed (STRING);
        optional binary event (STRING);
        optional binary sport (STRING);
        optional int64 start (TIMESTAMP(MILLIS, true));
        optional binary home (STRING);
        optional binary away (STRING);
        optional binary bookmaker (STRING);
        optional binary market (STRING);
        optional binary outcome (STRING);
        optional binary description (STRING);
        optional double point;
        optional double price;
        optional double previous_price;
        optional int64 last_update (TIMESTAMP(MILLIS, true));
    }";

/// How many rows are kept in memory and written together.
const ROWS: usize = 100_000;

/// A value of a row.
enum Cell {
    Integer(Option<i64>),
    Text(Option<String>),
    Number(Option<f64>),
}

impl Cell {
    fn time(at: Option<Timestamp>) -> Self {
        Self::Integer(at.map(Timestamp::as_millis))
    }

    fn text(text: Option<impl ToString>) -> Self {
        Self::Text(text.map(|text| text.to_string()))
    }

    fn number(number: Option<Decimal>) -> Self {
        Self::Number(number.map(Decimal::to_f64))
    }
}

/// A column's values that are not written yet.
enum Column {
    Integers(Vec<i64>),
    Texts(Vec<ByteArray>),
    Numbers(Vec<f64>),
}

struct ParquetWriter<W: Write + Send> {
    file: SerializedFileWriter<W>,
    columns: Vec<Column>,
    /// For each column, whether a row has a value: 1 or 0.
    present: Vec<Vec<i16>>,
    rows: usize,
}

impl<W: Write + Send> ParquetWriter<W> {
    fn begin(out: W) -> anyhow::Result<Self> {
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("toteboard ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let file = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
        Ok(Self { file, columns: Vec::new(), present: Vec::new(), rows: 0 })
    }

    fn add(&mut self, row: [Cell; 20]) -> anyhow::Result<()> {
        if self.columns.is_empty() {
            self.columns = row.iter().map(Column::like).collect();
            self.present = row.iter().map(|_| Vec::new()).collect();
        }
        for ((cell, column), present) in row.into_iter().zip(&mut self.columns).zip(&mut self.present) {
            present.push(i16::from(column.push(cell)));
        }
        self.rows += 1;
        if self.rows == ROWS { self.write_rows() } else { Ok(()) }
    }

    fn write_rows(&mut self) -> anyhow::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        for (column, present) in self.columns.iter_mut().zip(&mut self.present) {
            let mut writer = group.next_column()?.context("there are as many columns as in the schema")?;
            match (writer.untyped(), column) {
                (ColumnWriter::Int64ColumnWriter(out), Column::Integers(values)) => {
                    out.write_batch(values, Some(present), None)?;
                    values.clear();
                }
                (ColumnWriter::ByteArrayColumnWriter(out), Column::Texts(values)) => {
                    out.write_batch(values, Some(present), None)?;
                    values.clear();
                }
                (ColumnWriter::DoubleColumnWriter(out), Column::Numbers(values)) => {
                    out.write_batch(values, Some(present), None)?;
                    values.clear();
                }
                _ => unreachable!("rows are as in the schema"),
            }
            writer.close()?;
            present.clear();
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }
}

impl Column {
    fn like(cell: &Cell) -> Self {
        match cell {
            Cell::Integer(_) => Self::Integers(Vec::new()),
            Cell::Text(_) => Self::Texts(Vec::new()),
            Cell::Number(_) => Self::Numbers(Vec::new()),
        }
    }

    /// Returns whether there was a value.
    fn push(&mut self, cell: Cell) -> bool {
        match (self, cell) {
            (Self::Integers(values), Cell::Integer(Some(value))) => values.push(value),
            (Self::Texts(values), Cell::Text(Some(value))) => values.push(value.into_bytes().into()),
            (Self::Numbers(values), Cell::Number(Some(value))) => values.push(value),
            _ => return false,
        }
        true
    }
}

impl<W: Write + Send> RowWriter for ParquetWriter<W> {
    fn write(&mut self, row: &Row<'_>) -> anyhow::Result<()> {
        let details = row.event.map(|(_, details)| details);
        let price = row.price;
        self.add([
            Cell::time(Some(row.time)),
            Cell::time(row.until),
            Cell::text(Some(row.kind.name())),
            Cell::text(Some(row.region)),
            Cell::text(row.position.map(|position| position.log)),
            Cell::Integer(row.position.map(|position| position.seq as i64)),
            Cell::text(row.feed.map(FeedState::key)),
            Cell::text(row.event.map(|(id, _)| id)),
            Cell::text(details.map(|details| &details.sport_key)),
            Cell::time(details.map(|details| details.commence_time)),
            Cell::text(details.and_then(|details| details.home_team.as_ref())),
            Cell::text(details.and_then(|details| details.away_team.as_ref())),
            Cell::text(price.map(|price| price.bookmaker)),
            Cell::text(price.map(|price| price.market)),
            Cell::text(price.map(|price| &price.outcome.name)),
            Cell::text(price.and_then(|price| price.outcome.description.as_ref())),
            Cell::number(price.and_then(|price| price.outcome.point)),
            Cell::number(price.and_then(|price| price.price)),
            Cell::number(price.and_then(|price| price.previous)),
            Cell::time(price.map(|price| price.last_update)),
        ])
    }

    fn end(&mut self) -> anyhow::Result<()> {
        self.write_rows()?;
        self.file.finish()?;
        Ok(self.file.inner_mut().flush()?)
    }

    fn pause(&mut self) -> anyhow::Result<()> {
        self.end()
    }
}

/// Opens the output, which must be empty.
pub(super) fn open(settings: &ExportSettings) -> anyhow::Result<(Start, Box<dyn Format>)> {
    let target: Target = match &settings.output {
        None => standard_output(),
        Some(path) => {
            let mut file = ExportFile::open(path)?;
            let is_empty = file.is_empty()?;
            ensure!(
                is_empty,
                "{} is not empty, and a Parquet file can't be continued: choose another file",
                path.display()
            );
            file.write_after(0)
        }
    };
    Ok((Start::Anew, Box::new(Rows::new(settings, ParquetWriter::begin(target)?))))
}
