//! Settings: flags over environment over defaults, checked before anything is opened or bound.

mod engine;
mod source;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use http::Uri;
use killfeed_service::process::LogFormat;
use killfeed_service::settings::{self, RawSettings, Setting, SettingError};

pub use self::{
    engine::{Engine, NatsSettings},
    source::{RelaySource, Secret, Source},
};
use crate::feed::{FeedStart, MAX_SEQUENCE, r2z2::host_is};

const fn setting(variable: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting {
        variable,
        default,
        help,
        secret: false,
    }
}

/// Every setting of the ingestor, as `--help` and docs/settings.md list them.
pub const SETTINGS: &[Setting] = &[
    setting(
        "INGESTOR_GRPC_ADDR",
        "127.0.0.1:50051",
        "Address the gRPC API listens on",
    ),
    setting(
        "INGESTOR_HTTP_ADDR",
        "127.0.0.1:8050",
        "Address of /metrics (Prometheus), /livez and /readyz",
    ),
    setting(
        "INGESTOR_DATA_DIR",
        "data/ingestor",
        "Folder for the log and the caches; only one process may use it",
    ),
    setting(
        "INGESTOR_FEED_URL",
        "https://r2z2.zkillboard.com",
        "Base URL of zKillboard's feed (/ephemeral/...)",
    ),
    setting(
        "INGESTOR_FEED_START",
        "latest",
        "Where to start while the log is empty: latest, earliest or a sequence number",
    ),
    setting(
        "INGESTOR_FEED_POLL_INTERVAL",
        "6s",
        "Wait after a 404 at the head; at least 6s for zKillboard's host",
    ),
    setting(
        "INGESTOR_FEED_RATE",
        "8",
        "Maximum requests per second, the only pacing after a 200; at most 10 for zKillboard's host",
    ),
    setting(
        "INGESTOR_FEED_HOLE_RECHECKS",
        "1m,5m,30m,6h",
        "When to fetch a missing document below the head again, each counted from its first 404",
    ),
    setting(
        "INGESTOR_ESI_URL",
        "https://esi.evetech.net",
        "Base URL of CCP's API (ESI), for names",
    ),
    setting(
        "INGESTOR_STATIC_DATA_URL",
        "https://developers.eveonline.com/static-data",
        "Base URL of CCP's static data (/tranquility/...)",
    ),
    setting(
        "INGESTOR_CONTACT",
        "",
        "E-mail or URL of the operator, sent to zKillboard and CCP; required for their hosts",
    ),
    setting(
        "INGESTOR_RETENTION",
        "7d",
        "How long killmails stay in the log, counted from their ingestion",
    ),
    setting(
        "INGESTOR_DISK_RESERVE",
        "256",
        "MiB to keep free on the log's disk; below that, appends wait and reads continue",
    ),
    setting(
        "INGESTOR_LOG",
        "embedded",
        "Log engine: embedded (redb in the data folder), or nats://host:4222,... (NATS JetStream, shared by several ingestors)",
    ),
    setting(
        "INGESTOR_NATS_CREDS_FILE",
        "",
        "NATS credentials file (.creds) for INGESTOR_LOG=nats://...",
    ),
    setting(
        "INGESTOR_NATS_CA",
        "",
        "PEM file of the CA that signed the NATS servers' certificates; requires TLS",
    ),
    setting(
        "INGESTOR_NATS_STREAM",
        "killfeed",
        "Name of the JetStream stream, and prefix of its subjects and buckets",
    ),
    setting(
        "INGESTOR_NATS_REPLICAS",
        "1",
        "Number of NATS servers that keep a copy of the log: 1, 3 or 5",
    ),
    setting(
        "INGESTOR_SOURCE",
        "r2z2",
        "Where killmails come from: r2z2, relay:http://other:50051 (follow another ingestor) or replay:PATH[@SPEED] (files)",
    ),
    Setting {
        secret: true,
        ..setting(
            "INGESTOR_RELAY_TOKEN",
            "",
            "Bearer token for the upstream ingestor of relay:...",
        )
    },
    setting(
        "INGESTOR_RELAY_CA",
        "",
        "PEM file of the CA that signed the upstream ingestor's certificate",
    ),
    setting(
        "INGESTOR_RELAY_CERT",
        "",
        "PEM file of this ingestor's client certificate, if the upstream requires one; needs INGESTOR_RELAY_KEY",
    ),
    setting(
        "INGESTOR_RELAY_KEY",
        "",
        "PEM file of the client certificate's private key",
    ),
    setting(
        "INGESTOR_TOKENS_FILE",
        "",
        "File with one `name token` per line, reloaded on SIGHUP; without it, only a loopback address is allowed",
    ),
    setting(
        "INGESTOR_ALLOW_ANONYMOUS",
        "false",
        "Serve gRPC on a public address without tokens",
    ),
    setting(
        "INGESTOR_TLS_CERT",
        "",
        "PEM file of the gRPC server's certificate chain; needs INGESTOR_TLS_KEY; reloaded on SIGHUP",
    ),
    setting("INGESTOR_TLS_KEY", "", "PEM file of the gRPC server's private key"),
    setting(
        "INGESTOR_TLS_CLIENT_CA",
        "",
        "PEM file of the CA that must have signed client certificates (mTLS)",
    ),
    setting("INGESTOR_MAX_STREAMS", "1024", "Maximum open streams"),
    setting("INGESTOR_MAX_STREAMS_PER_TOKEN", "16", "Maximum open streams per token"),
    setting(
        "INGESTOR_MAX_STREAM_AGE",
        "1h",
        "Age at which a stream ends with UNAVAILABLE, up to 10% earlier, so that clients spread over the replicas",
    ),
    setting("INGESTOR_MAX_CONNECTIONS", "2048", "Maximum open gRPC connections"),
    setting(
        "INGESTOR_MAX_CONNECTIONS_PER_ADDRESS",
        "256",
        "Maximum open gRPC connections per address",
    ),
    setting(
        "INGESTOR_MAX_CALLS",
        "20",
        "Maximum calls per second and caller, streams excluded; twice as many in a burst",
    ),
    setting(
        "INGESTOR_DRAIN_TIMEOUT",
        "10s",
        "How long to wait for streams and calls to end on SIGTERM",
    ),
    setting("RUST_LOG", "info", "Log filter, like info or killfeed_ingestor=debug"),
    setting("LOG_FORMAT", "text", "Log format on stderr: text or json"),
    setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "OpenTelemetry collector for traces (gRPC), like http://127.0.0.1:4317; none = off",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "",
        "PEM file of the CA that signed the collector's certificate; none = public CAs",
    ),
];

