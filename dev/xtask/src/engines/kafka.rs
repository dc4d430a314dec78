//! Prepares three Kafka brokers in KRaft mode on loopback, with a plain listener between brokers and one with TLS and
//! SASL/SCRAM for clients.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{free_ports, java, libraries};
use crate::steps::{MINUTE, empty_folder, step};

const BROKERS: usize = 3;
const CLUSTER: &str = "dG90ZWJvYXJkLWRyaWxsAA";
const USER: &str = "toteboard";
const PASSWORD: &str = "drill-secret";
const STORE_PASSWORD: &str = "keystore-secret";

/// Prepares brokers with empty disks. Returns the description that a trial reads.
pub(super) fn prepare(folder: &Path) -> anyhow::Result<Value> {
    let libraries = libraries("kafka", folder)?;
    let folder = folder.join("kafka");
    empty_folder(&folder)?;
    let certificate = certificate(&folder)?;
    let ports = free_ports(3 * BROKERS);
    let (plain, rest) = ports.split_at(BROKERS);
    let (secure, controller) = rest.split_at(BROKERS);
    let voters = (0..BROKERS).map(|at| format!("{}@127.0.0.1:{}", at + 1, controller[at]));
    let voters = voters.collect::<Vec<_>>().join(",");
    let mut brokers = Vec::new();
    for at in 0..BROKERS {
        let id = at + 1;
        let file = folder.join(format!("broker-{id}.properties"));
        let data = folder.join(format!("broker-{id}"));
        let listens = |name: &str, port: u16| format!("{name}://127.0.0.1:{port}");
        let advertised = format!("{},{}", listens("PLAINTEXT", plain[at]), listens("SECURE", secure[at]));
        let listeners = format!("{advertised},{}", listens("CONTROLLER", controller[at]));
        let store = folder.join("keystore.p12").display().to_string();
        let mut text = String::new();
        for (name, value) in [
            ("process.roles", "broker,controller"),
            ("node.id", &id.to_string()),
            ("controller.quorum.voters", &voters),
            ("listeners", &listeners),
            ("advertised.listeners", &advertised),
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL"),
            ("controller.listener.names", "CONTROLLER"),
            ("inter.broker.listener.name", "PLAINTEXT"),
            ("sasl.enabled.mechanisms", "SCRAM-SHA-512"),
            (
                "listener.name.secure.scram-sha-512.sasl.jaas.config",
                "org.apache.kafka.common.security.scram.ScramLoginModule required;",
            ),
            ("listener.name.secure.ssl.keystore.type", "PKCS12"),
            ("listener.name.secure.ssl.keystore.location", &store),
            ("listener.name.secure.ssl.keystore.password", STORE_PASSWORD),
            ("listener.name.secure.ssl.key.password", STORE_PASSWORD),
            ("log.dirs", &data.display().to_string()),
            ("offsets.topic.replication.factor", "3"),
            ("offsets.topic.num.partitions", "5"),
            ("transaction.state.log.replication.factor", "3"),
            ("transaction.state.log.min.isr", "2"),
            ("share.coordinator.state.topic.replication.factor", "3"),
            ("share.coordinator.state.topic.min.isr", "2"),
            ("group.initial.rebalance.delay.ms", "0"),
            ("auto.create.topics.enable", "false"),
            ("log.cleaner.dedupe.buffer.size", "16777216"),
            ("broker.heartbeat.interval.ms", "500"),
            ("broker.session.timeout.ms", "3000"),
        ] {
            writeln!(text, "{name}={value}")?;
        }
        fs::write(&file, text)?;
        let mut format = Command::new("java");
        format.args(java(&libraries, &[])).args(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"]).arg(&file);
        format.arg("--add-scram").arg(format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]"));
        step(&format!("an empty disk for broker {id}"), 2 * MINUTE, format.stdout(Stdio::null()))?;
        let mut command = vec!["java".to_owned()];
        command.extend(java(&libraries, &["-Xmx320m", "-XX:+UseSerialGC"]));
        command.extend(["kafka.Kafka".to_owned(), file.display().to_string()]);
        brokers.push(json!({
            "name": format!("broker {id}"),
            "command": command,
            "address": format!("127.0.0.1:{}", secure[at]),
            "log": folder.join(format!("broker-{id}.log")),
        }));
    }
    let list = |ports: &[u16]| ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
    let mut tools = vec!["java".to_owned()];
    tools.extend(java(&libraries, &[]));
    Ok(json!({
        "brokers": brokers,
        "bootstrap": list(secure),
        "properties": [
            "security.protocol=SASL_SSL",
            "sasl.mechanism=SCRAM-SHA-512",
            format!("sasl.username={USER}"),
            format!("sasl.password={PASSWORD}"),
            format!("ssl.ca.location={}", certificate.display()),
        ],
        "tools": tools,
        "tools_bootstrap": list(plain),
    }))
}

/// Creates the brokers' key, and returns the path of its certificate for clients to trust.
fn certificate(folder: &Path) -> anyhow::Result<PathBuf> {
    let store = folder.join("keystore.p12");
    let certificate = folder.join("certificate.pem");
    let keytool = |arguments: &[&str]| {
        let mut keytool = Command::new("keytool");
        keytool.args(arguments).args(["-alias", "broker", "-storetype", "PKCS12", "-storepass", STORE_PASSWORD]);
        keytool.arg("-keystore").arg(&store).stderr(Stdio::null());
        keytool
    };
    let mut make = keytool(&["-genkeypair", "-keyalg", "RSA", "-keysize", "2048", "-validity", "30"]);
    make.args(["-dname", "CN=127.0.0.1", "-ext", "san=ip:127.0.0.1", "-keypass", STORE_PASSWORD]);
    step("a key for the brokers", MINUTE, &mut make)?;
    step("its certificate", MINUTE, keytool(&["-exportcert", "-rfc"]).arg("-file").arg(&certificate))?;
    Ok(certificate)
}
