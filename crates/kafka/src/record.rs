//! Converts records to and from Kafka messages.

use odds::{BadRecord, Headers, Outgoing, Record};
use rdkafka::message::{Header, Headers as _, Message, OwnedHeaders};

pub fn to_headers(record: &Outgoing) -> OwnedHeaders {
    let Headers { v, term, step } = record.headers();
    [("v", v), ("term", term), ("step", step)]
        .iter()
        .fold(OwnedHeaders::new_with_capacity(3), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        })
}

pub fn from_message(message: &impl Message) -> Result<Record, BadRecord> {
    let mut headers = Headers { v: None, term: None, step: None };
    if let Some(all) = message.headers() {
        for Header { key, value } in all.iter() {
            match key {
                "v" => headers.v = value,
                "term" => headers.term = value,
                "step" => headers.step = value,
                _ => {}
            }
        }
    }
    Record::read(headers, message.key(), message.payload())
}
