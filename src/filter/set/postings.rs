//! The filters that wait for one key, one after another in memory: they are read from the first to the last for every killmail that
//! has the key, so they lie in the order of reading.
//!
//! Those that ask for the same else are one run: a head, the code (`code`) of what else has to hold, and the ids. However many want
//! `region:R value>=1b`, whether a killmail of that region is worth it is decided once; and where nothing else has to hold, the run is
//! matched by being copied. Most keys have a filter or two, so a short list is one piece of memory; a long one is cut into chunks, of
//! which a change copies one.

use std::sync::Arc;

use super::key::hash;

/// A list of more words is cut into chunks...
const SPLIT_THRESHOLD: usize = 64;
/// ... and is one piece again when it has no more than this.
const MERGE_THRESHOLD: usize = 32;
/// A chunk with more words is cut in two. Longer lists have larger chunks, so that both what a change copies (one chunk and the
/// list of chunks) stay small.
const CHUNK: usize = 1_024;
/// A run with fewer ids is not cut.
const SMALL: usize = 64;

// A head: 32 bits of a hash, two flags, how many words of code, how many ids.
const SEVERAL: u64 = 1 << 31;
const ELSEWHERE: u64 = 1 << 30;
const CODE: u32 = 23;
const IDS: u64 = (1 << CODE) - 1;

/// The most words that code in a list can have.
pub(super) const MAX_CODE_WORDS: usize = 127;

/// What else has to hold for a filter that waits in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Guard<'a> {
    /// Some other key can bring the filter up too: it must be counted once.
    pub(super) several: bool,
    /// The code is not here: it is too large to lie here once for every key, and the set knows it by the filter's id.
    pub(super) elsewhere: bool,
    /// At most [`MAX_CODE_WORDS`].
    pub(super) code: &'a [u64],
}

/// Where in a list to look for a filter: runs lie in the order of their marks. Different guards can have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RunKey(u64);

impl RunKey {
    /// Nothing else has to hold. These come first.
    pub(super) const PLAIN: Self = Self(0);

    fn of(head: u64) -> Self {
        Self(head >> CODE)
    }
}

impl Guard<'_> {
    pub(super) fn mark(&self) -> RunKey {
        RunKey::of(self.head())
    }

    /// The head of a run of no ids.
    fn head(&self) -> u64 {
        if self.code.is_empty() && !self.several && !self.elsewhere {
            return 0;
        }
        let mut head = hash(self.code.iter().copied()) << 32 | (self.code.len() as u64) << CODE;
        if self.several {
            head |= SEVERAL;
        }
        if self.elsewhere {
            head |= ELSEWHERE;
        }
        head
    }
}

/// The filters of a list.
#[derive(Debug, Clone, Default)]
pub(super) struct Postings(Pieces);

#[derive(Debug, Clone, Default)]
enum Pieces {
    #[default]
    None,
    One(Arc<[u64]>),
    /// Neither is it empty, nor one of its chunks.
    Many(Vec<Arc<Chunk>>),
}

#[derive(Debug, Clone)]
struct Chunk {
    /// The mark and the last id of its last run.
    last: (RunKey, u64),
    words: Vec<u64>,
}

