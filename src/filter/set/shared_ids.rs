//! Sets of many ids: the systems near another, what a wildcard stands for.
//!
//! Each different set is kept once, however many filters name it, and as bits: EVE gives ids in rows, so the 300 systems around
//! another lie in some 30 blocks of 64. Each block knows the sets that have ids in it; so a killmail's id leads to the sets that hold
//! it, and a set, once found, is a key like any other. Hundreds of them are found for a killmail, so the filters that wait for a set lie with it.

use std::sync::Arc;

use super::{
    expr::Has,
    hamt::Hamt,
    key::{self, FactKey, MAX_ID, WIDE, id, key, kind, role},
    postings::Postings,
    slab::Slab,
};

/// Ids in a block: bits in a word.
const BLOCK: u64 = 64;

#[derive(Debug, Clone, Default)]
pub(super) struct SharedIdSets {
    /// A set's key is its number here.
    sets: Slab<SharedIdSet>,
    /// By their hashes: the numbers of the sets.
    numbers: Hamt<u64>,
    /// By kind, role and block: the sets that have ids there.
    members: Hamt<Arc<Vec<BlockMember>>>,
}

#[derive(Debug, Clone, Default)]
struct SharedIdSet {
    /// Kind and role of the ids, as a key without an id.
    of: FactKey,
    /// Where its number is.
    hash: FactKey,
    /// Ascending: a block, and which of its ids.
    blocks: Arc<[(u64, u64)]>,
    users: u32,
    /// The filters that wait for it.
    list: Postings,
}

#[derive(Debug, Clone, Copy)]
struct BlockMember {
    set: FactKey,
    /// Which of the block's ids.
    ids: u64,
}

impl SharedIdSets {
    /// The key of a set, for one more user.
    pub(super) fn add(&mut self, has: &Has) -> FactKey {
        let of = key(has.kind, has.role, 0);
        let blocks = blocks(&has.ids);
        let mut hash = key(WIDE, 0, key::hash([of].into_iter().chain(has.ids.iter().copied())));
        // Two different sets of one hash: the next free one. A set that is found by another way than its hash is only kept twice.
        while let Some(&number) = self.numbers.get(hash) {
            let set = key(WIDE, 0, number);
            if let Some(known) = self.wide_mut(set)
                && known.of == of
                && *known.blocks == *blocks
            {
                known.users += 1;
                return set;
            }
            hash = key(WIDE, 0, (id(hash) + 1) & MAX_ID);
        }
        let wide = SharedIdSet {
            of,
            hash,
            blocks: blocks.as_slice().into(),
            users: 1,
            list: Postings::default(),
        };
        let number = self.sets.add(wide) as u64;
        let set = key(WIDE, 0, number);
        self.numbers.entry(hash, || number);
        for (block, ids) in blocks {
            let at = key(has.kind, has.role, block);
            let members = Arc::make_mut(self.members.entry(at, Arc::default));
            members.push(BlockMember { set, ids });
        }
        set
    }

    /// One user less. The kind and role of the set's ids if that was the last.
    pub(super) fn remove(&mut self, set: FactKey) -> Option<(u8, u8)> {
        let wide = self.wide_mut(set)?;
        wide.users = wide.users.saturating_sub(1);
        if wide.users > 0 {
            return None;
        }
        let SharedIdSet { of, hash, blocks, .. } = self.sets.remove(number(set))?;
        self.numbers.remove(hash);
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
    pub(super) fn users(&self, set: FactKey) -> u32 {
        self.wide(set).map_or(0, |wide| wide.users)
    }

    /// The filters that wait for a set.
    pub(super) fn list(&self, set: FactKey) -> Option<&Postings> {
        self.wide(set).map(|wide| &wide.list)
    }

    /// The same, for changing them.
    pub(super) fn list_mut(&mut self, set: FactKey) -> Option<&mut Postings> {
        self.wide_mut(set).map(|wide| &mut wide.list)
    }

    /// Whether the set holds the id.
    pub(super) fn contains(&self, set: FactKey, id: u64) -> bool {
        let found = self.wide(set).and_then(|wide| {
            let at = wide
                .blocks
                .binary_search_by_key(&(id / BLOCK), |(block, _)| *block)
                .ok()?;
            wide.blocks.get(at)
        });
        found.is_some_and(|(_, ids)| ids >> (id % BLOCK) & 1 == 1)
    }

    /// The sets that hold the id of this key, of its kind and role.
    pub(super) fn holding(&self, of: FactKey) -> impl Iterator<Item = FactKey> {
        let members = self.members.get(key(kind(of), role(of), id(of) / BLOCK));
        let bit = id(of) % BLOCK;
        let members = members.into_iter().flat_map(|members| members.iter());
        members
            .filter(move |member| member.ids >> bit & 1 == 1)
            .map(|member| member.set)
    }

    fn wide(&self, set: FactKey) -> Option<&SharedIdSet> {
        self.sets.get(number(set))
    }

    fn wide_mut(&mut self, set: FactKey) -> Option<&mut SharedIdSet> {
        self.sets.get_mut(number(set))
    }
}

/// Under which the set of this key is kept.
fn number(set: FactKey) -> usize {
    id(set) as usize
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
