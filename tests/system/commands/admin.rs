//! Tests of the admin API through the notifier's subcommands, and of the invitation link.

use std::path::Path;

use killfeed_support::{
    FakeDiscord,
    fake_discord::{BOT, CHANNEL, GUILD, TestInteraction, permission},
    process::{Binary, Service, eventually},
};

use super::{CommandHarness, another, subscribe};
use crate::harness::TEST_TIMEOUT;

/// Runs a subcommand and returns its exit code, stdout and stderr.
async fn call(settings: &[(&str, String)], arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut service = Service::start_with_arguments(Binary::Notifier, settings, arguments).await;
    let status = service.end().await;
    (status.code(), service.stdout(), service.stderr())
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_subcommands_manage_subscriptions() {
    let mut desk = CommandHarness::start(&[]).await;
    let settings = [("NOTIFIER_ADMIN_ADDR", desk.admin.clone())];
    let (guild, channel) = (GUILD.to_string(), CHANNEL.to_string());
    let add = |name, filter| {
        [
            "subscriptions",
            "add",
            "--guild",
            &guild,
            "--channel",
            &channel,
            "--name",
            name,
            "--filter",
            filter,
        ]
        .map(str::to_owned)
    };
    let run = async |arguments: &[String]| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        call(&settings, &arguments).await
    };
    let (code, out, _) = run(&add("caps", "group:Titan")).await;
    assert_eq!((code, out.starts_with("active")), (Some(0), true), "{out}");
    let (code, _, error) = run(&add("caps", "npc")).await;
    assert!(code == Some(1) && error.contains("AlreadyExists"), "{error}");
    let (code, _, error) = run(&add("bad", "system:Jia")).await;
    assert!(
        code == Some(1) && error.contains("InvalidArgument") && error.contains("Jia"),
        "{error}"
    );
    let hook = [
        "subscriptions",
        "add",
        "--name",
        "hook",
        "--filter",
        "npc",
        "--webhook",
        "https://discord.com/api/webhooks/1/secret",
    ];
    let (_, _, error) = call(&settings, &hook).await;
    assert!(error.contains("NOTIFIER_ADMIN_TOKENS_FILE"), "{error}");

    // A reported change is on disk, and the commands in Discord see it.
    desk.restart().await;
    desk.ask(subscribe("by a person", "solo")).await;
    assert_eq!(desk.names().await, ["by a person", "caps"]);
    let (_, export, _) = call(&settings, &["subscriptions", "export", "--guild", &guild]).await;
    assert!(
        export.contains("\"by a person\"") && export.contains("\"caps\""),
        "{export}"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &export).unwrap();
    let import = ["subscriptions", "import", &file.path().display().to_string()].map(str::to_owned);
    let (code, _, error) = run(&import).await;
    assert!(code == Some(1) && error.contains("AlreadyExists"), "{error}");
    for name in ["caps", "by a person"] {
        let (code, out, _) = call(
            &settings,
            &["subscriptions", "remove", "--guild", &guild, "--name", name],
        )
        .await;
        assert_eq!((code, out.as_str()), (Some(0), "removed\n"));
    }
    let (code, out, error) = run(&import).await;
    assert_eq!((code, out.as_str()), (Some(0), "2 added\n"), "{error}");
    let (_, out, _) = call(&settings, &["subscriptions", "list"]).await;
    assert_eq!(out.lines().count(), 2, "{out}");
    let (code, _, error) = call(
        &[("NOTIFIER_ADMIN_ADDR", "127.0.0.1:9".into())],
        &["subscriptions", "list"],
    )
    .await;
    assert!(
        code == Some(1) && error.contains("no killfeed-notifier answers"),
        "{error}"
    );

    let (code, out, error) = call(&desk.discord.settings(), &["invite"]).await;
    assert_eq!(code, Some(0), "{error}");
    for permissions in ["274877991936", "274878123008"] {
        assert!(
            out.contains(&format!(
                "client_id={BOT}&scope=bot%20applications.commands&permissions={permissions}"
            )),
            "{out}"
        );
    }
}

