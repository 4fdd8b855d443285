//! The filters that wait for one key, one after another in memory: they are read from the first to the last for every killmail that
//! has the key, so they lie in the order of reading, each with what else has to hold.
//!
//! Where nothing else has to hold, and no other key can bring the filter up too, the id says all: these lie by themselves (`ids`) and
//! are matched by being copied. Any other entry is its filter's id, a head, and the code (`code`) of what else has to hold. Both are in
//! the order of ids.

use std::sync::Arc;

use super::ids::Ids;

/// A chunk with more words is cut in two. Longer lists have larger chunks, so that both what a change copies (one chunk and the
/// list of chunks) stay small.
const CHUNK: usize = 2_048;

/// A filter's id, and its head.
const BEFORE_CODE: usize = 2;

/// Some other key can bring the filter up too: it must be counted once.
const SEVERAL: u64 = 1 << 32;
/// The code is too large to lie here once for every key: the set knows it by the filter's id.
const ELSEWHERE: u64 = 1 << 33;

/// An entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) id: u64,
    /// Some other key can bring the filter up too.
    pub(super) several: bool,
    /// The code is not here.
    pub(super) elsewhere: bool,
    pub(super) code: &'a [u64],
}

impl Entry<'_> {
    fn is_plain(&self) -> bool {
        self.code.is_empty() && !self.several && !self.elsewhere
    }
}

/// Entries in ascending order of their ids.
#[derive(Debug, Clone, Default)]
pub(super) struct Postings {
    /// Those that match whatever has the key.
    plain: Ids,
    /// None of them empty.
    chunks: Vec<Arc<Chunk>>,
}

#[derive(Debug, Clone)]
struct Chunk {
    /// The id of the last entry.
    last: u64,
    words: Vec<u64>,
}

impl Postings {
    /// Those that match whatever has the key.
    pub(super) fn plain(&self) -> &Ids {
        &self.plain
    }

