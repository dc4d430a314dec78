//! Between which times the steps of a range are, so that progress can be shown as a share of it.

use history::{HistoryError, Moment, Store};
use odds::{Region, Timestamp};

/// The times of the first and the last step of a range. `None` if nothing is recorded, or if one of them is damaged.
pub(crate) async fn recorded_range(
    store: &dyn Store,
    region: Region,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> anyhow::Result<Option<(Timestamp, Timestamp)>> {
    let from = from.unwrap_or(Timestamp::from_millis(i64::MIN));
    let first = match store.board_at(region, Moment::At(from)).await {
        Ok(board) => board.marker.at,
        Err(HistoryError::NotRecorded { until: Some(until), .. }) => until,
        Err(HistoryError::Store(error)) => return Err(error.into()),
        Err(_) => return Ok(None),
    };
    let to = to.unwrap_or(Timestamp::from_millis(i64::MAX));
    let last = match store.board_at(region, Moment::At(to)).await {
        Ok(board) => board.marker.at,
        Err(HistoryError::NotRecorded { from: Some(from), .. }) => from,
        Err(HistoryError::Store(error)) => return Err(error.into()),
        Err(_) => return Ok(None),
    };
    Ok(Some((first, last)))
}
