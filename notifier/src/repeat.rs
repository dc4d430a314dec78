//! Produces records again that were accepted and lost.

use std::time::Duration;

use anyhow::Context;
use kafka::{KafkaSettings, NewRecord, RecordProducer, TRANSACTIONS};
use messages::{Channel, Outbox, ProduceRequest};
use odds::Timestamp;
use tracing::info;

/// How far back requests are looked at. They are remembered for as long.
const SINCE: Duration = Duration::from_secs(24 * 3_600);
const AT_ONCE: usize = 500;

/// Produces the records of all requests of the last day again that are not in the outbox. Kafka inside of this process
/// forgets everything when the process ends. A message that was sent is not sent again.
pub async fn produce_again(outbox: &dyn Outbox, kafka: &KafkaSettings, now: Timestamp) -> anyhow::Result<()> {
    let since = now.plus_millis(-(SINCE.as_millis() as i64));
    let producer = RecordProducer::new(kafka).context("producing accepted records again")?;
    let mut last: Option<ProduceRequest> = None;
    let mut produced = 0;
    loop {
        let page = outbox.requests_since(since, last.as_ref(), AT_ONCE).await?;
        for request in &page {
            if request.topic == TRANSACTIONS && !is_in_outbox(outbox, request).await? {
                let record = NewRecord {
                    topic: &request.topic,
                    partition: request.partition,
                    key: request.key.as_deref().map(str::as_bytes),
                    value: request.value.as_bytes(),
                    headers: &request.headers(),
                    at: request.began_at,
                };
                producer.send(&record).await.context("producing an accepted record again")?;
                produced += 1;
            }
        }
        match page.into_iter().last() {
            Some(request) => last = Some(request),
            None => break,
        }
    }
    if produced > 0 {
        info!(records = produced, "produced accepted records again");
    }
    Ok(())
}

/// Whether the request's message is there on each channel that it has an address for.
async fn is_in_outbox(outbox: &dyn Outbox, request: &ProduceRequest) -> anyhow::Result<bool> {
    let transaction: messages::Transaction = serde_json::from_str(&request.value)?;
    for (channel, address) in [(Channel::Email, transaction.email), (Channel::Sms, transaction.phone)] {
        if address.is_some() && outbox.message(channel, &request.message_id).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}
