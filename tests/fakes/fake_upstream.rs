//! A fake zKillboard, ESI and static data host in the test process, each on its own loopback port.
//!
//! Tests publish documents, script faults, and read back every request. The responses follow the observed behavior of
//! the real hosts: `sequence.json` lags by up to 50 documents, a future file is a 404, bodies are compressed only on
//! request, and one unknown id fails a whole batch of names.

mod esi;
mod fault;
mod feed;
mod history;
mod journal;
mod names;
mod static_data;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
};
use bytes::Bytes;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::corpus::SampleLine;

pub use fault::Fault;
pub use journal::{Host, Journal, RecordedRequest};
pub use names::FakeNames;

/// The default sequence of the first document.
pub const FIRST: u64 = 97_500_000;

/// The three fake hosts. Dropping it closes them.
#[derive(Debug)]
pub struct FakeUpstream {
    world: Arc<Hosts>,
    feed: SocketAddr,
    esi: SocketAddr,
    static_data: SocketAddr,
    servers: Vec<JoinHandle<()>>,
}

/// The state of the three hosts.
#[derive(Debug)]
struct Hosts {
    inner: Mutex<Inner>,
    journal: Journal,
}

#[derive(Debug)]
struct Inner {
    feed: feed::Board,
    history: history::HistoryFiles,
    names: FakeNames,
    /// The ESI bodies of all published killmails, by killmail id and hash.
    killmails: HashMap<(u64, String), Value>,
    static_data: static_data::Archive,
    esi_errors: esi::ErrorLimit,
    faults: fault::Faults,
}

impl Hosts {
    /// Locks the state, also after another test panicked with the lock. No caller holds it across an await.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FakeUpstream {
    /// Starts the hosts on free loopback ports.
    ///
    /// The static data comes from `../shared/data`, or from the bundled sample if the folder does not exist.
    pub async fn start() -> Self {
        Self::start_with(static_data::Archive::best()).await
    }

    /// Starts the hosts with the bundled static data, even if `../shared/data` exists.
    pub async fn start_with_sample() -> Self {
        Self::start_with(static_data::Archive::sample()).await
    }

    async fn start_with(static_data: static_data::Archive) -> Self {
        let world = Arc::new(Hosts {
            inner: Mutex::new(Inner {
                feed: feed::Board::new(FIRST),
                history: history::HistoryFiles::default(),
                names: FakeNames::bundled(),
                killmails: HashMap::new(),
                static_data,
                esi_errors: esi::ErrorLimit::default(),
                faults: fault::Faults::default(),
            }),
            journal: Journal::default(),
        });
        let mut servers = Vec::new();
        let mut addresses = Vec::new();
        for (host, routes) in [
            (Host::Feed, feed::routes().merge(history::routes())),
            (
                Host::Esi,
                esi::routes().layer(middleware::from_fn_with_state(Arc::clone(&world), esi::limits)),
            ),
            (Host::StaticData, static_data::routes()),
        ] {
            let watched = (Arc::clone(&world), host);
            let app = routes
                .layer(middleware::from_fn_with_state(watched, watch))
                .with_state(Arc::clone(&world));
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free loopback port");
            addresses.push(listener.local_addr().expect("a bound socket has an address"));
            servers.push(tokio::spawn(async move {
                axum::serve(listener, app)
                    .await
                    .expect("axum::serve runs until the task is aborted");
            }));
        }
        Self {
            world,
            feed: addresses[0],
            esi: addresses[1],
            static_data: addresses[2],
            servers,
        }
    }

    /// Returns the value for `INGESTOR_FEED_URL`.
    pub fn feed_url(&self) -> String {
        format!("http://{}", self.feed)
    }

    /// Returns the value for `INGESTOR_ESI_URL`.
    pub fn esi_url(&self) -> String {
        format!("http://{}", self.esi)
    }

    /// Returns the value for `INGESTOR_STATIC_DATA_URL`.
    pub fn static_data_url(&self) -> String {
        format!("http://{}", self.static_data)
    }