/// Writes a file of tokens. The subcommands send the first one.
fn tokens(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn with_tokens(desk: &CommandHarness, file: Option<&Path>) -> Vec<(&'static str, String)> {
    let mut settings = vec![("NOTIFIER_ADMIN_ADDR", desk.admin.clone())];
    settings.extend(file.map(|path| ("NOTIFIER_ADMIN_TOKENS_FILE", path.display().to_string())));
    settings
}

/// With a tokens file, every call needs one of its tokens, and webhook destinations are allowed.
#[tokio::test(flavor = "multi_thread")]
async fn admin_api_requires_a_token_when_tokens_are_set() {
    let known = tokens("# who: token\nweb front-end-token\nops operator-token\n");
    let wrong = tokens("web other-token\n");
    let second = tokens("ops operator-token\n");
    let mut desk = CommandHarness::start(&[("NOTIFIER_ADMIN_TOKENS_FILE", &known.path().display().to_string())]).await;
    let hook = desk.discord.add_webhook(950_000_000_000_000_001, "hook-secret");
    let other = desk.discord.add_webhook(950_000_000_000_000_002, "other-secret");
    let (guild, channel) = (GUILD.to_string(), CHANNEL.to_string());
    let add_hook = [
        "subscriptions",
        "add",
        "--name",
        "hook",
        "--filter",
        "npc OR -npc",
        "--style",
        "link",
        "--webhook",
        &hook,
    ];
    let add_here = [
        "subscriptions",
        "add",
        "--guild",
        &guild,
        "--channel",
        &channel,
        "--name",
        "here",
        "--filter",
        "group:Titan",
    ];
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    let rows = serde_json::json!({"subscription": [
        {"name": "second hook", "filter": "value>=1b", "webhook": other},
        {"name": "there", "guild": guild, "channel": channel, "filter": "solo"},
    ]});
    std::fs::write(&path, rows.to_string()).unwrap();
    let calls: [&[&str]; 5] = [
        &["subscriptions", "list"],
        &add_hook,
        &["subscriptions", "remove", "--name", "hook"],
        &["subscriptions", "export"],
        &["subscriptions", "import", &path],
    ];
    for settings in [with_tokens(&desk, None), with_tokens(&desk, Some(wrong.path()))] {
        for arguments in calls {
            let (code, out, error) = call(&settings, arguments).await;
            assert_eq!((code, out.as_str()), (Some(1), ""), "{arguments:?}");
            assert!(
                error.contains("Unauthenticated") && error.contains("NOTIFIER_ADMIN_TOKENS_FILE"),
                "{arguments:?}: {error}"
            );
            assert!(!error.contains("token\n") && !error.contains("other-token"), "{error}");
        }
    }
    assert_eq!(
        desk.names().await,
        [""; 0],
        "a call without a valid token changes nothing"
    );

    let settings = with_tokens(&desk, Some(known.path()));
    let run = async |arguments: &[&str]| call(&settings, arguments).await;
    let (code, out, error) = run(&add_hook).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("webhook") && !out.contains("secret"), "{out}");
    let (code, _, error) = run(&add_here).await;
    assert_eq!(code, Some(0), "{error}");
    let evil = [
        "subscriptions",
        "add",
        "--name",
        "evil",
        "--filter",
        "",
        "--webhook",
        "https://evil.example/api/webhooks/1/x",
    ];
    let (code, _, error) = run(&evil).await;
    assert!(code == Some(1) && error.contains("webhook: expected"), "{error}");

    // The webhook posts without the bot's permissions, also after a kill -9.
    desk.restart().await;
    another(&desk, 910_000_011);
    eventually("posted through the webhook", TEST_TIMEOUT, async || {
        !desk.discord.posts(950_000_000_000_000_001).is_empty()
    })
    .await;
    let post = &desk.discord.posts(950_000_000_000_000_001)[0];
    let content = post.body["content"].as_str().unwrap();
    assert!(content.contains("https://zkillboard.com/kill/910000011/"), "{content}");

    // Every token of the file is valid. An export never contains the URL of a webhook.
    let settings = with_tokens(&desk, Some(second.path()));
    let run = async |arguments: &[&str]| call(&settings, arguments).await;
    let (code, out, error) = run(&["subscriptions", "import", &path]).await;
    assert_eq!((code, out.as_str()), (Some(0), "2 added\n"), "{error}");
    let (_, list, _) = run(&["subscriptions", "list"]).await;
    assert_eq!(list.lines().count(), 4, "{list}");
    let (_, export, _) = run(&["subscriptions", "export"]).await;
    assert!(!export.contains("secret") && export.contains("\"there\""), "{export}");
    let from_discord = desk.ask(TestInteraction::command("export")).await.file;
    assert!(!from_discord.contains("hook"), "{from_discord}");
    // A webhook subscription belongs to no guild.
    let (code, _, error) = run(&["subscriptions", "remove", "--guild", &guild, "--name", "hook"]).await;
    assert!(code == Some(1) && error.contains("NotFound"), "{error}");
    let (code, out, error) = run(&["subscriptions", "remove", "--name", "hook"]).await;
    assert_eq!((code, out.as_str()), (Some(0), "removed\n"), "{error}");
    assert!(!desk.notifier().stderr().contains("secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bot_without_guilds_logs_the_invite_link() {
    let discord = FakeDiscord::start().await;
    discord.remove_guild(GUILD);
    let desk = CommandHarness::start_in(discord, &[]).await;
    eventually("the notifier logs the link", TEST_TIMEOUT, async || {
        desk.notifier().stderr().contains("the bot is in no server")
    })
    .await;
    let log = desk.notifier().stderr();
    let link = format!("client_id={BOT}&scope=bot%20applications.commands&permissions=");
    for permissions in ["274877991936", "274878123008"] {
        assert!(log.contains(&format!("{link}{permissions}")), "{permissions}: {log}");
    }

    desk.discord.add_channel(GUILD, CHANNEL, permission::ALL);
    let help = desk.ask(TestInteraction::command("help")).await;
    assert!(help.shown().contains("# Filters"), "{}", help.shown());
    another(&desk, 910_000_021);
    eventually("the notifier receives the killmail", TEST_TIMEOUT, async || {
        let why = desk
            .ask(TestInteraction::command("why").text("kill", "910000021"))
            .await;
        why.shown().contains("Killed") && !why.shown().contains("received")
    })
    .await;
    assert!(
        desk.discord.posts(CHANNEL).is_empty(),
        "a new guild gets no posts without a subscription"
    );
}
