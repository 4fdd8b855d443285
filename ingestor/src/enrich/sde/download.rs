//! Fetching a new archive: which build is the latest, and the archive itself, into a file beside those in use.

use std::{sync::Arc, time::Duration};

use reqwest::{StatusCode, header};
use serde::Deserialize;
use tokio::{
    fs::File,
    io::AsyncWriteExt as _,
    task,
    time::{self, Instant},
};

use super::{
    ArchiveError, Folder, StaticData,
    folder::{file_name, is_build},
};

/// `latest.jsonl` is one line.
const LATEST_TIMEOUT: Duration = Duration::from_secs(15);
const LATEST_MAX_BYTES: usize = 64 * 1024;
/// The archive has about 100 MB: on a slow line that takes minutes, but not for ever.
const ARCHIVE_TIMEOUT: Duration = Duration::from_secs(20 * 60);
const ARCHIVE_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const ARCHIVE_MAX_BYTES: u64 = 512 * 1024 * 1024;
/// An archive that was no good is fetched again under the same build number after so long, in case it was mended.
const CORRUPT_RETRY_DELAY: Duration = Duration::from_secs(3_600);

/// Fetches builds that are not in use yet.
#[derive(Debug)]
pub struct Downloader {
    http: reqwest::Client,
    base: String,
    folder: Folder,
    /// ETag of the `latest.jsonl` that named the build in use.
    etag: Option<header::HeaderValue>,
    /// The build whose archive came whole and was no good, and until when it is left alone: 100 MB are not fetched over and over.
    broken: Option<(String, Instant)>,
}

/// What came of looking for a new build.
#[derive(Debug)]
pub enum Refreshed {
    /// The build in use is the latest.
    Unchanged,
    /// A new build, on disk already.
    New(Box<StaticData>),
}

/// Why there is no new build. Whatever is in use stays in use.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// Away, or the answer was cut.
    #[error("cannot fetch static data from {url}: {error}")]
    Http {
        /// What was asked for.
        url: String,
        /// What happened.
        error: reqwest::Error,
    },
    /// Answered, but not with it.
    #[error("cannot fetch static data from {url}: the server responded with {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// Too slow or too large.
    #[error("cannot fetch static data from {url}: {what}")]
    Bound {
        /// What was asked for.
        url: String,
        /// Which bound.
        what: &'static str,
    },
    /// `latest.jsonl` does not say which build.
    #[error("{url} does not name a build: expected a line with \"_key\":\"sde\" and a \"buildNumber\"")]
    NoBuild {
        /// What was asked for.
        url: String,
    },
    /// It can't be written to disk.
    #[error("cannot write static data to the data folder: {0}")]
    Disk(#[from] std::io::Error),
    /// It is no good.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// It was no good a while ago, and is not fetched again yet.
    #[error(
        "the latest static data is still build {build}, whose archive was unusable; the next attempt is an hour after the last one"
    )]
    StillBroken {
        /// Its build.
        build: String,
    },
    /// The process is going down.
    #[error("the static data reader was stopped")]
    Stopped,
}

