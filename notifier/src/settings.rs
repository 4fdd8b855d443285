//! Settings: raw text → validated values. Reads nothing itself but the files that hold secrets.

mod table;

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use http::Uri;
use killfeed_service::process::LogFormat;
use killfeed_service::settings::{RawSettings, Setting, SettingError};

pub use table::SETTINGS;

use crate::shards::ShardSetting;

/// What a missing token setting expects.
pub(crate) const TOKEN_EXPECTED: &str =
    "the bot's token (or a file with it in NOTIFIER_DISCORD_TOKEN_FILE), because NOTIFIER_SINK is discord";

/// Where posts go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkKind {
    /// Discord, over the bot's own connection.
    Discord,
    /// Standard output.
    Console,
}

/// A text that is never shown: not by `Debug`, not in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// Settings that make sense together.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The ingestors, the first one first.
    pub ingestor_urls: Vec<String>,
    /// Bearer token for the ingestors.
    pub ingestor_token: Option<Secret>,
    /// PEM file of the CA that signed the ingestors' certificates.
    pub ingestor_ca: Option<PathBuf>,
    /// PEM files of our own certificate and key.
    pub ingestor_identity: Option<(PathBuf, PathBuf)>,
    /// /metrics, /livez, /readyz.
    pub http_addr: SocketAddr,
    /// The data folder.
    pub data_dir: PathBuf,
    /// Where posts go.
    pub sink: SinkKind,
    /// The bot's token; for [`SinkKind::Discord`] always there, unless the subscriptions file has nothing but webhooks.
    pub discord_token: Option<Secret>,
    /// Base of Discord's API, without a slash at its end.
    pub discord_api_url: String,
    /// Which shards run here.
    pub shards: ShardSetting,
    /// `SubscriptionService`; `None` = off.
    pub admin_addr: Option<SocketAddr>,
    /// Tokens of its callers.
    pub admin_tokens_file: Option<PathBuf>,
    /// The subscriptions file.
    pub subscriptions_file: Option<PathBuf>,
    /// How soon a suspended channel is tried again, doubling to an hour.
    pub probe_interval: Duration,
    /// Undelivered killmails a channel may have before the oldest are folded.
    pub max_backlog: usize,
    /// Killmails published longer ago are folded.
    pub max_delay: Duration,
    /// Drop the outbox and start at the log's head, once.
    pub skip_backlog: bool,
    /// Only these guilds; empty = all.
    pub guilds: BTreeSet<u64>,
    /// Subscriptions a guild may have.
    pub max_subscriptions: usize,
    /// Killmails posted in a guild a day; beyond it they are folded.
    pub max_posts: u64,
    /// How long after a guild removed the bot its rows are deleted.
    pub forget_after: Duration,
    /// Kills older than this are not posted, unless the subscription says otherwise.
    pub max_age: Duration,
    /// What to log.
    pub log_filter: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Where traces go; `None` = nowhere.
    pub otlp_endpoint: Option<String>,
    /// PEM of the CA that signed the certificate of what is there; `None` = the public ones.
    pub otlp_ca: Option<PathBuf>,
}

impl Settings {
    /// Reads the settings through `lookup`: flags first, then the environment.
    pub fn load(lookup: impl Fn(&Setting) -> Option<String>) -> Result<Self, SettingError> {
        Self::from_raw(&RawSettings::collect(SETTINGS, lookup))
    }

