//! Drops a consumer on a separate thread, because closing it waits for brokers, which may be unreachable.

use std::ops::Deref;

use rdkafka::consumer::{ConsumerContext, StreamConsumer};
use tracing::debug;

pub(crate) struct DropInBackground<C: ConsumerContext + 'static>(Option<StreamConsumer<C>>);

impl<C: ConsumerContext + 'static> DropInBackground<C> {
    pub(crate) fn new(consumer: StreamConsumer<C>) -> Self {
        Self(Some(consumer))
    }
}

impl<C: ConsumerContext + 'static> Deref for DropInBackground<C> {
    type Target = StreamConsumer<C>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("set until dropped")
    }
}

impl<C: ConsumerContext + 'static> Drop for DropInBackground<C> {
    fn drop(&mut self) {
        let consumer = self.0.take();
        let drop_in_background = std::thread::Builder::new().name("kafka-close".into()).spawn(move || drop(consumer));
        if let Err(error) = drop_in_background {
            debug!(%error, "no thread for closing a consumer: closing it on the current thread");
        }
    }
}