impl Downloader {
    /// `base`: what `/tranquility/...` is under.
    pub fn new(http: reqwest::Client, base: &str, folder: Folder) -> Self {
        Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            folder,
            etag: None,
            broken: None,
        }
    }

    /// Looks for a build other than the one in use and takes it in. Dropped midway, it leaves a part file behind, which the
    /// next start removes.
    pub async fn refresh(&mut self, in_use: Option<Arc<StaticData>>) -> Result<Refreshed, RefreshError> {
        let url = format!("{}/tranquility/latest.jsonl", self.base);
        let mut request = self.http.get(&url).timeout(LATEST_TIMEOUT);
        if let (Some(etag), Some(_)) = (&self.etag, &in_use) {
            request = request.header(header::IF_NONE_MATCH, etag.clone());
        }
        let response = send(&url, request).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(Refreshed::Unchanged);
        }
        let etag = response.headers().get(header::ETAG).cloned();
        let build = latest_build(&body(&url, response).await?).ok_or(RefreshError::NoBuild { url })?;
        if in_use.as_ref().is_some_and(|data| data.build() == build) {
            self.etag = etag;
            return Ok(Refreshed::Unchanged);
        }
        if let Some((broken, until)) = &self.broken
            && *broken == build
            && Instant::now() < *until
        {
            return Err(RefreshError::StillBroken { build });
        }
        let downloaded = time::timeout(ARCHIVE_TIMEOUT, self.download(&build)).await;
        let downloaded = downloaded.unwrap_or_else(|_| {
            let url = self.archive_url(&build);
            let what = "the download takes longer than 20 minutes";
            Err(RefreshError::Bound { url, what })
        });
        let folder = self.folder.clone();
        if let Err(error) = downloaded {
            blocking(move || folder.discard(&build)).await?;
            return Err(error);
        }
        let number = build.clone();
        let data = match blocking(move || folder.accept(&build, in_use.as_deref())).await? {
            Ok(data) => data,
            Err(error) => {
                // A full disk says nothing about the archive.
                if !matches!(error, ArchiveError::Io(_)) {
                    self.broken = Some((number, Instant::now() + CORRUPT_RETRY_DELAY));
                }
                return Err(error.into());
            }
        };
        self.broken = None;
        self.etag = etag;
        Ok(Refreshed::New(Box::new(data)))
    }

    async fn download(&self, build: &str) -> Result<(), RefreshError> {
        let url = self.archive_url(build);
        let mut response = send(&url, self.http.get(&url).timeout(ARCHIVE_TIMEOUT)).await?;
        let mut file = File::create(self.folder.part(build)).await?;
        let mut written = 0;
        loop {
            let chunk = time::timeout(ARCHIVE_IDLE_TIMEOUT, response.chunk()).await;
            let chunk = chunk.map_err(|_| {
                let what = "no data arrived for 30 s";
                RefreshError::Bound { url: url.clone(), what }
            })?;
            let chunk = chunk.map_err(|error| http(&url, error))?;
            let Some(chunk) = chunk else { break };
            written += chunk.len() as u64;
            if written > ARCHIVE_MAX_BYTES {
                let what = "the file is larger than 512 MiB";
                return Err(RefreshError::Bound { url, what });
            }
            file.write_all(&chunk).await?;
        }
        file.flush().await?;
        Ok(())
    }

    fn archive_url(&self, build: &str) -> String {
        format!("{}/tranquility/{}", self.base, file_name(build))
    }
}

async fn send(url: &str, request: reqwest::RequestBuilder) -> Result<reqwest::Response, RefreshError> {
    let response = request.send().await.map_err(|error| http(url, error))?;
    let status = response.status();
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    let url = url.to_owned();
    Err(RefreshError::Status { url, status })
}

async fn body(url: &str, mut response: reqwest::Response) -> Result<Vec<u8>, RefreshError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| http(url, error))? {
        body.extend_from_slice(&chunk);
        if body.len() > LATEST_MAX_BYTES {
            let what = "the file is larger than 64 KiB";
            return Err(RefreshError::Bound {
                url: url.to_owned(),
                what,
            });
        }
    }
    Ok(body)
}

fn http(url: &str, error: reqwest::Error) -> RefreshError {
    let url = url.to_owned();
    // The URL is named once, by the message around it.
    let error = error.without_url();
    RefreshError::Http { url, error }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, RefreshError> {
    task::spawn_blocking(work).await.map_err(|_| RefreshError::Stopped)
}

/// The build number in `latest.jsonl`: a number there, text with us.
fn latest_build(text: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Record {
        #[serde(rename = "_key")]
        key: serde_json::Value,
        #[serde(rename = "buildNumber")]
        build: serde_json::Value,
    }
    let records = text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok());
    let mut builds = records
        .filter(|record: &Record| record.key == "sde")
        .map(|record| match record.build {
            serde_json::Value::String(build) => build,
            build => build.to_string(),
        });
    builds.next().filter(|build| is_build(build))
}

#[cfg(test)]
mod tests {
    use super::latest_build;

    #[test]
    fn the_build_is_a_number_in_the_record_of_the_sde() {
        let build = |text: &str| latest_build(text.as_bytes());
        let real = r#"{"_key": "sde", "buildNumber": 3475087, "releaseDate": "2026-08-20T00:00:00Z"}"#;
        assert_eq!(build(real).as_deref(), Some("3475087"));
        assert_eq!(
            build("{\"_key\":1}\n{\"_key\":\"sde\",\"buildNumber\":\"7\"}\n").as_deref(),
            Some("7")
        );
        for bad in [
            "",
            "<html>",
            r#"{"_key":"sde"}"#,
            r#"{"_key":"sde","buildNumber":"../x"}"#,
            r#"{"_key":"sde","buildNumber":-1}"#,
        ] {
            assert_eq!(build(bad), None, "{bad}");
        }
    }
}
