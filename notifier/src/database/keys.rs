//! Keys. Numbers are big-endian, so that a tree's order is the numbers' order.
//!
//! A destination is nine bytes: 0 for a channel or 1 for a webhook, then Discord's id.

use super::meta;
use crate::sink::Destination;

/// The place of a destination's sealed batch in the tree `queue`: before every row, whose sequences begin at 1.
pub const BATCH_SEQUENCE: u64 = 0;

const DESTINATION: usize = 9;

/// Nine bytes.
pub fn destination_key(destination: &Destination) -> [u8; DESTINATION] {
    let (kind, id) = match destination {
        Destination::Channel(id) => (0, id),
        Destination::Webhook(id) => (1, id),
    };
    let mut key = [kind; DESTINATION];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

/// The destination that a key begins with; `None` for a key of no such tree.
pub fn read_destination(key: &[u8]) -> Option<Destination> {
    let id = u64::from_be_bytes(key.get(1..DESTINATION)?.try_into().ok()?);
    match key.first()? {
        0 => Some(Destination::Channel(id)),
        1 => Some(Destination::Webhook(id)),
        _ => None,
    }
}

/// Destination, then local sequence.
pub fn queue_key(destination: &Destination, sequence: u64) -> [u8; DESTINATION + 8] {
    followed_by(destination, sequence)
}

/// The local sequence of a key of `queue`.
pub fn read_sequence(key: &[u8]) -> Option<u64> {
    read_id(key.get(DESTINATION..)?)
}

/// Destination, then killmail id.
pub fn post_key(destination: &Destination, killmail: u64) -> [u8; DESTINATION + 8] {
    followed_by(destination, killmail)
}

/// Destination, then the ping target as text.
pub fn cooldown_key(destination: &Destination, target: &str) -> Vec<u8> {
    [&destination_key(destination)[..], target.as_bytes()].concat()
}

/// A killmail id.
pub fn id_key(id: u64) -> [u8; 8] {
    id.to_be_bytes()
}

/// An id that is the whole of `key`.
pub fn read_id(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// A subscription's id, in the tree `meta`.
pub fn counters_key(subscription: u64) -> Vec<u8> {
    [meta::COUNTERS.as_bytes(), &subscription.to_be_bytes()[..]].concat()
}

/// Guild (0 = the namespace of webhook rows), then the name.
pub fn subscription_key(guild: u64, name: &str) -> Vec<u8> {
    [&guild.to_be_bytes()[..], name.as_bytes()].concat()
}

fn followed_by(destination: &Destination, number: u64) -> [u8; DESTINATION + 8] {
    let mut key = [0; DESTINATION + 8];
    key[..DESTINATION].copy_from_slice(&destination_key(destination));
    key[DESTINATION..].copy_from_slice(&number.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_and_sort_as_their_numbers() {
        for destination in [Destination::Channel(u64::MAX), Destination::Webhook(1)] {
            let key = queue_key(&destination, 300);
            assert_eq!(read_destination(&key).as_ref(), Some(&destination));
            assert_eq!(read_sequence(&key), Some(300));
            assert!(queue_key(&destination, 255) < key);
            assert!(key.starts_with(&destination_key(&destination)));
            assert!(queue_key(&destination, BATCH_SEQUENCE) < queue_key(&destination, 1));
        }
        assert_eq!(read_destination(&[2; 17]), None);
        assert_eq!(read_destination(b"schema"), None);
    }
}
