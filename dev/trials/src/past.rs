//! Changes of some time, written to a region's topic as fast as the brokers take them, with the times that they would
//! have had.

use std::time::Duration;

use kafka::{KEEP_CHANGES, KafkaSettings, Publisher, region_topic};
use odds::{Outgoing, Region, Timestamp};

use crate::{local_region::LocalRegion, race::World};

pub const STEPS_A_SECOND: u32 = 20;
/// So many steps are sent together.
const BATCH: usize = 200;

/// Writes a region's topic, like a producer that led the region.
pub struct Past {
    publisher: Publisher,
    region: LocalRegion,
    waiting: Vec<Outgoing>,
    /// The time of the next step.
    at: Timestamp,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    pub records: usize,
    pub bytes: usize,
}

impl Past {
    /// Becomes the leader of an empty topic at the time `at`, and publishes a whole board.
    pub async fn start(kafka: &KafkaSettings, region: Region, at: Timestamp) -> anyhow::Result<Self> {
        let partitions = usize::try_from(region_topic(region, KEEP_CHANGES).partitions)?;
        let publisher = Publisher::new(kafka, region)?;
        let (mut region, mut waiting) = LocalRegion::new(partitions, World::default(), at)?;
        waiting.extend(region.publish_all(at)?);
        let mut this = Self { publisher, region, waiting, at };
        this.send().await?;
        Ok(this)
    }

    /// Writes the steps of this much time. In each, this many quotes change, each of another event.
    pub async fn write(&mut self, time: Duration, changes_a_step: usize) -> anyhow::Result<Written> {
        let mut written = Written::default();
        let steps = usize::try_from(time.as_secs() * u64::from(STEPS_A_SECOND))?;
        for n in 1..=steps {
            self.at = self.at.plus_millis(1_000 / i64::from(STEPS_A_SECOND));
            self.waiting.extend(self.region.step(changes_a_step, self.at)?);
            if n.is_multiple_of(BATCH) || n == steps {
                let Written { records, bytes } = self.send().await?;
                written = Written { records: written.records + records, bytes: written.bytes + bytes };
            }
        }
        Ok(written)
    }

    async fn send(&mut self) -> anyhow::Result<Written> {
        let delivered = self.publisher.send(&std::mem::take(&mut self.waiting)).await?;
        Ok(Written { records: delivered.records, bytes: delivered.bytes })
    }
}
