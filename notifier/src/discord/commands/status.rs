//! `status`: how the feed is, how far this bot is with it, and what its posts here are like.

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
                FeedHealth::Unspecified => "not known",
            };
            let detail = if feed.feed_detail.is_empty() {
                String::new()
            } else {
                format!(": {}", format::escape(&feed.feed_detail))
            };
            let head = feed.head_time.map_or(0, |time| matching::millis(&Some(time)));
            let begins = feed.earliest_time.map_or(0, |time| matching::millis(&Some(time)));
            format!(
                "zKillboard's feed: {health}{detail}\nLast killmail from it {} · log: {} since {}, newest {}\nEVE's static data: build {}",
                format::ago(last),
                format::counted(feed.killmails, "killmail", "killmails"),
                format::clock(begins, now),
                format::ago(head),
                format::escape(&feed.static_data_build),
            )
        }
        Err(away) => {
            color = BAD;
            format!("**No ingestor answers**: {}", format::escape(&away.0))
        }
    };
    if !standing.following {
        color = BAD;
    }
    let stream = format!(
        "{}\nPosition {} in the log, reached {}",
        if standing.following {
            "Stream open"
        } else {
            "**Stream not open**: it is tried again by itself"
        },
        if standing.cursor.is_empty() {
            "(none yet)".to_owned()
        } else {
            format::code(&standing.cursor)
        },
        format::ago(standing.time),
    );
    let total = history.total();
    let mut here = format!(
        "{} · {} in 24 h · last {}\n{} waiting here, {} over all servers",
        format::counted(all.len() as u64, "subscription", "subscriptions"),
        format::counted(total.posts, "post", "posts"),
        format::ago(total.last_post),
        format::number(total.waiting),
        format::number(standing.waiting as u64),
    );
    if total.folded > 0 {
        here.push_str(&format!(
            "\n{} folded into `N more killmails` in 24 h",
            format::number(total.folded)
        ));
    }
    if total.lost > 0 {
        color = CAREFUL;
        here.push_str(&format!(
            "\n**{}** refused by Discord or of unknown outcome in 24 h",
            format::number(total.lost)
        ));
    }
    let suspended = all.iter().filter(|one| one.suspension.is_some()).count();
    if suspended > 0 {
        here.push_str(&format!(
            "\n**{}**: see `/killfeed list`",
            format::counted(suspended as u64, "is suspended", "are suspended")
        ));
    }
    let foreign = if desk.foreign {
        color = BAD;
        "**Another process answers for this bot's shard**: the operator has to end one of them."
    } else {
        ""
    };
    let reply = Reply::new(color, "Status", "")
        .field("Feed", feed)
        .field("Stream", stream)
        .field("This server", here)
        .field("From kill to post", times(&desk.commands.kill_to_post()))
        .field("Trouble", foreign);
    Ok(InteractionResponse::Say(
        reply.footer(&format!("{} servers on these shards", desk.world.guilds())),
    ))
}

/// Median and p99.
fn times(seconds: &[f64]) -> String {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() {
        return "Nothing was posted since the bot started".to_owned();
    }
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).ceil() as usize];
    let show = |seconds: f64| match seconds {
        ..120.0 => format!("{seconds:.0} s"),
        ..7_200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3_600.0),
    };
    format!(
        "Median {}, p99 {}, over the last {} of all servers",
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
        assert_eq!(times(&[]), "Nothing was posted since the bot started");
        assert_eq!(
            times(&[5.0]),
            "Median 5 s, p99 5 s, over the last 1 post of all servers"
        );
        let many: Vec<f64> = (1..=100).map(|n| f64::from(n) * 10.0).collect();
        assert_eq!(
            times(&many),
            "Median 8 min, p99 17 min, over the last 100 posts of all servers"
        );
    }
}
