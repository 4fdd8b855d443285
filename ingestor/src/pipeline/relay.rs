//! Records of another ingestor's log on their way into ours: nothing is parsed, enriched or told apart.

use bytes::Bytes;
use killfeed::{
    id::{ContentHash, KillmailId},
    v1::{Attacker, Item as CarriedItem, Killmail, Location, Victim},
};
use prost::Message as _;

use super::{Decision, LogRetry, Stages, trace};
use crate::{
    feed::{Batch, FeedItem, RelayedBody, RelayedRecord, UpstreamLineage},
    log::{AppendBatch, DedupEntry, Head, Lineage, NewBody, NewEvent, Record},
    metrics,
};

/// Hash of a killmail whose document was never seen here, of rules older than any: the first document rewrites the mark.
const OF_A_RELAY: ContentHash = ContentHash {
    version: 0,
    digest: [0; 16],
};

/// Whether it came through a relay and its document was never seen since.
pub(super) fn is_relayed(mark: Option<DedupEntry>) -> bool {
    mark.is_some_and(|mark| mark.hash == Some(OF_A_RELAY))
}

/// Whether a batch is a relay's.
pub(super) fn of_relay(batch: &Batch) -> bool {
    batch
        .items
        .iter()
        .any(|item| matches!(item, FeedItem::History(_) | FeedItem::Relayed(_)))
}

impl Stages {
    /// Stores a relay's batch as it is.
    pub(super) async fn relay(&mut self, batch: Batch, feed_state: Bytes) {
        let mut append = AppendBatch {
            feed_state: Some(feed_state),
            ..AppendBatch::default()
        };
        let mut uploads = Vec::new();
        let mut killmails = Vec::new();
        let begun = self.traces.now();
        for item in batch.items {
            match item {
                FeedItem::History(history) => self.head = self.adopt(history).await,
                FeedItem::Relayed(record) => {
                    if let RelayedBody::Killmail {
                        revision: 0,
                        published: Some(seconds),
                        ..
                    } = record.body
                    {
                        uploads.push(seconds.saturating_mul(1_000));
                    }
                    if let RelayedBody::Killmail { id, revision, .. } = record.body {
                        killmails.push((id.0, revision));
                    }
                    append.events.push(event(record));
                }
                // A relay hands out nothing else.
                FeedItem::Document { .. } | FeedItem::Gap(_) => {}
            }
        }
        metrics::logged(&append.events, &uploads, self.clock.now().wall_ms());
        self.head = self.append(append).await;
        trace::record_relayed(&self.traces, killmails, begun);
    }

    async fn adopt(&self, history: UpstreamLineage) -> Head {
        let ancestry = Lineage {
            id: history.id,
            ancestors: history.ancestors,
            trimmed: history.trimmed,
        };
        let mut wait = LogRetry::new();
        loop {
            match self.log.adopt(ancestry.clone()).await {
                Ok(head) => {
                    wait.over(self.health.as_ref());
                    return head;
                }
                Err(error) => wait.after(&error, self.health.as_ref()).await,
            }
        }
    }

    /// What to do with a document of a killmail that came through a relay: held against the record, which is all that is known.
    pub(super) async fn beside_record(&self, killmail: &Killmail, revision: u32) -> Decision {
        let id = KillmailId(killmail.killmail_id);
        let mut wait = LogRetry::new();
        let record = loop {
            match self.log.newest_record(id).await {
                Ok(record) => {
                    wait.over(self.health.as_ref());
                    break record;
                }
                Err(error) => wait.after(&error, self.health.as_ref()).await,
            }
        };
        compare(killmail, record.as_deref().and_then(Record::killmail), revision)
    }
}

/// `newest_record`: the killmail's newest record, while the log holds it.
fn compare(killmail: &Killmail, said: Option<&Killmail>, revision: u32) -> Decision {
    match said {
        // What the log does not hold any more is not known to be otherwise.
        None => Decision::UpdateEntry(revision),
        // An older document: what it said was replaced by the record's.
        Some(said) if killmail.feed_sequence < said.feed_sequence => Decision::Drop,
        Some(said) if content(said) == content(killmail) => Decision::UpdateEntry(revision),
        Some(_) => Decision::Append(revision + 1),
    }
}

fn event(record: RelayedRecord) -> NewEvent {
    let body = match record.body {
        RelayedBody::Gap(bytes) => NewBody::Gap(bytes),
        RelayedBody::Killmail {
            id,
            revision,
            judged,
            bytes,
            ..
        } => NewBody::Killmail {
            id,
            revision,
            hash: judged.then_some(OF_A_RELAY),
            bytes,
        },
    };
    NewEvent {
        offset: Some(record.offset),
        ingested_ms: record.ingested_ms,
        body,
    }
}

