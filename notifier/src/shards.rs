//! Which shards of a bot this process serves: the setting, and what it comes to once Discord has said how many there are.

/// `NOTIFIER_SHARDS` as it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardSetting {
    /// All shards, as many as Discord recommends.
    Auto,
    /// These.
    Given(Shards),
}

/// Some consecutive shards of a bot. At least one, and all below `total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shards {
    first: u32,
    last: u32,
    total: u32,
}

impl ShardSetting {
    /// What a bad value is told.
    pub const EXPECTED: &str = "auto, or shards out of a total, counted from 0, like 0-3/16 or 0/2";

    /// Reads `auto`, `a/n` or `a-b/n`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "auto" {
            return Some(Self::Auto);
        }
        let (range, total) = text.split_once('/')?;
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Shards::new(number(first)?, number(last)?, number(total)?).map(Self::Given)
    }

    /// The shards to serve, where Discord recommends `recommended` in all.
    pub fn resolve(self, recommended: u32) -> Shards {
        match self {
            Self::Auto => Shards::all(recommended),
            Self::Given(shards) => shards,
        }
    }
}

impl Shards {
    /// Shards `first` to `last`, both included, of `total`; `None` if there are no such shards.
    pub fn new(first: u32, last: u32, total: u32) -> Option<Self> {
        (first <= last && last < total).then_some(Self { first, last, total })
    }

    /// All shards of `total`; none at all counts as one.
    pub fn all(total: u32) -> Self {
        let total = total.max(1);
        Self {
            first: 0,
            last: total - 1,
            total,
        }
    }

    /// The first one.
    pub fn first(self) -> u32 {
        self.first
    }

    /// The last one, included.
    pub fn last(self) -> u32 {
        self.last
    }

    /// How many shards the bot has in all processes together.
    pub fn total(self) -> u32 {
        self.total
    }

    /// How many are served here.
    pub fn count(self) -> u32 {
        self.last - self.first + 1
    }

    /// Whether `shard` is served here.
    pub fn contains(self, shard: u32) -> bool {
        (self.first..=self.last).contains(&shard)
    }

    /// Each shard served here.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        self.first..=self.last
    }

    /// The shard that Discord gives a guild to, served here or not.
    pub fn shard_of(self, guild: u64) -> u32 {
        // Below the total, which is one.
        u32::try_from((guild >> 22) % u64::from(self.total)).unwrap_or(u32::MAX)
    }

    /// Whether this process serves the guild.
    pub fn owns(self, guild: u64) -> bool {
        self.contains(self.shard_of(guild))
    }
}

impl std::fmt::Display for Shards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last {
            write!(f, "{}/{}", self.first, self.total)
        } else {
            write!(f, "{}-{}/{}", self.first, self.last, self.total)
        }
    }
}

/// Digits only: `u32::from_str` alone would take `+1`.
fn number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings() {
        let given = |first, last, total| Shards::new(first, last, total).map(ShardSetting::Given);
        for (text, expected) in [
            ("auto", Some(ShardSetting::Auto)),
            ("0/1", given(0, 0, 1)),
            ("0/2", given(0, 0, 2)),
            ("0-3/16", given(0, 3, 16)),
            ("15-15/16", given(15, 15, 16)),
        ] {
            assert!(expected.is_some());
            assert_eq!(ShardSetting::parse(text), expected, "{text}");
        }
        for text in [
            "",
            "Auto",
            "1",
            "/",
            "0/0",
            "2/2",
            "3-1/16",
            "0-16/16",
            "+0/2",
            "0 / 2",
            "-1/2",
            "0-/2",
            "0-1-2/4",
            "0/2/3",
            "4294967296/1",
            "a/b",
        ] {
            assert_eq!(ShardSetting::parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_guild_belongs_to_one_shard() {
        for guild in [0, 1, 41_771_983_423_143_937, 81_384_788_765_712_384, u64::MAX] {
            let owners = (0..16).filter(|&shard| Shards::new(shard, shard, 16).is_some_and(|one| one.owns(guild)));
            assert_eq!(owners.count(), 1, "{guild}");
            assert!(Shards::all(16).owns(guild));
        }
        // 81384788765712384 >> 22 = 19403645698, which is even.
        assert!(Shards::new(0, 0, 2).is_some_and(|even| even.owns(81_384_788_765_712_384)));
    }

    #[test]
    fn auto_takes_what_is_recommended() {
        assert_eq!(ShardSetting::Auto.resolve(3).to_string(), "0-2/3");
        assert_eq!(ShardSetting::Auto.resolve(0).to_string(), "0/1");
        assert_eq!(Shards::all(3).count(), 3);
        assert!(!Shards::all(3).contains(3));
    }
}
