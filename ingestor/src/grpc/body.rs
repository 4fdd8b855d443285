//! A stream's response body: framed messages go out as they are, and the status that ends them becomes its trailers.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::stream::BoxStream;
use http::HeaderMap;
use http_body::{Body, Frame};
use tonic::Status;

use super::stall_monitor::MonitoredStream;

/// Handed over at once. A client that takes this much a minute is slow; one that takes less has stalled.
const SLICE: usize = 32 * 1024;

/// Framed messages of one stream.
pub(super) type Frames = BoxStream<'static, Result<Bytes, Status>>;

/// One stream's response.
pub(super) struct StreamBody {
    frames: Frames,
    /// Of the last item, not handed over yet.
    rest: Bytes,
    watched: MonitoredStream,
    ended: bool,
}

impl StreamBody {
    pub(super) fn new(frames: Frames, watched: MonitoredStream) -> Self {
        Self {
            frames,
            rest: Bytes::new(),
            watched,
            ended: false,
        }
    }

    fn slice(&mut self) -> Frame<Bytes> {
        self.watched.on_data();
        let len = self.rest.len().min(SLICE);
        Frame::data(self.rest.split_to(len))
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.watched.on_poll();
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.slice())));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        match self.frames.as_mut().poll_next(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frames))) => {
                self.rest = frames;
                Poll::Ready(Some(Ok(self.slice())))
            }
            Poll::Ready(Some(Err(status))) => {
                self.ended = true;
                let mut trailers = HeaderMap::new();
                Poll::Ready(Some(
                    status.add_header(&mut trailers).map(|()| Frame::trailers(trailers)),
                ))
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.rest.is_empty()
    }
}
