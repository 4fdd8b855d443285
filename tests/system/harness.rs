//! Starts the services for the tests of this binary, as real processes against the fakes.

use std::{path::Path, time::Duration};

use killfeed::{
    client::{Client, EventKind, FollowOptions, Start},
    v1::{GetFeedStatusRequest, GetFeedStatusResponse, Killmail},
};
use killfeed_support::{
    FakeUpstream,
    fake_upstream::FIRST,
    process::{Binary, LIMIT, Service, eventually, free_address},
};
use tempfile::TempDir;

use crate::recorder::{CheckedEvents, NextEvent};

/// The time that a test waits for an event before it fails as a hang.
pub(crate) const TEST_TIMEOUT: Duration = LIMIT;

/// An ingestor that a test can kill and restart with the same folder and ports.
pub(crate) struct TestIngestor {
    pub(crate) data: TempDir,
    pub(crate) grpc: String,
    pub(crate) http: String,
    extra: Vec<(&'static str, String)>,
    upstream: Vec<(&'static str, String)>,
    service: Option<Service>,
}

impl TestIngestor {
    /// Starts an ingestor and waits until it is ready.
    ///
    /// The settings in `extra` override the defaults of the tests.
    pub(crate) async fn start(upstream: &FakeUpstream, extra: &[(&'static str, &str)]) -> Self {
        let mut ingestor = Self {
            data: tempfile::tempdir().unwrap(),
            grpc: free_address(),
            http: free_address(),
            extra: extra
                .iter()
                .map(|(variable, value)| (*variable, (*value).to_owned()))
                .collect(),
            upstream: upstream.settings().into(),
            service: None,
        };
        ingestor.launch().await;
        ingestor
    }

    /// Changes a setting for the next start.
    pub(crate) fn set(&mut self, variable: &'static str, value: &str) {
        self.extra.push((variable, value.to_owned()));
    }

    /// Returns the settings; later ones override earlier ones.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = self.upstream.clone();
        settings.extend([
            ("INGESTOR_GRPC_ADDR", self.grpc.clone()),
            ("INGESTOR_HTTP_ADDR", self.http.clone()),
            ("INGESTOR_DATA_DIR", self.data.path().display().to_string()),
            ("INGESTOR_FEED_START", FIRST.to_string()),
            ("INGESTOR_FEED_POLL_INTERVAL", "50ms".to_owned()),
            ("INGESTOR_FEED_RATE", "100000".to_owned()),
            // Tests query the status many times a second.
            ("INGESTOR_MAX_CALLS", "10000".to_owned()),
        ]);
        settings.extend(self.extra.iter().cloned());
        settings
    }

    /// Starts or restarts the ingestor and waits until it is ready.
    pub(crate) async fn launch(&mut self) {
        let mut service = Service::start(Binary::Ingestor, &self.settings()).await;
        service.ready().await;
        self.service = Some(service);
    }

    /// Sends SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.service.take().expect("the ingestor runs").kill().await;
    }

    /// Sends SIGKILL and starts the ingestor again with the same folder and ports.
    pub(crate) async fn kill_and_begin(&mut self) {
        self.kill().await;
        self.launch().await;
    }

    pub(crate) fn service(&mut self) -> &mut Service {
        self.service.as_mut().expect("the ingestor runs")
    }

    /// Sends SIGTERM and returns the exit code.
    pub(crate) async fn stop(&mut self) -> Option<i32> {
        self.service.take().expect("the ingestor runs").stop().await.code()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    pub(crate) fn client(&self) -> Client {
        Client::builder()
            .endpoint(self.url())
            .client_name("system test")
            .call_timeout(TEST_TIMEOUT)
            .build()
            .unwrap()
    }

    pub(crate) async fn status(&self) -> GetFeedStatusResponse {
        let client = self.client();
        let mut killmails = client.killmails();
        match killmails.get_feed_status(GetFeedStatusRequest {}).await {
            Ok(status) => status.into_inner(),
            Err(error) => {
                let said = self.service.as_ref().map(Service::stderr).unwrap_or_default();
                panic!("the ingestor does not report its status: {error}\n{said}");
            }
        }
    }

    /// Waits until the log holds this number of killmails.
    pub(crate) async fn wait_for_killmails(&self, killmails: u64) {
        let what = format!("the log holds {killmails} killmails");
        eventually(&what, TEST_TIMEOUT, async || self.status().await.killmails >= killmails).await;
        assert_eq!(self.status().await.killmails, killmails);
    }

    /// Returns the value of one metric, summed over its labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        metric(&self.http, name).await
    }
}

/// Returns the value of a service's metric, summed over its labels, or 0 if it does not exist.
pub(crate) async fn metric(http: &str, name: &str) -> f64 {
    let text = get(&format!("http://{http}/metrics")).await;
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    text.lines()
        .filter(of_name)
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Returns the body of an HTTP response and fails the test on a timeout.
pub(crate) async fn get(url: &str) -> String {
    let client = reqwest::Client::builder().timeout(TEST_TIMEOUT).build().unwrap();
    client.get(url).send().await.unwrap().text().await.unwrap()
}

/// Follows the log from its beginning and checks the events with the validator.
pub(crate) fn from_the_beginning(client: &Client, filter: &str) -> CheckedEvents {
    CheckedEvents::new(client, FollowOptions::new(filter, Start::Earliest))
}

/// Returns the next `n` killmails of a stream.
pub(crate) async fn killmails(events: &mut impl NextEvent, n: usize) -> Vec<Killmail> {
    let mut seen = Vec::with_capacity(n);
    while seen.len() < n {
        let event = tokio::time::timeout(TEST_TIMEOUT, events.next_event()).await;
        let event = event.unwrap_or_else(|_| panic!("{} of {n} killmails came within {TEST_TIMEOUT:?}", seen.len()));
        if let EventKind::Killmail(killmail) = event.unwrap().kind {
            seen.push(*killmail);
        }
    }
    seen
}

/// Returns the bytes of every file below a folder, to prove that a folder is untouched.
pub(crate) fn bytes_below(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(bytes_below(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            all.push((path, bytes));
        }
    }
    all.sort();
    all
}
