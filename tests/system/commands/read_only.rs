//! Tests of commands that change nothing, and of hostile input to all commands.

use killfeed_support::fake_discord::{CHANNEL, GUILD, TestInteraction, permission};

use killfeed::v1::CompileFilterRequest;

use super::{CommandHarness, KILLMAILS, another_with, golden, subscribe, title, without_examples};

#[tokio::test(flavor = "multi_thread")]
async fn read_only_commands_match_the_golden_files() {
    let desk = CommandHarness::start(&[]).await;
    let help = desk.ask(TestInteraction::command("help")).await;
    golden!("help", help);
    every_example_is_a_filter(&desk, &help).await;
    golden!("check", desk.ask(TestInteraction::command("check")).await);
    desk.discord.add_channel(
        GUILD,
        CHANNEL,
        permission::VIEW_CHANNEL | permission::READ_MESSAGE_HISTORY,
    );
    golden!("check_lacking", desk.ask(TestInteraction::command("check")).await);
    desk.discord.add_channel(GUILD, CHANNEL, permission::ALL);
    golden!("list_empty", desk.ask(TestInteraction::command("list")).await);

    let preview = desk
        .ask(TestInteraction::command("preview").text("filter", "value>=10b space:nullsec"))
        .await;
    assert_eq!(
        preview.message["embeds"].as_array().unwrap().len(),
        3,
        "the embeds of a preview with two matches"
    );
    golden!("preview", without_examples(&preview));
    let made = desk
        .ask(TestInteraction::button(
            &preview.button("Subscribe to this"),
            &preview.message,
        ))
        .await;
    assert_eq!(title(&made), "Subscribed", "{}", made.shown());
    // A filter that is too long for a button's custom id is read from the message.
    let long = format!("value>=10b ({})", ["alliance:99990003"; 8].join(" OR "));
    let preview = desk
        .ask(
            TestInteraction::command("preview")
                .text("filter", &long)
                .number("hours", 100),
        )
        .await;
    let made = desk
        .ask(TestInteraction::button(
            &preview.button("Subscribe to this"),
            &preview.message,
        ))
        .await;
    assert!(made.shown().contains(&long), "{}", made.shown());
    golden!("preview_which", desk.ask(TestInteraction::command("preview")).await);

    desk.ask(
        subscribe("fortune", "(victim.group:Titan OR value>=50b) space:nullsec attackers>=200 attacker(alliance:99990002 AND group:Titan)")
            .text("us", "alliance:99990003")
            .text("side", "losses"),
    )
    .await;
    golden!(
        "why",
        desk.ask(
            TestInteraction::command("why")
                .text("kill", "https://zkillboard.com/kill/900000052/")
                .text("name", "fortune")
        )
        .await
    );
    // This filter matches, but the bot was added after the killmail.
    golden!(
        "why_before",
        desk.ask(
            TestInteraction::command("why")
                .text("kill", "900000052")
                .text("name", "value>=10b space:nullsec")
        )
        .await
    );
    golden!(
        "why_unknown",
        desk.ask(TestInteraction::command("why").text("kill", "5")).await
    );
    golden!(
        "why_not_understood",
        desk.ask(TestInteraction::command("why").text("kill", "x")).await
    );
    let test = desk
        .ask(TestInteraction::command("test").text("name", "value>=10b space:nullsec"))
        .await;
    golden!("test", test);
    let posts = desk.discord.posts(CHANNEL);
    assert_eq!(posts.len(), 1);
    assert!(posts[0].body["content"].as_str().unwrap().starts_with("Test of"));
    assert_eq!(posts[0].body["allowed_mentions"]["parse"], serde_json::json!([]));
    let status = desk.ask(TestInteraction::command("status")).await;
    for said in [
        "zKillboard: OK",
        "## Stream\nOpen",
        "3 subscriptions",
        "From kill to post",
    ] {
        assert!(status.shown().contains(said), "{}", status.shown());
    }
}

/// Compiles every example of the help text. Examples are the lines that start with a filter in backquotes.
async fn every_example_is_a_filter(desk: &CommandHarness, help: &killfeed_support::fake_discord::InteractionReply) {
    let shown = help.shown();
    let (_, examples) = shown.split_once("## Examples\n").unwrap();
    let (examples, _) = examples.split_once("\n## ").unwrap();
    let examples: Vec<&str> = examples.lines().filter(|line| line.starts_with('`')).collect();
    assert!(examples.len() >= 6, "{examples:?}");
    // Wildcards also match the names of NPC ships, which are not on the market.
    for example in examples.into_iter().chain(["`attacker.ship:*Police*Commander`"]) {
        let filter = example.trim_matches('`').to_owned();
        let request = CompileFilterRequest { filter };
        let compiled = desk.ingestor.client().universe().compile_filter(request).await;
        let compiled = compiled.unwrap().into_inner();
        assert!(compiled.filter.is_some(), "{example}: {:?}", compiled.diagnostics);
        assert_eq!(compiled.warnings, [], "{example}");
    }
}

