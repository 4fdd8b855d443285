//! The README says what the programs say.

use std::{fmt::Write as _, fs, path::PathBuf};

use killfeed::setting::Setting;
use killfeed_support::{
    corpus,
    process::{Binary, Service},
};

const SERVICES: [(&str, &[Setting], Binary); 2] = [
    ("ingestor", killfeed_ingestor::settings::SETTINGS, Binary::Ingestor),
    ("notifier", killfeed_notifier::settings::SETTINGS, Binary::Notifier),
];

/// The tables stand between `<!-- settings: ingestor -->` and `<!-- end -->`. `KILLFEED_BLESS=1` writes them anew.
#[test]
fn its_tables_list_every_setting_with_its_default() {
    let path = readme();
    let mut text = fs::read_to_string(&path).unwrap();
    for (service, settings, _) in SERVICES {
        let begin = format!("<!-- settings: {service} -->\n");
        let start = text.find(&begin).expect("the README has a marker for the table") + begin.len();
        let end = start + text[start..].find("<!-- end -->").expect("and one for its end");
        let table = table(settings);
        if std::env::var_os("KILLFEED_BLESS").is_some() {
            text.replace_range(start..end, &table);
        } else {
            assert_eq!(
                text[start..end],
                table,
                "write it anew with KILLFEED_BLESS=1 cargo test its_tables"
            );
        }
    }
    if std::env::var_os("KILLFEED_BLESS").is_some() {
        fs::write(path, text).unwrap();
    }
}

/// `--help` is where an operator looks first.
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

/// A link in the README to a file of the repository leads somewhere.
#[test]
fn its_links_lead_somewhere() {
    let text = fs::read_to_string(readme()).unwrap();
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
        let file = target.split('#').next().unwrap();
        assert!(
            corpus::repository().join(file).exists(),
            "the README links to {target}, which is not there"
        );
    }
}

fn readme() -> PathBuf {
    corpus::repository().join("README.md")
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
