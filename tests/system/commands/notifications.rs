//! What people hear who subscribed a channel that takes no posts any more, and what each subscription got so far.

use killfeed_support::{
    fake_discord::{CHANNEL, Fault, GUILD, TestInteraction, USER, permission},
    process::{Binary, Service, eventually},
};

use super::{CommandHarness, another, subscribe};
use crate::harness::TEST_TIMEOUT;

/// Somebody who takes no direct messages.
const SHY: u64 = USER + 1;

fn contents(desk: &CommandHarness, channel: u64) -> Vec<String> {
    let posts = desk.discord.posts(channel);
    let content = |body: &serde_json::Value| body["content"].as_str().unwrap_or_default().to_owned();
    posts.iter().map(|post| content(&post.body)).collect()
}

/// How often a message to the channel was tried.
fn tries(desk: &CommandHarness, channel: u64) -> usize {
    let path = format!("/channels/{channel}/messages");
    let asked = desk.discord.requests();
    asked.iter().filter(|asked| asked.path.ends_with(&path)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_made_it_is_told_once_in_private_and_nobody_in_public() {
    let mut desk = CommandHarness::start(&[("NOTIFIER_PROBE_INTERVAL", "1s")]).await;
    desk.ask(subscribe("mine", "attackers>=1").text("style", "link")).await;
    let theirs = subscribe("theirs", "attackers>=1").text("style", "link");
    desk.ask(theirs.by(SHY, permission::EVERYTHING)).await;
    // Discord's answer where somebody takes no messages from strangers.
    desk.discord.fault(SHY, Fault::Rejected(403, 50_007), None);

    // Suspended: 50013, and tried again every second.
    desk.discord.add_channel(GUILD, CHANNEL, permission::VIEW_CHANNEL);
    another(&desk, 910_000_001);
    eventually("told", TEST_TIMEOUT, async || !contents(&desk, USER).is_empty()).await;
    let before = tries(&desk, CHANNEL);
    eventually("probed twice more", TEST_TIMEOUT, async || {
        tries(&desk, CHANNEL) >= before + 2
    })
    .await;
    let told = contents(&desk, USER);
    assert_eq!(told.len(), 1, "once, however often it is refused: {told:?}");
    assert!(
        told[0].contains(&format!("<#{CHANNEL}>")) && told[0].contains("suspended"),
        "{told:?}"
    );
    let mentions = &desk.discord.posts(USER)[0].body["allowed_mentions"];
    assert_eq!(mentions, &serde_json::json!({"parse": []}), "it pings nobody");
    assert_eq!(tries(&desk, SHY), 1, "who cannot be told is not asked again");

    // It goes on by itself, and what waited is posted once.
    desk.discord.add_channel(GUILD, CHANNEL, permission::ALL);
    let link = "https://zkillboard.com/kill/910000001/";
    eventually("resumed", TEST_TIMEOUT, async || contents(&desk, CHANNEL).len() == 1).await;
    assert_eq!(contents(&desk, CHANNEL), [link]);
    let list = desk.ask(TestInteraction::command("list")).await.shown();
    assert_eq!(list.matches("1 matched and 1 posted in all").count(), 2, "{list}");

    // Gone: told once more, and never tried again.
    desk.discord.delete_channel(GUILD, CHANNEL);
    another(&desk, 910_000_002);
    eventually("told again", TEST_TIMEOUT, async || contents(&desk, USER).len() == 2).await;
    let told = contents(&desk, USER).pop().unwrap();
    assert!(told.contains("gone") && told.contains("retired"), "{told}");
    let before = tries(&desk, CHANNEL);
    let log = desk.ingestor.status().await.killmails;
    another(&desk, 910_000_003);
    eventually("it is in the log", TEST_TIMEOUT, async || {
        desk.ingestor.status().await.killmails > log
    })
    .await;

    // The counters outlive the process.
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
    assert_eq!(contents(&desk, CHANNEL), [link], "what was to be told is in no channel");
    assert_eq!(desk.discord.rejected(), [""; 0]);
}
