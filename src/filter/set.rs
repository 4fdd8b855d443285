//! Many filters at once: which of a million does this killmail match?
//!
//! # How
//!
//! **Keys.** A killmail has things that filters ask for: a victim's alliance, an attacker's ship, a region, a label, an hour. Each is a
//! word (`key`), and all that one killmail has are gathered once (`facts`): thousands of attackers of one alliance are one key. Where a
//! word is a hash, what it stands for is known in full (`labels`, `shared_ids`): no hash decides whether something matches.
//!
//! **Covers.** Of each filter it is found out which keys it needs (`cover`): no killmail that it matches is without one of them, and
//! they are as rare as the filter allows. The filter waits in the lists of these keys and nowhere else. `value>=1b` waits in a list of its
//! bound: bounds lie in order, and a killmail reads the lists up to its value. What needs nothing (`-alliance:X`) waits in the one list that
//! every killmail reads.
//!
//! **Lists** (`postings`) lie in memory as they are read, from front to back: what else has to hold, as a few words (`bytecode`) that are
//! answered from the killmail's keys, and behind it the ids of all filters of the list that ask for just that: of `region:R value>=1b`, which
//! thousands want, it is decided once. Of `alliance:X` nothing else is asked: its id lies among others like it, and is matched by being copied. No
//! filter's own tree is ever touched.
//!
//! **Once.** A killmail can have several keys of one cover. Of few of them, each asks as well that none of those before it holds, so
//! the filter is found once by the way it is written down; of many, what was found is sorted, and the second is dropped.
//!
//! **Wide sets** (`shared_ids`): the systems of `near( )` and the ids of wildcards and long lists are one key a set, found through blocks of 64 ids; the
//! same set in many filters is there once.
//!
//! **Groups**: `attacker(alliance:X group:Y)` waits for the rarer of `attacker.alliance:X` and `attacker.group:Y`, and is then decided
//! over those attackers that have the rarer of the two ids.
//!
//! **Snapshots.** All of it lies in maps that share what they have in common (`hamt`): a [`FilterSet`] is copied by copying a few
//! pointers, and a change copies the way to the lists it changes if a copy of the set is still used somewhere. Who reads has a set that never
//! changes; who writes copies it, changes the copy and swaps it in (an `ArcSwap`).
//!
//! # What it costs
//!
//! Reading costs a look-up for every distinct key of the killmail that can be waited for, a few nanoseconds for everything different that the
//! filters in the lists of these keys ask for, and one for every id that matches. So it grows with what matches or nearly matches, not with the
//! number of filters. What is slow: many filters that need no rare key, match rarely all the same and are all different
//! (`-ship:X` for each X), every one of which is read for every killmail.
//! Adding and removing cost one walk to each list that the filter waits in, at most [`cover::FEW`] for a list of ids, and one for each
//! block of a wide set that was not there before. In memory a filter is some ten words; a different wide set 16 bytes for each
//! block of 64 ids that it has ids in, twice. `cargo run --release --example match_million` measures it.

mod bytecode;
mod cover;
mod expr;
mod facts;
mod key;
mod labels;
mod hamt;
mod postings;
mod slab;
mod shared_ids;

use std::{collections::BTreeMap, sync::Arc};

use super::{InvalidFilter, Program, tree::Tree};
use crate::v1::{self, Killmail};
use bytecode::Evaluator;
use cover::{Cover, CoverKey};
use expr::{Expr, Has};
use facts::Facts;
use hamt::Hamt;
use key::{ALWAYS, AT_LEAST, AT_MOST, FactKey, KINDS, WIDE, field_id, key, kind, number_id, role};
use labels::Labels;
use postings::{Guard, Postings, RunKey};
use shared_ids::SharedIdSets;

/// Filters, each under an id, of which it is asked which a killmail matches. Cheap to clone; clones do not see each other's changes.
#[derive(Debug, Clone, Default)]
pub struct FilterSet {
    filters: Hamt<FilterEntry>,
    len: usize,
    lists: Hamt<Postings>,
    /// The lists of bounds, in order.
    bounds: Arc<BTreeMap<FactKey, Postings>>,
    wides: SharedIdSets,
    labels: Labels,
    waiting: PostingCounts,
    /// Those that name an id which has no key, or a label whose key stands for another one: looked at one by one. No killmail of EVE
    /// has such an id, and no labels of zKillboard share a key.
    unindexed: Arc<BTreeMap<u64, Program>>,
}

/// Code of more words in all is kept once, not beside every key of its filter.
const MAX_INLINE_WORDS: usize = 64;
const _: () = assert!(MAX_INLINE_WORDS <= postings::MAX_CODE_WORDS);