    fn from_raw(raw: &RawSettings) -> Result<Self, SettingError> {
        let path = |variable| raw.get(variable).map(PathBuf::from);
        let secret = |variable| raw.get(variable).map(Secret::new);
        let settings = Self {
            ingestor_urls: raw.parse_required(
                "NOTIFIER_INGESTOR_URLS",
                "http:// or https:// URLs without a path, separated by commas, like http://127.0.0.1:50051",
                |text| text.split(',').map(|url| base_url(url.trim())).collect(),
            )?,
            ingestor_token: secret("NOTIFIER_INGESTOR_TOKEN"),
            ingestor_ca: path("NOTIFIER_INGESTOR_CA"),
            ingestor_identity: identity(raw)?,
            http_addr: raw.addr("NOTIFIER_HTTP_ADDR")?,
            data_dir: raw.require("NOTIFIER_DATA_DIR", "a folder")?.into(),
            sink: raw.parse_required("NOTIFIER_SINK", "discord or console", |text| match text {
                "discord" => Some(SinkKind::Discord),
                "console" => Some(SinkKind::Console),
                _ => None,
            })?,
            discord_token: secret("NOTIFIER_DISCORD_TOKEN"),
            discord_api_url: raw.parse_required(
                "NOTIFIER_DISCORD_API_URL",
                "an http:// or https:// URL without a query, like https://discord.com",
                base_url,
            )?,
            shards: raw.parse_required("NOTIFIER_SHARDS", ShardSetting::EXPECTED, ShardSetting::parse)?,
            admin_addr: (raw.get("NOTIFIER_ADMIN_ADDR").is_some())
                .then(|| raw.addr("NOTIFIER_ADMIN_ADDR"))
                .transpose()?,
            admin_tokens_file: path("NOTIFIER_ADMIN_TOKENS_FILE"),
            subscriptions_file: path("NOTIFIER_SUBSCRIPTIONS_FILE"),
            probe_interval: raw.duration("NOTIFIER_PROBE_INTERVAL", Duration::from_millis(1))?,
            max_backlog: raw.number("NOTIFIER_MAX_BACKLOG", 1)?,
            max_delay: raw.duration("NOTIFIER_MAX_DELAY", Duration::from_secs(1))?,
            skip_backlog: raw.flag("NOTIFIER_SKIP_BACKLOG")?,
            guilds: raw
                .parse("NOTIFIER_GUILDS", "Discord server ids, separated by commas", guilds)?
                .unwrap_or_default(),
            max_subscriptions: raw.number("NOTIFIER_MAX_SUBSCRIPTIONS", 1)?,
            max_posts: raw.number("NOTIFIER_MAX_POSTS", 1)?,
            forget_after: raw.duration("NOTIFIER_FORGET_AFTER", Duration::from_secs(1))?,
            max_age: raw.duration("NOTIFIER_MAX_AGE", Duration::from_secs(1))?,
            log_filter: raw.get("RUST_LOG").unwrap_or("info").to_owned(),
            log_format: raw.parse_required("LOG_FORMAT", "text or json", |text| match text {
                "text" => Some(LogFormat::Text),
                "json" => Some(LogFormat::Json),
                _ => None,
            })?,
            otlp_endpoint: raw.get("OTEL_EXPORTER_OTLP_ENDPOINT").map(str::to_owned),
            otlp_ca: path("OTEL_EXPORTER_OTLP_CERTIFICATE"),
        };
        settings.check(raw)?;
        Ok(settings)
    }

    /// Rules over more than one setting.
    fn check(&self, raw: &RawSettings) -> Result<(), SettingError> {
        // A file whose rows are all webhooks needs no bot; whether it is one is seen when it is read.
        if self.sink == SinkKind::Discord && self.discord_token.is_none() && self.subscriptions_file.is_none() {
            return Err(SettingError::unseen("NOTIFIER_DISCORD_TOKEN", TOKEN_EXPECTED));
        }
        let off_loopback = self.admin_addr.is_some_and(|addr| !addr.ip().is_loopback());
        if off_loopback && self.admin_tokens_file.is_none() {
            let addr = raw.get("NOTIFIER_ADMIN_ADDR").unwrap_or_default();
            let expected = "a loopback address, or NOTIFIER_ADMIN_TOKENS_FILE set as well";
            return Err(SettingError::new("NOTIFIER_ADMIN_ADDR", addr, expected));
        }
        Ok(())
    }

    /// Whether webhook rows belong to this process: to that of shard 0, or to any without a bot.
    pub fn serves_webhooks(&self) -> bool {
        match self.shards {
            ShardSetting::Auto => true,
            ShardSetting::Given(shards) => shards.contains(0),
        }
    }

    /// Whether the rows of this guild belong to this process.
    pub fn serves(&self, guild: u64) -> bool {
        let here = match self.shards {
            ShardSetting::Auto => true,
            ShardSetting::Given(shards) => shards.owns(guild),
        };
        here && (self.guilds.is_empty() || self.guilds.contains(&guild))
    }
}

