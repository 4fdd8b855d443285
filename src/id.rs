//! EVE's ids as types that cannot be mixed up. Zero means "none" in the messages and is no id here.

use std::fmt;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $inner);

        impl $name {
            /// `None` for 0, which means "none" in every message.
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
    /// A killmail, unique for all time.
    KillmailId(u64);
    /// A pilot.
    CharacterId(u64);
    /// A corporation.
    CorporationId(u64);
    /// An alliance.
    AllianceId(u64);
    /// A faction.
    FactionId(u32);
    /// A type: ship, structure, module, ...
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

/// What a document says, as a hash: two documents of one killmail with the same hash tell consumers nothing new.
///
/// Taken over canonical JSON: sorted keys, null = absent, numbers by value, without `sequence_id`, `uploaded_at` and
/// `sequence_updated`. The version names these rules: hashes of different versions cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentHash {
    /// Version of the rules.
    pub version: u8,
    /// The first 16 bytes of the SHA-256.
    pub digest: [u8; 16],
}
