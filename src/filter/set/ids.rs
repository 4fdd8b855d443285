//! Ids in order, in chunks: read by copying them, changed by copying one chunk.

use std::sync::Arc;

/// A chunk with more ids is cut in two. Longer lists have larger chunks, so that both what a change copies (one chunk and the
/// list of chunks) stay small.
const CHUNK: usize = 1_024;

/// Each id once, ascending.
#[derive(Debug, Clone, Default)]
pub(super) struct Ids {
    /// None of them empty.
    chunks: Vec<Arc<Vec<u64>>>,
}

impl Ids {
    /// All of them, behind what is there already.
    pub(super) fn append_to(&self, found: &mut Vec<u64>) {
        for chunk in &self.chunks {
            found.extend_from_slice(chunk);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(super) fn insert(&mut self, id: u64) {
        let at = self.chunk_of(id).min(self.chunks.len().saturating_sub(1));
        let largest = CHUNK * (1 + self.chunks.len() / 32);
        let Some(chunk) = self.chunks.get_mut(at) else {
            // Most keys have a filter or two: no room is kept for more.
            return self.chunks.push(Arc::new(vec![id]));
        };
        let chunk = Arc::make_mut(chunk);
        if let Err(place) = chunk.binary_search(&id) {
            chunk.insert(place, id);
        }
        if chunk.len() > largest {
            let right = chunk.split_off(chunk.len() / 2);
            chunk.shrink_to_fit();
            self.chunks.insert(at + 1, Arc::new(right));
        }
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        let at = self.chunk_of(id);
        let Some(shared) = self.chunks.get_mut(at) else {
            return false;
        };
        let Ok(place) = shared.binary_search(&id) else {
            return false;
        };
        let chunk = Arc::make_mut(shared);
        chunk.remove(place);
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
        true
    }

    /// The first chunk that may hold the id.
    fn chunk_of(&self, id: u64) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.last().is_none_or(|&last| last < id))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_is_an_ordered_set_and_copies_do_not_see_later_changes() {
        let (mut ids, mut model) = (Ids::default(), BTreeSet::new());
        let mut kept = Vec::new();
        for step in 0..12_000_u64 {
            let id = (step * 7_919) % 6_007;
            if step % 3 == 0 {
                assert_eq!(ids.remove(id), model.remove(&id));
            } else {
                ids.insert(id);
                model.insert(id);
            }
            if step % 3_000 == 0 {
                kept.push((ids.clone(), model.clone()));
            }
        }
        assert!(ids.chunks.len() > 3);
        kept.push((ids.clone(), model.clone()));
        for (ids, model) in kept {
            let mut found = Vec::new();
            ids.append_to(&mut found);
            assert!(found.iter().eq(&model));
        }
        for id in model {
            assert!(ids.remove(id));
        }
        assert!(ids.is_empty());
    }
}
