//! docs/commands.md shows replies as they are: each block is one of the golden files.

use std::{fs, path::PathBuf};

use killfeed_support::corpus;

/// (file, how many replies it shows at least)
const FILES: [(&str, usize); 3] = [("commands", 10), ("getting-started", 1), ("migrating", 1)];

#[test]
fn the_documentation_shows_the_golden_replies() {
    for (file, least) in FILES {
        let path = corpus::repository().join(format!("docs/{file}.md"));
        let text = fs::read_to_string(&path).unwrap();
        let mut written = String::new();
        let mut rest = text.as_str();
        let mut shown = 0;
        // <!-- reply: name --> and the block after it.
        while let Some(at) = rest.find("<!-- reply: ") {
            let name_end = at + rest[at..].find(" -->").expect("the mark is closed");
            let name = &rest[at + "<!-- reply: ".len()..name_end];
            written.push_str(&rest[..name_end + " -->".len()]);
            rest = &rest[name_end + " -->".len()..];
            let end = rest.find("\n<!-- end -->").expect("every reply ends");
            written.push_str(&format!("\n{}", block(name)));
            rest = &rest[end..];
            shown += 1;
        }
        written.push_str(rest);
        assert!(shown >= least, "docs/{file}.md shows only {shown} replies");
        if std::env::var_os("KILLFEED_BLESS").is_some() {
            fs::write(&path, &written).unwrap();
        } else {
            assert!(
                text == written,
                "docs/{file}.md is not as the replies are: KILLFEED_BLESS=1 cargo test the_documentation"
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
    let path = found.unwrap_or_else(|| panic!("no golden file like {file}"));
    let snapshot = fs::read_to_string(path).unwrap();
    let body = snapshot.splitn(3, "---\n").nth(2).unwrap_or_default().trim_end();
    format!("~~~text\n{body}\n~~~")
}
