//! Checks docker-compose.yml: which service is on which network, and what requires a password.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

const FILE: &str = include_str!("../../../../docker-compose.yml");
const OWN_MACHINES: &str = include_str!("../../../../deploy/own-machines.yml");
const PRODUCERS: [&str; 4] = ["producer-au", "producer-eu", "producer-uk", "producer-us"];

#[derive(Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
    #[serde(default)]
    networks: BTreeMap<String, Network>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(default)]
    image: String,
    #[serde(default)]
    command: Vec<String>,
    networks: Option<Vec<String>>,
    network_mode: Option<String>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Network {
    #[serde(default)]
    internal: bool,
    ipam: Addresses,
}

#[derive(Deserialize)]
struct Addresses {
    config: Vec<Range>,
}

#[derive(Deserialize)]
struct Range {
    subnet: String,
}

type Table = BTreeMap<String, BTreeSet<String>>;

fn compose() -> Compose {
    serde_saphyr::from_str(FILE).expect("docker-compose.yml")
}

fn table<'a>(rows: impl IntoIterator<Item = (&'a str, &'a [&'a str])>) -> Table {
    rows.into_iter().map(|(key, values)| (key.to_owned(), values.iter().map(ToString::to_string).collect())).collect()
}

#[test]
fn only_what_must_reach_the_outside_is_on_an_outer_network() {
    let Compose { services, networks } = compose();
    let mut outer = Table::new();
    for (name, service) in &services {
        let own = match (service.network_mode.as_deref(), &service.networks) {
            (None, Some(networks)) => networks.clone(),
            // Compose's default network has access to the outside.
            (None, None) => vec!["default".to_owned()],
            (Some("none"), None) => continue,
            // Another service's network, which is checked for that service.
            (Some(mode), None) if mode.strip_prefix("service:").is_some_and(|it| services.contains_key(it)) => continue,
            (Some(mode), _) => vec![mode.to_owned()],
        };
        for network in own.into_iter().filter(|network| !networks.get(network).is_some_and(|it| it.internal)) {
            outer.entry(network).or_default().insert(name.clone());
        }
    }
    // A real mail server and a real SMS provider are outside, as the odds API is.
    let upstream: Vec<&str> = PRODUCERS.into_iter().chain(["notifier"]).collect();
    let expected: [(&str, &[&str]); 3] = [
        ("outside", &["web"]),
        ("upstream", &upstream),
        ("monitoring", &["grafana", "mailpit", "prometheus", "sms-simulator"]),
    ];
    assert_eq!(outer, table(expected));
}

/// Docker could pick a range for another network that overlaps with the proxy's range, which must be known.
#[test]
fn every_network_has_a_range_of_its_own() {
    let networks = compose().networks;
    let ranges: BTreeSet<&str> =
        networks.values().flat_map(|network| &network.ipam.config).map(|range| range.subnet.as_str()).collect();
    assert_eq!(ranges.len(), networks.len());
    let gateway = &compose().services["gateway"];
    assert_eq!(gateway.environment["TOTEBOARD_TRUSTED_PROXY"], networks["front"].ipam.config[0].subnet);
}

#[test]
fn only_pages_are_published_and_on_this_machine() {
    let services = compose().services;
    let published = services.iter().filter(|(_, service)| !service.ports.is_empty());
    let names: Vec<&str> = published.clone().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["grafana", "mailpit", "prometheus", "sms-simulator", "web"]);
    for (name, service) in published {
        for port in &service.ports {
            let port = port.replace("${TOTEBOARD_PUBLISH:-127.0.0.1:8080}", "127.0.0.1:8080");
            assert!(port.starts_with("127.0.0.1:"), "{name} publishes {port}");
        }
    }
}

