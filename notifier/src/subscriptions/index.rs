//! What killmails are matched against: made from the subscriptions, never changed, swapped as a whole.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use killfeed::{
    filter::{self, Distance, FilterSet, InvalidFilter, Program},
    v1::{Filter, Killmail},
};

use super::{MaxAge, PING_MAX_AGE, Ping, Side, Style, Subscription, SubscriptionId};
use crate::{
    database::{CompiledRow, SuspensionRow},
    sink::Destination,
};

/// A subscription that can match: compiled and not paused, its defaults filled in.
#[derive(Debug)]
pub struct ActiveSubscription {
    /// Which.
    pub id: SubscriptionId,
    /// Whose.
    pub guild: u64,
    /// For the footer.
    pub name: String,
    /// Where its posts go.
    pub destination: Destination,
    /// Its filter.
    pub filter: Program,
    /// Whose kills and losses these are; `None` = every match is neutral.
    pub us: Option<Us>,
    /// Which of them.
    pub side: Side,
    /// Who is pinged.
    pub ping: Option<Ping>,
    /// For kills at most this old.
    pub ping_max_age: Duration,
    /// Older kills are not posted; `None` = any age.
    pub max_age: Option<Duration>,
    /// How posts look.
    pub style: Style,
    /// Milliseconds: what was published before is not its business.
    pub active_from: u64,
    source: Arc<Subscription>,
}

impl ActiveSubscription {
    /// How far a system is from the origins of the `near( )` in its filter, the nearest first.
    pub fn distances(&self, system: u32) -> Vec<Distance> {
        let tree = self.source.compiled.as_ref().and_then(|row| row.filter.as_ref());
        tree.map_or_else(Vec::new, |tree| filter::distances(tree, system))
    }
}

/// `us`, compiled for both sides.
#[derive(Debug)]
pub struct Us {
    /// `victim(us)`.
    pub victim: Program,
    /// `attacker(us)`.
    pub attacker: Program,
}

/// All of them at one moment, resolved per destination.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// What each asks of a killmail, `us` included, under its id: found by killmail.
    set: FilterSet,
    /// Of those that can match, and the guild of the first of them.
    destinations: BTreeMap<Destination, u64>,
    by_id: HashMap<SubscriptionId, Arc<ActiveSubscription>>,
    suspensions: BTreeMap<Destination, SuspensionRow>,
    served_elsewhere: BTreeSet<Destination>,
    /// Of all subscriptions, whether they can match or not.
    here: BTreeSet<Destination>,
}

impl Snapshot {
    /// Those of `subscriptions` that can match; `max_age` is the notifier's own limit.
    pub fn new<'a>(subscriptions: impl IntoIterator<Item = &'a Subscription>, max_age: Duration) -> Self {
        let subscriptions: Vec<_> = subscriptions.into_iter().cloned().map(Arc::new).collect();
        Self::source(subscriptions.iter(), max_age, &Self::default())
    }

    /// The same, where those that have not changed are taken over from `before`: programs are made once, not at every change
    /// of some other subscription.
    pub(super) fn source<'a>(
        subscriptions: impl Iterator<Item = &'a Arc<Subscription>>,
        max_age: Duration,
        before: &Self,
    ) -> Self {
        let mut snapshot = Self {
            set: before.set.clone(),
            ..Self::default()
        };
        for subscription in subscriptions {
            let destination = &subscription.spec.destination;
            snapshot.here.insert(destination.clone());
            if let Some(suspension) = &subscription.suspension {
                snapshot.suspensions.insert(destination.clone(), suspension.clone());
            }
            let retired = subscription
                .suspension
                .as_ref()
                .is_some_and(|suspension| suspension.retired);
            if subscription.spec.paused || retired {
                continue;
            }
            let unchanged = before.by_id.get(&subscription.id);
            let unchanged = unchanged
                .filter(|active| Arc::ptr_eq(&active.source, subscription))
                .cloned();
            let active = unchanged.or_else(|| active(subscription, max_age, &mut snapshot.set).map(Arc::new));
            if let Some(active) = active {
                snapshot.destinations.entry(destination.clone()).or_insert(active.guild);
                snapshot.by_id.insert(active.id, active);
            }
        }
        for gone in before.by_id.keys().filter(|id| !snapshot.by_id.contains_key(id)) {
            snapshot.set.remove(gone.0);
        }
        snapshot
    }

    /// What may want this killmail: all whose filter and `us` match it, and hardly any other. Ordered by destination, then name.
    pub fn candidates(&self, killmail: &Killmail) -> Vec<&ActiveSubscription> {
        let found = self.set.matches(killmail).into_iter();
        let mut candidates: Vec<&ActiveSubscription> = found.filter_map(|id| self.get(SubscriptionId(id))).collect();
        candidates.sort_unstable_by(|a, b| (&a.destination, &a.name, a.id).cmp(&(&b.destination, &b.name, b.id)));
        candidates
    }

    /// Each destination for which something may match.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        self.destinations.keys()
    }

    /// One of them; `None` if it was deleted, paused or retired, or has no filter.
    pub fn get(&self, id: SubscriptionId) -> Option<&ActiveSubscription> {
        self.by_id.get(&id).map(Arc::as_ref)
    }

    /// Why a destination takes no posts, if so.
    pub fn suspension(&self, destination: &Destination) -> Option<&SuspensionRow> {
        self.suspensions.get(destination)
    }

    /// How many destinations take no posts for now; those that are gone for good are not among them.
    pub fn suspended(&self) -> usize {
        let for_now = |suspension: &&SuspensionRow| !suspension.retired;
        self.suspensions.values().filter(for_now).count()
    }

    /// Says which destinations only subscriptions that another process serves post to.
    pub(super) fn set_elsewhere(&mut self, destinations: impl Iterator<Item = Destination>) {
        let elsewhere = destinations.filter(|destination| !self.here.contains(destination));
        self.served_elsewhere = elsewhere.collect();
    }

    /// Whether another process serves the destination: what waits for it here waits for being moved.
    pub fn is_elsewhere(&self, destination: &Destination) -> bool {
        self.served_elsewhere.contains(destination)
    }

    /// The guild of a destination that something may match for.
    pub fn guild(&self, destination: &Destination) -> Option<u64> {
        self.destinations.get(destination).copied()
    }

    /// How many can match.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none can match.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

