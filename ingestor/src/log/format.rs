//! What the bytes in `log.redb` mean, byte by byte. Pure: no file, no clock.
//!
//! All of it belongs to schema 1. Numbers are little-endian unless redb orders by them (keys are redb's own integers).
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name (text) | see below; `schema` is readable by every version for ever |
//! | `records` | offset (u64) | record |
//! | `index` | killmail id (u64), revision (u32) | offset (u64), only of records still there |
//! | `marks` | killmail id (u64) | mark, never removed |
//! | `feed` | `state` (text) | whatever the feed handed out |
//!
//! Record, 25 bytes and the event:
//!
//! | bytes | holds |
//! |---|---|
//! | 0 | 1 = killmail, 2 = gap |
//! | 1..9 | ingested_ms, i64 |
//! | 9..17 | killmail id, u64; 0 for a gap |
//! | 17..21 | revision, u32; 0 for a gap |
//! | 21..25 | CRC-32 (IEEE) of bytes 0..21 and of the event |
//! | 25.. | the encoded `killfeed.v1.Killmail` or `killfeed.v1.Gap` |
//!
//! Mark, 22 bytes:
//!
//! | bytes | holds |
//! |---|---|
//! | 0 | 0 = without a hash (the rest but the revision is 0), 1 = with one |
//! | 1..5 | revision, u32 |
//! | 5 | hash version |
//! | 6..22 | hash |
//!
//! `meta`:
//!
//! | name | value |
//! |---|---|
//! | `schema` | u32, 1 |
//! | `log_id` | u64; 0 = not known yet: a relay that never met its upstream |
//! | `lineage` | 16 bytes for each ancestor, oldest first: log id u64, its last offset u64 |
//! | `origin` | text: `own`, or `relay:` and the upstream's log id as 16 hexadecimal digits |
//! | `next` | u64: the lowest offset that the next record may take; the newest record ever had the one below |
//! | `head_ms` | i64: when that record was appended, kept also when it is gone |
//! | `trimmed` | u64: the offset of the newest record removed, 0 = none |
//! | `killmails` | u64: distinct killmail ids among the records |

use bytes::Bytes;
use killfeed::{
    cursor::{LogId, Offset},
    id::{ContentHash, KillmailId},
};

use super::{DedupEntry, Record, RecordKind};

/// The version of everything above. A change of any byte's meaning raises it and comes with a step in `migrate.rs`.
pub(super) const SCHEMA: u32 = 1;

const KILLMAIL: u8 = 1;
const GAP: u8 = 2;
/// Bytes of a record before its event, and how many of them the checksum covers.
const HEADER: usize = 25;
const SUMMED: usize = 21;

/// Bytes of a mark.
pub(super) const MARK: usize = 22;

/// Bytes on disk that this version did not write like that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Damaged(pub(super) String);

/// Where the records of a log come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Origin {
    /// This ingestor numbers them itself.
    #[default]
    Own,
    /// Taken over from another ingestor's log, with its log id and offsets.
    Relay(LogId),
}

/// What stands before a record's event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) ingested_ms: i64,
    pub(super) kind: RecordKind,
}

/// The log id of a relay that has not met its upstream yet. No log has it: [`super::open`] gives out random ones.
pub(super) const UNKNOWN_ID: LogId = LogId(0);

pub(super) fn encode_record(ingested_ms: i64, kind: RecordKind, event: &[u8]) -> Vec<u8> {
    let (tag, id, revision) = match kind {
        RecordKind::Killmail { id, revision } => (KILLMAIL, id.0, revision),
        RecordKind::Gap => (GAP, 0, 0),
    };
    let mut out = Vec::with_capacity(HEADER + event.len());
    out.push(tag);
    out.extend_from_slice(&ingested_ms.to_le_bytes());
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&revision.to_le_bytes());
    let sum = checksum(&out, event);
    out.extend_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(event);
    out
}

/// The whole record, once its checksum holds.
pub(super) fn decode_record(offset: Offset, bytes: &[u8]) -> Result<Record, Damaged> {
    let header = decode_header(bytes)?;
    let (summed, rest) = bytes.split_at(SUMMED);
    let (sum, event) = rest.split_at(HEADER - SUMMED);
    if checksum(summed, event).to_le_bytes() != sum {
        return Err(Damaged("its checksum does not match".into()));
    }
    let event = Bytes::copy_from_slice(event);
    Ok(Record::new(offset, header.ingested_ms, header.kind, event))
}

/// Only what stands before the event: for searches and for removal, which need not read a megabyte.
pub(super) fn decode_header(bytes: &[u8]) -> Result<RecordHeader, Damaged> {
    if bytes.len() < HEADER {
        return Err(Damaged(format!(
            "it has {} bytes, expected at least {HEADER}",
            bytes.len()
        )));
    }
    let mut fields = Fields(bytes);
    let tag = fields.take::<1>()?[0];
    let ingested_ms = i64::from_le_bytes(fields.take()?);
    let id = KillmailId(u64::from_le_bytes(fields.take()?));
    let revision = u32::from_le_bytes(fields.take()?);
    let kind = match tag {
        KILLMAIL => RecordKind::Killmail { id, revision },
        GAP => RecordKind::Gap,
        other => return Err(Damaged(format!("its kind {other} is unknown"))),
    };
    Ok(RecordHeader { ingested_ms, kind })
}

