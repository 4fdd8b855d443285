//! `status`: the state of the feed, the position of this bot, and its posts in this server.

use killfeed::v1::FeedHealth;

use super::{CommandContext, CommandResult, access::ChannelAccess, format};
use crate::{
    discord::interactions::{BAD, CAREFUL, GOOD, InteractionResponse, Invocation, Reply},
    matching,
};

pub(super) async fn status(desk: &CommandContext<'_>, call: &Invocation) -> CommandResult {
    let (_, all) = ChannelAccess::all(desk, call).await?;
    let now = desk.commands.now();
    let standing = desk.commands.standing()?;
    let history = desk
        .commands
        .history(all.iter().map(|one| one.spec.destination.clone()).collect())
        .await?;
    let feed = desk.commands.feed_status().await;
    let mut color = GOOD;
    let feed = match feed {
        Ok(feed) => {
            let last = feed.last_document_time.map_or(0, |time| matching::millis(&Some(time)));
            let health = match feed.feed_health() {
                FeedHealth::Ok => "OK",
                FeedHealth::Delayed => {
                    color = CAREFUL;
                    "**delayed**"
                }
                FeedHealth::Down => {
                    color = BAD;
                    "**down**"
                }
                FeedHealth::Unspecified => "unknown",
            };
            let detail = if feed.feed_detail.is_empty() {
                String::new()
            } else {
                format!(": {}", format::escape(&feed.feed_detail))
            };
            let head = feed.head_time.map_or(0, |time| matching::millis(&Some(time)));
            let begins = feed.earliest_time.map_or(0, |time| matching::millis(&Some(time)));
            format!(
                "zKillboard: {health}{detail}\nLast killmail from zKillboard: {}\nLog: {} since {} EVE time, newest {}\nEVE static data: build {}",
                format::ago(last),
                format::counted(feed.killmails, "killmail", "killmails"),
                format::clock(begins, now),
                format::ago(head),
                format::escape(&feed.static_data_build),
            )
        }
        Err(away) => {
            color = BAD;
            format!("**{}**", format::capitalised(&format::escape(&away.0)))
        }
    };
    if !standing.following {
        color = BAD;
    }
    let stream = format!(
        "{}\n{}",
        if standing.following {
            "Open"
        } else {
            "**Not open**: reconnecting automatically"
        },
        if standing.cursor.is_empty() {
            "No position in the log yet".to_owned()
        } else {
            format!(
                "Position in the log: {}, reached {}",
                format::code(&standing.cursor),
                format::ago(standing.time)
            )
        },
    );
    let total = history.total();
    let mut here = format::counted(all.len() as u64, "subscription", "subscriptions");
    if total.posts > 0 {
        here.push_str(&format!(" · {} today", format::counted(total.posts, "post", "posts")));
    }
    if total.last_post > 0 {
        here.push_str(&format!(" · last {}", format::ago(total.last_post)));
    }
    here.push_str(&match (total.waiting, standing.waiting as u64) {
        (0, 0) => "\nQueue: empty".to_owned(),
        (0, elsewhere) => format!("\nQueue: empty here, {} in all servers", format::number(elsewhere)),
        (here, everywhere) => format!(
            "\nQueue: {} here, {} in all servers",
            format::number(here),
            format::number(everywhere)
        ),
    });
    if total.folded > 0 {
        here.push_str(&format!(
            "\n{} counted in `N more killmails` posts today",
            format::number(total.folded)
        ));
    }
    if total.lost > 0 {
        color = CAREFUL;
        here.push_str(&format!(
            "\n**{}** rejected by Discord or with unknown outcome today",
            format::number(total.lost)
        ));
    }
    let suspended = all.iter().filter(|one| one.suspension.is_some()).count();
    if suspended > 0 {
        here.push_str(&format!(
            "\n**{} suspended**: see `/killfeed list`",
            format::number(suspended as u64)
        ));
    }
    let foreign = if desk.foreign {
        color = BAD;
        "**Another process answers for this bot's shard.** The operator must stop one of them."
    } else {
        ""
    };
    let reply = Reply::new(color, "Status", "")
        .field("Feed", feed)
        .field("Stream", stream)
        .field("This server", here)
        .field("From kill to post", times(&desk.commands.kill_to_post()))
        .field("Problem", foreign);
    Ok(InteractionResponse::Say(reply.footer(&format!(
        "{} on these shards",
        format::counted(desk.world.guilds() as u64, "server", "servers")
    ))))
}

/// Median and p99.
fn times(seconds: &[f64]) -> String {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() {
        return "No posts since the bot started".to_owned();
    }
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).ceil() as usize];
    let show = |seconds: f64| match seconds {
        ..120.0 => format!("{seconds:.0} s"),
        ..7_200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3_600.0),
    };
    format!(
        "Median {}, p99 {} (last {} in all servers)",
        show(at(0.5)),
        show(at(0.99)),
        format::counted(sorted.len() as u64, "post", "posts")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_p99() {
        assert_eq!(times(&[]), "No posts since the bot started");
        assert_eq!(times(&[5.0]), "Median 5 s, p99 5 s (last 1 post in all servers)");
        let many: Vec<f64> = (1..=100).map(|n| f64::from(n) * 10.0).collect();
        assert_eq!(times(&many), "Median 8 min, p99 17 min (last 100 posts in all servers)");
    }
}
