//! The seven guarantees of a stream, checked by the validator.
//!
//! One test closes the connection at every message, and another one has clients that read nothing. The randomized run is in
//! `chaos`.

use std::collections::HashMap;

use killfeed::v1::{
    Position, StreamKillmailsRequest, killmail_service_client::KillmailServiceClient, stream_killmails_request,
    stream_killmails_response::Event,
};
use killfeed_support::{
    FakeUpstream, corpus,
    proxy::{Cut, Proxy},
    validator::{Client, Latency, Memory, Start, Stream, offset, validate},
};
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    harness::{TEST_TIMEOUT, TestIngestor},
    recorder::{Recorder, begun, whole_log},
};

const KILLMAILS: usize = 30;

/// Reads until the head or until the connection closes, and returns the stream and its last cursor.
async fn read(recorder: Recorder, url: &str, after: Option<String>) -> (Stream, Option<String>) {
    let start = match &after {
        Some(cursor) => Start::After(offset(cursor)),
        None => Start::Earliest { trimmed: 0 },
    };
    let mut read = begun(start, None, true);
    let mut last = after.clone();
    let request = StreamKillmailsRequest {
        start: Some(match after {
            Some(cursor) => stream_killmails_request::Start::AfterCursor(cursor),
            None => stream_killmails_request::Start::Position(Position::Earliest.into()),
        }),
        include_updates: true,
        ..Default::default()
    };
    let Ok(mut client) = KillmailServiceClient::connect(url.to_owned()).await else {
        return (read, last);
    };
    let Ok(opened) = client.stream_killmails(request).await else {
        return (read, last);
    };
    let mut stream = opened.into_inner();
    while let Ok(next) = tokio::time::timeout(TEST_TIMEOUT, stream.message())
        .await
        .expect("a message comes in time")
    {
        let response = next.expect("a stream ends only with an error");
        read.events.push(recorder.response(&response));
        last = Some(response.cursor);
        if let Some(Event::Progress(progress)) = response.event
            && progress.caught_up
        {
            read.to_the_end = true;
            break;
        }
    }
    (read, last)
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_connection_loses_and_repeats_nothing() {
    let upstream = FakeUpstream::start().await;
    let documents: Vec<Value> = corpus::some(KILLMAILS);
    upstream.publish_all(documents);
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    ingestor.wait_for_killmails(KILLMAILS as u64).await;
    let proxy = Proxy::start(ingestor.grpc.clone()).await;
    let mut history = whole_log(&ingestor).await;
    assert_eq!(history.log.len(), KILLMAILS);
    let recorder = Recorder::new();

    // One Progress follows the killmails, hence one message more.
    let at_messages = (0..=KILLMAILS).flat_map(|n| [Cut::AfterMessages(n), Cut::InMessage(n)]);
    // These cuts fall into headers, message prefixes and HTTP/2 settings.
    let at_bytes = (0..60).map(|n| Cut::AfterBytes(n * n * 5));
    let mut cut_short = 0;
    for cut in at_messages.chain(at_bytes) {
        let mut client = Client {
            name: format!("cut at {cut:?}"),
            ..Client::default()
        };
        proxy.cut_next(cut);
        let (first, cursor) = read(recorder, &proxy.url(), None).await;
        cut_short += usize::from(!first.to_the_end);
        client.streams.push(first);
        proxy.cut_next(Cut::Never);
        let (second, _) = read(recorder, &proxy.url(), cursor).await;
        assert!(second.to_the_end, "{}", client.name);
        client.streams.push(second);
        history.clients.push(client);
    }
    // A cut after the last needed byte has no effect.
    assert!(cut_short > 2 * KILLMAILS, "{cut_short} connections were cut short");
    validate(&history);
}

/// The number of clients that read nothing; [`PROMPT`] clients read without delay.
const STALLED: usize = 30;
const PROMPT: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn stalled_clients_use_bounded_memory_and_delay_no_client() {
    let upstream = FakeUpstream::start().await;
    let documents: Vec<Value> = corpus::some(700);
    let (warm_up, live) = documents.split_at(documents.len() / 2);
    upstream.publish_all(warm_up.iter().cloned());
    let mut ingestor = TestIngestor::start(&upstream, &[]).await;
    ingestor.wait_for_killmails(warm_up.len() as u64).await;
    let recorder = Recorder::new();
    let before = ingestor.service().resident().expect("Linux reports resident memory");

    let mut stalled = Vec::new();
    for n in 0..STALLED {
        let mut client = KillmailServiceClient::connect(ingestor.url()).await.unwrap();
        let request = StreamKillmailsRequest {
            start: (n % 2 == 0).then(|| stream_killmails_request::Start::Position(Position::Earliest.into())),
            ..Default::default()
        };
        let mut stream = client.stream_killmails(request).await.unwrap().into_inner();
        stream
            .message()
            .await
            .unwrap()
            .expect("the stream delivers a first event");
        stalled.push(stream);
    }
    let (sender, mut received) = mpsc::channel(1_024);
    for n in 0..PROMPT {
        let mut client = KillmailServiceClient::connect(ingestor.url()).await.unwrap();
        let mut stream = client
            .stream_killmails(StreamKillmailsRequest::default())
            .await
            .unwrap()
            .into_inner();
        let sender = sender.clone();
        tokio::spawn(async move {
            while let Ok(Some(response)) = stream.message().await {
                let at = Instant::now();
                let seen = (n, at, recorder.response(&response), response);
                if sender.send(seen).await.is_err() {
                    return;
                }
            }
        });
    }

    let mut prompt = vec![begun(Start::Latest, None, false); PROMPT];
    for _ in 0..PROMPT {
        let (n, _, first, _) = received
            .recv()
            .await
            .expect("a prompt client receives a Progress first");
        prompt[n].events.push(first);
    }
    let (mut published, mut waits, mut memory) = (HashMap::new(), Vec::new(), Vec::new());
    for burst in live.chunks(live.len().div_ceil(10)) {
        for document in burst {
            published.insert(document["killmail_id"].as_u64().unwrap(), Instant::now());
            upstream.publish(document.clone());
        }
        let mut left = burst.len() * PROMPT;
        while left > 0 {
            let next = tokio::time::timeout(TEST_TIMEOUT, received.recv()).await;
            let (n, at, event, response) = next
                .expect("an event comes in time")
                .expect("a prompt client is connected");
            prompt[n].events.push(event);
            if let Some(Event::Killmail(killmail)) = response.event {
                waits.push((killmail.killmail_id, at - published[&killmail.killmail_id]));
                left -= 1;
            }
        }
        memory.push((
            STALLED as u64,
            ingestor.service().resident().expect("Linux reports resident memory"),
        ));
    }

    let mut history = whole_log(&ingestor).await;
    history.clients = prompt
        .into_iter()
        .enumerate()
        .map(|(n, stream)| Client {
            name: format!("prompt client {n}"),
            streams: vec![Stream {
                to_the_end: true,
                ..stream
            }],
        })
        .collect();
    waits.sort_by_key(|(_, wait)| *wait);
    println!(
        "{} killmails to {PROMPT} prompt clients beside {STALLED} stalled ones: median {:?}, longest {:?}; memory {before} then {memory:?}",
        live.len(),
        waits[waits.len() / 2].1,
        waits[waits.len() - 1].1
    );
    history.latency = Latency {
        waits,
        // If stalled clients delayed the others, the burst would never arrive, so any limit would show it.
        limit: TEST_TIMEOUT,
    };
    history.memory = Memory {
        before,
        stalled: memory,
        // Recent records, the caches of names and the allocator grow with the killmails, not with the clients.
        slack: 32 << 20,
        per_client: 1 << 20,
    };
    drop(stalled);
    validate(&history);
    assert_eq!(ingestor.stop().await, Some(0));
}
