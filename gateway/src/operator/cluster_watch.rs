//! Watches the brokers and the topics.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fleet::Cluster;
use kafka::{ClusterReader, Difference, KafkaError, TopicSpec, all_topics, different_settings};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::session::AppState;

const LOOK_EVERY: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// How often the settings of the topics are read.
const SETTINGS_EVERY: Duration = Duration::from_secs(6);
/// How long changes are kept is the operator's choice.
const CHOSEN: &str = "min.compaction.lag.ms";

impl AppState {
    /// Looks at the cluster, again and again.
    pub(crate) async fn watch_cluster(
        self: Arc<Self>,
        cluster: ClusterReader,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let (plan, mut settings) = (all_topics(), BTreeMap::new());
        let mut settings_at: Option<Instant> = None;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = look.tick() => {}
            }
            let state = match cluster.state(ANSWER_WITHIN).await {
                Ok(state) => state,
                Err(error) => {
                    debug!(%error, "the cluster can't be looked at");
                    self.fleet.set_cluster(None);
                    // Other gateways may know.
                    self.metrics.set_cluster(&Cluster::default());
                    continue;
                }
            };
            if settings_at.is_none_or(|at| at.elapsed() > SETTINGS_EVERY) {
                settings_at = Some(Instant::now());
                match different(&cluster, &plan).await {
                    Ok(differs) => settings = differs,
                    Err(error) => debug!(%error, "the settings of topics can't be read"),
                }
            }
            let now = Cluster { state, plan: plan.clone(), settings: settings.clone() };
            self.metrics.set_cluster(&now);
            self.fleet.set_cluster(Some(now));
        }
    }
}

/// The settings that are other than planned, by topic.
async fn different(
    cluster: &ClusterReader,
    plan: &[TopicSpec],
) -> Result<BTreeMap<String, Vec<Difference>>, KafkaError> {
    let names: Vec<&str> = plan.iter().map(|plan| plan.name.as_str()).collect();
    let described = cluster.settings(&names, ANSWER_WITHIN).await?;
    let mut all = BTreeMap::new();
    // A topic that doesn't exist has none.
    for (plan, settings) in plan.iter().zip(described).filter_map(|(plan, it)| Some((plan, it.ok()?))) {
        let mut differs = different_settings(plan, &settings);
        differs.retain(|it| it.what != CHOSEN);
        all.insert(plan.name.clone(), differs);
    }
    Ok(all)
}
