//! What stands where in JetStream, name by name and byte by byte. Pure: no connection, no clock.
//!
//! Everything begins with the stream's name, `killfeed` unless INGESTOR_NATS_STREAM says otherwise. Schema 1:
//!
//! | stream or bucket | holds |
//! |---|---|
//! | stream `killfeed` | the records: one subject for each, `killfeed.killmail.<id>.<revision>` or `killfeed.gap.<hash>` (of what it says and the feed's state before); kept for INGESTOR_RETENTION |
//! | bucket `killfeed-marks` | `log`: who this log is; `<killmail id>`: its mark, 22 bytes as in the embedded log; never removed |
//! | bucket `killfeed-position` | `feed`: what the feed stored last, and up to which record all marks are written |
//! | bucket `killfeed-poller` | `lease`: who asks zKillboard |
//!
//! A record's offset is its sequence in the stream. Its payload is that of the embedded log (header, checksum, event), its headers
//! say what is needed without reading it:
//!
//! | header | says |
//! |---|---|
//! | `Killfeed-Time` | ingested_ms |
//! | `Killfeed-Hash` | what the document said: version, colon, 32 hexadecimal digits; absent = came without zkb, and for gaps |
//! | `Killfeed-Packed` | `zlib`: the payload is compressed, because it would be larger than the servers take |

use std::{
    io::{Read as _, Write as _},
    time::Duration,
};

use async_nats::HeaderMap;
use bytes::Bytes;
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use killfeed::{
    cursor::Offset,
    id::{ContentHash, KillmailId},
};

use super::super::{
    NewBody, NewEvent, Record, RecordKind,
    format::{self, Damaged},
};

/// The version of everything above.
pub(super) const SCHEMA: u32 = 1;

const TIME: &str = "Killfeed-Time";
const HASH: &str = "Killfeed-Hash";
const PACKED: &str = "Killfeed-Packed";
const ZLIB: &str = "zlib";
/// The whole stream's last sequence has to be this: the one condition that a JetStream cluster of version 2.9 judges when it stores the
/// message. That on a subject, if not 0, it judges when the message comes in, so that two of them can pass.
const EXPECTED_LAST: &str = "Nats-Expected-Last-Sequence";
const EXPECTED_LAST_OF_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence";

/// What a server counts beside the payload: subject, reply subject and headers.
const OVERHEAD: usize = 1024;
/// Nothing that was packed unpacks to more than this: four times what the largest document has.
const MAX_UNPACKED_BYTES: u64 = 64 * 1024 * 1024;

/// Names of one log.
#[derive(Debug, Clone)]
pub(super) struct SubjectNames {
    pub(super) stream: String,
}

impl SubjectNames {
    pub(super) fn marks(&self) -> String {
        format!("{}-marks", self.stream)
    }

    pub(super) fn position(&self) -> String {
        format!("{}-position", self.stream)
    }

    pub(super) fn poller(&self) -> String {
        format!("{}-poller", self.stream)
    }

    /// What the stream takes.
    pub(super) fn subjects(&self) -> Vec<String> {
        vec![
            format!("{}.killmail.*.*", self.stream),
            format!("{}.gap.*", self.stream),
        ]
    }

    pub(super) fn killmail(&self, id: KillmailId, revision: u32) -> String {
        format!("{}.killmail.{}.{revision}", self.stream, id.0)
    }

    /// Each event's subject. A gap that is told once more after a crash comes from the same stored state of the feed, and is the same
    /// record; one that says the same at another time is another.
    pub(super) fn subjects_of(&self, events: &[NewEvent], feed_state: &[u8]) -> Vec<String> {
        use sha2::{Digest as _, Sha256};
        let subject = |(n, event): (usize, &NewEvent)| match &event.body {
            NewBody::Killmail { id, revision, .. } => self.killmail(*id, *revision),
            NewBody::Gap(bytes) => {
                let same_before = events[..n].iter().filter(|before| before.body == event.body).count();
                let digest = Sha256::new()
                    .chain_update(Sha256::digest(feed_state))
                    .chain_update(same_before.to_le_bytes())
                    .chain_update(bytes)
                    .finalize();
                format!("{}.gap.{}", self.stream, hex(&digest[..16]))
            }
        };
        events.iter().enumerate().map(subject).collect()
    }

