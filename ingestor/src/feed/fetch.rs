//! One request to the feed's host, and what came of it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use killfeed_service::clock::Clock;
use reqwest::{Client, Response, redirect};
use serde_json::Value;

use super::{MAX_SEQUENCE, ban, walk::FetchAnswer};

/// One stalled call froze a well-known bot for 48 hours.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const WHOLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Decompressed. The largest known document has 1 MB.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// A day's bodies are some 60 MB.
const DAY_TIMEOUT: Duration = Duration::from_secs(300);
const MAX_DAY_BYTES: usize = 1024 * 1024 * 1024;

/// What came of a request.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) answer: FetchAnswer,
    /// Of a document that was found.
    pub(super) body: Bytes,
    /// For people: what went wrong.
    pub(super) reason: String,
}

/// Asks the feed's host. Keeps to no limit by itself.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    client: Client,
    base: String,
}

impl Fetcher {
    pub(super) fn new(base_url: &str, user_agent: &str) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(user_agent)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(WHOLE_TIMEOUT)
            .gzip(true)
            // A redirect to another host would go around the limiter and the ban.
            .redirect(redirect::Policy::none())
            .build()?;
        Ok(Self {
            client,
            base: base_url.trim_end_matches('/').to_owned(),
        })
    }

    /// sequence.json.
    pub(super) async fn head(self) -> Answered {
        let answered = self.get("sequence", true).await;
        match answered.answer {
            FetchAnswer::Found => match sequence(&answered.body) {
                Some(head) => Answered {
                    answer: FetchAnswer::Head(head),
                    ..answered
                },
                None => failed("sequence.json does not contain a sequence number".into()),
            },
            FetchAnswer::Missing => failed("sequence.json was not found (404)".into()),
            // It has no successor to go on with: it is asked for again, ever less often.
            FetchAnswer::Undecodable => failed(answered.reason),
            _ => answered,
        }
    }

    /// A document. `again`: no cache may answer.
    pub(super) async fn document(self, number: u64, again: bool) -> Answered {
        self.get(&number.to_string(), again).await
    }

    /// A file of the history: `20260801` or `raw/20260801`.
    pub(super) async fn history(self, name: String) -> Answered {
        let request = self.client.get(format!("{}/history/{name}.json", self.base));
        match request.timeout(DAY_TIMEOUT).send().await {
            Ok(response) => read(response, MAX_DAY_BYTES).await,
            Err(error) => failed(describe(&error)),
        }
    }

    async fn get(&self, name: &str, past_caches: bool) -> Answered {
        let mut request = self.client.get(format!("{}/ephemeral/{name}.json", self.base));
        if past_caches {
            request = request.header(header::CACHE_CONTROL, "no-cache");
        }
        match request.send().await {
            Ok(response) => read(response, MAX_BODY_BYTES).await,
            Err(error) => failed(describe(&error)),
        }
    }
}

async fn read(mut response: Response, max_bytes: usize) -> Answered {
    let status = response.status();
    let reason = status.to_string();
    let retry_after = || retry_after(response.headers());
    let answer = match status {
        StatusCode::OK => FetchAnswer::Found,
        StatusCode::NOT_FOUND | StatusCode::GONE => FetchAnswer::Missing,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::FORBIDDEN => FetchAnswer::Banned {
            retry_after: retry_after(),
        },
        _ => FetchAnswer::Failed {
            retry_after: retry_after(),
        },
    };
    if answer != FetchAnswer::Found {
        return Answered {
            answer,
            body: Bytes::new(),
            reason,
        };
    }
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > max_bytes => {
                return garbled(format!("the body is larger than {max_bytes} bytes"));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) if error.is_decode() => return garbled(describe(&error)),
            Err(error) => return failed(describe(&error)),
        }
    }
    Answered {
        answer,
        body: body.freeze(),
        reason,
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    ban::retry_after(value, Clock::system().now().wall)
}

fn garbled(reason: String) -> Answered {
    Answered {
        answer: FetchAnswer::Undecodable,
        body: Bytes::new(),
        reason,
    }
}

fn failed(reason: String) -> Answered {
    Answered {
        answer: FetchAnswer::Failed { retry_after: None },
        body: Bytes::new(),
        reason,
    }
}

/// The whole chain: reqwest's own sentence names only the URL.
fn describe(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() {
        "timed out".to_owned()
    } else {
        error.to_string()
    };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A whole number, however it is written.
fn sequence(body: &[u8]) -> Option<u64> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let sequence = value.get("sequence")?;
    let whole = |number: f64| (number >= 0.0 && number.fract() == 0.0).then_some(number as u64);
    sequence
        .as_u64()
        .or_else(|| sequence.as_f64().and_then(whole))
        .or_else(|| sequence.as_str()?.parse().ok())
        .filter(|number| *number < MAX_SEQUENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_however_it_is_written() {
        for (body, expected) in [
            (r#"{"sequence": 96088891}"#, Some(96_088_891)),
            (r#"{"sequence": 96088891.0, "x": 1}"#, Some(96_088_891)),
            (r#"{"sequence": "96088891"}"#, Some(96_088_891)),
            (r#"{"sequence": -1}"#, None),
            (r#"{"sequence": 18446744073709551615}"#, None),
            (r#"{"sequence": "18446744073709551615"}"#, None),
            (r#"{"sequence": 1e300}"#, None),
            (r#"{"sequence": null}"#, None),
            ("{}", None),
            ("<html>", None),
        ] {
            assert_eq!(sequence(body.as_bytes()), expected, "{body}");
        }
    }
}
