//! A stand-in zKillboard, ESI and static data host, in this process, each on its own loopback port as in life.
//!
//! Tests publish documents, script faults, and read back every request that came. What it answers follows the facts that
//! the services were written against: `sequence.json` lags by up to 50 documents, a file that is not there yet is a 404,
//! gzip only when asked for, one unknown id fails a whole batch of names.

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

/// The number of the first document published, unless the test begins elsewhere.
pub const FIRST: u64 = 97_500_000;

/// The three stand-ins. Dropping it closes them.
#[derive(Debug)]
pub struct FakeUpstream {
    world: Arc<Hosts>,
    feed: SocketAddr,
    esi: SocketAddr,
    static_data: SocketAddr,
    servers: Vec<JoinHandle<()>>,
}

/// What the three hosts share.
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
    /// (killmail id, hash) → ESI body, of everything published.
    killmails: HashMap<(u64, String), Value>,
    static_data: static_data::Archive,
    esi_errors: esi::ErrorLimit,
    faults: fault::Faults,
}

impl Hosts {
    /// No lock is held across an await, and a panicking test must not poison the others' view of it.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FakeUpstream {
    /// Starts all three on free loopback ports, with the static data beside the project if it is there, else the sample.
    pub async fn start() -> Self {
        Self::start_with(static_data::Archive::best()).await
    }

    /// Starts with the bundled static data sample, whatever lies beside the project.
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
                axum::serve(listener, app).await.expect("serve never ends");
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

    /// For `INGESTOR_FEED_URL`.
    pub fn feed_url(&self) -> String {
        format!("http://{}", self.feed)
    }

    /// For `INGESTOR_ESI_URL`.
    pub fn esi_url(&self) -> String {
        format!("http://{}", self.esi)
    }

    /// For `INGESTOR_STATIC_DATA_URL`.
    pub fn static_data_url(&self) -> String {
        format!("http://{}", self.static_data)
    }

    /// The three settings that make an ingestor live in this world.
    pub fn settings(&self) -> [(&'static str, String); 3] {
        [
            ("INGESTOR_FEED_URL", self.feed_url()),
            ("INGESTOR_ESI_URL", self.esi_url()),
            ("INGESTOR_STATIC_DATA_URL", self.static_data_url()),
        ]
    }

    /// Publishes a document under the next number, which it returns. `sequence_id` is set to it.
    pub fn publish(&self, document: Value) -> u64 {
        let number = self.reserve();
        self.deliver(number, document);
        number
    }

    /// Publishes many, in order; returns the first and the last number.
    ///
    /// # Panics
    /// If there are none.
    pub fn publish_all(&self, documents: impl IntoIterator<Item = Value>) -> (u64, u64) {
        let numbers: Vec<u64> = documents.into_iter().map(|document| self.publish(document)).collect();
        (numbers[0], numbers[numbers.len() - 1])
    }

    /// Takes the next number without publishing anything: a hole, until [`FakeUpstream::deliver`] fills it late.
    pub fn reserve(&self) -> u64 {
        self.world.lock().feed.reserve()
    }

    /// Uploads a document under a number that was reserved, or again under one that was used (a re-upload).
    pub fn deliver(&self, number: u64, mut document: Value) {
        document["sequence_id"] = number.into();
        let mut inner = self.world.lock();
        inner.remember(&document);
        let body = serde_json::to_vec(&document).expect("a Value is JSON");
        inner.feed.put(number, body.into());
    }

    /// As [`FakeUpstream::publish`], but the document says `"esi": null`: the body is to be had from ESI alone.
    pub fn publish_without_esi(&self, mut document: Value) -> u64 {
        self.world.lock().remember(&document);
        document["esi"] = Value::Null;
        self.publish(document)
    }

    /// Publishes a line of the bundled sample the way it is meant.
    pub fn play(&self, entry: SampleLine) -> u64 {
        match entry {
            SampleLine::Document(document) => self.publish(document),
            SampleLine::WithoutEsi(document) => self.publish_without_esi(document),
            SampleLine::Placeholder => self.publish_placeholder(),
        }
    }

    /// Publishes bytes as they are: broken JSON, say.
    pub fn publish_raw(&self, body: impl Into<Bytes>) -> u64 {
        let number = self.reserve();
        self.world.lock().feed.put(number, body.into());
        number
    }

    /// Publishes a placeholder: every field null, as zKillboard's publisher leaves them when it has nothing.
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

    /// Writes a day (`20260801`) of the history: all of these in the list of hashes; the bodies of those that `has_body` says no to are
    /// to be had from ESI alone.
    pub fn write_history(&self, day: &str, documents: &[Value], has_body: impl Fn(u64) -> bool) {
        let mut inner = self.world.lock();
        documents.iter().for_each(|document| inner.remember(document));
        inner.history.write(day, documents, has_body);
    }

    /// Makes a document disappear, as files past their keeping time do.
    pub fn expire(&self, number: u64) {
        self.world.lock().feed.remove(number);
    }

    /// Begins at another number; only before anything is published.
    pub fn begin_at(&self, number: u64) {
        self.world.lock().feed = feed::Board::new(number);
    }

    /// What `sequence.json` says from now on: `Some` = always this number; `None` = the number of the newest document when
    /// it was last rewritten, which happens once more than 50 were added (the default).
    pub fn show_sequence(&self, number: Option<u64>) {
        self.world.lock().feed.fixed = number;
    }

    /// Rewrites `sequence.json` now: it names the newest document.
    pub fn rewrite_sequence(&self) {
        self.world.lock().feed.rewrite();
    }

    /// The number that the next document will get.
    pub fn next_number(&self) -> u64 {
        self.world.lock().feed.next()
    }

    /// Answers the requests for this document with `fault`: the next `times`, or all of them from now on.
    pub fn fault(&self, number: u64, fault: Fault, times: Option<usize>) {
        self.world.lock().faults.set_document(number, fault, times);
    }

    /// Answers every request to a host with `fault`: the next `times`, or all of them until [`FakeUpstream::heal`].
    pub fn host_fault(&self, host: Host, fault: Fault, times: Option<usize>) {
        self.world.lock().faults.set_host(host, fault, times);
    }

    /// Ends every fault of a host, and those of single documents.
    pub fn heal(&self, host: Host) {
        self.world.lock().faults.heal(host);
    }

    /// Names that ESI will know.
    pub fn names<T>(&self, change: impl FnOnce(&mut FakeNames) -> T) -> T {
        change(&mut self.world.lock().names)
    }

    /// Gives the static data another build number: a new release, with the same content.
    pub fn release_static_data(&self, build: u64) {
        self.world.lock().static_data.build = build;
    }

    /// Build number of the static data served.
    pub fn static_data_build(&self) -> u64 {
        self.world.lock().static_data.build
    }

    /// Every request that came so far.
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
    /// ESI knows the body and everyone in it from the moment zKillboard does.
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

/// Writes every request and the status of its answer into the journal, and lets host-wide faults answer first.
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

/// Shared by the three hosts' routers.
type Routes = Router<Arc<Hosts>>;
