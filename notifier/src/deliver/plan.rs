//! Which killmails the next message of a destination carries, and which are not posted at all. Pure.

use std::time::Duration;

use killfeed::filter::Distance;

use crate::{
    database::{KillOutcome, PostState, QueueRow},
    matching,
    outbox::{QueueHead, SkippedRow},
    render::EMBEDS,
    subscriptions::{ActiveSubscription, Ping, Snapshot, Style, SubscriptionId},
};

/// While more than this wait for a channel, `full` is sent as `compact`.
const COMPACT_ABOVE: usize = 20;

/// What the operator allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Beyond so many waiting killmails the oldest without a ping are folded.
    pub max_backlog: usize,
    /// What was published longer ago is folded.
    pub max_delay: Duration,
    /// Beyond so many posts a guild and day everything is folded.
    pub max_posts: u64,
}

/// What to do next for a destination.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct DeliveryPlan {
    /// Rows that are not posted.
    pub(super) ended: Vec<SkippedRow>,
    /// What is posted.
    pub(super) draft: Option<PlannedMessage>,
}

/// The next message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PlannedMessage {
    /// Killmails, at most as many as a message has embeds.
    Posts(Vec<PlannedPost>),
    /// Killmails of a battle in this system.
    Battle(u32, Vec<PlannedPost>),
    /// `N more killmails`.
    Fold(Vec<Folded>),
}

/// A killmail to be counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Folded {
    pub(super) sequence: u64,
    pub(super) killmail_id: u64,
    /// Where it happened, 0 = unknown.
    pub(super) system: u32,
    /// ISK in all; `None` = not known.
    pub(super) value: Option<f64>,
}

/// A killmail to be posted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlannedPost {
    pub(super) sequence: u64,
    pub(super) killmail_id: u64,
    pub(super) outcome: KillOutcome,
    pub(super) style: Style,
    /// Names of the subscriptions that match.
    pub(super) names: Vec<String>,
    /// Whom it would ping, cooldowns aside.
    pub(super) pings: Vec<Ping>,
    /// How far it is from what they watch.
    pub(super) distances: Vec<Distance>,
}

/// Chooses from the rows at the head. Up to the sequence `alone_until` each killmail goes alone.
/// `daily_limit_reached`: the guild has had its posts of the day.
pub(super) fn plan(
    head: &QueueHead,
    snapshot: &Snapshot,
    limits: &Limits,
    daily_limit_reached: bool,
    alone_until: u64,
    now: u64,
) -> DeliveryPlan {
    let overflow = head.waiting.saturating_sub(limits.max_backlog);
    let mut choice = DeliveryPlan::default();
    // An edit has its turn when it is the first.
    let posts = head.rows.iter().take_while(|(_, row)| !row.edit);
    for (index, (sequence, row)) in posts.enumerate() {
        let fate = match fate(row, snapshot, limits, index < overflow, now) {
            RowDecision::Post(_) if daily_limit_reached => RowDecision::Fold,
            fate => fate,
        };
        match (fate, &mut choice.draft) {
            (RowDecision::End(state), _) => choice.ended.push(SkippedRow {
                sequence: *sequence,
                state,
            }),
            (RowDecision::Fold, None) => choice.draft = Some(PlannedMessage::Fold(vec![folded(*sequence, row)])),
            (RowDecision::Fold, Some(PlannedMessage::Fold(all))) => all.push(folded(*sequence, row)),
            (RowDecision::Post(live), None) => {
                let post = chosen(*sequence, row, &live, head.waiting, now);
                choice.draft = Some(match post.style {
                    Style::Battle if row.system != 0 => PlannedMessage::Battle(row.system, vec![post]),
                    _ => PlannedMessage::Posts(vec![post]),
                });
            }
            (RowDecision::Post(live), Some(PlannedMessage::Battle(system, posts))) => {
                let post = chosen(*sequence, row, &live, head.waiting, now);
                // Another battle, or a post of its own, has its turn after this one.
                if post.style != Style::Battle || row.system != *system || *sequence <= alone_until {
                    break;
                }
                posts.push(post);
            }
            (RowDecision::Post(live), Some(PlannedMessage::Posts(posts))) => {
                let post = chosen(*sequence, row, &live, head.waiting, now);
                // Links stand in the content, above all embeds: a message has one or the other, or the order would break.
                let alike = posts
                    .iter()
                    .all(|other| (other.style == Style::Link) == (post.style == Style::Link));
                let battle = post.style == Style::Battle && row.system != 0;
                if posts.len() == EMBEDS
                    || !alike
                    || battle
                    || *sequence <= alone_until
                    || posts[0].sequence <= alone_until
                {
                    break;
                }
                posts.push(post);
            }
            (RowDecision::Fold, Some(PlannedMessage::Posts(_) | PlannedMessage::Battle(..)))
            | (RowDecision::Post(_), Some(PlannedMessage::Fold(_))) => break,
        }
    }
    choice
}

