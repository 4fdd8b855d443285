//! Why a document is not a killmail.

use super::node::Node;

/// Why a document is not a killmail: one sentence that names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// A 200 without a body, say.
    #[error("the document is empty")]
    Empty,
    /// Cut, garbled, nested without end, or not JSON at all.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// A size that no killmail has, refused before it eats the memory.
    #[error("too many values: no killmail has more than {limit}")]
    TooMany {
        /// How many are read at most.
        limit: u32,
    },
    /// A field without which it is no killmail.
    #[error("missing {0}")]
    Missing(String),
    /// A field is there, but is something else.
    #[error("{path} is {found}, expected {expected}")]
    WrongType {
        /// Where, like `esi.attackers[3].damage_done`.
        path: String,
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// The body is of another killmail.
    #[error("killmail_id is {document}, but the body belongs to killmail {body}")]
    IdMismatch {
        /// The document's.
        document: u64,
        /// The body's.
        body: u64,
    },
}

impl Reject {
    /// One word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotJson(_) => "not_json",
            Self::TooMany { .. } => "too_many",
            Self::Missing(_) => "missing",
            Self::WrongType { .. } => "wrong_type",
            Self::IdMismatch { .. } => "id_mismatch",
        }
    }

    /// `node` stands at `path`, where `expected` should be.
    pub(super) fn wrong_type(path: &str, node: &Node<'_>, expected: &'static str) -> Self {
        Self::WrongType {
            path: path.to_owned(),
            found: node.describe(),
            expected,
        }
    }

    /// The same, seen from one level further out.
    pub(super) fn within(self, outer: &str) -> Self {
        let join = |path: String| {
            if path.is_empty() {
                outer.to_owned()
            } else {
                format!("{outer}.{path}")
            }
        };
        match self {
            Self::Missing(path) => Self::Missing(join(path)),
            Self::WrongType { path, found, expected } => Self::WrongType {
                path: join(path),
                found,
                expected,
            },
            Self::NotJson(reason) => Self::NotJson(format!("{outer}: {reason}")),
            other => other,
        }
    }
}
