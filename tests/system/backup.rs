//! Backups of the notifier, as docs/operations.md describes them.
//!
//! An export made from a running notifier fills an empty folder, and an old data folder replaces a lost one. Neither
//! posts a killmail a second time.

use std::{fs, path::Path, time::Duration};

use killfeed_support::{
    FakeDiscord, FakeUpstream,
    fake_discord::{CHANNEL, GUILD, permission},
    process::{Binary, Service, eventually, free_address},
};
use serde_json::Value;

use crate::{
    harness::{TEST_TIMEOUT, TestIngestor},
    notifier::{TestNotifier, fresh, posted, row},
};

const OTHER_GUILD: u64 = GUILD + (1 << 22);
const OTHER: u64 = OTHER_GUILD + 1;

fn ids(documents: &[Value]) -> Vec<u64> {
    documents.iter().map(|it| it["killmail_id"].as_u64().unwrap()).collect()
}

/// Runs a subcommand of the notifier and returns its stderr.
async fn command(settings: &[(&str, String)], arguments: &[&str]) -> String {
    let mut service = Service::start_with_arguments(Binary::Notifier, settings, arguments).await;
    let status = service.end().await;
    assert!(status.success(), "{arguments:?}: {}", service.stderr());
    service.stderr()
}

async fn posts_are(discord: &FakeDiscord, channel: u64, expected: &[u64]) {
    let what = format!("{} posts in {channel}", expected.len());
    eventually(&what, TEST_TIMEOUT, async || {
        posted(discord, channel).len() >= expected.len()
    })
    .await;
    assert_eq!(posted(discord, channel), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn export_of_a_running_notifier_fills_an_empty_folder() {
    let upstream = FakeUpstream::start().await;
    let discord = FakeDiscord::start().await;
    discord.add_channel(OTHER_GUILD, OTHER, permission::ALL);
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    let rows = row("all", GUILD, CHANNEL, "") + &row("all", OTHER_GUILD, OTHER, "");
    let admin = free_address();
    let extra = [("NOTIFIER_ADMIN_ADDR", admin.as_str())];
    let mut notifier = TestNotifier::start_with(&ingestor, &discord.settings(), &rows, &extra).await;
    let documents = fresh(8);
    upstream.publish_all(documents[..3].iter().cloned());
    posts_are(&discord, CHANNEL, &ids(&documents[..3])).await;
    posts_are(&discord, OTHER, &ids(&documents[..3])).await;

    let backup = tempfile::tempdir().unwrap();
    let file = backup.path().join("subscriptions.json").display().to_string();
    let data = |folder: &Path| ("NOTIFIER_DATA_DIR", folder.display().to_string());
    let here = [
        data(&notifier.data.path().join("data")),
        ("NOTIFIER_ADMIN_ADDR", admin.clone()),
    ];
    command(&here, &["export", "--file", &file]).await;
    let running = fs::read_to_string(&file).unwrap();
    assert_eq!(
        running.matches("\"filter\"").count(),
        2,
        "both guilds are exported: {running}"
    );
    // A second export must not overwrite the file.
    let mut again = Service::start_with_arguments(Binary::Notifier, &here, &["export", "--file", &file]).await;
    assert_eq!(again.end().await.code(), Some(1));

    // The host is lost together with everything that it posted after the backup.
    upstream.publish(documents[3].clone());
    posts_are(&discord, CHANNEL, &ids(&documents[..4])).await;
    posts_are(&discord, OTHER, &ids(&documents[..4])).await;
    notifier.kill().await;
    // A stopped notifier exports the same file.
    let stopped = backup.path().join("stopped.json").display().to_string();
    command(&here, &["export", "--file", &stopped]).await;
    assert_eq!(fs::read_to_string(&stopped).unwrap(), running);
    upstream.publish(documents[4].clone());
    ingestor.wait_for_killmails(5).await;

    let fresh_folder = backup.path().join("data");
    command(&[data(&fresh_folder)], &["import", "--file", &file]).await;
    notifier.set("NOTIFIER_DATA_DIR", &fresh_folder.display().to_string());
    notifier.set("NOTIFIER_SUBSCRIPTIONS_FILE", "");
    notifier.launch().await;
    // The imported subscriptions start at the head, so they skip killmails uploaded before the import.
    upstream.publish_all(fresh(8).split_off(5));
    // The notifier prefers a lost post to a repeated one.
    let expected = [&ids(&documents[..4])[..], &ids(&documents[5..])[..]].concat();
    posts_are(&discord, CHANNEL, &expected).await;
    posts_are(&discord, OTHER, &expected).await;
    assert_eq!(notifier.stop().await, Some(0));
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_folder_posts_no_missed_killmails() {
    let upstream = FakeUpstream::start().await;
    let discord = FakeDiscord::start().await;
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    let rows = row("all", GUILD, CHANNEL, "");
    let mut notifier = TestNotifier::start_with(&ingestor, &discord.settings(), &rows, &[]).await;
    let documents = fresh(9);
    upstream.publish_all(documents[..3].iter().cloned());
    posts_are(&discord, CHANNEL, &ids(&documents[..3])).await;
    // Copy the folder of a stopped notifier.
    assert_eq!(notifier.stop().await, Some(0));
    let data = notifier.data.path().join("data");
    let yesterday = notifier.data.path().join("yesterday");
    copy_folder(&data, &yesterday);

    notifier.launch().await;
    upstream.publish_all(documents[3..6].iter().cloned());
    posts_are(&discord, CHANNEL, &ids(&documents[..6])).await;
    notifier.kill().await;
    upstream.publish(documents[6].clone());
    ingestor.wait_for_killmails(7).await;

    fs::remove_dir_all(&data).unwrap();
    fs::rename(&yesterday, &data).unwrap();
    notifier.set("NOTIFIER_SKIP_BACKLOG", "true");
    notifier.launch().await;
    upstream.publish(documents[7].clone());
    let expected = [&ids(&documents[..6])[..], &ids(&documents[7..8])[..]].concat();
    posts_are(&discord, CHANNEL, &expected).await;
    // A post about a missed killmail would have come before this one. The setting applies to one start only.
    notifier.kill().await;
    upstream.publish(documents[8].clone());
    ingestor.wait_for_killmails(9).await;
    notifier.launch().await;
    let expected = [&ids(&documents[..6])[..], &ids(&documents[7..])[..]].concat();
    posts_are(&discord, CHANNEL, &expected).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(posted(&discord, CHANNEL), expected);
    assert_eq!(notifier.stop().await, Some(0));
}
