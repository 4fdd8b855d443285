//! `killfeed-notifier export|import`: all subscriptions as a file, and back. A notifier that runs is asked; where none runs, its data
//! folder is read or filled.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use clap::ArgMatches;
use killfeed_notifier::{
    admin::cli,
    commands::export,
    settings::Settings,
    subscriptions::offline::{self, OfflineError},
};
use killfeed_service::clock::Clock;

/// Which of the two; `None` = standard output or input.
#[derive(Debug)]
pub(crate) enum BackupCommand {
    Export(Option<PathBuf>),
    Import(Option<PathBuf>),
}

/// What was asked for.
pub(crate) fn read(name: &str, arguments: &ArgMatches) -> BackupCommand {
    let file = arguments.get_one::<String>("file").map(PathBuf::from);
    match name {
        "export" => BackupCommand::Export(file),
        _ => BackupCommand::Import(file),
    }
}

/// Does it, and returns what to print; or why not, for a person.
pub(crate) async fn run(wanted: BackupCommand, settings: &Settings) -> Result<String, String> {
    match wanted {
        BackupCommand::Export(file) => {
            let json = export_all(settings).await?;
            let Some(path) = file else { return Ok(json) };
            write(&path, &json).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            Ok(String::new())
        }
        BackupCommand::Import(file) => import_all(file, settings).await,
    }
}

async fn export_all(settings: &Settings) -> Result<String, String> {
    match offline::read(&settings.data_dir) {
        Ok(all) => Ok(export::json(all.iter().map(|one| &**one))),
        Err(error) if error.is_running() => cli::run(cli::SubscriptionsCommand::Export { guild: 0 }, settings).await,
        Err(error) => Err(error.to_string()),
    }
}

async fn import_all(file: Option<PathBuf>, settings: &Settings) -> Result<String, String> {
    let path = file.clone().unwrap_or_else(|| "-".into());
    let mut text = String::new();
    let read = match &file {
        None => io::stdin().read_to_string(&mut text),
        Some(path) => File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
    };
    read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let now = Clock::system().now().unix_ms();
    let (api_url, limit) = (&settings.discord_api_url, settings.max_subscriptions);
    match offline::add(&settings.data_dir, &text, api_url, limit, now).await {
        Ok(added) => Ok(format!("{added} added\n")),
        Err(error) if error.is_running() && file.is_some() => {
            cli::run(cli::SubscriptionsCommand::Import { file: path }, settings).await
        }
        Err(error @ OfflineError::Storage(_)) if error.is_running() => {
            Err(format!("{error}; to import into a running notifier, use --file"))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Never over a file that is there: the last good backup is worth more than a new one that may be none.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
