//! Commands that change something: what they say, what is there afterwards, and that it is on disk when they have said it.

use killfeed_support::fake_discord::{CHANNEL, GUILD, TestInteraction, USER, permission};

use super::{CommandHarness, KILLMAILS, another, golden, subscribe, title};
use crate::{commands::steady, harness::TEST_TIMEOUT};
use killfeed_support::process::eventually;

const HIDDEN: u64 = CHANNEL + 7;

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_made_changed_and_removed() {
    let mut desk = CommandHarness::start(&[]).await;
    eventually("registered", TEST_TIMEOUT, async || desk.discord.registered().is_some()).await;
    let command = &desk.discord.registered().unwrap()[0];
    assert_eq!(command["default_member_permissions"], "16");
    assert_eq!(command["contexts"], serde_json::json!([0]));

    let made = desk
        .ask(subscribe("caps", "group:(Titan OR Dreadnought) -victim.group:Capsule"))
        .await;
    golden!("subscribe", made);
    // Once more: a name is taken.
    let taken = desk.ask(subscribe("caps", "npc")).await;
    golden!("subscribe_taken", taken);
    let wrong = desk.ask(subscribe("jia", "npc system:Jia")).await;
    golden!("subscribe_wrong", wrong);
    let warned = desk.ask(subscribe("all but pods", "-group:Capsule")).await;
    golden!("subscribe_warning", warned);
    // A button under it takes the suggestion, another leaves out what is most of it.
    let better = desk
        .ask(TestInteraction::button(&warned.button("use: "), &warned.message))
        .await;
    assert_eq!(title(&better), "Changed");
    assert!(better.shown().contains("-victim.group:Capsule"), "{}", better.shown());
    let outdated = desk
        .ask(TestInteraction::button(&warned.button("use: "), &warned.message))
        .await;
    assert_eq!(title(&outdated), "Changed meanwhile");
    let war = desk.ask(subscribe("npcs", "npc OR solo")).await;
    let without = desk
        .ask(TestInteraction::button(&war.button("without NPC only"), &war.message))
        .await;
    golden!("without", without);

    // kill -9 right after the answer: everything that was answered is there.
    desk.restart().await;
    assert_eq!(desk.names().await, ["all but pods", "caps", "npcs"]);
    let list = desk.ask(TestInteraction::command("list")).await;
    golden!("list", list);
    let paused = desk
        .ask(TestInteraction::button(&list.button("Pause caps"), &list.message))
        .await;
    assert!(paused.shown().contains("[paused] caps"), "{}", paused.shown());
    desk.restart().await;
    let resumed = desk
        .ask(TestInteraction::button(&paused.button("Resume caps"), &paused.message))
        .await;
    assert!(resumed.shown().contains("[active] caps"), "{}", resumed.shown());
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
    assert!(sent.shown().contains("not older than 2h"), "{}", sent.shown());

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
    assert_eq!(desk.names().await.len(), 2, "asked, not done");
    let gone = desk
        .ask(TestInteraction::button(&ask.button("Remove all"), &ask.message))
        .await;
    assert!(
        steady(&gone).contains("2 subscriptions of <#CHANNEL> removed"),
        "{}",
        steady(&gone)
    );
    assert_eq!(desk.names().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_invoker_s_own_permissions_bind() {
    let desk = CommandHarness::start(&[("NOTIFIER_GUILDS", &GUILD.to_string())]).await;
    desk.discord.add_channel(GUILD, HIDDEN, permission::ALL);
    let may = permission::VIEW_CHANNEL | permission::SEND_MESSAGES;
    // The channel's own permissions count, not those where the command is given.
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
    // Somebody who cannot see that channel (the stand-in gives @everyone nothing there).
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
        assert_eq!(title(&answered), "No such subscription", "{subcommand}");
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

    // Another guild gets one sentence, and nothing to choose from.
    let (guild, channel) = (GUILD + (9 << 22), CHANNEL + 9);
    desk.discord.add_channel(guild, channel, permission::ALL);
    golden!("not_served", desk.ask(subscribe("y", "npc").at(guild, channel)).await);
    let typing = desk
        .ask(TestInteraction::typing("subscribe", "filter", "np").at(guild, channel))
        .await;
    assert!(typing.choices().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pause_missed_is_never_posted() {
    let mut desk = CommandHarness::start(&[]).await;
    desk.ask(subscribe("everything", "")).await;
    another(&desk, 910_000_001);
    eventually("posted", TEST_TIMEOUT, async || desk.discord.posts(CHANNEL).len() == 1).await;
    desk.ask(TestInteraction::command("pause").text("name", "everything"))
        .await;
    another(&desk, 910_000_002);
    let received = async || {
        let why = desk
            .ask(TestInteraction::command("why").text("kill", "910000002"))
            .await;
        let shown = why.shown();
        !shown.contains("Not received yet") && !shown.contains("not in the log")
    };
    eventually("the second one came", TEST_TIMEOUT, received).await;
    desk.ask(TestInteraction::command("resume").text("name", "everything"))
        .await;
    // zKillboard's times are whole seconds: what comes in the second of the change counts as new.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    another(&desk, 910_000_003);
    eventually("posted", TEST_TIMEOUT, async || desk.discord.posts(CHANNEL).len() >= 2).await;
    let posts = desk.discord.posts(CHANNEL);
    let url = |at: usize| posts[at].body["embeds"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(url(1), "https://zkillboard.com/kill/910000003/");
    golden!(
        "why_posted",
        desk.ask(TestInteraction::command("why").text("kill", "910000003"))
            .await
    );

    // The daily copy, made anew when a process begins and there is none of today.
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
    // What is skipped never comes, and is not said to come yet.
    another(&desk, 910_000_004);
    desk.ingestor.wait_for_killmails(KILLMAILS + 4).await;
    desk.extra.push(("NOTIFIER_SKIP_BACKLOG", "true".to_owned()));
    desk.launch().await;
    let why = desk
        .ask(TestInteraction::command("why").text("kill", "910000004"))
        .await;
    let shown = why.shown();
    assert!(
        shown.contains("**Never received**") && shown.contains("before this bot's stream began"),
        "{shown}"
    );
    assert!(
        shown.contains("everything matches"),
        "clause by clause all the same: {shown}"
    );
    eventually("today's copy", TEST_TIMEOUT, async || {
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
    assert!(copied().contains("\"subscriptions\""), "the copy itself is still there");
    let why = desk
        .ask(TestInteraction::command("why").text("kill", "910000003"))
        .await;
    assert!(!why.shown().contains("Posted"), "{}", why.shown());

    // A disk that takes no copy: said, to the one who asked and to the operator.
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
    eventually("an error in the log", TEST_TIMEOUT, said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_process_is_said() {
    let desk = CommandHarness::start(&[]).await;
    desk.discord.ask_taken(&TestInteraction::command("help")).await;
    let said = async || desk.notifier().stderr().contains("another process serves this shard");
    eventually("an error in the log", TEST_TIMEOUT, said).await;
    let status = desk.ask(TestInteraction::command("status")).await;
    assert!(status.shown().contains("Another process answers"), "{}", status.shown());
    // An answer is counted after it was given.
    eventually("both are counted", TEST_TIMEOUT, async || {
        crate::harness::metric(&desk.http, "notifier_interactions_total").await >= 2.0
    })
    .await;
}
