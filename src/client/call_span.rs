//! Calls that somebody traces: what is sent along, and how each of them went.

use std::{fmt, sync::Arc};

use http::{HeaderName, HeaderValue};
use tonic::Code;

/// The header of W3C Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A call that goes on, as its tracer sees it.
pub trait TracedCall: Send {
    /// What is sent along as `traceparent` (W3C Trace Context), so that the ingestor's span hangs on this one.
    fn traceparent(&self) -> String;

    /// It was answered; a stream: it is open. `error` says what was wrong, in words.
    fn answered(self: Box<Self>, error: Option<String>);
}

/// Who traces calls; nobody, unless the builder was given a function.
#[derive(Clone, Default)]
pub(crate) struct Tracer(Option<Begin>);

type Begin = Arc<dyn Fn(&str) -> Option<Box<dyn TracedCall>> + Send + Sync>;

impl Tracer {
    pub(crate) fn new(begin: impl Fn(&str) -> Option<Box<dyn TracedCall>> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(begin)))
    }

    /// One more call, to `path`.
    pub(crate) fn start(&self, path: &str) -> Option<Box<dyn TracedCall>> {
        self.0.as_ref().and_then(|begin| begin(path))
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tracer").field(&self.0.is_some()).finish()
    }
}

/// What goes with the request; nothing where it could not be sent.
pub(crate) fn header(call: &dyn TracedCall) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::try_from(call.traceparent()).ok()?;
    Some((TRACEPARENT, value))
}

/// What was wrong with an answer, as far as its head says it. Of a status its code only: its words may quote a filter.
pub(crate) fn error<B>(answer: &Result<http::Response<B>, tonic::codegen::StdError>) -> Option<String> {
    match answer {
        Ok(response) => {
            let status = tonic::Status::from_header_map(response.headers())?;
            (status.code() != Code::Ok).then(|| format!("{:?}", status.code()))
        }
        Err(error) => Some(super::builder::causes(&**error)),
    }
}
