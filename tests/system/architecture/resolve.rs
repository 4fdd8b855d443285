//! Resolves paths to modules and items, also through imports and re-exports.

use super::tree::{Import, Module, Tree};

/// The module or item that a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// A module of our crates.
    Module(usize),
    /// The module that defines the item, and the item's name.
    ///
    /// An item that a macro defines counts as one of the module where the search ends.
    Item(usize, &'a str),
    /// A path into another crate, a local name or a name of the prelude.
    Elsewhere(Vec<&'a str>),
}

/// The target of a path, and the modules that it goes through.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resolved<'a> {
    pub(super) target: Target<'a>,
    /// The modules whose imports or re-exports the path follows, except the module that contains the path.
    pub(super) through: Vec<usize>,
}

/// The maximum number of imports behind one name.
///
/// A longer chain is a loop: `use b::X` in `a` and `use a::X` in `b`.
const MAX_IMPORTS: usize = 20;

impl<'a> Tree<'a> {
    /// Resolves a path in the code of a module.
    pub(super) fn resolve(&self, module: usize, path: &[&'a str]) -> Resolved<'a> {
        let mut through = Vec::new();
        let target = self.follow(module, path, None, &mut through);
        through.retain(|&other| other != module);
        Resolved { target, through }
    }

    /// Resolves the path of an import of a module.
    pub(super) fn resolve_import(&self, module: usize, import: &Import<'a>) -> Resolved<'a> {
        let mut through = Vec::new();
        let target = self.follow(module, &import.path, Some(import.name), &mut through);
        through.retain(|&other| other != module);
        Resolved { target, through }
    }

    /// Follows a path; `importing` is the name of the import to which the path belongs.
    ///
    /// The import does not define its own first name.
    fn follow(&self, from: usize, path: &[&'a str], importing: Option<&str>, through: &mut Vec<usize>) -> Target<'a> {
        let module = &self.modules[from];
        let Some((&first, rest)) = path.split_first() else {
            return Target::Module(from);
        };
        let root = |mut module: usize| {
            while let Some(parent) = self.modules[module].parent {
                module = parent;
            }
            module
        };
        match first {
            "crate" => self.descend(root(from), rest, through),
            "self" => self.descend(from, rest, through),
            "super" => self.descend(module.parent.unwrap_or(from), rest, through),
            "" => self.crates.get(rest.first().unwrap_or(&"")).map_or_else(
                || Target::Elsewhere(rest.to_vec()),
                |&root| self.descend(root, &rest[1..], through),
            ),
            name if module.children.contains_key(name) || module.items.contains(name) => {
                self.descend(from, path, through)
            }
            name if importing != Some(name) && self.import(module, name).is_some() => self.descend(from, path, through),
            name => match self.crates.get(name) {
                Some(&root) => self.descend(root, rest, through),
                None => self
                    .in_globs(from, path, through)
                    .unwrap_or_else(|| Target::Elsewhere(path.to_vec())),
            },
        }
    }

    /// Goes down from a module, one name after the other, until a name is not a module.
    fn descend(&self, mut at: usize, path: &[&'a str], through: &mut Vec<usize>) -> Target<'a> {
        for (index, &name) in path.iter().enumerate() {
            let module = &self.modules[at];
            if name == "super" {
                at = module.parent.unwrap_or(at);
            } else if let Some(&child) = module.children.get(name) {
                at = child;
            } else if module.items.contains(name) {
                return Target::Item(at, name);
            } else if let Some(import) = self.import(module, name).filter(|_| through.len() < MAX_IMPORTS) {
                through.push(at);
                let path = [import.path.as_slice(), &path[index + 1..]].concat();
                return self.follow(at, &path, Some(import.name), through);
            } else {
                let found = self.in_globs(at, &path[index..], through);
                return found.unwrap_or(Target::Item(at, name));
            }
        }
        Target::Module(at)
    }

    fn import<'m>(&self, module: &'m Module<'a>, name: &str) -> Option<&'m Import<'a>> {
        module.imports.iter().find(|import| import.name == name)
    }

    /// Looks for a name in the modules that a module imports with `*`.
    fn in_globs(&self, from: usize, path: &[&'a str], through: &mut Vec<usize>) -> Option<Target<'a>> {
        let globs = self.modules[from].imports.iter().filter(|import| import.name == "*");
        for import in globs.filter(|_| through.len() < MAX_IMPORTS) {
            let mut followed = [through.as_slice(), &[from]].concat();
            if let Target::Module(module) = self.follow(from, &import.path, Some("*"), &mut followed)
                && module != from
                && self.defines(module, path[0])
            {
                *through = followed;
                return Some(self.descend(module, path, through));
            }
        }
        None
    }

    fn defines(&self, module: usize, name: &str) -> bool {
        let module = &self.modules[module];
        module.children.contains_key(name) || module.items.contains(name) || self.import(module, name).is_some()
    }
}

mod tests {
    use super::*;
    use crate::architecture::tests::sample;

    /// Returns the target of a path and the modules that it goes through.
    ///
    /// An item B of module a is `a::B`.
    fn resolved(files: &[(&str, &str)], module: &str, path: &str) -> (String, Vec<String>) {
        let (sources, packages) = sample(files);
        let tree = Tree::read(&sources, &packages);
        let name = |id: usize| tree.modules[id].path.join("::");
        let from = (0..tree.modules.len()).find(|&id| name(id) == module).unwrap();
        let path: Vec<_> = path.split("::").collect();
        let found = tree.resolve(from, &path);
        let target = match found.target {
            Target::Module(id) => name(id),
            Target::Item(id, item) => format!("{}::{item}", name(id)),
            Target::Elsewhere(path) => format!("elsewhere: {}", path.join("::")),
        };
        (target, found.through.into_iter().map(name).collect())
    }

    const FILES: [(&str, &str); 4] = [
        ("src/lib.rs", "mod a; mod b; pub use b::Both;"),
        (
            "src/a.rs",
            "mod child; pub use child::Moved; use crate::b::{self, Both as Other, Made}; use redb::Table; struct Own;",
        ),
        ("src/a/child.rs", "use super::*; pub struct Moved; fn f() { Own; }"),
        (
            "src/b.rs",
            "pub use self::a::A; mod a { pub enum A { One } } pub struct Both; ids!(Made);",
        ),
    ];

    #[test]
    fn resolver_follows_paths_through_imports() {
        let check = |module, path, target: &str, through: &[&str]| {
            assert_eq!(
                resolved(&FILES, module, path),
                (target.to_owned(), through.iter().map(|&name| name.into()).collect())
            );
        };
        check("a::child", "super::Moved", "a::child::Moved", &["a"]);
        check("a::child", "super::super::Both", "b::Both", &[""]);
        check("a::child", "super::Other", "b::Both", &["a"]);
        check("a::child", "super::b::A::One", "b::a::A", &["a", "b"]);
        check(
            "a::child",
            "crate::a::Table::open",
            "elsewhere: redb::Table::open",
            &["a"],
        );
        check("a::child", "Own", "a::Own", &[]);
        check("a", "Made::new", "b::Made", &[]);
        check("a", "::b::A", "elsewhere: b::A", &[]);
        check("a", "b", "b", &[]);
        check("a", "Vec::new", "elsewhere: Vec::new", &[]);
    }

    #[test]
    fn resolver_ends_circular_imports() {
        let files = [
            ("src/lib.rs", "mod a; mod b;"),
            ("src/a.rs", "pub use super::b::X;"),
            ("src/b.rs", "pub use super::a::X;"),
        ];
        assert_eq!(resolved(&files, "", "a::X").1.len(), MAX_IMPORTS);
    }
}