impl Postings {
    /// Calls `each` with every guard and the ids behind it.
    pub(super) fn for_each(&self, mut each: impl FnMut(Guard<'_>, &[u64])) {
        let mut read = |words: &[u64]| runs(words).for_each(|(_, run)| each(run.guard(), run.ids));
        match &self.0 {
            Pieces::None => {}
            Pieces::One(words) => read(words),
            Pieces::Many(chunks) => chunks.iter().for_each(|chunk| read(&chunk.words)),
        }
    }

    /// How many match whatever has the key.
    pub(super) fn plain(&self) -> usize {
        let first = |words: &[u64]| {
            let head = words.first().copied().unwrap_or_default();
            (RunKey::of(head) == RunKey::PLAIN).then_some((head & IDS) as usize)
        };
        match &self.0 {
            Pieces::None => 0,
            Pieces::One(words) => first(words).unwrap_or_default(),
            Pieces::Many(chunks) => chunks.iter().map_while(|chunk| first(&chunk.words)).sum(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self.0, Pieces::None)
    }

    /// An id that is there already must not be inserted again.
    pub(super) fn insert(&mut self, id: u64, guard: Guard<'_>) {
        let head = guard.head();
        match &mut self.0 {
            Pieces::None => self.0 = Pieces::One(run(head, guard.code, id).into()),
            Pieces::One(words) => {
                let mut words = words.to_vec();
                insert(&mut words, id, head, guard.code);
                self.0 = if words.len() > SPLIT_THRESHOLD {
                    Pieces::Many(vec![Arc::new(Chunk::new(words))])
                } else {
                    Pieces::One(words.into())
                };
            }
            Pieces::Many(chunks) => {
                let place = (RunKey::of(head), id);
                let at = chunks.partition_point(|chunk| chunk.last < place);
                let at = at.min(chunks.len().saturating_sub(1));
                let largest = CHUNK * (1 + chunks.len() / 32);
                let chunk = Arc::make_mut(&mut chunks[at]);
                insert(&mut chunk.words, id, head, guard.code);
                let right = match chunk.words.len() > largest {
                    true => cut(&mut chunk.words),
                    false => None,
                };
                chunk.last = last(&chunk.words);
                if let Some(right) = right {
                    chunks.insert(at + 1, Arc::new(Chunk::new(right)));
                }
            }
        }
    }

    /// Whether it was there. `mark`: of the guard with which it was inserted.
    pub(super) fn remove(&mut self, id: u64, mark: RunKey) -> bool {
        match &mut self.0 {
            Pieces::None => false,
            Pieces::One(words) => {
                let Some(found) = find(words, id, mark) else {
                    return false;
                };
                let mut words = words.to_vec();
                remove(&mut words, found);
                self.0 = match words.is_empty() {
                    true => Pieces::None,
                    false => Pieces::One(words.into()),
                };
                true
            }
            Pieces::Many(chunks) => {
                let from = chunks.partition_point(|chunk| chunk.last.0 < mark);
                let found = (from..chunks.len())
                    .take_while(|&at| !chunks[at].starts_after(mark))
                    .find_map(|at| Some((at, find(&chunks[at].words, id, mark)?)));
                let Some((at, found)) = found else {
                    return false;
                };
                let chunk = Arc::make_mut(&mut chunks[at]);
                remove(&mut chunk.words, found);
                chunk.last = last(&chunk.words);
                if chunk.words.is_empty() {
                    chunks.remove(at);
                }
                match chunks.as_slice() {
                    [] => self.0 = Pieces::None,
                    [only] if only.words.len() <= MERGE_THRESHOLD => self.0 = Pieces::One(only.words.as_slice().into()),
                    _ => {}
                }
                true
            }
        }
    }
}

impl Chunk {
    fn new(words: Vec<u64>) -> Self {
        Self {
            last: last(&words),
            words,
        }
    }

    fn starts_after(&self, mark: RunKey) -> bool {
        self.words.first().is_some_and(|head| RunKey::of(*head) > mark)
    }
}

/// Filters that ask for the same.
struct Run<'a> {
    head: u64,
    code: &'a [u64],
    /// Ascending.
    ids: &'a [u64],
}

impl<'a> Run<'a> {
    fn guard(&self) -> Guard<'a> {
        Guard {
            several: self.head & SEVERAL != 0,
            elsewhere: self.head & ELSEWHERE != 0,
            code: self.code,
        }
    }

    fn mark(&self) -> RunKey {
        RunKey::of(self.head)
    }

    fn words(&self) -> usize {
        1 + self.code.len() + self.ids.len()
    }
}

/// A run of one id.
fn run(head: u64, code: &[u64], id: u64) -> Vec<u64> {
    let mut words = Vec::with_capacity(2 + code.len());
    words.push(head + 1);
    words.extend(code);
    words.push(id);
    words
}

/// All runs, each with where it begins.
struct Runs<'a> {
    words: &'a [u64],
    at: usize,
}

fn runs(words: &[u64]) -> Runs<'_> {
    Runs { words, at: 0 }
}

impl<'a> Iterator for Runs<'a> {
    type Item = (usize, Run<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        let (&head, rest) = self.words.get(at..)?.split_first()?;
        let (code, rest) = rest.split_at_checked((head >> CODE) as usize & MAX_CODE_WORDS)?;
        let ids = rest.get(..(head & IDS) as usize)?;
        let run = Run { head, code, ids };
        self.at += run.words();
        Some((at, run))
    }
}

/// The mark and the last id of the last run.
fn last(words: &[u64]) -> (RunKey, u64) {
    let run = runs(words).last();
    run.map_or((RunKey::PLAIN, 0), |(_, run)| {
        (run.mark(), run.ids.last().copied().unwrap_or_default())
    })
}

/// Puts the id into the run of its guard, or makes one.
fn insert(words: &mut Vec<u64>, id: u64, head: u64, code: &[u64]) {
    let mark = RunKey::of(head);
    let mut before = words.len();
    for (at, known) in runs(words) {
        if known.mark() > mark {
            before = at;
            break;
        }
        if known.mark() == mark && known.code == code {
            let place = known.ids.partition_point(|&known| known < id);
            words.insert(at + 1 + code.len() + place, id);
            words[at] += 1;
            return;
        }
    }
    words.splice(before..before, run(head, code, id));
}

/// Where the run of this id begins, and where the id is.
fn find(words: &[u64], id: u64, mark: RunKey) -> Option<(usize, usize)> {
    runs(words)
        .take_while(|(_, run)| run.mark() <= mark)
        .filter(|(_, run)| run.mark() == mark)
        .find_map(|(at, run)| {
            let place = run.ids.binary_search(&id).ok()?;
            Some((at, at + 1 + run.code.len() + place))
        })
}

