//! Whose certificates are believed: the authorities of the system's store, read when the first endpoint with TLS is called
//! and again now and then, so that an authority that is added there counts without a restart.

use std::io::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

/// The system's authorities are read again when they are needed and older than this.
const FRESH: Duration = Duration::from_secs(300);

/// Makes TLS connections to endpoints with trusted certificates.
pub(super) struct Trust {
    /// `None`: the system's.
    fixed: Option<RootCertStore>,
    made: Mutex<Option<(Instant, TlsConnector)>>,
}

impl Trust {
    /// The authorities that the system trusts.
    pub(super) fn system() -> Trust {
        Trust { fixed: None, made: Mutex::default() }
    }

    /// Just these.
    #[cfg(test)]
    pub(super) fn only(roots: RootCertStore) -> Trust {
        Trust { fixed: Some(roots), made: Mutex::default() }
    }

    /// What connects.
    pub(super) async fn connector(&self) -> std::io::Result<TlsConnector> {
        let mut made = self.made.lock().await;
        if let Some((at, connector)) = &*made
            && at.elapsed() < FRESH
        {
            return Ok(connector.clone());
        }
        let roots = match &self.fixed {
            Some(roots) => roots.clone(),
            None => tokio::task::spawn_blocking(system_roots).await.map_err(Error::other)?,
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        *made = Some((Instant::now(), connector.clone()));
        Ok(connector)
    }
}

fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some of the system's certificate authorities cannot be read");
    }
    let mut roots = RootCertStore::empty();
    let (n_used, n_unused) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(n_used, n_unused, "the system's certificate authorities are read");
    if n_used == 0 {
        tracing::warn!("the system has no certificate authorities: no https endpoint can be trusted");
    }
    roots
}
