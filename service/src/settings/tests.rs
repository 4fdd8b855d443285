use std::{path::PathBuf, time::Duration};

use clap::Parser;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, Args)]
struct Pages {
    /// How many pages there are
    #[arg(long, env = "INGESTOR_PAGES", default_value = "3", value_parser = min_number(1_usize))]
    pages: usize,
}

#[derive(Debug, Args)]
struct Example {
    /// How often the feed is polled
    #[arg(long, env = "INGESTOR_POLL_INTERVAL", default_value = "6s", value_parser = min_duration(Duration::from_secs(1)))]
    poll_interval: Duration,
    /// Address of the API; empty = off
    #[arg(long, env = "INGESTOR_ADDR", default_value = "127.0.0.1:1", value_parser = addr_or_off)]
    addr: OrOff<SocketAddr>,
    /// Token of the upstream
    #[arg(long, env = "INGESTOR_TOKEN", hide_env_values = true, value_parser = expect("a token without spaces", |text| (!text.contains(' ')).then(|| Secret::new(text))))]
    token: Option<Secret>,
    /// File of tokens
    #[arg(long, env = "INGESTOR_TOKENS_FILE")]
    tokens_file: Option<PathBuf>,
    /// Whether the rest is left out
    #[arg(long, env = "INGESTOR_SKIP", default_value = "false", value_parser = flag, action = clap::ArgAction::Set)]
    skip: bool,
    #[command(flatten)]
    pages: Pages,
    /// Form of log lines
    #[arg(long, env = "LOG_FORMAT", default_value = "text", value_parser = one_of("text or json", &[("text", Format::Text), ("json", Format::Json)]))]
    log_format: Format,
}

fn read(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Example, SettingError> {
    let command = add_to_command::<Example>(Command::new("example"), true);
    let matches = command
        .try_get_matches_from([&["example"], arguments].concat())
        .unwrap();
    let variable = |name: &str| {
        let found = environment.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, text)| (*text).to_owned())
    };
    Texts::read::<Example>(&matches, variable)?.parse()
}

#[test]
fn flag_wins_over_variable_and_variable_over_default() {
    let variable = [("INGESTOR_POLL_INTERVAL", "7s"), ("INGESTOR_PAGES", "4")];
    let read = read(&["--poll-interval", "8s"], &variable).unwrap();
    assert_eq!((read.poll_interval, read.pages.pages), (Duration::from_secs(8), 4));
    assert_eq!((read.skip, read.log_format), (false, Format::Text));
    assert_eq!(read.addr.0, Some(SocketAddr::from(([127, 0, 0, 1], 1))));
}

#[test]
fn empty_variable_is_unset() {
    let empty = [
        "INGESTOR_POLL_INTERVAL",
        "INGESTOR_TOKENS_FILE",
        "INGESTOR_TOKEN",
        "INGESTOR_TOKEN_FILE",
    ];
    let read = read(&[], &empty.map(|variable| (variable, " "))).unwrap();
    assert_eq!(read.poll_interval, Duration::from_secs(6));
    assert_eq!((read.tokens_file, read.token), (None, None));
}

#[test]
fn empty_value_turns_off_optional_settings() {
    assert_eq!(read(&[], &[("INGESTOR_ADDR", "")]).unwrap().addr, OrOff(None));
    assert_eq!(read(&["--addr", ""], &[]).unwrap().addr, OrOff(None));
    let tokens = ("INGESTOR_TOKENS_FILE", "tokens");
    assert_eq!(read(&["--tokens-file", ""], &[tokens]).unwrap().tokens_file, None);
}

