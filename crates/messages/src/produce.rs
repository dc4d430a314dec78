//! Requests of programs to produce records: each is carried out once, however often it is repeated.

use odds::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{MESSAGE_ID, MessageId, USER};

/// A request, with what was decided before its record was produced for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRequest {
    /// The user whose token it came with. Another user's request of the same id is another request.
    pub user: String,
    pub request_id: String,
    pub topic: String,
    /// The hash of the request's body.
    pub hash: String,
    pub partition: i32,
    pub message_id: MessageId,
    pub key: Option<String>,
    /// The record's value.
    pub value: String,
    pub began_at: Timestamp,
}

impl ProduceRequest {
    /// The headers of its record.
    pub fn headers(&self) -> [(&str, &[u8]); 2] {
        [(MESSAGE_ID, self.message_id.as_str().as_bytes()), (USER, self.user.as_bytes())]
    }
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Produced {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Timestamp,
    pub latency_ms: u64,
}

/// What became of a request when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is to be carried out: as it was decided the first time, if its first run did not come to an end.
    New(ProduceRequest),
    /// Its first run has not ended yet.
    Running,
    /// It was carried out.
    Done(Produced),
    /// A different request had this id.
    Reused,
}
