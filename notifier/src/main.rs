//! The notifier's process: settings, logging, signals, exit code. The library does the work.

mod subcommands;

use std::{io::IsTerminal as _, process::ExitCode, sync::Arc};

use killfeed::setting::{Setting, SettingError};
use killfeed_notifier::{
    Hooks,
    database::StorageError,
    discord::{ConnectError, FatalError},
    run_with,
    settings::{self, LogFormat, SETTINGS, Settings},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// sysexits.h: something in the configuration is wrong; a restart changes nothing.
const BAD_CONFIGURATION: u8 = 78;

fn main() -> ExitCode {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            let help = !error.use_stderr();
            // Nothing more can be said where standard output and error are closed.
            let _ = error.print();
            return if help {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(BAD_CONFIGURATION)
            };
        }
    };
    if let Some(code) = subcommands::run_without_settings(&matches) {
        return code;
    }
    let (settings, wanted) = match read_settings(&matches) {
        Ok(read) => read,
        Err(code) => return code,
    };
    if let Some(wanted) = wanted {
        return subcommands::run(wanted, &settings);
    }
    if let Err(error) = start_logging(&settings) {
        eprintln!("{error}");
        return ExitCode::from(BAD_CONFIGURATION);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(until_signalled(settings));
    // Whatever still runs after the drain is not worth waiting for.
    runtime.shutdown_background();
    code
}

/// Runs until it ends, or until a second signal to end.
async fn until_signalled(settings: Settings) -> ExitCode {
    let shutdown = CancellationToken::new();
    let hooks = Hooks::default();
    let handle = (|| -> std::io::Result<_> {
        Ok((
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        ))
    })();
    let (mut terminate, mut interrupt, mut hangup) = match handle {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("cannot listen for signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    let reload = Arc::clone(&hooks.reload);
    let run = run_with(settings, hooks, shutdown.clone());
    tokio::pin!(run);
    loop {
        tokio::select! {
            result = &mut run => return ended(result),
            _ = hangup.recv() => reload.notify_one(),
            _ = async { tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} } } => {
                if shutdown.is_cancelled() {
                    tracing::warn!("second signal, stopping immediately");
                    return ExitCode::FAILURE;
                }
                tracing::info!("shutting down after sending messages in progress");
                shutdown.cancel();
            }
        }
    }
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    let configuration = error.downcast_ref::<SettingError>().is_some()
        || error
            .downcast_ref::<StorageError>()
            .is_some_and(StorageError::is_configuration)
        || error
            .downcast_ref::<ConnectError>()
            .is_some_and(ConnectError::is_configuration)
        || error
            .downcast_ref::<FatalError>()
            .is_some_and(FatalError::is_configuration);
    if configuration {
        // One line, as for every other bad setting.
        eprintln!("{error}");
        return ExitCode::from(BAD_CONFIGURATION);
    }
    tracing::error!("stopped: {error:#}");
    ExitCode::FAILURE
}

/// Flags over environment over defaults; and the subcommand, if one was given.
fn read_settings(matches: &clap::ArgMatches) -> Result<(Settings, Option<subcommands::Subcommand>), ExitCode> {
    let given = |name: &str| matches.try_get_one::<String>(name).ok().flatten().cloned();
    let bad = |error: SettingError| {
        eprintln!("{error}");
        ExitCode::from(BAD_CONFIGURATION)
    };
    let mut texts = std::collections::BTreeMap::new();
    for setting in SETTINGS {
        if let Some(text) = settings::lookup(setting, None, given).map_err(bad)? {
            texts.insert(setting.variable, text);
        }
    }
    let wanted = subcommands::read(matches).map_err(|error| {
        eprintln!("{error}");
        ExitCode::from(BAD_CONFIGURATION)
    })?;
    if wanted.is_some() && !texts.contains_key("NOTIFIER_DISCORD_TOKEN") {
        // A subcommand posts nothing: without a token it needs no sink that wants one.
        texts.entry("NOTIFIER_SINK").or_insert_with(|| "console".to_owned());
    }
    let settings = Settings::load(|setting| texts.get(setting.variable).cloned()).map_err(bad)?;
    Ok((settings, wanted))
}

/// Each setting as a flag and a variable; a secret also as the name of a file.
fn command() -> clap::Command {
    let mut command = clap::Command::new("killfeed-notifier")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Follows a killfeed ingestor and posts the killmails that match subscriptions to Discord")
        .after_help("Durations are <number><unit> with ms, s, m, h or d. A flag overrides its environment variable.")
        .subcommands(subcommands::declared());
    for setting in SETTINGS {
        command = command.arg(argument(setting.variable.to_owned(), setting.flag(), help(setting)));
        if setting.secret {
            let help = format!("File that contains {}", setting.variable);
            command = command.arg(argument(
                format!("{}_FILE", setting.variable),
                format!("{}-file", setting.flag()),
                help,
            ));
        }
    }
    command
}

fn argument(variable: String, flag: String, help: String) -> clap::Arg {
    clap::Arg::new(variable.clone())
        .long(flag)
        .env(variable)
        .hide_env_values(true)
        .value_name("VALUE")
        .allow_hyphen_values(true)
        .help(help)
}

fn help(setting: &Setting) -> String {
    if setting.default.is_empty() {
        setting.help.to_owned()
    } else {
        format!("{} [default: {}]", setting.help, setting.default)
    }
}

/// Logs go to standard error: standard output belongs to the console sink.
fn start_logging(settings: &Settings) -> Result<(), SettingError> {
    let filter = tracing_subscriber::EnvFilter::try_new(&settings.log_filter).map_err(|error| {
        let expected = format!("a level, or like info,killfeed_notifier=debug ({error})");
        SettingError::new("RUST_LOG", &settings.log_filter, expected)
    })?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => logs.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}
