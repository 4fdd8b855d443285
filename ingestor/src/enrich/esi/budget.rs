//! When ESI may be asked: a pure decision from what its answers said.
//!
//! Two families of limits, never both on one route. Routes of a group have tokens in a floating window (2xx costs 2, 3xx 1, 4xx
//! 5); all others share the old limit of 100 errors a minute, which bans from every route once it is used up.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderMap, StatusCode};
use killfeed::backoff::Backoff;
use killfeed_service::clock::{Now, Uptime};

/// What is asked, as far as limits and metrics care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// `POST /universe/names`
    Names,
    /// `POST /universe/ids`
    Ids,
    /// `GET /corporations/{id}`
    Corporation,
    /// `GET /alliances/{id}`
    Alliance,
    /// `GET /killmails/{id}/{hash}`
    Killmail,
    /// `GET /universe/...`
    Universe,
}

impl Route {
    const ALL: [Self; 6] = [
        Self::Names,
        Self::Ids,
        Self::Corporation,
        Self::Alliance,
        Self::Killmail,
        Self::Universe,
    ];

    /// The part of its group's tokens that it leaves alone.
    fn reserve(self) -> f64 {
        match self {
            Self::Killmail => RESERVE,
            Self::Names | Self::Ids | Self::Corporation | Self::Alliance | Self::Universe => RESERVE_OF_NAMES,
        }
    }

    /// For metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Names => "names",
            Self::Ids => "ids",
            Self::Corporation => "corporation",
            Self::Alliance => "alliance",
            Self::Killmail => "killmail",
            Self::Universe => "universe",
        }
    }
}

/// Whether a request may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permit {
    /// Now.
    Go,
    /// Not before then.
    NotBefore(Uptime),
}

/// What a request is taken to cost until its answer says what is left: that of a success.
const COST: f64 = 2.0;
/// This part of a group's tokens is never used: other programs on this address share them. Bodies of killmails are what there
/// is no doing without.
const RESERVE: f64 = 0.05;
/// Names are: a start with a cold cache, which wants thousands, stays far from the limit.
const RESERVE_OF_NAMES: f64 = 0.5;
/// The old limit is left alone from here on. 100 are allowed, of which other programs may want some as well.
const ERRORS_RESERVE: u64 = 50;
/// How long the first refusal without a time holds; each further one in a row twice as long, up to an hour.
const INITIAL_BAN: Duration = Duration::from_secs(60);
const MIN_BAN: Duration = Duration::from_secs(1);
const MAX_UNSPECIFIED_BAN: Duration = Duration::from_secs(3600);
/// No refusal is believed for longer.
const MAX_BAN: Duration = Duration::from_secs(24 * 3600);
/// While ESI is down it is tried again after up to this, doubling to the second.
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// What is known of ESI's limits and of its health.
#[derive(Debug)]
pub(super) struct Budget {
    /// By route: which group it is in was said by an answer.
    groups: BTreeMap<Route, String>,
    buckets: BTreeMap<String, GroupBudget>,
    /// The old limit: so many errors were left when it was last told.
    errors_left: Option<u64>,
    /// The old limit: no request on a route without a group before then.
    errors_until: Option<Uptime>,
    /// Refused: no request at all before then.
    all_until: Option<Uptime>,
    /// Refusals in a row that did not say for how long.
    untold: u32,
    /// Refused before this start: no request on these routes before then.
    routes_until: BTreeMap<&'static str, Uptime>,
    /// No answers, or none that are any good: no request at all before then.
    down_until: Option<Uptime>,
    down: Backoff,
}

/// What is left of the limits.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Remaining {
    /// In the group of each route that told it, as far as it can be known from here.
    pub(super) tokens: Vec<(Route, f64)>,
    /// Of the old limit, as it was last told.
    pub(super) errors: Option<u64>,
    /// How long nothing at all may be asked.
    pub(super) silent: Duration,
}

/// A refusal that outlives the process: which route (or [`ALL`], or [`UNGROUPED`]), and until when, in milliseconds since 1970.
pub(in crate::enrich) type EsiBan = (String, u64);

/// Every route.
const ALL: &str = "all";
/// Every route under the old limit.
const UNGROUPED: &str = "errors";

