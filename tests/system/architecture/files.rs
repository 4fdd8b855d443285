//! Checks the length of files and finds marks of unfinished work.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::tree::Sources;

/// Returns every Rust file below a folder, without build output and hidden folders.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && !name.starts_with('.') {
                found.extend(rust_files(&entry.path()));
            }
        } else if name.ends_with(".rs") {
            found.push(entry.path());
        }
    }
    found
}

/// Reads the Rust files below some folders of the repository.
pub(super) fn read(root: &Path, folders: &[&str]) -> Sources {
    let files = folders.iter().flat_map(|folder| rust_files(&root.join(folder)));
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
        (name, fs::read_to_string(&path).unwrap())
    };
    files.map(read).collect()
}

/// Returns a message for each file that is too long, and for each mark of unfinished work.
pub(super) fn unfinished(sources: &Sources, max_lines: usize, marks: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (file, text) in sources {
        let lines = text.lines().count();
        if lines > max_lines {
            found.push(format!(
                "{file} has {lines} lines, at most {max_lines} are allowed: split it by what it does"
            ));
        }
        for mark in marks.iter().filter(|mark| text.contains(**mark)) {
            found.push(format!("{file} has a {mark} left"));
        }
    }
    found
}
