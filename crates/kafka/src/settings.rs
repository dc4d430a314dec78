//! The settings of Kafka clients: brokers, and any property that librdkafka knows.

use std::{fmt, str::FromStr};

use clap::Args;
use rdkafka::ClientConfig;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Kafka")]
pub struct KafkaSettings {
    /// Brokers to connect to first, as host:port, separated by commas.
    #[arg(long, value_name = "BROKERS", default_value = "127.0.0.1:9092")]
    pub brokers: String,

    /// A property of librdkafka, as name=value; repeat for more. The prefix `consumer.` or `producer.` limits it to
    /// those clients. In a settings file: a table [kafka].
    #[arg(long = "kafka", id = "kafka", value_name = "NAME=VALUE", hide_env_values = true)]
    pub properties: Vec<Property>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    role: Option<Role>,
    name: String,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Consumer,
    Producer,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected name=value, such as security.protocol=SASL_SSL; pass values with commas in TOTEBOARD_KAFKA_FILE")]
pub struct InvalidProperty;

impl FromStr for Property {
    type Err = InvalidProperty;

    fn from_str(text: &str) -> Result<Self, InvalidProperty> {
        let (name, value) = text.split_once('=').ok_or(InvalidProperty)?;
        let (role, name) = if let Some(name) = name.strip_prefix("consumer.") {
            (Some(Role::Consumer), name)
        } else if let Some(name) = name.strip_prefix("producer.") {
            (Some(Role::Producer), name)
        } else {
            (None, name)
        };
        if name.trim().is_empty() {
            return Err(InvalidProperty);
        }
        Ok(Self { role, name: name.trim().to_owned(), value: value.trim().to_owned() })
    }
}

/// Formats the property as on the command line.
impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            None => "",
            Some(Role::Consumer) => "consumer.",
            Some(Role::Producer) => "producer.",
        };
        write!(f, "{role}{}={}", self.name, self.value)
    }
}

impl KafkaSettings {
    /// The configuration of a consumer, a producer, or a client that is neither. The operator's properties override
    /// these defaults.
    pub fn client(&self, role: impl Into<Option<Role>>, defaults: &[(&str, &str)]) -> ClientConfig {
        // By default, OpenSSL frees its global state when `main` returns, while threads of librdkafka may still use it.
        // This is the first use of OpenSSL in the process, and tells it not to.
        openssl_sys::init();
        let role = role.into();
        let mut config = ClientConfig::new();
        config.set("client.id", "toteboard");
        // Drops a broker that accepts a request and never answers, before users notice.
        config.set("socket.timeout.ms", "15000");
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        config.set("bootstrap.servers", &self.brokers);
        for property in &self.properties {
            if property.role.is_none() || property.role == role {
                config.set(&property.name, &property.value);
            }
        }
        config
    }

    /// The configuration of a member of a group whose partitions stand for something that one process does at a time.
    /// Another member takes over within seconds. Nothing is committed.
    pub(crate) fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.client(
            Role::Consumer,
            &[
                ("session.timeout.ms", "10000"),
                ("heartbeat.interval.ms", "1000"),
                ("partition.assignment.strategy", "cooperative-sticky"),
                ("auto.offset.reset", "latest"),
                ("enable.auto.commit", "false"),
            ],
        );
        config.set("group.id", group);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_reaches_the_clients_it_is_for() {
        let settings = KafkaSettings {
            brokers: "a:1".into(),
            properties: ["security.protocol=SSL", "consumer.session.timeout.ms=6000", "linger.ms = 7"]
                .map(|text| text.parse().unwrap())
                .to_vec(),
        };
        let consumer = settings.client(Role::Consumer, &[("linger.ms", "1")]);
        assert_eq!(consumer.get("session.timeout.ms"), Some("6000"));
        assert_eq!(consumer.get("linger.ms"), Some("7"));
        let producer = settings.client(Role::Producer, &[]);
        assert_eq!(producer.get("session.timeout.ms"), None);
        assert_eq!(producer.get("security.protocol"), Some("SSL"));
    }

    #[test]
    fn what_is_no_property_is_refused() {
        for text in ["", "=x", "name", "consumer.=x"] {
            assert!(text.parse::<Property>().is_err(), "{text:?}");
        }
    }
}