/// Each button adds the term that excludes exactly the killmails that its label counts.
#[tokio::test(flavor = "multi_thread")]
async fn exclude_buttons_remove_exactly_the_named_killmails() {
    let desk = CommandHarness::start(&[]).await;
    const CORPORATION: u64 = 98_880_001;
    // CCP's ids of two capsules, a shuttle and a corvette, and four Rifters: two that should remain and two NPC losses.
    let ships = [670, 670, 672, 601, 587, 587, 587, 587];
    for (index, ship) in ships.into_iter().enumerate() {
        another_with(&desk, 920_000_001 + index as u64, |document| {
            document["esi"]["victim"]["ship_type_id"] = ship.into();
            document["esi"]["victim"]["corporation_id"] = CORPORATION.into();
            document["zkb"]["npc"] = (index >= 6).into();
        });
    }
    desk.ingestor.wait_for_killmails(KILLMAILS + 8).await;
    let filter = format!("victim.corporation:{CORPORATION}");
    let made = desk.ask(subscribe("ours", &filter)).await;
    assert!(
        made.shown().contains("8 in the last") && made.shown().contains("2 pods, 2 NPC kills, 2 shuttles or corvettes"),
        "{}",
        made.shown()
    );
    let mut shown = made;
    let mut expected = filter;
    for (label, term, left) in [
        ("No shuttles or corvettes", "-victim.group:(Shuttle OR Corvette)", "6"),
        ("No pods", "-victim.group:Capsule", "4"),
        ("No NPC kills", "NOT npc", "2"),
    ] {
        shown = desk
            .ask(TestInteraction::button(&shown.button(label), &shown.message))
            .await;
        expected = format!("{expected} {term}");
        assert!(shown.shown().contains(&expected), "{label}: {}", shown.shown());
        assert!(
            shown.shown().contains(&format!("How often\n{left} in the last")),
            "{label}: {}",
            shown.shown()
        );
        assert!(
            !shown.shown().contains(&format!("[{label}]")),
            "{label}: {}",
            shown.shown()
        );
    }
}

