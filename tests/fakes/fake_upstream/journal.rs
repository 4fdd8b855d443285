//! The journal of all requests, for tests of a client's rate and headers.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::http::{HeaderMap, Method, StatusCode, Uri};

/// One of the three hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Host {
    /// zKillboard's R2Z2.
    Feed,
    /// ESI.
    Esi,
    /// The static data export.
    StaticData,
}

/// One request and the status of its response.
#[derive(Debug, Clone)]
pub struct RecordedRequest {
    /// The time at which the server had read the request's head.
    pub at: Instant,
    pub host: Host,
    pub method: Method,
    /// The path with its query.
    pub path: String,
    pub headers: HeaderMap,
    /// The status of the response, or `None` while it is pending.
    pub status: Option<u16>,
    number: u64,
}

impl RecordedRequest {
    /// Returns a header as text; empty if the header is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// All requests in the order of their arrival.
#[derive(Debug, Default)]
pub struct Journal {
    seen: Mutex<Vec<RecordedRequest>>,
    numbers: AtomicU64,
}

impl Journal {
    /// Returns every request so far.
    pub fn all(&self) -> Vec<RecordedRequest> {
        self.lock().clone()
    }

    /// Returns the requests to one host.
    pub fn of(&self, host: Host) -> Vec<RecordedRequest> {
        self.lock().iter().filter(|seen| seen.host == host).cloned().collect()
    }

    /// Returns the number of requests for one path of a host.
    pub fn count(&self, host: Host, path: &str) -> usize {
        let log = self.lock();
        log.iter().filter(|seen| seen.host == host && seen.path == path).count()
    }

    /// Removes all recorded requests.
    pub fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn start(&self, host: Host, method: &Method, uri: &Uri, headers: &HeaderMap) -> u64 {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let path = uri
            .path_and_query()
            .map_or_else(|| uri.path().to_owned(), ToString::to_string);
        self.lock().push(RecordedRequest {
            at: Instant::now(),
            host,
            method: method.clone(),
            path,
            headers: headers.clone(),
            status: None,
            number,
        });
        number
    }

    /// Records the status of a request. The entry may be gone if the test cleared the journal.
    pub(super) fn end(&self, number: u64, status: StatusCode) {
        let mut log = self.lock();
        if let Some(seen) = log.iter_mut().rev().find(|seen| seen.number == number) {
            seen.status = Some(status.as_u16());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RecordedRequest>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
