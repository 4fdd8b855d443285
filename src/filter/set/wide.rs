//! Sets of many ids: the systems near another, what a wildcard stands for.
//!
//! Each different set is kept once, however many filters name it, and as bits: EVE gives ids in rows, so the 300 systems around
//! another lie in some 30 blocks of 64. Each block knows the sets that have ids in it; so a killmail's id leads to the sets that hold
//! it, and a set, once found, is a key like any other.

use std::sync::Arc;

use super::{
    expr::Has,
    key::{self, Key, MAX_ID, WIDE, id, key, kind, role},
    map::Map,
};

/// Ids in a block: bits in a word.
const BLOCK: u64 = 64;

#[derive(Debug, Clone, Default)]
pub(super) struct Wides {
    /// By their keys.
    sets: Map<Wide>,
    /// By kind, role and block: the sets that have ids there.
    members: Map<Arc<Vec<Member>>>,
}

#[derive(Debug, Clone)]
struct Wide {
    /// Kind and role of the ids, as a key without an id.
    of: Key,
    /// Ascending: a block, and which of its ids.
    blocks: Arc<[(u64, u64)]>,
    users: u32,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    set: Key,
    /// Which of the block's ids.
    ids: u64,
}

impl Wides {
    /// The key of a set, for one more user.
    pub(super) fn add(&mut self, has: &Has) -> Key {
        let of = key(has.kind, has.role, 0);
        let blocks = blocks(&has.ids);
        let hash = key::hash([of].into_iter().chain(has.ids.iter().copied()));
        // Two different sets of one hash: the next free key. A set that is found by another way than its hash is only kept twice.
        let mut set = key(WIDE, 0, hash);
        while let Some(known) = self.sets.get_mut(set) {
            if known.of == of && *known.blocks == *blocks {
                known.users += 1;
                return set;
            }
            set = key(WIDE, 0, (id(set) + 1) & MAX_ID);
        }
        for &(block, ids) in &blocks {
            let at = key(has.kind, has.role, block);
            let members = Arc::make_mut(self.members.entry(at, Arc::default));
            members.push(Member { set, ids });
        }
        let wide = Wide {
            of,
            blocks: blocks.into(),
            users: 1,
        };
        self.sets.entry(set, || wide);
        set
    }

    /// One user less. The kind and role of the set's ids if that was the last.
    pub(super) fn remove(&mut self, set: Key) -> Option<(u8, u8)> {
        let wide = self.sets.get_mut(set)?;
        wide.users = wide.users.saturating_sub(1);
        if wide.users > 0 {
            return None;
        }
        let Wide { of, blocks, .. } = self.sets.remove(set)?;
        for &(block, _) in &*blocks {
            let at = key(kind(of), role(of), block);
            let members = Arc::make_mut(self.members.entry(at, Arc::default));
            members.retain(|member| member.set != set);
            if members.is_empty() {
                self.members.remove(at);
            }
        }
        Some((kind(of), role(of)))
    }

    /// How many use a set.
    pub(super) fn users(&self, set: Key) -> u32 {
        self.sets.get(set).map_or(0, |wide| wide.users)
    }

    /// Whether the set holds the id.
    pub(super) fn contains(&self, set: Key, id: u64) -> bool {
        let found = self.sets.get(set).and_then(|wide| {
            let at = wide
                .blocks
                .binary_search_by_key(&(id / BLOCK), |(block, _)| *block)
                .ok()?;
            wide.blocks.get(at)
        });
        found.is_some_and(|(_, ids)| ids >> (id % BLOCK) & 1 == 1)
    }

    /// The sets that hold the id of this key, of its kind and role.
    pub(super) fn holding(&self, of: Key) -> impl Iterator<Item = Key> {
        let members = self.members.get(key(kind(of), role(of), id(of) / BLOCK));
        let bit = id(of) % BLOCK;
        let members = members.into_iter().flat_map(|members| members.iter());
        members
            .filter(move |member| member.ids >> bit & 1 == 1)
            .map(|member| member.set)
    }
}

fn blocks(ids: &[u64]) -> Vec<(u64, u64)> {
    let mut blocks: Vec<(u64, u64)> = Vec::new();
    for &id in ids {
        let bit = 1 << (id % BLOCK);
        match blocks.last_mut() {
            Some((block, ids)) if *block == id / BLOCK => *ids |= bit,
            _ => blocks.push((id / BLOCK, bit)),
        }
    }
    blocks
}
