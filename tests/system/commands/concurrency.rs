//! Concurrent commands in one guild: every response matches the stored state, also after a kill -9.

use std::collections::BTreeSet;

use futures::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use killfeed_support::fake_discord::{CHANNEL, GUILD, InteractionReply, TestInteraction};
use serde_json::{Value, json};

use super::{CommandHarness, subscribe, title};

/// A low limit, so that few commands exceed it.
const MAX_SUBSCRIPTIONS: usize = 30;

/// Sends all interactions concurrently and returns their responses in the same order.
async fn at_once(desk: &CommandHarness, asks: &[TestInteraction]) -> Vec<InteractionReply> {
    let answers = join_all(asks.iter().map(|ask| desk.discord.ask(ask))).await;
    assert_eq!(desk.discord.rejected(), [""; 0]);
    answers
}

async fn import(desk: &CommandHarness, names: impl Iterator<Item = String>) {
    let row = |name: String| json!({"name": name, "guild": GUILD.to_string(), "channel": CHANNEL.to_string(), "filter": "npc"});
    let rows: Vec<Value> = names.map(row).collect();
    let text = json!({ "subscription": rows }).to_string();
    let url = desk.discord.keep_file("rows", &text);
    let answered = desk
        .ask(TestInteraction::command("import").file("file", &url, text.len()))
        .await;
    assert_eq!(title(&answered), "Imported", "{}", answered.shown());
}

async fn names(desk: &CommandHarness) -> BTreeSet<String> {
    let names = desk.names().await;
    let distinct: BTreeSet<String> = names.iter().cloned().collect();
    assert_eq!(names.len(), distinct.len(), "a name is listed twice: {names:?}");
    distinct
}

async fn filter_of(desk: &CommandHarness, name: &str) -> String {
    let file = desk.ask(TestInteraction::command("export")).await.file;
    let export: Value = serde_json::from_str(&file).unwrap();
    let rows = export["subscription"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == name).unwrap();
    row["filter"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_commands_of_a_guild_are_serialized() {
    let mut desk = CommandHarness::start(&[("NOTIFIER_MAX_SUBSCRIPTIONS", &MAX_SUBSCRIPTIONS.to_string())]).await;
    import(&desk, (0..20).map(|n| format!("old{n:02}"))).await;

    // Twenty commands compete for the last ten subscriptions.
    let wanted: Vec<String> = (0..20).map(|n| format!("new{n:02}")).collect();
    let asks: Vec<TestInteraction> = wanted.iter().map(|name| subscribe(name, "npc")).collect();
    let answers = at_once(&desk, &asks).await;
    let mut expected: BTreeSet<String> = (0..20).map(|n| format!("old{n:02}")).collect();
    for (name, answered) in wanted.iter().zip(&answers) {
        match title(answered) {
            "Subscribed" => assert!(expected.insert(name.clone())),
            _ => assert!(
                answered.shown().contains("would make 31; remove some first"),
                "{}",
                answered.shown()
            ),
        }
    }
    assert_eq!(expected.len(), MAX_SUBSCRIPTIONS);
    desk.restart().await;
    assert_eq!(names(&desk).await, expected);

    // Each subscription is removed by one command while others pause and resume it. None of them restores it.
    let gone: Vec<String> = (0..8).map(|n| format!("old{n:02}")).collect();
    let three = |name: &String| {
        ["pause", "unsubscribe", "resume"].map(|what| TestInteraction::command(what).text("name", name))
    };
    let asks: Vec<TestInteraction> = gone.iter().flat_map(three).collect();
    for (ask, answered) in asks.iter().zip(at_once(&desk, &asks).await) {
        let known = [
            "Paused",
            "Already paused",
            "Resumed",
            "Not paused",
            "Unsubscribed",
            "Subscription not found",
        ];
        assert!(known.contains(&title(&answered)), "{ask:?}: {}", answered.shown());
    }
    gone.iter().for_each(|name| assert!(expected.remove(name)));
    assert_eq!(names(&desk).await, expected);

    // Only one of the commands with the same name succeeds.
    let asks = vec![subscribe("same", "npc"); 6];
    let answers = at_once(&desk, &asks).await;
    let made = answers
        .iter()
        .filter(|answered| title(answered) == "Subscribed")
        .count();
    assert_eq!(made, 1);
    expected.insert("same".to_owned());
    assert_eq!(names(&desk).await, expected);

    // Concurrent edits each add a term. None of them overwrites another.
    let terms: Vec<String> = (1..=8).map(|id| format!("-victim.ship:{id}")).collect();
    let add = |term: &String| TestInteraction::command("edit").text("name", "same").text("add", term);
    let asks: Vec<TestInteraction> = terms.iter().map(add).collect();
    for answered in at_once(&desk, &asks).await {
        assert_eq!(title(&answered), "Changed", "{}", answered.shown());
    }
    let filter = filter_of(&desk, "same").await;
    let words: BTreeSet<&str> = filter.split(' ').collect();
    assert_eq!(words.len(), 9, "{filter}");
    assert!(terms.iter().all(|term| words.contains(term.as_str())), "{filter}");
}

/// The process is killed during many commands. Every subscription with a response still exists.
#[tokio::test(flavor = "multi_thread")]
async fn confirmed_subscriptions_survive_a_crash() {
    let mut desk = CommandHarness::start(&[]).await;
    let asks: Vec<(String, TestInteraction)> = (0..40)
        .map(|n| (format!("n{n:02}"), subscribe(&format!("n{n:02}"), "npc")))
        .collect();
    let mut answered = BTreeSet::new();
    {
        let ask = async |name: &String, ask: &TestInteraction| (name.clone(), desk.discord.ask(ask).await);
        let mut asked: FuturesUnordered<_> = asks.iter().map(|(name, one)| ask(name, one)).collect();
        while answered.len() < 8 {
            let (name, reply) = asked.next().await.unwrap();
            assert_eq!(title(&reply), "Subscribed", "{}", reply.shown());
            answered.insert(name);
        }
    }
    desk.kill().await;
    desk.launch().await;
    let there = names(&desk).await;
    assert!(
        answered.is_subset(&there),
        "{answered:?} were confirmed, {there:?} exist after the restart"
    );
}
