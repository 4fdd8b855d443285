//! One function per guarantee. Each reads the whole history and describes the violations.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{
    RunHistory,
    history::{Observed, Start, Stream},
};

/// Calls `check` with every stream and its name.
fn each_stream(history: &RunHistory, mut check: impl FnMut(&str, &Stream, &mut Vec<String>)) -> Vec<String> {
    let mut found = Vec::new();
    for client in &history.clients {
        for (number, stream) in client.streams.iter().enumerate() {
            check(&format!("{}, stream {}", client.name, number + 1), stream, &mut found);
        }
    }
    found
}

/// Cursors of a stream never go back, and the log has the killmails in the order of the feed.
pub(super) fn ordered(history: &RunHistory) -> Vec<String> {
    let mut found = each_stream(history, |name, stream, found| {
        for pair in stream.events.windows(2) {
            let (before, now) = (&pair[0], &pair[1]);
            let forward = match now.seen {
                Observed::Record(_) => now.offset > before.offset,
                Observed::Progress | Observed::Expired => now.offset >= before.offset,
            };
            if !forward {
                found.push(format!("{name}: {now:?} arrived after {before:?}"));
            }
        }
    });
    let mut last = i64::MIN;
    // A gap does not have an ingestion time.
    for (offset, record) in history.log.iter().filter(|(_, record)| record.killmail.is_some()) {
        if record.ingested_ms < last {
            found.push(format!("the log: ingested_time goes back at offset {offset}"));
        }
        last = record.ingested_ms;
    }
    if let Some(published) = &history.published {
        let place: HashMap<_, _> = published.iter().enumerate().map(|(place, key)| (*key, place)).collect();
        let places: Vec<_> = history
            .log
            .values()
            .filter_map(|record| place.get(&record.killmail?))
            .collect();
        if let Some(pair) = places.windows(2).find(|pair| pair[0] > pair[1]) {
            found.push(format!(
                "the log: number {} of the feed precedes number {}",
                pair[0], pair[1]
            ));
        }
    }
    found
}

/// Each revision of a killmail appears once per stream, per chain of resumed streams, and in the log.
pub(super) fn unique(history: &RunHistory) -> Vec<String> {
    let mut found = Vec::new();
    for client in &history.clients {
        let mut seen = HashSet::new();
        let mut last = None;
        for stream in &client.streams {
            if !matches!((&stream.start, last), (Start::After(offset), Some(last)) if *offset == last) {
                seen.clear();
            }
            for event in &stream.events {
                if let Observed::Record(record) = &event.seen
                    && let Some(killmail) = record.killmail
                    && !seen.insert(killmail)
                {
                    found.push(format!(
                        "{}: {killmail:?} arrived twice, the second time at {}",
                        client.name, event.offset
                    ));
                }
            }
            last = stream.events.last().map(|event| event.offset).or(last);
        }
    }
    let mut seen = HashSet::new();
    for (offset, record) in &history.log {
        if let Some(killmail) = record.killmail
            && !seen.insert(killmail)
        {
            found.push(format!("the log: {killmail:?} is repeated at offset {offset}"));
        }
    }
    found
}

/// Every matching record between a stream's start and its last event arrives.
///
/// The exceptions are records that a Gap CURSOR_EXPIRED covers and that retention really removed. Every published
/// killmail is in the log, except for as many as the history counts as unseen.
pub(super) fn reliable(history: &RunHistory) -> Vec<String> {
    let mut found = each_stream(history, |name, stream, found| {
        let Some(after) = stream.due_after(&history.log) else {
            return;
        };
        let end = if stream.to_the_end {
            u64::MAX
        } else {
            let last = stream
                .events
                .iter()
                .rev()
                .find(|event| event.seen != Observed::Progress);
            last.map_or(0, |event| event.offset)
        };
        let mut due: BTreeSet<u64> = due_between(history, stream, after, end).collect();
        let mut at = after;
        for event in &stream.events {
            match event.seen {
                Observed::Expired => {
                    if event.offset > history.trimmed {
                        found.push(format!(
                            "{name}: a gap up to {}, which retention has not removed",
                            event.offset
                        ));
                    }
                    due.retain(|offset| *offset <= at || *offset > event.offset);
                }
                Observed::Record(_) => drop(due.remove(&event.offset)),
                Observed::Progress => {}
            }
            at = event.offset;
        }
        if let Some(first) = due.first() {
            let what = &history.log[first];
            found.push(format!(
                "{name}: {} records never arrived, the first at {first}: {what:?}",
                due.len()
            ));
        }
    });
    if let Some(published) = &history.published {
        let logged: HashSet<_> = history.log.values().filter_map(|record| record.killmail).collect();
        let lost: Vec<_> = published.iter().filter(|key| !logged.contains(*key)).collect();
        if let Some(first) = lost.first().filter(|_| lost.len() > history.unseen) {
            found.push(format!(
                "the log: {} published killmails are missing, the first: {first:?}; only {} records count as unseen",
                lost.len(),
                history.unseen
            ));
        }
    }
    found
}

