//! The nonce of a message: the same content has the same one, even after lost state; other content never.

use sha2::{Digest as _, Sha256};

use crate::{
    database::{BatchEntryRow, BatchKind, destination_key},
    sink::Destination,
};

/// Discord takes at most this many characters.
const LENGTH: usize = 25;
/// RFC 4648.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// 25 base32 characters of the SHA-256 of: a version byte, the destination's nine bytes, the kind, and each killmail's id
/// and revision, all numbers big-endian.
pub(super) fn nonce(destination: &Destination, kind: BatchKind, entries: &[BatchEntryRow]) -> String {
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(destination_key(destination));
    hash.update(i32::from(kind).to_be_bytes());
    for entry in entries {
        hash.update(entry.killmail_id.to_be_bytes());
        hash.update(entry.revision.to_be_bytes());
    }
    let digest = hash.finalize();
    let bit = |index: usize| (digest[index / 8] >> (7 - index % 8)) & 1;
    let character = |start: usize| {
        let five = (0..5).fold(0, |value, offset| value << 1 | bit(start + offset));
        char::from(ALPHABET[usize::from(five)])
    };
    (0..LENGTH).map(|index| character(index * 5)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn same_content_same_nonce_other_content_another() {
        let entry = |killmail_id, revision| BatchEntryRow {
            sequence: killmail_id * 7,
            killmail_id,
            revision,
            ..Default::default()
        };
        let here = Destination::Channel(2);
        let first = nonce(&here, BatchKind::Post, &[entry(1, 0)]);
        // The format is on disk and at Discord: it may not change.
        assert_eq!(first, "4M3TSFPCV33OHHO7PA57ISNG2");
        let moved = BatchEntryRow {
            sequence: 9,
            ..entry(1, 0)
        };
        assert_eq!(
            first,
            nonce(&here, BatchKind::Post, &[moved]),
            "the local sequence is no content"
        );
        let others = [
            nonce(&here, BatchKind::Post, &[entry(1, 1)]),
            nonce(&here, BatchKind::Post, &[entry(1, 0), entry(2, 0)]),
            nonce(&here, BatchKind::Post, &[entry(2, 0), entry(1, 0)]),
            nonce(&here, BatchKind::Folded, &[entry(1, 0)]),
            nonce(&Destination::Channel(3), BatchKind::Post, &[entry(1, 0)]),
            nonce(&Destination::Webhook(2), BatchKind::Post, &[entry(1, 0)]),
            first,
        ];
        assert!(others.iter().all(|nonce| nonce.len() == 25));
        assert_eq!(others.iter().collect::<HashSet<_>>().len(), others.len());
    }
}
