//! The modules of the crates: their files, children, items, imports and the paths in their code.
//!
//! Modules are found from `mod` declarations, as the compiler finds them. Code below `#[cfg(test)]` is not read. Only names
//! count: a method that is called on a value names no module.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    table::Package,
    tokens::{Token, code_at, end_of_group, end_of_item, tokens},
};

/// Maps the path of a source file, from the repository's root, to its text.
pub(super) type Sources = BTreeMap<String, String>;

/// All modules of the crates that the table names.
#[derive(Debug, Default)]
pub(super) struct Tree<'a> {
    pub(super) modules: Vec<Module<'a>>,
    /// The root module of each crate by the name that other crates use.
    pub(super) crates: BTreeMap<&'a str, usize>,
}

/// A module: a file, or a `mod` with braces.
#[derive(Debug)]
pub(super) struct Module<'a> {
    pub(super) package: &'a Package,
    /// The names from the root of the crate; empty for the root.
    pub(super) path: Vec<&'a str>,
    pub(super) file: &'a str,
    pub(super) parent: Option<usize>,
    /// Only tests compile this module. The tree knows its files but does not read its code.
    pub(super) is_test: bool,
    /// The module replaces another module in builds without a feature.
    pub(super) is_fallback: bool,
    pub(super) children: BTreeMap<&'a str, usize>,
    /// The items that the module defines itself, except macros and items that macros define.
    pub(super) items: BTreeSet<&'a str>,
    /// The name and the line of each type that other modules can see.
    pub(super) visible_types: Vec<(&'a str, usize)>,
    pub(super) imports: Vec<Import<'a>>,
    pub(super) references: Vec<Reference<'a>>,
}

/// One name of a `use` declaration.
#[derive(Debug)]
pub(super) struct Import<'a> {
    /// The name in this module; `*` = all names of the path.
    pub(super) name: &'a str,
    /// `self`, `super`, `crate`, a crate or a local name first. An empty first name is a path that starts with `::`.
    pub(super) path: Vec<&'a str>,
    /// True for `pub use`, regardless of the parentheses after `pub`.
    pub(super) is_reexport: bool,
    pub(super) line: usize,
}

/// A path in the code: two names or more, or one name that the module re-exports.
#[derive(Debug)]
pub(super) struct Reference<'a> {
    pub(super) path: Vec<&'a str>,
    pub(super) line: usize,
}

impl<'a> Tree<'a> {
    /// Reads the crates of the packages.
    ///
    /// # Panics
    ///
    /// Panics if a declared module has no file, or a file no declaration.
    pub(super) fn read(sources: &'a Sources, packages: &'a [Package]) -> Self {
        let mut tree = Self::default();
        for package in packages {
            for &(name, file) in package.roots {
                let root = tree.read_file(
                    sources,
                    Place {
                        package,
                        file,
                        path: vec![],
                        parent: None,
                        is_test: false,
                        is_fallback: false,
                    },
                );
                if !name.is_empty() {
                    tree.crates.insert(name, root);
                }
            }
        }
        let known: BTreeSet<_> = tree.modules.iter().map(|module| module.file).collect();
        let unknown = sources.keys().find(|file| !known.contains(file.as_str()));
        assert_eq!(
            unknown, None,
            "no `mod` declares this file, or table.rs does not name its crate"
        );
        tree
    }

    /// Returns the modules that are shipped.
    pub(super) fn shipped(&self) -> impl Iterator<Item = (usize, &Module<'a>)> {
        self.modules.iter().enumerate().filter(|(_, module)| !module.is_test)
    }

    fn read_file(&mut self, sources: &'a Sources, place: Place<'a>) -> usize {
        let text = sources.get(place.file).unwrap_or_else(|| {
            panic!(
                "{} does not exist: table.rs names it as the root of a crate",
                place.file
            )
        });
        let (folder, name) = place.file.rsplit_once('/').unwrap_or(("", place.file));
        let folder = match name.trim_end_matches(".rs") {
            "lib" | "main" | "mod" => folder.to_owned(),
            stem => format!("{folder}/{stem}"),
        };
        self.read_module(sources, place, &tokens(text), &folder)
    }

