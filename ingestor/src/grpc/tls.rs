//! TLS of the server: PEM texts → what a handshake needs, replaceable while it serves.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::WebPkiClientVerifier,
    },
};

/// gRPC is HTTP/2.
const PROTOCOL: &[u8] = b"h2";

/// Why the certificate, key or CA cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS: {0}")]
pub struct TlsError(String);

/// Certificate, key and, with mTLS, the CA of clients. Clones share what [`Tls::replace`] puts in.
#[derive(Clone)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

impl Tls {
    /// From PEM texts. `client_ca`: clients have to show a certificate signed by one of these.
    pub fn new(certificate: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<Self, TlsError> {
        let config = config(certificate, key, client_ca)?;
        Ok(Self(Arc::new(ArcSwap::from_pointee(config))))
    }

    /// From here on handshakes are made with what `other` holds; connections that exist stay as they are.
    pub fn replace(&self, other: &Self) {
        self.0.store(other.0.load_full());
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.0.load_full().into()
    }
}

/// Shows nothing of the key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

fn config(certificate: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<ServerConfig, TlsError> {
    let chain = certificates("the certificate", certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| TlsError(format!("the key is not a PEM private key: {error}")))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError(error.to_string()))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates("the client CA", pem)? {
                roots
                    .add(authority)
                    .map_err(|error| TlsError(format!("the client CA is not a valid CA certificate: {error}")))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| TlsError(error.to_string()))?)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| TlsError(format!("the certificate and the key do not match: {error}")))?;
    config.alpn_protocols.push(PROTOCOL.to_vec());
    Ok(config)
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| TlsError(format!("{what} is not a PEM file: {error}")))?;
    if read.is_empty() {
        return Err(TlsError(format!("{what}: the file contains no PEM certificate")));
    }
    Ok(read)
}
