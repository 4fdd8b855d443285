//! When ESI may be asked: a pure decision from what its answers said.
//!
//! Two families of limits, never both on one route. Routes of a group have tokens in a floating window (2xx costs 2, 3xx 1, 4xx
//! 5); all others share the old limit of 100 errors a minute, which bans from every route once it is used up.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use crate::enrich::backoff::Backoff;

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
    NotBefore(Instant),
}

/// What a request is taken to cost until its answer says what is left: that of a success.
const COST: f64 = 2.0;
/// This part of a group's tokens is never used: other programs on this address share them.
const RESERVE: f64 = 0.05;
/// The old limit is left alone from here on. 100 are allowed; requests on their way may still fail.
const ERRORS_RESERVE: u64 = 15;
/// How long a refusal without a time holds.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// No refusal is believed for longer.
const REFUSED_AT_MOST: Duration = Duration::from_secs(24 * 3600);
/// While ESI is down it is tried again after up to this, doubling to the second.
const AWAY_FIRST: Duration = Duration::from_secs(1);
const AWAY_AT_MOST: Duration = Duration::from_secs(60);

/// What is known of ESI's limits and of its health.
#[derive(Debug)]
pub(super) struct Budget {
    /// By route: which group it is in was said by an answer.
    groups: BTreeMap<Route, String>,
    buckets: BTreeMap<String, Bucket>,
    /// The old limit: no request on a route without a group before then.
    errors_until: Option<Instant>,
    /// No request at all before then: refused, or down.
    all_until: Option<Instant>,
    down: Backoff,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            groups: BTreeMap::new(),
            buckets: BTreeMap::new(),
            errors_until: None,
            all_until: None,
            down: Backoff::new(AWAY_FIRST),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    limit: f64,
    window: Duration,
    /// Tokens left as of `at`. They come back over the window; each answer says how many there really are.
    left: f64,
    at: Instant,
    refused_until: Option<Instant>,
}

