//! The lists of violations that existed when a rule was introduced. A list may only shrink.

use std::{collections::BTreeSet, fs};

use killfeed_support::corpus;

/// A use or a cycle that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offence {
    /// The entry in the list: a line, or several lines for a cycle.
    pub(super) entry: String,
    /// The place and the allowed alternatives, for an engineer who has just added the violation.
    pub(super) why: String,
}

impl Offence {
    /// Returns the reason. For a cycle that has grown, only the new files and the lines that name them.
    fn why_new(&self, listed: &BTreeSet<&str>) -> String {
        let is_known = |file: &&str| listed.iter().any(|entry| entry.lines().any(|known| known == *file));
        let new: Vec<_> = self.entry.lines().filter(|file| !is_known(file)).collect();
        if new.is_empty() || new.len() == self.entry.lines().count() {
            return self.why.clone();
        }
        let names_new = |line: &&str| line.split_whitespace().any(|word| new.contains(&word));
        let lines: String = self
            .why
            .lines()
            .filter(names_new)
            .map(|line| format!("\n{line}"))
            .collect();
        format!("a listed cycle has new files: {}{lines}", new.join(", "))
    }
}

/// A list in `tests/system/architecture/`. Lines that start with `#` are comments.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    pub(super) file: &'static str,
    /// The separator of two entries.
    pub(super) separator: &'static str,
    /// The advice to an engineer who breaks the rule.
    pub(super) advice: &'static str,
}

impl List {
    /// Fails if there are violations that the list does not have.
    ///
    /// `KILLFEED_BLESS=1` removes outdated entries.
    pub(super) fn check(&self, offences: &[Offence]) {
        let path = corpus::repository().join("tests/system/architecture").join(self.file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let Report { added, removed } = self.compare(&text, offences);
        assert!(added.is_empty(), "{added}");
        if std::env::var_os("KILLFEED_BLESS").is_some() {
            fs::write(&path, self.rewritten(&text, offences)).unwrap();
        } else {
            assert!(removed.is_empty(), "{removed}");
        }
    }

    fn entries<'t>(&self, text: &'t str) -> BTreeSet<&'t str> {
        let start = text
            .lines()
            .take_while(|line| line.starts_with('#'))
            .map(|line| line.len() + 1)
            .sum();
        let entries = text
            .get(start..)
            .unwrap_or_default()
            .split(self.separator)
            .map(str::trim);
        entries.filter(|entry| !entry.is_empty()).collect()
    }

    /// Compares violations with the list.
    ///
    /// A violation is known if an entry has all its lines: a cycle that loses a file is not a new one.
    fn compare(&self, text: &str, offences: &[Offence]) -> Report {
        let listed = self.entries(text);
        let is_within = |entry: &str, listed: &str| entry.lines().all(|line| listed.lines().any(|other| other == line));
        let mut report = Report::default();
        for offence in offences {
            if !listed.iter().any(|listed| is_within(&offence.entry, listed)) {
                report.added += &format!("\n  {}\n", offence.why_new(&listed));
            }
        }
        for listed in listed
            .iter()
            .filter(|listed| !offences.iter().any(|offence| offence.entry == **listed))
        {
            let lines = listed.replace('\n', "\n    ");
            report.removed += &match offences.iter().find(|offence| is_within(&offence.entry, listed)) {
                Some(smaller) => {
                    let left = smaller.entry.replace('\n', "\n    ");
                    format!("\n  these files are fewer now:\n    {lines}\n  leave these lines:\n    {left}\n")
                }
                None => format!("\n  {lines}\n"),
            };
        }
        let file = self.file;
        if !report.added.is_empty() {
            let advice = self.advice;
            report.added = format!(
                "new offenders against docs/architecture.md:\n{}\n{advice}\nA moved file keeps its entry in tests/system/architecture/{file}: change the path there.\n",
                report.added
            );
        }
        if !report.removed.is_empty() {
            report.removed = format!(
                "these offenders are gone: remove the line from tests/system/architecture/{file} (or run again with KILLFEED_BLESS=1)\n{}",
                report.removed
            );
        }
        report
    }

    /// Returns the list with its comments and the remaining violations.
    fn rewritten(&self, text: &str, offences: &[Offence]) -> String {
        let comments = text.lines().take_while(|line| line.starts_with('#'));
        let comments: String = comments.map(|line| format!("{line}\n")).collect();
        let entries: BTreeSet<_> = offences.iter().map(|offence| offence.entry.as_str()).collect();
        let entries: Vec<_> = entries.into_iter().collect();
        let end = if entries.is_empty() { "" } else { "\n" };
        format!("{comments}{}{end}", entries.join(self.separator))
    }
}

/// The differences between a list and the code, as messages; empty if there are none.
#[derive(Debug, Default)]
struct Report {
    added: String,
    removed: String,
}

mod tests {
    use super::*;

    fn offences(entries: &[&str]) -> Vec<Offence> {
        let offence = |entry: &&str| Offence {
            entry: (*entry).to_owned(),
            why: format!("why {entry}"),
        };
        entries.iter().map(offence).collect()
    }

    const LINES: List = List {
        file: "lines.txt",
        separator: "\n",
        advice: "advice",
    };
    const CYCLES: List = List {
        file: "cycles.txt",
        separator: "\n\n",
        advice: "advice",
    };

    #[test]
    fn new_offender_fails_with_its_reason() {
        let report = LINES.compare("# comment\na log\n", &offences(&["a log", "b log"]));
        assert!(
            report.added.contains("why b log") && !report.added.contains("why a log"),
            "{}",
            report.added
        );
        assert!(report.added.contains("advice"));
        assert_eq!(report.removed, "");
    }

    #[test]
    fn entry_without_an_offender_fails() {
        let report = LINES.compare("# comment\na log\nb log\n", &offences(&["a log"]));
        assert_eq!(report.added, "");
        assert!(
            report
                .removed
                .contains("remove the line from tests/system/architecture/lines.txt")
        );
        assert!(
            report.removed.contains("b log") && !report.removed.contains("a log"),
            "{}",
            report.removed
        );
        assert_eq!(
            LINES.rewritten("# comment\na log\nb log\n", &offences(&["a log"])),
            "# comment\na log\n"
        );
        assert_eq!(LINES.rewritten("# comment\na log\n", &[]), "# comment\n");
    }

    #[test]
    fn cycle_may_shrink_but_not_grow() {
        let text = "# comment\na\nb\nc\n\nd\ne\n";
        let same = CYCLES.compare(text, &offences(&["a\nb\nc", "d\ne"]));
        assert_eq!((same.added.as_str(), same.removed.as_str()), ("", ""));
        let smaller = CYCLES.compare(text, &offences(&["a\nc", "d\ne"]));
        assert_eq!(smaller.added, "");
        assert!(
            smaller.removed.contains("leave these lines:\n    a\n    c\n"),
            "{}",
            smaller.removed
        );
        let larger = CYCLES.compare(text, &offences(&["a\nb\nc", "d\ne\nf"]));
        assert!(
            larger.added.contains("a listed cycle has new files: f\n"),
            "{}",
            larger.added
        );
        let joined = CYCLES.compare(text, &offences(&["a\nb\nc\nd\ne"]));
        assert!(joined.added.contains("why a\nb\nc\nd\ne"), "{}", joined.added);
    }
}