    /// What a record is, by its subject.
    pub(super) fn kind(&self, subject: &str) -> Result<RecordKind, Damaged> {
        let foreign = || Damaged(format!("the subject {subject} does not belong to this log"));
        let rest = subject
            .strip_prefix(&self.stream)
            .and_then(|rest| rest.strip_prefix('.'));
        let mut words = rest.ok_or_else(foreign)?.split('.');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("gap"), Some(_), None, None) => Ok(RecordKind::Gap),
            (Some("killmail"), Some(id), Some(revision), None) => Ok(RecordKind::Killmail {
                id: KillmailId(id.parse().map_err(|_| foreign())?),
                revision: revision.parse().map_err(|_| foreign())?,
            }),
            _ => Err(foreign()),
        }
    }
}

/// How long the stream keeps its records; JetStream counts in nanoseconds of 63 bits.
pub(super) fn max_age(retention: Duration) -> Duration {
    retention.min(Duration::from_nanos(i64::MAX as u64))
}

/// Only if the stream ends with this sequence, and holds no record of that subject.
pub(super) fn expect(headers: &mut HeaderMap, last: u64) {
    expect_last(headers, last);
    headers.insert(EXPECTED_LAST_OF_SUBJECT, "0");
}

/// Only if the stream ends with this sequence.
pub(super) fn expect_last(headers: &mut HeaderMap, last: u64) {
    headers.insert(EXPECTED_LAST, last.to_string().as_str());
}

/// An event's headers and payload; `None` = even packed it is larger than the servers take.
pub(super) fn encode(event: &NewEvent, max_payload: usize) -> Option<(HeaderMap, Bytes)> {
    let mut headers = HeaderMap::new();
    headers.insert(TIME, event.ingested_ms.to_string().as_str());
    let (kind, bytes) = match &event.body {
        NewBody::Gap(bytes) => (RecordKind::Gap, bytes),
        NewBody::Killmail {
            id,
            revision,
            hash,
            bytes,
        } => {
            if let Some(hash) = hash {
                headers.insert(HASH, encode_hash(hash).as_str());
            }
            (
                RecordKind::Killmail {
                    id: *id,
                    revision: *revision,
                },
                bytes,
            )
        }
    };
    let record = format::encode_record(event.ingested_ms, kind, bytes);
    let room = max_payload.saturating_sub(OVERHEAD);
    if record.len() <= room {
        return Some((headers, record.into()));
    }
    headers.insert(PACKED, ZLIB);
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    packed.write_all(&record).ok()?;
    let packed = packed.finish().ok()?;
    (packed.len() <= room).then(|| (headers, packed.into()))
}

/// A message as the record that it is.
pub(super) fn decode(sequence: u64, headers: &HeaderMap, payload: &[u8]) -> Result<Record, Damaged> {
    match headers.get(PACKED).map(|packed| packed.as_str()) {
        None => format::decode_record(Offset(sequence), payload),
        Some(ZLIB) => {
            let mut record = Vec::new();
            let mut unpacked = ZlibDecoder::new(payload).take(MAX_UNPACKED_BYTES);
            unpacked
                .read_to_end(&mut record)
                .map_err(|error| Damaged(format!("cannot decompress the record: {error}")))?;
            format::decode_record(Offset(sequence), &record)
        }
        Some(other) => Err(Damaged(format!("its compression {other} is unknown"))),
    }
}

/// A record's time without its payload.
pub(super) fn time(headers: &HeaderMap) -> Result<i64, Damaged> {
    let text = headers.get(TIME).map(|value| value.as_str()).unwrap_or_default();
    text.parse()
        .map_err(|_| Damaged(format!("its header {TIME} is {text:?}, expected milliseconds")))
}

/// What the document of a killmail said.
pub(super) fn hash(headers: &HeaderMap) -> Result<Option<ContentHash>, Damaged> {
    let Some(text) = headers.get(HASH).map(|value| value.as_str()) else {
        return Ok(None);
    };
    let hash = decode_hash(text).ok_or_else(|| Damaged(format!("its header {HASH} is {text:?}, expected a hash")))?;
    Ok(Some(hash))
}