    /// Returns the three settings that connect an ingestor to these hosts.
    pub fn settings(&self) -> [(&'static str, String); 3] {
        [
            ("INGESTOR_FEED_URL", self.feed_url()),
            ("INGESTOR_ESI_URL", self.esi_url()),
            ("INGESTOR_STATIC_DATA_URL", self.static_data_url()),
        ]
    }

    /// Publishes a document under the next sequence, which it also sets as `sequence_id` and returns.
    pub fn publish(&self, document: Value) -> u64 {
        let number = self.reserve();
        self.deliver(number, document);
        number
    }

    /// Publishes documents in order and returns the first and the last sequence.
    ///
    /// # Panics
    ///
    /// Panics if there are no documents.
    pub fn publish_all(&self, documents: impl IntoIterator<Item = Value>) -> (u64, u64) {
        let numbers: Vec<u64> = documents.into_iter().map(|document| self.publish(document)).collect();
        (numbers[0], numbers[numbers.len() - 1])
    }

    /// Takes the next sequence without a document: a hole, until [`FakeUpstream::deliver`] fills it.
    pub fn reserve(&self) -> u64 {
        self.world.lock().feed.reserve()
    }

    /// Uploads a document under a reserved sequence, or again under a published one.
    pub fn deliver(&self, number: u64, mut document: Value) {
        document["sequence_id"] = number.into();
        let mut inner = self.world.lock();
        inner.remember(&document);
        let body = serde_json::to_vec(&document).expect("a Value is JSON");
        inner.feed.put(number, body.into());
    }

    /// Publishes a document with `"esi": null`, so that only ESI has its body.
    pub fn publish_without_esi(&self, mut document: Value) -> u64 {
        self.world.lock().remember(&document);
        document["esi"] = Value::Null;
        self.publish(document)
    }

    /// Publishes a line of the bundled sample as its variant requires.
    pub fn play(&self, entry: SampleLine) -> u64 {
        match entry {
            SampleLine::Document(document) => self.publish(document),
            SampleLine::WithoutEsi(document) => self.publish_without_esi(document),
            SampleLine::Placeholder => self.publish_placeholder(),
        }
    }

    /// Publishes raw bytes, such as malformed JSON.
    pub fn publish_raw(&self, body: impl Into<Bytes>) -> u64 {
        let number = self.reserve();
        self.world.lock().feed.put(number, body.into());
        number
    }

    /// Publishes a placeholder, in which zKillboard's publisher left every field null.
    pub fn publish_placeholder(&self) -> u64 {
        let zkb = serde_json::json!({
            "locationID": null, "hash": null, "fittedValue": null, "droppedValue": null, "destroyedValue": null,
            "totalValue": null, "points": null, "npc": null, "solo": null, "awox": null, "labels": null,
            "href": "https://esi.evetech.net/killmails///"
        });
        self.publish(serde_json::json!({
            "killmail_id": null, "hash": null, "esi": null, "zkb": zkb, "uploaded_at": null
        }))
    }

    /// Writes one day (`20260801`) of the history files.
    ///
    /// The list of hashes has every document. The file of bodies has only those that `has_body` selects; the others are
    /// available from ESI.
    pub fn write_history(&self, day: &str, documents: &[Value], has_body: impl Fn(u64) -> bool) {
        let mut inner = self.world.lock();
        documents.iter().for_each(|document| inner.remember(document));
        inner.history.write(day, documents, has_body);
    }

    /// Removes a document, like zKillboard does after its retention.
    pub fn expire(&self, number: u64) {
        self.world.lock().feed.remove(number);
    }

    /// Sets the first sequence. Call it before anything is published.
    pub fn begin_at(&self, number: u64) {
        self.world.lock().feed = feed::Board::new(number);
    }

    /// Fixes the number in `sequence.json`, or restores the default with `None`.
    ///
    /// By default the file names the newest document at its last rewrite, and is rewritten after more than 50 new
    /// documents.
    pub fn show_sequence(&self, number: Option<u64>) {
        self.world.lock().feed.fixed = number;
    }

    /// Rewrites `sequence.json` with the newest sequence.
    pub fn rewrite_sequence(&self) {
        self.world.lock().feed.rewrite();
    }

    /// Returns the sequence of the next document.
    pub fn next_number(&self) -> u64 {
        self.world.lock().feed.next()
    }

    /// Fails the next `times` requests for this document with `fault`; `None` lasts until [`FakeUpstream::heal`].
    pub fn fault(&self, number: u64, fault: Fault, times: Option<usize>) {
        self.world.lock().faults.set_document(number, fault, times);
    }

    /// Fails the next `times` requests to a host with `fault`; `None` lasts until [`FakeUpstream::heal`].
    pub fn host_fault(&self, host: Host, fault: Fault, times: Option<usize>) {
        self.world.lock().faults.set_host(host, fault, times);
    }

    /// Removes all faults of a host, including those of single documents.
    pub fn heal(&self, host: Host) {
        self.world.lock().faults.heal(host);
    }

    /// Changes the names that ESI knows.
    pub fn names<T>(&self, change: impl FnOnce(&mut FakeNames) -> T) -> T {
        change(&mut self.world.lock().names)
    }

    /// Publishes a new release of the static data: another build number, the same content.
    pub fn release_static_data(&self, build: u64) {
        self.world.lock().static_data.build = build;
    }

    /// Returns the build number of the static data.
    pub fn static_data_build(&self) -> u64 {
        self.world.lock().static_data.build
    }

    /// Returns the journal of all requests.
    pub fn journal(&self) -> &Journal {
        &self.world.journal
    }
}

impl Drop for FakeUpstream {
    fn drop(&mut self) {
        self.servers.iter().for_each(JoinHandle::abort);
    }
}

impl Inner {
    /// Adds the body and every participant in it to ESI.
    fn remember(&mut self, document: &Value) {
        let (Some(id), Some(hash)) = (document["killmail_id"].as_u64(), document["hash"].as_str()) else {
            return;
        };
        if document["esi"].is_object() {
            self.names.remember(&document["esi"]);
            self.killmails.insert((id, hash.to_owned()), document["esi"].clone());
        }
    }
}

/// Records every request with the status of its response. Faults of the whole host apply first.
async fn watch(State((world, host)): State<(Arc<Hosts>, Host)>, request: Request, next: Next) -> Response {
    let entry = world
        .journal
        .start(host, request.method(), request.uri(), request.headers());
    let fault = world.lock().faults.take_host(host);
    let response = match fault {
        Some(fault) => fault.answer(Bytes::new()).await,
        None => next.run(request).await,
    };
    world.journal.end(entry, response.status());
    response
}

type Routes = Router<Arc<Hosts>>;
