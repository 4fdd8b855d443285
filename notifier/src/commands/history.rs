//! What became of killmails here, counted. Pure over the rows it is given.

use std::collections::BTreeMap;

use crate::{
    database::{PostRow, PostState},
    sink::Destination,
    subscriptions::SubscriptionId,
};

const DAY: u64 = 86_400_000;

/// What went on, for one subscription or one destination. Times are milliseconds, 0 = never (within the 7 days kept).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    /// When something last matched.
    pub last_match: u64,
    /// When something was last posted.
    pub last_post: u64,
    /// Posts in the last 24 hours.
    pub posts: u64,
    /// Killmails that wait now.
    pub waiting: u64,
    /// Folded in the last 24 hours.
    pub folded: u64,
    /// Of unknown outcome, or refused by Discord, in the last 24 hours.
    pub lost: u64,
}

/// Activity by subscription and by destination.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ActivityReport {
    /// Of each subscription that anything matched.
    pub subscriptions: BTreeMap<SubscriptionId, Activity>,
    /// Of each destination that anything was for.
    pub destinations: BTreeMap<Destination, Activity>,
}

impl ActivityReport {
    /// Counts one row.
    pub fn count(&mut self, destination: &Destination, row: &PostRow, now: u64) {
        self.destinations
            .entry(destination.clone())
            .or_default()
            .count(row, now);
        for found in &row.matches {
            let id = SubscriptionId(found.subscription);
            self.subscriptions.entry(id).or_default().count(row, now);
        }
    }

    /// What went on for a subscription.
    pub fn of(&self, id: SubscriptionId) -> Activity {
        self.subscriptions.get(&id).copied().unwrap_or_default()
    }

    /// What went on in all destinations together.
    pub fn total(&self) -> Activity {
        self.destinations
            .values()
            .fold(Activity::default(), |sum, one| Activity {
                last_match: sum.last_match.max(one.last_match),
                last_post: sum.last_post.max(one.last_post),
                posts: sum.posts + one.posts,
                waiting: sum.waiting + one.waiting,
                folded: sum.folded + one.folded,
                lost: sum.lost + one.lost,
            })
    }
}

impl Activity {
    fn count(&mut self, row: &PostRow, now: u64) {
        self.last_match = self.last_match.max(row.since);
        let today = u64::from(now.saturating_sub(row.since) < DAY);
        match row.state() {
            PostState::Sent => {
                self.last_post = self.last_post.max(row.since);
                self.posts += today;
            }
            PostState::Queued => self.waiting += 1,
            PostState::Folded => self.folded += today,
            PostState::Unknown | PostState::Dead => self.lost += today,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::MatchRow;

    #[test]
    fn rows_are_counted_for_their_subscriptions_and_their_destination() {
        let row = |state: PostState, since, ids: &[u64]| {
            let found = |id: &u64| MatchRow {
                subscription: *id,
                outcome: 0,
            };
            let mut row = PostRow {
                since,
                matches: ids.iter().map(found).collect(),
                ..Default::default()
            };
            row.set_state(state);
            row
        };
        let now = 10 * DAY;
        let here = Destination::Channel(1);
        let mut history = ActivityReport::default();
        for (state, since, ids) in [
            (PostState::Sent, now - 5, &[1, 2][..]),
            (PostState::Sent, now - DAY, &[1]),
            (PostState::Queued, now - 1, &[1]),
            (PostState::TooOld, now, &[2]),
            (PostState::Unknown, now, &[2]),
        ] {
            history.count(&here, &row(state, since, ids), now);
        }
        let one = history.of(SubscriptionId(1));
        assert_eq!(
            (one.posts, one.last_post, one.last_match, one.waiting),
            (1, now - 5, now - 1, 1)
        );
        let two = history.of(SubscriptionId(2));
        assert_eq!((two.posts, two.last_match, two.lost), (1, now, 1));
        assert_eq!(history.of(SubscriptionId(3)), Activity::default());
        assert_eq!((history.total().posts, history.total().waiting), (1, 1));
    }
}
