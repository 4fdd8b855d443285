//! Checks that the replies in docs/ are the golden files.

use std::{fs, path::PathBuf};

use killfeed_support::corpus;

/// The name of each file, and the minimum number of replies in it.
const FILES: [(&str, usize); 3] = [("commands", 10), ("getting-started", 1), ("migrating", 1)];

#[test]
fn documentation_shows_the_golden_replies() {
    for (file, least) in FILES {
        let path = corpus::repository().join(format!("docs/{file}.md"));
        let text = fs::read_to_string(&path).unwrap();
        let mut written = String::new();
        let mut rest = text.as_str();
        let mut shown = 0;
        // Replace the block after each `<!-- reply: name -->`.
        while let Some(at) = rest.find("<!-- reply: ") {
            let name_end = at + rest[at..].find(" -->").expect("a reply's opening mark has an end");
            let name = &rest[at + "<!-- reply: ".len()..name_end];
            written.push_str(&rest[..name_end + " -->".len()]);
            rest = &rest[name_end + " -->".len()..];
            let end = rest.find("\n<!-- end -->").expect("a reply has an end mark");
            written.push_str(&format!("\n{}", block(name)));
            rest = &rest[end..];
            shown += 1;
        }
        written.push_str(rest);
        assert!(shown >= least, "docs/{file}.md shows only {shown} replies, too few");
        if std::env::var_os("KILLFEED_BLESS").is_some() {
            fs::write(&path, &written).unwrap();
        } else {
            assert!(
                text == written,
                "docs/{file}.md differs from the golden files; run KILLFEED_BLESS=1 cargo test documentation_shows"
            );
        }
    }
}

fn block(name: &str) -> String {
    let file = format!("tests/system/commands/snapshots/system__commands__{name}.snap");
    let candidates = ["mutating", "read_only", "import_export"].map(|module| {
        let name = format!("tests/system/commands/snapshots/system__commands__{module}__{name}.snap");
        corpus::repository().join(name)
    });
    let found: Option<PathBuf> = candidates.into_iter().find(|path| path.exists());
    let path = found.unwrap_or_else(|| panic!("no golden file for {file}"));
    let snapshot = fs::read_to_string(path).unwrap();
    let body = snapshot.splitn(3, "---\n").nth(2).unwrap_or_default().trim_end();
    format!("~~~text\n{body}\n~~~")
}
