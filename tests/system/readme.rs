//! The README and docs/ agree with the programs and with each other.

use std::{fmt::Write as _, fs, path::PathBuf};

use killfeed_service::settings::Setting;
use killfeed_support::{
    corpus,
    process::{Binary, Service},
};

const SERVICES: [(&str, &[Setting], Binary); 2] = [
    ("ingestor", killfeed_ingestor::settings::SETTINGS, Binary::Ingestor),
    ("notifier", killfeed_notifier::settings::SETTINGS, Binary::Notifier),
];

/// Compares the tables of docs/settings.md with the programs' settings. `KILLFEED_BLESS=1` rewrites the tables.
///
/// A table is between `<!-- settings: ingestor -->` and `<!-- end -->`.
#[test]
fn settings_tables_list_every_setting_with_its_default() {
    let path = corpus::repository().join("docs/settings.md");
    let mut text = fs::read_to_string(&path).unwrap();
    for (service, settings, _) in SERVICES {
        let begin = format!("<!-- settings: {service} -->\n");
        let start = text.find(&begin).expect("docs/settings.md has a marker for the table") + begin.len();
        let end = start + text[start..].find("<!-- end -->").expect("the table has an end marker");
        let table = table(settings);
        if std::env::var_os("KILLFEED_BLESS").is_some() {
            text.replace_range(start..end, &table);
        } else {
            assert_eq!(
                text[start..end],
                table,
                "rewrite it with KILLFEED_BLESS=1 cargo test settings_tables"
            );
        }
    }
    if std::env::var_os("KILLFEED_BLESS").is_some() {
        fs::write(path, text).unwrap();
    }
}

/// Checks `--help`, the first page that an operator reads.
#[tokio::test]
async fn help_lists_every_setting_with_its_default() {
    for (_, settings, binary) in SERVICES {
        let mut help = Service::start_with_arguments(binary, &[], &["--help"]).await;
        assert!(help.end().await.success());
        let text = help.stdout();
        for setting in settings {
            assert!(
                text.contains(&format!("--{}", setting.flag())),
                "{} is missing",
                setting.variable
            );
            assert!(text.contains(setting.variable), "{} is missing", setting.variable);
            assert!(
                text.contains(setting.default),
                "the default of {} is missing",
                setting.variable
            );
        }
    }
}

/// Follows every relative link of the README and docs/.
///
/// The file exists, and so does the heading after `#`.
#[test]
fn links_point_to_existing_files_and_headings() {
    let mut checked = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let folder = page.parent().unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() {
                page.clone()
            } else {
                folder.join(file)
            };
            assert!(file.exists(), "{}: {target} does not exist", page.display());
            if !heading.is_empty() {
                let found = anchors(&fs::read_to_string(&file).unwrap());
                assert!(
                    found.iter().any(|anchor| anchor == heading),
                    "{}: {target} is not one of {found:?}",
                    page.display()
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 50, "the pages have only {checked} links");
}

/// Returns the Markdown files at the root and in docs/.
fn pages() -> Vec<PathBuf> {
    let root = corpus::repository();
    let mut pages = Vec::new();
    for folder in [root.to_owned(), root.join("docs"), root.join("docs/decisions")] {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(files.filter(|file| file.extension() == Some("md".as_ref())));
    }
    pages
}

/// Returns the anchors that GitHub makes of a page's headings.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text
            .chars()
            .filter(|character| character.is_alphanumeric() || " -_".contains(*character));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

fn table(settings: &[Setting]) -> String {
    let mut table = String::from("| variable | default | |\n|---|---|---|\n");
    for setting in settings {
        let default = match setting.default {
            "" => "none".to_owned(),
            default => format!("`{default}`"),
        };
        let secret = if setting.secret {
            format!(" (also `{}_FILE`)", setting.variable)
        } else {
            String::new()
        };
        writeln!(
            table,
            "| `{}` | {default} | {}{secret} |",
            setting.variable, setting.help
        )
        .unwrap();
    }
    table
}
