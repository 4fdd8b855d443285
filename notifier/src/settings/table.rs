//! Every setting of the notifier, as `--help` lists them.

use killfeed_service::settings::Setting;

const fn setting(variable: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting {
        variable,
        default,
        help,
        secret: false,
    }
}

const fn secret(variable: &'static str, help: &'static str) -> Setting {
    Setting {
        variable,
        default: "",
        help,
        secret: true,
    }
}

/// Every setting.
pub const SETTINGS: &[Setting] = &[
    setting(
        "NOTIFIER_INGESTOR_URLS",
        "http://127.0.0.1:50051",
        "Ingestor URLs, separated by commas; the next one is used if one fails",
    ),
    secret("NOTIFIER_INGESTOR_TOKEN", "Bearer token for the ingestors"),
    setting(
        "NOTIFIER_INGESTOR_CA",
        "",
        "PEM file of the CA that signed the ingestors' certificates",
    ),
    setting(
        "NOTIFIER_INGESTOR_CERT",
        "",
        "PEM file of the client certificate, for ingestors that require one",
    ),
    setting("NOTIFIER_INGESTOR_KEY", "", "PEM file of the client certificate's key"),
    setting(
        "NOTIFIER_HTTP_ADDR",
        "127.0.0.1:8060",
        "Address of /metrics, /livez and /readyz",
    ),
    setting(
        "NOTIFIER_DATA_DIR",
        "data/notifier",
        "Data folder; each process needs its own",
    ),
    setting(
        "NOTIFIER_SINK",
        "discord",
        "Where posts go: discord, or console (standard output, no token needed)",
    ),
    secret(
        "NOTIFIER_DISCORD_TOKEN",
        "The bot's token; required if the sink is discord",
    ),
    setting(
        "NOTIFIER_DISCORD_API_URL",
        "https://discord.com",
        "Base URL of Discord's API; change it to use a shared rate-limit proxy",
    ),
    setting(
        "NOTIFIER_SHARDS",
        "auto",
        "Shards that this process runs: auto, or like 0-3/16 or 0/2",
    ),
    setting(
        "NOTIFIER_ADMIN_ADDR",
        "127.0.0.1:50061",
        "Address of SubscriptionService (admin API); empty = off",
    ),
    setting(
        "NOTIFIER_ADMIN_TOKENS_FILE",
        "",
        "Tokens for the admin API, one `name token` per line; required for webhooks and non-loopback addresses",
    ),
    setting(
        "NOTIFIER_SUBSCRIPTIONS_FILE",
        "",
        "TOML or JSON file of subscriptions, loaded at start and on SIGHUP",
    ),
    setting(
        "NOTIFIER_PROBE_INTERVAL",
        "5m",
        "Interval between probes of a suspended channel, doubling up to 1h",
    ),
    setting(
        "NOTIFIER_MAX_BACKLOG",
        "5000",
        "Undelivered killmails per channel; beyond it, the oldest without a ping are folded into one post",
    ),
    setting(
        "NOTIFIER_MAX_DELAY",
        "1h",
        "Killmails published longer ago than this are folded into one post",
    ),
    setting(
        "NOTIFIER_SKIP_BACKLOG",
        "false",
        "true: drop the outbox and start at the head of the log, once (after restoring a backup)",
    ),
    setting(
        "NOTIFIER_GUILDS",
        "",
        "Serve only these Discord servers, ids separated by commas; empty = all",
    ),
    setting(
        "NOTIFIER_MAX_SUBSCRIPTIONS",
        "500",
        "Maximum number of subscriptions per server",
    ),
    setting(
        "NOTIFIER_MAX_POSTS",
        "5000",
        "Maximum number of killmails posted per server and day; further ones are counted, not posted",
    ),
    setting(
        "NOTIFIER_FORGET_AFTER",
        "30d",
        "Delete everything stored about a server this long after it removed the bot",
    ),
    setting(
        "NOTIFIER_MAX_AGE",
        "6h",
        "Kills older than this are not posted, unless the subscription says otherwise",
    ),
    setting(
        "RUST_LOG",
        "info",
        "Log filter: a level, or like info,killfeed_notifier=debug",
    ),
    setting("LOG_FORMAT", "text", "Format of log lines on stderr: text or json"),
    setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "OpenTelemetry collector for traces (gRPC), like http://127.0.0.1:4317; empty = off",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "",
        "PEM file of the CA that signed the collector's certificate; empty = public CAs",
    ),
];
