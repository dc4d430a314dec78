//! A historian as a separate process.

use super::{
    cost::{cpu_seconds, most_memory},
    server::Ground,
};
use crate::Part;

/// A running historian of all regions. It is killed when dropped.
#[derive(Debug)]
pub struct Historian(Part);

impl Historian {
    /// Starts it with this store.
    pub fn start(ground: &Ground, store: &str) -> anyhow::Result<Self> {
        let mut command = vec![
            ground.binaries.join("historian").display().to_string(),
            format!("--brokers={}", ground.kafka.brokers),
            format!("--history={store}"),
            "--log=warn".into(),
        ];
        command.extend(ground.kafka.properties.iter().map(|property| format!("--kafka={property}")));
        command.extend(ground.own_fetch_wait());
        let log = ground.folder.join("historian.log");
        Ok(Self(Part::start("historian", command, ground.environment.clone(), log)?))
    }

    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        cpu_seconds(self.0.pid())
    }

    /// The most memory that the process has had so far (RSS).
    pub fn most_memory(&self) -> anyhow::Result<f64> {
        most_memory(self.0.pid())
    }
}
