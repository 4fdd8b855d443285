//! Rate limits: one per channel for posts, and a global one for all requests.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

/// Discord's global limit of requests per second.
const GLOBAL: u32 = 50;

#[derive(Debug)]
pub(super) struct Limits {
    pub(super) per_channel: Option<(u32, Duration)>,
    pub(super) overruns: u32,
    channels: HashMap<u64, Window>,
    global: Option<Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    used: u32,
    ends: Instant,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_channel: Some((5, Duration::from_secs(5))),
            overruns: 0,
            channels: HashMap::new(),
            global: None,
        }
    }
}

/// An exceeded limit.
#[derive(Debug)]
pub(super) struct Overrun {
    pub(super) wait: Duration,
    pub(super) global: bool,
}

impl Limits {
    /// Counts a request against the global limit.
    pub(super) fn count(&mut self, now: Instant) -> Result<(), Overrun> {
        let window = self.global.get_or_insert(Window {
            used: 0,
            ends: now + Duration::from_secs(1),
        });
        if window.take(now, GLOBAL, Duration::from_secs(1)) {
            return Ok(());
        }
        self.overruns += 1;
        let wait = window.ends - now;
        Err(Overrun { wait, global: true })
    }

    /// Counts a post against its channel's limit and returns the response headers.
    pub(super) fn count_post(
        &mut self,
        channel: u64,
        now: Instant,
    ) -> (Vec<(&'static str, String)>, Result<(), Overrun>) {
        let Some((limit, period)) = self.per_channel else {
            return (Vec::new(), Ok(()));
        };
        let window = self.channels.entry(channel).or_insert(Window {
            used: 0,
            ends: now + period,
        });
        let fits = window.take(now, limit, period);
        let wait = window.ends - now;
        let resets = SystemTime::now() + wait;
        let resets = resets.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let headers = vec![
            ("x-ratelimit-bucket", "80c17d2f203122d936070c88c8d10f33".to_owned()),
            ("x-ratelimit-limit", limit.to_string()),
            ("x-ratelimit-remaining", (limit - window.used).to_string()),
            ("x-ratelimit-reset", format!("{:.3}", resets.as_secs_f64())),
            ("x-ratelimit-reset-after", format!("{:.3}", wait.as_secs_f64())),
        ];
        if fits {
            return (headers, Ok(()));
        }
        self.overruns += 1;
        (headers, Err(Overrun { wait, global: false }))
    }
}

impl Window {
    fn take(&mut self, now: Instant, limit: u32, period: Duration) -> bool {
        if now >= self.ends {
            *self = Self {
                used: 0,
                ends: now + period,
            };
        }
        let fits = self.used < limit;
        self.used += u32::from(fits);
        fits
    }
}