/// Takes out what was found.
fn remove(words: &mut Vec<u64>, (at, id): (usize, usize)) {
    if words[at] & IDS == 1 {
        words.drain(at..=id);
    } else {
        words.remove(id);
        words[at] -= 1;
    }
}

/// Keeps the first half, about, and gives the other; `None` if it is one small run.
fn cut(words: &mut Vec<u64>) -> Option<Vec<u64>> {
    let half = words.len() / 2;
    let (at, run) = runs(words).find(|(at, run)| at + run.words() > half)?;
    let ids = at + 1 + run.code.len();
    let right = if run.ids.len() > SMALL {
        let kept = half.saturating_sub(ids).clamp(1, run.ids.len() - 1);
        let (head, moved) = (run.head - kept as u64, (run.ids.len() - kept) as u64);
        let mut right = vec![head];
        right.extend(run.code);
        right.extend(words.drain(ids + kept..));
        words[at] -= moved;
        right
    } else {
        let from = if at == 0 { run.words() } else { at };
        if from == words.len() {
            return None;
        }
        words.split_off(from)
    };
    words.shrink_to_fit();
    Some(right)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn guard(code: &[u64], several: bool) -> Guard<'_> {
        Guard {
            several,
            elsewhere: false,
            code,
        }
    }

    fn chunks(postings: &Postings) -> &[Arc<Chunk>] {
        match &postings.0 {
            Pieces::Many(chunks) => chunks,
            _ => &[],
        }
    }

    /// Every id with its code.
    fn all(postings: &Postings) -> Vec<(u64, Vec<u64>)> {
        let mut seen = Vec::new();
        postings.for_each(|guard, ids| seen.extend(ids.iter().map(|&id| (id, guard.code.to_vec()))));
        seen.sort_unstable();
        seen
    }

    #[test]
    fn all_that_went_in_is_there_whatever_the_order_and_copies_do_not_see_later_changes() {
        let (mut postings, mut model) = (Postings::default(), BTreeMap::new());
        let mut kept = Vec::new();
        for step in 0..24_000_u64 {
            let id = (step * 7_919) % 6_007;
            // A few kinds of code that many have, and some that few have.
            let code: Vec<u64> = match id % 5 {
                0 => vec![id % 700; 3],
                few => (1..few).collect(),
            };
            let guard = guard(&code, id % 2 == 0);
            if model.remove(&id).is_some() {
                assert!(postings.remove(id, guard.mark()));
                assert!(!postings.remove(id, guard.mark()));
            } else if step % 7 != 0 {
                postings.insert(id, guard);
                model.insert(id, code);
            }
            if step % 3_000 == 0 {
                kept.push((postings.clone(), model.clone()));
            }
        }
        assert!(chunks(&postings).len() > 3);
        kept.push((postings.clone(), model.clone()));
        for (postings, model) in &kept {
            assert!(all(postings).into_iter().eq(model.clone()));
        }
        for (id, code) in model {
            assert!(postings.remove(id, guard(&code, id % 2 == 0).mark()));
        }
        assert!(postings.is_empty());
    }

    #[test]
    fn what_asks_for_the_same_is_one_run() {
        let mut postings = Postings::default();
        for id in 0..600 {
            postings.insert(id, guard(&[id % 10, 7], false));
        }
        let mut runs = 0;
        postings.for_each(|_, ids| {
            assert!(ids.is_sorted_by(|a, b| a < b));
            runs += 1;
        });
        assert_eq!(runs, 10);
    }

    #[test]
    fn a_run_of_thousands_is_cut_and_found_again() {
        for code in [guard(&[], false), guard(&[5], true)] {
            let mut postings = Postings::default();
            (0..20_000).rev().for_each(|id| postings.insert(id, code));
            let chunks = chunks(&postings);
            assert_eq!(postings.plain(), if code.code.is_empty() { 20_000 } else { 0 });
            assert!(chunks.len() > 4 && chunks.iter().all(|chunk| chunk.words.len() <= 2 * CHUNK));
            assert_eq!(all(&postings).len(), 20_000);
            assert!((0..20_000).all(|id| postings.remove(id, code.mark())));
            assert!(postings.is_empty());
        }
    }

    #[test]
    fn different_code_of_one_mark_stays_apart() {
        // No two codes of one mark are known, so the list is made by hand.
        let head = guard(&[1], false).head();
        let mut words = run(head, &[1], 4);
        insert(&mut words, 3, head, &[2]);
        insert(&mut words, 9, head, &[1]);
        let mut postings = Postings(Pieces::One(words.into()));
        assert_eq!(all(&postings), [(3, vec![2]), (4, vec![1]), (9, vec![1])]);
        for id in [9, 3, 4] {
            assert!(postings.remove(id, RunKey::of(head)));
        }
        assert!(postings.is_empty());
    }
}