/// Two filters are valid alone, but too long in combination.
#[tokio::test(flavor = "multi_thread")]
async fn combined_filter_over_the_limit_is_reported() {
    let desk = CommandHarness::start(&[]).await;
    let long = format!("{}npc", "npc OR ".repeat(279));
    assert!(long.len() < 2_000 && long.len() > 1_930);
    let made = desk
        .ask(
            subscribe("long", &long)
                .text("us", "alliance:99990003 OR alliance:99990002")
                .text("style", "link"),
        )
        .await;
    assert_eq!(title(&made), "Subscribed", "{}", made.shown());
    let said = "cannot be searched together: ";
    assert!(
        made.shown().contains(said) && made.shown().contains("at most 2000"),
        "{}",
        made.shown()
    );
    golden!(
        "preview_too_long",
        desk.ask(TestInteraction::command("preview").text("name", "long")).await
    );
    let test = desk.ask(TestInteraction::command("test").text("name", "long")).await;
    assert_eq!(title(&test), "Search not possible");
    // Without `us` the filter can be searched, but not together with one more term.
    let filter = format!("{}npc", "npc OR ".repeat(284));
    let made = desk.ask(subscribe("longest", &filter)).await;
    assert!(
        made.shown().contains("in the last") && made.shown().contains("the filter is too long to count pods"),
        "{}",
        made.shown()
    );
    // The edit behind an exclude button fails if the resulting filter is too long.
    let too_long = desk
        .ask(
            TestInteraction::command("edit")
                .text("name", "longest")
                .text("add", "-victim.group:Capsule"),
        )
        .await;
    assert!(
        too_long.shown().contains("at most 2000 are allowed"),
        "{}",
        too_long.shown()
    );
    assert!(!desk.notifier().stderr().contains("no ingestor is reachable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn autocomplete_suggests_terms_names_and_history() {
    let desk = CommandHarness::start(&[]).await;
    let typing = async |text: &str| {
        desk.ask(TestInteraction::typing("subscribe", "filter", text))
            .await
            .choices()
    };
    assert!(typing("").await.contains(&"alliance:".to_owned()));
    assert_eq!(typing("value>=1b al").await, ["value>=1b alliance:"]);
    let titan = typing("-victim.group:tit").await;
    assert!(titan.contains(&"-victim.group:Titan".to_owned()), "{titan:?}");
    // A valid filter is the first choice, exactly as typed.
    assert_eq!(typing("npc").await[0], "npc");
    assert_eq!(typing("group:Titan").await[0], "group:Titan");
    let system = typing("npc system:(Jita OR Peri").await;
    assert!(
        system.contains(&"npc system:(Jita OR Perimeter".to_owned()),
        "{system:?}"
    );
    // For a filter that is too long for a choice, the only choice says so.
    let long = format!("{} group:Tit", "npc OR ".repeat(14));
    let choices = desk.ask(TestInteraction::typing("subscribe", "filter", &long)).await;
    assert_eq!(choices.choices().len(), 1);
    assert!(
        choices.message["choices"][0]["name"]
            .as_str()
            .unwrap()
            .contains("edit add")
    );

    desk.ask(subscribe("first", "group:Titan")).await;
    desk.ask(subscribe("second", "npc")).await;
    let recent = typing("group:").await;
    assert_eq!(recent[0], "group:Titan", "terms used in this guild come first");
    let names = desk.ask(TestInteraction::typing("pause", "name", "")).await.choices();
    assert_eq!(names, ["*", "first", "second"]);
    assert_eq!(
        desk.ask(TestInteraction::typing("edit", "name", "SEC")).await.choices(),
        ["second"]
    );
    let pings = desk
        .ask(TestInteraction::typing("subscribe", "ping", "h"))
        .await
        .choices();
    assert_eq!(pings, ["here"]);
    let us = desk
        .ask(TestInteraction::typing("subscribe", "us", "corporation:98990001 OR al"))
        .await
        .choices();
    assert!(us.contains(&"corporation:98990001 OR alliance:".to_owned()), "{us:?}");
    // The bot responds without an ingestor too. A unit test of the notifier checks its time limit.
    let mut desk = desk;
    desk.ingestor.stop().await;
    let away = desk
        .ask(TestInteraction::typing("subscribe", "filter", "group:tit"))
        .await;
    assert_eq!(away.first["type"], 8, "{}", away.first);
    golden!("no_ingestor", desk.ask(subscribe("third", "npc")).await);
    assert_eq!(
        desk.names().await,
        ["first", "second"],
        "a failed command stores nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_input_is_escaped_or_rejected() {
    let desk = CommandHarness::start(&[]).await;
    let long = "x".repeat(3_000);
    let nested = "(".repeat(500);
    let texts = [
        "@everyone <@&1> **x** `y` ```",
        "\u{202e}npc\u{0}\u{7}",
        long.as_str(),
        nested.as_str(),
        "\"",
        "npc AND",
        "ship:(",
        "<script>",
        "''; --",
        "🚀",
        "@name",
    ];
    for text in texts {
        let made = desk
            .ask(TestInteraction::command("subscribe").text("filter", text))
            .await;
        let preview = desk.ask(TestInteraction::command("preview").text("filter", text)).await;
        assert!(!title(&made).is_empty() && !title(&preview).is_empty(), "{text}");
        for (subcommand, option) in [
            ("unsubscribe", "name"),
            ("pause", "name"),
            ("why", "kill"),
            ("test", "name"),
        ] {
            desk.ask(TestInteraction::command(subcommand).text(option, text)).await;
        }
        for option in ["filter", "us", "ping"] {
            assert!(
                desk.ask(TestInteraction::typing("subscribe", option, text))
                    .await
                    .choices()
                    .len()
                    <= 25
            );
        }
        desk.ask(TestInteraction::button(
            &format!("kf:{}", text.chars().take(90).collect::<String>()),
            &serde_json::Value::Null,
        ))
        .await;
    }
    // Control and direction characters are removed before the filter is compiled.
    assert!(
        desk.names().await.iter().any(|name| name == "npc"),
        "{:?}",
        desk.names().await
    );
    let bad_name = desk.ask(subscribe(&"n".repeat(101), "npc")).await;
    assert_eq!(title(&bad_name), "Invalid name");
    let odd = desk
        .ask(subscribe("@everyone [x](https://evil.example) \u{202e}", "solo"))
        .await;
    assert!(
        !odd.shown().contains("\u{202e}") && odd.shown().contains("\\@everyone"),
        "{}",
        odd.shown()
    );
    assert!(desk.notifier().stderr().lines().all(|line| !line.contains("panicked")));
}
