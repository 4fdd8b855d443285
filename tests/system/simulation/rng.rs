//! Random numbers that depend only on the seed.
//!
//! Each client and each stream has its own random numbers, so that tokio's unseeded order of wake-ups does not affect
//! them.

use std::{
    hash::{DefaultHasher, Hash, Hasher as _},
    pin::Pin,
    task::{Context, Poll},
};

use futures::Stream;
use http_body_util::{BodyStream, StreamBody};
use tonic::{
    body::Body,
    codegen::{Body as _, http},
};

/// Derives a number from `parts`, the same in every run.
pub(crate) fn drawn(parts: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

/// A future or stream with its own fastrand state, which each poll restores and saves.
pub(crate) struct Own<T> {
    inner: Pin<Box<T>>,
    state: u64,
}

impl<T> Own<T> {
    pub(crate) fn new(seed: u64, inner: T) -> Self {
        Self {
            inner: Box::pin(inner),
            state: seed,
        }
    }

    fn run<R>(&mut self, inside: impl FnOnce(Pin<&mut T>) -> R) -> R {
        fastrand::seed(self.state);
        let result = inside(self.inner.as_mut());
        self.state = fastrand::get_seed();
        result
    }
}

impl<T: Future> Future for Own<T> {
    type Output = T::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T::Output> {
        self.run(|inner| inner.poll(context))
    }
}

impl<T: Stream> Stream for Own<T> {
    type Item = T::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T::Item>> {
        self.run(|inner| inner.poll_next(context))
    }
}

/// Gives the body of a response its own random numbers.
pub(crate) fn answer(seed: u64, answer: http::Response<Body>) -> http::Response<Body> {
    answer.map(|body| {
        if body.is_end_stream() {
            return body;
        }
        Body::new(StreamBody::new(Own::new(seed, BodyStream::new(body))))
    })
}
