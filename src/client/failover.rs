//! The endpoints, which of them is in use, and unary calls that go to the next one when that fails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full};
use tonic::{
    Code, Status,
    body::Body,
    codegen::{BoxFuture, Service, StdError},
    transport::Channel,
};

use super::{
    call_span::{self, Tracer},
    observer::Observer,
    retry::refuses,
};

/// The one call whose answer has no end, and so cannot be bounded as a whole.
pub(crate) const STREAM: &str = "/killfeed.v1.KillmailService/StreamKillmails";

/// One endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) uri: Uri,
    pub(crate) channel: Channel,
}

/// All endpoints of a client, and what goes with every call.
#[derive(Debug)]
pub(crate) struct Endpoints {
    targets: Vec<Endpoint>,
    in_use: AtomicUsize,
    authorization: Option<HeaderValue>,
    pub(crate) client_name: String,
    pub(crate) call_timeout: Duration,
    pub(crate) observer: Observer,
    tracer: Tracer,
}

impl Endpoints {
    /// `targets` is not empty.
    pub(crate) fn new(
        targets: Vec<Endpoint>,
        authorization: Option<HeaderValue>,
        client_name: String,
        call_timeout: Duration,
        observer: Observer,
        tracer: Tracer,
    ) -> Self {
        Self {
            targets,
            in_use: AtomicUsize::new(0),
            authorization,
            client_name,
            call_timeout,
            observer,
            tracer,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.targets.len()
    }

    /// The endpoint that answered last.
    pub(crate) fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    pub(crate) fn use_now(&self, index: usize) {
        self.in_use.store(index % self.targets.len(), Ordering::Relaxed);
    }

    /// Its address, for people.
    pub(crate) fn name(&self, index: usize) -> String {
        self.targets[index % self.targets.len()].uri.to_string()
    }

    /// A service of this one endpoint alone.
    pub(crate) fn only(self: &Arc<Self>, index: usize) -> Failover {
        Failover {
            endpoints: self.clone(),
            only: Some(index),
        }
    }

    async fn send(&self, index: usize, mut request: Request<Body>) -> Result<Response<Body>, StdError> {
        if let Some(value) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value.clone());
        }
        let endless = request.uri().path() == STREAM;
        let traced = self.tracer.start(request.uri().path());
        if let Some((name, value)) = traced.as_deref().and_then(call_span::header) {
            request.headers_mut().insert(name, value);
        }
        // A clone of its own: readiness belongs to the clone that asked for it.
        let mut channel = self.targets[index % self.targets.len()].channel.clone();
        let answer = async move {
            std::future::poll_fn(|context| channel.poll_ready(context)).await?;
            let response = channel.call(request).await?;
            if endless {
                return Ok(response);
            }
            let (parts, body) = response.into_parts();
            // Trailers are kept: they carry the status.
            let whole = body.collect().await?;
            Ok(Response::from_parts(parts, Body::new(whole)))
        };
        let answer = match tokio::time::timeout(self.call_timeout, answer).await {
            Ok(answer) => answer,
            Err(_) => {
                let seconds = self.call_timeout.as_secs_f32();
                let text = format!("{} did not respond within {seconds} s", self.name(index));
                Err(Status::deadline_exceeded(text).into())
            }
        };
        if let Some(traced) = traced {
            traced.answered(call_span::error(&answer));
        }
        answer
    }
}

/// Carries calls to the endpoint in use, and on to the next one if it cannot be reached, says UNAVAILABLE or does not let us in.
///
/// Every call of the contract only reads, so asking twice is harmless.
#[derive(Clone, Debug)]
pub struct Failover {
    endpoints: Arc<Endpoints>,
    only: Option<usize>,
}

impl Failover {
    pub(crate) fn new(endpoints: Arc<Endpoints>) -> Self {
        Self { endpoints, only: None }
    }
}

impl Service<Request<Body>> for Failover {
    type Response = Response<Body>;
    type Error = StdError;
    type Future = BoxFuture<Response<Body>, StdError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { endpoints, only } = self.clone();
        Box::pin(async move {
            if let Some(index) = only {
                return endpoints.send(index, request).await;
            }
            let first = endpoints.in_use();
            let (parts, body) = request.into_parts();
            // Every request of the contract is one small message.
            let body: Bytes = body.collect().await?.to_bytes();
            let again = || Request::from_parts(parts.clone(), Body::new(Full::new(body.clone())));
            let mut answer = endpoints.send(first, again()).await;
            for index in first + 1..first + endpoints.count() {
                let unreachable = match &answer {
                    Ok(response) if !sends_elsewhere(response) => return answer,
                    Ok(_) => false,
                    Err(_) => true,
                };
                let next = endpoints.send(index, again()).await;
                match (&next, &answer) {
                    (Ok(_), _) => {
                        if unreachable {
                            endpoints.use_now(index);
                        }
                        answer = next;
                    }
                    // What an ingestor said is worth more than that another one cannot be reached.
                    (Err(_), Ok(_)) => {}
                    (Err(_), Err(_)) => answer = next,
                }
            }
            answer
        })
    }
}

/// Errors of unary calls come without a body, their status among the headers.
fn sends_elsewhere(response: &Response<Body>) -> bool {
    let status = Status::from_header_map(response.headers());
    status.is_some_and(|status| status.code() == Code::Unavailable || refuses(status.code()))
}
