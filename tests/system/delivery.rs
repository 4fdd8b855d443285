//! Further promises of the notifier, beside one post per match.
//!
//! Webhooks without a bot, later revisions, channels that recover, two notifiers side by side, guilds transferred
//! between them, and a corrupt database.

use std::{path::Path, time::Duration};

use killfeed_support::{
    FakeDiscord, FakeUpstream, corpus,
    fake_discord::{CHANNEL, Fault, GUILD, permission},
    process::{Binary, Service, eventually},
};
use serde_json::{Value, json};

use crate::{
    harness::{TEST_TIMEOUT, TestIngestor, get},
    notifier::{TestNotifier, fresh, matching, posted, row},
};

fn ids(documents: &[Value]) -> Vec<u64> {
    documents.iter().map(|it| it["killmail_id"].as_u64().unwrap()).collect()
}

async fn posts_are(discord: &FakeDiscord, channel: u64, expected: &[u64]) {
    let what = format!("{} killmails in channel {channel}", expected.len());
    eventually(&what, TEST_TIMEOUT, async || {
        posted(discord, channel).len() >= expected.len()
    })
    .await;
    assert_eq!(posted(discord, channel), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhook_needs_no_bot_and_retires_when_deleted() {
    let upstream = FakeUpstream::start().await;
    let discord = FakeDiscord::start().await;
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    let url = discord.add_webhook(77, "very-secret");
    let rows = format!("[[subscription]]\nname = \"hook\"\nwebhook = \"{url}\"\nfilter = \"\"\nstyle = \"link\"\n");
    let sink = [
        ("NOTIFIER_SINK", "discord".to_owned()),
        ("NOTIFIER_DISCORD_API_URL", discord.url()),
    ];
    let mut notifier = TestNotifier::start_with(&ingestor, &sink, &rows, &[("RUST_LOG", "debug")]).await;
    let documents = fresh(12);
    discord.fault(77, Fault::Status(503), Some(1));
    upstream.publish_all(documents[..10].iter().cloned());
    posts_are(&discord, 77, &ids(&documents[..10])).await;
    assert_eq!(discord.identifies(), 0, "a webhook starts no gateway connection");
    assert!(discord.requests().iter().all(|asked| asked.authorization.is_empty()));
    // A deleted webhook is logged once and never called again.
    discord.fault(77, Fault::Rejected(404, 10_015), None);
    upstream.publish(documents[10].clone());
    eventually("retired", TEST_TIMEOUT, async || notifier.stderr().contains("retired")).await;
    let asked = discord.requests().len();
    upstream.publish(documents[11].clone());
    ingestor.wait_for_killmails(12).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(discord.requests().len(), asked);
    assert!(!notifier.stderr().contains("very-secret"), "{}", notifier.stderr());
    assert_eq!(notifier.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn later_revision_edits_the_post_without_a_second_ping() {
    let upstream = FakeUpstream::start().await;
    let discord = FakeDiscord::start().await;
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    let rows = row("all", GUILD, CHANNEL, "").replace("\"link\"", "\"full\"\nping = \"here\"");
    let mut notifier = TestNotifier::start_with(&ingestor, &discord.settings(), &rows, &[]).await;
    let mut document = fresh(1).remove(0);
    upstream.publish(document.clone());
    eventually("posted", TEST_TIMEOUT, async || discord.posts(CHANNEL).len() == 1).await;
    discord.fail_edits(CHANNEL, 502, 2);
    document["zkb"]["totalValue"] = json!(987_000_000_000.0_f64);
    upstream.publish(document);
    eventually("edited", TEST_TIMEOUT, async || discord.posts(CHANNEL)[0].edits == 1).await;
    let posts = discord.posts(CHANNEL);
    assert_eq!(posts.len(), 1);
    let text = posts[0].body.to_string();
    assert!(text.contains("987b"), "{text}");
    assert!(
        posts[0].body["content"].as_str().unwrap().contains("@here"),
        "the edit keeps the mention text"
    );
    assert_eq!(
        posts[0].body["allowed_mentions"],
        json!({"parse": []}),
        "the edit pings nobody"
    );
    assert_eq!(discord.rejected(), [""; 0]);
    assert_eq!(notifier.stop().await, Some(0));
}

/// The ingestor compiles the distances into the filter, and the notifier shows them in the post.
#[tokio::test(flavor = "multi_thread")]
async fn post_and_its_edit_show_the_distance() {
    const PERIMETER: u64 = 30_000_144;
    if corpus::shared("sde/latest.jsonl").is_none() {
        eprintln!("note: no ../shared/data: the bundled sample has no map around Jita: not tested");
        return;
    }
    let upstream = FakeUpstream::start().await;
    let discord = FakeDiscord::start().await;
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    let rows = row("market", GUILD, CHANNEL, "near(Jita, 5ly)").replace("\"link\"", "\"full\"");
    let mut notifier = TestNotifier::start_with(&ingestor, &discord.settings(), &rows, &[]).await;
    let mut document = fresh(1).remove(0);
    document["esi"]["solar_system_id"] = PERIMETER.into();
    upstream.publish(document.clone());
    eventually("posted", TEST_TIMEOUT, async || discord.posts(CHANNEL).len() == 1).await;
    let told = || {
        let body = discord.posts(CHANNEL)[0].body.to_string();
        assert!(body.contains(" ly, 1 jump from Jita"), "{body}");
    };
    told();
    document["zkb"]["totalValue"] = json!(987_000_000_000.0_f64);
    upstream.publish(document);
    eventually("edited", TEST_TIMEOUT, async || discord.posts(CHANNEL)[0].edits == 1).await;
    told();
    assert_eq!(discord.rejected(), [""; 0]);
    assert_eq!(notifier.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn channel_resumes_when_permissions_return() {
    let upstream = FakeUpstream::start().await;
    let discord = FakeDiscord::start().await;
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    let rows = row("all", GUILD, CHANNEL, "");
    let mut notifier = TestNotifier::start_with(&ingestor, &discord.settings(), &rows, &[]).await;
    discord.add_channel(GUILD, CHANNEL, permission::VIEW_CHANNEL);
    let documents = fresh(3);
    upstream.publish_all(documents.iter().cloned());
    eventually("suspended", TEST_TIMEOUT, async || {
        notifier.stderr().contains("suspended")
    })
    .await;
    // Count only requests to the channel: the registration of the commands comes at any time.
    let attempts = || {
        let asked = discord.requests();
        let path = format!("/channels/{CHANNEL}/messages");
        asked.iter().filter(|asked| asked.path.ends_with(&path)).count()
    };
    let before = attempts();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        attempts(),
        before,
        "the notifier does not call a suspended channel in a loop"
    );
    // The gateway reports the change, so the notifier does not wait for the five minutes of NOTIFIER_PROBE_INTERVAL.
    discord.add_channel(GUILD, CHANNEL, permission::ALL);
    posts_are(&discord, CHANNEL, &ids(&documents)).await;
    assert_eq!(notifier.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_message_becomes_a_dead_letter_with_its_body() {
    let upstream = FakeUpstream::start().await;
    let discord = FakeDiscord::start().await;
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    let rows = row("all", GUILD, CHANNEL, "");
    let mut notifier = TestNotifier::start_with(&ingestor, &discord.settings(), &rows, &[]).await;
    let letters = format!("http://{}/dead-letters", notifier.http);
    assert_eq!(get(&letters).await, "");
    let documents = fresh(3);
    let ids = ids(&documents);
    discord.fault(CHANNEL, Fault::Rejected(400, 50_035), Some(1));
    upstream.publish(documents[0].clone());
    eventually("dead letter", TEST_TIMEOUT, async || !get(&letters).await.is_empty()).await;
    // A rejected killmail does not suspend its subscription.
    upstream.publish_all(documents[1..].iter().cloned());
    posts_are(&discord, CHANNEL, &ids[1..]).await;

    let link = format!("https://zkillboard.com/kill/{}/", ids[0]);
    eventually("it is logged", TEST_TIMEOUT, async || {
        let said = notifier.stderr();
        said.contains("discord rejects this message") && said.contains(&link)
    })
    .await;
    let metrics = get(&format!("http://{}/metrics", notifier.http)).await;
    assert!(metrics.contains("notifier_dead_letters_total{"), "{metrics}");
    // The dead letter survives SIGKILL and stays readable.
    notifier.kill().await;
    notifier.launch().await;
    let text = get(&letters).await;
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1, "{text}");
    let letter = &lines[0];
    assert_eq!(letter["killmail"], ids[0]);
    assert_eq!(letter["destination"], json!({ "channel": CHANNEL }));
    assert_eq!(letter["state"], "Dead");
    assert!(letter["why"].as_str().is_some_and(|why| !why.is_empty()), "{letter}");
    assert_eq!(
        letter["body"]["content"], link,
        "the dead letter holds the body as sent"
    );
    assert_eq!(
        posted(&discord, CHANNEL),
        ids[1..],
        "the notifier never posts the dead letter"
    );
    assert_eq!(notifier.stop().await, Some(0));
}

/// A guild of shard 0 of 2; [`ODD`] is a guild of shard 1.
const EVEN: u64 = 8 << 22;
const ODD: u64 = 9 << 22;

#[tokio::test(flavor = "multi_thread")]
async fn guild_transfer_loses_and_repeats_nothing() {
    let upstream = FakeUpstream::start().await;
    let discord = FakeDiscord::start().await;
    discord.limit_posts(Some((2, Duration::from_secs(1))));
    discord.add_channel(EVEN, EVEN + 1, permission::ALL);
    discord.add_channel(ODD, ODD + 1, permission::ALL);
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    let rows = row("even", EVEN, EVEN + 1, "") + &row("odd", ODD, ODD + 1, "");
    // Both notifiers read the same file: each takes the rows of its own shards.
    let settings = discord.settings();
    let mut first = TestNotifier::start_with(&ingestor, &settings, &rows, &[("NOTIFIER_SHARDS", "0/2")]).await;
    let mut second = TestNotifier::start_with(&ingestor, &settings, &rows, &[("NOTIFIER_SHARDS", "1/2")]).await;
    assert_eq!(discord.shards(), [[0, 2], [1, 2]]);
    let ready = get(&format!("http://{}/readyz", second.http)).await;
    assert_eq!(ready, "ready: shards 1/2\n");
    // A subscription posts only killmails published after its creation.
    let documents = fresh(160);
    upstream.publish_all(documents[..60].iter().cloned());
    eventually("both notifiers post", TEST_TIMEOUT, async || {
        posted(&discord, EVEN + 1).len() > 5 && posted(&discord, ODD + 1).len() > 5
    })
    .await;

    // The second notifier ends first, with queued killmails; the first one continues for a while.
    second.kill().await;
    upstream.publish_all(documents[60..110].iter().cloned());
    ingestor.wait_for_killmails(110).await;
    eventually("the first notifier has every killmail", TEST_TIMEOUT, async || {
        posted(&discord, EVEN + 1).len() == 110
    })
    .await;
    first.kill().await;

    let moved = tempfile::tempdir().unwrap();
    let file = moved.path().join("guilds").display().to_string();
    move_guilds("export", second.data.path(), "1/2", &file).await;
    move_guilds("import", first.data.path(), "1/2", &file).await;
    upstream.publish_all(documents[110..].iter().cloned());
    // One process now serves all shards.
    first.set("NOTIFIER_SHARDS", "0-1/2");
    first.launch().await;
    ingestor.wait_for_killmails(160).await;
    let expected = matching(&ingestor, "").await;
    assert_eq!(expected.len(), 160);
    for channel in [EVEN + 1, ODD + 1] {
        let what = format!("160 killmails in channel {channel}");
        eventually(&what, TEST_TIMEOUT * 3, async || posted(&discord, channel).len() >= 160).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(posted(&discord, EVEN + 1), expected);
    assert_eq!(posted(&discord, ODD + 1), expected, "each killmail once, in log order");
    assert_eq!(first.stop().await, Some(0));
}

async fn move_guilds(what: &str, data: &Path, shards: &str, file: &str) {
    let settings = [("NOTIFIER_DATA_DIR", data.join("data").display().to_string())];
    let arguments = [what, "--shards", shards, "--file", file];
    let mut service = Service::start_with_arguments(Binary::Notifier, &settings, &arguments).await;
    let status = service.end().await;
    assert!(status.success(), "{what}: {}", service.stderr());
    assert!(
        service.stderr().contains("1 guilds with 1 subscriptions"),
        "{}",
        service.stderr()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn corrupt_database_is_replaced_by_the_newest_daily_copy() {
    let upstream = FakeUpstream::start().await;
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    let console = [("NOTIFIER_SINK", "console".to_owned())];
    let mut notifier = TestNotifier::start_with(&ingestor, &console, &row("all", GUILD, CHANNEL, ""), &[]).await;
    let data = notifier.data.path().join("data");
    eventually("the daily copy exists", TEST_TIMEOUT, async || {
        std::fs::read_dir(data.join("exports")).is_ok_and(|files| files.count() == 1)
    })
    .await;
    assert_eq!(notifier.stop().await, Some(0));
    let length = std::fs::metadata(data.join("sled/db")).unwrap().len();
    std::fs::write(data.join("sled/db"), vec![0xa5; usize::try_from(length).unwrap()]).unwrap();
    // Without the file, only the daily copy can restore the subscriptions.
    std::fs::write(notifier.data.path().join("subscriptions.toml"), "").unwrap();
    notifier.set("NOTIFIER_SUBSCRIPTIONS_FILE", "");
    notifier.launch().await;
    eventually("the notifier logs the replacement", TEST_TIMEOUT, async || {
        let said = notifier.stderr();
        said.contains("moved aside") && said.contains("subscriptions=1")
    })
    .await;
    let aside = std::fs::read_dir(&data).unwrap().filter_map(Result::ok);
    assert!(
        aside
            .map(|entry| entry.file_name())
            .any(|name| name.to_string_lossy().contains("damaged"))
    );
    let documents = fresh(2);
    upstream.publish_all(documents.iter().cloned());
    eventually("the notifier posts again", TEST_TIMEOUT, async || {
        notifier.printed() == ids(&documents)
    })
    .await;
    assert_eq!(notifier.stop().await, Some(0));
}
