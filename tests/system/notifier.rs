//! From the feed to the posts, over real processes: every match posted once, in order, whatever is killed and whenever.

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

/// Gets only what happened in low security space; [`CHANNEL`] gets everything.
const LOWSEC: u64 = CHANNEL + 1;
const LOWSEC_FILTER: &str = "space:lowsec";

/// A notifier that can be killed and started again in the same place.
pub(crate) struct TestNotifier {
    pub(crate) data: TempDir,
    pub(crate) http: String,
    settings: Vec<(&'static str, String)>,
    service: Option<Service>,
    /// What the processes before this one wrote on stdout.
    before: String,
}

impl TestNotifier {
    /// Everything in [`CHANNEL`], some in [`LOWSEC`].
    async fn start(ingestor: &TestIngestor, sink: &[(&'static str, String)]) -> Self {
        let rows = row("all", GUILD, CHANNEL, "") + &row("low", GUILD, LOWSEC, LOWSEC_FILTER);
        Self::start_with(ingestor, sink, &rows, &[]).await
    }

    /// With a subscriptions file of these rows. `extra` settings win.
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

    /// Another value for the next start.
    pub(crate) fn set(&mut self, variable: &'static str, value: &str) {
        self.settings.push((variable, value.to_owned()));
    }

    /// Killmails printed by the console.
    pub(crate) fn printed(&self) -> Vec<u64> {
        links(&self.stdout())
    }

    /// kill -9.
    pub(crate) async fn kill(&mut self) {
        let service = self.service.take().expect("it runs");
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
        let service = self.service.take().expect("it runs");
        let lines = service.stdout_lines();
        let status = service.stop().await;
        self.before.push_str(&lines.text());
        status.code()
    }
}

/// A row of the subscriptions file whose posts are links.
pub(crate) fn row(name: &str, guild: u64, channel: u64, filter: &str) -> String {
    format!(
        "[[subscription]]\nname = \"{name}\"\nguild = {guild}\nchannel = {channel}\nfilter = \"{filter}\"\nstyle = \"link\"\n"
    )
}

/// Real killmails as if they happened just now.
pub(crate) fn fresh(count: usize) -> Vec<Value> {
    let now = SystemTime::now();
    let mut documents: Vec<Value> = corpus::some(count);
    for document in &mut documents {
        corpus::set_times(document, now, now);
    }
    documents
}

/// Killmail ids of all links in a text, in order.
fn links(text: &str) -> Vec<u64> {
    let after = text.split("https://zkillboard.com/kill/").skip(1);
    after
        .map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().unwrap()
        })
        .collect()
}

/// What was posted to a channel of Discord, in order.
pub(crate) fn posted(discord: &FakeDiscord, channel: u64) -> Vec<u64> {
    let content =
        |post: &killfeed_support::fake_discord::Posted| links(post.body["content"].as_str().unwrap_or_default());
    discord.posts(channel).iter().flat_map(content).collect()
}

/// The ids that the ingestor's own filter finds, oldest first: what must be posted, told by somebody else than the notifier.
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
async fn kill_9_of_the_notifier_loses_nothing_and_posts_nothing_twice() {
    let upstream = FakeUpstream::start().await;
    let discord = FakeDiscord::start().await;
    discord.add_channel(GUILD, LOWSEC, permission::ALL);
    // Slow enough that something always waits, and with Discord's own limits in force.
    discord.limit_posts(Some((3, Duration::from_secs(1))));
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    let mut notifier = TestNotifier::start(&ingestor, &discord.settings()).await;

    let documents = fresh(480);
    for (round, part) in documents.chunks(80).enumerate() {
        let before = posted(&discord, CHANNEL).len();
        let messages = discord.posts(CHANNEL).len();
        // Each round dies differently: between posting and the answer, after a cut answer, an error after posting, an error
        // that posted nothing, a request that was read and never answered; and last in the middle of nothing in particular.
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
            eventually("a message is on its way", TEST_TIMEOUT, async || {
                discord.requests().len() > asked || posted(&discord, CHANNEL).len() > before
            })
            .await;
        } else {
            eventually("a message is posted", TEST_TIMEOUT, async || {
                discord.posts(CHANNEL).len() > messages
            })
            .await;
        }
        if !faulty {
            eventually("it goes on", TEST_TIMEOUT, async || {
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
        assert!(expected.len() > 20, "{filter:?} tests nothing");
        let what = format!("{} killmails in channel {channel}", expected.len());
        eventually(&what, TEST_TIMEOUT * 2, async || {
            posted(&discord, channel).len() >= expected.len()
        })
        .await;
        // Whatever would come twice comes now.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(posted(&discord, channel), expected, "each once, in the log's order");
    }
    assert_eq!(discord.rejected(), [""; 0]);
    // A new process cannot know what its predecessor used up of a bucket: one 429 a channel tells it.
    assert!(
        discord.overruns() <= 2 * 6,
        "{} overruns after six deaths",
        discord.overruns()
    );
    assert_eq!(notifier.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_with_the_console_repeats_at_most_the_last_post() {
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
        eventually("something is printed", TEST_TIMEOUT, async || {
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
    eventually("everything is printed", TEST_TIMEOUT, async || {
        let counts = distinct(&printed(&notifier));
        wanted
            .iter()
            .all(|(id, times)| counts.get(id).is_some_and(|count| count >= times))
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // A post that was printed right before the end of the process may be printed again by the next one: at most one message
    // (ten killmails) for each of the two channels and each death.
    let repeated = printed(&notifier).len() - expected;
    assert!(
        repeated <= died_after.len() * 2 * 10,
        "{repeated} repeated after {} deaths: {died_after:?}",
        died_after.len()
    );
    let strangers: Vec<u64> = printed(&notifier)
        .into_iter()
        .filter(|id| !wanted.contains_key(id))
        .collect();
    assert_eq!(strangers, [0; 0]);
    assert_eq!(notifier.stop().await, Some(0));
    // A start with nothing to do prints nothing.
    let length = printed(&notifier).len();
    notifier.launch().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(notifier.stop().await, Some(0));
    assert_eq!(printed(&notifier).len(), length);
}

/// Discord does not answer yet: there is nothing to drain, and nothing went wrong.
#[tokio::test(flavor = "multi_thread")]
async fn asked_to_end_while_it_connects_it_ends_well() {
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
    eventually("Discord is asked", TEST_TIMEOUT, async || {
        !discord.requests().is_empty()
    })
    .await;
    service.terminate().await;
    let status = service.end().await;
    assert_eq!(status.code(), Some(0), "{}", service.stderr());
}

/// A restart would only ask again, and every refusal counts towards Discord's ban of the address.
#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_discord_refuses_ends_as_one_that_is_set_up_wrong() {
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
    assert!(said.contains("refused the token (HTTP 401)"), "{said}");
    let (code, said) = refused("", Some(4014)).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("code 4014"), "{said}");
}
