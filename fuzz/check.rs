//! What must hold of a document of the feed, whatever its bytes are. The fuzz targets run it, and an ordinary test over the
//! corpus.

use killfeed_ingestor::parse::{Parsed, ParsedDocument, parse};
use prost::Message as _;

/// Reads it as a document of the feed.
pub(crate) fn document(bytes: &[u8]) {
    let read = parse(bytes);
    assert_eq!(read, parse(bytes), "the same bytes say the same");
    match read {
        Ok(Parsed::Killmail(document)) => {
            killmail(&document);
            written_otherwise(bytes, &document);
        }
        Ok(Parsed::NeedsBody(headless)) => {
            assert_ne!(headless.id().0, 0);
            let hash = headless.hash();
            // It becomes part of a URL.
            assert!((1..=64).contains(&hash.len()) && hash.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
        Ok(Parsed::Placeholder) => {}
        Err(reject) => assert!(!reject.to_string().is_empty()),
    }
}

/// Reads it as the body that ESI gives for a document that has none.
pub(crate) fn esi_body(bytes: &[u8]) {
    const HEADLESS: &[u8] =
        br#"{"killmail_id":7,"hash":"00ab","esi":null,"zkb":{"hash":"00ab"},"uploaded_at":1787227200}"#;
    let Ok(Parsed::NeedsBody(headless)) = parse(HEADLESS) else {
        panic!("a document without its body");
    };
    if let Ok(document) = headless.with_body(bytes) {
        killmail(&document);
        assert_eq!(document.killmail.killmail_id, 7, "of the killmail that was asked for");
    }
}

/// What a killmail has at least, and that it survives the wire.
fn killmail(document: &ParsedDocument) {
    let killmail = &document.killmail;
    assert_ne!(killmail.killmail_id, 0);
    assert!(!killmail.hash.is_empty() && killmail.victim.is_some());
    // Protobuf's Timestamp knows the years 1 to 9999.
    let time = killmail.kill_time.expect("a time of the kill");
    assert!((-62_135_596_800..253_402_300_800).contains(&time.seconds) && (0..1_000_000_000).contains(&time.nanos));
    assert!(killmail.location.as_ref().is_some_and(|place| place.system_id != 0));
    let bytes = killmail.encode_to_vec();
    let again = killfeed::v1::Killmail::decode(&*bytes);
    // NaN is no JSON, so that equality means what it says.
    assert_eq!(again.as_ref(), Ok(killmail), "it survives the wire");
}

/// The hash is of what a document says, not of how it is written.
fn written_otherwise(bytes: &[u8], document: &ParsedDocument) {
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(text) else {
        return;
    };
    let again = parse(value.to_string().as_bytes());
    let Ok(Parsed::Killmail(again)) = again else {
        panic!("written otherwise it is {again:?}");
    };
    assert_eq!(again.content, document.content);
}
