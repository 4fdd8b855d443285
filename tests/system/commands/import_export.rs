//! Tests of exports, of imports in all formats, and of the limit of subscriptions.

use killfeed_support::fake_discord::{CHANNEL, GUILD, TestInteraction};
use serde_json::{Value, json};

use super::{CommandHarness, golden, subscribe, title};

fn row(name: &str, filter: &str) -> Value {
    json!({"name": name, "guild": GUILD.to_string(), "channel": CHANNEL.to_string(), "filter": filter})
}

async fn import(desk: &CommandHarness, text: &str) -> killfeed_support::fake_discord::InteractionReply {
    let url = desk.discord.keep_file("file", text);
    desk.ask(TestInteraction::command("import").file("file", &url, text.len()))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn export_and_import_round_trip() {
    let desk = CommandHarness::start(&[("NOTIFIER_MAX_SUBSCRIPTIONS", "500")]).await;
    desk.ask(
        subscribe("a", "npc OR solo")
            .text("ping", "everyone")
            .text("ping_max_age", "90s")
            .text("style", "link"),
    )
    .await;
    desk.ask(
        subscribe("b", "value>=1b")
            .text("us", "alliance:99990003")
            .text("side", "kills")
            .text("max_age", "unlimited"),
    )
    .await;
    let export = desk.ask(TestInteraction::command("export")).await;
    golden!("export", export);
    golden!(
        "export_file",
        killfeed_support::fake_discord::InteractionReply {
            message: json!({"content": export.file}),
            ..export.clone()
        }
    );
    golden!("import_duplicates", import(&desk, &export.file).await);
    desk.ask(TestInteraction::command("pause").text("name", "*")).await;
    let ask = desk
        .ask(TestInteraction::command("unsubscribe").text("name", "*"))
        .await;
    desk.ask(TestInteraction::button(&ask.button("Remove all"), &ask.message))
        .await;
    golden!("import", import(&desk, &export.file).await);
    let again = desk.ask(TestInteraction::command("export")).await;
    assert_eq!(again.file, export.file);

    // An import is applied completely or not at all.
    let mut other = row("other guild", "npc");
    other["guild"] = "5".into();
    let mut hook = row("hook", "npc");
    hook["webhook"] = "https://discord.com/api/webhooks/1/x".into();
    hook.as_object_mut()
        .unwrap()
        .retain(|key, _| key != "guild" && key != "channel");
    let bad = json!({"subscription": [row("good", "npc"), other, hook, json!({"name": "no filter"})]});
    golden!("import_refused", import(&desk, &bad.to_string()).await);
    let bad = json!({"subscription": [row("good", "npc"), row("bad", "system:Jia")]});
    golden!("import_bad_filter", import(&desk, &bad.to_string()).await);
    golden!("import_not_understood", import(&desk, "what is this").await);
    assert_eq!(desk.names().await, ["a", "b"]);
    let elsewhere = TestInteraction::command("import").file("file", "http://127.0.0.1:9/file", 10);
    assert_eq!(title(&desk.ask(elsewhere).await), "Cannot read the file");
    let large = TestInteraction::command("import").file("file", "http://127.0.0.1:9/file", 2 << 20);
    assert_eq!(title(&desk.ask(large).await), "Too large");

    golden!(
        "import_zkillbot",
        import(
            &desk,
            "• 99990003 — Some Alliance\nisk: >= 1000000000\nlabels: solo\nadvanced: {}"
        )
        .await
    );

    // The limit is exactly 500. The last page has no Next button.
    let there = desk.names().await.len();
    let many: Vec<Value> = (there..500).map(|n| row(&format!("n{n:03}"), "npc")).collect();
    let full = import(&desk, &json!({"subscription": many}).to_string()).await;
    assert_eq!(title(&full), "Imported", "{}", full.shown());
    golden!("too_many", desk.ask(subscribe("one more", "npc")).await);
    assert_eq!(desk.names().await.len(), 500);
    let one = json!({"subscription": [row("one more", "npc")]});
    assert_eq!(title(&import(&desk, &one.to_string()).await), "Too many subscriptions");
}
