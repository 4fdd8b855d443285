//! `cargo xtask bless`: golden files and documentation tables.
//!
//! Golden files are insta's snapshots. The documentation shows replies and settings as the programs print them; the tests
//! that compare both write the documentation when `KILLFEED_BLESS` is set.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::step::Step;

const SYSTEM_TESTS: &str = "tests/system";

/// Runs the tests that write files, and prints which files changed.
pub(crate) fn bless(root: &Path) -> Result<(), String> {
    let modules = |words: &[&str]| modules_with(&root.join(SYSTEM_TESTS), words);
    let golden = modules(&["assert_snapshot!", "assert_json_snapshot!"])?;
    // These tests read golden files, so they run last.
    let documentation = modules(&["KILLFEED_BLESS"])?;
    blessing(&["test", "--lib"]).run(root)?;
    for modules in [golden, documentation] {
        let names: Vec<&str> = modules.iter().map(String::as_str).collect();
        blessing(&["test", "--test", "system", "--"])
            .with_arguments(&names)
            .run(root)?;
    }
    let pending = files(root, &|path| path.to_string_lossy().ends_with(".pending-snap"))?;
    if let Some(path) = pending.first() {
        let path = path.display();
        return Err(format!("{path} is a changed inline snapshot: run cargo insta review"));
    }
    let changed = Step::program("git", &["status", "--short"]).output(root)?;
    print!(
        "{}",
        if changed.is_empty() {
            "nothing changed\n"
        } else {
            &changed
        }
    );
    Ok(())
}

fn blessing(arguments: &[&str]) -> Step {
    Step::cargo(arguments)
        .with_env("INSTA_UPDATE", "always")
        .with_env("KILLFEED_BLESS", "1")
}

/// Returns the test modules whose source contains one of `words`, as filters for a test program: `commands::docs::`.
fn modules_with(folder: &Path, words: &[&str]) -> Result<Vec<String>, String> {
    let mut modules = Vec::new();
    for path in files(folder, &|path| {
        path.extension().is_some_and(|extension| extension == "rs")
    })? {
        let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if words.iter().any(|word| text.contains(word)) {
            let path = path.strip_prefix(folder).unwrap_or(&path).with_extension("");
            let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
            modules.push(parts.join("::") + "::");
        }
    }
    if modules.is_empty() {
        return Err(format!(
            "no test in {} contains {}",
            folder.display(),
            words.join(" or ")
        ));
    }
    Ok(modules)
}

/// Returns the files below `folder` that `is_wanted` accepts, sorted, without hidden and build folders.
fn files(folder: &Path, is_wanted: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error| format!("cannot list {}: {error}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                found.extend(files(&path, is_wanted)?);
            }
        } else if is_wanted(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root;

    #[test]
    fn modules_are_found_by_their_text() {
        let folder = root().join(SYSTEM_TESTS);
        let golden = modules_with(&folder, &["assert_snapshot!"]).unwrap();
        assert!(golden.contains(&"commands::".to_owned()), "{golden:?}");
        let documentation = modules_with(&folder, &["KILLFEED_BLESS"]).unwrap();
        assert!(
            documentation.contains(&"commands::docs::".to_owned()),
            "{documentation:?}"
        );
        assert!(modules_with(&folder, &["no such text in any test".to_uppercase().as_str()]).is_err());
    }
}
