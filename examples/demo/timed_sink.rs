//! The console sink, with a stopwatch.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use killfeed_notifier::sink::{Destination, LookupOutcome, Post, SendOutcome, Sink, console::Console};

/// Prints posts, and remembers when each killmail was published and posted.
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

/// What came of it all.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Killmails that some subscription matched.
    pub(crate) matched: usize,
    /// Killmails posted, counted once for each channel.
    pub(crate) posts: usize,
    /// Channels that got something.
    pub(crate) channels: usize,
    /// From the upload to the post: the median, and the longest; `None` = nothing was posted.
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
    /// Starts the stopwatch of a killmail, unless it runs.
    pub(crate) fn published(&self, killmail: u64) {
        self.lock().published.entry(killmail).or_insert_with(Instant::now);
    }

    /// How long ago the last post was; if there was none, for ever.
    pub(crate) fn quiet_for(&self) -> Duration {
        self.lock().last.map_or(Duration::MAX, |last| last.elapsed())
    }

    /// What came of it so far.
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