fn encode_hash(hash: &ContentHash) -> String {
    format!("{}:{}", hash.version, hex(&hash.digest))
}

fn decode_hash(text: &str) -> Option<ContentHash> {
    let (version, digits) = text.split_once(':')?;
    if digits.len() != 32 {
        return None;
    }
    let digest = u128::from_str_radix(digits, 16).ok()?.to_be_bytes();
    Some(ContentHash {
        version: version.parse().ok()?,
        digest,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = 1024 * 1024;

    fn names() -> SubjectNames {
        SubjectNames {
            stream: "killfeed".into(),
        }
    }

    fn event(bytes: Vec<u8>) -> NewEvent {
        NewEvent {
            offset: None,
            ingested_ms: 5,
            body: NewBody::Killmail {
                id: KillmailId(7),
                revision: 2,
                hash: Some(ContentHash {
                    version: 1,
                    digest: *b"0123456789abcdef",
                }),
                bytes: bytes.into(),
            },
        }
    }

    #[test]
    fn a_record_reads_back_packed_or_not() {
        for length in [0, 100, ROOM, 3 * ROOM] {
            let event = event(vec![42; length]);
            let (headers, payload) = encode(&event, ROOM).unwrap();
            assert!(payload.len() < ROOM, "{length}");
            assert_eq!(headers.get(PACKED).is_some(), length >= ROOM, "{length}");
            let record = decode(9, &headers, &payload).unwrap();
            assert_eq!(
                (record.offset, record.ingested_ms, record.bytes.len()),
                (Offset(9), 5, length)
            );
            let subjects = names().subjects_of(std::slice::from_ref(&event), b"");
            assert_eq!(names().kind(&subjects[0]), Ok(record.kind));
            assert_eq!(time(&headers), Ok(5));
            let NewBody::Killmail { hash: told, .. } = event.body else {
                panic!("it is a killmail")
            };
            assert_eq!(hash(&headers), Ok(told));
        }
    }

    #[test]
    fn what_no_server_takes_is_told() {
        // As random as bytes can be: nothing to be saved by packing.
        let mut rng = fastrand::Rng::with_seed(1);
        let noise: Vec<u8> = (0..2 * ROOM).map(|_| rng.u8(..)).collect();
        assert!(encode(&event(noise), ROOM).is_none());
    }

    #[test]
    fn a_gap_told_twice_is_one_record_and_two_that_say_the_same_are_two() {
        let gap = |bytes: &'static [u8]| NewEvent {
            offset: None,
            ingested_ms: fastrand::i64(..),
            body: NewBody::Gap(Bytes::from_static(bytes)),
        };
        let of = |state: &[u8], bytes: &[&'static [u8]]| {
            let events: Vec<NewEvent> = bytes.iter().map(|bytes| gap(bytes)).collect();
            names().subjects_of(&events, state)
        };
        let told = of(b"state", &[b"a", b"b", b"a"]);
        assert_eq!(told, of(b"state", &[b"a", b"b", b"a"]));
        assert!(told[0] != told[1] && told[0] != told[2]);
        assert_ne!(told[0], of(b"later state", &[b"a"])[0]);
        assert_eq!(names().kind(&told[0]), Ok(RecordKind::Gap));
    }

    #[test]
    fn what_is_none_of_ours_is_named() {
        for subject in [
            "killfeed",
            "killfeed.",
            "killfeed.gap",
            "killfeed.killmail.1",
            "killfeed.killmail.x.0",
            "killfeed.killmail.1.-1",
            "killfeed.killmail.1.0.2",
            "killfeed2.gap.a",
            "other.gap.a",
        ] {
            assert!(names().kind(subject).is_err(), "{subject}");
        }
        let mut headers = HeaderMap::new();
        assert!(time(&headers).is_err());
        assert_eq!(hash(&headers), Ok(None));
        for bad in ["", "1", "1:", "x:00000000000000000000000000000000", "1:zz"] {
            headers.insert(HASH, bad);
            assert!(hash(&headers).is_err(), "{bad}");
        }
        headers.insert(PACKED, "brotli");
        assert!(decode(1, &headers, b"").is_err());
        headers.insert(PACKED, ZLIB);
        assert!(decode(1, &headers, b"no zlib").is_err());
    }
}
