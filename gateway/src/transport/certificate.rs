//! The certificate of a gateway that terminates TLS itself. It is read again when its files change.

use std::{
    fmt, mem,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::Duration,
};

use anyhow::Context;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use sha2::{Digest, Sha256};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

const LOOKED_AT_EVERY: Duration = Duration::from_secs(10);

/// The certificate with its key, from two files.
#[derive(Debug)]
pub(crate) struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    /// The hash of what the files held when they were read last.
    read: Hash,
    current: Arc<Current>,
}

type Hash = [u8; 32];

struct Current(RwLock<Arc<CertifiedKey>>);

impl Certificate {
    pub(crate) fn read(certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let read = files(certificate, key)?;
        let certified = certified(&read)
            .with_context(|| format!("--tls-cert {}, --tls-key {}", certificate.display(), key.display()))?;
        let current = Arc::new(Current(RwLock::new(Arc::new(certified))));
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), read: hash(&read), current })
    }

    /// How connections are secured. New ones get the certificate that is current then.
    pub(crate) fn config(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let versions = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?;
        let mut config = versions.with_no_client_auth().with_cert_resolver(self.current.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Clients that come back need no signature, and the gateway keeps nothing for that.
        config.ticketer = ring::Ticketer::new()?;
        Ok(Arc::new(config))
    }

    /// Reads the files again when they change, as they do every few months. A pair that is not valid is not used.
    pub(crate) async fn follow(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut ticks = interval(LOOKED_AT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            let (certificate, key) = (self.certificate.clone(), self.key.clone());
            match tokio::task::spawn_blocking(move || files(&certificate, &key)).await? {
                Ok(files) => {
                    let read = hash(&files);
                    if mem::replace(&mut self.read, read) == read {
                        continue;
                    }
                    match certified(&files) {
                        Ok(certified) => {
                            *self.current.0.write().expect("nobody panics while holding it") = Arc::new(certified);
                            info!(certificate = %self.certificate.display(), "the certificate was read again");
                        }
                        Err(error) => warn!(error = %format!("{error:#}"), "the new certificate is not used"),
                    }
                }
                Err(error) => warn!(error = %format!("{error:#}"), "the certificate can't be read again"),
            }
        }
    }
}

fn hash((certificate, key): &(Vec<u8>, Vec<u8>)) -> Hash {
    Sha256::new().chain_update(Sha256::digest(certificate)).chain_update(key).finalize().into()
}

fn files(certificate: &Path, key: &Path) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let read = |option: &str, file: &Path| {
        std::fs::read(file).with_context(|| format!("{option} {}: the file can't be read", file.display()))
    };
    Ok((read("--tls-cert", certificate)?, read("--tls-key", key)?))
}

fn certified((certificate, key): &(Vec<u8>, Vec<u8>)) -> anyhow::Result<CertifiedKey> {
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.context("the certificate is not PEM")?;
    anyhow::ensure!(!chain.is_empty(), "the file of the certificate has none");
    let key = PrivateKeyDer::from_pem_slice(key).context("the file of the key has none as PEM")?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).context("the certificate and the key don't fit")
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().expect("nobody panics while holding it").clone())
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}
