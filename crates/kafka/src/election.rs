//! Who leads a region: whoever holds the one partition of `control` in the group
//! `producer-<region>`. Kafka's own group protocol is the election; a newcomer doesn't disturb it.
//!
//! The same consumer hears what is said on `control`, so the leader learns when a reader wants a
//! board anew.

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

use crate::{CONTROL, ControlMessage, KafkaSettings, Role, client_log};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionEvent {
    Won,
    Lost,
    /// Some reader wants the board anew.
    ReloadRequested,
}

pub struct Election {
    consumer: Arc<StreamConsumer<Context>>,
    holds: watch::Receiver<bool>,
    reload_requests: mpsc::Receiver<()>,
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
                // Told before it is given up: whoever leads stops first.
                if list.count() > 0 {
                    self.holds.send_replace(false);
                }
                consumer.incremental_unassign(list)
            }
        };
        if let Err(error) = done {
            warn!(region = %self.region, %error, "the election's partition could not be taken or left");
        }
    }
}

impl Election {
    pub fn join(settings: &KafkaSettings, region: Region) -> Result<Self, KafkaError> {
        let (holds_send, holds) = watch::channel(false);
        let group = format!("producer-{region}");
        let mut config = settings.client(
            Role::Consumer,
            &[
                ("session.timeout.ms", "10000"),
                ("heartbeat.interval.ms", "1000"),
                ("partition.assignment.strategy", "cooperative-sticky"),
                ("auto.offset.reset", "latest"),
                ("enable.auto.commit", "false"),
            ],
        );
        config.set("group.id", &group);
        let consumer: StreamConsumer<Context> = config.create_with_context(Context { region, holds: holds_send })?;
        consumer.subscribe(&[CONTROL])?;
        let consumer = Arc::new(consumer);
        let (reload_request, reload_requests) = mpsc::channel(1);
        let stop = CancellationToken::new();
        tokio::spawn(listen(consumer.clone(), region, reload_request, stop.clone()));
        Ok(Self { consumer, holds, reload_requests, _stop: stop.drop_guard() })
    }

    pub fn is_won(&self) -> bool {
        *self.holds.borrow()
    }

    /// Waits for the next thing to happen. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> ElectionEvent {
        tokio::select! {
            Ok(()) = self.holds.changed() => match *self.holds.borrow_and_update() {
                true => ElectionEvent::Won,
                false => ElectionEvent::Lost,
            },
            Some(()) = self.reload_requests.recv() => ElectionEvent::ReloadRequested,
            // The consumer is gone with its task: nothing will happen any more.
            else => std::future::pending().await,
        }
    }

    /// Asks the group whether this process still holds the election: a commit is only taken from
    /// a member whose heartbeats arrive.
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

    /// Leaves the group, so that the next leader need not wait for a time-out.
    pub fn leave(&self) {
        self.consumer.unsubscribe();
    }
}

async fn listen(
    consumer: Arc<StreamConsumer<Context>>,
    region: Region,
    reload_request: mpsc::Sender<()>,
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
                    // One that waits already says it all.
                    let _ = reload_request.try_send(());
                }
            }
            Err(error) => {
                debug!(%region, %error, "the election's consumer is in trouble");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
