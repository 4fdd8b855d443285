//! JSON as a tree that borrows from the text: read once, then both the killmail and the content hash are taken from it.
//!
//! `serde_json::Value` would copy every key and string and forbid a bound on how much is read.

use std::{borrow::Cow, cell::Cell, fmt};

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

use super::Reject;

/// The largest real killmail (1 MB, 3,753 attackers) holds 37,000 values; as many attackers as fit into the 16 MiB that the
/// feed reads hold about a million. Two million of these nodes are 64 MB.
const MAX_NODES: u32 = 2_000_000;

/// The sentence by which the budget's error is known again after it went through `serde_json`.
const TOO_MANY: &str = "too many values for a killmail";

/// One JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node<'a> {
    Null,
    Bool(bool),
    /// Any whole number of JSON that `u64` and `i64` can hold.
    Integer(i128),
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    /// Sorted by key, each key once: of a duplicate the last one counts, as everywhere.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// Reads one JSON text. Depth is bounded by `serde_json` (128), size by [`MAX_NODES`].
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, Reject> {
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        if text.iter().all(u8::is_ascii_whitespace) {
            return Err(Reject::Empty);
        }
        let budget = Cell::new(MAX_NODES);
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let node = Seed(&budget).deserialize(&mut deserializer);
        node.and_then(|node| deserializer.end().map(|()| node))
            .map_err(|error| {
                let reason = error.to_string();
                if reason.starts_with(TOO_MANY) {
                    Reject::TooMany { limit: MAX_NODES }
                } else {
                    Reject::NotJson(reason)
                }
            })
    }

    /// The field of an object; `None` = not there, or no object.
    pub(super) fn get(&self, name: &str) -> Option<&Node<'a>> {
        let Self::Object(fields) = self else { return None };
        let place = fields.binary_search_by(|(key, _)| key.as_ref().cmp(name)).ok()?;
        fields.get(place).map(|(_, value)| value)
    }

    /// Sets the field of an object; does nothing to other values.
    pub(super) fn replace(&mut self, name: &'a str, value: Node<'a>) {
        let Self::Object(fields) = self else { return };
        match fields.binary_search_by(|(key, _)| key.as_ref().cmp(name)) {
            Ok(place) => fields[place].1 = value,
            Err(place) => fields.insert(place, (Cow::Borrowed(name), value)),
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Null, zero, false, empty, or made of nothing else.
    pub(super) fn is_vacant(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(value) => !value,
            Self::Integer(value) => *value == 0,
            Self::Float(value) => *value == 0.0,
            Self::Text(text) => text.is_empty(),
            Self::List(list) => list.iter().all(Self::is_vacant),
            Self::Object(fields) => fields.iter().all(|(_, value)| value.is_vacant()),
        }
    }

    /// For a reject: short, whatever it is.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Float(value) => format!("{value:e}"),
            Self::Text(text) => {
                let short: String = text.chars().take(40).collect();
                let dots = if short.len() < text.len() { "..." } else { "" };
                format!("the text {short:?}{dots}")
            }
            Self::List(list) => format!("a list of {}", list.len()),
            Self::Object(_) => "an object".into(),
        }
    }
}

/// Reads a value and counts it.
#[derive(Clone, Copy)]
struct Seed<'c>(&'c Cell<u32>);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        let left = self.0.get().checked_sub(1).ok_or_else(|| D::Error::custom(TOO_MANY))?;
        self.0.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node<'de>, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node<'de>, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node<'de>, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node<'de>, E> {
        Ok(Node::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = access.next_element_seed(self)? {
            list.push(value);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node<'de>, A::Error> {
        let mut fields: Vec<(Cow<'de, str>, Node<'de>)> = Vec::with_capacity(8);
        while let Some(key) = access.next_key_seed(KeySeed)? {
            fields.push((key, access.next_value_seed(self)?));
        }
        // zKillboard's and ESI's objects come sorted more often than not.
        if !fields.is_sorted_by(|(a, _), (b, _)| a < b) {
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            fields.dedup_by(|later, earlier| {
                let same = later.0 == earlier.0;
                if same {
                    std::mem::swap(&mut later.1, &mut earlier.1);
                }
                same
            });
        }
        Ok(Node::Object(fields))
    }
}

/// Reads a key without copying it where it has no escapes.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_owned()))
    }
}
