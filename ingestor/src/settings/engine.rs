//! Which engine keeps the log.

use std::{path::PathBuf, time::Duration};

use killfeed_service::settings::{RawSettings, SettingError};

use super::Source;

/// What keeps the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// redb in the data folder.
    Embedded,
    /// NATS JetStream, shared by several ingestors.
    Nats(NatsSettings),
}

/// Where NATS is, and how to get in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsSettings {
    /// `nats://host:port` or `tls://host:port`, tried in turn.
    pub servers: Vec<String>,
    /// The file of credentials (`.creds`) that NATS hands out.
    pub creds_file: Option<PathBuf>,
    /// PEM file of the CA that signed the servers' certificates; asks for TLS.
    pub ca: Option<PathBuf>,
    /// The stream's name, and the first word of its subjects and buckets.
    pub stream: String,
    /// Servers that hold a copy of everything.
    pub replicas: usize,
}

const EXPECTED: &str =
    "embedded, or nats://HOST:4222,HOST:4222,... (tls:// requires TLS; credentials go into INGESTOR_NATS_CREDS_FILE)";

/// What is published a second time within this is noticed by the engine itself, should a crash come between a record and its mark.
const MIN_RETENTION: Duration = Duration::from_secs(3_600);

pub(super) fn engine(raw: &RawSettings) -> Result<Engine, SettingError> {
    let servers = raw.parse_required("INGESTOR_LOG", EXPECTED, parse)?;
    let Some(servers) = servers else {
        return Ok(Engine::Embedded);
    };
    let path = |variable| raw.get(variable).map(PathBuf::from);
    Ok(Engine::Nats(NatsSettings {
        servers,
        creds_file: path("INGESTOR_NATS_CREDS_FILE"),
        ca: path("INGESTOR_NATS_CA"),
        stream: raw.parse_required(
            "INGESTOR_NATS_STREAM",
            "a name of at most 32 letters, digits, - and _",
            stream_name,
        )?,
        replicas: raw.parse_required("INGESTOR_NATS_REPLICAS", "1, 3 or 5", |text| {
            text.parse().ok().filter(|replicas| [1, 3, 5].contains(replicas))
        })?,
    }))
}

/// What goes together with a shared log, and what does not.
pub(super) fn check(raw: &RawSettings, source: &Source, retention: Duration) -> Result<(), SettingError> {
    let bad =
        |variable: &str, expected: &str| SettingError::new(variable, raw.get(variable).unwrap_or_default(), expected);
    if matches!(source, Source::Relay(_)) {
        let expected = "r2z2 or replay:... with INGESTOR_LOG=nats://..., because JetStream assigns its own offsets and cannot keep another ingestor's; ingestors that share a log need no relay";
        return Err(bad("INGESTOR_SOURCE", expected));
    }
    if retention < MIN_RETENTION {
        let expected =
            "at least 1h with INGESTOR_LOG=nats://..., because JetStream detects duplicate records for that long";
        return Err(bad("INGESTOR_RETENTION", expected));
    }
    Ok(())
}

/// `Some(None)` = embedded.
fn parse(text: &str) -> Option<Option<Vec<String>>> {
    if text == "embedded" {
        return Some(None);
    }
    let (scheme, hosts) = text.split_once("://")?;
    if !matches!(scheme, "nats" | "tls") {
        return None;
    }
    let servers = hosts.split(',').map(|host| {
        let host = host.trim();
        // Each may repeat the scheme.
        let host = host
            .strip_prefix(scheme)
            .and_then(|rest| rest.strip_prefix("://"))
            .unwrap_or(host);
        let uri: http::Uri = format!("{scheme}://{host}").parse().ok()?;
        let name = uri.host().filter(|name| !name.is_empty())?;
        // A port that is no number is none to the parser.
        let port = match host.strip_prefix(name)? {
            "" => 4222,
            rest => rest.strip_prefix(':')?.parse::<u16>().ok()?,
        };
        let plain = !host.contains(['@', '/', '?', ' ']);
        plain.then(|| format!("{scheme}://{name}:{port}"))
    });
    servers.collect::<Option<Vec<_>>>().map(Some)
}

fn stream_name(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (text.len() <= 32 && text.chars().all(plain)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_an_engine() {
        assert_eq!(parse("embedded"), Some(None));
        for (text, expected) in [
            ("nats://a", vec!["nats://a:4222"]),
            ("nats://a:1,b:2, c", vec!["nats://a:1", "nats://b:2", "nats://c:4222"]),
            ("nats://a:1,nats://b:2", vec!["nats://a:1", "nats://b:2"]),
            ("tls://nats.example.com", vec!["tls://nats.example.com:4222"]),
            ("nats://[::1]:4222", vec!["nats://[::1]:4222"]),
        ] {
            let expected = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(parse(text), Some(Some(expected)), "{text}");
        }
        for text in [
            "",
            "redb",
            "nats",
            "nats:a",
            "nats://",
            "nats://a,",
            "nats://a:port",
            "nats://user:secret@a",
            "http://a:4222",
            "nats://a/x",
            "nats://a,tls://b",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_stream_name_is_a_word() {
        assert_eq!(stream_name("killfeed-2_b"), Some("killfeed-2_b".into()));
        for text in ["a.b", "a b", "*", ">", "é", "123456789012345678901234567890123"] {
            assert_eq!(stream_name(text), None, "{text}");
        }
    }
}
