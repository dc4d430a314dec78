//! Gives memory back to the system that connections have freed: each takes much for a moment when it begins.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::transport::Turnover;

const EVERY: Duration = Duration::from_secs(2);
/// After this many connections have begun or ended.
const AFTER: u64 = 256;
/// In any case: large requests leave something, too.
const AT_LEAST_EVERY: Duration = Duration::from_secs(60);

pub(crate) async fn give_back(turnover: Turnover, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut last) = (turnover.count(), Instant::now());
    let mut was_busy = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let now = turnover.count();
        let is_busy = now >= before + AFTER;
        // Once more afterwards: the last ones were in the middle of their beginning.
        if is_busy || was_busy || last.elapsed() >= AT_LEAST_EVERY {
            (before, last, was_busy) = (now, Instant::now(), is_busy);
            // It takes some milliseconds.
            tokio::task::spawn_blocking(memory::give_back).await?;
        }
    }
}
