//! Elects one leader for a job in a region: the process that holds the one partition of `control` in the job's consumer
//! group. Kafka's own group protocol is the election, and a newcomer doesn't disturb the leader.
//!
//! The leader's consumer also reads the messages on `control`, where readers request the whole board.

use std::{sync::Arc, time::Duration};

use odds::Region;
use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, StreamConsumer},
    error::KafkaError,
    message::Message,
    types::RDKafkaRespErr,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};

use crate::{CONTROL, ControlMessage, KafkaSettings, client_log};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionEvent {
    Won,
    Lost,
    /// A reader asks the leading producer to publish the whole board again.
    RepublishRequested,
}

pub struct Election {
    consumer: Arc<StreamConsumer<Context>>,
    holds: watch::Receiver<bool>,
    republish_requests: mpsc::Receiver<()>,
    _stop: DropGuard,
}

struct Context {
    region: Region,
    holds: watch::Sender<bool>,
}

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
        let done = match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                if list.count() > 0 {
                    self.holds.send_replace(true);
                }
                consumer.incremental_assign(list)
            }
            _ => {
                // Sent before the partition is revoked, so that the former leader stops before the next one starts.
                if list.count() > 0 {
                    self.holds.send_replace(false);
                }
                consumer.incremental_unassign(list)
            }
        };
        if let Err(error) = done {
            warn!(region = %self.region, %error, "the election's partition can't be assigned or revoked");
        }
    }
}

impl Election {
    /// Joins the election of the one process that does this job for the region. `role` names the job, for example
    /// `producer`.
    pub fn join(settings: &KafkaSettings, role: &str, region: Region) -> Result<Self, KafkaError> {
        let (holds_send, holds) = watch::channel(false);
        let group = format!("{role}-{region}");
        let consumer: StreamConsumer<Context> =
            settings.member(&group).create_with_context(Context { region, holds: holds_send })?;
        consumer.subscribe(&[CONTROL])?;
        let consumer = Arc::new(consumer);
        let (republish_request, republish_requests) = mpsc::channel(1);
        let stop = CancellationToken::new();
        tokio::spawn(read_control(consumer.clone(), region, republish_request, stop.clone()));
        Ok(Self { consumer, holds, republish_requests, _stop: stop.drop_guard() })
    }

    pub fn is_won(&self) -> bool {
        *self.holds.borrow()
    }

    /// Waits for the next event. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> ElectionEvent {
        tokio::select! {
            Ok(()) = self.holds.changed() => match *self.holds.borrow_and_update() {
                true => ElectionEvent::Won,
                false => ElectionEvent::Lost,
            },
            Some(()) = self.republish_requests.recv() => ElectionEvent::RepublishRequested,
            // The consumer's task has ended: there will be no more events.
            else => std::future::pending().await,
        }
    }

    /// Checks with the group that this process is still the leader: Kafka accepts a commit only from a member whose
    /// heartbeats arrive.
    pub async fn confirm(&self) -> bool {
        let consumer = self.consumer.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let position = consumer.position()?;
            let mut list = TopicPartitionList::new();
            for element in position.elements() {
                let offset = match element.offset() {
                    rdkafka::Offset::Offset(offset) => offset,
                    _ => 0,
                };
                list.add_partition_offset(element.topic(), element.partition(), rdkafka::Offset::Offset(offset))?;
            }
            if list.count() == 0 {
                return Ok(false);
            }
            consumer.commit(&list, CommitMode::Sync).map(|()| true)
        });
        match asked.await {
            Ok(Ok(holds)) => holds && self.is_won(),
            Ok(Err(error)) => {
                debug!(%error, "the group does not confirm the election");
                false
            }
            Err(_) => false,
        }
    }

    /// Leaves the group, so that the next leader doesn't have to wait for a timeout.
    pub fn leave(&self) {
        self.consumer.unsubscribe();
    }
}

async fn read_control(
    consumer: Arc<StreamConsumer<Context>>,
    region: Region,
    republish_request: mpsc::Sender<()>,
    stop: CancellationToken,
) {
    loop {
        let message = tokio::select! {
            () = stop.cancelled() => return,
            message = consumer.recv() => message,
        };
        match message {
            Ok(message) => {
                let message = message.payload().and_then(|payload| serde_json::from_slice(payload).ok());
                if message == Some(ControlMessage::Republish { region }) {
                    // Fails if a request is already queued, and one is enough.
                    let _ = republish_request.try_send(());
                }
            }
            Err(error) => {
                debug!(%region, %error, "the election's consumer can't read: retrying");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