/// What is known of a filter: enough to take it out again.
#[derive(Debug, Clone)]
enum FilterEntry {
    /// It waits in one list.
    Simple(FactKey, RunKey),
    Other(Arc<Other>),
}

#[derive(Debug, Default)]
struct Other {
    lists: Vec<(FactKey, RunKey)>,
    wides: Vec<FactKey>,
    /// Ids of the labels that it names.
    labels: Vec<u64>,
    /// All of it, if it is too large to lie in the lists.
    code: Option<Vec<u64>>,
    unindexed: bool,
}

/// By kind and role: how many wait for such keys, alone or in wide sets. What nobody waits for is not looked up.
#[derive(Debug, Clone)]
struct PostingCounts {
    lists: [[u32; 4]; KINDS],
    wides: [[u32; 4]; KINDS],
}

impl Default for PostingCounts {
    fn default() -> Self {
        Self {
            lists: [[0; 4]; KINDS],
            wides: [[0; 4]; KINDS],
        }
    }
}

impl FilterSet {
    /// Without any filter.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a filter under an id, in the place of what had this id before. On an error nothing is changed.
    pub fn add(&mut self, id: u64, filter: &v1::Filter) -> Result<(), InvalidFilter> {
        let tree = Tree::from_filter(filter)?;
        self.remove(id);
        self.len += 1;
        let kept = match (self.labels.add(&tree), Expr::of(&tree)) {
            (Some(labels), Some(expr)) => self.index(id, &expr, labels),
            (labels, _) => {
                Arc::make_mut(&mut self.unindexed).insert(id, Program::of(&tree));
                FilterEntry::Other(Arc::new(Other {
                    labels: labels.unwrap_or_default(),
                    unindexed: true,
                    ..Other::default()
                }))
            }
        };
        *self
            .filters
            .entry(spread(id), || FilterEntry::Simple(ALWAYS, RunKey::PLAIN)) = kept;
        Ok(())
    }

    /// Takes a filter out; whether it was there.
    pub fn remove(&mut self, id: u64) -> bool {
        let Some(kept) = self.filters.remove(spread(id)) else {
            return false;
        };
        self.len -= 1;
        match kept {
            FilterEntry::Simple(list, mark) => self.leave(id, list, mark),
            FilterEntry::Other(other) => {
                if other.unindexed {
                    Arc::make_mut(&mut self.unindexed).remove(&id);
                }
                other.lists.iter().for_each(|&(list, mark)| self.leave(id, list, mark));
                other.labels.iter().for_each(|&label| self.labels.remove(label));
                for &set in &other.wides {
                    if let Some((kind, role)) = self.wides.remove(set) {
                        let waiting = &mut self.waiting.wides[usize::from(kind)][usize::from(role)];
                        *waiting = waiting.saturating_sub(1);
                    }
                }
            }
        }
        true
    }

    /// Whether there is a filter under this id.
    pub fn contains(&self, id: u64) -> bool {
        self.filters.get(spread(id)).is_some()
    }

    /// How many filters there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The ids of the filters that match the killmail: each once, in no order.
    pub fn matches(&self, killmail: &Killmail) -> Vec<u64> {
        let mut facts = Facts::of(killmail, &self.labels);
        let lists = self.lists_for(&mut facts);
        let judge = Evaluator {
            facts: &facts,
            wides: &self.wides,
        };
        let sure = lists.iter().map(|list| list.plain()).sum();
        let mut found = Vec::with_capacity(sure);
        let (mut several, mut elsewhere) = (Vec::new(), Vec::new());
        for list in lists {
            list.for_each(|guard, ids| {
                if guard.elsewhere {
                    elsewhere.extend_from_slice(ids);
                } else if judge.holds(guard.code) {
                    if guard.several { &mut several } else { &mut found }.extend_from_slice(ids);
                }
            });
        }
        for ids in [&mut several, &mut elsewhere] {
            ids.sort_unstable();
            ids.dedup();
        }
        elsewhere.retain(|&id| match self.filters.get(spread(id)) {
            Some(FilterEntry::Other(other)) => other.code.as_ref().is_some_and(|code| judge.holds(code)),
            _ => false,
        });
        found.append(&mut several);
        found.append(&mut elsewhere);
        let odd = self.unindexed.iter().filter(|(_, program)| program.matches(killmail));
        found.extend(odd.map(|(id, _)| *id));
        found
    }