#[test]
fn every_kafka_listener_asks_for_a_password() {
    let services = compose().services;
    let brokers: Vec<_> = services.iter().filter(|(_, service)| service.image.starts_with("apache/kafka:")).collect();
    assert_eq!(brokers.len(), 3);
    for (name, Service { environment, .. }) in brokers {
        let setting = |key: &str| environment.get(key).unwrap_or_else(|| panic!("{name} has no {key}")).as_str();
        let protocols: BTreeMap<&str, &str> =
            setting("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP").split(',').filter_map(|it| it.split_once(':')).collect();
        let listeners: Vec<&str> =
            setting("KAFKA_LISTENERS").split(',').filter_map(|it| Some(it.split_once("://")?.0)).collect();
        assert_eq!(listeners.len(), 2);
        for listener in listeners {
            let protocol = protocols.get(listener).unwrap_or_else(|| panic!("{name}: {listener} has no protocol"));
            assert!(protocol.starts_with("SASL_"), "{name}: {listener} is {protocol}");
        }
        for mechanism in ["ENABLED_MECHANISMS", "MECHANISM_CONTROLLER_PROTOCOL", "MECHANISM_INTER_BROKER_PROTOCOL"] {
            assert_eq!(setting(&format!("KAFKA_SASL_{mechanism}")), "PLAIN");
        }
        assert!(setting("KAFKA_OPTS").contains("-Djava.security.auth.login.config=/etc/kafka/secrets/jaas.conf"));
    }
}

#[test]
fn mongodb_asks_for_a_password() {
    assert_eq!(compose().services["mongodb"].command, ["mongod", "--auth"]);
}

/// Whatever names a server in docker-compose.yml names another one in the file for several machines.
#[test]
fn on_own_machines_programs_reach_what_runs_elsewhere() {
    let Compose { services, networks } = compose();
    let own: Compose = serde_saphyr::from_str(OWN_MACHINES).expect("deploy/own-machines.yml");
    let secrets = |service: &Service| service.volumes.iter().any(|volume| volume.ends_with(":/run/secrets:ro"));
    for (name, service) in &services {
        let settings = service.environment.iter().filter(|(_, value)| {
            ["kafka-1:", "//questdb:", "//mongodb:", "//simulator:", "//mailpit:", "//sms-simulator:"]
                .iter()
                .any(|server| value.contains(server))
        });
        // Brokers name each other.
        for (setting, _) in settings.filter(|(setting, _)| setting.starts_with("TOTEBOARD_")) {
            let changed = own.services.get(name).and_then(|service| service.environment.get(setting));
            assert!(changed.is_some_and(|it| it.starts_with("${TOTEBOARD_")), "{name}: {setting}");
        }
    }
    for (name, service) in &own.services {
        assert!(secrets(&services[name]) && secrets(service), "{name} reads its own secrets");
        let reaches = |network: &String| !networks[network].internal;
        assert!(service.networks.iter().flatten().any(reaches), "{name} reaches no other machine");
    }
}

/// QuestDB asks for no password, so nothing outside may reach it.
#[test]
fn the_history_is_inside_and_on_the_disk_before_it_is_acknowledged() {
    let services = compose().services;
    let questdb = &services["questdb"];
    assert_eq!(questdb.networks.as_deref(), Some(&["inside".to_owned()][..]));
    assert_eq!(questdb.environment["QDB_CAIRO_COMMIT_MODE"], "sync");
    assert_eq!(questdb.environment["QDB_TELEMETRY_ENABLED"], "false");
    for program in ["gateway", "historian"] {
        assert_eq!(services[program].environment["TOTEBOARD_HISTORY"], "questdb:http://questdb:9000", "{program}");
    }
}

#[test]
fn each_program_can_read_its_own_passwords_only() {
    let mut readers = Table::new();
    let mut writers = BTreeSet::new();
    for (name, service) in compose().services {
        for volume in service.volumes {
            let Some((volume, place)) = volume.split_once(':') else { panic!("{name}: {volume} has no name") };
            if !volume.ends_with("-secrets") {
                continue;
            }
            if place.ends_with(":ro") {
                readers.entry(volume.to_owned()).or_default().insert(name.clone());
            } else {
                writers.insert(name.clone());
            }
        }
    }
    let producers: Vec<&str> = PRODUCERS.into_iter().chain(["topic-creator"]).collect();
    let expected: [(&str, &[&str]); 7] = [
        ("alerter-secrets", &["alerter"]),
        ("broker-secrets", &["kafka-1", "kafka-2", "kafka-3"]),
        ("gateway-secrets", &["gateway"]),
        ("historian-secrets", &["historian"]),
        ("mongodb-secrets", &["mongodb", "mongodb-users"]),
        ("notifier-secrets", &["notifier"]),
        ("producer-secrets", &producers),
    ];
    assert_eq!(readers, table(expected));
    assert_eq!(writers, BTreeSet::from(["secrets".to_owned()]));
}
