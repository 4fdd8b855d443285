//! Wiring only: flags, settings, logging, signals, exit codes.

mod progress;

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use clap::{Arg, ArgMatches, Command};
use killfeed_ingestor::{
    StartError,
    backfill::{self, BackfillError},
    feed::history::Day,
    log,
    new_token::{self, NewToken},
    settings::{Engine, SETTINGS, Settings},
    start,
};
use killfeed_service::settings::{Setting, SettingError};
use killfeed_service::{
    probes,
    process::{self, EndSignals, Ended, Failure, Signals},
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let matches = command().get_matches();
    if let Some(("new-token", matches)) = matches.subcommand() {
        return new_token(matches);
    }
    let settings = match read_settings(&matches) {
        Ok(settings) => settings,
        Err(error) => return fail(Failure::Configuration, &error),
    };
    if let Err(error) = process::start_logging("killfeed_ingestor", &settings.log_filter, settings.log_format) {
        return fail(Failure::Configuration, &error);
    }
    let program = async {
        match matches.subcommand_name() {
            Some("health") => health(&settings).await,
            Some("new-log-id") => new_log_id(&settings),
            Some("backfill") => backfill(&settings, &matches).await,
            _ => serve(settings).await,
        }
    };
    process::block_on(program)
        .unwrap_or_else(|error| fail(Failure::Failed, &format!("cannot start the async runtime: {error}")))
}

fn command() -> Command {
    let args = SETTINGS.iter().map(|setting| {
        let default = if setting.default.is_empty() {
            "none"
        } else {
            setting.default
        };
        let help = format!("{} [env: {}] [default: {default}]", setting.help, setting.variable);
        argument(setting.variable.to_owned(), setting.flag()).help(help)
    });
    let files = SETTINGS.iter().filter(|setting| setting.secret).map(|setting| {
        let variable = file_variable(setting);
        let help = format!("File that contains the value of {} [env: {variable}]", setting.variable);
        argument(variable, format!("{}-file", setting.flag())).help(help)
    });
    Command::new("killfeed-ingestor")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Reads zKillboard's feed, keeps a durable log of killmails, and streams it over gRPC")
        .args(args)
        .args(files)
        .subcommand(Command::new("health").about("Checks a running ingestor's /readyz; exits with 0 if it is ready"))
        .subcommand(Command::new("new-log-id").about(
            "Gives the log in the data folder a new id; run it after restoring a backup, so that clients notice stale cursors",
        ))
        .subcommand(backfill_command())
        .subcommand(new_token_command())
}

fn backfill_command() -> Command {
    let day = |name, help| Arg::new(name).long(name).value_name("DAY").required(true).help(help);
    Command::new("backfill")
        .about("Fills the log from zKillboard's history, in the order of the kills")
        .after_help(
            "No ingestor may run on the data folder meanwhile. Backfill respects the feed's limits and skips killmails that the log already has. You can stop it at any time: run the same command again to continue. Exit code 75 means: try again later.",
        )
        .arg(day("from", "First day, like 2026-08-01"))
        .arg(day("to", "Last day (inclusive); yesterday or earlier"))
}

fn new_token_command() -> Command {
    Command::new("new-token")
        .about("Creates a token for a client, if it has none: adds a line to DIR/tokens (INGESTOR_TOKENS_FILE) and writes the token to DIR/NAME.token")
        .arg(Arg::new("name").value_name("NAME").required(true).help("Name of the client, for logs and metrics"))
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("DIR")
                .required(true)
                .help("Folder for both files"),
        )
}

/// Needs no settings: it runs before there are any.
fn new_token(matches: &ArgMatches) -> ExitCode {
    let text = |name| matches.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    match new_token::new_token(Path::new(text("out")), text("name")) {
        Ok(NewToken::Made(path)) => println!("created {}", path.display()),
        Ok(NewToken::Known(path)) => println!("{} already exists", path.display()),
        Err(error) => return fail(Failure::Configuration, &error),
    }
    ExitCode::SUCCESS
}

fn argument(variable: String, flag: String) -> Arg {
    Arg::new(variable).long(flag).value_name("VALUE").global(true)
}

fn file_variable(setting: &Setting) -> String {
    format!("{}_FILE", setting.variable)
}

/// Flags first, then variables; a secret may also stand in a file.
fn read_settings(matches: &ArgMatches) -> Result<Settings, SettingError> {
    let mut texts = BTreeMap::new();
    for setting in SETTINGS {
        let mut text = flag_or_env(matches, setting.variable);
        if text.is_none() && setting.secret {
            text = secret_from_file(matches, &file_variable(setting))?;
        }
        texts.extend(text.map(|text| (setting.variable, text)));
    }
    Settings::load(|setting| texts.get(setting.variable).cloned())
}

