//! The notifier's process: settings, logging, signals, exit code. The library does the work.

mod subcommands;

use std::{process::ExitCode, sync::Arc};

use killfeed_notifier::{
    Hooks,
    database::StorageError,
    discord::{ConnectError, FatalError},
    run_with,
    settings::{self, SETTINGS, Settings},
};
use killfeed_service::process::{self, Ended, Failure, Signals, fail};
use killfeed_service::settings::{Setting, SettingError};
use tokio_util::sync::CancellationToken;

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
                Failure::Configuration.into()
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
    // Logs go to standard error: standard output belongs to the console sink.
    if let Err(error) = process::start_logging("killfeed_notifier", &settings.log_filter, settings.log_format) {
        return fail(Failure::Configuration, &error);
    }
    process::block_on(serve(settings)).unwrap_or_else(no_runtime)
}

fn no_runtime(error: std::io::Error) -> ExitCode {
    fail(Failure::Failed, &format_args!("cannot start: {error}"))
}

async fn serve(settings: Settings) -> ExitCode {
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(Failure::Failed, &format_args!("cannot listen for signals: {error}")),
    };
    let (shutdown, hooks) = (CancellationToken::new(), Hooks::default());
    let reload = Arc::clone(&hooks.reload);
    let service = Box::pin(run_with(settings, hooks, shutdown.clone()));
    match signals.supervise(service, &shutdown, || reload.notify_one()).await {
        Ended::Returned(result) => ended(result),
        Ended::Forced => {
            tracing::warn!("second signal, stopping immediately");
            Failure::Failed.into()
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
        return fail(Failure::Configuration, &error);
    }
    tracing::error!("stopped: {error:#}");
    Failure::Failed.into()
}

/// Flags over environment over defaults; and the subcommand, if one was given.
fn read_settings(matches: &clap::ArgMatches) -> Result<(Settings, Option<subcommands::Subcommand>), ExitCode> {
    let given = |name: &str| matches.try_get_one::<String>(name).ok().flatten().cloned();
    let bad = |error: SettingError| fail(Failure::Configuration, &error);
    let mut texts = std::collections::BTreeMap::new();
    for setting in SETTINGS {
        if let Some(text) = settings::lookup(setting, None, given).map_err(bad)? {
            texts.insert(setting.variable, text);
        }
    }
    let wanted = subcommands::read(matches).map_err(|error| fail(Failure::Configuration, &error))?;
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