impl Budget {
    /// Whether a request may go out on `route`; if so, it is counted.
    pub(super) fn ask(&mut self, route: Route, now: Instant) -> Permit {
        let group = self.groups.get(&route);
        let bucket = group.and_then(|group| self.buckets.get_mut(group));
        let own = match bucket {
            Some(bucket) => bucket.ready(now),
            None => self.errors_until,
        };
        match own.max(self.all_until) {
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
        now: Instant,
    ) -> Option<Duration> {
        self.take_in_group(route, headers, now);
        let reset = seconds(headers, "x-esi-error-limit-reset");
        if let (Some(left), Some(reset)) = (number(headers, "x-esi-error-limit-remain"), reset)
            && left <= ERRORS_RESERVE
        {
            self.errors_until = self.errors_until.max(Some(now + reset));
        }
        let retry_after = seconds(headers, "retry-after");
        match status.as_u16() {
            429 => {
                let wait = retry_after.unwrap_or(REFUSED_FOR);
                let group = self.groups.get(&route);
                match group.and_then(|group| self.buckets.get_mut(group)) {
                    Some(bucket) => bucket.refused_until = Some(now + wait),
                    // It does not say what is used up: nothing more goes out.
                    None => self.all_until = self.all_until.max(Some(now + wait)),
                }
                Some(wait)
            }
            420 => {
                let wait = retry_after.or(reset).unwrap_or(REFUSED_FOR);
                self.all_until = self.all_until.max(Some(now + wait));
                Some(wait)
            }
            500.. => Some(self.is_down(retry_after, now)),
            _ => {
                self.down.reset();
                None
            }
        }
    }

    /// There was no answer. How long to wait.
    pub(super) fn no_answer(&mut self, now: Instant) -> Duration {
        self.is_down(None, now)
    }

    fn is_down(&mut self, retry_after: Option<Duration>, now: Instant) -> Duration {
        let wait = self.down.next(AWAY_AT_MOST).max(retry_after.unwrap_or_default());
        self.all_until = self.all_until.max(Some(now + wait));
        wait
    }

    fn take_in_group(&mut self, route: Route, headers: &HeaderMap, now: Instant) {
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
        let bucket = self.buckets.entry(group.to_owned()).or_insert(Bucket {
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

impl Bucket {
    /// What is probably left: what comes back does so evenly over the window.
    fn left_at(&self, now: Instant) -> f64 {
        let back = now.saturating_duration_since(self.at).as_secs_f64() / self.window.as_secs_f64();
        (self.left + back * self.limit).min(self.limit)
    }

    /// When the next request fits.
    fn ready(&self, now: Instant) -> Option<Instant> {
        let lacking = self.limit * RESERVE + COST - self.left_at(now);
        let tokens = (lacking > 0.0).then(|| now + self.window.mul_f64(lacking / self.limit));
        tokens.max(self.refused_until)
    }
}

/// `3600/15m` → tokens, window.
fn limit(text: &str) -> Option<(f64, Duration)> {
    let (tokens, window) = text.split_once('/')?;
    let tokens: u32 = tokens.trim().parse().ok().filter(|tokens| *tokens > 0)?;
    let window = killfeed::setting::duration(window.trim())?;
    let sane = Duration::from_secs(1)..=REFUSED_AT_MOST;
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
    Some(Duration::from_secs(seconds).min(REFUSED_AT_MOST))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    fn answer(
        budget: &mut Budget,
        status: u16,
        pairs: &[(&'static str, &'static str)],
        now: Instant,
    ) -> Option<Duration> {
        budget.answered(
            Route::Killmail,
            StatusCode::from_u16(status).unwrap(),
            &headers(pairs),
            now,
        )
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn tokens_are_paced_when_they_run_low_and_an_answer_says_what_is_left() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        let group = ("x-ratelimit-group", "killmail");
        let said = |left| {
            [
                group,
                ("x-ratelimit-limit", "3600/15m"),
                ("x-ratelimit-remaining", left),
            ]
        };
        assert_eq!(budget.ask(Route::Killmail, now), Permit::Go);
        assert_eq!(answer(&mut budget, 200, &said("186"), now), None);
        // 180 are the reserve: three requests fit, then two tokens come back in half a second.
        for _ in 0..3 {
            assert_eq!(budget.ask(Route::Killmail, now), Permit::Go);
        }
        assert_eq!(budget.ask(Route::Killmail, now), Permit::NotBefore(now + SECOND / 2));
        assert_eq!(
            budget.ask(Route::Names, now),
            Permit::Go,
            "another route is not concerned"
        );
        assert_eq!(budget.ask(Route::Killmail, now + SECOND), Permit::Go);
        answer(&mut budget, 200, &said("3000"), now + SECOND);
        assert_eq!(budget.ask(Route::Killmail, now + SECOND), Permit::Go);
    }

    #[test]
    fn a_429_stops_its_group_for_as_long_as_it_says() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        let said = [
            ("x-ratelimit-group", "killmail"),
            ("x-ratelimit-limit", "3600/15m"),
            ("retry-after", "30"),
        ];
        assert_eq!(answer(&mut budget, 429, &said, now), Some(30 * SECOND));
        assert_eq!(
            budget.ask(Route::Killmail, now + 29 * SECOND),
            Permit::NotBefore(now + 30 * SECOND)
        );
        assert_eq!(budget.ask(Route::Names, now), Permit::Go);
        assert_eq!(budget.ask(Route::Killmail, now + 30 * SECOND), Permit::Go);
        // Without a group it stops everything; without a time for a minute.
        assert_eq!(answer(&mut Budget::default(), 429, &[], now), Some(60 * SECOND));
        let mut budget = Budget::default();
        answer(&mut budget, 429, &[], now);
        assert_eq!(budget.ask(Route::Names, now), Permit::NotBefore(now + 60 * SECOND));
    }

    #[test]
    fn the_old_limit_is_left_before_it_is_used_up() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        let said = |left| [("x-esi-error-limit-remain", left), ("x-esi-error-limit-reset", "40")];
        answer(&mut budget, 404, &said("16"), now);
        assert_eq!(budget.ask(Route::Names, now), Permit::Go);
        answer(&mut budget, 404, &said("15"), now);
        assert_eq!(budget.ask(Route::Names, now), Permit::NotBefore(now + 40 * SECOND));
        assert_eq!(budget.ask(Route::Names, now + 40 * SECOND), Permit::Go);
    }

    #[test]
    fn a_420_stops_every_route() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        let said = [("x-esi-error-limit-remain", "0"), ("x-esi-error-limit-reset", "17")];
        assert_eq!(answer(&mut budget, 420, &said, now), Some(17 * SECOND));
        for route in [Route::Killmail, Route::Names, Route::Universe] {
            assert_eq!(budget.ask(route, now), Permit::NotBefore(now + 17 * SECOND));
        }
    }

    #[test]
    fn down_means_away_with_backoff_and_any_good_answer_ends_it() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        for failure in 0..10 {
            let wait = if failure % 2 == 0 {
                answer(&mut budget, 502, &[], now)
            } else {
                Some(budget.no_answer(now))
            };
            assert!(wait.unwrap() <= AWAY_AT_MOST);
        }
        assert_eq!(
            answer(&mut budget, 503, &[("retry-after", "120")], now),
            Some(120 * SECOND)
        );
        assert_eq!(budget.ask(Route::Ids, now), Permit::NotBefore(now + 120 * SECOND));
        assert_eq!(budget.ask(Route::Ids, now + 120 * SECOND), Permit::Go);
        assert_eq!(answer(&mut budget, 404, &[], now), None);
        assert!(budget.no_answer(now) <= AWAY_FIRST);
    }

    #[test]
    fn limits_as_they_are_written() {
        assert_eq!(limit("3600/15m"), Some((3600.0, 900 * SECOND)));
        for odd in [
            "",
            "3600",
            "0/15m",
            "x/15m",
            "3600/15",
            "3600/0s",
            "1/99999999d",
            "-1/1m",
        ] {
            assert_eq!(limit(odd), None, "{odd}");
        }
    }
}