enum RowDecision<'a> {
    End(PostState),
    Fold,
    Post(Vec<(&'a ActiveSubscription, KillOutcome)>),
}

fn fate<'a>(row: &QueueRow, snapshot: &'a Snapshot, limits: &Limits, overflows: bool, now: u64) -> RowDecision<'a> {
    let age = now.saturating_sub(row.kill_time);
    let there: Vec<(&ActiveSubscription, KillOutcome)> = row
        .matches
        .iter()
        .filter_map(|found| Some((snapshot.get(SubscriptionId(found.subscription))?, found.outcome())))
        // What waited while it was paused, or before it was edited, is not its any more.
        .filter(|(active, _)| row.queued >= active.active_from)
        .collect();
    if there.is_empty() {
        return RowDecision::End(PostState::Dropped);
    }
    let live: Vec<_> = there
        .into_iter()
        .filter(|(active, _)| matching::admits(active, age))
        .collect();
    if live.is_empty() {
        return RowDecision::End(PostState::TooOld);
    }
    let delay = Duration::from_millis(now.saturating_sub(row.published));
    let pings = live.iter().any(|(active, _)| ping(active, age).is_some());
    if delay > limits.max_delay || (overflows && !pings) {
        RowDecision::Fold
    } else {
        RowDecision::Post(live)
    }
}

fn chosen(
    sequence: u64,
    row: &QueueRow,
    live: &[(&ActiveSubscription, KillOutcome)],
    waiting: usize,
    now: u64,
) -> PlannedPost {
    let age = now.saturating_sub(row.kill_time);
    let style = live.iter().map(|(active, _)| active.style).max().unwrap_or_default();
    let mut pings: Vec<Ping> = live.iter().filter_map(|(active, _)| ping(active, age)).collect();
    pings.sort_unstable();
    pings.dedup();
    PlannedPost {
        sequence,
        killmail_id: row.killmail_id,
        outcome: matching::agreed(live.iter().map(|(_, outcome)| *outcome)),
        style: if style == Style::Full && waiting > COMPACT_ABOVE {
            Style::Compact
        } else {
            style
        },
        names: live.iter().map(|(active, _)| active.name.clone()).collect(),
        pings,
        distances: matching::distances(live.iter().map(|(active, _)| *active), row.system),
    }
}

fn folded(sequence: u64, row: &QueueRow) -> Folded {
    Folded {
        sequence,
        killmail_id: row.killmail_id,
        system: row.system,
        value: row.value,
    }
}

