//! The developer commands: `cargo xtask` lists them.
//!
//! Each command runs cargo or another tool in the root of the repository, prints every command line before it runs it, and
//! stops at the first one that fails.

mod bless;
mod step;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use step::Step;

const HELP: &str = "\
Developer commands of killfeed: cargo xtask COMMAND

  fmt              format all Rust code
  lint             check the format, run clippy and build the documentation; warnings are errors
  test [NAME]      run the unit tests, or those whose names contain NAME
  test-all [NAME]  run all tests, also those over the two real programs, or those whose names contain NAME
  bench [NAME]     run a bench, or list the benches
  fuzz [TARGET]    run a fuzz target until Ctrl-C, or list the targets
  bless            write the golden files and the tables in docs/ from what the code does now
  ci               run everything that a change must pass
";

/// The longest input of the fuzz target `filter`.
const MAX_FILTER_BYTES: usize = 4_096;
/// The longest input of the other fuzz targets: larger than nearly every document of the feed.
const MAX_DOCUMENT_BYTES: usize = 65_536;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match execute(&root(), &words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn execute(root: &Path, words: &[&str]) -> Result<(), String> {
    match words {
        [] | ["help" | "-h" | "--help"] => print!("{HELP}"),
        ["bench"] => list(&benches(root)?),
        ["fuzz"] => list(&fuzz_targets(root)?),
        ["bless"] => bless::bless(root)?,
        _ => {
            for step in steps(root, words)? {
                step.run(root)?;
            }
        }
    }
    Ok(())
}

/// Returns the command lines of a developer command, in order.
fn steps(root: &Path, words: &[&str]) -> Result<Vec<Step>, String> {
    let steps = match *words {
        ["fmt"] => vec![Step::cargo(&["fmt", "--all"])],
        ["lint"] => vec![
            Step::cargo(&["fmt", "--all", "--check"]),
            Step::cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
            Step::cargo(&["doc", "--workspace", "--no-deps"]).with_env("RUSTDOCFLAGS", "-D warnings"),
        ],
        ["test", ref names @ ..] => vec![Step::cargo(&["test", "--lib", "--bins"]).with_arguments(names)],
        ["test-all", ref names @ ..] => vec![Step::cargo(&["test"]).with_arguments(names)],
        ["bench", name] => {
            let name = one_of("bench", name, &benches(root)?)?;
            vec![Step::cargo(&["bench", "--bench", &name])]
        }
        ["fuzz", target] => {
            let target = one_of("fuzz target", target, &fuzz_targets(root)?)?;
            vec![fuzz(&target)]
        }
        ["ci"] => vec![Step::program(".ci/run", &[])],
        _ => {
            return Err(format!(
                "unknown command {:?}: run cargo xtask for the list",
                words.join(" ")
            ));
        }
    };
    Ok(steps)
}

fn fuzz(target: &str) -> Step {
    let longest = if target == "filter" {
        MAX_FILTER_BYTES
    } else {
        MAX_DOCUMENT_BYTES
    };
    // `cargo +nightly` needs rustup's cargo; the one in $CARGO is the toolchain's own.
    Step::program("rustup", &["run", "nightly", "cargo", "fuzz", "run", target, "--"])
        .with_arguments(&[&format!("-max_len={longest}")])
        .with_hint("fuzzing needs rustup toolchain install nightly and cargo install cargo-fuzz")
}

fn one_of(kind: &str, name: &str, known: &[String]) -> Result<String, String> {
    let found = known.iter().find(|known| *known == name);
    found
        .cloned()
        .ok_or_else(|| format!("unknown {kind} {name:?}: expected one of {}", known.join(", ")))
}

fn list(names: &[String]) {
    for name in names {
        println!("{name}");
    }
}

fn benches(root: &Path) -> Result<Vec<String>, String> {
    rust_files_in(&root.join("ingestor/benches"))
}

fn fuzz_targets(root: &Path) -> Result<Vec<String>, String> {
    rust_files_in(&root.join("fuzz/fuzz_targets"))
}

/// Returns the sorted names of the Rust files directly in a folder, without `.rs`.
fn rust_files_in(folder: &Path) -> Result<Vec<String>, String> {
    let unreadable = |error| format!("cannot list {}: {error}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// The root of the repository: this package is a folder in it.
fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(words: &[&str]) -> Vec<String> {
        let steps = steps(&root(), words).unwrap();
        steps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn commands_expand_to_cargo_command_lines() {
        assert_eq!(lines(&["fmt"]), ["cargo fmt --all"]);
        assert_eq!(lines(&["test", "filter"]), ["cargo test --lib --bins filter"]);
        assert_eq!(lines(&["bench", "parse"]), ["cargo bench --bench parse"]);
        assert_eq!(
            lines(&["fuzz", "filter"]),
            ["rustup run nightly cargo fuzz run filter -- -max_len=4096"]
        );
    }

    #[test]
    fn unknown_name_error_lists_the_known_names() {
        let error = |words: &[&str]| steps(&root(), words).unwrap_err();
        assert!(error(&["bench", "nothing"]).contains("enrich, match_set, parse, search"));
        assert!(error(&["fuzz", "nothing"]).contains("document, esi_body, filter"));
        assert!(error(&["deploy"]).contains("run cargo xtask for the list"));
    }
}