    /// Calls `each` with every other entry.
    pub(super) fn for_each(&self, mut each: impl FnMut(Entry<'_>)) {
        for chunk in &self.chunks {
            let mut rest = chunk.words.as_slice();
            while let Some((entry, after)) = first(rest) {
                each(entry);
                rest = after;
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.chunks.is_empty()
    }

    /// An id that is there already must not be inserted again.
    pub(super) fn insert(&mut self, entry: Entry<'_>) {
        if entry.is_plain() {
            return self.plain.insert(entry.id);
        }
        let words = words(entry);
        let at = self.chunk_of(entry.id).min(self.chunks.len().saturating_sub(1));
        let largest = CHUNK * (1 + self.chunks.len() / 32);
        let Some(chunk) = self.chunks.get_mut(at) else {
            // Most keys have a filter or two: no room is kept for more.
            let (last, words) = (entry.id, words.into_boxed_slice().into_vec());
            self.chunks.push(Arc::new(Chunk { last, words }));
            return;
        };
        let chunk = Arc::make_mut(chunk);
        let place = chunk.place(entry.id);
        if place == chunk.words.len() {
            chunk.words.extend(words);
        } else {
            chunk.words.splice(place..place, words);
        }
        chunk.last = chunk.last.max(entry.id);
        if chunk.words.len() > largest
            && let Some(right) = chunk.cut()
        {
            self.chunks.insert(at + 1, Arc::new(right));
        }
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        if self.plain.remove(id) {
            return true;
        }
        let at = self.chunk_of(id);
        let Some(shared) = self.chunks.get_mut(at) else {
            return false;
        };
        let place = shared.place(id);
        match first(&shared.words[place..]) {
            Some((entry, _)) if entry.id == id => {
                let end = place + BEFORE_CODE + entry.code.len();
                let chunk = Arc::make_mut(shared);
                chunk.words.drain(place..end);
                match chunk.last_id() {
                    Some(last) => chunk.last = last,
                    None => _ = self.chunks.remove(at),
                }
                true
            }
            _ => false,
        }
    }

    /// The first chunk that may hold the id.
    fn chunk_of(&self, id: u64) -> usize {
        self.chunks.partition_point(|chunk| chunk.last < id)
    }
}

impl Chunk {
    /// Where the entry of this id is or belongs.
    fn place(&self, id: u64) -> usize {
        if id > self.last {
            return self.words.len();
        }
        let mut at = 0;
        while let Some((entry, _)) = first(&self.words[at..])
            && entry.id < id
        {
            at += BEFORE_CODE + entry.code.len();
        }
        at
    }

    /// Keeps the first half; `None` if it is one entry.
    fn cut(&mut self) -> Option<Self> {
        let (mut at, mut before) = (0, 0);
        while let Some((entry, _)) = first(&self.words[at..])
            && at <= self.words.len() / 2
        {
            before = entry.id;
            at += BEFORE_CODE + entry.code.len();
        }
        if at == self.words.len() {
            return None;
        }
        let right = Self {
            last: self.last,
            words: self.words.split_off(at),
        };
        self.words.shrink_to_fit();
        self.last = before;
        Some(right)
    }

    fn last_id(&self) -> Option<u64> {
        let (mut at, mut last) = (0, None);
        while let Some((entry, _)) = first(&self.words[at..]) {
            last = Some(entry.id);
            at += BEFORE_CODE + entry.code.len();
        }
        last
    }
}

fn words(entry: Entry<'_>) -> Vec<u64> {
    let mut head = entry.code.len() as u64;
    if entry.several {
        head |= SEVERAL;
    }
    if entry.elsewhere {
        head |= ELSEWHERE;
    }
    let mut words = Vec::with_capacity(BEFORE_CODE + entry.code.len());
    words.extend([entry.id, head]);
    words.extend(entry.code);
    words
}

/// The first entry, and the words after it.
fn first(words: &[u64]) -> Option<(Entry<'_>, &[u64])> {
    let [id, head, rest @ ..] = words else { return None };
    let (code, after) = rest.split_at_checked(*head as u32 as usize)?;
    let entry = Entry {
        id: *id,
        several: head & SEVERAL != 0,
        elsewhere: head & ELSEWHERE != 0,
        code,
    };
    Some((entry, after))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn entries_come_back_in_order_whatever_the_order_they_came_in() {
        let (mut postings, mut model) = (Postings::default(), BTreeMap::new());
        let mut kept = Vec::new();
        let check = |postings: &Postings, model: &BTreeMap<u64, Vec<u64>>| {
            let mut seen = Vec::new();
            let mut plain = Vec::new();
            postings.plain().append_to(&mut plain);
            seen.extend(plain.into_iter().map(|id| (id, Vec::new())));
            postings.for_each(|entry| seen.push((entry.id, entry.code.to_vec())));
            seen.sort_unstable();
            assert!(seen.into_iter().eq(model.iter().map(|(id, code)| (*id, code.clone()))));
        };
        for step in 0..12_000_u64 {
            let id = (step * 7_919) % 6_007;
            if model.contains_key(&id) || step % 7 == 0 {
                assert_eq!(postings.remove(id), model.remove(&id).is_some());
            } else {
                let code: Vec<u64> = (0..step % 5).collect();
                postings.insert(Entry {
                    id,
                    several: step % 2 == 0,
                    elsewhere: false,
                    code: &code,
                });
                model.insert(id, code);
            }
            if step % 3_000 == 0 {
                kept.push((postings.clone(), model.clone()));
            }
        }
        assert!(postings.chunks.len() > 3);
        kept.iter().for_each(|(postings, model)| check(postings, model));
        for id in model.keys().copied().collect::<Vec<_>>() {
            assert!(postings.remove(id));
            model.remove(&id);
        }
        check(&postings, &model);
        assert!(postings.is_empty());
    }
}