fn ping(active: &ActiveSubscription, age: u64) -> Option<Ping> {
    active
        .ping
        .filter(|_| Duration::from_millis(age) <= active.ping_max_age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        database::MatchRow,
        matching::tests::{snapshot, subscription},
    };

    const HOUR: u64 = 3_600_000;
    const NOW: u64 = 100 * HOUR;
    const LIMITS: Limits = Limits {
        max_backlog: 100,
        max_delay: Duration::from_secs(3_600),
        max_posts: 5_000,
    };

    fn row(subscriptions: &[u64], age: u64) -> QueueRow {
        let found = |id: &u64| MatchRow {
            subscription: *id,
            outcome: KillOutcome::Neutral.into(),
        };
        QueueRow {
            killmail_id: 1,
            matches: subscriptions.iter().map(found).collect(),
            kill_time: NOW - age,
            published: NOW - age.min(HOUR),
            ..Default::default()
        }
    }

    fn head(rows: Vec<QueueRow>) -> QueueHead {
        QueueHead {
            batch: None,
            waiting: rows.len(),
            rows: (1..).zip(rows).collect(),
        }
    }

    fn sequences(choice: &DeliveryPlan) -> Vec<u64> {
        match &choice.draft {
            None => vec![],
            Some(PlannedMessage::Posts(posts) | PlannedMessage::Battle(_, posts)) => {
                posts.iter().map(|post| post.sequence).collect()
            }
            Some(PlannedMessage::Fold(folded)) => folded.iter().map(|one| one.sequence).collect(),
        }
    }

    fn folded(choice: &DeliveryPlan) -> Vec<u64> {
        assert!(matches!(choice.draft, Some(PlannedMessage::Fold(_))), "{choice:?}");
        sequences(choice)
    }

    #[test]
    fn one_post_when_nothing_waits_ten_at_most_when_many_do() {
        let snapshot = snapshot(&[subscription(1)]);
        for (waiting, expected) in [(1, 1), (3, 3), (25, 10)] {
            let choice = plan(&head(vec![row(&[1], 0); waiting]), &snapshot, &LIMITS, false, 0, NOW);
            assert_eq!(sequences(&choice).len(), expected);
            let Some(PlannedMessage::Posts(posts)) = choice.draft else {
                panic!("posts")
            };
            let style = if waiting > COMPACT_ABOVE {
                Style::Compact
            } else {
                Style::Full
            };
            assert_eq!(posts[0].style, style);
        }
        let choice = plan(&head(vec![row(&[1], 0); 5]), &snapshot, &LIMITS, false, 2, NOW);
        assert_eq!(sequences(&choice), [1], "alone after a refusal");
    }

    #[test]
    fn nobody_left_or_too_old_is_not_posted() {
        let mut short = subscription(2);
        short.spec.max_age = crate::subscriptions::MaxAge::Limit(Duration::from_secs(60));
        let snapshot = snapshot(&[subscription(1), short]);
        let rows = vec![
            row(&[9], 0),
            row(&[2], 61_000),
            row(&[2, 1], 61_000),
            row(&[1], 7 * HOUR),
        ];
        let choice = plan(&head(rows), &snapshot, &LIMITS, false, 0, NOW);
        let ended: Vec<_> = choice.ended.iter().map(|end| (end.sequence, end.state)).collect();
        assert_eq!(
            ended,
            [(1, PostState::Dropped), (2, PostState::TooOld), (4, PostState::TooOld)]
        );
        let Some(PlannedMessage::Posts(posts)) = choice.draft else {
            panic!("posts")
        };
        assert_eq!(posts[0].names, ["sub 1"], "whose age limit is over does not count");
    }

    #[test]
    fn late_ones_and_too_many_are_folded_in_order() {
        let mut pinging = subscription(2);
        pinging.spec.ping = Some(Ping::Here);
        let snapshot = snapshot(&[subscription(1), pinging]);
        let mut late = row(&[1], 2 * HOUR);
        late.published = NOW - HOUR - 1;
        let choice = plan(
            &head(vec![late.clone(), late.clone(), row(&[1], 0)]),
            &snapshot,
            &LIMITS,
            false,
            0,
            NOW,
        );
        assert_eq!(folded(&choice), [1, 2]);
        let choice = plan(&head(vec![row(&[1], 0), late]), &snapshot, &LIMITS, false, 0, NOW);
        assert_eq!(sequences(&choice), [1], "what is late comes after it, as in the log");
        let tight = Limits {
            max_backlog: 1,
            ..LIMITS
        };
        let rows = vec![row(&[1], 0), row(&[1], 0), row(&[2], 0), row(&[1], 0)];
        let choice = plan(&head(rows.clone()), &snapshot, &tight, false, 0, NOW);
        assert_eq!(folded(&choice), [1, 2]);
        let choice = plan(&head(rows[2..].to_vec()), &snapshot, &tight, false, 0, NOW);
        assert_eq!(sequences(&choice), [1, 2], "a ping is not folded");
    }

    #[test]
    fn styles_and_pings_of_several_subscriptions() {
        let with = |id, style, ping| {
            let mut subscription = subscription(id);
            subscription.spec.style = style;
            subscription.spec.ping = ping;
            subscription
        };
        let mut brief = with(4, Style::Link, Some(Ping::Everyone));
        brief.spec.ping_max_age = Some(Duration::from_secs(60));
        let all = [
            with(1, Style::Link, Some(Ping::Role(7))),
            with(2, Style::Compact, Some(Ping::Here)),
            with(3, Style::Battle, Some(Ping::Here)),
            brief,
        ];
        let snapshot = snapshot(&all);
        for (ids, age, style, pings) in [
            (
                vec![1, 2, 3, 4],
                61_000,
                Style::Compact,
                vec![Ping::Here, Ping::Role(7)],
            ),
            (
                vec![1, 3, 4],
                60_000,
                Style::Link,
                vec![Ping::Here, Ping::Everyone, Ping::Role(7)],
            ),
            (vec![3], 16 * 60_000, Style::Battle, vec![]),
        ] {
            let choice = plan(&head(vec![row(&ids, age)]), &snapshot, &LIMITS, false, 0, NOW);
            let Some(PlannedMessage::Posts(posts)) = choice.draft else {
                panic!("posts")
            };
            assert_eq!((posts[0].style, posts[0].pings.clone()), (style, pings));
        }
        let choice = plan(
            &head(vec![row(&[1], 0), row(&[2], 0)]),
            &snapshot,
            &LIMITS,
            false,
            0,
            NOW,
        );
        assert_eq!(sequences(&choice), [1], "links and embeds do not mix");
    }
}
