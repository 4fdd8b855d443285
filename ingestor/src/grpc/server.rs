//! `KillmailService` as it is served: calls through the generated server, the stream by hand, because a generated one knows only
//! how to encode one message at a time.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{HeaderValue, header::CONTENT_TYPE};
use killfeed::{v1::StreamKillmailsRequest, wire::unary_server::KillmailServiceServer};
use tonic::{
    Code, Request, Status, Streaming,
    body::Body,
    codec::{Codec as _, Decoder},
    server::NamedService,
};
use tonic_prost::ProstCodec;
use tower::Service;

use super::{
    MAX_REQUEST,
    body::StreamBody,
    service::{Killmails, ServiceState, count},
    socket::Peer,
};

const STREAM: &str = "/killfeed.v1.KillmailService/StreamKillmails";

/// The service as tonic's router calls it.
#[derive(Clone)]
pub(super) struct Server {
    edge: Arc<ServiceState>,
    calls: KillmailServiceServer<Killmails>,
}

impl Server {
    pub(super) fn new(edge: Arc<ServiceState>) -> Self {
        let calls = KillmailServiceServer::new(Killmails(edge.clone())).max_decoding_message_size(MAX_REQUEST);
        Self { edge, calls }
    }
}

impl NamedService for Server {
    const NAME: &'static str = "killfeed.v1.KillmailService";
}

impl Service<http::Request<Body>> for Server {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The generated server is always ready, too.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != STREAM {
            return self.calls.call(request);
        }
        let edge = self.edge.clone();
        Box::pin(async move {
            let opened = open(&edge, request).await;
            count("StreamKillmails", opened.as_ref().err());
            Ok(opened.map_or_else(Status::into_http, response))
        })
    }
}

async fn open(edge: &Arc<ServiceState>, request: http::Request<Body>) -> Result<StreamBody, Status> {
    let compressed = request.headers().get("grpc-encoding");
    if compressed.is_some_and(|encoding| encoding != "identity") {
        return Err(Status::unimplemented(
            "compressed requests are not supported; send grpc-encoding: identity",
        ));
    }
    let (parts, body) = request.into_parts();
    let request = Request::from_http(http::Request::from_parts(parts, ()));
    // Before anything is read of it.
    let admitted = edge.caller(&request)?;
    let peer = request.extensions().get::<Peer>().cloned();
    let message = one_message(ProstCodec::<(), StreamKillmailsRequest>::default().decoder(), body).await?;
    let frames = edge.open(admitted, message).await?;
    Ok(StreamBody::new(frames, edge.stalls.watch(peer)))
}

async fn one_message<D>(decoder: D, body: Body) -> Result<D::Item, Status>
where
    D: Decoder<Error = Status> + Send + 'static,
    D::Item: Send + 'static,
{
    let mut messages = Streaming::new_request(decoder, body, None, Some(MAX_REQUEST));
    let message = messages.message().await?;
    message.ok_or_else(|| Status::new(Code::Internal, "missing request message; expected exactly one"))
}

fn response(body: StreamBody) -> http::Response<Body> {
    let mut response = http::Response::new(Body::new(body));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, grpc);
    response
}
