//! The services that `COMPOSE_PROFILES=cluster docker compose up` starts, without containers.
//!
//! The commands and the environment come from docker-compose.yml. Only hosts, ports and folders are replaced by those
//! of this machine.

use killfeed_support::{
    FakeUpstream, corpus,
    fake_discord::{CHANNEL, GUILD},
    nats::Nats,
    process::{Binary, Service, eventually},
};
use serde_json::Value;

use crate::{
    harness::{TEST_TIMEOUT, TestIngestor, get},
    notifier::{TestNotifier, fresh, row},
};

/// Returns the lines of the file that belong to a key of this indentation.
fn block<'t>(text: &'t str, indentation: usize, key: &str) -> Vec<&'t str> {
    let head = format!("{}{key}:", " ".repeat(indentation));
    let mut lines = text.lines().skip_while(|line| !line.starts_with(&head));
    lines.next().unwrap_or_else(|| panic!("docker-compose.yml has {key}"));
    let depth = |line: &str| line.len() - line.trim_start().len();
    lines
        .take_while(|line| line.trim().is_empty() || depth(line) > indentation)
        .collect()
}

/// Returns a service's command, which is a folded text.
fn command(text: &str, service: &str) -> String {
    let service = block(text, 2, service).join("\n");
    block(&service, 4, "command").join(" ")
}

/// Returns the variables of an `environment`, without comments and defaults of `.env`.
fn environment(lines: &[&str]) -> Vec<(String, String)> {
    let pair = |line: &&str| {
        let (name, value) = line.trim().split_once(": ")?;
        let plain = !name.starts_with(['#', '<']) && !value.starts_with("${");
        plain.then(|| (name.to_owned(), value.trim_matches('"').to_owned()))
    };
    lines.iter().filter_map(pair).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_of_the_compose_file_posts_and_fails_over() {
    let text = std::fs::read_to_string(corpus::repository().join("docker-compose.yml")).unwrap();
    let commands = (0..3).map(|n| command(&text, &format!("nats-{n}"))).collect();
    let Some(mut nats) = Nats::composed(commands).await else {
        return;
    };
    for n in nats.all() {
        eventually("the health check passes", TEST_TIMEOUT, async || {
            get(&nats.health(n)).await.contains("ok")
        })
        .await;
    }

    // The addresses are those of this machine, and the tokens are where the service `tokens` puts them.
    let shared = tempfile::tempdir().unwrap();
    let folder = shared.path().display().to_string();
    let made = ["new-token", "notifier", "--out", &folder];
    let status = Service::start_with_arguments(Binary::Ingestor, &[], &made)
        .await
        .end()
        .await;
    assert!(status.success());
    let own = |value: &str| {
        let mut value = value.replace("/run/killfeed", &folder);
        for (n, url) in nats.urls().iter().enumerate() {
            let address = url.strip_prefix("nats://").unwrap();
            value = value.replace(&format!("nats-{n}:4222"), address);
        }
        value
    };
    let clustered = block(&text, 0, "x-clustered").join("\n");
    let settings: Vec<(&'static str, String)> = environment(&block(&clustered, 2, "environment"))
        .into_iter()
        .filter(|(name, _)| !name.ends_with("_ADDR"))
        .map(|(name, value)| (&*name.leak(), own(&value)))
        .collect();
    let named: Vec<&str> = settings.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        named,
        ["INGESTOR_TOKENS_FILE", "INGESTOR_LOG", "INGESTOR_NATS_REPLICAS"]
    );
    let settings: Vec<(&'static str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let upstream = FakeUpstream::start().await;
    let mut both = [
        TestIngestor::start(&upstream, &settings).await,
        TestIngestor::start(&upstream, &settings).await,
    ];

    let of_both = block(&text, 2, "notifier-of-both").join("\n");
    let mut of_both = environment(&block(&of_both, 4, "environment"));
    of_both.extend(environment(&block(&text, 0, "x-notifier-environment")));
    let setting = |name: &str| {
        let found = of_both.iter().find(|(found, _)| found == name);
        own(&found.unwrap_or_else(|| panic!("docker-compose.yml sets {name}")).1)
    };
    let mut urls = setting("NOTIFIER_INGESTOR_URLS");
    for (n, ingestor) in both.iter().enumerate() {
        urls = urls.replace(&format!("ingestor-{n}:50051"), &ingestor.grpc);
    }
    let extra = [
        ("NOTIFIER_INGESTOR_URLS", urls.as_str()),
        ("NOTIFIER_INGESTOR_TOKEN_FILE", &setting("NOTIFIER_INGESTOR_TOKEN_FILE")),
    ];
    let sink = [("NOTIFIER_SINK", "console".to_owned())];
    let mut notifier = TestNotifier::start_with(&both[0], &sink, &row("all", GUILD, CHANNEL, ""), &extra).await;

    let documents = fresh(60);
    let mut expected: Vec<u64> = Vec::new();
    let mut publish = async |documents: &[Value], notifier: &TestNotifier| {
        upstream.publish_all(documents.iter().cloned());
        expected.extend(
            documents
                .iter()
                .map(|document| document["killmail_id"].as_u64().unwrap()),
        );
        eventually("the notifier posts the killmails", TEST_TIMEOUT, async || {
            notifier.printed().len() >= expected.len()
        })
        .await;
        assert_eq!(notifier.printed(), expected);
    };
    publish(&documents[..20], &notifier).await;

    // Kill the leader, then a server.
    let turn = async |ingestor: &TestIngestor| ingestor.metric("killfeed_log_turn").await > 0.0;
    let leader = usize::from(!turn(&both[0]).await);
    assert!(turn(&both[leader]).await && !turn(&both[1 - leader]).await);
    both[leader].kill().await;
    eventually("the other ingestor takes over", TEST_TIMEOUT, async || {
        turn(&both[1 - leader]).await
    })
    .await;
    publish(&documents[20..40], &notifier).await;
    both[leader].launch().await;
    nats.kill(0).await;
    publish(&documents[40..], &notifier).await;

    assert_eq!(notifier.stop().await, Some(0));
    for ingestor in &mut both {
        assert_eq!(ingestor.stop().await, Some(0));
    }
}
