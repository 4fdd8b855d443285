//! `killfeed-notifier subscriptions ...`: asks the running process.

use std::{io::Read as _, path::PathBuf, time::Duration};

use killfeed::v1::{
    AddSubscriptionRequest, ExportSubscriptionsRequest, ImportSubscriptionsRequest, ListSubscriptionsRequest,
    RemoveSubscriptionRequest, Subscription, SubscriptionSide, SubscriptionState, SubscriptionStyle,
    subscription_service_client::SubscriptionServiceClient,
};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};

use super::tokens;
use crate::settings::Settings;

const TIMEOUT: Duration = Duration::from_secs(10);
/// An import asks an ingestor about every filter.
const IMPORT_TIMEOUT: Duration = Duration::from_secs(600);

/// What is wanted.
#[derive(Debug, Clone, PartialEq)]
pub enum SubscriptionsCommand {
    /// All, or those of a guild (0 = all).
    List {
        /// Discord's id.
        guild: u64,
    },
    /// One more.
    Add(Box<Subscription>),
    /// One less.
    Remove {
        /// Discord's id.
        guild: u64,
        /// Its name.
        name: String,
    },
    /// The JSON file.
    Export {
        /// Discord's id.
        guild: u64,
    },
    /// Every row of a file (`-` = standard input), or none.
    Import {
        /// Where it is.
        file: PathBuf,
    },
}

/// Does it, and returns what to print; or why not, for a person.
pub async fn run(wanted: SubscriptionsCommand, settings: &Settings) -> Result<String, String> {
    let addr = settings
        .admin_addr
        .ok_or("NOTIFIER_ADMIN_ADDR is empty: set it to the same address here and for the running notifier")?;
    let token = match &settings.admin_tokens_file {
        Some(path) => {
            Some(tokens::first(path).map_err(|error| format!("NOTIFIER_ADMIN_TOKENS_FILE: expected {error}"))?)
        }
        None => None,
    };
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).map_err(|error| error.to_string())?;
    let channel = endpoint
        .connect_timeout(TIMEOUT)
        .timeout(IMPORT_TIMEOUT)
        .connect()
        .await
        .map_err(|_| {
            format!("no killfeed-notifier answers on NOTIFIER_ADMIN_ADDR={addr}: start one with that address")
        })?;
    let client = SubscriptionServiceClient::new(channel).max_decoding_message_size(64 << 20);
    ask(client, wanted, token.as_deref()).await
}

async fn ask(
    mut client: SubscriptionServiceClient<Channel>,
    wanted: SubscriptionsCommand,
    token: Option<&str>,
) -> Result<String, String> {
    match wanted {
        SubscriptionsCommand::List { guild } => {
            let request = with(token, ListSubscriptionsRequest { guild_id: guild })?;
            let all = client
                .list_subscriptions(request)
                .await
                .map_err(said)?
                .into_inner()
                .subscriptions;
            Ok(table(&all))
        }
        SubscriptionsCommand::Add(subscription) => {
            let request = AddSubscriptionRequest {
                subscription: Some(*subscription),
            };
            let added = client
                .add_subscription(with(token, request)?)
                .await
                .map_err(said)?
                .into_inner();
            Ok(table(added.subscription.as_slice()))
        }
        SubscriptionsCommand::Remove { guild, name } => {
            let request = RemoveSubscriptionRequest { guild_id: guild, name };
            client.remove_subscription(with(token, request)?).await.map_err(said)?;
            Ok("removed\n".to_owned())
        }
        SubscriptionsCommand::Export { guild } => {
            let request = with(token, ExportSubscriptionsRequest { guild_id: guild })?;
            let json = client
                .export_subscriptions(request)
                .await
                .map_err(said)?
                .into_inner()
                .json;
            String::from_utf8(json).map_err(|_| "the export is not UTF-8".to_owned())
        }
        SubscriptionsCommand::Import { file } => {
            let json = read(&file)?;
            let request = with(token, ImportSubscriptionsRequest { json })?;
            let added = client
                .import_subscriptions(request)
                .await
                .map_err(said)?
                .into_inner()
                .added;
            Ok(format!("{added} added\n"))
        }
    }
}

fn read(file: &std::path::Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let result = if file.as_os_str() == "-" {
        std::io::stdin().read_to_end(&mut bytes).map(drop)
    } else {
        std::fs::read(file).map(|read| bytes = read)
    };
    result.map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    Ok(bytes)
}

fn with<T>(token: Option<&str>, message: T) -> Result<Request<T>, String> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let value = format!("Bearer {token}")
            .parse()
            .map_err(|_| "the token has characters that cannot be sent")?;
        request.metadata_mut().insert("authorization", value);
    }
    Ok(request)
}

#[expect(clippy::needless_pass_by_value, reason = "an error is turned into another one")]
fn said(status: Status) -> String {
    if status.code() == Code::Unauthenticated {
        return format!(
            "{:?}: {} (this command sends the first token of its own NOTIFIER_ADMIN_TOKENS_FILE, which the running notifier must \
             know)",
            status.code(),
            status.message()
        );
    }
    format!("{:?}: {}", status.code(), status.message())
}

/// One a line: state, guild, channel, name, filter, why it stands so, what it got so far.
fn table(all: &[Subscription]) -> String {
    let mut text = String::new();
    for one in all {
        let state = match one.state() {
            SubscriptionState::Unspecified => "unknown",
            SubscriptionState::Active => "active",
            SubscriptionState::Paused => "paused",
            SubscriptionState::Suspended => "suspended",
            SubscriptionState::Retired => "retired",
        };
        let place = match one.guild_id {
            0 => "webhook".to_owned(),
            guild => format!("{guild}/{}", one.channel_id),
        };
        let detail = if one.state_detail.is_empty() {
            String::new()
        } else {
            format!("  ({})", one.state_detail)
        };
        let got = if one.matched == 0 {
            String::new()
        } else {
            format!("  {} matched, {} posted", one.matched, one.posted)
        };
        text.push_str(&format!(
            "{state:9}  {place}  {:?}  {}{detail}{got}\n",
            one.name, one.filter
        ));
    }
    if text.is_empty() {
        "no subscriptions\n".to_owned()
    } else {
        text
    }
}

/// `kills`, `losses`, `both`.
pub fn side(word: &str) -> Option<SubscriptionSide> {
    match word {
        "kills" => Some(SubscriptionSide::Kills),
        "losses" => Some(SubscriptionSide::Losses),
        "both" => Some(SubscriptionSide::Both),
        _ => None,
    }
}

/// `full`, `compact`, `link`, `battle`.
pub fn style(word: &str) -> Option<SubscriptionStyle> {
    match word {
        "full" => Some(SubscriptionStyle::Full),
        "compact" => Some(SubscriptionStyle::Compact),
        "link" => Some(SubscriptionStyle::Link),
        "battle" => Some(SubscriptionStyle::Battle),
        _ => None,
    }
}
