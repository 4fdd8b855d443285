//! What the program does instead of running: `killfeed-notifier health`, `invite`, `subscriptions ...`, `export` and `import`.

mod backup;
mod transfer;

use std::{path::PathBuf, process::ExitCode};

use clap::{Arg, ArgAction, ArgMatches, Command};
use killfeed::v1::Subscription;
use killfeed_notifier::{
    admin::cli,
    discord::{self, BotToken},
    settings::Settings,
};
use killfeed_service::{
    probes,
    process::{self, Failure, fail},
};

/// A subcommand.
#[derive(Debug)]
pub(crate) enum Subcommand {
    Subscriptions(cli::SubscriptionsCommand),
    Backup(backup::BackupCommand),
    Invite,
    Health,
}

/// As clap knows them.
pub(crate) fn declared() -> Vec<Command> {
    let guild = || option("guild", "Discord id of the server").value_parser(clap::value_parser!(u64));
    let subscriptions = Command::new("subscriptions")
        .about("Lists and changes the subscriptions of the running notifier (over NOTIFIER_ADMIN_ADDR)")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("list")
                .about("Lists all subscriptions, or those of one server, with their state")
                .arg(guild()),
        )
        .subcommand(
            Command::new("add")
                .about("Adds a subscription; returns when it is on disk")
                .arg(option("name", "Name, unique in its server").required(true))
                .arg(option("filter", "Filter; \"\" matches everything").required(true))
                .arg(guild())
                .arg(option("channel", "Discord id of the channel").value_parser(clap::value_parser!(u64)))
                .arg(option(
                    "webhook",
                    "Webhook URL, instead of server and channel (needs NOTIFIER_ADMIN_TOKENS_FILE)",
                ))
                .arg(option("us", "Your side, as inside attacker( )"))
                .arg(option("side", "kills, losses or both"))
                .arg(option("ping", "here, everyone or role:<id>"))
                .arg(option("ping-max-age", "Maximum age of a kill that pings, like 10m"))
                .arg(option(
                    "max-age",
                    "Maximum age of a kill to post, like 6h, or unlimited",
                ))
                .arg(option("style", "full, compact, link or battle"))
                .arg(
                    Arg::new("paused")
                        .long("paused")
                        .action(ArgAction::SetTrue)
                        .help("Add it paused"),
                ),
        )
        .subcommand(
            Command::new("remove")
                .about("Removes a subscription and discards its queued posts; without --guild: one of a webhook")
                .arg(guild())
                .arg(option("name", "Name of the subscription").required(true)),
        )
        .subcommand(
            Command::new("export")
                .about("Prints the JSON file that import reads")
                .arg(guild()),
        )
        .subcommand(
            Command::new("import")
                .about("Adds every row of an exported file, or none")
                .arg(
                    Arg::new("file")
                        .required(true)
                        .help("Path of the file; - = standard input"),
                ),
        );
    let invite = Command::new("invite")
        .about("Prints the links that add the bot to a server, with exactly the permissions it needs");
    let health = Command::new("health").about("Checks /readyz of the running notifier; exits with 0 if it is ready");
    let mut all = vec![health, invite, subscriptions];
    all.extend(transfer::commands());
    all
}

/// Carries out what needs no settings but the data folder: `None` = that is not what was asked for.
pub(crate) fn run_without_settings(matches: &ArgMatches) -> Option<ExitCode> {
    let (name @ ("export" | "import"), arguments) = matches.subcommand()? else {
        return None;
    };
    arguments
        .contains_id("shards")
        .then(|| transfer::run(name, matches, arguments))
}

fn option(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help)
        .value_name("VALUE")
        .allow_hyphen_values(true)
}

/// The one that was given.
pub(crate) fn read(matches: &ArgMatches) -> Result<Option<Subcommand>, String> {
    match matches.subcommand() {
        Some(("health", _)) => Ok(Some(Subcommand::Health)),
        Some(("invite", _)) => Ok(Some(Subcommand::Invite)),
        Some((name @ ("export" | "import"), matches)) => Ok(Some(Subcommand::Backup(backup::read(name, matches)))),
        Some(("subscriptions", matches)) => match matches.subcommand() {
            Some((verb, matches)) => Ok(Some(Subcommand::Subscriptions(subscriptions(verb, matches)?))),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

fn subscriptions(verb: &str, matches: &ArgMatches) -> Result<cli::SubscriptionsCommand, String> {
    let text = |name: &str| {
        matches
            .try_get_one::<String>(name)
            .ok()
            .flatten()
            .cloned()
            .unwrap_or_default()
    };
    let id = |name: &str| {
        matches
            .try_get_one::<u64>(name)
            .ok()
            .flatten()
            .copied()
            .unwrap_or_default()
    };
    let guild = id("guild");
    Ok(match verb {
        "list" => cli::SubscriptionsCommand::List { guild },
        "export" => cli::SubscriptionsCommand::Export { guild },
        "remove" => cli::SubscriptionsCommand::Remove {
            guild,
            name: text("name"),
        },
        "import" => cli::SubscriptionsCommand::Import {
            file: PathBuf::from(text("file")),
        },
        _ => {
            let seconds = |name: &str| -> Result<u64, String> {
                match text(name).as_str() {
                    "" | "unlimited" => Ok(0),
                    given => killfeed_service::settings::duration(given)
                        .map(|age| age.as_secs())
                        .ok_or_else(|| format!("--{name} {given:?}: expected a duration like 10m or 6h")),
                }
            };
            let side = match text("side").as_str() {
                "" => 0,
                word => cli::side(word).ok_or("--side: expected kills, losses or both")?.into(),
            };
            let style = match text("style").as_str() {
                "" => 0,
                word => cli::style(word)
                    .ok_or("--style: expected full, compact, link or battle")?
                    .into(),
            };
            cli::SubscriptionsCommand::Add(Box::new(Subscription {
                name: text("name"),
                guild_id: guild,
                channel_id: id("channel"),
                filter: text("filter"),
                us: text("us"),
                side,
                ping: text("ping"),
                ping_max_age_seconds: seconds("ping-max-age")?,
                max_age_seconds: seconds("max-age")?,
                any_age: text("max-age") == "unlimited",
                style,
                paused: matches.get_flag("paused"),
                webhook_url: text("webhook"),
                ..Default::default()
            }))
        }
    })
}

/// Does it.
pub(crate) fn run(wanted: Subcommand, settings: &Settings) -> ExitCode {
    let program = async {
        let done = match wanted {
            Subcommand::Subscriptions(wanted) => cli::run(wanted, settings).await,
            Subcommand::Backup(wanted) => backup::run(wanted, settings).await,
            Subcommand::Health => probes::check_ready(settings.http_addr).await,
            Subcommand::Invite => match &settings.discord_token {
                Some(token) => discord::invitation(&BotToken::new(token.reveal()), &settings.discord_api_url).await,
                None => Err("NOTIFIER_DISCORD_TOKEN: expected the bot's token (or a file with it in NOTIFIER_DISCORD_TOKEN_FILE)".to_owned()),
            },
        };
        match done {
            Ok(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(Failure::Failed, &error),
        }
    };
    process::block_on(program).unwrap_or_else(crate::no_runtime)
}
