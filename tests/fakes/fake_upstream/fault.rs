//! Scripted failures of responses.

use std::{collections::HashMap, convert::Infallible, io::Write as _, time::Duration};

use axum::{
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::{StreamExt as _, stream};

use super::journal::Host;

/// A failure of one response.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// A 404: the file does not exist (yet).
    NotFound,
    /// A 429 with zKillboard's text, and optionally a `Retry-After` in seconds.
    TooManyRequests(Option<u64>),
    /// A 403, as for a blank User-Agent or a banned address.
    Forbidden,
    /// Any other status, with an error body in ESI's format.
    Status(u16),
    /// The request is read, but the response never comes.
    Stall,
    /// A 200 whose body never comes.
    StallInBody,
    /// A body sent one byte at a time, with this delay between bytes.
    Drip(Duration),
    /// A complete response whose gzip body is truncated.
    TruncatedGzip,
    /// The connection drops in the middle of the body.
    Cut,
    /// A 200 with an empty body.
    Empty,
    /// A 200 with this body.
    Body(Bytes),
    /// The correct response, after this delay.
    Late(Duration),
}

/// The body of zKillboard's 429 responses.
const BAN: &str = "exceeded rate limit of 15/s! ban will last up to 1 hour";

impl Fault {
    /// Returns the faulty response in place of `body`.
    pub(super) async fn answer(self, body: Bytes) -> Response {
        let json = [(header::CONTENT_TYPE, "application/json")];
        match self {
            Self::NotFound => StatusCode::NOT_FOUND.into_response(),
            Self::TooManyRequests(None) => (StatusCode::TOO_MANY_REQUESTS, BAN).into_response(),
            Self::TooManyRequests(Some(seconds)) => {
                let after = [(header::RETRY_AFTER, seconds.to_string())];
                (StatusCode::TOO_MANY_REQUESTS, after, BAN).into_response()
            }
            Self::Forbidden => (StatusCode::FORBIDDEN, "Forbidden").into_response(),
            Self::Status(code) => {
                let status = StatusCode::from_u16(code).expect("a valid status");
                (status, json, r#"{"error":"a fault that the test scripted"}"#).into_response()
            }
            Self::Stall => std::future::pending().await,
            Self::StallInBody => {
                let never = stream::pending::<Result<Bytes, Infallible>>();
                (json, Body::from_stream(never)).into_response()
            }
            Self::Drip(apart) => {
                let drops: Vec<Bytes> = body.chunks(1).map(Bytes::copy_from_slice).collect();
                let slow = stream::iter(drops).then(move |drop| async move {
                    tokio::time::sleep(apart).await;
                    Ok::<_, Infallible>(drop)
                });
                (json, Body::from_stream(slow)).into_response()
            }
            Self::TruncatedGzip => {
                let whole = gzip(&body);
                let half = whole.slice(..whole.len() / 2);
                ([(header::CONTENT_ENCODING, "gzip")], json, half).into_response()
            }
            Self::Cut => {
                let half = body.slice(..body.len() / 2);
                let cut = stream::once(async {
                    // The first half must be sent before the error, because hyper sends nothing after an error.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Err(std::io::Error::other("cut by the test"))
                });
                let cut = stream::iter([Ok(half)]).chain(cut);
                (json, Body::from_stream(cut)).into_response()
            }
            Self::Empty => json.into_response(),
            Self::Body(bytes) => (json, bytes).into_response(),
            Self::Late(late) => {
                tokio::time::sleep(late).await;
                (json, body).into_response()
            }
        }
    }
}

/// Compresses a body like the real hosts do.
pub(super) fn gzip(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).expect("writing to memory");
    encoder.finish().expect("writing to memory").into()
}

/// The scripted faults of documents and hosts.
#[derive(Debug, Default)]
pub(super) struct Faults {
    documents: HashMap<u64, Planned>,
    hosts: HashMap<Host, Planned>,
}

#[derive(Debug)]
struct Planned {
    fault: Fault,
    /// `None` lasts until the test heals the host.
    times: Option<usize>,
}

impl Faults {
    pub(super) fn set_document(&mut self, number: u64, fault: Fault, times: Option<usize>) {
        self.documents.insert(number, Planned { fault, times });
    }

    pub(super) fn set_host(&mut self, host: Host, fault: Fault, times: Option<usize>) {
        self.hosts.insert(host, Planned { fault, times });
    }

    pub(super) fn heal(&mut self, host: Host) {
        self.hosts.remove(&host);
        if host == Host::Feed {
            self.documents.clear();
        }
    }

    pub(super) fn take_document(&mut self, number: u64) -> Option<Fault> {
        take(&mut self.documents, &number)
    }

    pub(super) fn take_host(&mut self, host: Host) -> Option<Fault> {
        take(&mut self.hosts, &host)
    }
}

fn take<K: std::hash::Hash + Eq>(plans: &mut HashMap<K, Planned>, key: &K) -> Option<Fault> {
    let planned = plans.get_mut(key)?;
    let fault = planned.fault.clone();
    if let Some(times) = &mut planned.times {
        *times = times.saturating_sub(1);
        if *times == 0 {
            plans.remove(key);
        }
    }
    Some(fault)
}