/// Made ready, and put into the set in the place of what had its id before.
fn active(subscription: &Arc<Subscription>, max_age: Duration, set: &mut FilterSet) -> Option<ActiveSubscription> {
    set.remove(subscription.id.0);
    let wish = &subscription.spec;
    let compiled = subscription.compiled.as_ref()?;
    let program = |filter: &Option<Filter>| filter.as_ref().map(Program::new).transpose();
    let mut programs = || -> Result<_, InvalidFilter> {
        let us = match (program(&compiled.victim_is_us)?, program(&compiled.attacker_is_us)?) {
            (Some(victim), Some(attacker)) => Some(Us { victim, attacker }),
            _ => None,
        };
        let filter = program(&compiled.filter)?;
        if let Some(wanted) = wanted(compiled, wish.side)? {
            set.add(subscription.id.0, &wanted)?;
        }
        Ok((filter, us))
    };
    let (filter, us) = match programs() {
        Ok((Some(filter), us)) => (filter, us),
        Ok((None, _)) => return None,
        // A tree of another version of the language: it is compiled again from the text at the next opening of the stream.
        Err(error) => {
            tracing::warn!(name = wish.name, guild = wish.guild, %error, "subscription does not match until it is recompiled");
            return None;
        }
    };
    Some(ActiveSubscription {
        source: subscription.clone(),
        id: subscription.id,
        guild: wish.guild,
        name: wish.name.clone(),
        destination: wish.destination.clone(),
        filter,
        us,
        side: wish.side,
        ping: wish.ping,
        ping_max_age: wish.ping_max_age.unwrap_or(PING_MAX_AGE),
        max_age: match wish.max_age {
            MaxAge::Default => Some(max_age),
            MaxAge::Limit(limit) => Some(limit),
            MaxAge::Unlimited => None,
        },
        style: wish.style,
        active_from: subscription.active_from,
    })
}

/// What a subscription asks of a killmail as one filter: its own, and that `us` took part on a side that is wanted.
fn wanted(compiled: &CompiledRow, side: Side) -> Result<Option<Filter>, InvalidFilter> {
    let Some(own) = &compiled.filter else { return Ok(None) };
    let (Some(victim), Some(attacker)) = (&compiled.victim_is_us, &compiled.attacker_is_us) else {
        return Ok(Some(own.clone()));
    };
    let us = match side {
        Side::Losses => victim.clone(),
        Side::Kills => attacker.clone(),
        Side::Both => filter::any_of([victim, attacker])?,
    };
    filter::all_of([own, &us]).map(Some)
}
