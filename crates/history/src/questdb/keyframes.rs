//! Finds keyframes, and the steps that were recorded as whole boards: each of those has a keyframe.

use odds::{LogId, StepId, Timestamp};

use super::{
    layout::{KEYFRAME, Keyframe, Step, WHOLE},
    reader::{Order, ReadError, Reader},
    sql::{list, micros, quoted, time},
};
use crate::StoreError;

/// How many times of keyframes one query has.
const KEYFRAMES_AT_ONCE: usize = 500;

impl Reader<'_> {
    /// The newest keyframe in a range.
    pub(super) async fn keyframe(
        &self,
        log: LogId,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<Option<Keyframe>, ReadError> {
        let sql = format!(
            "SELECT ts::long, content FROM {} WHERE event = '{KEYFRAME}' AND log = {} AND ts >= {} AND ts <= {}
             ORDER BY ts DESC LIMIT 1",
            self.table,
            quoted(log),
            micros(from),
            micros(to),
        );
        let rows: Vec<(i64, String)> = self.server.query(&sql).await?;
        Ok(rows.first().map(|(micros, content)| Keyframe::read(*micros, content)).transpose()?)
    }

    /// The first step after a time that has a keyframe.
    pub(super) async fn next_keyframe(&self, after: Timestamp) -> Result<Option<(Timestamp, StepId)>, ReadError> {
        for window in self.logs.windows() {
            let mut from = window.begins.max(after.plus_millis(1));
            while let Some(keyframe) = self.keyframe_times(window.log, (from, window.last()), 1).await?.pop() {
                let step = self.newest(window.log, (keyframe, keyframe)).await;
                match step {
                    Ok(Some(step)) => return Ok(Some((step.at, step.id))),
                    // Its step is damaged.
                    Ok(None) | Err(ReadError::Damage) => from = keyframe.plus_millis(1),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(None)
    }

    /// The times of the keyframes in a range, both ends included, the oldest first.
    pub(super) async fn keyframe_times(
        &self,
        log: LogId,
        (from, to): (Timestamp, Timestamp),
        most: u32,
    ) -> Result<Vec<Timestamp>, StoreError> {
        let sql = format!(
            "SELECT ts::long FROM {} WHERE event = '{KEYFRAME}' AND log = {} AND ts >= {} AND ts <= {}
             ORDER BY ts LIMIT {most}",
            self.table,
            quoted(log),
            micros(from),
            micros(to),
        );
        let rows: Vec<(i64,)> = self.server.query(&sql).await?;
        Ok(rows.iter().map(|(micros,)| time(*micros)).collect())
    }

    /// The steps of these keyframes that were recorded as whole boards. Each such step has a keyframe, and those are
    /// few.
    pub(super) async fn whole_steps(
        &self,
        log: LogId,
        keyframes: &[Timestamp],
        most: usize,
    ) -> Result<Vec<Step>, ReadError> {
        let mut steps = Vec::new();
        for times in keyframes.chunks(KEYFRAMES_AT_ONCE) {
            let times = list(times.iter().copied());
            let of_whole = format!("ts IN ({times}) AND content LIKE '{WHOLE}%'");
            steps.extend(self.steps_where(log, &of_whole, Order::OldestFirst, most).await?);
            if steps.len() >= most {
                break;
            }
        }
        steps.truncate(most);
        Ok(steps)
    }
}
