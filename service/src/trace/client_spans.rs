//! Spans for calls of `killfeed::client`. The ingestor's spans of the same calls are their children.

use killfeed::client::TracedCall;

use super::{Call, SpanKind, Traces};

impl TracedCall for Call {
    fn traceparent(&self) -> String {
        self.traceparent()
    }

    fn answered(self: Box<Self>, error: Option<String>) {
        self.end(error);
    }
}

impl Traces {
    /// Returns the argument for `killfeed::client::Builder::trace`: every call of the client becomes a span.
    pub fn calls(&self) -> impl Fn(&str) -> Option<Box<dyn TracedCall>> + Send + Sync + 'static {
        let traces = self.clone();
        move |path| {
            let call = traces.call(path, SpanKind::Client, None)?;
            Some(Box::new(call))
        }
    }
}
