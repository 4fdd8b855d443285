//! Makes a token and writes it down for both sides: into the tokens file that the ingestor reads, and alone into a file for the
//! client. For containers that share a volume, so that nobody has to invent a secret.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// The ingestor's file, for `INGESTOR_TOKENS_FILE`.
const TOKENS: &str = "tokens";
/// 256 bits, twice what anybody could ever guess.
const BYTES: usize = 32;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewToken {
    /// The name had no token yet: made.
    Made(PathBuf),
    /// It has one: both files are there, and as they were.
    Known(PathBuf),
}

/// Why no token was made. Never shows one.
#[derive(Debug, thiserror::Error)]
pub enum NewTokenError {
    /// It would not be one word of the tokens file, or no file name.
    #[error("invalid token name {0:?}: expected letters, digits, `-` and `_`, like notifier")]
    Name(String),
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The system gives no random bytes.
    #[error("cannot get random bytes from the system: {0}")]
    Random(String),
}

/// Makes sure that `name` has a token in `folder`. May be ended at any time and called again: what is there already stays.
pub fn new_token(folder: &Path, name: &str) -> Result<NewToken, NewTokenError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(NewTokenError::Name(name.to_owned()));
    }
    let (all, alone) = (folder.join(TOKENS), folder.join(format!("{name}.token")));
    fs::create_dir_all(folder).map_err(at(folder))?;
    let known = match fs::read_to_string(&all) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(at(&all)(error)),
    };
    if let Some(token) = token_of(&known, name) {
        if !alone.exists() {
            replace(&alone, &format!("{token}\n"))?;
        }
        return Ok(NewToken::Known(alone));
    }
    let token = random()?;
    let line_break = if known.is_empty() || known.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    // The ingestor's file first: a client's file without it would be refused for ever, the other way is mended above.
    replace(&all, &format!("{known}{line_break}{name} {token}\n"))?;
    replace(&alone, &format!("{token}\n"))?;
    Ok(NewToken::Made(alone))
}

fn token_of<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()).flatten()
    })
}

fn random() -> Result<String, NewTokenError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| NewTokenError::Random(error.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// As a whole or not at all, and for nobody else to read.
fn replace(path: &Path, text: &str) -> Result<(), NewTokenError> {
    let beside = path.with_extension("new");
    let written = (|| {
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    written.map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> NewTokenError + use<> {
    let path = path.to_owned();
    move |error| NewTokenError::File { path, error }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn each_name_gets_one_token_and_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("run");
        assert!(matches!(new_token(&folder, "notifier").unwrap(), NewToken::Made(_)));
        let token = fs::read_to_string(folder.join("notifier.token")).unwrap();
        assert_eq!(token.trim().len(), 2 * BYTES);
        assert_eq!(
            fs::read_to_string(folder.join(TOKENS)).unwrap(),
            format!("notifier {token}")
        );
        assert!(matches!(new_token(&folder, "notifier").unwrap(), NewToken::Known(_)));
        assert!(matches!(new_token(&folder, "relay").unwrap(), NewToken::Made(_)));
        assert_eq!(fs::read_to_string(folder.join("notifier.token")).unwrap(), token);
        let all = fs::read_to_string(folder.join(TOKENS)).unwrap();
        assert_eq!(all.lines().count(), 2);
        assert_ne!(token_of(&all, "relay"), token_of(&all, "notifier"));
        let mode = fs::metadata(folder.join(TOKENS)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_end_half_way_is_mended_by_the_next_call() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(TOKENS), "# ours\nnotifier abc").unwrap();
        assert!(matches!(new_token(dir.path(), "notifier").unwrap(), NewToken::Known(_)));
        assert_eq!(fs::read_to_string(dir.path().join("notifier.token")).unwrap(), "abc\n");
        new_token(dir.path(), "relay").unwrap();
        let all = fs::read_to_string(dir.path().join(TOKENS)).unwrap();
        assert!(all.starts_with("# ours\nnotifier abc\nrelay "), "{all}");
    }

    #[test]
    fn a_name_that_is_no_word_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", "two words", "../up", "#"] {
            let error = new_token(dir.path(), name).unwrap_err().to_string();
            assert!(error.contains("expected letters"), "{error}");
        }
    }
}
