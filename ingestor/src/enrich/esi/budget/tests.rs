//! Every rule of ESI's two families of limits.

use http::{HeaderName, HeaderValue};
use killfeed_service::clock::from_ms;

use super::*;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair =
        |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    pairs.iter().map(pair).collect()
}

fn answer(budget: &mut Budget, status: u16, pairs: &[(&'static str, &'static str)], now: Uptime) -> Option<Duration> {
    budget.answered(
        Route::Killmail,
        StatusCode::from_u16(status).unwrap(),
        &headers(pairs),
        now,
    )
}

const SECOND: Duration = Duration::from_secs(1);

const fn start() -> Uptime {
    Uptime::new(Duration::from_secs(86_400))
}

fn at(up: Uptime, wall_ms: i64) -> Now {
    Now {
        wall: from_ms(wall_ms),
        up,
    }
}

#[test]
fn tokens_are_paced_when_they_run_low_and_an_answer_says_what_is_left() {
    let (mut budget, now) = (Budget::default(), start());
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
    assert_eq!(budget.left(now).tokens, [(Route::Killmail, 180.0)]);
    assert_eq!(budget.ask(Route::Killmail, now + SECOND), Permit::Go);
    answer(&mut budget, 200, &said("3000"), now + SECOND);
    assert_eq!(budget.left(now + SECOND).tokens, [(Route::Killmail, 3_000.0)]);
    assert_eq!(budget.ask(Route::Killmail, now + SECOND), Permit::Go);
}

#[test]
fn a_429_stops_its_group_for_as_long_as_it_says() {
    let (mut budget, now) = (Budget::default(), start());
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
    assert_eq!(budget.left(now).silent, Duration::ZERO, "other groups may be asked");
    let mut budget = Budget::default();
    answer(&mut budget, 429, &[], now);
    assert_eq!(budget.ask(Route::Names, now), Permit::NotBefore(now + 60 * SECOND));
    // A later answer, to a request that was under way, makes it no shorter; and a second it is at least.
    let mut budget = Budget::default();
    answer(&mut budget, 429, &said, now);
    answer(&mut budget, 429, &[said[0], said[1], ("retry-after", "0")], now);
    assert_eq!(budget.ask(Route::Killmail, now), Permit::NotBefore(now + 30 * SECOND));
    assert_eq!(
        answer(&mut Budget::default(), 429, &[("retry-after", "0")], now),
        Some(SECOND)
    );
}

#[test]
fn the_old_limit_is_left_before_it_is_used_up() {
    let (mut budget, now) = (Budget::default(), start());
    let said = |left| [("x-esi-error-limit-remain", left), ("x-esi-error-limit-reset", "40")];
    answer(&mut budget, 404, &said("51"), now);
    assert_eq!(budget.left(now).errors, Some(51));
    assert_eq!(budget.ask(Route::Names, now), Permit::Go);
    answer(&mut budget, 404, &said("50"), now);
    assert_eq!(budget.ask(Route::Names, now), Permit::NotBefore(now + 40 * SECOND));
    assert_eq!(budget.ask(Route::Names, now + 40 * SECOND), Permit::Go);
}

#[test]
fn a_420_stops_every_route() {
    let (mut budget, now) = (Budget::default(), start());
    let said = [("x-esi-error-limit-remain", "0"), ("x-esi-error-limit-reset", "17")];
    assert_eq!(answer(&mut budget, 420, &said, now), Some(17 * SECOND));
    for route in [Route::Killmail, Route::Names, Route::Universe] {
        assert_eq!(budget.ask(route, now), Permit::NotBefore(now + 17 * SECOND));
    }
}

