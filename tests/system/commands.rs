//! Tests of the commands with real processes and a fake Discord.
//!
//! Each response is checked against Discord's API description and its limit of 3 seconds. Replies are golden files, and
//! docs/commands.md shows some of them.

mod admin;
mod read_only;
mod mutating;
mod docs;
mod import_export;
mod concurrency;
mod notifications;

use std::time::SystemTime;

use killfeed_support::{
    FakeDiscord, FakeUpstream, corpus,
    fake_discord::{CHANNEL, GUILD, InteractionReply, TestInteraction},
    process::{Binary, Service, eventually, free_address},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{TEST_TIMEOUT, TestIngestor};

/// The number of killmails that the sample adds to the log.
///
/// The sample's placeholder and its repeated killmail do not count.
pub(crate) const KILLMAILS: u64 = 50;

/// A notifier with the fake Discord, the fake upstream and the ingestor that it needs.
pub(crate) struct CommandHarness {
    pub(crate) discord: FakeDiscord,
    pub(crate) ingestor: TestIngestor,
    pub(crate) upstream: FakeUpstream,
    pub(crate) http: String,
    pub(crate) admin: String,
    pub(crate) data: TempDir,
    pub(crate) extra: Vec<(&'static str, String)>,
    notifier: Option<Service>,
}

impl CommandHarness {
    /// Starts a connected bot over a log with the bundled killmails, all published now.
    pub(crate) async fn start(extra: &[(&'static str, &str)]) -> Self {
        Self::start_in(FakeDiscord::start().await, extra).await
    }

    /// Does the same as [`CommandHarness::start`] with this Discord.
    pub(crate) async fn start_in(discord: FakeDiscord, extra: &[(&'static str, &str)]) -> Self {
        let upstream = FakeUpstream::start_with_sample().await;
        let now = SystemTime::now();
        let mut documents = corpus::sample();
        for document in &mut documents {
            corpus::set_times(document, now, now);
        }
        upstream.publish_all(documents);
        let ingestor = TestIngestor::start(&upstream, &[]).await;
        eventually("the log contains the sample", TEST_TIMEOUT, async || {
            ingestor.status().await.killmails >= KILLMAILS
        })
        .await;
        discord.limit_posts(None);
        let mut desk = Self {
            discord,
            ingestor,
            upstream,
            http: free_address(),
            admin: free_address(),
            data: tempfile::tempdir().unwrap(),
            extra: extra
                .iter()
                .map(|(variable, value)| (*variable, (*value).to_owned()))
                .collect(),
            notifier: None,
        };
        desk.launch().await;
        desk
    }

    /// Starts the notifier, again with the same addresses and data folder if it ran before.
    pub(crate) async fn launch(&mut self) {
        let mut settings = vec![
            ("NOTIFIER_INGESTOR_URLS", self.ingestor.url()),
            ("NOTIFIER_HTTP_ADDR", self.http.clone()),
            ("NOTIFIER_ADMIN_ADDR", self.admin.clone()),
            ("NOTIFIER_DATA_DIR", self.data.path().display().to_string()),
        ];
        settings.extend(self.discord.settings());
        settings.extend(self.extra.iter().cloned());
        let mut service = Service::start(Binary::Notifier, &settings).await;
        service.ready().await;
        self.notifier = Some(service);
    }

    /// Kills the notifier with SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.notifier.take().expect("the notifier runs").kill().await;
    }

    /// Kills and starts the notifier, and waits until it is ready.
    ///
    /// This takes up to 5 s, because Discord lets a shard identify once per 5 s.
    pub(crate) async fn restart(&mut self) {
        self.kill().await;
        self.launch().await;
    }

    pub(crate) fn notifier(&self) -> &Service {
        self.notifier.as_ref().expect("the notifier runs")
    }

    /// Sends an interaction and returns the response, after checking its validity and visibility.
    pub(crate) async fn ask(&self, ask: TestInteraction) -> InteractionReply {
        let answered = self.discord.ask(&ask).await;
        assert_eq!(self.discord.rejected(), [""; 0]);
        let flags = &answered.first["data"]["flags"];
        match answered.first["type"].as_u64() {
            Some(4 | 5) => assert_eq!(flags, 64, "only the invoker may see the response"),
            Some(6..=9) => {}
            other => panic!("unexpected response type {other:?}"),
        }
        answered
    }

    /// Returns the names that `list` shows on all of its pages.
    pub(crate) async fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut page = self.ask(TestInteraction::command("list")).await;
        loop {
            let embeds = page.message["embeds"].as_array().into_iter().flatten();
            let fields = embeds.flat_map(|embed| embed["fields"].as_array().into_iter().flatten());
            names.extend(fields.map(|field| field["name"].as_str().unwrap().split_once(' ').unwrap().1.to_owned()));
            if !page.shown().contains("[Next]") {
                return names;
            }
            page = self
                .ask(TestInteraction::button(&page.button("Next"), &page.message))
                .await;
        }
    }
}

/// Returns the text of a reply with fixed values for everything that differs between runs.
pub(crate) fn steady(answered: &InteractionReply) -> String {
    let text = answered
        .shown()
        .replace(&CHANNEL.to_string(), "CHANNEL")
        .replace(&GUILD.to_string(), "SERVER");
    let text = between(&text, "<t:", '>', "<time>");
    let text = between(&text, "in the last ", '|', "");
    let digits =
        |text: &str, count: usize| text.len() >= count && text.bytes().take(count).all(|byte| byte.is_ascii_digit());
    let mut steady = String::new();
    let mut rest = text.as_str();
    while let Some(c) = rest.chars().next() {
        // Replace times, dates and message ids.
        if digits(rest, 2) && rest[2..].starts_with(':') && digits(&rest[3..], 2) {
            steady.push_str("18:02");
            rest = &rest[5..];
        } else if digits(rest, 4) && rest[4..].starts_with('-') && rest.is_char_boundary(10) {
            steady.push_str("2026-08-18");
            rest = &rest[10..];
        } else if let Some(after) = rest.strip_prefix("/CHANNEL/") {
            steady.push_str("/CHANNEL/MESSAGE");
            rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        } else if let Some(after) = rest.strip_prefix("About ") {
            steady.push_str("About 1,234");
            rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == ',');
        } else {
            steady.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    steady
}

/// Replaces every piece from `begin` to `end` with `with`.
///
/// If `end` is `|`, the piece is the time that the log covers, which ends at a newline, `.`, `:` or parenthesis.
fn between(text: &str, begin: &str, end: char, with: &str) -> String {
    let mut parts = text.split(begin);
    let mut steady = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        if end == '|' {
            let ends = ["\n", ".", ":", " ("].into_iter().filter_map(|end| part.find(end));
            let at = ends.min().unwrap_or(part.len());
            steady.push_str("in the last 14 minutes");
            steady.push_str(&part[at..]);
        } else {
            steady.push_str(with);
            steady.push_str(part.split_once(end).map_or("", |(_, rest)| rest));
        }
    }
    steady
}

/// Returns a reply without the killmails below its first embed, which have golden files of their own.
pub(crate) fn without_examples(answered: &InteractionReply) -> InteractionReply {
    let mut first = answered.clone();
    first.message["content"] = Value::Null;
    if let Some(embeds) = first.message["embeds"].as_array_mut() {
        embeds.truncate(1);
    }
    first
}

/// Returns the first embed's title.
pub(crate) fn title(answered: &InteractionReply) -> &str {
    answered.message["embeds"][0]["title"].as_str().unwrap_or_default()
}

/// Compares a reply with its golden file.
macro_rules! golden {
    ($name:literal, $answered:expr) => {
        insta::assert_snapshot!($name, crate::commands::steady(&$answered))
    };
}
pub(crate) use golden;

/// Returns a `subscribe` command.
pub(crate) fn subscribe(name: &str, filter: &str) -> TestInteraction {
    TestInteraction::command("subscribe")
        .text("name", name)
        .text("filter", filter)
}

/// Publishes a copy of the first sample killmail under this id, with the current time.
pub(crate) fn another(desk: &CommandHarness, id: u64) -> Value {
    another_with(desk, id, |_| {})
}

/// Does the same as [`another`], but applies `change` before publishing.
pub(crate) fn another_with(desk: &CommandHarness, id: u64, change: impl FnOnce(&mut Value)) -> Value {
    let now = SystemTime::now();
    let mut document = corpus::sample().remove(0);
    document["killmail_id"] = id.into();
    document["esi"]["killmail_id"] = id.into();
    document["hash"] = format!("{id:040x}").into();
    if document["zkb"].get("hash").is_some() {
        document["zkb"]["hash"] = format!("{id:040x}").into();
    }
    corpus::set_times(&mut document, now, now);
    change(&mut document);
    desk.upstream.publish(document.clone());
    document
}
