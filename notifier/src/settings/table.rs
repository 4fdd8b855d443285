//! Every setting of the notifier, as `--help` lists them.

use killfeed::setting::Setting;

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
        "Ingestors, separated by commas: the next one on failure",
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
        "PEM file of our certificate, for ingestors that ask for one",
    ),
    setting("NOTIFIER_INGESTOR_KEY", "", "PEM file of its key"),
    setting(
        "NOTIFIER_HTTP_ADDR",
        "127.0.0.1:8060",
        "Address of /metrics, /livez and /readyz",
    ),
    setting("NOTIFIER_DATA_DIR", "data/notifier", "Data folder; one process each"),
    setting(
        "NOTIFIER_SINK",
        "discord",
        "Where posts go: discord, or console (standard output, no token needed)",
    ),
    secret("NOTIFIER_DISCORD_TOKEN", "The bot's token, required for discord"),
    setting(
        "NOTIFIER_DISCORD_API_URL",
        "https://discord.com",
        "Base of Discord's API; another one for a shared rate-limit proxy",
    ),
    setting(
        "NOTIFIER_SHARDS",
        "auto",
        "Shards run here: auto, or like 0-3/16 or 0/2",
    ),
    setting(
        "NOTIFIER_ADMIN_ADDR",
        "127.0.0.1:50061",
        "Address of SubscriptionService, for operators and web front ends; empty = off",
    ),
    setting(
        "NOTIFIER_ADMIN_TOKENS_FILE",
        "",
        "Tokens of its callers, one `name token` a line; required off loopback and for webhooks",
    ),
    setting(
        "NOTIFIER_SUBSCRIPTIONS_FILE",
        "",
        "TOML or JSON file of subscriptions, loaded at start and on SIGHUP",
    ),
    setting(
        "NOTIFIER_PROBE_INTERVAL",
        "5m",
        "How soon a suspended channel is tried again, doubling to 1h",
    ),
    setting(
        "NOTIFIER_MAX_BACKLOG",
        "5000",
        "Undelivered killmails per channel before the oldest without a ping are folded into one post",
    ),
    setting(
        "NOTIFIER_MAX_DELAY",
        "1h",
        "Killmails published longer ago than this are folded into one post",
    ),
    setting(
        "NOTIFIER_SKIP_BACKLOG",
        "false",
        "true: drop the outbox and start at the log's head, once (after a restored backup)",
    ),
    setting(
        "NOTIFIER_GUILDS",
        "",
        "Only these guilds, ids separated by commas; empty = all",
    ),
    setting("NOTIFIER_MAX_SUBSCRIPTIONS", "500", "Subscriptions a guild may have"),
    setting(
        "NOTIFIER_MAX_POSTS",
        "5000",
        "Killmails posted in a guild per day; beyond it they are counted, not posted",
    ),
    setting(
        "NOTIFIER_FORGET_AFTER",
        "30d",
        "How long after a guild removed the bot everything kept of it is deleted",
    ),
    setting(
        "NOTIFIER_MAX_AGE",
        "6h",
        "Kills older than this are not posted, unless the subscription says otherwise",
    ),
    setting(
        "RUST_LOG",
        "info",
        "What to log, on stderr: a level, or like info,killfeed_notifier=debug",
    ),
    setting("LOG_FORMAT", "text", "How log lines look: text or json, on stderr"),
    setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "OpenTelemetry collector that traces go to over gRPC, like http://127.0.0.1:4317; none = off",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "",
        "PEM of the CA that signed the collector's certificate; none = public CAs",
    ),
];
