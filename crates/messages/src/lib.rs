//! Messages to people: the outbox in which they wait, its stores, and the channels by which they leave.
//!
//! A message is in the [`Outbox`] once for each channel. Workers lease recipients, send what is due by a [`Provider`],
//! and note the outcome. This crate knows neither Kafka nor HTTP requests of users.

mod address;
mod channel;
mod email;
mod folder;
mod gsm;
mod message;
mod mongo;
mod outbox;
mod produce;
mod provider;
mod signing;
mod sms;
mod sqlite;
mod store_url;
mod text;
mod transaction;
mod unit;
mod webhook;

pub use address::{EmailAddress, InvalidEmailAddress, InvalidPhoneNumber, PhoneNumber};
pub use channel::{Channel, UnknownChannel};
pub use email::{EmailFiles, EmailSender, InvalidSender, InvalidSmtpUrl, SmtpProvider, SmtpUrl};
pub use folder::Folder;
pub use message::{AccountChange, Content, InvalidMessageId, MessageId, NewMessage, State, StoredMessage};
pub use mongo::MongoOutbox;
pub use outbox::{Claim, Finished, Lease, Limit, Outbox, OutboxCounts, Outcome, StatusReport, StoreError, next_day};
pub use produce::{Begun, ProduceRequest, Produced};
pub use provider::{Accepted, Delivery, Fault, Provider, Refusal};
pub use signing::{
    CODE_WITHIN_MS, CONFIRM_WITHIN_MS, InvalidLink, Links, PASSWORD_WITHIN_MS, Permit, SMS_STATUS, SigningKey,
    id_in_path,
};
pub use sms::{SmsAccount, SmsFiles, SmsProvider};
pub use sqlite::SqliteOutbox;
pub use store_url::{InvalidOutbox, OutboxUrl};
pub use text::{EmailText, sms_text};
pub use transaction::{MESSAGE_ID, Transaction, USER};
pub use webhook::{is_signed, signature};
