//! Ids of traces and spans. Every process derives a killmail's ids from its id and revision.

use opentelemetry::trace::{SpanId, TraceId};
use sha2::{Digest as _, Sha256};

/// Returns the trace id of a revision of a killmail.
///
/// The id is the first 16 bytes of the SHA-256 of `killfeed <id>/<revision>`. A shell computes it:
/// `printf 'killfeed 128000000/0' | sha256sum | cut -c1-32`.
pub fn trace(killmail_id: u64, revision: u32) -> TraceId {
    let (trace, _) = of(killmail_id, revision);
    TraceId::from_bytes(trace)
}

/// Returns the id of the trace's root span: the 8 bytes of the hash after those of the trace id.
pub fn root_span(killmail_id: u64, revision: u32) -> SpanId {
    let (_, span) = of(killmail_id, revision);
    SpanId::from_bytes(span)
}

fn of(killmail_id: u64, revision: u32) -> ([u8; 16], [u8; 8]) {
    let digest: [u8; 32] = Sha256::digest(format!("killfeed {killmail_id}/{revision}")).into();
    let (mut trace, mut span) = ([0; 16], [0; 8]);
    trace.copy_from_slice(&digest[..16]);
    span.copy_from_slice(&digest[16..24]);
    (trace, span)
}

/// Formats the `traceparent` header of W3C Trace Context.
pub fn traceparent(trace: TraceId, span: SpanId) -> String {
    format!("00-{trace}-{span}-01")
}

/// Parses a `traceparent` header; returns `None` if it is malformed or an id is zero.
pub fn parse_traceparent(header: &str) -> Option<(TraceId, SpanId)> {
    let mut parts = header.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    // A version above 00 may have more fields at the end. The version ff is invalid.
    let known = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    if !known || !hex(trace, 32) || !hex(span, 16) || !hex(flags, 2) {
        return None;
    }
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    (trace != TraceId::INVALID && span != SpanId::INVALID).then_some((trace, span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn killmail_ids_match_the_sha256_digest() {
        // The output of: printf 'killfeed 128000000/0' | sha256sum
        let digest = "072fde540476cb353d59e827b6d6b4985a41e94998aa8470cfe46cf726ecc076";
        assert_eq!(trace(128_000_000, 0).to_string(), digest[..32]);
        assert_eq!(root_span(128_000_000, 0).to_string(), digest[32..48]);
        assert_ne!(trace(128_000_000, 1), trace(128_000_000, 0));
    }

    #[test]
    fn traceparent_round_trips_and_malformed_text_is_rejected() {
        let (trace, span) = (trace(7, 0), root_span(7, 0));
        assert_eq!(parse_traceparent(&traceparent(trace, span)), Some((trace, span)));
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(parse_traceparent(good).is_some());
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
        ] {
            assert_eq!(parse_traceparent(bad), None, "{bad:?}");
        }
        assert!(parse_traceparent("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more").is_some());
    }
}
