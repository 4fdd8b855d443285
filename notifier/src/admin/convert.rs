//! The service's messages ↔ subscriptions. A message goes through the same reader as a row of the subscriptions file, so
//! that both refuse the same things in the same words.

use killfeed::{
    Timestamp,
    v1::{self, SubscriptionSide, SubscriptionState, SubscriptionStyle},
};
use killfeed_service::clock;
use serde_json::json;

use crate::{
    database::CountersRow,
    sink::Destination,
    subscriptions::{MaxAge, PING_MAX_AGE, Side, Style, Subscription, SubscriptionSpec, file},
};

/// What the service says about a subscription. A webhook's URL is never among it.
pub(super) fn message(subscription: &Subscription, counters: CountersRow) -> v1::Subscription {
    let wish = &subscription.spec;
    let (state, detail, since) = state(subscription);
    v1::Subscription {
        name: wish.name.clone(),
        guild_id: wish.guild,
        channel_id: match wish.destination {
            Destination::Channel(id) => id,
            Destination::Webhook(_) => 0,
        },
        filter: wish.filter.clone(),
        us: wish.us.clone(),
        side: match wish.side {
            Side::Kills => SubscriptionSide::Kills,
            Side::Losses => SubscriptionSide::Losses,
            Side::Both => SubscriptionSide::Both,
        }
        .into(),
        ping: wish.ping.map(|ping| ping.to_string()).unwrap_or_default(),
        ping_max_age_seconds: wish.ping_max_age.unwrap_or(PING_MAX_AGE).as_secs(),
        max_age_seconds: match wish.max_age {
            MaxAge::Limit(limit) => limit.as_secs(),
            MaxAge::Default | MaxAge::Unlimited => 0,
        },
        any_age: wish.max_age == MaxAge::Unlimited,
        style: match wish.style {
            Style::Full => SubscriptionStyle::Full,
            Style::Compact => SubscriptionStyle::Compact,
            Style::Link => SubscriptionStyle::Link,
            Style::Battle => SubscriptionStyle::Battle,
        }
        .into(),
        paused: wish.paused,
        state: state.into(),
        state_detail: detail,
        state_since: Some(timestamp(since)),
        webhook_url: String::new(),
        matched: counters.matched,
        posted: counters.posted,
        last_match: (counters.last_match != 0).then(|| timestamp(counters.last_match)),
        last_post: (counters.last_post != 0).then(|| timestamp(counters.last_post)),
    }
}

/// Of milliseconds since 1970, in whole seconds.
fn timestamp(millis: u64) -> Timestamp {
    let whole_seconds = millis - millis % 1_000;
    clock::timestamp(i64::try_from(whole_seconds).unwrap_or_default())
}

fn state(one: &Subscription) -> (SubscriptionState, String, u64) {
    match &one.suspension {
        Some(suspension) if suspension.retired => {
            (SubscriptionState::Retired, suspension.reason.clone(), suspension.since)
        }
        Some(suspension) => (
            SubscriptionState::Suspended,
            suspension.reason.clone(),
            suspension.since,
        ),
        None if one.spec.paused => (SubscriptionState::Paused, "paused by a user".to_owned(), one.changed.1),
        // It matches nothing yet, and is retried automatically.
        None if one.compiled.is_none() => (SubscriptionState::Suspended, one.problem.clone(), one.changed.1),
        None => (SubscriptionState::Active, String::new(), one.changed.1),
    }
}

/// The wish in a message, or what is wrong with it.
pub(super) fn wish(message: v1::Subscription, api_url: &str) -> Result<SubscriptionSpec, String> {
    let side = match message.side() {
        SubscriptionSide::Kills => "kills",
        SubscriptionSide::Losses => "losses",
        SubscriptionSide::Both | SubscriptionSide::Unspecified => "both",
    };
    let style = match message.style() {
        SubscriptionStyle::Compact => "compact",
        SubscriptionStyle::Link => "link",
        SubscriptionStyle::Battle => "battle",
        SubscriptionStyle::Full | SubscriptionStyle::Unspecified => "full",
    };
    let mut row = json!({
        "name": message.name, "filter": message.filter, "us": message.us, "side": side, "style": style,
        "ping": message.ping, "paused": message.paused,
    });
    if message.ping_max_age_seconds > 0 {
        row["ping_max_age"] = format!("{}s", message.ping_max_age_seconds).into();
    }
    match (message.any_age, message.max_age_seconds) {
        (true, _) => row["max_age"] = "unlimited".into(),
        (false, 0) => {}
        (false, seconds) => row["max_age"] = format!("{seconds}s").into(),
    }
    if message.webhook_url.is_empty() || message.guild_id != 0 || message.channel_id != 0 {
        row["guild"] = message.guild_id.to_string().into();
        row["channel"] = message.channel_id.to_string().into();
    }
    if !message.webhook_url.is_empty() {
        row["webhook"] = message.webhook_url.into();
    }
    let rows = file::parse(&json!({ "subscription": [row] }).to_string(), api_url);
    let mut rows = rows.map_err(|error| error.to_string())?;
    rows.pop().ok_or_else(|| "expected a subscription".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{matching::tests::subscription, subscriptions::Ping};

    #[test]
    fn what_is_sent_comes_back() {
        let mut one = subscription(1);
        one.spec.us = "alliance:1".into();
        one.spec.side = Side::Kills;
        one.spec.style = Style::Link;
        one.spec.ping = Some(Ping::Role(4));
        one.spec.ping_max_age = Some(Duration::from_secs(90));
        one.spec.max_age = MaxAge::Unlimited;
        let counters = CountersRow {
            matched: 5,
            posted: 4,
            last_match: 9_500,
            last_post: 0,
        };
        let message = message(&one, counters);
        assert_eq!(message.state(), SubscriptionState::Active);
        assert_eq!((message.matched, message.posted), (5, 4));
        assert_eq!(message.last_match.map(|time| time.seconds), Some(9));
        assert_eq!(message.last_post, None, "never");
        assert_eq!(wish(message, "").unwrap(), one.spec);
    }

    #[test]
    fn what_cannot_be_is_refused_in_the_file_s_words() {
        let error = wish(
            v1::Subscription {
                name: "x".into(),
                guild_id: 1,
                ..Default::default()
            },
            "",
        )
        .unwrap_err();
        assert!(error.contains("channel: expected Discord's id"), "{error}");
        let hook = v1::Subscription {
            name: "x".into(),
            webhook_url: "https://evil.example/api/webhooks/1/x".into(),
            ..Default::default()
        };
        assert!(wish(hook, "").unwrap_err().contains("webhook: expected"));
    }
}