    /// Reads a module, whose children have their files in `folder`.
    fn read_module(&mut self, sources: &'a Sources, place: Place<'a>, tokens: &[Token<'a>], folder: &str) -> usize {
        let module = self.modules.len();
        self.modules.push(Module {
            package: place.package,
            path: place.path.clone(),
            file: place.file,
            parent: place.parent,
            is_test: place.is_test,
            is_fallback: place.is_fallback,
            children: BTreeMap::new(),
            items: BTreeSet::new(),
            visible_types: Vec::new(),
            imports: Vec::new(),
            references: Vec::new(),
        });
        let mut reader = Reader::default();
        reader.read(tokens, place.is_test);
        for child in std::mem::take(&mut reader.children) {
            let mut below = Place {
                package: place.package,
                file: place.file,
                path: [place.path.as_slice(), &[child.name]].concat(),
                parent: Some(module),
                is_test: child.is_test,
                is_fallback: place.is_fallback || child.is_fallback,
            };
            let folder = format!("{folder}/{}", child.name);
            let id = match child.body {
                Some(body) => self.read_module(sources, below, body, &folder),
                None => {
                    let files = [format!("{folder}.rs"), format!("{folder}/mod.rs")];
                    let found = files.iter().find_map(|file| sources.get_key_value(file));
                    let (file, _) = found.unwrap_or_else(|| {
                        panic!(
                            "{} declares `mod {}`, but {} does not exist",
                            place.file, child.name, files[0]
                        )
                    });
                    below.file = file;
                    self.read_file(sources, below)
                }
            };
            self.modules[module].children.insert(child.name, id);
        }
        if !place.is_test {
            let names = |import: &Import<'a>| import.is_reexport.then_some(import.name);
            let reexported: BTreeSet<_> = reader.imports.iter().filter_map(names).collect();
            let words = reader.words.iter().filter(|(word, _)| reexported.contains(word));
            let references = words.map(|&(word, line)| Reference { path: vec![word], line });
            let this = &mut self.modules[module];
            this.references = references.chain(reader.references).collect();
            this.imports = reader.imports;
            this.items = reader.items;
            this.visible_types = reader.visible_types;
        }
        module
    }
}

/// The position of a module in the crates.
struct Place<'a> {
    package: &'a Package,
    file: &'a str,
    path: Vec<&'a str>,
    parent: Option<usize>,
    is_test: bool,
    is_fallback: bool,
}

/// A `mod` declaration; `body` is the content of its braces.
struct Child<'t, 'a> {
    name: &'a str,
    body: Option<&'t [Token<'a>]>,
    is_test: bool,
    is_fallback: bool,
}

/// Collects what the tokens of one module contain.
#[derive(Default)]
struct Reader<'t, 'a> {
    children: Vec<Child<'t, 'a>>,
    items: BTreeSet<&'a str>,
    visible_types: Vec<(&'a str, usize)>,
    imports: Vec<Import<'a>>,
    references: Vec<Reference<'a>>,
    /// The paths of one name.
    words: Vec<(&'a str, usize)>,
    /// The end of the item that replaces another one in builds without a feature.
    end_of_fallback: usize,
}

impl<'t, 'a> Reader<'t, 'a> {
    fn read(&mut self, tokens: &'t [Token<'a>], is_test: bool) {
        let (mut at, mut depth) = (0, 0);
        while at < tokens.len() {
            let next = tokens.get(at + 1).and_then(|token| token.word());
            match tokens[at].code() {
                "#" if is_for_tests(&tokens[at..]) => {
                    let item = end_of_group(tokens, at + 1);
                    at = end_of_item(tokens, item);
                    let module = (item..at).find(|&at| code_at(tokens, at) == "mod");
                    if depth == 0
                        && let Some(module) = module.filter(|&module| declares(tokens, item, module))
                    {
                        self.read_child(tokens, module, true);
                    }
                    continue;
                }
                "#" if starts_with(&tokens[at..], &["#", "[", "cfg", "(", "not", "(", "feature"]) => {
                    self.end_of_fallback = end_of_item(tokens, end_of_group(tokens, at + 1));
                }
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                "pub" if is_restriction(tokens, at + 1) => {
                    at = end_of_group(tokens, at + 1);
                    continue;
                }
                "mod" if depth == 0 && next.is_some() => {
                    at = self.read_child(tokens, at, is_test);
                    continue;
                }
                "use" if code_at(tokens, at + 1) != "<" => {
                    at = self.read_imports(tokens, at);
                    continue;
                }
                keyword
                    if depth == 0
                        && let Some(name) = next.filter(|name| defines(keyword, name)) =>
                {
                    self.items.insert(name);
                    let is_type = matches!(keyword, "struct" | "enum" | "trait" | "type" | "union");
                    if is_type && is_visible(tokens, at) && at >= self.end_of_fallback {
                        self.visible_types.push((name, tokens[at].line));
                    }
                    at += 2;
                    continue;
                }
                _ => {}
            }
            at = self.read_path(tokens, at);
        }
    }

    /// Reads the declaration at `mod`, and returns the position after it.
    fn read_child(&mut self, tokens: &'t [Token<'a>], at: usize, is_test: bool) -> usize {
        let name = tokens[at + 1].text;
        let has_body = code_at(tokens, at + 2) == "{";
        let end = if has_body { end_of_group(tokens, at + 2) } else { at + 3 };
        let body = has_body.then(|| &tokens[at + 3..end - 1]);
        self.children.push(Child {
            name,
            body,
            is_test,
            is_fallback: at < self.end_of_fallback,
        });
        end
    }

