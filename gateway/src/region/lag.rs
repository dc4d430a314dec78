//! Watches how far the consumers are behind.

use std::{sync::Arc, time::Duration};

use kafka::LagGauge;
use odds::Region;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, debug};

use crate::{metrics::RegionMetrics, readiness::Readiness};

/// How often the lag is read.
const LAG_INTERVAL: Duration = Duration::from_secs(3);

/// Periodically notes whether Kafka answers and how far the consumers are behind, until the returned handle is dropped.
pub(super) fn watch_lag(
    gauge: LagGauge,
    region: Region,
    metrics: RegionMetrics,
    readiness: Arc<Readiness>,
) -> AbortOnDropHandle<()> {
    let watching = async move {
        loop {
            if gauge.reaches_kafka().await {
                readiness.answered(region);
            }
            match gauge.read().await {
                Ok(lag) => metrics.set_lag(&lag),
                Err(error) => debug!(%error, "can't read the consumers' lag"),
            }
            tokio::time::sleep(LAG_INTERVAL).await;
        }
    };
    AbortOnDropHandle::new(tokio::spawn(watching.in_current_span()))
}
