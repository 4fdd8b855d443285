//! Which subscriptions a killmail matches, per destination. Pure: the snapshot and the clock are passed in.

use killfeed::{filter::Distance, v1::Killmail};

use crate::{
    database::KillOutcome,
    sink::Destination,
    subscriptions::{ActiveSubscription, Side, Snapshot, SubscriptionId},
};

/// A destination that a killmail is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    /// Where to.
    pub destination: Destination,
    /// For whom, and what it is to them. At least one.
    pub subscriptions: Vec<(SubscriptionId, KillOutcome)>,
    /// Whether at least one of them admits the kill's age.
    pub in_time: bool,
}

/// Every destination that `killmail` is for, at `now` (milliseconds).
pub fn matches(killmail: &Killmail, snapshot: &Snapshot, now: u64) -> Vec<Match> {
    let published = seconds(&killmail.published_time);
    let age = now.saturating_sub(millis(&killmail.kill_time));
    let mut found: Vec<Match> = Vec::new();
    for subscription in snapshot.candidates(killmail) {
        // zKillboard publishes in whole seconds: what comes in the second of the change is new.
        if published < subscription.active_from / 1_000 {
            continue;
        }
        let Some(outcome) = outcome(killmail, subscription) else {
            continue;
        };
        // Candidates come ordered by destination.
        if found
            .last()
            .is_none_or(|last| last.destination != subscription.destination)
        {
            found.push(Match {
                destination: subscription.destination.clone(),
                subscriptions: Vec::new(),
                in_time: false,
            });
        }
        if let Some(last) = found.last_mut() {
            last.in_time |= admits(subscription, age);
            last.subscriptions.push((subscription.id, outcome));
        }
    }
    found
}

/// Whether a kill of this age (milliseconds) may be posted for the subscription.
pub fn admits(subscription: &ActiveSubscription, age: u64) -> bool {
    subscription
        .max_age
        .is_none_or(|limit| u128::from(age) <= limit.as_millis())
}

/// What the killmail is to the subscription; `None` = it does not match.
pub fn outcome(killmail: &Killmail, subscription: &ActiveSubscription) -> Option<KillOutcome> {
    if !subscription.filter.matches(killmail) {
        return None;
    }
    let Some(us) = &subscription.us else {
        return Some(KillOutcome::Neutral);
    };
    let outcome = match (us.victim.matches(killmail), us.attacker.matches(killmail)) {
        (true, true) => KillOutcome::FriendlyFire,
        (true, false) => KillOutcome::Loss,
        (false, true) => KillOutcome::Kill,
        (false, false) => return None,
    };
    let wanted = match subscription.side {
        Side::Both => true,
        Side::Kills => outcome == KillOutcome::Kill,
        Side::Losses => outcome != KillOutcome::Kill,
    };
    wanted.then_some(outcome)
}

/// What a post says a killmail is, where several subscriptions of one channel match it: what those with an `us` agree on.
/// Kill for one and loss for another is neither.
pub fn agreed(outcomes: impl IntoIterator<Item = KillOutcome>) -> KillOutcome {
    let (mut kill, mut loss, mut friendly) = (false, false, false);
    for outcome in outcomes {
        match outcome {
            KillOutcome::Neutral => {}
            KillOutcome::Kill => kill = true,
            KillOutcome::Loss => loss = true,
            KillOutcome::FriendlyFire => friendly = true,
        }
    }
    match (kill, loss, friendly) {
        (true, false, false) => KillOutcome::Kill,
        (false, _, true) => KillOutcome::FriendlyFire,
        (false, true, false) => KillOutcome::Loss,
        _ => KillOutcome::Neutral,
    }
}

/// How far a system is from the origins that these watch, the nearest first, each origin once.
pub fn distances<'a>(subscriptions: impl IntoIterator<Item = &'a ActiveSubscription>, system: u32) -> Vec<Distance> {
    let all = subscriptions.into_iter();
    let mut found: Vec<Distance> = all.flat_map(|active| active.distances(system)).collect();
    found.sort_unstable();
    found.dedup_by_key(|distance| distance.origin);
    found
}

/// Milliseconds since 1970; 0 for what is absent or before.
pub fn millis(time: &Option<killfeed::Timestamp>) -> u64 {
    time.as_ref().map_or(0, |time| {
        let nanos = u64::try_from(time.nanos).unwrap_or(0);
        u64::try_from(time.seconds).unwrap_or(0).saturating_mul(1_000) + nanos / 1_000_000
    })
}

