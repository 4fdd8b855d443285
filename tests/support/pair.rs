//! An ingestor and a notifier over the fakes, with the settings that all measurements share.

use std::path::Path;

use tempfile::TempDir;

use crate::{
    FakeUpstream,
    fake_upstream::FIRST,
    process::{Binary, Service, free_address},
};

/// Settings of a service: pairs of variable and value.
pub type Settings = Vec<(&'static str, String)>;

/// The folder and the free addresses of one ingestor and one notifier.
#[derive(Debug)]
pub struct Pair {
    folder: TempDir,
    /// The address of the ingestor's gRPC server.
    pub grpc: String,
    ingestor_http: String,
    notifier_http: String,
}

impl Pair {
    /// Creates the folder and picks the addresses.
    ///
    /// # Panics
    ///
    /// Panics if the temporary folder cannot be created or no port is free.
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a scratch folder"),
            grpc: free_address(),
            ingestor_http: free_address(),
            notifier_http: free_address(),
        }
    }

    /// Returns the temporary folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the URL of the ingestor.
    pub fn url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// Returns the URL of a service's metrics.
    pub fn metrics_url(&self, of: Binary) -> String {
        let address = match of {
            Binary::Ingestor => &self.ingestor_http,
            Binary::Notifier => &self.notifier_http,
        };
        format!("http://{address}/metrics")
    }

    /// Returns the settings of an ingestor that reads from the first document as fast as it can.
    ///
    /// `more` overrides these settings.
    pub fn ingestor(&self, upstream: &FakeUpstream, more: &[(&'static str, &str)]) -> Settings {
        let mut settings = upstream.settings().to_vec();
        settings.extend([
            ("INGESTOR_GRPC_ADDR", self.grpc.clone()),
            ("INGESTOR_HTTP_ADDR", self.ingestor_http.clone()),
            ("INGESTOR_DATA_DIR", self.place("ingestor")),
            ("INGESTOR_FEED_START", FIRST.to_string()),
            ("INGESTOR_FEED_POLL_INTERVAL", "50ms".into()),
            ("INGESTOR_FEED_RATE", "100000".into()),
            ("INGESTOR_MAX_CALLS", "10000".into()),
        ]);
        settings.extend(owned(more));
        settings
    }

    /// Returns the settings of a notifier that follows the ingestor.
    ///
    /// `sink` has the settings of the sink, `rows` is the content of the subscriptions file, and `more` overrides both.
    ///
    /// # Panics
    ///
    /// Panics if the file cannot be written.
    pub fn notifier(&self, sink: &[(&'static str, String)], rows: &str, more: &[(&'static str, &str)]) -> Settings {
        let file = self.place("subscriptions.toml");
        std::fs::write(&file, rows).expect("a scratch file");
        let mut settings = sink.to_vec();
        settings.extend([
            ("NOTIFIER_INGESTOR_URLS", self.url()),
            ("NOTIFIER_HTTP_ADDR", self.notifier_http.clone()),
            ("NOTIFIER_ADMIN_ADDR", String::new()),
            ("NOTIFIER_DATA_DIR", self.place("notifier")),
            ("NOTIFIER_SUBSCRIPTIONS_FILE", file),
        ]);
        settings.extend(owned(more));
        settings
    }

    fn place(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}

/// Starts a service and waits until it is ready.
pub async fn ready(binary: Binary, settings: &[(&'static str, String)]) -> Service {
    let mut service = Service::start(binary, settings).await;
    service.ready().await;
    service
}

fn owned(more: &[(&'static str, &str)]) -> Settings {
    more.iter()
        .map(|(variable, value)| (*variable, (*value).to_owned()))
        .collect()
}
