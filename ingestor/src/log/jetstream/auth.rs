//! Getting in and staying in: TLS, credentials, and what the servers refuse beside all answers.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::{Auth, AuthError, ClientError, ConnectOptions, Event, ServerError};
use killfeed::backoff::Backoff;
use nkeys::{KeyPair, KeyPairType};
use tokio::time::Instant;

use super::{JetStreamOptions, error::JetStreamError};

/// For a connection, and for an answer where nothing else is said.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// The delay before a reconnect: short, because live streams wait with it.
const MAX_RECONNECT_DELAY: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
/// What was refused so long ago explains a question that got no answer.
const SERVER_ERROR_TTL: Duration = Duration::from_secs(10);

const CREDS_FILE: &str = "INGESTOR_NATS_CREDS_FILE";

/// What the servers refused last. Of a question that a user may not ask they say so beside it, and it gets no answer.
#[derive(Debug, Clone, Default)]
pub(super) struct ServerErrors(Arc<Mutex<Option<(Instant, String)>>>);

impl ServerErrors {
    fn note(&self, said: String) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|(_, before)| *before != said) {
            tracing::warn!(said, "NATS rejected an operation");
        }
        *last = Some((Instant::now(), said));
    }

    /// What was refused in the last seconds.
    pub(super) fn recent(&self) -> Option<String> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, said) = last.as_ref()?;
        (at.elapsed() < SERVER_ERROR_TTL).then(|| said.clone())
    }

    /// The same, if it is something that this user may not do.
    pub(super) fn forbidden(&self) -> Option<String> {
        self.recent()
            .filter(|said| said.to_lowercase().contains("permissions violation"))
    }
}

/// Whether these are words for a user who is not let in, rather than for servers that are not there.
pub(super) fn is_refusal(said: &str) -> bool {
    let said = said.to_lowercase();
    said.contains("authorization") || said.contains("authentication")
}

/// How to connect, and to connect again.
pub(super) async fn connect_options(
    options: &JetStreamOptions,
    refusals: &ServerErrors,
) -> Result<ConnectOptions, JetStreamError> {
    let mut connect = match &options.creds_file {
        Some(path) => {
            // Read here as well, so that the setting is named and not just a connection that fails.
            Credentials::read(path).map_err(|reason| bad_file(CREDS_FILE, path, reason))?;
            with_credentials(path.clone(), refusals.clone())
        }
        None => ConnectOptions::new(),
    };
    if let Some(path) = &options.ca {
        let read = tokio::fs::read(path).await;
        let reason = match read {
            Ok(pem) if String::from_utf8_lossy(&pem).contains("BEGIN CERTIFICATE") => None,
            Ok(_) => Some("expected a PEM file with a certificate".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = reason {
            return Err(bad_file("INGESTOR_NATS_CA", path, reason));
        }
        connect = connect.add_root_certificates(path.clone()).require_tls(true);
    }
    let refusals = refusals.clone();
    Ok(connect
        .name("killfeed-ingestor")
        .connection_timeout(REQUEST_TIMEOUT)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .ping_interval(Duration::from_secs(2))
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| {
            let failures = u32::try_from(attempts).unwrap_or(u32::MAX);
            MAX_RECONNECT_DELAY.with_failures(failures).next_delay()
        })
        .event_callback(move |event| {
            on_event(&event, &refusals);
            std::future::ready(())
        }))
}

fn on_event(event: &Event, refusals: &ServerErrors) {
    match event {
        Event::Connected => tracing::info!("connected to NATS"),
        Event::Disconnected => tracing::warn!("NATS connection lost, reconnecting"),
        Event::ServerError(ServerError::AuthorizationViolation) => refusals.note("authorization violation".into()),
        Event::ServerError(ServerError::Other(said)) => refusals.note(said.clone()),
        Event::ClientError(ClientError::Other(said)) if is_refusal(said) => refusals.note(said.clone()),
        other => tracing::debug!(event = %other, "NATS event"),
    }
}

fn bad_file(variable: &'static str, path: &Path, reason: String) -> JetStreamError {
    JetStreamError::File {
        variable,
        path: path.to_owned(),
        reason,
    }
}

/// The file is read at each connection: whoever hands out credentials that expire puts new ones in its place.
fn with_credentials(path: PathBuf, refusals: ServerErrors) -> ConnectOptions {
    ConnectOptions::with_auth_callback(move |nonce| {
        let auth = Credentials::read(&path).and_then(|credentials| credentials.answer(&nonce));
        if let Err(reason) = &auth {
            refusals.note(bad_file(CREDS_FILE, &path, reason.clone()).to_string());
        }
        std::future::ready(auth.map_err(AuthError::new))
    })
}

/// Who this ingestor is to NATS: a user's token, and the key that proves it.
struct Credentials {
    jwt: String,
    key: KeyPair,
}

impl Credentials {
    /// Some hundred bytes: not worth a thread of their own.
    fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
        text.and_then(|text| Self::parse(&text))
            .map_err(|reason| format!("{reason}; expected a NATS credentials file (.creds, as nsc writes it)"))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let jwt = block(text, "USER JWT").ok_or("the file contains no user JWT")?;
        let seed = block(text, "NKEY SEED").ok_or("the file contains no user NKEY seed")?;
        let key = KeyPair::from_seed(seed).map_err(|error| format!("the NKEY seed is malformed: {error}"))?;
        if key.key_pair_type() != KeyPairType::User {
            return Err("the NKEY seed does not belong to a user".into());
        }
        Ok(Self {
            jwt: jwt.to_owned(),
            key,
        })
    }

    /// What a server wants to be told.
    fn answer(&self, nonce: &[u8]) -> Result<Auth, String> {
        let signature = self.key.sign(nonce);
        let mut auth = Auth::new();
        auth.jwt = Some(self.jwt.clone());
        auth.signature = Some(signature.map_err(|error| format!("the NKEY seed cannot sign: {error}"))?);
        Ok(auth)
    }
}

