//! The admin API through the program that calls it; and `invite`.

use killfeed_support::{
    discord::{BOT, CHANNEL, GUILD},
    process::{Binary, Service},
};

use super::{Desk, subscribe};

/// Exit code, standard output, standard error.
async fn call(settings: &[(&str, String)], arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut service = Service::start_with_arguments(Binary::Notifier, settings, arguments).await;
    let status = service.end().await;
    (status.code(), service.stdout(), service.stderr())
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_do_the_same_without_discord() {
    let mut desk = Desk::start(&[]).await;
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

    // Answered is on disk, and seen by those who give commands.
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
