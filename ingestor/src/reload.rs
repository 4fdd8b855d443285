//! The files that say who may call, read at the start and again when the process is told to (SIGHUP).

use std::path::{Path, PathBuf};

use crate::{
    grpc::{Tls, Tokens},
    settings::{self, Settings},
};

/// Tokens and certificates, with where they came from.
#[derive(Debug)]
pub struct Reload {
    tokens: Option<(PathBuf, Tokens)>,
    tls: Option<(settings::TlsFiles, Tls)>,
}

impl Reload {
    /// Reads the files that the settings name, or says which of them cannot be used.
    pub(crate) fn read(settings: &Settings) -> Result<Self, String> {
        let tokens = settings.tokens_file.clone().map(|path| {
            let tokens = read_tokens(&path)?;
            Ok::<_, String>((path, tokens))
        });
        let tls = settings.tls.clone().map(|paths| {
            let tls = read_tls(&paths)?;
            Ok::<_, String>((paths, tls))
        });
        Ok(Self {
            tokens: tokens.transpose()?,
            tls: tls.transpose()?,
        })
    }

    /// Reads them again. A file that cannot be used changes nothing of what was read from it before, and is named in the log.
    pub fn again(&self) {
        if self.tokens.is_none() && self.tls.is_none() {
            tracing::info!("nothing to reload: tokens and certificates are not set");
        }
        if let Some((path, tokens)) = &self.tokens {
            match read_tokens(path) {
                Ok(read) => {
                    tokens.replace(&read);
                    tracing::info!(?tokens, "tokens reloaded");
                }
                Err(error) => tracing::error!(%error, "reloading tokens failed, keeping the old ones"),
            }
        }
        if let Some((paths, tls)) = &self.tls {
            match read_tls(paths) {
                Ok(read) => {
                    tls.replace(&read);
                    tracing::info!(certificate = %paths.cert.display(), "certificates reloaded");
                }
                Err(error) => tracing::error!(%error, "reloading certificates failed, keeping the old ones"),
            }
        }
    }

    pub(crate) fn tokens(&self) -> Option<Tokens> {
        self.tokens.as_ref().map(|(_, tokens)| tokens.clone())
    }

    pub(crate) fn tls(&self) -> Option<Tls> {
        self.tls.as_ref().map(|(_, tls)| tls.clone())
    }
}

fn read_tokens(path: &Path) -> Result<Tokens, String> {
    Tokens::read(path).map_err(|error| format!("INGESTOR_TOKENS_FILE={:?}: {error}", path.display().to_string()))
}

fn read_tls(paths: &settings::TlsFiles) -> Result<Tls, String> {
    let certificate = read_pem("INGESTOR_TLS_CERT", &paths.cert)?;
    let key = read_pem("INGESTOR_TLS_KEY", &paths.key)?;
    let client_ca = paths.client_ca.as_deref();
    let client_ca = client_ca
        .map(|path| read_pem("INGESTOR_TLS_CLIENT_CA", path))
        .transpose()?;
    Tls::new(&certificate, &key, client_ca.as_deref())
        .map_err(|error| format!("INGESTOR_TLS_CERT, INGESTOR_TLS_KEY or INGESTOR_TLS_CLIENT_CA: {error}"))
}

/// A file that a setting names.
pub(crate) fn read_pem(variable: &str, path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error| {
        format!(
            "{variable}={:?}: expected a readable PEM file: {error}",
            path.display().to_string()
        )
    };
    std::fs::read(path).map_err(unreadable)
}
