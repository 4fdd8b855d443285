//! The labels that filters name.
//!
//! The key of a label is a hash of its text, and it takes seconds to find two texts of one hash. So a key stands for one text: that of
//! the filter that came first. A killmail has the key only if it has this very label, and a filter that names another one of the same
//! hash is looked at as a whole. What matches is never decided by a hash.

use std::sync::Arc;

use super::{
    super::tree::{Leaf, Tree},
    hamt::Hamt,
    key::{LABEL, key, label_id},
};
use crate::v1::KillmailFlag;

#[derive(Debug, Clone, Default)]
pub(super) struct Labels {
    known: Hamt<InternedLabel>,
    len: usize,
}

#[derive(Debug, Clone)]
struct InternedLabel {
    /// In lower case.
    text: Arc<str>,
    users: u32,
}

impl Labels {
    /// One more user of every label that the filter names: their ids, each to be given back to [`Labels::remove`]. `None` if the key
    /// of one of them stands for another label; then nothing was changed.
    pub(super) fn add(&mut self, tree: &Tree) -> Option<Vec<u64>> {
        let mut named = Vec::new();
        collect(tree, &mut named);
        let mut ids = Vec::with_capacity(named.len());
        for text in named {
            let id = label_id(text);
            match self.known.get_mut(key(LABEL, 0, id)) {
                Some(label) if label.is(text) => label.users += 1,
                Some(_) => {
                    ids.into_iter().for_each(|id| self.remove(id));
                    return None;
                }
                None => {
                    let text = lower(text).collect::<String>().into();
                    self.known.entry(key(LABEL, 0, id), || InternedLabel { text, users: 1 });
                    self.len += 1;
                }
            }
            ids.push(id);
        }
        Some(ids)
    }

    /// One user less.
    pub(super) fn remove(&mut self, id: u64) {
        let Some(label) = self.known.get_mut(key(LABEL, 0, id)) else {
            return;
        };
        label.users = label.users.saturating_sub(1);
        if label.users == 0 {
            self.known.remove(key(LABEL, 0, id));
            self.len -= 1;
        }
    }

    /// The id of a killmail's label; `None` if no filter names it by its key.
    pub(super) fn id(&self, text: &str) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        let id = label_id(text);
        let label = self.known.get(key(LABEL, 0, id))?;
        label.is(text).then_some(id)
    }
}

impl InternedLabel {
    fn is(&self, text: &str) -> bool {
        self.text.chars().eq(lower(text))
    }
}

/// As the program compares labels.
fn lower(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}

// Recursive, as everything over a checked tree, which is at most `tree::MAX_DEPTH` deep.
fn collect<'a>(tree: &'a Tree, found: &mut Vec<&'a str>) {
    match tree {
        Tree::All(operands) | Tree::Any(operands) => operands.iter().for_each(|operand| collect(operand, found)),
        Tree::Not(operand) | Tree::Group(_, operand) => collect(operand, found),
        Tree::Leaf(Leaf::Label(labels)) => found.extend(labels.iter().map(String::as_str)),
        Tree::Leaf(Leaf::Flag(KillmailFlag::Ganked)) => found.push("ganked"),
        Tree::Leaf(_) => {}
    }
}