/// TLS of the gRPC server: paths of PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
    /// CA of clients' certificates: set = mTLS.
    pub client_ca: Option<PathBuf>,
}

/// Settings that make sense together.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// gRPC.
    pub grpc_addr: SocketAddr,
    /// /metrics, /livez, /readyz.
    pub http_addr: SocketAddr,
    /// The data folder.
    pub data_dir: PathBuf,
    /// Where killmails come from.
    pub source: Source,
    /// Base of `/ephemeral/...`, without a slash at its end.
    pub feed_url: String,
    /// Where the walk begins while the log is empty.
    pub feed_start: FeedStart,
    /// Wait after a 404 at the head.
    pub feed_poll_interval: Duration,
    /// Requests a second.
    pub feed_rate: f64,
    /// When holes are asked for again, ascending, each from the first 404.
    pub feed_hole_rechecks: Vec<Duration>,
    /// Base of ESI.
    pub esi_url: String,
    /// Base of `/tranquility/...`.
    pub static_data_url: String,
    /// E-mail or URL of the operator.
    pub contact: Option<String>,
    /// How long records stay.
    pub retention: Duration,
    /// What keeps the log.
    pub engine: Engine,
    /// Bytes kept free on the log's disk.
    pub disk_reserve: u64,
    /// Tokens, one `name token` a line.
    pub tokens_file: Option<PathBuf>,
    /// TLS; `None` = plain text.
    pub tls: Option<TlsFiles>,
    /// Streams at once.
    pub max_streams: usize,
    /// Streams at once per token.
    pub max_streams_per_token: usize,
    /// After this long a stream has to be opened again.
    pub max_stream_age: Duration,
    /// Connections at once.
    pub max_connections: usize,
    /// Connections at once from one address.
    pub max_connections_per_address: usize,
    /// Unary calls a second per caller.
    pub max_calls: u32,
    /// How long a drain may take.
    pub drain_timeout: Duration,
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
        let feed_url = url(raw, "INGESTOR_FEED_URL")?;
        let esi_url = url(raw, "INGESTOR_ESI_URL")?;
        let static_data_url = url(raw, "INGESTOR_STATIC_DATA_URL")?;
        let contact = raw.parse(
            "INGESTOR_CONTACT",
            "an e-mail address or a URL, without control characters",
            contact,
        )?;
        let settings = Self {
            grpc_addr: raw.addr("INGESTOR_GRPC_ADDR")?,
            http_addr: raw.addr("INGESTOR_HTTP_ADDR")?,
            data_dir: raw.require("INGESTOR_DATA_DIR", "a folder path")?.into(),
            source: source::source(raw)?,
            feed_start: raw.parse_required(
                "INGESTOR_FEED_START",
                "latest, earliest or a sequence number",
                feed_start,
            )?,
            feed_poll_interval: raw.duration("INGESTOR_FEED_POLL_INTERVAL", Duration::from_millis(1))?,
            feed_rate: raw.parse_required(
                "INGESTOR_FEED_RATE",
                "a number of requests per second above 0 (at least one per day)",
                rate,
            )?,
            feed_hole_rechecks: raw.parse_required(
                "INGESTOR_FEED_HOLE_RECHECKS",
                "durations in ascending order, like 1m,5m,30m,6h",
                rechecks,
            )?,
            retention: raw.duration("INGESTOR_RETENTION", Duration::from_secs(1))?,
            engine: engine::engine(raw)?,
            disk_reserve: raw
                .number::<u64>("INGESTOR_DISK_RESERVE", 0)?
                .saturating_mul(1024 * 1024),
            tokens_file: path("INGESTOR_TOKENS_FILE"),
            tls: tls(raw)?,
            max_streams: raw.number("INGESTOR_MAX_STREAMS", 1)?,
            max_streams_per_token: raw.number("INGESTOR_MAX_STREAMS_PER_TOKEN", 1)?,
            max_stream_age: raw.duration("INGESTOR_MAX_STREAM_AGE", Duration::from_secs(1))?,
            max_connections: raw.number("INGESTOR_MAX_CONNECTIONS", 1)?,
            max_connections_per_address: raw.number("INGESTOR_MAX_CONNECTIONS_PER_ADDRESS", 1)?,
            max_calls: raw.number("INGESTOR_MAX_CALLS", 1)?,
            drain_timeout: raw.duration("INGESTOR_DRAIN_TIMEOUT", Duration::ZERO)?,
            log_filter: raw.get("RUST_LOG").unwrap_or("info").to_owned(),
            log_format: raw.parse_required("LOG_FORMAT", "text or json", log_format)?,
            otlp_endpoint: raw.get("OTEL_EXPORTER_OTLP_ENDPOINT").map(str::to_owned),
            otlp_ca: path("OTEL_EXPORTER_OTLP_CERTIFICATE"),
            feed_url,
            esi_url,
            static_data_url,
            contact,
        };
        settings.check(raw)?;
        Ok(settings)
    }

    /// Rules over more than one setting.
    fn check(&self, raw: &RawSettings) -> Result<(), SettingError> {
        let bad = |variable: &str, expected: &str| {
            Err(SettingError::new(
                variable,
                raw.get(variable).unwrap_or_default(),
                expected,
            ))
        };
        if host_is(&self.feed_url, "zkillboard.com") {
            // zKillboard's rules: at least 6 s after a 404, and at least 100 ms between requests.
            if self.feed_poll_interval < Duration::from_secs(6) {
                return bad("INGESTOR_FEED_POLL_INTERVAL", "at least 6s for zKillboard's host");
            }
            if self.feed_rate > 10.0 {
                return bad(
                    "INGESTOR_FEED_RATE",
                    "at most 10 requests a second for zKillboard's host",
                );
            }
        }
        let owners = [
            (&self.feed_url, "zkillboard.com"),
            (&self.esi_url, "evetech.net"),
            (&self.static_data_url, "eveonline.com"),
        ];
        if self.contact.is_none() && owners.iter().any(|(url, host)| host_is(url, host)) {
            let expected = "an e-mail address or URL of the operator, which zKillboard and CCP require";
            return Err(SettingError::unseen("INGESTOR_CONTACT", expected));
        }
        let anonymous = raw.flag("INGESTOR_ALLOW_ANONYMOUS")?;
        if !self.grpc_addr.ip().is_loopback() && self.tokens_file.is_none() && !anonymous {
            let expected = "a loopback address, or INGESTOR_TOKENS_FILE, or INGESTOR_ALLOW_ANONYMOUS=true";
            return bad("INGESTOR_GRPC_ADDR", expected);
        }
        match self.engine {
            Engine::Embedded => Ok(()),
            Engine::Nats(_) => engine::check(raw, &self.source, self.retention),
        }
    }

    /// What is sent to zKillboard and CCP as `User-Agent`: name, version and the operator's contact.
    pub fn user_agent(&self) -> String {
        let product = concat!("killfeed/", env!("CARGO_PKG_VERSION"));
        self.contact
            .as_ref()
            .map_or_else(|| product.to_owned(), |contact| format!("{product} ({contact})"))
    }
}

