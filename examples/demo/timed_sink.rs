//! A console sink that measures the time from publication to post.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use killfeed_notifier::sink::{Destination, LookupOutcome, Post, SendOutcome, Sink, console::Console};

/// A sink that prints posts and records when each killmail was published and posted.
pub(crate) struct TimedSink {
    console: Console,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    published: HashMap<u64, Instant>,
    matched: HashSet<u64>,
    channels: HashSet<Destination>,
    posts: usize,
    latencies: Vec<Duration>,
    last: Option<Instant>,
}

/// The counts and times of a run.
#[derive(Debug)]
pub(crate) struct Tally {
    /// The number of killmails that matched a subscription.
    pub(crate) matched: usize,
    /// The number of posted killmails, counted once per channel.
    pub(crate) posts: usize,
    /// The number of channels with posts.
    pub(crate) channels: usize,
    /// The median and longest time from upload to post; `None` if nothing was posted.
    pub(crate) latency: Option<(Duration, Duration)>,
}

impl Default for TimedSink {
    fn default() -> Self {
        Self {
            console: Console::stdout(),
            log: Mutex::default(),
        }
    }
}

impl TimedSink {
    /// Records the publication of a killmail. A repeated one keeps its first time.
    pub(crate) fn published(&self, killmail: u64) {
        self.lock().published.entry(killmail).or_insert_with(Instant::now);
    }

    /// Returns the time since the last post, or the maximum if there was none.
    pub(crate) fn quiet_for(&self) -> Duration {
        self.lock().last.map_or(Duration::MAX, |last| last.elapsed())
    }

    /// Returns the counts and times so far.
    pub(crate) fn tally(&self) -> Tally {
        let log = self.lock();
        let mut latencies = log.latencies.clone();
        latencies.sort_unstable();
        let latency = latencies
            .get(latencies.len() / 2)
            .copied()
            .zip(latencies.last().copied());
        Tally {
            matched: log.matched.len(),
            posts: log.posts,
            channels: log.channels.len(),
            latency,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Sink for TimedSink {
    async fn send(&self, post: &Post) -> SendOutcome {
        let outcome = self.console.send(post).await;
        let mut log = self.lock();
        for killmail in &post.killmails {
            log.matched.insert(*killmail);
            log.posts += 1;
            let waited = log.published.get(killmail).map(Instant::elapsed);
            log.latencies.extend(waited);
        }
        log.channels.insert(post.destination.clone());
        log.last = Some(Instant::now());
        outcome
    }

    async fn lookup(&self, post: &Post, since: SystemTime) -> LookupOutcome {
        self.console.lookup(post, since).await
    }
}
