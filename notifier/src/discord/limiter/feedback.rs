//! What an answer of Discord says about rate limits.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

/// How long to wait where a 429 does not say: rather a little too long than an invalid request more.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);
/// The longest wait believed; Discord's own limits reset within a day.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// What an answer says about rate limits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Feedback {
    /// The state of the bucket the request counted against, if the answer names one.
    pub(super) bucket: Option<BucketState>,
    /// For a 429: whose limit was hit, and how long to wait.
    pub(super) limited: Option<(Scope, Duration)>,
    /// Whether Discord counts it towards its ban for invalid requests.
    pub(super) invalid: bool,
}

/// The state of a bucket after an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BucketState {
    /// Discord's name for it; the same name with another channel is another bucket.
    pub(super) name: String,
    /// Requests left until it resets.
    pub(super) remaining: u32,
    /// Until then.
    pub(super) reset_after: Duration,
}

/// Whose limit a 429 speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// This bot's, in this bucket.
    User,
    /// This bot's over all buckets, or of the whole address (Cloudflare's 429 has none of Discord's headers).
    Global,
    /// The resource's, shared with other bots: not this bot's fault and not counted as invalid.
    Shared,
}

impl Feedback {
    /// Reads an answer's status and headers.
    pub(crate) fn read(status: StatusCode, headers: &HeaderMap) -> Self {
        let bucket = bucket(headers);
        let limited = (status == StatusCode::TOO_MANY_REQUESTS).then(|| {
            let wait = retry_after(headers)
                .or(bucket.as_ref().map(|bucket| bucket.reset_after))
                .unwrap_or(DEFAULT_RETRY_AFTER);
            (scope(headers), wait)
        });
        let shared = matches!(limited, Some((Scope::Shared, _)));
        Self {
            bucket,
            limited,
            invalid: matches!(status.as_u16(), 401 | 403 | 429) && !shared,
        }
    }

    /// For a 429: how long to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.limited.map(|(_, wait)| wait)
    }
}

fn bucket(headers: &HeaderMap) -> Option<BucketState> {
    Some(BucketState {
        name: text(headers, "x-ratelimit-bucket")?.to_owned(),
        remaining: text(headers, "x-ratelimit-remaining")?.parse().ok()?,
        // Not `-Reset`, a time of day: the clocks need not agree.
        reset_after: seconds(text(headers, "x-ratelimit-reset-after")?)?,
    })
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    seconds(text(headers, "retry-after")?)
}

fn scope(headers: &HeaderMap) -> Scope {
    let global = text(headers, "x-ratelimit-global").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    match text(headers, "x-ratelimit-scope") {
        Some("shared") => Scope::Shared,
        Some("global") => Scope::Global,
        _ if global => Scope::Global,
        Some(_) => Scope::User,
        // Discord's own 429s name a bucket or a scope. One with neither comes from Cloudflare and means all requests.
        None if text(headers, "x-ratelimit-bucket").is_none() => Scope::Global,
        None => Scope::User,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Seconds, whole or with a fraction.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().parse().ok()?;
    let wait = Duration::try_from_secs_f64(seconds.max(0.0)).ok()?;
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, headers: &[(&'static str, &str)]) -> Feedback {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        Feedback::read(StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn a_bucket_is_learnt() {
        let feedback = read(
            200,
            &[
                ("x-ratelimit-bucket", "abcd"),
                ("x-ratelimit-limit", "5"),
                ("x-ratelimit-remaining", "4"),
                ("x-ratelimit-reset", "1470173023.123"),
                ("x-ratelimit-reset-after", "4.75"),
            ],
        );
        let bucket = feedback.bucket.unwrap();
        assert_eq!((bucket.name.as_str(), bucket.remaining), ("abcd", 4));
        assert_eq!(bucket.reset_after, Duration::from_millis(4_750));
        assert_eq!((feedback.limited, feedback.invalid), (None, false));
    }

    #[test]
    fn each_429_says_whose_it_is() {
        let user = read(429, &[("retry-after", "2"), ("x-ratelimit-scope", "user")]);
        assert_eq!(user.limited, Some((Scope::User, Duration::from_secs(2))));
        assert!(user.invalid);
        let shared = read(429, &[("retry-after", "0.5"), ("x-ratelimit-scope", "shared")]);
        assert_eq!(shared.limited, Some((Scope::Shared, Duration::from_millis(500))));
        assert!(!shared.invalid, "shared limits do not count as invalid");
        let global = read(429, &[("retry-after", "1"), ("x-ratelimit-global", "true")]);
        assert_eq!(global.limited, Some((Scope::Global, Duration::from_secs(1))));
        let cloudflare = read(429, &[("retry-after", "600")]);
        assert_eq!(cloudflare.limited, Some((Scope::Global, Duration::from_secs(600))));
    }

    #[test]
    fn odd_headers_do_no_harm() {
        assert_eq!(read(429, &[]).retry_after(), Some(DEFAULT_RETRY_AFTER));
        for odd in ["-1", "NaN", "inf", "1e400", "", "soon", "9e18"] {
            let feedback = read(429, &[("retry-after", odd)]);
            assert!(
                feedback.retry_after().is_some_and(|wait| wait <= MAX_RETRY_AFTER),
                "{odd}"
            );
        }
        assert!(read(403, &[]).invalid && read(401, &[]).invalid);
        assert!(!read(404, &[]).invalid && !read(500, &[]).invalid);
    }
}
