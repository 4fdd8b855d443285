//! Where killmails come from.

use std::{fmt, path::PathBuf};

use killfeed_service::settings::{RawSettings, SettingError};

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where killmails come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// zKillboard.
    R2z2,
    /// Another ingestor.
    Relay(RelaySource),
    /// Files.
    Replay {
        /// One of them, or their folder.
        path: PathBuf,
        /// So many times as fast as it happened; `None` = as fast as it goes.
        speed: Option<f64>,
    },
}

/// Which other ingestor, and how to get in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelaySource {
    /// Its address.
    pub url: String,
    /// Bearer token.
    pub token: Option<Secret>,
    /// PEM file of the CA that signed its certificate.
    pub ca: Option<PathBuf>,
    /// PEM files of our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

const EXPECTED: &str = "r2z2, relay:http://HOST:PORT (or https) or replay:PATH[@SPEED] with a speed above 0";

pub(super) fn source(raw: &RawSettings) -> Result<Source, SettingError> {
    let source = raw.parse_required("INGESTOR_SOURCE", EXPECTED, parse)?;
    let Source::Relay(relay) = source else {
        return Ok(source);
    };
    let path = |variable| raw.get(variable).map(PathBuf::from);
    let identity = match (path("INGESTOR_RELAY_CERT"), path("INGESTOR_RELAY_KEY")) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => {
            let expected = "a PEM file, because INGESTOR_RELAY_CERT is set";
            return Err(SettingError::unseen("INGESTOR_RELAY_KEY", expected));
        }
        (None, Some(_)) => {
            let expected = "a PEM file, because INGESTOR_RELAY_KEY is set";
            return Err(SettingError::unseen("INGESTOR_RELAY_CERT", expected));
        }
    };
    Ok(Source::Relay(RelaySource {
        token: raw.get("INGESTOR_RELAY_TOKEN").map(|token| Secret(token.to_owned())),
        ca: path("INGESTOR_RELAY_CA"),
        identity,
        ..relay
    }))
}

fn parse(text: &str) -> Option<Source> {
    if text == "r2z2" {
        return Some(Source::R2z2);
    }
    if let Some(url) = text.strip_prefix("relay:") {
        return Some(Source::Relay(RelaySource {
            url: super::base_url(url)?,
            token: None,
            ca: None,
            identity: None,
        }));
    }
    let path = text.strip_prefix("replay:")?;
    // A name may hold an @ as well: what stands after the last one is a speed only if it looks like one.
    let (path, speed) = match path.rsplit_once('@') {
        Some((path, speed)) if speed.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.') => {
            let speed: f64 = speed.parse().ok()?;
            (
                path,
                Some(speed).filter(|speed| speed.is_finite() && *speed > 0.0)?.into(),
            )
        }
        _ => (path, None),
    };
    (!path.is_empty()).then(|| Source::Replay {
        path: path.into(),
        speed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_source() {
        let replay = |path: &str, speed| {
            Some(Source::Replay {
                path: path.into(),
                speed,
            })
        };
        assert_eq!(parse("r2z2"), Some(Source::R2z2));
        assert_eq!(parse("replay:data/day.jsonl.gz"), replay("data/day.jsonl.gz", None));
        assert_eq!(parse("replay:day.jsonl@60"), replay("day.jsonl", Some(60.0)));
        assert_eq!(parse("replay:day.jsonl@0.5"), replay("day.jsonl", Some(0.5)));
        assert_eq!(parse("replay:mail@home/day.jsonl"), replay("mail@home/day.jsonl", None));
        match parse("relay:https://other.example:50051/") {
            Some(Source::Relay(relay)) => assert_eq!(relay.url, "https://other.example:50051"),
            other => panic!("{other:?}"),
        }
        for text in [
            "",
            "relay",
            "relay:",
            "relay:other:50051",
            "relay:ftp://other",
            "replay:",
            "replay:@5",
            "replay:x@0",
            "replay:x@-1",
            "replay:x@5x",
            "nats",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        assert!(!format!("{:?}", Secret("hunter2".into())).contains("hunter2"));
    }
}
