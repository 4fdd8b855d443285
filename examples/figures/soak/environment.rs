//! The environment: the fakes, the two services as processes, and a client that follows the whole day.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use killfeed::{
    client::{Client, EventKind, FollowOptions, Start},
    v1::{GetFeedStatusRequest, ListKillmailsRequest},
};
use killfeed_support::{
    FakeDiscord, FakeUpstream,
    fake_discord::{CHANNEL, GUILD, permission},
    fake_upstream::{Fault, Host},
    pair::{self, Pair, Settings},
    process::{Binary, Service},
};
use serde_json::Value;

use crate::faults::Faults;

pub(crate) const EVERYTHING: u64 = CHANNEL;
pub(crate) const LOWSEC: u64 = CHANNEL + 1;

pub(crate) struct Environment {
    pub(crate) upstream: FakeUpstream,
    pub(crate) discord: FakeDiscord,
    pair: Pair,
    ingestor_settings: Settings,
    notifier_settings: Settings,
    pub(crate) ingestor: Option<Service>,
    pub(crate) notifier: Option<Service>,
}

impl Environment {
    pub(crate) async fn start(speed: u32) -> Self {
        let upstream = FakeUpstream::start().await;
        let discord = FakeDiscord::start().await;
        discord.add_channel(GUILD, LOWSEC, permission::ALL);
        // Discord's channel limit of 5 in 5 s is scaled with the speed.
        discord.limit_posts(Some((5 * speed, Duration::from_secs(5))));
        let pair = Pair::new();
        let ingestor = [
            ("INGESTOR_FEED_POLL_INTERVAL", "100ms"),
            ("INGESTOR_FEED_RATE", "1000"),
            ("INGESTOR_FEED_HOLE_RECHECKS", "1s,5s,20s"),
            ("INGESTOR_MAX_CALLS", "1000"),
            // The lists at the end need the killmails of the whole day.
            ("INGESTOR_RETENTION", "2d"),
        ];
        let rows = row("everything", EVERYTHING, "") + &row("low", LOWSEC, "space:lowsec");
        let notifier = [
            ("NOTIFIER_PROBE_INTERVAL", "2s"),
            ("NOTIFIER_MAX_POSTS", "10000000"),
            ("NOTIFIER_MAX_BACKLOG", "1000000"),
        ];
        let mut world = Self {
            ingestor_settings: pair.ingestor(&upstream, &ingestor),
            notifier_settings: pair.notifier(&discord.settings(), &rows, &notifier),
            upstream,
            discord,
            pair,
            ingestor: None,
            notifier: None,
        };
        world.begin_ingestor().await;
        world.begin_notifier().await;
        world
    }

    pub(crate) async fn begin_ingestor(&mut self) {
        self.ingestor = Some(pair::ready(Binary::Ingestor, &self.ingestor_settings).await);
    }

    pub(crate) async fn begin_notifier(&mut self) {
        self.notifier = Some(pair::ready(Binary::Notifier, &self.notifier_settings).await);
    }

    /// Publishes a document, sometimes with a fault.
    pub(crate) fn publish(&self, document: Value, faults: &mut Faults) {
        match faults.document() {
            Some(fault) => {
                let number = self.upstream.next_number();
                self.upstream.fault(number, fault, Some(1));
                self.upstream.publish(document);
            }
            None => drop(self.upstream.publish(document)),
        }
    }

    /// Ends all faults.
    pub(crate) async fn heal(&mut self) {
        for host in [Host::Feed, Host::Esi] {
            self.upstream.heal(host);
        }
        for channel in [EVERYTHING, LOWSEC] {
            self.discord.heal(channel);
            self.discord.add_channel(GUILD, channel, permission::ALL);
        }
        // Announce the last sequence, so that the ingestor fetches all documents up to it.
        self.upstream.rewrite_sequence();
    }

    fn client(&self) -> Client {
        Client::builder()
            .endpoint(self.pair.url())
            .client_name("soak")
            .build()
            .unwrap()
    }

    /// Starts a client that follows the stream across all restarts.
    pub(crate) fn witness(&self) -> Witness {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (kept, mut events) = (
            seen.clone(),
            self.client().follow(FollowOptions::new("", Start::Earliest)),
        );
        let task = tokio::spawn(async move {
            loop {
                let event = events.next().await.expect("the client continues");
                if let EventKind::Killmail(killmail) = event.kind {
                    kept.lock().unwrap().push(killmail.killmail_id);
                }
            }
        });
        Witness { seen, task }
    }

    pub(crate) async fn logged(&self) -> u64 {
        let client = self.client();
        let status = client.killmails().get_feed_status(GetFeedStatusRequest {}).await;
        status.map_or(0, |status| status.into_inner().killmails)
    }

    /// Returns all killmails of the log in order.
    pub(crate) async fn log(&self) -> Vec<u64> {
        self.matching("").await
    }

    /// Returns the matching killmails of the log in order.
    pub(crate) async fn matching(&self, filter: &str) -> Vec<u64> {
        let mut request = ListKillmailsRequest {
            filter: filter.to_owned(),
            page_size: 500,
            ..Default::default()
        };
        let mut found = Vec::new();
        loop {
            let page = self
                .client()
                .killmails()
                .list_killmails(request.clone())
                .await
                .unwrap()
                .into_inner();
            found.extend(page.killmails.iter().map(|killmail| killmail.killmail_id));
            if page.next_page_token.is_empty() {
                found.reverse();
                return found;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Returns the killmails posted to a channel in order.
    pub(crate) fn posted(&self, channel: u64) -> Vec<u64> {
        let posts = self.discord.posts(channel);
        let links = posts.iter().flat_map(|post| {
            let content = post.body["content"].as_str().unwrap_or_default();
            content.split("https://zkillboard.com/kill/").skip(1).map(str::to_owned)
        });
        links.filter_map(|rest| rest.split('/').next()?.parse().ok()).collect()
    }

    /// Fetches a service's metrics as text.
    pub(crate) async fn metrics(&self, of: Binary) -> String {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        match client.get(self.pair.metrics_url(of)).send().await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => format!("no metrics: {error}"),
        }
    }

    pub(crate) async fn stop(mut self) {
        for service in [self.notifier.take(), self.ingestor.take()].into_iter().flatten() {
            let status = service.stop().await;
            assert!(status.success(), "a service stopped with an error: {status}");
        }
    }
}

/// The killmails that the client has received.
pub(crate) struct Witness {
    seen: Arc<Mutex<Vec<u64>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Witness {
    pub(crate) fn seen(&self) -> Vec<u64> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn row(name: &str, channel: u64, filter: &str) -> String {
    format!(
        "[[subscription]]\nname = \"{name}\"\nguild = {GUILD}\nchannel = {channel}\nfilter = \"{filter}\"\nstyle = \"link\"\nmax_age = \"unlimited\"\n"
    )
}

/// The possible faults of a feed document.
pub(crate) const OF_DOCUMENTS: [Fault; 6] = [
    Fault::NotFound,
    Fault::Status(503),
    Fault::TruncatedGzip,
    Fault::Cut,
    Fault::Empty,
    Fault::Late(Duration::from_millis(300)),
];
