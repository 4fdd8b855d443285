//! Tests of commands that change subscriptions.
//!
//! They check the replies, the state after each reply, and the durability of that state.

use killfeed_support::fake_discord::{CHANNEL, GUILD, TestInteraction, USER, permission};

use super::{CommandHarness, KILLMAILS, another, golden, subscribe, title};
use crate::{commands::steady, harness::TEST_TIMEOUT};
use killfeed_support::process::eventually;

const HIDDEN: u64 = CHANNEL + 7;

#[tokio::test(flavor = "multi_thread")]
async fn subscription_commands_change_stored_subscriptions() {
    let mut desk = CommandHarness::start(&[]).await;
    eventually("the commands are registered", TEST_TIMEOUT, async || {
        desk.discord.registered().is_some()
    })
    .await;
    let command = &desk.discord.registered().unwrap()[0];
    assert_eq!(command["default_member_permissions"], "16");
    assert_eq!(command["contexts"], serde_json::json!([0]));

    let made = desk
        .ask(subscribe("caps", "group:(Titan OR Dreadnought) -victim.group:Capsule"))
        .await;
    golden!("subscribe", made);
    // A name is unique in its guild.
    let taken = desk.ask(subscribe("caps", "npc")).await;
    golden!("subscribe_taken", taken);
    let wrong = desk.ask(subscribe("jia", "npc system:Jia")).await;
    golden!("subscribe_wrong", wrong);
    let warned = desk.ask(subscribe("all but pods", "-group:Capsule")).await;
    golden!("subscribe_warning", warned);
    // One button applies the suggestion, another excludes the most frequent kind of killmail.
    let better = desk
        .ask(TestInteraction::button(&warned.button("Use "), &warned.message))
        .await;
    assert_eq!(title(&better), "Changed");
    assert!(better.shown().contains("-victim.group:Capsule"), "{}", better.shown());
    let outdated = desk
        .ask(TestInteraction::button(&warned.button("Use "), &warned.message))
        .await;
    assert_eq!(title(&outdated), "Filter has changed");
    let war = desk.ask(subscribe("npcs", "npc OR solo")).await;
    let without = desk
        .ask(TestInteraction::button(&war.button("No NPC kills"), &war.message))
        .await;
    golden!("without", without);

    // Every confirmed change survives a kill -9 right after its response.
    desk.restart().await;
    assert_eq!(desk.names().await, ["all but pods", "caps", "npcs"]);
    let list = desk.ask(TestInteraction::command("list")).await;
    golden!("list", list);
    let paused = desk
        .ask(TestInteraction::button(&list.button("Pause caps"), &list.message))
        .await;
    assert!(paused.shown().contains("⚪ caps"), "{}", paused.shown());
    desk.restart().await;
    let resumed = desk
        .ask(TestInteraction::button(&paused.button("Resume caps"), &paused.message))
        .await;
    assert!(resumed.shown().contains("🟢 caps"), "{}", resumed.shown());
    let form = desk
        .ask(TestInteraction::button(&list.button("Edit"), &list.message))
        .await;
    assert_eq!(form.first["type"], 9);
    let id = form.first["data"]["custom_id"].as_str().unwrap().to_owned();
    let sent = desk
        .ask(TestInteraction::form(
            &id,
            &[
                ("name", "no pods"),
                ("filter", "NOT npc"),
                ("us", ""),
                ("ping", ""),
                ("max_age", "2h"),
            ],
        ))
        .await;
    assert!(sent.shown().contains("Kills up to 2h old"), "{}", sent.shown());

    let edited = desk
        .ask(
            TestInteraction::command("edit")
                .text("name", "caps")
                .text("add", "value>=1b")
                .text("max_age", "unlimited"),
        )
        .await;
    golden!("edit", edited);
    golden!(
        "edit_nothing",
        desk.ask(TestInteraction::command("edit").text("name", "caps")).await
    );
    golden!(
        "pause",
        desk.ask(TestInteraction::command("pause").text("name", "caps")).await
    );
    golden!(
        "resume",
        desk.ask(TestInteraction::command("resume").text("name", "*")).await
    );
    golden!(
        "no_such",
        desk.ask(TestInteraction::command("pause").text("name", "cap")).await
    );
    golden!(
        "unsubscribe",
        desk.ask(TestInteraction::command("unsubscribe").text("name", "caps"))
            .await
    );
    let ask = desk
        .ask(TestInteraction::command("unsubscribe").text("name", "*"))
        .await;
    golden!("unsubscribe_all", ask);
    assert_eq!(
        desk.names().await.len(),
        2,
        "`unsubscribe` removes nothing before the confirmation"
    );
    let gone = desk
        .ask(TestInteraction::button(&ask.button("Remove all"), &ask.message))
        .await;
    assert!(
        steady(&gone).contains("Removed 2 subscriptions from <#CHANNEL>."),
        "{}",
        steady(&gone)
    );
    assert_eq!(desk.names().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_respect_the_invokers_permissions() {
    let desk = CommandHarness::start(&[("NOTIFIER_GUILDS", &GUILD.to_string())]).await;
    desk.discord.add_channel(GUILD, HIDDEN, permission::ALL);
    let may = permission::VIEW_CHANNEL | permission::SEND_MESSAGES;
    // The permissions in the target channel count, not those in the channel of the command.
    let into = |permissions| subscribe("x", "npc").channel("channel", HIDDEN, permissions);
    assert_eq!(title(&desk.ask(into(0)).await), "Not allowed");
    assert_eq!(title(&desk.ask(into(permission::VIEW_CHANNEL)).await), "Not allowed");
    let ping = subscribe("x", "npc").text("ping", "here");
    golden!("ping_not_allowed", desk.ask(ping.clone().by(USER, may)).await);
    assert_eq!(
        title(&desk.ask(ping.by(USER, may | permission::MENTION_EVERYONE)).await),
        "Subscribed"
    );
    let hidden = subscribe("secret", "solo").channel("channel", HIDDEN, permission::EVERYTHING);
    assert_eq!(title(&desk.ask(hidden).await), "Subscribed");
    // A user who cannot see that channel, because the fake gives @everyone no permissions there.
    let other = |ask: TestInteraction| ask.by(USER + 1, may);
    let list = desk.ask(other(TestInteraction::command("list"))).await;
    assert!(
        list.shown()
            .contains("1 more subscription in channels that you cannot see"),
        "{}",
        list.shown()
    );
    assert!(!list.shown().contains("secret"), "{}", list.shown());
    for subcommand in ["pause", "unsubscribe", "test"] {
        let answered = desk
            .ask(other(TestInteraction::command(subcommand).text("name", "secret")))
            .await;
        assert_eq!(title(&answered), "Subscription not found", "{subcommand}");
    }
    let export = desk.ask(other(TestInteraction::command("export"))).await;
    assert!(
        !export.file.contains("secret") && export.shown().contains("**1** in channels"),
        "{}",
        export.shown()
    );
    let why = desk
        .ask(other(TestInteraction::command("why").text("kill", "900000001")))
        .await;
    assert!(
        !why.shown().contains("secret") && why.shown().contains("1 in channels"),
        "{}",
        why.shown()
    );

    // A guild that the bot does not serve gets one sentence and no suggestions.
    let (guild, channel) = (GUILD + (9 << 22), CHANNEL + 9);
    desk.discord.add_channel(guild, channel, permission::ALL);
    golden!("not_served", desk.ask(subscribe("y", "npc").at(guild, channel)).await);
    let typing = desk
        .ask(TestInteraction::typing("subscribe", "filter", "np").at(guild, channel))
        .await;
    assert!(typing.choices().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn killmails_during_a_pause_are_never_posted() {
    let mut desk = CommandHarness::start(&[]).await;
    desk.ask(subscribe("everything", "")).await;
    another(&desk, 910_000_001);
    eventually("the first killmail is posted", TEST_TIMEOUT, async || {
        desk.discord.posts(CHANNEL).len() == 1
    })
    .await;
    desk.ask(TestInteraction::command("pause").text("name", "everything"))
        .await;
    another(&desk, 910_000_002);
    let received = async || {
        let why = desk
            .ask(TestInteraction::command("why").text("kill", "910000002"))
            .await;
        let shown = why.shown();
        !shown.contains("Not received yet") && !shown.contains("has not published")
    };
    eventually("the notifier receives the second killmail", TEST_TIMEOUT, received).await;
    desk.ask(TestInteraction::command("resume").text("name", "everything"))
        .await;
    // zKillboard's times are whole seconds: a killmail from the second of the change would count as new.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    another(&desk, 910_000_003);
    eventually("the third killmail is posted", TEST_TIMEOUT, async || {
        desk.discord.posts(CHANNEL).len() >= 2
    })
    .await;
    let posts = desk.discord.posts(CHANNEL);
    let url = |at: usize| posts[at].body["embeds"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(url(1), "https://zkillboard.com/kill/910000003/");
    // The notifier records the post after Discord's response, which comes after the post.
    let why = async || {
        desk.ask(TestInteraction::command("why").text("kill", "910000003"))
            .await
    };
    eventually("`why` reports the post", TEST_TIMEOUT, async || {
        why().await.shown().contains("Posted")
    })
    .await;
    golden!("why_posted", why().await);

    // A starting process writes today's copy if it does not exist.
    let copies = desk.data.path().join("exports");
    let copied = || {
        let files = std::fs::read_dir(&copies).map(|files| files.flatten().map(|file| file.path()).collect::<Vec<_>>());
        let texts = files
            .unwrap_or_default()
            .into_iter()
            .filter_map(|path| std::fs::read_to_string(path).ok());
        texts.collect::<String>()
    };
    desk.kill().await;
    std::fs::remove_dir_all(&copies).unwrap();
    // A killmail that the notifier skipped never arrives, and `why` does not claim that it is pending.
    another(&desk, 910_000_004);
    desk.ingestor.wait_for_killmails(KILLMAILS + 4).await;
    desk.extra.push(("NOTIFIER_SKIP_BACKLOG", "true".to_owned()));
    desk.launch().await;
    let why = desk
        .ask(TestInteraction::command("why").text("kill", "910000004"))
        .await;
    let shown = why.shown();
    assert!(
        shown.contains("before the bot started listening") && shown.contains("it was never considered"),
        "{shown}"
    );
    assert!(
        shown.contains("everything matches"),
        "`why` explains every clause: {shown}"
    );
    eventually("today's copy exists", TEST_TIMEOUT, async || {
        copied().contains(&GUILD.to_string())
    })
    .await;
    let ask = desk.ask(TestInteraction::command("forget")).await;
    golden!("forget", ask);
    golden!(
        "forgotten",
        desk.ask(TestInteraction::button(&ask.button("Delete everything"), &ask.message))
            .await
    );
    assert_eq!(desk.names().await, [""; 0]);
    assert!(!copied().contains(&GUILD.to_string()), "{}", copied());
    assert!(copied().contains("\"subscriptions\""), "the copy still exists");
    let why = desk
        .ask(TestInteraction::command("why").text("kill", "910000003"))
        .await;
    assert!(!why.shown().contains("Posted"), "{}", why.shown());

    // If the copies cannot be rewritten, the reply and the log say so.
    desk.ask(subscribe("again", "")).await;
    std::fs::remove_dir_all(&copies).unwrap();
    std::fs::write(&copies, "no folder").unwrap();
    let ask = desk.ask(TestInteraction::command("forget")).await;
    golden!(
        "forgotten_but_for_copies",
        desk.ask(TestInteraction::button(&ask.button("Delete everything"), &ask.message))
            .await
    );
    assert_eq!(desk.names().await, [""; 0]);
    let said = async || desk.notifier().stderr().contains("cannot be rewritten");
    eventually("the notifier logs an error", TEST_TIMEOUT, said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn second_process_on_a_shard_is_reported() {
    let desk = CommandHarness::start(&[]).await;
    desk.discord.ask_taken(&TestInteraction::command("help")).await;
    let said = async || desk.notifier().stderr().contains("another process serves this shard");
    eventually("the notifier logs an error", TEST_TIMEOUT, said).await;
    let status = desk.ask(TestInteraction::command("status")).await;
    assert!(status.shown().contains("Another process answers"), "{}", status.shown());
    // The notifier counts an interaction after its response.
    eventually("the notifier counts both interactions", TEST_TIMEOUT, async || {
        crate::harness::metric(&desk.http, "notifier_interactions_total").await >= 2.0
    })
    .await;
}