    /// Reads the declaration at `use`, and returns the position after it.
    fn read_imports(&mut self, tokens: &[Token<'a>], at: usize) -> usize {
        let first = self.imports.len();
        let end = self.read_use_tree(tokens, at + 1, Vec::new());
        let is_reexport = is_visible(tokens, at);
        self.imports[first..]
            .iter_mut()
            .for_each(|import| import.is_reexport = is_reexport);
        end + 1
    }

    /// Reads one path of a `use` declaration with its braces, and returns the position after it.
    fn read_use_tree(&mut self, tokens: &[Token<'a>], mut at: usize, mut path: Vec<&'a str>) -> usize {
        loop {
            let Some(token) = tokens.get(at) else { return at };
            match token.code() {
                "{" => {
                    at += 1;
                    while !matches!(code_at(tokens, at), "}" | "") {
                        at = self.read_use_tree(tokens, at, path.clone());
                        at += usize::from(code_at(tokens, at) == ",");
                    }
                    return at + 1;
                }
                // An empty first name: the path starts at the list of crates.
                "::" => {
                    if path.is_empty() {
                        path.push("");
                    }
                    at += 1;
                }
                name => {
                    at += 1;
                    if name != "self" || path.is_empty() {
                        path.push(name);
                    }
                    if code_at(tokens, at) == "::" {
                        at += 1;
                        continue;
                    }
                    let mut local = path.last().copied().unwrap_or_default();
                    if code_at(tokens, at) == "as" {
                        local = code_at(tokens, at + 1);
                        at += 2;
                    }
                    if local == "*" {
                        path.pop();
                    }
                    let line = token.line;
                    self.imports.push(Import {
                        name: local,
                        path,
                        is_reexport: false,
                        line,
                    });
                    return at;
                }
            }
        }
    }

    /// Reads the path that starts at `at`, if any, and returns the position after it.
    fn read_path(&mut self, tokens: &[Token<'a>], mut at: usize) -> usize {
        let line = tokens[at].line;
        let before = if at == 0 { "" } else { tokens[at - 1].code() };
        let mut path = match tokens[at].word() {
            Some(_) if matches!(before, "." | "::") => return at + 1,
            Some(word) => vec![word],
            None if tokens[at].text == "::" && !before.ends_with(|c: char| c.is_alphanumeric() || "_>".contains(c)) => {
                at -= 1;
                vec![""]
            }
            None => return at + 1,
        };
        while code_at(tokens, at + 1) == "::"
            && let Some(name) = tokens.get(at + 2).and_then(|token| token.word())
        {
            path.push(name);
            at += 2;
        }
        match path[..] {
            // A field, a variable or a method that shares its name with a function is not a path.
            [word] => {
                let is_call = code_at(tokens, at + 1) == "(" && before != "fn";
                if is_call || word.starts_with(|c: char| c.is_uppercase()) {
                    self.words.push((word, line));
                }
            }
            _ => self.references.push(Reference { path, line }),
        }
        at + 1
    }
}

/// Returns whether the attribute at the start is `#[cfg(test)]` or `#[cfg(all(test, ...))]`.
fn is_for_tests(tokens: &[Token<'_>]) -> bool {
    starts_with(tokens, &["#", "[", "cfg", "(", "test", ")"])
        || starts_with(tokens, &["#", "[", "cfg", "(", "all", "(", "test"])
}

fn starts_with(tokens: &[Token<'_>], expected: &[&str]) -> bool {
    (0..expected.len()).all(|at| code_at(tokens, at) == expected[at])
}

/// Returns whether the item that starts at `item` is the module whose `mod` is at `module`.
fn declares(tokens: &[Token<'_>], item: usize, module: usize) -> bool {
    let mut at = item;
    while code_at(tokens, at) == "#" {
        at = end_of_group(tokens, at + 1);
    }
    if code_at(tokens, at) == "pub" {
        at += 1;
        if code_at(tokens, at) == "(" {
            at = end_of_group(tokens, at);
        }
    }
    at == module
}

/// Returns whether these parentheses restrict a `pub`: `(crate)`, `(in crate::log)`.
///
/// A tuple field has other parentheses.
fn is_restriction(tokens: &[Token<'_>], at: usize) -> bool {
    let keyword = matches!(code_at(tokens, at + 1), "crate" | "super" | "self");
    code_at(tokens, at) == "(" && (code_at(tokens, at + 1) == "in" || keyword && code_at(tokens, at + 2) == ")")
}

/// Returns whether `pub`, with or without parentheses, is before the keyword of an item.
fn is_visible(tokens: &[Token<'_>], keyword: usize) -> bool {
    let before = tokens[..keyword].iter().rev().map(|token| token.code());
    let mut before = before.skip_while(|text| matches!(*text, "unsafe" | "auto")).peekable();
    if before.peek() == Some(&")") {
        return before.find(|text| *text == "(").is_some() && before.next() == Some("pub");
    }
    before.next() == Some("pub")
}

/// Returns whether a keyword, followed by this name, defines an item.
fn defines(keyword: &str, name: &str) -> bool {
    let is_keyword = matches!(
        keyword,
        "struct" | "enum" | "trait" | "type" | "union" | "fn" | "const" | "static"
    );
    is_keyword && !matches!(name, "fn" | "unsafe" | "async" | "extern" | "mut")
}
