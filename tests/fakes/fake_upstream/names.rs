//! The names that the fake ESI knows. Invented names depend only on the id.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::corpus;

/// ESI's category of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Category {
    Character,
    Corporation,
    Alliance,
}

impl Category {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Character => "character",
            Self::Corporation => "corporation",
            Self::Alliance => "alliance",
        }
    }
}

/// A character, corporation or alliance.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct FakeEntity {
    pub(super) id: u64,
    pub(super) category: Category,
    pub(super) name: String,
    #[serde(default)]
    pub(super) ticker: String,
}

/// The names that the fake ESI knows.
#[derive(Debug, Default)]
pub struct FakeNames {
    known: BTreeMap<u64, FakeEntity>,
}

impl FakeNames {
    /// Returns the names of the bundled sample.
    pub(super) fn bundled() -> Self {
        let people: Vec<FakeEntity> = serde_json::from_str(corpus::SAMPLE_NAMES).expect("the bundled names are valid");
        Self {
            known: people.into_iter().map(|named| (named.id, named)).collect(),
        }
    }

    /// Names a character, such as one with a hostile name.
    pub fn character(&mut self, id: u64, name: &str) {
        self.insert(id, Category::Character, name, "");
    }

    /// Names a corporation.
    pub fn corporation(&mut self, id: u64, name: &str, ticker: &str) {
        self.insert(id, Category::Corporation, name, ticker);
    }

    /// Names an alliance.
    pub fn alliance(&mut self, id: u64, name: &str, ticker: &str) {
        self.insert(id, Category::Alliance, name, ticker);
    }

    /// Makes an id unknown. A batch with this id then fails with 404.
    pub fn forget(&mut self, id: u64) {
        self.known.remove(&id);
    }

    /// Returns the current name of an id.
    pub fn name(&self, id: u64) -> Option<&str> {
        self.known.get(&id).map(|named| named.name.as_str())
    }

    pub(super) fn get(&self, id: u64) -> Option<&FakeEntity> {
        self.known.get(&id)
    }

    pub(super) fn find(&self, name: &str) -> impl Iterator<Item = &FakeEntity> {
        let wanted = name.to_lowercase();
        self.known
            .values()
            .filter(move |named| named.name.to_lowercase() == wanted)
    }

    /// Adds every participant in an ESI killmail, with invented names.
    pub(super) fn remember(&mut self, esi: &Value) {
        let attackers = esi["attackers"].as_array().into_iter().flatten();
        for participant in attackers.chain([&esi["victim"]]) {
            for (field, category) in [
                ("character_id", Category::Character),
                ("corporation_id", Category::Corporation),
                ("alliance_id", Category::Alliance),
            ] {
                if let Some(id) = participant[field].as_u64().filter(|id| *id != 0) {
                    self.known.entry(id).or_insert_with(|| invent(id, category));
                }
            }
        }
    }

    fn insert(&mut self, id: u64, category: Category, name: &str, ticker: &str) {
        let (name, ticker) = (name.to_owned(), ticker.to_owned());
        self.known.insert(
            id,
            FakeEntity {
                id,
                category,
                name,
                ticker,
            },
        );
    }
}

/// Invents a name from an id, the same in every process. The name has the id in it and is unique.
fn invent(id: u64, category: Category) -> FakeEntity {
    const SYLLABLES: [&str; 16] = [
        "ka", "ro", "mi", "ten", "sha", "vel", "dor", "an", "is", "lu", "gar", "ne", "tho", "bri", "ox", "ya",
    ];
    // One step of a linear congruential generator (Knuth's constants) spreads adjacent ids over the syllables.
    let mut mixed = id
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    let mut word = |syllables: usize| {
        let mut word = String::new();
        for _ in 0..syllables {
            word.push_str(SYLLABLES[(mixed >> 60) as usize]);
            mixed = mixed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        }
        word[..1].to_uppercase() + &word[1..]
    };
    let (name, ticker) = match category {
        Category::Character => (format!("{} {} {id}", word(2), word(3)), String::new()),
        Category::Corporation => (format!("{} Industries {id}", word(3)), word(2).to_uppercase()),
        Category::Alliance => (format!("{} Alliance {id}", word(3)), word(2).to_uppercase()),
    };
    FakeEntity {
        id,
        category,
        name,
        ticker: ticker.chars().take(5).collect(),
    }
}
