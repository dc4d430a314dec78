//! The records of the topic `transactions`.

use serde::{Deserialize, Serialize};

/// The header of a record with the message's id.
pub const MESSAGE_ID: &str = "message_id";
/// The header of a record with the id of the user whose message it is.
pub const USER: &str = "user";

/// A transaction of another system, about which people are notified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    pub transaction_id: String,
    pub message_body: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
}