#[test]
fn invalid_value_gives_a_one_line_error() {
    for (variable, value, expected) in [
        (
            "INGESTOR_POLL_INTERVAL",
            "soon",
            "a duration of at least 1s, like 500ms, 6s, 5m, 2h or 7d",
        ),
        (
            "INGESTOR_POLL_INTERVAL",
            "500ms",
            "a duration of at least 1s, like 500ms, 6s, 5m, 2h or 7d",
        ),
        ("INGESTOR_PAGES", "0", "a whole number of at least 1"),
        ("INGESTOR_PAGES", "--skip", "a whole number of at least 1"),
        ("INGESTOR_ADDR", "8060", "an address with a port, like 127.0.0.1:50051"),
        ("INGESTOR_SKIP", "1", "true or false"),
        ("LOG_FORMAT", "xml", "text or json"),
        ("LOG_FORMAT", "a\nb\u{1b}", "text or json"),
    ] {
        let error = read(&[], &[(variable, value)]).unwrap_err().to_string();
        assert_eq!(error, format!("{variable}={value:?}: expected {expected}"));
        assert_eq!(error.lines().count(), 1);
    }
    let error = read(&["--pages", ""], &[]).unwrap_err().to_string();
    assert_eq!(error, "INGESTOR_PAGES=\"\": expected a whole number of at least 1");
}

#[test]
fn secret_is_read_from_a_file_and_hidden_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "s3cret\n").unwrap();
    let path = path.to_str().unwrap();
    let from_file = read(&[], &[("INGESTOR_TOKEN_FILE", path)]).unwrap();
    assert_eq!(from_file.token, Some(Secret::new("s3cret")));
    let from_flag = read(&["--token-file", path], &[]).unwrap();
    assert_eq!(from_flag.token, Some(Secret::new("s3cret")));
    let both = [("INGESTOR_TOKEN_FILE", path), ("INGESTOR_TOKEN", "variable")];
    assert_eq!(read(&[], &both).unwrap().token, Some(Secret::new("variable")));
    let error = read(&[], &[("INGESTOR_TOKEN_FILE", "/nowhere")])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(r#"INGESTOR_TOKEN_FILE="/nowhere": expected a readable file"#),
        "{error}"
    );
    let error = read(&[], &[("INGESTOR_TOKEN", "s3cret 2")]).unwrap_err();
    assert_eq!(error.to_string(), "INGESTOR_TOKEN: expected a token without spaces");
}

#[test]
fn error_across_settings_shows_the_value_or_the_default() {
    let given = Texts::from_pairs([("INGESTOR_ADDR", "0.0.0.0:1 ")]);
    let line = |texts: &Texts| {
        texts
            .error::<Example>("INGESTOR_ADDR", "a loopback address")
            .to_string()
    };
    assert_eq!(
        line(&given),
        r#"INGESTOR_ADDR="0.0.0.0:1": expected a loopback address"#
    );
    let line = line(&Texts::default());
    assert_eq!(line, r#"INGESTOR_ADDR="127.0.0.1:1": expected a loopback address"#);
}

#[test]
fn flag_is_the_variable_without_its_prefix() {
    for setting in list::<Example>() {
        let name = setting.variable.strip_prefix("INGESTOR_").unwrap_or(&setting.variable);
        assert_eq!(setting.flag, name.to_lowercase().replace('_', "-"));
    }
}

#[test]
fn help_lists_flag_variable_and_default() {
    let mut command = add_to_command::<Example>(Command::new("example"), true);
    let help = command.render_help().to_string();
    for line in [
        "--poll-interval <VALUE>  How often the feed is polled [env: INGESTOR_POLL_INTERVAL] [default: 6s]",
        "--token-file <VALUE>     File with the text of INGESTOR_TOKEN [env: INGESTOR_TOKEN_FILE]",
        "--tokens-file <VALUE>    File of tokens [env: INGESTOR_TOKENS_FILE]",
    ] {
        assert!(help.contains(line), "{line}\n{help}");
    }
}

#[test]
fn table_has_a_row_for_each_setting() {
    let table = table(&list::<Example>());
    assert_eq!(table.lines().count(), 2 + 7);
    assert!(table.contains("\n| `INGESTOR_TOKEN` | none | Token of the upstream (also `INGESTOR_TOKEN_FILE`) |\n"));
    assert!(table.contains("\n| `INGESTOR_PAGES` | `3` | How many pages there are |\n"));
}

/// The derive of a whole program accepts the same structs.
#[test]
fn settings_can_be_flattened_into_a_program() {
    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        settings: Example,
    }
    assert!(
        Program::try_parse_from(["program", "--pages", "2"])
            .unwrap()
            .settings
            .pages
            .pages
            == 2
    );
}