impl Default for Budget {
    fn default() -> Self {
        Self {
            groups: BTreeMap::new(),
            buckets: BTreeMap::new(),
            errors_left: None,
            errors_until: None,
            all_until: None,
            untold: 0,
            routes_until: BTreeMap::new(),
            down_until: None,
            down: Backoff::new(INITIAL_BACKOFF, MAX_BACKOFF),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct GroupBudget {
    limit: f64,
    window: Duration,
    /// Tokens left as of `at`. They come back over the window; each answer says how many there really are.
    left: f64,
    at: Uptime,
    refused_until: Option<Uptime>,
}

impl Budget {
    /// Whether a request may go out on `route`; if so, it is counted.
    pub(super) fn ask(&mut self, route: Route, now: Uptime) -> Permit {
        let group = self.groups.get(&route);
        let bucket = group.and_then(|group| self.buckets.get_mut(group));
        let own = match bucket {
            Some(bucket) => bucket.ready(route.reserve(), now),
            None => self.errors_until,
        };
        let before_start = self.routes_until.get(route.name()).copied();
        match own.max(self.all_until).max(self.down_until).max(before_start) {
            Some(time) if time > now => Permit::NotBefore(time),
            _ => {
                if let Some(bucket) = group.and_then(|group| self.buckets.get_mut(group)) {
                    bucket.left = bucket.left_at(now) - COST;
                    bucket.at = now;
                }
                Permit::Go
            }
        }
    }

    /// Takes in what an answer says. How long to wait, if it is one that says to.
    pub(super) fn answered(
        &mut self,
        route: Route,
        status: StatusCode,
        headers: &HeaderMap,
        now: Uptime,
    ) -> Option<Duration> {
        self.take_in_group(route, headers, now);
        let reset = seconds(headers, "x-esi-error-limit-reset");
        let errors_left = number(headers, "x-esi-error-limit-remain");
        self.errors_left = errors_left.or(self.errors_left);
        if let (Some(left), Some(reset)) = (errors_left, reset)
            && left <= ERRORS_RESERVE
        {
            self.errors_until = self.errors_until.max(Some(now + reset));
        }
        // Who refuses and says "now" is not asked at once.
        let retry_after = seconds(headers, "retry-after").map(|asked| asked.max(MIN_BAN));
        match status.as_u16() {
            429 => {
                let wait = retry_after.unwrap_or_else(|| self.untold());
                let group = self.groups.get(&route);
                match group.and_then(|group| self.buckets.get_mut(group)) {
                    Some(bucket) => bucket.refused_until = bucket.refused_until.max(Some(now + wait)),
                    // It does not say what is used up: nothing more goes out.
                    None => self.all_until = self.all_until.max(Some(now + wait)),
                }
                Some(wait)
            }
            // 403: nothing that is asked here needs a right, so we are not welcome.
            403 | 420 => {
                let wait = retry_after
                    .or(reset.filter(|_| status == 420))
                    .unwrap_or_else(|| self.untold());
                self.all_until = self.all_until.max(Some(now + wait));
                Some(wait)
            }
            500.. => Some(self.is_down(retry_after, now)),
            _ => {
                self.down.reset();
                self.untold = 0;
                None
            }
        }
    }

    /// What is left, for people.
    pub(super) fn left(&self, now: Uptime) -> Remaining {
        let tokens = self.groups.iter().filter_map(|(route, group)| {
            let bucket = self.buckets.get(group)?;
            Some((*route, bucket.left_at(now).max(0.0)))
        });
        let until = self.all_until.max(self.down_until);
        Remaining {
            tokens: tokens.collect(),
            errors: self.errors_left,
            silent: until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now)),
        }
    }

    /// How long a refusal holds that does not say it.
    fn untold(&mut self) -> Duration {
        let refused = Backoff::new(INITIAL_BAN, MAX_UNSPECIFIED_BAN).with_failures(self.untold);
        self.untold = self.untold.saturating_add(1);
        // The whole of it: only a failure's delay is spread.
        refused.ceiling()
    }

    /// What the next process has to know: a restart must not break a refusal.
    pub(super) fn refusals(&self, now: Now) -> Vec<EsiBan> {
        let of_groups = self.groups.iter().filter_map(|(route, group)| {
            let until = self.buckets.get(group)?.refused_until?;
            Some((route.name(), until))
        });
        let of_before = self.routes_until.iter().map(|(route, until)| (*route, *until));
        let everywhere = [(ALL, self.all_until), (UNGROUPED, self.errors_until)];
        let everywhere = everywhere.into_iter().filter_map(|(name, until)| Some((name, until?)));
        let mut all: BTreeMap<&str, Uptime> = BTreeMap::new();
        for (name, until) in of_groups.chain(of_before).chain(everywhere) {
            if until > now.up {
                let known = all.entry(name).or_insert(until);
                *known = until.max(*known);
            }
        }
        let wall = |until: Uptime| now.unix_ms().saturating_add(millis(until - now.up));
        all.into_iter()
            .map(|(name, until)| (name.to_owned(), wall(until)))
            .collect()
    }

    /// Takes in what the process before had been told.
    pub(super) fn restore(&mut self, refusals: &[EsiBan], now: Now) {
        for (name, until_ms) in refusals {
            // A clock that was set back must not make it last longer than any would.
            let left = Duration::from_millis(until_ms.saturating_sub(now.unix_ms())).min(MAX_BAN);
            let until = (!left.is_zero()).then_some(now.up + left);
            match (name.as_str(), Route::ALL.iter().find(|route| route.name() == name)) {
                (ALL, _) => self.all_until = until,
                (UNGROUPED, _) => self.errors_until = until,
                (_, Some(route)) => self.routes_until.extend(until.map(|until| (route.name(), until))),
                (_, None) => {}
            }
        }
    }

    /// There was no answer. How long to wait.
    pub(super) fn no_answer(&mut self, now: Uptime) -> Duration {
        self.is_down(None, now)
    }

    fn is_down(&mut self, retry_after: Option<Duration>, now: Uptime) -> Duration {
        let wait = self.down.next_delay_after(retry_after);
        self.down_until = self.down_until.max(Some(now + wait));
        wait
    }

    fn take_in_group(&mut self, route: Route, headers: &HeaderMap, now: Uptime) {
        let Some(group) = text(headers, "x-ratelimit-group") else {
            return;
        };
        let Some((limit, window)) = text(headers, "x-ratelimit-limit").and_then(limit) else {
            return;
        };
        self.groups.insert(route, group.to_owned());
        let groups = &self.groups;
        // As many buckets as routes at most, whatever names the answers make up.
        self.buckets
            .retain(|name, _| groups.values().any(|group| group == name));
        let bucket = self.buckets.entry(group.to_owned()).or_insert(GroupBudget {
            limit,
            window,
            left: limit,
            at: now,
            refused_until: None,
        });
        (bucket.limit, bucket.window) = (limit, window);
        if let Some(left) = number(headers, "x-ratelimit-remaining") {
            (bucket.left, bucket.at) = (left as f64, now);
        }
    }
}

impl GroupBudget {
    /// What is probably left: what comes back does so evenly over the window.
    fn left_at(&self, now: Uptime) -> f64 {
        let back = now.saturating_duration_since(self.at).as_secs_f64() / self.window.as_secs_f64();
        (self.left + back * self.limit).min(self.limit)
    }

    /// When the next request fits.
    fn ready(&self, reserve: f64, now: Uptime) -> Option<Uptime> {
        let lacking = self.limit * reserve + COST - self.left_at(now);
        let tokens = (lacking > 0.0).then(|| now + self.window.mul_f64(lacking / self.limit));
        tokens.max(self.refused_until)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `3600/15m` → tokens, window.
fn limit(text: &str) -> Option<(f64, Duration)> {
    let (tokens, window) = text.split_once('/')?;
    let tokens: u32 = tokens.trim().parse().ok().filter(|tokens| *tokens > 0)?;
    let window = killfeed_service::settings::duration(window.trim())?;
    let sane = Duration::from_secs(1)..=MAX_BAN;
    sane.contains(&window).then_some((tokens.into(), window))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.trim().parse().ok()
}

fn seconds(headers: &HeaderMap, name: &str) -> Option<Duration> {
    let seconds = number(headers, name)?;
    Some(Duration::from_secs(seconds).min(MAX_BAN))
}

#[cfg(test)]
mod tests;