pub(super) fn encode_mark(mark: &DedupEntry) -> [u8; MARK] {
    let mut out = [0; MARK];
    out[1..5].copy_from_slice(&mark.revision.to_le_bytes());
    if let Some(hash) = &mark.hash {
        out[0] = 1;
        out[5] = hash.version;
        out[6..].copy_from_slice(&hash.digest);
    }
    out
}

pub(super) fn decode_mark(bytes: &[u8; MARK]) -> Result<DedupEntry, Damaged> {
    let mut fields = Fields(bytes);
    let tag = fields.take::<1>()?[0];
    let revision = u32::from_le_bytes(fields.take()?);
    let version = fields.take::<1>()?[0];
    let digest = fields.take()?;
    let hash = match tag {
        0 => None,
        1 => Some(ContentHash { version, digest }),
        other => return Err(Damaged(format!("the kind {other} of a dedup entry is unknown"))),
    };
    Ok(DedupEntry { revision, hash })
}

pub(super) fn encode_lineage(lineage: &[(LogId, Offset)]) -> Vec<u8> {
    lineage
        .iter()
        .flat_map(|(id, last)| [id.0.to_le_bytes(), last.0.to_le_bytes()])
        .flatten()
        .collect()
}

pub(super) fn decode_lineage(bytes: &[u8]) -> Result<Vec<(LogId, Offset)>, Damaged> {
    let mut fields = Fields(bytes);
    let mut lineage = Vec::with_capacity(bytes.len() / 16);
    while !fields.0.is_empty() {
        let id = LogId(u64::from_le_bytes(fields.take()?));
        lineage.push((id, Offset(u64::from_le_bytes(fields.take()?))));
    }
    Ok(lineage)
}

pub(super) fn encode_origin(origin: Origin) -> String {
    match origin {
        Origin::Own => "own".into(),
        Origin::Relay(upstream) => format!("relay:{upstream}"),
    }
}

pub(super) fn decode_origin(bytes: &[u8]) -> Result<Origin, Damaged> {
    let text = String::from_utf8_lossy(bytes);
    match text.strip_prefix("relay:").map(str::parse) {
        Some(Ok(upstream)) => Ok(Origin::Relay(upstream)),
        None if text == "own" => Ok(Origin::Own),
        _ => Err(Damaged(format!("the origin `{text}` is unknown"))),
    }
}

/// A number of `meta`.
pub(super) fn decode_number<const N: usize>(name: &str, bytes: &[u8]) -> Result<[u8; N], Damaged> {
    bytes
        .try_into()
        .map_err(|_| Damaged(format!("`{name}` has {} bytes, expected {N}", bytes.len())))
}

fn checksum(header: &[u8], event: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(header);
    sum.update(event);
    sum.finalize()
}

/// Takes fields off the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (field, rest) = self
            .0
            .split_first_chunk()
            .ok_or_else(|| Damaged(format!("it ends {} bytes early", N - self.0.len())))?;
        self.0 = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds() -> impl Strategy<Value = RecordKind> {
        prop_oneof![
            Just(RecordKind::Gap),
            (any::<u64>(), any::<u32>()).prop_map(|(id, revision)| RecordKind::Killmail {
                id: KillmailId(id),
                revision
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_record_reads_back(ms: i64, kind in kinds(), event: Vec<u8>) {
            let bytes = encode_record(ms, kind, &event);
            let record = Record::new(Offset(7), ms, kind, event.into());
            prop_assert_eq!(decode_record(Offset(7), &bytes), Ok(record));
        }

        #[test]
        fn one_wrong_bit_is_noticed(ms: i64, kind in kinds(), event: Vec<u8>, at: prop::sample::Index, bit in 0_u8..8) {
            let mut bytes = encode_record(ms, kind, &event);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode_record(Offset(7), &bytes).is_err());
        }

        #[test]
        fn a_mark_reads_back(revision: u32, hash in prop::option::of((any::<u8>(), any::<[u8; 16]>()))) {
            let mark = DedupEntry { revision, hash: hash.map(|(version, digest)| ContentHash { version, digest }) };
            prop_assert_eq!(decode_mark(&encode_mark(&mark)), Ok(mark));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = decode_record(Offset(1), &bytes);
            let _ = decode_lineage(&bytes);
            let _ = decode_origin(&bytes);
        }
    }

    #[test]
    fn a_record_is_laid_out_as_documented() {
        let kind = RecordKind::Killmail {
            id: KillmailId(0x0102),
            revision: 3,
        };
        let bytes = encode_record(0x0506, kind, b"event");
        assert_eq!(
            bytes[..21],
            [1, 6, 5, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0]
        );
        assert_eq!(&bytes[25..], b"event");
        assert_eq!(
            bytes[21..25],
            crc32fast::hash(&[&bytes[..21], b"event"].concat()).to_le_bytes()
        );
    }

    #[test]
    fn lineage_and_origin_read_back() {
        let lineage = vec![(LogId(7), Offset(100)), (LogId(u64::MAX), Offset(0))];
        assert_eq!(decode_lineage(&encode_lineage(&lineage)), Ok(lineage));
        assert_eq!(decode_lineage(&[]), Ok(vec![]));
        assert!(decode_lineage(&[0; 17]).is_err());
        for origin in [Origin::Own, Origin::Relay(LogId(0x1a))] {
            assert_eq!(decode_origin(encode_origin(origin).as_bytes()), Ok(origin));
        }
        assert!(decode_origin(b"relay:1").is_err());
        assert!(decode_origin(&[0xff]).is_err());
    }
}
