//! Things under small numbers: where the numbers are known, a thing is two steps away. Copies share what they have in common, as in
//! `map`.

use std::sync::Arc;

/// Things in a row, all of which are copied when one of them changes and a copy of the row is in use.
const ROW: usize = 16;
/// Rows in a table, which is copied then too.
const TABLE: usize = 64;

type SlabRow<T> = Arc<Vec<T>>;

#[derive(Debug, Clone)]
pub(super) struct Slab<T> {
    /// All full, except the last one and its last row.
    tables: Vec<Arc<Vec<SlabRow<T>>>>,
    /// Numbers whose things were taken out.
    free: Arc<Vec<usize>>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            tables: Vec::new(),
            free: Arc::default(),
        }
    }
}

impl<T: Clone + Default> Slab<T> {
    pub(super) fn get(&self, number: usize) -> Option<&T> {
        let (table, row, at) = place(number);
        self.tables.get(table)?.get(row)?.get(at)
    }

    /// For changing it.
    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        let (table, row, at) = place(number);
        let rows = Arc::make_mut(self.tables.get_mut(table)?);
        Arc::make_mut(rows.get_mut(row)?).get_mut(at)
    }

    /// The number of what is added: one that was free, or the next.
    pub(super) fn add(&mut self, thing: T) -> usize {
        if let Some(number) = Arc::make_mut(&mut self.free).pop() {
            if let Some(free) = self.get_mut(number) {
                *free = thing;
            }
            return number;
        }
        if self.tables.last().is_none_or(|table| is_full(table)) {
            self.tables.push(Arc::default());
        }
        let last_table = self.tables.len() - 1;
        let table = Arc::make_mut(&mut self.tables[last_table]);
        if table.last().is_none_or(|row| row.len() == ROW) {
            table.push(Arc::default());
        }
        let last_row = table.len() - 1;
        let row = Arc::make_mut(&mut table[last_row]);
        row.push(thing);
        (last_table * TABLE + last_row) * ROW + row.len() - 1
    }

    /// Takes it out; its number will be another one's.
    pub(super) fn remove(&mut self, number: usize) -> Option<T> {
        let thing = std::mem::take(self.get_mut(number)?);
        Arc::make_mut(&mut self.free).push(number);
        Some(thing)
    }
}

fn place(number: usize) -> (usize, usize, usize) {
    (number / (TABLE * ROW), number / ROW % TABLE, number % ROW)
}

fn is_full<T>(table: &[SlabRow<T>]) -> bool {
    table.len() == TABLE && table.last().is_some_and(|row| row.len() == ROW)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn numbers_find_their_things_and_copies_do_not_see_later_changes() {
        let (mut slots, mut model) = (Slab::default(), HashMap::new());
        let mut kept = Vec::new();
        for step in 1..=6_000_u64 {
            if step % 3 == 0 {
                let number = (step as usize * 7_919) % model.len().max(1);
                if let Some(known) = model.remove(&number) {
                    assert_eq!(slots.remove(number), Some(known));
                }
            } else {
                let number = slots.add(step);
                assert_eq!(model.insert(number, step), None);
            }
            if step % 1_000 == 0 {
                kept.push((slots.clone(), model.clone()));
            }
        }
        assert!(slots.tables.len() > 1);
        for (slots, model) in kept {
            assert!(model.iter().all(|(number, thing)| slots.get(*number) == Some(thing)));
        }
        for thing in model.keys().copied().collect::<Vec<_>>() {
            *slots.get_mut(thing).unwrap() += 1;
            assert_eq!(slots.get(thing), Some(&(model[&thing] + 1)));
        }
        assert_eq!(slots.get(1_000_000), None);
    }
}
