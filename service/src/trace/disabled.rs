//! Replaces `export` in builds without the feature `traces`. A setting that names a collector is an error.

use std::{borrow::Cow, path::Path};

use opentelemetry::{
    KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status},
};

use super::{SpanTimes, Unusable, without_traces};

/// The connection to a collector. This build cannot create one.
#[derive(Debug)]
pub(crate) enum Exporter {}

impl Exporter {
    pub(crate) fn start(
        endpoint: &str,
        _ca: Option<&Path>,
        _service: &'static str,
        _version: &'static str,
    ) -> Result<Self, Unusable> {
        Err(without_traces(endpoint))
    }

    #[expect(clippy::too_many_arguments, reason = "the same as in `export`")]
    pub(crate) fn record(
        &self,
        _name: Cow<'static, str>,
        _kind: SpanKind,
        _context: SpanContext,
        _parent: SpanId,
        _times: SpanTimes,
        _attributes: Vec<KeyValue>,
        _status: Status,
    ) {
        match *self {}
    }

    pub(crate) fn finish(&self) {
        match *self {}
    }
}
