//! Divides the partitions of a topic among the processes of a consumer group, for jobs that don't read the topic: what a
//! partition stands for is done by the one process that holds it.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, StreamConsumer},
    error::KafkaError,
    topic_partition_list::TopicPartitionListElem,
    types::RDKafkaRespErr,
};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{debug, warn};

use crate::{KafkaSettings, client_log};

/// The pause after an error.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEvent {
    /// This process holds these partitions from now on, beside those that it held.
    Assigned(Vec<i32>),
    /// It holds them no more. Another process may already have them.
    Revoked(Vec<i32>),
}

/// A member of a group. It leaves when this is dropped.
pub struct PartitionGroup {
    consumer: Arc<StreamConsumer<Context>>,
    events: mpsc::UnboundedReceiver<GroupEvent>,
    stop: CancellationToken,
    _polling: AbortOnDropHandle<()>,
}

struct Context(mpsc::UnboundedSender<GroupEvent>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client_log::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client_log::failed(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: Vec<i32> = list.elements().iter().map(TopicPartitionListElem::partition).collect();
        let is_assigned = error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if !is_assigned && !partitions.is_empty() {
            // Sent before the partitions are revoked, so that the former holder stops before the next one starts.
            let _ = self.0.send(GroupEvent::Revoked(partitions.clone()));
        }
        let done = match is_assigned {
            // Nothing is read.
            true => consumer.incremental_assign(list).and_then(|()| consumer.pause(list)),
            false => consumer.incremental_unassign(list),
        };
        if let Err(error) = done {
            warn!(%error, "partitions can't be assigned or revoked");
        }
        if is_assigned && !partitions.is_empty() {
            // Fails only if nobody is interested any more.
            let _ = self.0.send(GroupEvent::Assigned(partitions));
        }
    }
}

impl PartitionGroup {
    /// Joins the group that divides this topic.
    pub fn join(settings: &KafkaSettings, group: &str, topic: &'static str) -> Result<Self, KafkaError> {
        let (send, events) = mpsc::unbounded_channel();
        let consumer: StreamConsumer<Context> = settings.member(group).create_with_context(Context(send))?;
        consumer.subscribe(&[topic])?;
        let (consumer, stop) = (Arc::new(consumer), CancellationToken::new());
        let polling = tokio::spawn(poll(consumer.clone(), topic, stop.clone()));
        Ok(Self { consumer, events, stop, _polling: AbortOnDropHandle::new(polling) })
    }

    /// Waits for the next event. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> GroupEvent {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// Leaves the group, so that the others don't have to wait for a timeout.
    pub fn leave(&self) {
        self.consumer.unsubscribe();
    }
}

impl Drop for PartitionGroup {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Serves the group's protocol.
async fn poll(consumer: Arc<StreamConsumer<Context>>, topic: &'static str, stop: CancellationToken) {
    loop {
        let read = tokio::select! {
            () = stop.cancelled() => return,
            read = consumer.recv() => read.map(drop),
        };
        if let Err(error) = read {
            debug!(topic, %error, "the group can't be reached: retrying");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