/// The line between `-----BEGIN ... name-----` and its end.
fn block<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let begins = |line: &str| line.starts_with("---") && line.contains("BEGIN") && line.contains(name);
    let mut lines = text.lines().map(str::trim).skip_while(|line| !begins(line)).skip(1);
    lines.next().filter(|line| !line.is_empty() && !line.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creds(jwt: &str, seed: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\r\n{jwt}\r\n------END NATS USER JWT------\r\n\r\nNKEYs are sensitive.\r\n\r\n\
             -----BEGIN USER NKEY SEED-----\r\n{seed}\r\n------END USER NKEY SEED------\r\n"
        )
    }

    #[test]
    fn credentials_are_a_token_and_the_key_that_proves_it() {
        let key = KeyPair::new_user();
        let read = Credentials::parse(&creds("a.b.c", &key.seed().unwrap())).ok().unwrap();
        let auth = read.answer(b"nonce").unwrap();
        assert_eq!(auth.jwt.as_deref(), Some("a.b.c"));
        assert!(key.verify(b"nonce", &auth.signature.unwrap()).is_ok());
    }

    #[test]
    fn what_is_no_file_of_credentials_says_what_it_lacks() {
        let user = KeyPair::new_user().seed().unwrap();
        let account = KeyPair::new_account().seed().unwrap();
        for (text, reason) in [
            (String::new(), "no user JWT"),
            (creds("", &user), "no user JWT"),
            ("-----BEGIN NATS USER JWT-----\nabc".to_owned(), "no user NKEY seed"),
            (creds("a.b.c", "SUNKNOWN"), "is malformed"),
            (creds("a.b.c", &account), "does not belong to a user"),
        ] {
            let error = Credentials::parse(&text).err().unwrap();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_refusal_explains_for_a_while() {
        let refusals = ServerErrors::default();
        on_event(&Event::Connected, &refusals);
        on_event(&Event::ClientError(ClientError::Other("IO error".into())), &refusals);
        assert_eq!((refusals.recent(), refusals.forbidden()), (None, None));
        on_event(&Event::ServerError(ServerError::AuthorizationViolation), &refusals);
        assert!(refusals.recent().is_some_and(|said| is_refusal(&said)));
        assert_eq!(refusals.forbidden(), None);
        let said = r#"Permissions Violation for Publish to "a""#.to_owned();
        on_event(&Event::ServerError(ServerError::Other(said.clone())), &refusals);
        assert_eq!(refusals.forbidden(), Some(said));
    }
}
