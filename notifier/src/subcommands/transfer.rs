//! `killfeed-notifier export|import --shards 0-3/16`: guilds move between the data folders of stopped notifiers. Without `--shards`
//! the two make a backup of all subscriptions and put it back, which is `backup`'s affair.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Arg, ArgMatches, Command};
use killfeed_notifier::{
    database::transfer::{self, Summary, TransferError},
    shards::{ShardSetting, Shards},
};
use killfeed_service::process::{Failure, fail};

/// The two subcommands.
pub(crate) fn commands() -> [Command; 2] {
    let shards = Arg::new("shards")
        .long("shards")
        .value_name("SHARDS")
        .help("Move the servers of these shards instead, like 0-3/16 or 0/2; webhooks belong to shard 0");
    let file = Arg::new("file").long("file").value_name("PATH");
    [
        Command::new("export")
            .about("Writes all subscriptions to a JSON file, as a backup, also while the notifier runs; with --shards: moves servers out of the data folder of a stopped notifier")
            .arg(shards.clone())
            .arg(file.clone().help("New file to write [default: standard output]")),
        Command::new("import")
            .about("Adds every row of such a file, or none; with --shards: moves exported servers into the data folder of a stopped notifier")
            .arg(shards)
            .arg(file.help("File to read [default: standard input]")),
    ]
}

/// Runs one of them.
pub(crate) fn run(name: &str, settings: &ArgMatches, arguments: &ArgMatches) -> ExitCode {
    let text = arguments.get_one::<String>("shards").map_or("", String::as_str);
    let Some(ShardSetting::Given(shards)) = ShardSetting::parse(text) else {
        let reason = format!("--shards={text:?}: expected shards out of a total, counted from 0, like 0-3/16 or 0/2");
        return fail(Failure::Configuration, &reason);
    };
    let folder = settings.get_one::<String>("NOTIFIER_DATA_DIR");
    let folder = PathBuf::from(folder.map_or("data/notifier", String::as_str));
    let file = arguments.get_one::<String>("file").map(PathBuf::from);
    let moved = match name {
        "export" => export(&folder, shards, file),
        _ => import(&folder, shards, file),
    };
    match moved {
        Ok(Summary {
            guilds,
            subscriptions,
            waiting,
        }) => {
            eprintln!("{name}ed {guilds} guilds with {subscriptions} subscriptions and {waiting} queued killmails");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let configuration = match &error {
                TransferError::Storage(error) => error.is_configuration(),
                TransferError::File { .. } => false,
                _ => true,
            };
            let failure = if configuration {
                Failure::Configuration
            } else {
                Failure::Failed
            };
            fail(failure, &error)
        }
    }
}

fn export(folder: &std::path::Path, shards: Shards, file: Option<PathBuf>) -> Result<Summary, TransferError> {
    let failed = |error| TransferError::File { what: "written", error };
    let Some(path) = file else {
        let mut out = io::stdout().lock();
        if out.is_terminal() {
            return Err(failed(io::Error::other(
                "standard output is a terminal; redirect it into a file, or use --file",
            )));
        }
        return transfer::export(folder, shards, &mut out, || Ok(()));
    };
    // Never over a file that is there: it may be the only place where other guilds are.
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&path).map_err(failed)?;
    let handle = file.try_clone().map_err(failed)?;
    let moved = transfer::export(folder, shards, &mut file, move || handle.sync_all());
    // After a failed flush nobody knows whether the database still has them: then the file stays.
    if moved
        .as_ref()
        .is_err_and(|error| !matches!(error, TransferError::Storage(_)))
    {
        // Half a file is of no use to anybody; that it cannot be deleted changes nothing for the worse.
        let _ = file.flush();
        let _ = std::fs::remove_file(&path);
    }
    moved
}

fn import(folder: &std::path::Path, shards: Shards, file: Option<PathBuf>) -> Result<Summary, TransferError> {
    match file {
        None => transfer::import(folder, shards, &mut io::stdin().lock()),
        Some(path) => {
            let mut file = File::open(path).map_err(|error| TransferError::File { what: "read", error })?;
            transfer::import(folder, shards, &mut file)
        }
    }
}
