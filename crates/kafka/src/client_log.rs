//! Logs librdkafka's messages at the level that an operator needs: a failed attempt to connect is debug output, the
//! loss of the last broker is an error.

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

/// A client context that only logs.
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
        // librdkafka retries these connections and requests. If that fails, the error is logged.
        _ if ["FAIL", "REQTMOUT"].contains(&facility) => debug!(facility, "{message}"),
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => warn!(facility, "{message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => debug!(facility, "{message}"),
    }
}

pub(crate) fn failed(error: &KafkaError, reason: &str) {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::AllBrokersDown) if is_news() => warn!(reason, "no broker can be reached: retrying"),
        Some(
            RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::Resolve,
        ) => warn!(%error, reason, "a broker can't be used: retrying"),
        Some(RDKafkaErrorCode::Fatal) => error!(%error, reason, "a Kafka client failed with a fatal error"),
        _ => debug!(%error, reason, "a Kafka client reports an error"),
    }
}

/// Limits how often this is logged: every client of the process reports it every second.
fn is_news() -> bool {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let mut last = LAST.lock().expect("no code panics while holding the lock");
    let news = last.is_none_or(|last| last.elapsed() > LOG_INTERVAL);
    if news {
        *last = Some(Instant::now());
    }
    news
}
