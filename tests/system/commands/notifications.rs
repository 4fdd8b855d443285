//! Tests of direct messages about channels that reject posts, and of the counters of a subscription.

use killfeed_support::{
    fake_discord::{CHANNEL, Fault, GUILD, TestInteraction, USER, permission},
    process::{Binary, Service, eventually},
};

use super::{CommandHarness, another, subscribe};
use crate::harness::TEST_TIMEOUT;

/// A user who accepts no direct messages.
const SHY: u64 = USER + 1;

fn contents(desk: &CommandHarness, channel: u64) -> Vec<String> {
    let posts = desk.discord.posts(channel);
    let content = |body: &serde_json::Value| body["content"].as_str().unwrap_or_default().to_owned();
    posts.iter().map(|post| content(&post.body)).collect()
}

/// Returns the number of attempts to post to a channel.
fn tries(desk: &CommandHarness, channel: u64) -> usize {
    let path = format!("/channels/{channel}/messages");
    let asked = desk.discord.requests();
    asked.iter().filter(|asked| asked.path.ends_with(&path)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn creator_gets_one_message_per_suspended_or_retired_channel() {
    let mut desk = CommandHarness::start(&[("NOTIFIER_PROBE_INTERVAL", "1s")]).await;
    desk.ask(subscribe("mine", "attackers>=1").text("style", "link")).await;
    let theirs = subscribe("theirs", "attackers>=1").text("style", "link");
    desk.ask(theirs.by(SHY, permission::EVERYTHING)).await;
    // Discord's error for a user who accepts no messages from strangers.
    desk.discord.fault(SHY, Fault::Rejected(403, 50_007), None);

    // The channel is suspended (error 50013) and probed every second.
    desk.discord.add_channel(GUILD, CHANNEL, permission::VIEW_CHANNEL);
    another(&desk, 910_000_001);
    eventually("the creator gets a direct message", TEST_TIMEOUT, async || {
        !contents(&desk, USER).is_empty()
    })
    .await;
    let before = tries(&desk, CHANNEL);
    eventually("the notifier probes twice more", TEST_TIMEOUT, async || {
        tries(&desk, CHANNEL) >= before + 2
    })
    .await;
    let told = contents(&desk, USER);
    assert_eq!(told.len(), 1, "one message for any number of failed probes: {told:?}");
    assert!(
        told[0].contains(&format!("<#{CHANNEL}>")) && told[0].contains("suspended"),
        "{told:?}"
    );
    let mentions = &desk.discord.posts(USER)[0].body["allowed_mentions"];
    assert_eq!(mentions, &serde_json::json!({"parse": []}), "the message pings nobody");
    eventually("the other attempt", TEST_TIMEOUT, async || tries(&desk, SHY) > 0).await;
    assert_eq!(tries(&desk, SHY), 1, "a rejected direct message is not retried");

    // Delivery resumes after the fix, and the queued killmail is posted once.
    desk.discord.add_channel(GUILD, CHANNEL, permission::ALL);
    let link = "https://zkillboard.com/kill/910000001/";
    eventually("the notifier posts the queued killmail", TEST_TIMEOUT, async || {
        contents(&desk, CHANNEL).len() == 1
    })
    .await;
    assert_eq!(contents(&desk, CHANNEL), [link]);
    // The notifier counts a post after Discord's response, which comes after the post.
    eventually("both subscriptions count the post", TEST_TIMEOUT, async || {
        let list = desk.ask(TestInteraction::command("list")).await.shown();
        list.matches("1 matched, 1 posted in total").count() == 2
    })
    .await;

    // A deleted channel is retired: the creator of its subscription gets one more message, and the notifier never
    // posts there again.
    desk.discord.delete_channel(GUILD, CHANNEL);
    another(&desk, 910_000_002);
    eventually("the creator gets a second direct message", TEST_TIMEOUT, async || {
        contents(&desk, USER).len() == 2
    })
    .await;
    let told = contents(&desk, USER).pop().unwrap();
    assert!(told.contains("no longer exists") && told.contains("retired"), "{told}");
    let before = tries(&desk, CHANNEL);
    let log = desk.ingestor.status().await.killmails;
    another(&desk, 910_000_003);
    eventually("the log contains the killmail", TEST_TIMEOUT, async || {
        desk.ingestor.status().await.killmails > log
    })
    .await;

    // The counters survive a restart.
    desk.restart().await;
    let settings = [("NOTIFIER_ADMIN_ADDR", desk.admin.clone())];
    let mut listed = Service::start_with_arguments(Binary::Notifier, &settings, &["subscriptions", "list"]).await;
    assert!(listed.end().await.success(), "{}", listed.stderr());
    let listed = listed.stdout();
    assert_eq!(listed.matches("2 matched, 1 posted").count(), 2, "{listed}");
    assert_eq!(listed.matches("retired").count(), 2, "{listed}");
    assert_eq!(tries(&desk, CHANNEL), before);
    assert_eq!(contents(&desk, USER).len(), 2);
    assert_eq!(desk.discord.posts(SHY).len(), 0);
    assert_eq!(
        contents(&desk, CHANNEL),
        [link],
        "the notification is posted in no channel"
    );
    assert_eq!(desk.discord.rejected(), [""; 0]);
}
