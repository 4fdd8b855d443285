//! The archives on disk: `<data dir>/static/eve-online-static-data-<build>-jsonl.zip`, as CCP published them.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{ArchiveError, StaticData, plausible_after, read_archive};

/// Archives kept: the one in use and the one before.
const MAX_ARCHIVES: usize = 2;

/// The folder that archives are cached in. Everything here blocks and belongs off the runtime.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Opens the folder, makes it if need be, and removes what an interrupted download left.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join("static");
        fs::create_dir_all(&path)?;
        for entry in fs::read_dir(&path)? {
            let entry = entry?.path();
            if entry.extension().is_some_and(|extension| extension == "part") {
                fs::remove_file(entry)?;
            }
        }
        Ok(Self { path })
    }

    /// The newest archive that can be read. Broken ones are set aside under another name, for a person to look at.
    pub fn load(&self) -> Option<StaticData> {
        for (path, build) in self.archives() {
            match read_archive(&path, &build) {
                Ok(data) => return Some(data),
                Err(ArchiveError::Io(error)) => {
                    tracing::warn!(path = %path.display(), %error, "reading a cached static data archive failed");
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "cached static data archive unusable, renaming it");
                    let aside = path.with_extension("zip.broken");
                    if let Err(error) = fs::rename(&path, aside) {
                        tracing::warn!(path = %path.display(), %error, "renaming the corrupt archive failed");
                    }
                }
            }
        }
        None
    }

    /// Where a download goes until it has proven to be whole.
    pub fn part(&self, build: &str) -> PathBuf {
        self.path.join(format!("{build}.part"))
    }

    /// Takes a finished download in: reads it, holds it against what is in use, and only then gives it its name.
    /// If it is no good, it is removed and nothing else changes.
    pub fn accept(&self, build: &str, in_use: Option<&StaticData>) -> Result<StaticData, ArchiveError> {
        let part = self.part(build);
        let accepted = read_archive(&part, build).and_then(|data| {
            if let Some(in_use) = in_use {
                plausible_after(in_use, &data)?;
            }
            File::open(&part)?.sync_all()?;
            fs::rename(&part, self.path.join(file_name(build)))?;
            File::open(&self.path)?.sync_all()?;
            Ok(data)
        });
        if accepted.is_err() {
            self.discard(build);
        } else {
            self.prune();
        }
        accepted
    }

    /// Removes an unfinished download.
    pub fn discard(&self, build: &str) {
        let part = self.part(build);
        if let Err(error) = fs::remove_file(&part)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %part.display(), %error, "removing an unfinished download failed");
        }
    }

    fn prune(&self) {
        for (path, _) in self.archives().into_iter().skip(MAX_ARCHIVES) {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "removing an old static data archive failed");
            }
        }
    }

    /// Path and build of every archive, newest first: by when it was taken in, not by number, since CCP may go back.
    fn archives(&self) -> Vec<(PathBuf, String)> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "reading the static data folder failed");
                return Vec::new();
            }
        };
        let archive = |entry: io::Result<fs::DirEntry>| {
            let entry = entry.ok()?;
            let build = build_of(entry.file_name().to_str()?)?.to_owned();
            let taken_in = entry
                .metadata()
                .and_then(|data| data.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH);
            Some((taken_in, build.len(), build, entry.path()))
        };
        let mut archives: Vec<_> = entries.filter_map(archive).collect();
        archives.sort();
        archives.reverse();
        archives.into_iter().map(|(_, _, build, path)| (path, build)).collect()
    }
}

/// CCP's name of the archive of a build.
pub(super) fn file_name(build: &str) -> String {
    format!("eve-online-static-data-{build}-jsonl.zip")
}

fn build_of(file_name: &str) -> Option<&str> {
    let build = file_name
        .strip_prefix("eve-online-static-data-")?
        .strip_suffix("-jsonl.zip")?;
    is_build(build).then_some(build)
}

/// A build is a number; it becomes part of paths and URLs, so nothing else passes.
pub(super) fn is_build(build: &str) -> bool {
    !build.is_empty() && build.len() <= 20 && build.bytes().all(|byte| byte.is_ascii_digit())
}
