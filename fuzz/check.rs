//! Checks that must hold for any bytes that are parsed as a feed document.
//!
//! The fuzz targets run these checks, and so does a normal test over the corpus.

use killfeed_ingestor::parse::{Parsed, ParsedDocument, parse};
use prost::Message as _;

/// Parses bytes as a feed document and checks the result.
pub(crate) fn document(bytes: &[u8]) {
    let read = parse(bytes);
    assert_eq!(read, parse(bytes), "parsing is deterministic");
    match read {
        Ok(Parsed::Killmail(document)) => {
            killmail(&document);
            written_otherwise(bytes, &document);
        }
        Ok(Parsed::NeedsBody(headless)) => {
            assert_ne!(headless.id().0, 0);
            let hash = headless.hash();
            // The hash becomes part of a URL.
            assert!((1..=64).contains(&hash.len()) && hash.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
        Ok(Parsed::Placeholder) => {}
        Err(reject) => assert!(!reject.to_string().is_empty()),
    }
}

/// Parses bytes as the killmail body from ESI of a document without a body, and checks the result.
pub(crate) fn esi_body(bytes: &[u8]) {
    const HEADLESS: &[u8] =
        br#"{"killmail_id":7,"hash":"00ab","esi":null,"zkb":{"hash":"00ab"},"uploaded_at":1787227200}"#;
    let Ok(Parsed::NeedsBody(headless)) = parse(HEADLESS) else {
        panic!("expected a document without a body");
    };
    if let Ok(document) = headless.with_body(bytes) {
        killmail(&document);
        assert_eq!(
            document.killmail.killmail_id, 7,
            "the body is of the requested killmail"
        );
    }
}

/// Checks the required fields of a killmail, and that it survives encoding.
fn killmail(document: &ParsedDocument) {
    let killmail = &document.killmail;
    assert_ne!(killmail.killmail_id, 0);
    assert!(!killmail.hash.is_empty() && killmail.victim.is_some());
    // A protobuf Timestamp covers the years 1 to 9999.
    let time = killmail.kill_time.expect("the killmail has a time");
    assert!((-62_135_596_800..253_402_300_800).contains(&time.seconds) && (0..1_000_000_000).contains(&time.nanos));
    assert!(killmail.location.as_ref().is_some_and(|place| place.system_id != 0));
    let bytes = killmail.encode_to_vec();
    let again = killfeed::v1::Killmail::decode(&*bytes);
    // JSON has no NaN, so equal killmails compare as equal.
    assert_eq!(again.as_ref(), Ok(killmail), "the killmail survives encoding");
}

/// Checks that the content hash does not depend on the formatting of the JSON.
fn written_otherwise(bytes: &[u8], document: &ParsedDocument) {
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(text) else {
        return;
    };
    let again = parse(value.to_string().as_bytes());
    let Ok(Parsed::Killmail(again)) = again else {
        panic!("reformatted, it parses as {again:?}");
    };
    assert_eq!(again.content, document.content);
}
