//! EVE's ids as distinct types, so that the compiler rejects an id of the wrong kind.
//!
//! 0 means "none" in the messages, and no type here represents it.

use std::fmt;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $inner);

        impl $name {
            /// Wraps an id; returns `None` for 0, which means "none" in every message.
            pub fn new(raw: $inner) -> Option<Self> {
                (raw != 0).then_some(Self(raw))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

ids! {
    /// A killmail. CCP never reuses these ids.
    KillmailId(u64);
    /// A pilot.
    CharacterId(u64);
    /// A corporation.
    CorporationId(u64);
    /// An alliance.
    AllianceId(u64);
    /// A faction.
    FactionId(u32);
    /// A type: a ship, structure, module or other item.
    TypeId(u32);
    /// A group of types.
    GroupId(u32);
    /// A category of groups.
    CategoryId(u32);
    /// A solar system.
    SystemId(u32);
    /// A constellation.
    ConstellationId(u32);
    /// A region.
    RegionId(u32);
}

/// A hash of a document's content. An equal hash means that the document adds nothing new to the killmail.
///
/// The hash covers canonical JSON: keys are sorted, null counts as absent, numbers compare by value, and `sequence_id`,
/// `uploaded_at` and `sequence_updated` are left out. Hashes of different versions cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentHash {
    /// The version of the rules for canonical JSON.
    pub version: u8,
    /// The first 16 bytes of the SHA-256.
    pub digest: [u8; 16],
}
