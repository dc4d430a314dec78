//! Logs librdkafka's messages at the level that an operator needs: a failed attempt to connect is debug output, the loss
//! of the last broker is an error.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};
use tracing::{debug, error, warn};

const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// The context of a client that only logs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plain;

impl ClientContext for Plain {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        failed(&error, reason);
    }
}

impl ConsumerContext for Plain {}

pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => error!(facility, "{message}"),
        // Connections and requests that fail and are tried again. The error that follows is logged.
        _ if ["FAIL", "REQTMOUT"].contains(&facility) => debug!(facility, "{message}"),
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => warn!(facility, "{message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => debug!(facility, "{message}"),
    }
}

pub(crate) fn failed(error: &KafkaError, reason: &str) {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::AllBrokersDown) if is_news() => warn!(reason, "no broker can be reached; trying on"),
        Some(
            RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::Resolve,
        ) => warn!(%error, reason, "a broker can't be used; trying on"),
        Some(RDKafkaErrorCode::Fatal) => error!(%error, reason, "Kafka refuses this client for good"),
        _ => debug!(%error, reason, "Kafka is in trouble"),
    }
}

/// Every client of the process says so every second; once in a while is enough.
fn is_news() -> bool {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let mut last = LAST.lock().expect("nobody panics while holding it");
    let news = last.is_none_or(|last| last.elapsed() > LOG_INTERVAL);
    if news {
        *last = Some(Instant::now());
    }
    news
}
