//! Watches the brokers and the topics.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fleet::Cluster;
use kafka::{Difference, all_topics, different_settings};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::session::AppState;

const LOOK_EVERY: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// Settings change only by hand.
const SETTINGS_EVERY: Duration = Duration::from_secs(300);
/// How long changes are kept is the operator's choice.
const CHOSEN: &str = "min.compaction.lag.ms";

impl AppState {
    /// Looks at the cluster, again and again.
    pub(crate) async fn watch_cluster(
        self: Arc<Self>,
        cluster: kafka::Cluster,
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
                    continue;
                }
            };
            if settings_at.is_none_or(|at| at.elapsed() > SETTINGS_EVERY) {
                settings_at = Some(Instant::now());
                settings = different(&cluster, &plan).await;
            }
            let now = Cluster { state, plan: plan.clone(), settings: settings.clone() };
            let topics = || now.state.topics.iter();
            let differing = topics().filter(|topic| !now.differences(&topic.name).is_empty()).count();
            let metrics = &self.metrics;
            metrics.brokers_missing.set(now.state.missing_brokers().len() as i64);
            metrics.without_leader.set(topics().map(kafka::Topic::without_leader).sum::<usize>() as i64);
            metrics.out_of_sync.set(topics().map(kafka::Topic::out_of_sync).sum::<usize>() as i64);
            metrics.topics_missing.set(now.missing_topics().count() as i64);
            metrics.topics_differing.set(differing as i64);
            self.fleet.set_cluster(Some(now));
        }
    }
}

/// The settings that are other than planned, by topic. A cluster that doesn't tell has none.
async fn different(cluster: &kafka::Cluster, plan: &[kafka::TopicSpec]) -> BTreeMap<String, Vec<Difference>> {
    let mut all = BTreeMap::new();
    for plan in plan {
        match cluster.settings(&plan.name, ANSWER_WITHIN).await {
            Ok(settings) => {
                let mut differs = different_settings(plan, &settings);
                differs.retain(|it| it.what != CHOSEN);
                all.insert(plan.name.clone(), differs);
            }
            Err(error) => {
                debug!(topic = plan.name, %error, "a topic's settings can't be read");
                break;
            }
        }
    }
    all
}