fn secret_from_file(matches: &ArgMatches, variable: &str) -> Result<Option<String>, SettingError> {
    let Some(path) = flag_or_env(matches, variable) else {
        return Ok(None);
    };
    // A file ends with a line break that belongs to no secret.
    std::fs::read_to_string(path.trim())
        .map(|text| Some(text.trim().to_owned()))
        .map_err(|error| {
            SettingError::new(
                variable,
                &path,
                format!("a readable file that contains the secret ({error})"),
            )
        })
}

fn flag_or_env(matches: &ArgMatches, variable: &str) -> Option<String> {
    let flag = matches.get_one::<String>(variable).cloned();
    // An empty variable is as good as none: compose files cannot leave one out.
    flag.or_else(|| std::env::var(variable).ok().filter(|text| !text.trim().is_empty()))
}

async fn serve(settings: Settings) -> ExitCode {
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return no_signals(&error),
    };
    let shutdown = CancellationToken::new();
    // A hangup during the start stays pending until there is something to reload.
    let hangup = Notify::new();
    let service = Box::pin(async {
        let running = start(settings, shutdown.clone()).await?;
        let reload = running.reload();
        let reloads = async {
            loop {
                hangup.notified().await;
                // A few small files; streams run on other threads meanwhile.
                reload.again();
            }
        };
        tokio::select! {
            finished = running.finished() => finished,
            never = reloads => never,
        }
    });
    match signals.supervise(service, &shutdown, || hangup.notify_one()).await {
        Ended::Returned(Ok(())) => ExitCode::SUCCESS,
        Ended::Returned(Err(error @ StartError::Configuration(_))) => fail(Failure::Configuration, &error),
        Ended::Returned(Err(error @ StartError::Failed(_))) => fail(Failure::Failed, &error),
        Ended::Forced => fail(
            Failure::Failed,
            &"stopped by a second signal before the drain was complete",
        ),
    }
}

fn no_signals(error: &std::io::Error) -> ExitCode {
    fail(Failure::Failed, &format!("cannot set up signal handling: {error}"))
}

async fn backfill(settings: &Settings, matches: &ArgMatches) -> ExitCode {
    let day = |name: &str| -> Result<Day, String> {
        let given = matches
            .subcommand()
            .and_then(|(_, given)| given.get_one::<String>(name));
        let text = given.map(String::as_str).unwrap_or_default();
        text.parse().map_err(|error| format!("--{name}: {error}"))
    };
    let (from, to) = match (day("from"), day("to")) {
        (Ok(from), Ok(to)) => (from, to),
        (Err(error), _) | (_, Err(error)) => return fail(Failure::Configuration, &error),
    };
    let shutdown = CancellationToken::new();
    let mut signals = match EndSignals::listen() {
        Ok(signals) => signals,
        Err(error) => return no_signals(&error),
    };
    let stop = shutdown.clone();
    tokio::spawn(async move {
        signals.wait().await;
        stop.cancel();
    });
    let (told, progress) = watch::channel(None);
    let shown = tokio::spawn(progress::show(progress, from, to));
    let ended = backfill::backfill(settings, from, to, told, shutdown).await;
    // The last line comes before the verdict.
    let _ = shown.await;
    match ended {
        Ok(last) => {
            println!("{from} to {to}: {}", progress::totals(&last));
            if last.unreadable > 0 {
                let text = format!(
                    "{} killmails could not be fetched; run the same command again later",
                    last.unreadable
                );
                return fail(Failure::Later, &text);
            }
            ExitCode::SUCCESS
        }
        Err(error @ BackfillError::Configuration(_)) => fail(Failure::Configuration, &error),
        Err(error @ BackfillError::Later(_)) => fail(Failure::Later, &error),
    }
}

async fn health(settings: &Settings) -> ExitCode {
    match probes::check_ready(settings.http_addr).await {
        Ok(lines) => {
            print!("{lines}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(Failure::Failed, &error),
    }
}

fn new_log_id(settings: &Settings) -> ExitCode {
    if settings.engine != Engine::Embedded {
        let text = "new-log-id works only with the embedded log: expected INGESTOR_LOG=embedded; if a shared log lost records, start an empty one under another INGESTOR_NATS_STREAM";
        return fail(Failure::Configuration, &text);
    }
    match log::new_log_id(&settings.data_dir) {
        Ok(id) => {
            println!("the log now has the id {id}; cursors of the old id stay valid up to its last offset");
            ExitCode::SUCCESS
        }
        Err(error) => fail(Failure::Configuration, &error),
    }
}

fn fail(failure: Failure, reason: &dyn std::fmt::Display) -> ExitCode {
    process::fail(failure, &format_args!("killfeed-ingestor: {reason}"))
}