fn seconds(time: &Option<killfeed::Timestamp>) -> u64 {
    millis(time) / 1_000
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use killfeed::{
        Timestamp,
        filter::{LANGUAGE_VERSION, Program},
        v1::{
            Attacker, Filter, FilterAll, FilterDistances, FilterFlag, FilterNear, FilterNode, FilterParticipant,
            FilterParticipantGroup, FilterValue, KillmailFlag, ParticipantField, ParticipantRole, Victim,
            filter_near::Reach, filter_node::Node,
        },
    };

    use super::*;
    use crate::{
        database::CompiledRow,
        subscriptions::{MaxAge, Style, Subscription, SubscriptionSource, SubscriptionSpec},
    };

    fn filter(nodes: Vec<Node>) -> Filter {
        Filter {
            language_version: LANGUAGE_VERSION,
            nodes: nodes.into_iter().map(|node| FilterNode { node: Some(node) }).collect(),
        }
    }

    pub(crate) fn everything() -> Filter {
        filter(vec![Node::All(FilterAll::default())])
    }

    fn npc() -> Filter {
        filter(vec![Node::Flag(FilterFlag {
            flag: KillmailFlag::Npc.into(),
        })])
    }

    /// `victim(corporation:98)` or `attacker(corporation:98)`.
    fn ours(role: ParticipantRole) -> Filter {
        filter(vec![
            Node::ParticipantGroup(FilterParticipantGroup {
                role: role.into(),
                operand: 1,
            }),
            Node::Participant(FilterParticipant {
                role: ParticipantRole::Member.into(),
                field: ParticipantField::Corporation.into(),
                values: vec![FilterValue {
                    text: String::new(),
                    ids: vec![98],
                }],
            }),
        ])
    }

    /// A subscription to everything in channel 2, named by its id.
    pub(crate) fn subscription(id: u64) -> Subscription {
        Subscription {
            id: SubscriptionId(id),
            spec: SubscriptionSpec {
                name: format!("sub {id}"),
                guild: 1,
                destination: Destination::Channel(2),
                filter: String::new(),
                us: String::new(),
                side: Side::Both,
                ping: None,
                ping_max_age: None,
                max_age: MaxAge::Default,
                style: Style::Full,
                paused: false,
                webhook_url: None,
            },
            source: SubscriptionSource::File,
            created: (0, 0),
            changed: (0, 0),
            active_from: 0,
            suspension: None,
            problem: String::new(),
            compiled: Some(CompiledRow {
                static_data_build: "1".into(),
                language_version: LANGUAGE_VERSION,
                filter: Some(everything()),
                ..Default::default()
            }),
        }
    }

    pub(crate) fn snapshot(subscriptions: &[Subscription]) -> Snapshot {
        Snapshot::new(subscriptions, Duration::from_secs(6 * 3_600))
    }

    fn with_us(id: u64, side: Side) -> Subscription {
        let mut subscription = subscription(id);
        subscription.spec.side = side;
        let compiled = subscription.compiled.as_mut().unwrap();
        compiled.victim_is_us = Some(ours(ParticipantRole::Victim));
        compiled.attacker_is_us = Some(ours(ParticipantRole::Attacker));
        subscription
    }

    fn killmail(victim: u64, attacker: u64) -> Killmail {
        Killmail {
            killmail_id: 1,
            kill_time: Some(Timestamp {
                seconds: 1_000,
                nanos: 0,
            }),
            published_time: Some(Timestamp {
                seconds: 1_010,
                nanos: 0,
            }),
            victim: Some(Victim {
                corporation_id: victim,
                ..Default::default()
            }),
            attackers: vec![Attacker {
                corporation_id: attacker,
                final_blow: true,
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    const NOW: u64 = 1_020_000;

    #[test]
    fn side_and_us_decide_what_it_is() {
        use KillOutcome::{FriendlyFire, Kill, Loss};
        for (victim, attacker, side, expected) in [
            (98, 1, Side::Both, Some(Loss)),
            (1, 98, Side::Both, Some(Kill)),
            (98, 98, Side::Both, Some(FriendlyFire)),
            (1, 1, Side::Both, None),
            (98, 1, Side::Kills, None),
            (1, 98, Side::Kills, Some(Kill)),
            (98, 98, Side::Kills, None),
            (98, 1, Side::Losses, Some(Loss)),
            (1, 98, Side::Losses, None),
            (98, 98, Side::Losses, Some(FriendlyFire)),
        ] {
            let found = matches(&killmail(victim, attacker), &snapshot(&[with_us(1, side)]), NOW);
            let outcome = found.first().map(|found| found.subscriptions[0].1);
            assert_eq!(outcome, expected, "{victim} {attacker} {side:?}");
        }
    }

    #[test]
    fn one_match_per_destination_whoever_wants_it() {
        let mut elsewhere = subscription(3);
        elsewhere.spec.destination = Destination::Channel(9);
        let mut not_npc = subscription(4);
        not_npc.compiled.as_mut().unwrap().filter = Some(npc());
        let mut paused = subscription(5);
        paused.spec.paused = true;
        let all = [subscription(1), subscription(2), elsewhere, not_npc, paused];
        let found = matches(&killmail(1, 1), &snapshot(&all), NOW);
        let seen: Vec<_> = found
            .iter()
            .map(|m| {
                (
                    m.destination.clone(),
                    m.subscriptions.iter().map(|(id, _)| id.0).collect::<Vec<_>>(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (Destination::Channel(2), vec![1, 2]),
                (Destination::Channel(9), vec![3])
            ]
        );
    }

    #[test]
    fn what_was_published_before_or_is_too_old_is_not_posted() {
        let mut late = subscription(1);
        late.active_from = 1_011_000;
        assert!(matches(&killmail(1, 1), &snapshot(&[late.clone()]), NOW).is_empty());
        late.active_from = 1_010_999;
        assert!(matches(&killmail(1, 1), &snapshot(&[late]), NOW)[0].in_time);
        let limit = 6 * 3_600_000;
        let found = matches(&killmail(1, 1), &snapshot(&[subscription(1)]), 1_000_000 + limit);
        assert!(found[0].in_time);
        let found = matches(&killmail(1, 1), &snapshot(&[subscription(1)]), 1_000_001 + limit);
        assert!(!found[0].in_time);
        let mut unlimited = subscription(2);
        unlimited.spec.max_age = MaxAge::Unlimited;
        let found = matches(&killmail(1, 1), &snapshot(&[subscription(1), unlimited]), u64::MAX);
        assert!(found[0].in_time);
    }

    #[test]
    fn those_with_an_us_must_agree() {
        use KillOutcome::{FriendlyFire, Kill, Loss, Neutral};
        for (outcomes, expected) in [
            (vec![], Neutral),
            (vec![Neutral, Kill], Kill),
            (vec![Loss, Neutral], Loss),
            (vec![Loss, FriendlyFire], FriendlyFire),
            (vec![Kill, Loss], Neutral),
            (vec![Kill, FriendlyFire], Neutral),
        ] {
            assert_eq!(agreed(outcomes.clone()), expected, "{outcomes:?}");
        }
    }

    /// Wants what happens in `system`, which is `away` thousandths of a light year and one jump from `origin`.
    pub(crate) fn watching(id: u64, origin: u64, away: u32, system: u32) -> Subscription {
        let mut one = subscription(id);
        one.compiled.as_mut().unwrap().filter = Some(filter(vec![Node::Near(FilterNear {
            origin: Some(FilterValue {
                text: "Alpha".into(),
                ids: vec![origin],
            }),
            reach: Some(Reach::LightYears(7.0)),
            system_ids: vec![system],
            distances: Some(FilterDistances {
                origin_name: String::new(),
                milli_light_years: vec![away],
                jumps_plus_one: vec![2],
            }),
        })]));
        one
    }

    #[test]
    fn a_match_tells_how_far_away_it_was() {
        let near = |id, origin, away| watching(id, origin, away, 9);
        let all = [near(1, 5, 3_000), near(2, 6, 2_000), near(3, 5, 3_000), subscription(4)];
        let snapshot = snapshot(&all);
        let actives = || (1..=9).filter_map(|id| snapshot.get(SubscriptionId(id)));
        let found: Vec<_> = distances(actives(), 9)
            .into_iter()
            .map(|one| (one.origin, one.milli_light_years, one.jumps, one.origin_name))
            .collect();
        let alpha = || "Alpha".to_owned();
        assert_eq!(found, [(6, 2_000, Some(1), alpha()), (5, 3_000, Some(1), alpha())]);
        assert_eq!(distances(actives(), 8), []);
    }

    #[test]
    fn a_broken_tree_matches_nothing() {
        let mut broken = subscription(1);
        broken
            .compiled
            .as_mut()
            .unwrap()
            .filter
            .as_mut()
            .unwrap()
            .language_version = 99;
        assert!(snapshot(&[broken]).is_empty());
        assert!(Program::new(&everything()).is_ok());
    }
}