#[test]
fn down_means_away_with_backoff_and_any_good_answer_ends_it() {
    let (mut budget, now) = (Budget::default(), start());
    for failure in 0..10 {
        let wait = if failure % 2 == 0 {
            answer(&mut budget, 502, &[], now)
        } else {
            Some(budget.no_answer(now))
        };
        assert!(wait.unwrap() <= MAX_BACKOFF);
    }
    assert_eq!(
        answer(&mut budget, 503, &[("retry-after", "120")], now),
        Some(120 * SECOND)
    );
    assert_eq!(budget.ask(Route::Ids, now), Permit::NotBefore(now + 120 * SECOND));
    assert_eq!(budget.ask(Route::Ids, now + 120 * SECOND), Permit::Go);
    assert_eq!(answer(&mut budget, 404, &[], now), None);
    assert!(budget.no_answer(now) <= INITIAL_BACKOFF);
}

#[test]
fn names_leave_half_of_a_groups_tokens_alone() {
    let (mut budget, now) = (Budget::default(), start());
    let said = headers(&[
        ("x-ratelimit-group", "universe"),
        ("x-ratelimit-limit", "600/15m"),
        ("x-ratelimit-remaining", "303"),
    ]);
    budget.answered(Route::Names, StatusCode::OK, &said, now);
    assert_eq!(budget.ask(Route::Names, now), Permit::Go);
    assert!(matches!(budget.ask(Route::Names, now), Permit::NotBefore(_)));
}

#[test]
fn not_being_welcome_stops_every_route_for_longer_each_time() {
    let (mut budget, now) = (Budget::default(), start());
    for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(answer(&mut budget, 403, &[], now), Some(60 * minutes * SECOND));
    }
    assert!(matches!(
        budget.ask(Route::Names, now + 3_599 * SECOND),
        Permit::NotBefore(_)
    ));
    assert_eq!(answer(&mut budget, 200, &[], now + 3_600 * SECOND), None);
    assert_eq!(answer(&mut budget, 403, &[], now), Some(60 * SECOND));
}

#[test]
fn refusals_outlive_the_process() {
    let (mut budget, now) = (Budget::default(), start());
    assert_eq!(budget.refusals(at(now, 1_000)), []);
    let group = [
        ("x-ratelimit-group", "killmail"),
        ("x-ratelimit-limit", "3600/15m"),
        ("retry-after", "30"),
    ];
    answer(&mut budget, 429, &group, now);
    let errors = headers(&[("x-esi-error-limit-remain", "50"), ("x-esi-error-limit-reset", "40")]);
    budget.answered(Route::Names, StatusCode::NOT_FOUND, &errors, now);
    budget.no_answer(now);
    let saved = budget.refusals(at(now, 1_000));
    let expected = [("errors".to_owned(), 41_000), ("killmail".to_owned(), 31_000)];
    assert_eq!(saved, expected, "that it was down is not kept");

    let mut next = Budget::default();
    next.restore(&saved, at(now, 11_000));
    // Which group a route is in is not known yet: both refusals hold for it.
    assert_eq!(next.ask(Route::Killmail, now), Permit::NotBefore(now + 30 * SECOND));
    assert_eq!(next.ask(Route::Killmail, now + 30 * SECOND), Permit::Go);
    assert_eq!(next.ask(Route::Names, now), Permit::NotBefore(now + 30 * SECOND));
    assert_eq!(next.refusals(at(now, 11_000)), saved, "and the one after it");
    answer(&mut budget, 420, &[("retry-after", "7")], now);
    let mut next = Budget::default();
    next.restore(&budget.refusals(at(now, 0)), at(now, 0));
    assert_eq!(next.ask(Route::Killmail, now), Permit::NotBefore(now + 40 * SECOND));
    assert_eq!(next.ask(Route::Ids, now), Permit::NotBefore(now + 40 * SECOND));
    // A clock that was set back by years, and one ahead of them all.
    let mut next = Budget::default();
    next.restore(&[("all".to_owned(), u64::MAX), ("odd".to_owned(), 5)], at(now, 0));
    assert_eq!(next.ask(Route::Names, now), Permit::NotBefore(now + MAX_BAN));
    next.restore(&saved, at(now, 50_000));
    next.all_until = None;
    assert_eq!(next.ask(Route::Killmail, now), Permit::Go);
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
