//! A record as its handler sees it.

use std::fmt;

use rdkafka::{
    Timestamp,
    message::{Header, Headers, Message, OwnedHeaders},
};

/// Headers of dead letters: why it is one, where it was, and when it became one.
pub(crate) const DEAD_REASON: &str = "dead_reason";
pub(crate) const DEAD_ORIGIN: &str = "dead_origin";
pub(crate) const DEAD_AT: &str = "dead_at";
const DEAD_HEADERS: [&str; 3] = [DEAD_REASON, DEAD_ORIGIN, DEAD_AT];

/// A record of any topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRecord {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// When it was written, in milliseconds since 1970; `None` if the topic has no times.
    pub written_at: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl TopicRecord {
    pub(crate) fn new(message: &impl Message) -> Self {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|Header { key, value }| (key.to_owned(), value.map(<[u8]>::to_vec))).collect()
        });
        let written_at = match message.timestamp() {
            Timestamp::NotAvailable => None,
            Timestamp::CreateTime(at) | Timestamp::LogAppendTime(at) => Some(at),
        };
        Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            written_at,
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
        }
    }

    /// Where it was before it became a dead letter: its topic, partition and offset.
    pub fn dead_origin(&self) -> Option<(&str, i32, i64)> {
        let mut parts = self.header(DEAD_ORIGIN)?.rsplitn(3, '/');
        let (offset, partition) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some((parts.next()?, partition, offset))
    }

    /// The headers that it had before it became a dead letter.
    pub fn headers_before_death(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let alive = self.headers.iter().filter(|(name, _)| !DEAD_HEADERS.contains(&name.as_str()));
        alive.map(|(name, value)| (name.as_str(), value.as_deref().unwrap_or_default()))
    }

    /// The value of the last header of this name, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rfind(|(key, _)| key == name)?;
        str::from_utf8(value.as_deref()?).ok()
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum();
        size_of::<Self>() + self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len) + headers
    }

    pub(super) fn kafka_headers(&self) -> OwnedHeaders {
        self.headers.iter().fold(OwnedHeaders::new_with_capacity(self.headers.len() + 3), |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_deref() })
        })
    }
}

/// Names its place, as `transactions/2/17`.
impl fmt::Display for TopicRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}
