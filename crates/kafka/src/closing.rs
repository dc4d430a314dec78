//! A consumer whose end holds nobody up: closing one waits for brokers, and they may be away.

use std::ops::Deref;

use rdkafka::consumer::{ConsumerContext, StreamConsumer};
use tracing::debug;

pub(crate) struct Closing<C: ConsumerContext + 'static>(Option<StreamConsumer<C>>);

impl<C: ConsumerContext + 'static> Closing<C> {
    pub(crate) fn new(consumer: StreamConsumer<C>) -> Self {
        Self(Some(consumer))
    }
}

impl<C: ConsumerContext + 'static> Deref for Closing<C> {
    type Target = StreamConsumer<C>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl<C: ConsumerContext + 'static> Drop for Closing<C> {
    fn drop(&mut self) {
        let consumer = self.0.take();
        let closing = std::thread::Builder::new().name("kafka-close".into()).spawn(move || drop(consumer));
        if let Err(error) = closing {
            debug!(%error, "a consumer was closed without a thread");
        }
    }
}
