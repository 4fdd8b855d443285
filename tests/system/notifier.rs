//! From the feed to the posts, over real processes.
//!
//! Each match is posted once, in order, regardless of kills and their timing.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime},
};

use killfeed::v1::ListKillmailsRequest;
use killfeed_support::{
    FakeDiscord, FakeUpstream, corpus,
    fake_discord::{CHANNEL, Fault, GUILD, permission},
    process::{Binary, Service, eventually, free_address},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{TEST_TIMEOUT, TestIngestor};

/// The channel of the low-security filter; [`CHANNEL`] gets every killmail.
const LOWSEC: u64 = CHANNEL + 1;
const LOWSEC_FILTER: &str = "space:lowsec";

/// A notifier that a test can kill and restart with the same folder and ports.
pub(crate) struct TestNotifier {
    pub(crate) data: TempDir,
    pub(crate) http: String,
    settings: Vec<(&'static str, String)>,
    service: Option<Service>,
    /// The stdout of the earlier processes.
    before: String,
}

impl TestNotifier {
    /// Starts a notifier that posts all killmails to [`CHANNEL`] and some to [`LOWSEC`].
    async fn start(ingestor: &TestIngestor, sink: &[(&'static str, String)]) -> Self {
        let rows = row("all", GUILD, CHANNEL, "") + &row("low", GUILD, LOWSEC, LOWSEC_FILTER);
        Self::start_with(ingestor, sink, &rows, &[]).await
    }

    /// Starts a notifier with a subscriptions file of these rows.
    ///
    /// The settings in `extra` override the defaults.
    pub(crate) async fn start_with(
        ingestor: &TestIngestor,
        sink: &[(&'static str, String)],
        rows: &str,
        extra: &[(&'static str, &str)],
    ) -> Self {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("subscriptions.toml");
        std::fs::write(&file, rows).unwrap();
        let http = free_address();
        let mut settings = vec![
            ("NOTIFIER_INGESTOR_URLS", ingestor.url()),
            ("NOTIFIER_HTTP_ADDR", http.clone()),
            ("NOTIFIER_DATA_DIR", data.path().join("data").display().to_string()),
            ("NOTIFIER_SUBSCRIPTIONS_FILE", file.display().to_string()),
            ("NOTIFIER_ADMIN_ADDR", String::new()),
        ];
        settings.extend(sink.iter().cloned());
        settings.extend(extra.iter().map(|(variable, value)| (*variable, (*value).to_owned())));
        let mut notifier = Self {
            data,
            http,
            settings,
            service: None,
            before: String::new(),
        };
        notifier.launch().await;
        notifier
    }

    pub(crate) async fn launch(&mut self) {
        let mut service = Service::start(Binary::Notifier, &self.settings).await;
        service.ready().await;
        self.service = Some(service);
    }

    /// Changes a setting for the next start.
    pub(crate) fn set(&mut self, variable: &'static str, value: &str) {
        self.settings.push((variable, value.to_owned()));
    }

    /// Returns the ids of the killmails that the console printed.
    pub(crate) fn printed(&self) -> Vec<u64> {
        links(&self.stdout())
    }

    /// Sends SIGKILL.
    pub(crate) async fn kill(&mut self) {
        let service = self.service.take().expect("the notifier runs");
        let lines = service.stdout_lines();
        service.kill().await;
        self.before.push_str(&lines.text());
    }

    pub(crate) fn stderr(&self) -> String {
        self.service.as_ref().map(Service::stderr).unwrap_or_default()
    }

    pub(crate) fn stdout(&self) -> String {
        let now = self.service.as_ref().map(Service::stdout).unwrap_or_default();
        format!("{}{now}", self.before)
    }

    pub(crate) async fn stop(&mut self) -> Option<i32> {
        let service = self.service.take().expect("the notifier runs");
        let lines = service.stdout_lines();
        let status = service.stop().await;
        self.before.push_str(&lines.text());
        status.code()
    }
}

/// Returns a row of the subscriptions file whose posts are links.
pub(crate) fn row(name: &str, guild: u64, channel: u64, filter: &str) -> String {
    format!(
        "[[subscription]]\nname = \"{name}\"\nguild = {guild}\nchannel = {channel}\nfilter = \"{filter}\"\nstyle = \"link\"\n"
    )
}

/// Returns real killmails whose time is now.
pub(crate) fn fresh(count: usize) -> Vec<Value> {
    let now = SystemTime::now();
    let mut documents: Vec<Value> = corpus::some(count);
    for document in &mut documents {
        corpus::set_times(document, now, now);
    }
    documents
}

/// Returns the killmail ids of all links in a text, in order.
fn links(text: &str) -> Vec<u64> {
    let after = text.split("https://zkillboard.com/kill/").skip(1);
    after
        .map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().unwrap()
        })
        .collect()
}

/// Returns the ids posted to a channel of Discord, in order.
pub(crate) fn posted(discord: &FakeDiscord, channel: u64) -> Vec<u64> {
    let content =
        |post: &killfeed_support::fake_discord::Posted| links(post.body["content"].as_str().unwrap_or_default());
    discord.posts(channel).iter().flat_map(content).collect()
}

/// Returns the ids that the ingestor's own filter finds, oldest first.
///
/// The notifier must post them. The ingestor computes them independently of the notifier.
pub(crate) async fn matching(ingestor: &TestIngestor, filter: &str) -> Vec<u64> {
    let mut found = Vec::new();
    let mut request = ListKillmailsRequest {
        filter: filter.to_owned(),
        page_size: 500,
        ..Default::default()
    };
    loop {
        let page = ingestor.client().killmails().list_killmails(request.clone()).await;
        let page = page.unwrap().into_inner();
        found.extend(page.killmails.iter().map(|killmail| killmail.killmail_id));
        if page.next_page_token.is_empty() {
            found.reverse();
            return found;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_notifier_loses_and_repeats_no_post() {
    let upstream = FakeUpstream::start().await;
    let discord = FakeDiscord::start().await;
    discord.add_channel(GUILD, LOWSEC, permission::ALL);
    // Discord's own limits apply, and posts are slow enough that killmails always wait.
    discord.limit_posts(Some((3, Duration::from_secs(1))));
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    let mut notifier = TestNotifier::start(&ingestor, &discord.settings()).await;

    let documents = fresh(480);
    for (round, part) in documents.chunks(80).enumerate() {
        let before = posted(&discord, CHANNEL).len();
        let messages = discord.posts(CHANNEL).len();
        // Each round kills the notifier in another state: between the post and its response, after a lost response,
        // after an error that posted, after an error that did not post, during a request without a response, and in the
        // last round at an arbitrary time.
        let fault = match round {
            0 => Some(Fault::AcceptedThenStall),
            1 => Some(Fault::AcceptedThenCut),
            2 => Some(Fault::AcceptedThenStatus(502)),
            3 => Some(Fault::Status(500)),
            4 => Some(Fault::Stall),
            _ => None,
        };
        let never_posted = matches!(fault, Some(Fault::Status(_) | Fault::Stall));
        let faulty = fault.is_some();
        if let Some(fault) = fault {
            discord.fault(CHANNEL, fault.clone(), Some(1));
            discord.fault(LOWSEC, fault, Some(1));
        }
        let asked = discord.requests().len();
        upstream.publish_all(part.iter().cloned());
        if never_posted {
            eventually("the notifier sends a message", TEST_TIMEOUT, async || {
                discord.requests().len() > asked || posted(&discord, CHANNEL).len() > before
            })
            .await;
        } else {
            eventually("Discord has a new message", TEST_TIMEOUT, async || {
                discord.posts(CHANNEL).len() > messages
            })
            .await;
        }
        if !faulty {
            eventually("the notifier continues", TEST_TIMEOUT, async || {
                posted(&discord, CHANNEL).len() > before + 20
            })
            .await;
        }
        notifier.kill().await;
        discord.heal(CHANNEL);
        discord.heal(LOWSEC);
        notifier.launch().await;
    }
    ingestor.wait_for_killmails(documents.len() as u64).await;
    for (channel, filter) in [(CHANNEL, ""), (LOWSEC, LOWSEC_FILTER)] {
        let expected = matching(&ingestor, filter).await;
        assert!(expected.len() > 20, "{filter:?} matches too few killmails");
        let what = format!("{} killmails in channel {channel}", expected.len());
        eventually(&what, TEST_TIMEOUT * 2, async || {
            posted(&discord, channel).len() >= expected.len()
        })
        .await;
        // A repeated post would come in this time.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(posted(&discord, channel), expected, "each killmail once, in log order");
    }
    assert_eq!(discord.rejected(), [""; 0]);
    // A new process does not know its predecessor's use of a bucket, so one 429 per channel is expected.
    assert!(
        discord.overruns() <= 2 * 6,
        "{} rate limits exceeded after six kills",
        discord.overruns()
    );
    assert_eq!(notifier.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_console_notifier_repeats_at_most_the_last_post() {
    let upstream = FakeUpstream::start().await;
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    let console = [("NOTIFIER_SINK", "console".to_owned())];
    let mut notifier = TestNotifier::start(&ingestor, &console).await;
    let documents = fresh(300);
    let all: Vec<u64> = documents.iter().map(|it| it["killmail_id"].as_u64().unwrap()).collect();
    let mut died_after = Vec::new();
    for (round, part) in documents.chunks(75).enumerate() {
        let before = links(&notifier.stdout()).len();
        upstream.publish_all(part.iter().cloned());
        eventually("the console prints a post", TEST_TIMEOUT, async || {
            links(&notifier.stdout()).len() > before + 5 * round
        })
        .await;
        notifier.kill().await;
        died_after.push(links(&notifier.stdout()).len());
        notifier.launch().await;
    }
    ingestor.wait_for_killmails(documents.len() as u64).await;
    let low = matching(&ingestor, LOWSEC_FILTER).await;
    let expected = all.len() + low.len();
    let printed = |notifier: &TestNotifier| links(&notifier.stdout());
    let distinct = |ids: &[u64]| {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for id in ids {
            *counts.entry(*id).or_default() += 1;
        }
        counts
    };
    let wanted: HashMap<u64, usize> = all.iter().map(|id| (*id, 1 + usize::from(low.contains(id)))).collect();
    eventually("the console prints every killmail", TEST_TIMEOUT, async || {
        let counts = distinct(&printed(&notifier));
        wanted
            .iter()
            .all(|(id, times)| counts.get(id).is_some_and(|count| count >= times))
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The next process may print a post again if the last one was killed just after it printed that post. Each kill may
    // repeat one message (ten killmails) in each of the two channels.
    let repeated = printed(&notifier).len() - expected;
    assert!(
        repeated <= died_after.len() * 2 * 10,
        "{repeated} killmails repeated after {} kills: {died_after:?}",
        died_after.len()
    );
    let strangers: Vec<u64> = printed(&notifier)
        .into_iter()
        .filter(|id| !wanted.contains_key(id))
        .collect();
    assert_eq!(strangers, [0; 0]);
    assert_eq!(notifier.stop().await, Some(0));
    // A restart without new killmails prints nothing.
    let length = printed(&notifier).len();
    notifier.launch().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(notifier.stop().await, Some(0));
    assert_eq!(printed(&notifier).len(), length);
}

/// Stops the notifier before Discord responds: nothing is left to drain, and the exit is clean.
#[tokio::test(flavor = "multi_thread")]
async fn notifier_exits_cleanly_when_stopped_while_connecting() {
    let discord = FakeDiscord::start().await;
    discord.bot_gateway(|bot| bot.fails = Some(503));
    let data = tempfile::tempdir().unwrap();
    let mut settings = discord.settings().to_vec();
    settings.extend([
        ("NOTIFIER_HTTP_ADDR", free_address()),
        ("NOTIFIER_DATA_DIR", data.path().display().to_string()),
        ("NOTIFIER_ADMIN_ADDR", String::new()),
    ]);
    let mut service = Service::start(Binary::Notifier, &settings).await;
    eventually("the notifier calls Discord", TEST_TIMEOUT, async || {
        !discord.requests().is_empty()
    })
    .await;
    service.terminate().await;
    let status = service.end().await;
    assert_eq!(status.code(), Some(0), "{}", service.stderr());
}

/// Expects the exit code of invalid settings.
///
/// A restart would only repeat the call, and each rejection counts toward Discord's ban of the address.
#[tokio::test(flavor = "multi_thread")]
async fn rejected_bot_token_ends_with_the_settings_exit_code() {
    let refused = async |token: &str, identify: Option<u16>| {
        let discord = FakeDiscord::start().await;
        discord.refuse_identify(identify);
        let data = tempfile::tempdir().unwrap();
        let mut settings = discord.settings().to_vec();
        settings.extend([
            ("NOTIFIER_HTTP_ADDR", free_address()),
            ("NOTIFIER_DATA_DIR", data.path().display().to_string()),
            ("NOTIFIER_ADMIN_ADDR", String::new()),
        ]);
        if !token.is_empty() {
            settings.push(("NOTIFIER_DISCORD_TOKEN", token.to_owned()));
        }
        let mut service = Service::start(Binary::Notifier, &settings).await;
        let status = service.end().await;
        (status.code(), service.stderr())
    };
    let (code, said) = refused("no.such.token", None).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("rejected the bot's token (HTTP 401)"), "{said}");
    let (code, said) = refused("", Some(4014)).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("code 4014"), "{said}");
}
