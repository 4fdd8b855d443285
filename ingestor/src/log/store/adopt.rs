//! Taking over another log's history: which one may follow which, and the transaction.

use killfeed::cursor::Offset;
use redb::Database;

use super::{LoadedLog, LogIdentity, META, StoreError, load, start};
use crate::log::{
    Lineage,
    format::{self, Origin, UNKNOWN_ID},
};

/// Makes the log a part of that history, or refuses. Returns what it is afterwards.
pub(in crate::log) fn adopt(db: &Database, ancestry: &Lineage) -> Result<LoadedLog, StoreError> {
    let stored = load(db)?;
    let head = stored.status.head.offset;
    may_adopt(&stored.identity, head, ancestry).map_err(StoreError::Rejected)?;
    let tx = start(db)?;
    {
        let mut meta = tx.open_table(META)?;
        meta.insert("log_id", &ancestry.id.0.to_le_bytes()[..])?;
        meta.insert("lineage", &format::encode_lineage(&ancestry.ancestors)[..])?;
        meta.insert("origin", format::encode_origin(Origin::Relay(ancestry.id)).as_bytes())?;
        if head == Offset(0) {
            // What its history lost before we came is lost here too: a cursor from that time has expired.
            let next = ancestry.trimmed.0.saturating_add(1);
            meta.insert("next", &next.to_le_bytes()[..])?;
            meta.insert("trimmed", &ancestry.trimmed.0.to_le_bytes()[..])?;
        }
    }
    tx.commit()?;
    load(db)
}

/// Only what is the beginning of that history may go on as a part of it.
fn may_adopt(own: &LogIdentity, head: Offset, other: &Lineage) -> Result<(), String> {
    if own.id == UNKNOWN_ID || head == Offset(0) || own.id == other.id {
        return Ok(());
    }
    let branch = other.ancestors.iter().rev().find(|(id, _)| *id == own.id);
    match branch {
        Some((_, last)) if head <= *last => Ok(()),
        Some((_, last)) => Err(format!(
            "log {} branched off from log {} after offset {last}, but this log has records up to {head}",
            other.id, own.id
        )),
        None => Err(format!("log {} is not in the lineage of log {}", own.id, other.id)),
    }
}

#[cfg(test)]
mod tests {
    use killfeed::cursor::LogId;

    use super::*;

    #[test]
    fn only_the_beginning_of_a_history_may_follow_it() {
        let other = Lineage {
            id: LogId(9),
            ancestors: vec![(LogId(7), Offset(50)), (LogId(8), Offset(100))],
            trimmed: Offset(20),
        };
        for (own, head, may, why) in [
            (0, 0, true, "it never met anyone"),
            (5, 0, true, "it is empty"),
            (9, 70, true, "the same log"),
            (7, 50, true, "an ancestor, up to where the next id began"),
            (7, 51, false, "an ancestor that went on by itself"),
            (8, 100, true, "the parent"),
            (8, 101, false, "the parent, which went on"),
            (5, 1, false, "another log"),
        ] {
            let own = LogIdentity {
                id: LogId(own),
                lineage: vec![],
                origin: Origin::Own,
            };
            assert_eq!(may_adopt(&own, Offset(head), &other).is_ok(), may, "{why}");
        }
    }
}
