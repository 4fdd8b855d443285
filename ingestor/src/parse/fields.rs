//! Reading an object's fields the lenient way: null is absent, a float or a text of digits will do for an integer.

use super::{Node, Reject};

/// The fields of one object.
pub(super) struct Fields<'n, 'a>(&'n [(std::borrow::Cow<'a, str>, Node<'a>)]);

impl<'n, 'a> Fields<'n, 'a> {
    pub(super) fn of(node: &'n Node<'a>) -> Result<Self, Reject> {
        match node {
            Node::Object(fields) => Ok(Self(fields)),
            // PHP writes an empty object as an empty list.
            Node::List(list) if list.is_empty() => Ok(Self(&[])),
            other => Err(Reject::wrong_type("", other, "an object")),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|(_, value)| *value == Node::Null)
    }

    /// `None` for null too.
    pub(super) fn get(&self, name: &str) -> Option<&'n Node<'a>> {
        let place = self.0.binary_search_by(|(key, _)| key.as_ref().cmp(name)).ok()?;
        self.0
            .get(place)
            .map(|(_, value)| value)
            .filter(|value| **value != Node::Null)
    }

    pub(super) fn require(&self, name: &str) -> Result<&'n Node<'a>, Reject> {
        self.get(name).ok_or_else(|| Reject::Missing(name.to_owned()))
    }

    pub(super) fn child(&self, name: &str) -> Result<Option<Fields<'n, 'a>>, Reject> {
        let child = self.get(name).map(Fields::of).transpose();
        child.map_err(|reject| reject.within(name))
    }

    /// Absent = empty. PHP writes a list whose indices have holes as an object with the indices as keys.
    pub(super) fn list(&self, name: &str) -> Result<Vec<&'n Node<'a>>, Reject> {
        let expected = || Reject::wrong_type(name, self.get(name).unwrap_or(&Node::Null), "a list");
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Node::List(list)) => Ok(list.iter().collect()),
            Some(Node::Object(fields)) => {
                let numbered = fields
                    .iter()
                    .map(|(key, value)| key.parse::<u64>().map(|index| (index, value)));
                let mut numbered = numbered.collect::<Result<Vec<_>, _>>().map_err(|_| expected())?;
                numbered.sort_by_key(|(index, _)| *index);
                Ok(numbered.into_iter().map(|(_, value)| value).collect())
            }
            Some(_) => Err(expected()),
        }
    }

    /// Absent = false; numbers as in C.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Reject> {
        match self.get(name) {
            None => Ok(false),
            Some(Node::Bool(value)) => Ok(*value),
            Some(Node::Integer(value)) => Ok(*value != 0),
            Some(other) => Err(Reject::wrong_type(name, other, "true or false")),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, Reject> {
        let Some(node) = self.get(name) else { return Ok(None) };
        let number = match node {
            // Beyond 2^53 the nearest float is as good as anybody needs of ISK and metres.
            Node::Integer(value) => Some(*value as f64),
            Node::Float(value) => Some(*value),
            Node::Text(text) => text.trim().parse().ok().filter(|value: &f64| value.is_finite()),
            _ => None,
        };
        number
            .map(Some)
            .ok_or_else(|| Reject::wrong_type(name, node, "a number"))
    }

    /// The fraction of a float is dropped; what a float holds beyond `i128` is cut to that.
    pub(super) fn integer(&self, name: &str) -> Result<Option<i128>, Reject> {
        let Some(node) = self.get(name) else { return Ok(None) };
        let integer = match node {
            Node::Integer(value) => Some(*value),
            Node::Float(value) => Some(*value as i128),
            Node::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        integer
            .map(Some)
            .ok_or_else(|| Reject::wrong_type(name, node, "a whole number"))
    }

    /// A quantity: absent = 0, cut to what it can be.
    pub(super) fn count(&self, name: &str) -> Result<u64, Reject> {
        let value = self.integer(name)?.unwrap_or(0).max(0);
        Ok(u64::try_from(value).unwrap_or(u64::MAX))
    }

    /// An id that may be missing: absent, negative or impossibly large = 0, "none".
    pub(super) fn id(&self, name: &str) -> Result<u64, Reject> {
        Ok(u64::try_from(self.integer(name)?.unwrap_or(0)).unwrap_or(0))
    }

    /// As [`Fields::id`], for ids of static data.
    pub(super) fn small_id(&self, name: &str) -> Result<u32, Reject> {
        Ok(u32::try_from(self.integer(name)?.unwrap_or(0)).unwrap_or(0))
    }

    /// An id of static data without which it is no killmail.
    pub(super) fn required_id(&self, name: &str) -> Result<u32, Reject> {
        let value = self.integer(name)?.ok_or_else(|| Reject::Missing(name.to_owned()))?;
        let id = u32::try_from(value).ok().filter(|id| *id != 0);
        id.ok_or_else(|| Reject::WrongType {
            path: name.to_owned(),
            found: value.to_string(),
            expected: "an id from 1 to 4294967295",
        })
    }
}

/// 0 means "none" in the feed too.
pub(super) fn non_zero(value: u64) -> Option<u64> {
    (value != 0).then_some(value)
}