/// A setting's text: the flag's, else the variable's, else (for a secret) that of the file named by `<variable>_FILE`.
pub fn lookup(
    setting: &Setting,
    flag: Option<String>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Option<String>, SettingError> {
    let given = flag.or_else(|| environment(setting.variable));
    if given.is_some() || !setting.secret {
        return Ok(given);
    }
    let variable = format!("{}_FILE", setting.variable);
    let Some(path) = environment(&variable).filter(|path| !path.trim().is_empty()) else {
        return Ok(None);
    };
    // A file ends with a line break that belongs to no secret.
    std::fs::read_to_string(path.trim())
        .map(|text| Some(text.trim().to_owned()))
        .map_err(|error| SettingError::new(&variable, &path, format!("a readable file with the secret ({error})")))
}

fn base_url(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let plain = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.query().is_none();
    plain.then(|| text.trim_end_matches('/').to_owned())
}

fn identity(raw: &RawSettings) -> Result<Option<(PathBuf, PathBuf)>, SettingError> {
    let path = |variable| raw.get(variable).map(PathBuf::from);
    match (path("NOTIFIER_INGESTOR_CERT"), path("NOTIFIER_INGESTOR_KEY")) {
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(SettingError::unseen(
            "NOTIFIER_INGESTOR_CERT",
            "a PEM file, because NOTIFIER_INGESTOR_KEY is set",
        )),
        (Some(_), None) => Err(SettingError::unseen(
            "NOTIFIER_INGESTOR_KEY",
            "a PEM file, because NOTIFIER_INGESTOR_CERT is set",
        )),
    }
}

fn guilds(text: &str) -> Option<BTreeSet<u64>> {
    text.split(',')
        .map(|id| id.trim().parse().ok().filter(|id| *id != 0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(given: &[(&str, &str)]) -> Result<Settings, String> {
        let lookup = |setting: &Setting| {
            let found = given.iter().find(|(variable, _)| *variable == setting.variable);
            found.map(|(_, value)| (*value).to_owned())
        };
        Settings::load(lookup).map_err(|error| error.to_string())
    }

    const CONSOLE: (&str, &str) = ("NOTIFIER_SINK", "console");

    #[test]
    fn the_defaults_need_only_a_token() {
        let error = load(&[]).unwrap_err();
        assert!(
            error.starts_with("NOTIFIER_DISCORD_TOKEN: expected the bot's token"),
            "{error}"
        );
        let settings = load(&[("NOTIFIER_DISCORD_TOKEN", "s3cret")]).unwrap();
        assert_eq!(settings.ingestor_urls, ["http://127.0.0.1:50051"]);
        assert_eq!(settings.admin_addr, Some("127.0.0.1:50061".parse().unwrap()));
        assert!(!format!("{settings:?}").contains("s3cret"));
        assert!(load(&[CONSOLE]).is_ok());
    }

    #[test]
    fn bad_values_are_named() {
        for (variable, value) in [
            ("NOTIFIER_INGESTOR_URLS", "127.0.0.1:50051"),
            ("NOTIFIER_INGESTOR_URLS", "http://a,,http://b"),
            ("NOTIFIER_HTTP_ADDR", "8060"),
            ("NOTIFIER_SINK", "slack"),
            ("NOTIFIER_DISCORD_API_URL", "discord.com"),
            ("NOTIFIER_SHARDS", "4/4"),
            ("NOTIFIER_SHARDS", "3-1/4"),
            ("NOTIFIER_SHARDS", "0-3"),
            ("NOTIFIER_SHARDS", "0/0"),
            ("NOTIFIER_ADMIN_ADDR", "0.0.0.0:50061"),
            ("NOTIFIER_ADMIN_ADDR", "on"),
            ("NOTIFIER_PROBE_INTERVAL", "0s"),
            ("NOTIFIER_MAX_BACKLOG", "0"),
            ("NOTIFIER_MAX_DELAY", "soon"),
            ("NOTIFIER_SKIP_BACKLOG", "1"),
            ("NOTIFIER_GUILDS", "1,two"),
            ("NOTIFIER_MAX_SUBSCRIPTIONS", "-1"),
            ("NOTIFIER_MAX_POSTS", "many"),
            ("NOTIFIER_FORGET_AFTER", "30"),
            ("NOTIFIER_MAX_AGE", "1w"),
            ("LOG_FORMAT", "xml"),
        ] {
            let error = load(&[(variable, value), CONSOLE]).unwrap_err();
            assert!(
                error.starts_with(&format!("{variable}={value:?}: expected ")),
                "{error}"
            );
            assert_eq!(error.lines().count(), 1);
        }
        let error = load(&[("NOTIFIER_INGESTOR_CERT", "cert.pem"), CONSOLE]).unwrap_err();
        assert!(
            error.starts_with("NOTIFIER_INGESTOR_KEY: expected a PEM file"),
            "{error}"
        );
    }

    #[test]
    fn an_empty_text_is_off_or_none_or_refused_by_name() {
        assert_eq!(load(&[("NOTIFIER_ADMIN_ADDR", ""), CONSOLE]).unwrap().admin_addr, None);
        assert_eq!(
            load(&[("NOTIFIER_GUILDS", ""), CONSOLE]).unwrap().guilds,
            BTreeSet::new()
        );
        let error = load(&[("NOTIFIER_MAX_AGE", ""), CONSOLE]).unwrap_err();
        assert!(error.starts_with("NOTIFIER_MAX_AGE: expected"), "{error}");
    }

    #[test]
    fn a_secret_may_stand_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "s3cret\n").unwrap();
        let path = path.to_string_lossy().into_owned();
        let token = SETTINGS
            .iter()
            .find(|s| s.variable == "NOTIFIER_DISCORD_TOKEN")
            .unwrap();
        let environment = |name: &str| (name == "NOTIFIER_DISCORD_TOKEN_FILE").then(|| path.clone());
        assert_eq!(lookup(token, None, environment), Ok(Some("s3cret".into())));
        let flag = lookup(token, Some("flag".into()), environment);
        assert_eq!(flag, Ok(Some("flag".into())));
        let missing = lookup(token, None, |name| name.ends_with("_FILE").then(|| "/nowhere".into()));
        let error = missing.unwrap_err().to_string();
        assert!(
            error.starts_with(r#"NOTIFIER_DISCORD_TOKEN_FILE="/nowhere": expected a readable file"#),
            "{error}"
        );
    }
}
