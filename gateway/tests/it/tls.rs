//! A gateway that terminates TLS itself. Clients reach it through a bridge that speaks TLS for them.

use std::{path::Path, sync::Arc, time::Duration};

use client::{BoardMirrors, Client};
use rcgen::CertifiedKey;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName},
    },
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    guest::TOKEN,
    http,
    live_board::{LiveBoard, REGION},
    polling::Poller,
    stage::{DEADLINE, Running, Stage, until},
};

const NAME: &str = "odds.example.com";

/// A certificate that signs itself, in two files.
struct Files {
    folder: TempDir,
    der: CertificateDer<'static>,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let der = write_pair(folder.path());
        Self { folder, der }
    }

    fn settings(&self) -> [String; 2] {
        let of = |option: &str, file: &str| format!("--{option}={}", self.folder.path().join(file).display());
        [of("tls-cert", "cert.pem"), of("tls-key", "key.pem")]
    }
}

/// Writes a new certificate and its key, and returns the certificate.
fn write_pair(folder: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

/// Connects as a client that trusts only this certificate.
async fn secured(address: &str, certificate: &CertificateDer<'static>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = versions.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(NAME).unwrap();
    TlsConnector::from(Arc::new(config.with_no_client_auth())).connect(name, stream).await
}

/// Speaks TLS to the gateway for clients that don't.
struct Bridge {
    address: String,
    _serving: AbortOnDropHandle<()>,
}

impl Bridge {
    /// With a pause, it reads little at a time from the gateway, and waits in between.
    async fn start(gateway: &str, certificate: &CertificateDer<'static>, pause: Option<Duration>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (gateway, certificate) = (gateway.to_owned(), certificate.clone());
        let serving = async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                client.set_nodelay(true).unwrap();
                let Ok(stream) = secured(&gateway, &certificate).await else { continue };
                // An error means that one of the two is gone.
                tokio::spawn(async move { carry(client, stream, pause).await.ok() });
            }
        };
        Self { address, _serving: AbortOnDropHandle::new(tokio::spawn(serving)) }
    }
}

async fn carry(client: TcpStream, gateway: TlsStream<TcpStream>, pause: Option<Duration>) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_gateway, mut to_gateway) = tokio::io::split(gateway);
    let back = async {
        let Some(pause) = pause else { return copy(&mut from_gateway, &mut to_client).await.map(drop) };
        let mut buffer = vec![0; 4_096];
        while let read @ 1.. = from_gateway.read(&mut buffer).await? {
            to_client.write_all(&buffer[..read]).await?;
            sleep(pause).await;
        }
        Ok(())
    };
    tokio::select! {
        done = copy(&mut from_client, &mut to_gateway) => done.map(drop),
        done = back => done,
    }
}

struct Scene {
    gateway: Running,
    files: Files,
    board: LiveBoard,
    _stage: Stage,
}

impl Scene {
    async fn set() -> Self {
        let (stage, files) = (Stage::set().await, Files::new());
        let board = LiveBoard::start(&stage, 60).await;
        let settings = files.settings();
        let origin = format!("--public-origin=https://{NAME}");
        let gateway = stage.starting("one", &[&settings[0], &settings[1], &origin]).await;
        let scene = Self { gateway, files, board, _stage: stage };
        let bridge = scene.bridge(None).await;
        until("the gateway is ready", async || http::get(&bridge.address, "/readyz", &[]).await.status == 200).await;
        scene
    }

    async fn bridge(&self, pause: Option<Duration>) -> Bridge {
        Bridge::start(&self.gateway.address, &self.files.der, pause).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn boards_are_exact_over_tls_for_quick_and_slow_clients() {
    let mut scene = Scene::set().await;
    let (quick, slow) = (scene.bridge(None).await, scene.bridge(Some(Duration::from_millis(20))).await);
    let auth = json!({ "v": 1, "token": TOKEN, "regions": [REGION] });
    let mut clients = Vec::new();
    for bridge in [&quick, &slow] {
        clients.push((Client::connect(&bridge.address, &auth).await.unwrap(), BoardMirrors::default()));
    }
    let mut poller = Poller::connect(&quick.address, &[REGION]).await;
    for _ in 0..10 {
        scene.board.steps(5).await;
        for (client, mirrors) in &mut clients {
            scene.board.is_reached_by(client, mirrors).await;
        }
        poller.poll().await;
    }
    assert_eq!(scene.gateway.metric("toteboard_gateway_connections"), 2.0 + 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_read_again_when_it_changes() {
    let scene = Scene::set().await;
    let other = Files::new();
    assert!(secured(&scene.gateway.address, &other.der).await.is_err(), "a certificate that the client doesn't know");
    // A pair that doesn't fit is not used.
    let folder = scene.files.folder.path();
    std::fs::copy(other.folder.path().join("cert.pem"), folder.join("cert.pem")).unwrap();
    sleep(Duration::from_secs(12)).await;
    secured(&scene.gateway.address, &scene.files.der).await.expect("the former certificate is good still");
    std::fs::copy(other.folder.path().join("key.pem"), folder.join("key.pem")).unwrap();
    until("the new certificate is used", async || secured(&scene.gateway.address, &other.der).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_speak_tls_is_sent_away() {
    let scene = Scene::set().await;
    let mut plain = TcpStream::connect(&scene.gateway.address).await.unwrap();
    plain.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(DEADLINE, plain.read_to_end(&mut answer)).await.expect("the connection ends").ok();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    // One that says nothing is ended, too, like any other without a request.
    let mut silent = TcpStream::connect(&scene.gateway.address).await.unwrap();
    let over = timeout(DEADLINE, silent.read_to_end(&mut answer)).await;
    assert!(over.is_ok(), "a client that never begins is ended");
}

#[test]
fn both_files_must_be_there_and_fit() {
    let (files, other) = (Files::new(), Files::new());
    let message = |certificate: &Path, key: &Path| {
        let arguments = [format!("--tls-cert={}", certificate.display()), format!("--tls-key={}", key.display())];
        refused(&arguments.each_ref().map(String::as_str))
    };
    let (certificate, key) = (files.folder.path().join("cert.pem"), files.folder.path().join("key.pem"));
    assert!(message(&certificate, &other.folder.path().join("key.pem")).contains("don't fit"));
    assert!(message(&key, &key).contains("has none"));
    assert!(message(Path::new("/nowhere.pem"), &key).contains("--tls-cert /nowhere.pem"));
    assert!(message(&certificate, &certificate).contains("the file of the key has none"));
}

/// Why a gateway with these settings doesn't start.
fn refused(settings: &[&str]) -> String {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stage = runtime.block_on(Stage::set());
    runtime.block_on(stage.refused(settings))
}