fn url(raw: &RawSettings, variable: &str) -> Result<String, SettingError> {
    raw.parse_required(variable, "an http:// or https:// URL without a query", base_url)
}

fn base_url(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let plain = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.query().is_none();
    plain.then(|| text.trim_end_matches('/').to_owned())
}

fn contact(text: &str) -> Option<String> {
    // It becomes part of a header and of a comment in parentheses there.
    let plain = text
        .bytes()
        .all(|b| (b' '..=b'~').contains(&b) && b != b'(' && b != b')');
    (plain && (text.contains('@') || text.contains("://"))).then(|| text.to_owned())
}

fn feed_start(text: &str) -> Option<FeedStart> {
    match text {
        "latest" => Some(FeedStart::Latest),
        "earliest" => Some(FeedStart::Earliest),
        number => number
            .parse()
            .ok()
            .filter(|n| (1..MAX_SEQUENCE).contains(n))
            .map(FeedStart::Sequence),
    }
}

/// At least one request a day: what asks less often never gets anywhere.
fn rate(text: &str) -> Option<f64> {
    let rate: f64 = text.parse().ok()?;
    (rate.is_finite() && rate >= 1.0 / 86_400.0).then_some(rate)
}

fn rechecks(text: &str) -> Option<Vec<Duration>> {
    let times: Vec<Duration> = text
        .split(',')
        .map(|part| settings::duration(part.trim()))
        .collect::<Option<_>>()?;
    (times.is_sorted_by(|a, b| a < b) && times.first().is_some_and(|first| !first.is_zero())).then_some(times)
}

fn log_format(text: &str) -> Option<LogFormat> {
    match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

fn tls(raw: &RawSettings) -> Result<Option<TlsFiles>, SettingError> {
    let path = |variable| raw.get(variable).map(PathBuf::from);
    match (
        path("INGESTOR_TLS_CERT"),
        path("INGESTOR_TLS_KEY"),
        path("INGESTOR_TLS_CLIENT_CA"),
    ) {
        (Some(cert), Some(key), client_ca) => Ok(Some(TlsFiles { cert, key, client_ca })),
        (None, None, None) => Ok(None),
        (None, ..) => Err(SettingError::unseen(
            "INGESTOR_TLS_CERT",
            "a PEM file, because another INGESTOR_TLS_* setting is set",
        )),
        (_, None, _) => Err(SettingError::unseen(
            "INGESTOR_TLS_KEY",
            "a PEM file, because another INGESTOR_TLS_* setting is set",
        )),
    }
}

#[cfg(test)]
mod tests;
