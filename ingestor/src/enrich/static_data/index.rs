//! Names → what bears them: exact, by the beginning of the name, by the beginning of a word in it.

use killfeed::{filter::fold, v1::EntityKind};

use super::StaticData;

/// Every static name, folded, with every place where a word begins in it; sorted by what follows there.
#[derive(Debug, Default)]
pub struct NameIndex {
    /// All folded names, one after the other.
    text: Box<str>,
    entries: Box<[IndexedName]>,
    /// (entry, byte in its folded name), sorted by the text from there to the end of the name.
    words: Box<[(u32, u32)]>,
}

#[derive(Debug, Clone, Copy)]
struct IndexedName {
    kind: EntityKind,
    id: u32,
    published: bool,
    start: u32,
    end: u32,
}

/// Something whose name fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// Whether the name itself begins so, not only a word in it; first by [`Ord`].
    pub place: MatchKind,
    /// False for what players can't meet in the market or the game's own search.
    pub unpublished: bool,
    /// Length of the folded name: a short name is closer to what was typed.
    pub len: usize,
    /// What it is of.
    pub kind: EntityKind,
    /// Its id.
    pub id: u32,
}

/// Where in a name a query was found, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MatchKind {
    /// The name begins with it.
    Name,
    /// A later word of the name begins with it.
    Word,
}

impl NameIndex {
    pub(super) fn new(data: &StaticData) -> Self {
        let mut text = String::new();
        let mut entries = Vec::new();
        let mut words = Vec::new();
        for (kind, id, name, published) in data.named() {
            let folded = fold(name);
            let start = text.len();
            text.push_str(&folded);
            // Names of one build were checked to fit u32 together; folding does not double them.
            let (Ok(start), Ok(end), Ok(entry)) = (
                u32::try_from(start),
                u32::try_from(text.len()),
                u32::try_from(entries.len()),
            ) else {
                break;
            };
            words.extend(word_starts(&folded).filter_map(|at| Some((entry, u32::try_from(at).ok()?))));
            entries.push(IndexedName {
                kind,
                id,
                published,
                start,
                end,
            });
        }
        let mut index = Self {
            text: text.into(),
            entries: entries.into(),
            words: Box::default(),
        };
        words.sort_unstable_by(|a, b| index.tail(*a).cmp(index.tail(*b)).then(a.cmp(b)));
        index.words = words.into();
        index
    }

    /// Ids of `kind` that bear `name`, ascending.
    pub fn exact(&self, kind: EntityKind, name: &str) -> Vec<u32> {
        let folded = fold(name);
        let same = self.beginning(&folded).take_while(|word| self.tail(*word) == folded);
        let entries = same
            .filter(|(_, at)| *at == 0)
            .map(|(entry, _)| self.entries[entry as usize]);
        let mut ids: Vec<_> = entries
            .filter(|entry| entry.kind == kind)
            .map(|entry| entry.id)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// Whatever has a name, or a word in its name, that begins with `query`. Each once, in no order; those that begin with
    /// it are [`MatchKind::Name`].
    pub fn prefix(&self, query: &str) -> impl Iterator<Item = Hit> {
        let folded = fold(query);
        let words = self.beginning(&folded);
        let mut hits: Vec<_> = words
            .map(|(entry, at)| (entry, if at == 0 { MatchKind::Name } else { MatchKind::Word }))
            .collect();
        hits.sort_unstable();
        hits.dedup_by_key(|(entry, _)| *entry);
        hits.into_iter().map(|(entry, place)| {
            let entry = &self.entries[entry as usize];
            Hit {
                place,
                unpublished: !entry.published,
                len: (entry.end - entry.start) as usize,
                kind: entry.kind,
                id: entry.id,
            }
        })
    }

    /// Folded names of `kind` with their ids.
    pub fn of_kind(&self, kind: EntityKind) -> impl Iterator<Item = (&str, u32)> {
        let entries = self.entries.iter().filter(move |entry| entry.kind == kind);
        entries.map(|entry| (self.folded(entry), entry.id))
    }

    fn folded(&self, entry: &IndexedName) -> &str {
        &self.text[entry.start as usize..entry.end as usize]
    }

    /// The entry's folded name from the word on.
    fn tail(&self, (entry, at): (u32, u32)) -> &str {
        &self.folded(&self.entries[entry as usize])[at as usize..]
    }

    fn beginning(&self, folded: &str) -> impl Iterator<Item = (u32, u32)> {
        let first = self.words.partition_point(|word| self.tail(*word) < folded);
        let rest = self.words[first..].iter().copied();
        rest.take_while(move |word| self.tail(*word).starts_with(folded))
    }
}

/// Where words begin in a folded name: at its beginning, and at letters and digits after what is neither. An apostrophe
/// is part of its word. The text index of the names seen so far uses the same.
pub fn word_starts(folded: &str) -> impl Iterator<Item = usize> {
    let mut before = ' ';
    folded.char_indices().filter_map(move |(at, c)| {
        let in_word = |c: char| c.is_alphanumeric() || c == '\'';
        let starts = at == 0 || (in_word(c) && !in_word(before));
        before = c;
        starts.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::word_starts;

    #[test]
    fn words() {
        let starts = |name| word_starts(name).collect::<Vec<_>>();
        assert_eq!(starts("brutix navy issue"), [0, 7, 12]);
        assert_eq!(starts("mordu's legion"), [0, 8]);
        assert_eq!(starts("c-j6mt"), [0, 2]);
        assert_eq!(starts("(x) y"), [0, 1, 4]);
        assert!(starts("").is_empty());
    }
}