/// A stream after a cursor starts with the first matching record after the cursor.
pub(super) fn resumable(history: &RunHistory) -> Vec<String> {
    each_stream(history, |name, stream, found| {
        let Start::After(cursor) = stream.start else {
            return;
        };
        if let Some(early) = stream.events.iter().find(|event| match event.seen {
            Observed::Record(_) => event.offset <= cursor,
            Observed::Progress | Observed::Expired => event.offset < cursor,
        }) {
            found.push(format!("{name}: started after {cursor}, received {early:?}"));
        }
        let Some(first) = stream.events.iter().find(|event| event.seen != Observed::Progress) else {
            return;
        };
        if let Observed::Record(_) = first.seen
            && let Some(due) = due_between(history, stream, cursor, first.offset).next()
            && due != first.offset
        {
            found.push(format!(
                "{name}: started after {cursor}, received {} first, not {due}",
                first.offset
            ));
        }
    })
}

/// Every matching record up to a Progress cursor arrives before the Progress.
pub(super) fn bookmarkable(history: &RunHistory) -> Vec<String> {
    each_stream(history, |name, stream, found| {
        let Some(mut after) = stream.due_after(&history.log) else {
            return;
        };
        let mut came = BTreeSet::new();
        for event in &stream.events {
            match event.seen {
                Observed::Record(_) => drop(came.insert(event.offset)),
                Observed::Expired => after = after.max(event.offset),
                Observed::Progress => {
                    let missing = due_between(history, stream, after, event.offset).find(|due| !came.contains(due));
                    if let Some(missing) = missing {
                        found.push(format!(
                            "{name}: a Progress at {} covers {missing}, which had not arrived",
                            event.offset
                        ));
                    }
                    after = after.max(event.offset);
                    came.clear();
                }
            }
        }
    })
}

/// Every delivered record is in the log at the same offset with the same bytes, also after each crash.
pub(super) fn durable_first(history: &RunHistory) -> Vec<String> {
    each_stream(history, |name, stream, found| {
        for event in &stream.events {
            for crash in &history.crashes {
                if event.at <= crash.at && event.offset > crash.head_after {
                    found.push(format!(
                        "{name}: {event:?} was seen before the crash at {:?}, after which the log ended at {}",
                        crash.at, crash.head_after
                    ));
                }
            }
            if let Observed::Record(record) = &event.seen {
                match history.log.get(&event.offset) {
                    None => found.push(format!("{name}: {event:?} is not in the log")),
                    Some(logged) if logged != record => {
                        found.push(format!("{name}: {event:?} is {logged:?} in the log"));
                    }
                    Some(_) => {}
                }
            }
        }
    })
}

/// A stalled client uses a limited amount of memory, and the other clients receive killmails in time.
pub(super) fn bounded(history: &RunHistory) -> Vec<String> {
    let mut found = Vec::new();
    let memory = &history.memory;
    for (clients, resident) in &memory.stalled {
        let allowed = memory.before + memory.slack + clients * memory.per_client;
        if *resident > allowed {
            found.push(format!(
                "{resident} bytes resident with {clients} stalled clients, {} without, {allowed} allowed",
                memory.before
            ));
        }
    }
    for (killmail, wait) in &history.latency.waits {
        if *wait > history.latency.limit {
            found.push(format!(
                "killmail {killmail} took {wait:?} to reach a client that keeps up, {:?} allowed",
                history.latency.limit
            ));
        }
    }
    found
}

/// Returns the offsets of all records that are due in `after < offset <= end`.
fn due_between<'a>(
    history: &'a RunHistory,
    stream: &'a Stream,
    after: u64,
    end: u64,
) -> impl Iterator<Item = u64> + use<'a> {
    let range = history.log.range(after.min(end)..=end);
    range
        .filter(move |(offset, record)| **offset > after && stream.wants(record))
        .map(|(offset, _)| *offset)
}
