//! Finds steps and keyframes.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use odds::{LogId, LogPosition, Region, StepId, Timestamp};
use tracing::error;

use super::{
    catalog::Logs,
    encoding::Damage,
    layout::{DIFFERENCE, STEP, Step, WHOLE},
    server::Server,
    sql::{micros, quoted},
};
use crate::{HistoryError, StoreError};

/// Reads what is recorded of a region.
pub(super) struct Reader<'a> {
    pub(super) server: &'a Server,
    pub(super) table: String,
    pub(super) region: Region,
    pub(super) logs: Logs,
    pub(super) found: &'a FoundSteps,
}

/// Why rows can't be read.
#[derive(Debug)]
pub(super) enum ReadError {
    Store(StoreError),
    /// They are not as they were written.
    Damage,
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Damage> for ReadError {
    fn from(Damage: Damage) -> Self {
        Self::Damage
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => error,
            ReadError::Damage => Self("a row is damaged".to_owned()),
        }
    }
}

impl From<ReadError> for HistoryError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => error.into(),
            ReadError::Damage => {
                error!("the history is damaged");
                Self::DamagedRow
            }
        }
    }
}

/// How often something is read before it counts as damaged, and how long to wait in between: between two queries, rows
/// may have been forgotten or completed.
const MOST_ATTEMPTS: u32 = 3;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
pub(super) struct Attempts(u32);

impl Attempts {
    /// Returns whether to read again, after a pause.
    pub(super) async fn again<T>(&mut self, read: &Result<T, HistoryError>) -> bool {
        self.0 += 1;
        let again = self.0 < MOST_ATTEMPTS && matches!(read, Err(HistoryError::Damaged(_) | HistoryError::DamagedRow));
        if again {
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
        again
    }
}

/// Where steps are that were found before. To find one by its id alone may take long.
#[derive(Debug, Default)]
pub(super) struct FoundSteps(Mutex<HashMap<(Region, StepId), (LogId, Timestamp)>>);

/// How many are remembered. When there are more, all are forgotten.
const REMEMBERED: usize = 10_000;

impl FoundSteps {
    fn steps(&self) -> MutexGuard<'_, HashMap<(Region, StepId), (LogId, Timestamp)>> {
        self.0.lock().expect("nobody panics while holding it")
    }

    pub(super) fn remember(&self, region: Region, log: LogId, step: &Step) {
        let mut steps = self.steps();
        if steps.len() >= REMEMBERED {
            steps.clear();
        }
        steps.insert((region, step.id), (log, step.at));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    OldestFirst,
    NewestFirst,
}

impl Order {
    fn sql(self) -> &'static str {
        match self {
            Self::OldestFirst => "ASC",
            Self::NewestFirst => "DESC",
        }
    }
}

/// After all times.
pub(super) const NEVER_LATER: Timestamp = Timestamp::from_millis(i64::MAX);

/// How much earlier than its term a step is looked for first. Clocks of leaders differ.
const TERM_SLACK_MS: i64 = 3_600_000;

impl Reader<'_> {
    /// Steps of a log whose times are in a range, both ends included.
    pub(super) async fn steps(
        &self,
        log: LogId,
        (from, to): (Timestamp, Timestamp),
        order: Order,
        most: usize,
    ) -> Result<Vec<Step>, ReadError> {
        let range = format!("ts >= {} AND ts <= {}", micros(from), micros(to));
        self.steps_where(log, &range, order, most).await
    }

    pub(super) async fn steps_where(
        &self,
        log: LogId,
        condition: &str,
        order: Order,
        most: usize,
    ) -> Result<Vec<Step>, ReadError> {
        let sql = format!(
            "SELECT {} FROM {} WHERE event = '{STEP}' AND log = {} AND {condition} ORDER BY ts {} LIMIT {most}",
            Step::COLUMNS,
            self.table,
            quoted(log),
            order.sql(),
        );
        let rows: Vec<(i64, String, String)> = self.server.query(&sql).await?;
        let step = |(micros, term, content): &(i64, String, String)| {
            let mut step = Step::read(*micros, term, content)?;
            // What was before the first step is forgotten.
            if self.logs.begin_of(log) == Some(step.at) {
                step.difference = None;
            }
            Ok(step)
        };
        rows.iter().map(step).collect()
    }

    /// The newest step in a range.
    pub(super) async fn newest(&self, log: LogId, range: (Timestamp, Timestamp)) -> Result<Option<Step>, ReadError> {
        Ok(self.steps(log, range, Order::NewestFirst, 1).await?.pop())
    }

    /// The oldest step in a range.
    pub(super) async fn oldest(&self, log: LogId, range: (Timestamp, Timestamp)) -> Result<Option<Step>, ReadError> {
        Ok(self.steps(log, range, Order::OldestFirst, 1).await?.pop())
    }

    /// A step by its id, with its log.
    pub(super) async fn find(&self, id: StepId) -> Result<Option<(LogId, Step)>, ReadError> {
        let remembered = self.found.steps().get(&(self.region, id)).copied();
        if let Some((log, at)) = remembered
            && let Some(step) = self.newest(log, (at, at)).await?.filter(|step| step.id == id)
        {
            return Ok(self.is_kept(log, &step).then_some((log, step)));
        }
        let term = id.term.to_string();
        let began = term.split('.').next().and_then(|at| at.parse().ok()).unwrap_or_default();
        let began = Timestamp::from_millis(began).plus_millis(-TERM_SLACK_MS);
        for when in [format!("ts >= {}", micros(began)), format!("ts < {}", micros(began))] {
            let number = id.step;
            let sql = format!(
                "SELECT log, {} FROM {} WHERE event = '{STEP}' AND names = {} AND {when}
                 AND (content LIKE '{DIFFERENCE}{number} %' OR content LIKE '{WHOLE}{number} %') ORDER BY ts DESC LIMIT 1",
                Step::COLUMNS,
                self.table,
                quoted(&term),
            );
            let rows: Vec<(String, i64, String, String)> = self.server.query(&sql).await?;
            if let Some((log, micros, term, content)) = rows.first() {
                let (log, step) = (log.parse().map_err(|()| Damage)?, Step::read(*micros, term, content)?);
                self.found.remember(self.region, log, &step);
                return Ok(self.is_kept(log, &step).then_some((log, step)));
            }
        }
        Ok(None)
    }

    fn is_kept(&self, log: LogId, step: &Step) -> bool {
        self.logs.begin_of(log).is_some_and(|begins| begins <= step.at)
    }

    pub(super) async fn last_step(&self) -> Result<Option<LogPosition>, ReadError> {
        for (log, begins) in self.logs.begun().rev() {
            if let Some(last) = self.newest(log, (begins, NEVER_LATER)).await? {
                return Ok(Some(LogPosition { log, seq: last.seq }));
            }
        }
        Ok(None)
    }
}
