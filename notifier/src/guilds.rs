//! What Discord's gateway says about guilds → what becomes of their subscriptions. A guild in an outage is no event.

use std::collections::BTreeSet;

use killfeed_service::clock::Clock;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    database::{StorageError, SuspensionRow},
    deliver::ProbeHandle,
    discord::GatewayEvent,
    shards::Shards,
    sink::Destination,
    subscriptions::{Subscription, Subscriptions, WEBHOOK_GUILD},
};

/// Why the subscriptions of a guild without the bot are suspended; what bears it is lifted when the guild is back.
const REMOVED: &str = "the bot is not in this server";

/// What an event asks for.
#[derive(Debug, PartialEq, Eq)]
enum GuildAction {
    /// Suspend these until the guild is back.
    Suspend(BTreeSet<Destination>),
    /// The guild is there: lift what `REMOVED` suspended.
    Lift(BTreeSet<Destination>),
    /// Try these at once if they are suspended.
    Probe(BTreeSet<Destination>),
}

/// Follows the gateway's events until `shutdown`.
pub async fn follow(
    mut events: mpsc::Receiver<GatewayEvent>,
    shards: Shards,
    subscriptions: &Subscriptions,
    prober: ProbeHandle,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<(), StorageError> {
    while let Some(Some(event)) = shutdown.run_until_cancelled(events.recv()).await {
        let list = subscriptions.list();
        match &event {
            GatewayEvent::GuildRemoved { guild } => subscriptions.guild_gone(*guild, clock.now().unix_ms()).await?,
            GatewayEvent::GuildAvailable { guild } => subscriptions.guild_back(*guild).await?,
            GatewayEvent::GuildsListed { shard, guilds } => {
                let theirs: BTreeSet<u64> = list.iter().map(|one| one.spec.guild).collect();
                for guild in theirs {
                    if guild != WEBHOOK_GUILD && shards.shard_of(guild) == *shard && !guilds.contains(&guild) {
                        subscriptions.guild_gone(guild, clock.now().unix_ms()).await?;
                    }
                }
            }
            _ => {}
        }
        for task in tasks(&event, shards, list.iter().map(AsRef::as_ref)) {
            match task {
                GuildAction::Suspend(destinations) => {
                    for destination in destinations {
                        let row = SuspensionRow {
                            reason: REMOVED.to_owned(),
                            code: 0,
                            since: clock.now().unix_ms(),
                            retired: false,
                        };
                        subscriptions.set_suspension(&destination, Some(row)).await?;
                    }
                }
                GuildAction::Lift(destinations) => {
                    for destination in destinations {
                        subscriptions.set_suspension(&destination, None).await?;
                        prober.try_now(destination);
                    }
                }
                GuildAction::Probe(destinations) => destinations
                    .into_iter()
                    .for_each(|destination| prober.try_now(destination)),
            }
        }
    }
    Ok(())
}

/// Pure.
fn tasks<'a>(event: &GatewayEvent, shards: Shards, all: impl Iterator<Item = &'a Subscription>) -> Vec<GuildAction> {
    let removed = |one: &Subscription| {
        one.suspension
            .as_ref()
            .is_some_and(|suspension| suspension.reason == REMOVED)
    };
    let channels = |wanted: &dyn Fn(&Subscription) -> bool, all: &mut dyn Iterator<Item = &'a Subscription>| {
        let of_guilds = all.filter(|one| matches!(one.spec.destination, Destination::Channel(_)));
        of_guilds
            .filter(|one| wanted(one))
            .map(|one| one.spec.destination.clone())
            .collect::<BTreeSet<_>>()
    };
    let mut all = all;
    let tasks = match *event {
        GatewayEvent::ShardReady { .. } | GatewayEvent::ShardLost { .. } => vec![],
        GatewayEvent::GuildsListed { shard, ref guilds } => {
            let gone = |one: &Subscription| {
                shards.shard_of(one.spec.guild) == shard
                    && !guilds.contains(&one.spec.guild)
                    && one.suspension.is_none()
            };
            vec![GuildAction::Suspend(channels(&gone, &mut all))]
        }
        GatewayEvent::GuildRemoved { guild } => {
            let gone = |one: &Subscription| one.spec.guild == guild && one.suspension.is_none();
            vec![GuildAction::Suspend(channels(&gone, &mut all))]
        }
        GatewayEvent::GuildAvailable { guild } => {
            let back = |one: &Subscription| one.spec.guild == guild && removed(one);
            vec![GuildAction::Lift(channels(&back, &mut all))]
        }
        GatewayEvent::PermissionsMayHaveChanged { guild, channel } => {
            let concerned = |one: &Subscription| {
                let here = channel.is_none_or(|channel| one.spec.destination == Destination::Channel(channel));
                one.spec.guild == guild && here && one.suspension.is_some()
            };
            vec![GuildAction::Probe(channels(&concerned, &mut all))]
        }
    };
    let empty = |task: &GuildAction| match task {
        GuildAction::Suspend(destinations) | GuildAction::Lift(destinations) | GuildAction::Probe(destinations) => {
            destinations.is_empty()
        }
    };
    tasks.into_iter().filter(|task| !empty(task)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::tests::subscription;

    #[test]
    fn what_the_gateway_says_becomes_of_the_guild_s_subscriptions() {
        let mut suspended = subscription(1);
        suspended.spec.destination = Destination::Channel(3);
        suspended.suspension = Some(SuspensionRow {
            reason: "missing access".into(),
            ..Default::default()
        });
        let mut removed = suspended.clone();
        removed.spec.destination = Destination::Channel(4);
        removed.suspension.as_mut().unwrap().reason = REMOVED.into();
        let mut elsewhere = subscription(2);
        elsewhere.spec.guild = 9 << 22;
        elsewhere.spec.destination = Destination::Channel(5);
        let all = [subscription(1), suspended, removed, elsewhere];
        let shards = Shards::new(0, 3, 4).unwrap();
        let set = |ids: &[u64]| ids.iter().map(|id| Destination::Channel(*id)).collect::<BTreeSet<_>>();
        let listed = |shard, guilds: &[u64]| GatewayEvent::GuildsListed {
            shard,
            guilds: guilds.to_vec(),
        };
        let changed = |channel| GatewayEvent::PermissionsMayHaveChanged { guild: 1, channel };
        for (event, expected) in [
            (GatewayEvent::ShardReady { shard: 0 }, None),
            (
                GatewayEvent::GuildRemoved { guild: 1 },
                Some(GuildAction::Suspend(set(&[2]))),
            ),
            (GatewayEvent::GuildRemoved { guild: 7 }, None),
            (
                GatewayEvent::GuildAvailable { guild: 1 },
                Some(GuildAction::Lift(set(&[4]))),
            ),
            (listed(0, &[1]), None),
            (listed(0, &[]), Some(GuildAction::Suspend(set(&[2])))),
            (listed(1, &[]), Some(GuildAction::Suspend(set(&[5])))),
            (changed(None), Some(GuildAction::Probe(set(&[3, 4])))),
            (changed(Some(3)), Some(GuildAction::Probe(set(&[3])))),
            (changed(Some(2)), None),
        ] {
            let tasks = tasks(&event, shards, all.iter());
            assert_eq!(tasks, expected.into_iter().collect::<Vec<_>>(), "{event:?}");
        }
    }
}