    /// Every list that this killmail reads. The wide sets that it is in become facts as well.
    fn lists_for(&self, facts: &mut Facts<'_>) -> Vec<&Postings> {
        let mut lists = Vec::new();
        let mut sets = Vec::new();
        for &key in facts.keys() {
            let (kind, role) = (usize::from(kind(key)), usize::from(role(key)));
            if self.waiting.lists[kind][role] > 0 {
                lists.extend(self.lists.get(key));
            }
            if self.waiting.wides[kind][role] > 0 {
                sets.extend(self.wides.holding(key));
            }
        }
        for set in sets {
            if facts.insert(set) {
                lists.extend(self.wides.list(set));
            }
        }
        for (field, number) in facts.numbers() {
            let here = number_id(field, number);
            let at_least = key(AT_LEAST, 0, field_id(field))..=key(AT_LEAST, 0, here);
            let at_most = key(AT_MOST, 0, here)..key(AT_MOST, 0, field_id(field + 1));
            lists.extend(self.bounds.range(at_least).map(|(_, list)| list));
            lists.extend(self.bounds.range(at_most).map(|(_, list)| list));
        }
        lists.extend(self.lists.get(ALWAYS));
        lists
    }

    /// Puts a filter into the lists of its cover.
    fn index(&mut self, id: u64, expr: &Expr, labels: Vec<u64>) -> FilterEntry {
        let Cover { paths, several } = cover::cover(expr);
        let mut used = Vec::new();
        let (wides, waiting) = (&mut self.wides, &mut self.waiting);
        let mut wide = |has: &Has| {
            let set = wides.add(has);
            if wides.users(set) == 1 {
                waiting.wides[usize::from(has.kind)][usize::from(has.role)] += 1;
            }
            used.push(set);
            set
        };
        // Two parts of an OR can wait for the same key; then either of them decides.
        let mut rests: BTreeMap<FactKey, Expr> = BTreeMap::new();
        for path in paths {
            let list = match &path.list {
                CoverKey::Key(key) => *key,
                CoverKey::Wide(has) => wide(has),
            };
            let rest = match rests.remove(&list) {
                Some(other) => Expr::any([other, path.rest]),
                None => path.rest,
            };
            rests.insert(list, rest);
        }
        let several = several && rests.len() > 1;
        let code = |(list, rest): (FactKey, Expr)| (list, bytecode::code(&rest, &mut wide));
        let entries: Vec<_> = rests.into_iter().map(code).collect();
        let words: usize = entries.iter().map(|(_, code)| code.len()).sum();
        let whole = (words > MAX_INLINE_WORDS).then(|| bytecode::code(expr, &mut wide));
        let mut lists = Vec::with_capacity(entries.len());
        for (list, code) in &entries {
            let guard = Guard {
                several,
                elsewhere: whole.is_some(),
                code: if whole.is_some() { &[] } else { code },
            };
            lists.push((*list, guard.mark()));
            self.enter(id, *list, guard);
        }
        match lists.as_slice() {
            &[(list, mark)] if used.is_empty() && labels.is_empty() && whole.is_none() => {
                FilterEntry::Simple(list, mark)
            }
            _ => FilterEntry::Other(Arc::new(Other {
                lists,
                wides: used,
                labels,
                code: whole,
                unindexed: false,
            })),
        }
    }

    fn enter(&mut self, id: u64, list: FactKey, guard: Guard<'_>) {
        if is_bound(list) {
            let postings = Arc::make_mut(&mut self.bounds).entry(list).or_default();
            return postings.insert(id, guard);
        }
        if kind(list) == WIDE {
            // Its set has been added, and what waits there is looked for wherever the set is found.
            if let Some(postings) = self.wides.list_mut(list) {
                postings.insert(id, guard);
            }
            return;
        }
        self.waiting.lists[usize::from(kind(list))][usize::from(role(list))] += 1;
        self.lists.entry(list, Postings::default).insert(id, guard);
    }

    fn leave(&mut self, id: u64, list: FactKey, mark: RunKey) {
        if is_bound(list) {
            let bounds = Arc::make_mut(&mut self.bounds);
            if let Some(postings) = bounds.get_mut(&list) {
                postings.remove(id, mark);
                if postings.is_empty() {
                    bounds.remove(&list);
                }
            }
            return;
        }
        if kind(list) == WIDE {
            if let Some(postings) = self.wides.list_mut(list) {
                postings.remove(id, mark);
            }
            return;
        }
        let waiting = &mut self.waiting.lists[usize::from(kind(list))][usize::from(role(list))];
        *waiting = waiting.saturating_sub(1);
        let postings = self.lists.entry(list, Postings::default);
        postings.remove(id, mark);
        if postings.is_empty() {
            self.lists.remove(list);
        }
    }
}

fn is_bound(list: FactKey) -> bool {
    matches!(kind(list), AT_LEAST | AT_MOST)
}

/// An id as a key of the map, whose hash leaves out the two lowest bits.
fn spread(id: u64) -> FactKey {
    id.rotate_left(2)
}
