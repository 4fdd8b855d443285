//! Against a model so simple that it is right by sight.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// Killmail id, ms after the last, hole before it.
    Killmail(u64, i64, u64),
    Gap(i64, u64),
    /// A batch that is refused: nothing may be left of it.
    Rejected(u64),
    Expire(i64),
    Restart,
    NewLogId,
    Read(u64, usize),
    Seek(i64),
    Newest(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = 1..12_u64;
    let step = prop_oneof![
        8 => (id.clone(), 0..30_i64, 0..4_u64).prop_map(|(id, ms, hole)| Step::Killmail(id, ms, hole)),
        2 => (0..30_i64, 0..4_u64).prop_map(|(ms, hole)| Step::Gap(ms, hole)),
        1 => id.clone().prop_map(Step::Rejected),
        2 => (0..200_i64).prop_map(Step::Expire),
        1 => Just(Step::Restart),
        1 => Just(Step::NewLogId),
        4 => (0..60_u64, 0..5_usize).prop_map(|(after, limit)| Step::Read(after, limit)),
        3 => (-10..600_i64).prop_map(Step::Seek),
        2 => id.prop_map(Step::Newest),
    ];
    prop::collection::vec(step, 1..60)
}

#[derive(Default)]
struct Model {
    /// Offset → (ms, killmail and revision).
    records: BTreeMap<u64, (i64, Option<(u64, u32)>)>,
    marks: BTreeMap<u64, u32>,
    head: u64,
    head_ms: i64,
    trimmed: u64,
}

impl Model {
    fn status(&self) -> LogStatus {
        let ids: std::collections::BTreeSet<_> = self.records.values().filter_map(|(_, id)| Some((*id)?.0)).collect();
        LogStatus {
            trimmed: Offset(self.trimmed),
            earliest_ms: self.records.values().next().map(|(ms, _)| *ms),
            head: Head {
                offset: Offset(self.head),
                ingested_ms: self.head_ms,
            },
            killmails: ids.len() as u64,
        }
    }

    fn expire(&mut self, cutoff: i64) {
        while let Some(oldest) = self.records.first_entry()
            && oldest.get().0 < cutoff
        {
            self.trimmed = *oldest.key();
            oldest.remove();
        }
    }
}

async fn follow(steps: Vec<Step>, window_bytes: usize) {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::default();
    let options = Options {
        retention: Duration::from_millis(300),
        clock: clock.clock(),
        window_bytes,
        ..options()
    };
    let reopen = || EmbeddedLog::open(dir.path(), options.clone()).unwrap();
    let mut log = reopen();
    let mut model = Model {
        head_ms: T0,
        ..Default::default()
    };
    // So that the model needs no case for the time of an empty log.
    log.append(batch([gap(T0)])).await.unwrap();
    model.head = 1;
    model.records.insert(1, (T0, None));
    let mut now = T0;
    for step in steps {
        match step {
            Step::Killmail(id, ms, hole) => {
                let revision = model.marks.get(&id).map_or(0, |revision| revision + 1);
                (model.head, model.head_ms) = (model.head + 1 + hole, now.max(model.head_ms) + ms);
                let event = at(model.head, killmail(id, revision, model.head_ms));
                log.append(batch([event])).await.unwrap();
                model.marks.insert(id, revision);
                model.records.insert(model.head, (model.head_ms, Some((id, revision))));
            }
            Step::Gap(ms, hole) => {
                (model.head, model.head_ms) = (model.head + 1 + hole, now.max(model.head_ms) + ms);
                log.append(batch([at(model.head, gap(model.head_ms))])).await.unwrap();
                model.records.insert(model.head, (model.head_ms, None));
            }
            Step::Rejected(id) => {
                let revision = model.marks.get(&id).map_or(0, |revision| revision + 1);
                let events = [killmail(id, revision, model.head_ms), gap(model.head_ms - 1)];
                let refused = log.append(batch(events)).await;
                assert!(matches!(refused, Err(LogError::Rejected(_))), "{refused:?}");
            }
            Step::Expire(ms) => {
                now += ms;
                clock.advance(ms);
                log.remove_expired().await;
                model.expire(now - 300);
            }
            // A start with the clock that far ahead of the head pauses removal: a case of its own, and not this one.
            Step::Restart | Step::NewLogId if now - model.head_ms > 300 => {}
            Step::Restart => {
                drop(log);
                log = reopen();
            }
            Step::NewLogId => {
                drop(log);
                new_log_id(dir.path()).unwrap();
                log = reopen();
            }
            Step::Read(after, limit) => {
                let limit = ReadLimit {
                    records: limit,
                    bytes: usize::MAX,
                };
                let read = log.read(Offset(after), limit).await.unwrap();
                let read: Vec<_> = read
                    .iter()
                    .map(|record| {
                        let killmail = match record.kind {
                            RecordKind::Killmail { id, revision } => Some((id.0, revision)),
                            RecordKind::Gap => None,
                        };
                        (record.offset.0, (record.ingested_ms, killmail))
                    })
                    .collect();
                let expected = model.records.range(after + 1..).take(limit.records.max(1));
                let expected: Vec<_> = expected.map(|(offset, record)| (*offset, *record)).collect();
                assert_eq!(read, expected);
            }
            Step::Seek(ms) => {
                let place = log.seek(T0 + ms).await.unwrap().0;
                let expected = model.records.iter().find(|(_, record)| record.0 >= T0 + ms);
                let found = model.records.range(place + 1..).next();
                assert_eq!(found, expected);
                assert!((model.trimmed..=model.head).contains(&place));
            }
            Step::Newest(id) => {
                let newest = log.newest(KillmailId(id)).await.unwrap();
                let expected = model
                    .records
                    .iter()
                    .rev()
                    .find(|(_, record)| record.1.is_some_and(|(known, _)| known == id));
                assert_eq!(
                    newest.map(|record| record.offset.0),
                    expected.map(|(offset, _)| *offset)
                );
            }
        }
        assert_eq!(log.status(), model.status());
        let marks = log
            .dedup_entries(&(1..12).map(KillmailId).collect::<Vec<_>>())
            .await
            .unwrap();
        for (id, mark) in (1..12).zip(marks) {
            assert_eq!(mark.map(|mark| mark.revision), model.marks.get(&id).copied());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..Default::default() })]

    #[test]
    fn behaves_like_the_model(steps in steps(), window_bytes in prop_oneof![Just(0_usize), Just(2_000), Just(1 << 20)]) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(follow(steps, window_bytes));
    }
}
