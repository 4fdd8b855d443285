//! Settings of the client → endpoints that connect when they are first used.

use std::time::Duration;

use http::{HeaderValue, Uri, uri::Scheme};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint as TonicEndpoint, Identity};

use super::{
    Client,
    call_span::{TracedCall, Tracer},
    failover::{Endpoint, Endpoints},
    observer::{ClientEvent, Observer},
};

/// Says where the ingestors are, and how to reach them.
#[derive(Clone)]
pub struct Builder {
    /// In the order in which they are tried; with a channel where the caller made it.
    uris: Vec<(String, Option<Channel>)>,
    token: Option<String>,
    ca: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    client_name: String,
    connect_timeout: Duration,
    call_timeout: Duration,
    observer: Observer,
    tracer: Tracer,
}

/// Why no client can be made of these settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Nowhere to connect to.
    #[error("missing endpoint: expected at least one like http://127.0.0.1:50051")]
    NoEndpoint,
    /// Not an address.
    #[error("invalid endpoint {uri:?}: expected http:// or https:// with a host, like http://127.0.0.1:50051")]
    Endpoint {
        /// As given.
        uri: String,
    },
    /// Certificates that would never be used.
    #[error(
        "certificates are set, but no endpoint starts with https://, so nothing would be encrypted; use an https:// endpoint, or remove the certificates"
    )]
    TlsUnused,
    /// Cannot be used.
    #[error("invalid CA certificate, client certificate or client key: {reason}; expected PEM")]
    Tls {
        /// What the TLS library says.
        reason: String,
    },
    /// Cannot be sent.
    #[error("invalid token: it contains characters that cannot be sent; expected visible ASCII")]
    Token,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            uris: Vec::new(),
            token: None,
            ca: None,
            identity: None,
            client_name: String::new(),
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(10),
            observer: Observer::default(),
            tracer: Tracer::default(),
        }
    }
}

impl Builder {
    /// One more ingestor; the first one is tried first.
    pub fn endpoint(mut self, uri: impl Into<String>) -> Self {
        self.uris.push((uri.into(), None));
        self
    }

    /// One more ingestor, reached through a channel of the caller's own: another transport, a proxy, a simulated network. The
    /// `uri` names it in messages; certificates and timeouts for connecting are the channel's business.
    pub fn channel(mut self, uri: impl Into<String>, channel: Channel) -> Self {
        self.uris.push((uri.into(), Some(channel)));
        self
    }

    /// Several ingestors: the next one on failure.
    pub fn endpoints<U: Into<String>>(mut self, uris: impl IntoIterator<Item = U>) -> Self {
        self.uris.extend(uris.into_iter().map(|uri| (uri.into(), None)));
        self
    }

    /// Sent as `authorization: Bearer <token>`.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// PEM of the certificate authority that signed the ingestors' certificates; without it the public ones count.
    pub fn ca_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(pem.into());
        self
    }

    /// PEM of this client's certificate and key, for ingestors that ask for one.
    pub fn client_certificate(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some((certificate.into(), key.into()));
        self
    }

    /// Who is asking, for the ingestor's logs.
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = name.into();
        self
    }

    /// How long a connection may take, TLS included. Default 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long one endpoint may take for a unary call, and for opening a stream. Default 10 s.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Called at each [`ClientEvent`] of every stream that the client follows: for metrics, and for whatever else wants to know. It
    /// runs inside the poll, so it has to be quick: count, and go.
    pub fn observe(mut self, observer: impl Fn(&ClientEvent<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Observer::new(observer);
        self
    }

    /// Called with the path of each call as it goes to an endpoint; what it returns is sent along, and told how the call went.
    pub fn trace(mut self, begin: impl Fn(&str) -> Option<Box<dyn TracedCall>> + Send + Sync + 'static) -> Self {
        self.tracer = Tracer::new(begin);
        self
    }

    /// The client. Nothing is connected yet, but a Tokio runtime must be there for the connections to come.
    pub fn build(self) -> Result<Client, BuildError> {
        if self.uris.is_empty() {
            return Err(BuildError::NoEndpoint);
        }
        let authorization = self.token.as_deref().map(authorization).transpose()?;
        let targets = self
            .uris
            .iter()
            .map(|(uri, channel)| self.target(uri, channel.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        let encrypted = targets.iter().any(|target| target.uri.scheme() == Some(&Scheme::HTTPS));
        if !encrypted && (self.ca.is_some() || self.identity.is_some()) {
            return Err(BuildError::TlsUnused);
        }
        let endpoints = Endpoints::new(
            targets,
            authorization,
            self.client_name,
            self.call_timeout,
            self.observer,
            self.tracer,
        );
        Ok(Client {
            endpoints: endpoints.into(),
        })
    }

    fn target(&self, text: &str, channel: Option<&Channel>) -> Result<Endpoint, BuildError> {
        let bad = || BuildError::Endpoint { uri: text.into() };
        let uri: Uri = text.trim().parse().map_err(|_| bad())?;
        let encrypted = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(bad()),
        };
        if let Some(channel) = channel {
            let channel = channel.clone();
            return Ok(Endpoint { uri, channel });
        }
        let endpoint = TonicEndpoint::from(uri.clone())
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(60)))
            // A peer that vanished without a word is noticed within 30 s, also while nothing is asked of it.
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true)
            // What may be under way unread: enough for a fast replay, small enough to be nobody's problem.
            .initial_stream_window_size(1024 * 1024)
            .initial_connection_window_size(2 * 1024 * 1024);
        let endpoint = if encrypted {
            let tls = self.tls();
            endpoint
                .tls_config(tls)
                .map_err(|error| BuildError::Tls { reason: causes(&error) })?
        } else {
            endpoint
        };
        Ok(Endpoint {
            channel: endpoint.connect_lazy(),
            uri,
        })
    }

    fn tls(&self) -> ClientTlsConfig {
        let tls = match &self.ca {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_webpki_roots(),
        };
        match &self.identity {
            Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
            None => tls,
        }
    }
}

fn authorization(token: &str) -> Result<HeaderValue, BuildError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| BuildError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

/// An error with its causes on one line: tonic's own texts stop at "transport error".
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn settings_that_cannot_work_are_named() {
        let plain = || Client::builder().endpoint("http://127.0.0.1:1");
        assert_eq!(Client::builder().build().unwrap_err(), BuildError::NoEndpoint);
        for uri in ["", "127.0.0.1:50051", "ftp://x", "/path", "http://"] {
            let error = Client::builder().endpoint(uri).build().unwrap_err();
            assert_eq!(error, BuildError::Endpoint { uri: uri.into() }, "{uri}");
        }
        assert_eq!(plain().token("a\nb").build().unwrap_err(), BuildError::Token);
        assert_eq!(plain().ca_certificate("x").build().unwrap_err(), BuildError::TlsUnused);
        let secure = Client::builder().endpoint("https://ingestor.example:50051");
        assert!(secure.clone().build().is_ok());
        let error = secure.client_certificate("no pem", "no pem").build().unwrap_err();
        assert!(matches!(error, BuildError::Tls { .. }), "{error}");
        assert!(plain().token("fine").build().is_ok());
    }
}
