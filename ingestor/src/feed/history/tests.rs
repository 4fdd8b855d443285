use super::*;

fn days(text: &str) -> Day {
    text.parse().unwrap()
}

fn history(state: Option<Bytes>, from: &str, to: &str) -> HistoryFeed {
    let settings = HistorySettings {
        base_url: "http://127.0.0.1:9".into(),
        rate: 1_000.0,
        user_agent: "test".into(),
        from: days(from),
        to: days(to),
    };
    let known: KnownFn = Box::new(|ids| Box::pin(async move { ids.iter().map(|id| id.0 == 3).collect() }));
    HistoryFeed::new(&settings, state, known).unwrap()
}

const HASH: &str = "0e9fc0ab87da00b69cde9818bdfe675ee521107c";

fn body(id: u64, second: u32) -> String {
    format!(
        r#""{id}":{{"killmail_id":{id},"killmail_time":"2026-08-01T00:00:{second:02}Z","victim":{{"ship_type_id":670}}}}"#
    )
}

fn ids(batch: &Batch) -> Vec<(u64, bool)> {
    let id = |item: &FeedItem| {
        let FeedItem::Document { body, .. } = item else {
            panic!("{item:?}")
        };
        let document: serde_json::Value = serde_json::from_slice(body).unwrap();
        (document["killmail_id"].as_u64().unwrap(), document["esi"].is_object())
    };
    batch.items.iter().map(id).collect()
}

#[tokio::test]
async fn a_day_is_handed_out_as_it_happened_without_what_is_known() {
    let mut history = history(None, "2026-08-01", "2026-08-01");
    let hashes = (1..=5).map(|id| (id, HASH.to_owned())).collect();
    // 3 is known; 4 has no body; 6 is not in the list.
    let bodies = format!(
        "{{{},{},{},{},{}}}",
        body(1, 30),
        body(2, 10),
        body(3, 5),
        body(5, 20),
        body(6, 1)
    );
    let documents = history.documents(hashes, Some(bodies.into())).await.unwrap();
    history.stage = Stage::Documents(documents);
    let batch = history.advance().await.unwrap();
    assert_eq!(ids(&batch), [(6, true), (2, true), (4, false), (5, true), (1, true)]);
    let verdicts = vec![(0, DocumentOutcome::Accepted { refetch: None }); 4];
    history.ack(&[verdicts, vec![(0, DocumentOutcome::Unreadable)]].concat());
    let progress = history.progress().borrow().clone();
    assert_eq!((progress.of_day, progress.done), (6, 6));
    assert_eq!((progress.handed_out, progress.known, progress.unreadable), (4, 1, 1));
}

#[tokio::test]
async fn it_goes_on_with_the_day_that_was_not_done_and_leaves_the_walk_alone() {
    let mut before = FeedState {
        next: Some(97_500_000),
        known_head: 97_500_010,
        ..FeedState::default()
    };
    before.ban.refuse(1_000, None, 0.0);
    let mut first = history(Some(before.to_bytes()), "2026-08-01", "2026-08-03");
    // A day of three batches: only the last one ends it.
    first.stage = Stage::Documents((0..450).map(|id| esi_body::document(id, HASH, None)).collect());
    let mut states = Vec::new();
    for _ in 0..3 {
        first.advance().await.unwrap();
        states.push(first.ack(&[]));
    }
    let next = |state: &Bytes, to: &str| history(Some(state.clone()), "2026-08-01", to).job.next.to_string();
    assert_eq!(next(&states[0], "2026-08-03"), "2026-08-01");
    assert_eq!(next(&states[1], "2026-08-03"), "2026-08-01");
    assert_eq!(next(&states[2], "2026-08-03"), "2026-08-02");
    // Other days are another job.
    assert_eq!(next(&states[2], "2026-08-04"), "2026-08-01");
    let after = FeedState::from_bytes(&states[2]).unwrap();
    assert_eq!(
        (after.next, after.known_head, after.ban),
        (before.next, before.known_head, before.ban)
    );

    // Once it is over it begins anew: what zKillboard added meanwhile is wanted.
    for _ in 0..2 {
        first.stage = Stage::Documents(Vec::new());
        first.advance().await.unwrap();
        states.push(first.ack(&[]));
    }
    assert_eq!(FeedState::from_bytes(&states[4]).unwrap().backfill, None);
    assert_eq!(next(&states[4], "2026-08-03"), "2026-08-01");
}

#[test]
fn what_is_no_history_is_named() {
    assert_eq!(
        read_hashes(format!(r#"{{"7":"{HASH}"}}"#).as_bytes()).unwrap()[&7],
        HASH
    );
    for (text, words) in [
        (r#"{"seven":"x"}"#.to_owned(), "invalid killmail id"),
        (r#"{"7":"x\"y"}"#.to_owned(), "invalid hash"),
        ("[]".to_owned(), "invalid type"),
        (String::new(), "EOF"),
    ] {
        let reason = read_hashes(text.as_bytes()).unwrap_err();
        assert!(reason.contains(words), "{reason}");
    }
    assert!(read_bodies(b"{\"x\":{}}").is_err());
}
