//! Steps with what they changed, put together from their rows.

use odds::{Change, LogId, Timestamp};
use tokio::task::spawn_blocking;

use super::{
    encoding::Damage,
    known_names::KnownNames,
    layout::{BOARD, CHANGE_COLUMNS, ChangeRow, Changes, KEYFRAME, STEP, Step, StepDifference},
    reader::{ReadError, Reader},
    server::Answer,
    sql::{micros, quoted},
};
use crate::StoreError;

/// How many rows are read at once.
const PAGE: usize = 20_000;

/// A step, with what it changed.
pub(super) struct ReadStep {
    pub(super) step: Step,
    pub(super) difference: StepDifference,
    pub(super) changes: Vec<Change>,
}

/// The step whose rows are being read.
#[derive(Default)]
struct Open {
    micros: i64,
    step: Option<Step>,
    changes: Changes,
}

impl Open {
    fn close(self) -> Result<ReadStep, Damage> {
        let mut step = self.step.ok_or(Damage)?;
        let difference = step.difference.take().ok_or(Damage)?;
        let changes = self.changes.finish(&difference)?;
        Ok(ReadStep { step, difference, changes })
    }
}

/// Something that is built up from steps, one after the other. It does not wait for anything.
pub(super) trait Builder: Send + 'static {
    fn add(&mut self, step: ReadStep) -> Result<(), Damage>;
}

/// Puts together steps from rows, and adds them to a builder.
struct Assembly<B> {
    open: Option<Open>,
    names: KnownNames,
    builder: B,
}

impl<B: Builder> Assembly<B> {
    /// Adds the rows of a page. Returns how many there were.
    fn add_page(&mut self, page: &Answer) -> Result<usize, ReadError> {
        let rows: Vec<ChangeRow<'_>> = page.rows()?;
        for row in &rows {
            self.add(row)?;
        }
        Ok(rows.len())
    }

    fn add(&mut self, row: &ChangeRow<'_>) -> Result<(), Damage> {
        let (micros, event, _, _, term, content) = row;
        if self.open.as_ref().is_none_or(|open| open.micros != *micros) {
            self.close()?;
        }
        let open = self.open.get_or_insert_with(|| Open { micros: *micros, ..Open::default() });
        if **event == *STEP {
            open.step = Some(Step::read(*micros, term.as_deref().unwrap_or_default(), content)?);
            return Ok(());
        }
        open.changes.add(row, &mut self.names)
    }

    fn close(&mut self) -> Result<(), Damage> {
        match self.open.take() {
            Some(open) => self.builder.add(open.close()?),
            None => Ok(()),
        }
    }
}

impl Reader<'_> {
    /// Adds the steps of a log after a time, up to another time, to a builder. The first page of their rows is read
    /// already.
    pub(super) async fn build<B: Builder>(
        &self,
        log: LogId,
        range: (Timestamp, Timestamp),
        first: Answer,
        builder: B,
    ) -> Result<B, ReadError> {
        let mut assembly = Assembly { open: None, names: KnownNames::default(), builder };
        let (mut page, mut read) = (first, 0);
        loop {
            let add = move || assembly.add_page(&page).map(|rows| (assembly, rows));
            let (back, rows) = spawn_blocking(add).await.map_err(StoreError::new)??;
            assembly = back;
            read += rows;
            if rows < PAGE {
                assembly.close()?;
                return Ok(assembly.builder);
            }
            page = self.page_of_steps(log, range, read).await?;
        }
    }

    /// A page of the rows of steps after a time, up to another time: those after so many rows.
    pub(super) async fn page_of_steps(
        &self,
        log: LogId,
        (after, to): (Timestamp, Timestamp),
        read: usize,
    ) -> Result<Answer, StoreError> {
        let sql = format!(
            "SELECT {CHANGE_COLUMNS} FROM {} WHERE log = {} AND ts > {} AND ts <= {} AND market <> '{BOARD}'
             AND event <> '{KEYFRAME}' ORDER BY ts LIMIT {read}, {}",
            self.table,
            quoted(log),
            micros(after),
            micros(to),
            read + PAGE,
        );
        self.server.fetch(&sql).await
    }
}
