//! ESI bodies from archives, made into documents like the feed's: with id and hash, without what zKillboard adds.

use bytes::Bytes;
use serde::Deserialize;
use sha1::{Digest as _, Sha1};

use super::Millis;

/// From 1601, where Windows begins to count, to 1970, in units of 100 ns.
const FILETIME_EPOCH: i64 = 116_444_736_000_000_000;

/// What of a body tells which killmail it is, and when it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct About {
    pub(super) id: u64,
    pub(super) kill_ms: Millis,
    pub(super) hash: String,
}

#[derive(Deserialize)]
struct Body {
    killmail_id: u64,
    killmail_time: String,
    /// EVE Ref's archives say it; zKillboard's and ESI's own bodies do not.
    #[serde(default)]
    killmail_hash: Option<String>,
    victim: Victim,
    #[serde(default)]
    attackers: Vec<Attacker>,
}

#[derive(Deserialize)]
struct Victim {
    character_id: Option<u64>,
    ship_type_id: u64,
}

#[derive(Deserialize)]
struct Attacker {
    character_id: Option<u64>,
    #[serde(default)]
    final_blow: bool,
}

/// Reads which killmail a body is of. `None`: it is no killmail.
pub(super) fn about(body: &[u8]) -> Option<About> {
    let body: Body = serde_json::from_slice(body).ok()?;
    let kill_ms = millis(&body.killmail_time)?;
    let given = body.killmail_hash.as_deref().filter(|hash| is_hash(hash));
    let hash = given.map_or_else(|| computed(&body, kill_ms), str::to_owned);
    Some(About {
        id: body.killmail_id,
        kill_ms,
        hash,
    })
}

/// A document without zkb. `body`: JSON; `None` = it has to be had from ESI.
pub(super) fn document(id: u64, hash: &str, body: Option<&[u8]>) -> Bytes {
    let mut text = format!(r#"{{"killmail_id":{id},"hash":"{hash}","esi":"#).into_bytes();
    text.extend_from_slice(body.unwrap_or(b"null"));
    text.push(b'}');
    text.into()
}

/// Hexadecimal digits, so that it may stand in a text as it is.
pub(super) fn is_hash(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// CCP's hash of a killmail: SHA-1 of victim, final blow, ship and time.
fn computed(body: &Body, kill_ms: Millis) -> String {
    let pilot = |id: Option<u64>| id.filter(|id| *id != 0).map_or("None".to_owned(), |id| id.to_string());
    let killer = body.attackers.iter().find(|attacker| attacker.final_blow);
    let filetime = kill_ms / 1_000 * 10_000_000 + FILETIME_EPOCH;
    let text = format!(
        "{}{}{}{filetime}",
        pilot(body.victim.character_id),
        pilot(killer.and_then(|killer| killer.character_id)),
        body.victim.ship_type_id
    );
    let digest = Sha1::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn millis(time: &str) -> Option<Millis> {
    let time: prost_types::Timestamp = time.parse().ok()?;
    time.seconds.checked_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of the test data whose hashes are CCP's own; the others' were made up with their zkb.
    const REAL: [u64; 9] = [
        106_140_056,
        115_787_551,
        130_734_446,
        131_126_432,
        131_501_165,
        132_249_213,
        132_461_133,
        132_462_203,
        132_467_594,
    ];

    #[test]
    fn the_hash_is_ccps() {
        use std::io::BufRead as _;
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../shared/data/killmails/r2z2-open.jsonl.gz"
        );
        let Ok(file) = std::fs::File::open(path) else {
            eprintln!("note: {path} is not there: the computed hash is not held against real ones");
            return;
        };
        let mut checked = 0;
        for line in std::io::BufReader::new(flate2::read::GzDecoder::new(file)).lines() {
            let document: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            if REAL.contains(&document["killmail_id"].as_u64().unwrap()) {
                let about = about(document["esi"].to_string().as_bytes()).unwrap();
                assert_eq!(about.hash, document["hash"].as_str().unwrap());
                checked += 1;
            }
        }
        assert_eq!(checked, REAL.len());
    }

    #[test]
    fn a_hash_that_is_given_counts() {
        let hash = "0e9fc0ab87da00b69cde9818bdfe675ee521107c";
        let body = format!(
            r#"{{"killmail_id":71586645,"killmail_hash":"{hash}","killmail_time":"2018-07-01T00:00:00Z","victim":{{"ship_type_id":670}}}}"#
        );
        assert_eq!(about(body.as_bytes()).unwrap().hash, hash);
        let document = document(71_586_645, hash, Some(body.as_bytes()));
        let read: serde_json::Value = serde_json::from_slice(&document).unwrap();
        assert_eq!(read["esi"]["killmail_id"], 71_586_645);
        let bare: serde_json::Value = serde_json::from_slice(&super::document(7, hash, None)).unwrap();
        assert!(bare["esi"].is_null());
        for text in ["{}", "[]", "null", "", r#"{"killmail_id":"x"}"#] {
            assert_eq!(about_of(text), None);
        }
    }

    fn about_of(text: &str) -> Option<About> {
        about(text.as_bytes())
    }
}