/// What of a killmail its document said, without what an ingestor adds.
fn content(killmail: &Killmail) -> Vec<u8> {
    let location = killmail.location.as_ref().map(|location| Location {
        system_id: location.system_id,
        celestial_id: location.celestial_id,
        position: location.position,
        ..Default::default()
    });
    let victim = killmail.victim.as_ref().map(|victim| Victim {
        ship_group_id: 0,
        ship_category_id: 0,
        items: items(&victim.items),
        ..victim.clone()
    });
    let attackers = killmail.attackers.iter().map(|attacker| Attacker {
        ship_group_id: 0,
        ship_category_id: 0,
        weapon_group_id: 0,
        ..*attacker
    });
    let plain = Killmail {
        killmail_id: killmail.killmail_id,
        hash: killmail.hash.clone(),
        kill_time: killmail.kill_time,
        location,
        victim,
        attackers: attackers.collect(),
        value: killmail.value,
        npc: killmail.npc,
        solo: killmail.solo,
        awox: killmail.awox,
        points: killmail.points,
        labels: killmail.labels.clone(),
        war_id: killmail.war_id,
        ..Default::default()
    };
    plain.encode_to_vec()
}

fn items(carried: &[CarriedItem]) -> Vec<CarriedItem> {
    let plain = |item: &CarriedItem| CarriedItem {
        group_id: 0,
        items: items(&item.items),
        ..item.clone()
    };
    carried.iter().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use killfeed::{
        cursor::Offset,
        v1::{Entity, Valuation},
    };

    use super::*;
    use killfeed_service::clock;

    #[test]
    fn a_relayed_killmail_keeps_its_place_and_its_mark_waits_for_a_document() {
        let record = |judged| RelayedRecord {
            offset: Offset(70),
            ingested_ms: 5,
            body: RelayedBody::Killmail {
                id: KillmailId(7),
                revision: 3,
                judged,
                published: None,
                bytes: Bytes::from_static(b"as it came"),
            },
        };
        let expected = |hash| NewEvent {
            offset: Some(Offset(70)),
            ingested_ms: 5,
            body: NewBody::Killmail {
                id: KillmailId(7),
                revision: 3,
                hash,
                bytes: Bytes::from_static(b"as it came"),
            },
        };
        assert_eq!(event(record(true)), expected(Some(OF_A_RELAY)));
        // From an archive: the first full document is news, as upstream.
        assert_eq!(event(record(false)), expected(None));
        let mark = |hash| Some(DedupEntry { revision: 3, hash });
        assert!(is_relayed(mark(Some(OF_A_RELAY))));
        assert!(!is_relayed(mark(None)) && !is_relayed(None));
    }

    #[test]
    fn content_is_what_the_document_said() {
        let document = Killmail {
            killmail_id: 7,
            labels: vec!["pvp".into()],
            value: Some(Valuation {
                total: Some(1.0),
                ..Default::default()
            }),
            victim: Some(Victim {
                ship_type_id: 587,
                items: vec![CarriedItem {
                    type_id: 34,
                    items: vec![CarriedItem {
                        type_id: 35,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            }),
            location: Some(Location {
                system_id: 30_002_086,
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut enriched = document.clone();
        enriched.revision = 2;
        enriched.feed_sequence = 9;
        enriched.ingested_time = Some(clock::timestamp(1));
        enriched.published_time = Some(clock::timestamp(1));
        enriched.entities = vec![Entity::default()];
        let victim = enriched.victim.as_mut().unwrap();
        victim.ship_group_id = 25;
        victim.items[0].group_id = 18;
        victim.items[0].items[0].group_id = 18;
        enriched.location.as_mut().unwrap().system_name = "Turnur".into();
        assert_eq!(content(&enriched), content(&document));
        let mut ganked = document.clone();
        ganked.labels.push("ganked".into());
        assert_ne!(content(&ganked), content(&document));
        let numbered = |killmail: &Killmail, feed_sequence| Killmail {
            feed_sequence,
            ..killmail.clone()
        };
        for (seen, said, expected, why) in [
            (
                numbered(&document, 9),
                None,
                Decision::UpdateEntry(2),
                "its record is gone",
            ),
            (
                numbered(&document, 9),
                Some(numbered(&enriched, 9)),
                Decision::UpdateEntry(2),
                "the very same",
            ),
            (
                numbered(&document, 12),
                Some(numbered(&enriched, 9)),
                Decision::UpdateEntry(2),
                "processed anew",
            ),
            (
                numbered(&ganked, 9),
                Some(numbered(&enriched, 9)),
                Decision::Append(3),
                "uploaded anew",
            ),
            (
                numbered(&ganked, 12),
                Some(numbered(&enriched, 9)),
                Decision::Append(3),
                "published anew",
            ),
            (
                numbered(&ganked, 8),
                Some(numbered(&enriched, 9)),
                Decision::Drop,
                "what the record replaced",
            ),
        ] {
            assert_eq!(compare(&seen, said.as_ref(), 2), expected, "{why}");
        }
        let mut dearer = document.clone();
        dearer.value.as_mut().unwrap().total = Some(2.0);
        assert_ne!(content(&dearer), content(&document));
    }
}
