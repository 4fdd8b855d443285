//! A service whose calls are told to a collector of traces, each as a part of its caller's trace if the caller says which.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use killfeed_service::trace::{SpanKind, Traces};
use tonic::{Code, Status, body::Body, server::NamedService};
use tower::Service;

/// The service, and whom to tell.
#[derive(Debug, Clone)]
pub(super) struct Traced<S> {
    inner: S,
    traces: Traces,
}

impl<S> Traced<S> {
    pub(super) fn new(inner: S, traces: Traces) -> Self {
        Self { inner, traces }
    }
}

impl<S: NamedService> NamedService for Traced<S> {
    const NAME: &'static str = S::NAME;
}

type HttpResult = Result<http::Response<Body>, Infallible>;

impl<S> Service<http::Request<Body>> for Traced<S>
where
    S: Service<
            http::Request<Body>,
            Response = http::Response<Body>,
            Error = Infallible,
            Future = BoxFuture<'static, HttpResult>,
        >,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, HttpResult>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let parent = request
            .headers()
            .get("traceparent")
            .and_then(|value| value.to_str().ok());
        let Some(call) = self.traces.call(request.uri().path(), SpanKind::Server, parent) else {
            return self.inner.call(request);
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            // A stream is over for its trace once it is open: what it carries has traces of its own.
            call.end(answer.as_ref().ok().and_then(error));
            answer
        })
    }
}

/// Errors come without a body, their status among the headers. Its code only: its words may quote a filter.
fn error(response: &http::Response<Body>) -> Option<String> {
    let status = Status::from_header_map(response.headers()).filter(|status| status.code() != Code::Ok)?;
    Some(format!("{:?}", status.code()))
}
