//! A map whose copies share what they have in common: copying it is copying a pointer, and a change copies only the way from the
//! root to one leaf, if anybody else has it. That is what makes snapshots cheap.

use std::sync::Arc;

use super::key::FactKey;

/// Branches have so many children: five bits of the hash each.
const CHILDREN: usize = 32;
/// A leaf with more entries becomes a branch. So it goes down until all bits of the hash are used, and then all keys of a leaf have one
/// hash: these differ in their role alone, so they are four at most.
const MAX_LEAF_LEN: usize = 16;

/// Keys that differ in their role alone lie side by side in one leaf: who looks up one has the others at hand.
#[derive(Debug, Clone)]
pub(super) struct Hamt<V> {
    root: Node<V>,
}

#[derive(Debug, Clone)]
enum Node<V> {
    Empty,
    Leaf(Arc<Leaf<V>>),
    Branch(Arc<[Node<V>; CHILDREN]>),
}

#[derive(Debug, Clone)]
struct Leaf<V> {
    /// As many as there are values. Apart from them: most look-ups find nothing, and then see only these.
    keys: [FactKey; MAX_LEAF_LEN],
    values: Vec<V>,
}

impl<V> Leaf<V> {
    const EMPTY: Self = Self {
        keys: [0; MAX_LEAF_LEN],
        values: Vec::new(),
    };

    fn place(&self, key: FactKey) -> Option<usize> {
        let keys = self.keys.iter().take(self.values.len());
        keys.copied().position(|known| known == key)
    }

    /// There must be room.
    fn push(&mut self, key: FactKey, value: V) {
        self.keys[self.values.len()] = key;
        self.values.push(value);
    }
}

impl<V> Default for Hamt<V> {
    fn default() -> Self {
        Self { root: Node::Empty }
    }
}

impl<V: Clone> Hamt<V> {
    pub(super) fn get(&self, key: FactKey) -> Option<&V> {
        let mut node = &self.root;
        let mut hash = hash(key);
        loop {
            match node {
                Node::Empty => return None,
                Node::Branch(children) => node = &children[child(hash)],
                Node::Leaf(leaf) => {
                    return leaf.values.get(leaf.place(key)?);
                }
            }
            hash >>= 5;
        }
    }

    /// The value for changing it.
    pub(super) fn get_mut(&mut self, key: FactKey) -> Option<&mut V> {
        match self.leaf_with(key)? {
            (Node::Leaf(leaf), at) => Arc::make_mut(leaf).values.get_mut(at),
            _ => None,
        }
    }

    /// The value, made by `new` if there is none, for changing it.
    pub(super) fn entry(&mut self, key: FactKey, new: impl FnOnce() -> V) -> &mut V {
        let mut node = &mut self.root;
        let mut hash = hash(key);
        let mut depth = 0;
        loop {
            if matches!(node, Node::Empty) {
                *node = Node::Leaf(Arc::new(Leaf::EMPTY));
            }
            if let Node::Leaf(leaf) = node
                && leaf.values.len() == MAX_LEAF_LEN
                && leaf.place(key).is_none()
            {
                *node = split(leaf, depth);
            }
            match node {
                Node::Branch(children) => node = &mut Arc::make_mut(children)[child(hash)],
                Node::Leaf(leaf) => {
                    let leaf = Arc::make_mut(leaf);
                    let at = leaf.place(key).unwrap_or_else(|| {
                        leaf.push(key, new());
                        leaf.values.len() - 1
                    });
                    return &mut leaf.values[at];
                }
                // Just made a leaf.
                Node::Empty => {}
            }
            hash >>= 5;
            depth += 1;
        }
    }

    pub(super) fn remove(&mut self, key: FactKey) -> Option<V> {
        let (node, at) = self.leaf_with(key)?;
        let Node::Leaf(shared) = node else { return None };
        let leaf = Arc::make_mut(shared);
        let value = leaf.values.swap_remove(at);
        leaf.keys[at] = leaf.keys[leaf.values.len()];
        if leaf.values.is_empty() {
            *node = Node::Empty;
        }
        Some(value)
    }

    /// The leaf that has the key, for changing it, and where in it. On the way to a key that is not there nothing is copied.
    fn leaf_with(&mut self, key: FactKey) -> Option<(&mut Node<V>, usize)> {
        self.get(key)?;
        let mut node = &mut self.root;
        let mut hash = hash(key);
        loop {
            match node {
                Node::Empty => return None,
                Node::Branch(children) => node = &mut Arc::make_mut(children)[child(hash)],
                Node::Leaf(leaf) => {
                    let at = leaf.place(key)?;
                    return Some((node, at));
                }
            }
            hash >>= 5;
        }
    }
}

fn split<V: Clone>(leaf: &Leaf<V>, depth: u32) -> Node<V> {
    let mut leaves: [Leaf<V>; CHILDREN] = std::array::from_fn(|_| Leaf::EMPTY);
    for (&key, value) in leaf.keys.iter().zip(&leaf.values) {
        leaves[child(hash(key) >> (5 * depth))].push(key, value.clone());
    }
    let children = leaves.map(|leaf| match leaf.values.is_empty() {
        true => Node::Empty,
        false => Node::Leaf(Arc::new(leaf)),
    });
    Node::Branch(Arc::new(children))
}

fn child(hash: u64) -> usize {
    (hash % CHILDREN as u64) as usize
}

/// Of all but the role. The finalizer of SplitMix64: every bit of the key moves every bit of the hash.
fn hash(key: FactKey) -> u64 {
    let mixed = (key >> 2).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn it_is_a_map_and_copies_do_not_see_later_changes() {
        let (mut map, mut model) = (Hamt::default(), HashMap::new());
        let mut kept = Vec::new();
        for step in 0..20_000_u64 {
            // Keys that differ in the role alone, and such as come back.
            let key = (step * 7_919) % 9_001;
            if step % 3 == 0 {
                assert_eq!(map.remove(key), model.remove(&key));
            } else {
                *map.entry(key, || 0) = step;
                model.insert(key, step);
            }
            if step % 5_000 == 0 {
                kept.push((map.clone(), model.clone()));
            }
        }
        kept.push((map, model));
        for (map, model) in kept {
            for key in 0..9_001 {
                assert_eq!(map.get(key), model.get(&key));
            }
        }
    }
}
