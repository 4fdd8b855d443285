//! The services as the tests of this binary start them: real processes against the stand-ins.

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

/// How long a test waits for an event before it fails as a hang.
pub(crate) const TEST_TIMEOUT: Duration = LIMIT;

/// An ingestor that can be killed and started again in the same place.
pub(crate) struct TestIngestor {
    pub(crate) data: TempDir,
    pub(crate) grpc: String,
    pub(crate) http: String,
    extra: Vec<(&'static str, String)>,
    upstream: Vec<(&'static str, String)>,
    service: Option<Service>,
}

impl TestIngestor {
    /// Starts one and waits until it is ready. `extra` settings win over the defaults of tests.
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

    /// Another setting for the next start.
    pub(crate) fn set(&mut self, variable: &'static str, value: &str) {
        self.extra.push((variable, value.to_owned()));
    }

    /// Its settings; later ones win.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = self.upstream.clone();
        settings.extend([
            ("INGESTOR_GRPC_ADDR", self.grpc.clone()),
            ("INGESTOR_HTTP_ADDR", self.http.clone()),
            ("INGESTOR_DATA_DIR", self.data.path().display().to_string()),
            ("INGESTOR_FEED_START", FIRST.to_string()),
            ("INGESTOR_FEED_POLL_INTERVAL", "50ms".to_owned()),
            ("INGESTOR_FEED_RATE", "100000".to_owned()),
            // Tests ask many times a second how things stand.
            ("INGESTOR_MAX_CALLS", "10000".to_owned()),
        ]);
        settings.extend(self.extra.iter().cloned());
        settings
    }

    /// Starts it (again) and waits until it is ready.
    pub(crate) async fn launch(&mut self) {
        let mut service = Service::start(Binary::Ingestor, &self.settings()).await;
        service.ready().await;
        self.service = Some(service);
    }

    /// kill -9.
    pub(crate) async fn kill(&mut self) {
        self.service.take().expect("it runs").kill().await;
    }

    /// kill -9, and a new start in the same place.
    pub(crate) async fn kill_and_begin(&mut self) {
        self.kill().await;
        self.launch().await;
    }

    pub(crate) fn service(&mut self) -> &mut Service {
        self.service.as_mut().expect("it runs")
    }

    /// SIGTERM, and its exit code.
    pub(crate) async fn stop(&mut self) -> Option<i32> {
        self.service.take().expect("it runs").stop().await.code()
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
                panic!("the ingestor does not say its status: {error}\n{said}");
            }
        }
    }

    /// Waits until the log holds so many killmails.
    pub(crate) async fn wait_for_killmails(&self, killmails: u64) {
        let what = format!("{killmails} killmails in the log");
        eventually(&what, TEST_TIMEOUT, async || self.status().await.killmails >= killmails).await;
        assert_eq!(self.status().await.killmails, killmails);
    }

    /// The value of one metric, all its labels summed.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        metric(&self.http, name).await
    }
}

/// The value of one metric of a service, all its labels summed; 0 if it is not there.
pub(crate) async fn metric(http: &str, name: &str) -> f64 {
    let text = get(&format!("http://{http}/metrics")).await;
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    text.lines()
        .filter(of_name)
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// The body of an answer, within bounds.
pub(crate) async fn get(url: &str) -> String {
    let client = reqwest::Client::builder().timeout(TEST_TIMEOUT).build().unwrap();
    client.get(url).send().await.unwrap().text().await.unwrap()
}

/// Follows from the log's beginning, under the validator's eyes.
pub(crate) fn from_the_beginning(client: &Client, filter: &str) -> CheckedEvents {
    CheckedEvents::new(client, FollowOptions::new(filter, Start::Earliest))
}

/// The next `n` killmails of a stream.
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

/// Whether a file's bytes are as before: what "left untouched" means.
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
