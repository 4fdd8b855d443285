//! Compares the list of metrics in docs/operations.md with the services.
//!
//! The tests check each name, its kind, and the service that exports it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use killfeed_support::{
    FakeDiscord, FakeUpstream, corpus,
    fake_discord::{CHANNEL, GUILD},
    process::eventually,
};

use crate::{
    architecture::rust_files,
    harness::{TEST_TIMEOUT, TestIngestor, from_the_beginning, get, killmails},
    notifier::{TestNotifier, fresh, posted, row},
};

/// The description of a metric: its kind and its labels.
#[derive(Debug, PartialEq)]
pub(crate) struct Listed {
    pub(crate) kind: String,
    pub(crate) labels: BTreeSet<String>,
}

/// Returns the listed metrics of a service.
///
/// The rows are between `<!-- metrics: service -->` and `<!-- end -->`: name, kind, unit, labels, meaning.
pub(crate) fn listed(service: &str) -> BTreeMap<String, Listed> {
    let text = fs::read_to_string(corpus::repository().join("docs/operations.md")).unwrap();
    let begin = format!("<!-- metrics: {service} -->");
    let table = text
        .split(&begin)
        .nth(1)
        .expect("docs/operations.md has a table for this service");
    let table = table.split("<!-- end -->").next().unwrap();
    let mut found = BTreeMap::new();
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, unit, labels, meaning] = cells[..] else {
            panic!("expected five columns: {line}");
        };
        let name = name.trim_matches('`').to_owned();
        assert!(!unit.is_empty() && !meaning.is_empty(), "{line}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        assert_eq!(unit == "seconds", name.ends_with("_seconds"), "{line}");
        let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let row = Listed {
            kind: kind.to_owned(),
            labels,
        };
        assert!(
            found.insert(name, row).is_none(),
            "the list names a metric twice: {line}"
        );
    }
    assert!(found.len() > 15, "the table of the {service} has too few rows");
    found
}

/// Returns the metric names among the string literals of a service's code.
fn coded(service: &str) -> BTreeSet<String> {
    let text = code_of(service);
    let names = text.split('"').filter(|word| {
        let of_ours = ["killfeed_", "notifier_"].iter().any(|begin| word.starts_with(begin));
        let plain = word
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        // Log filters contain the crate names.
        of_ours && plain && !["killfeed_ingestor", "killfeed_notifier"].contains(word)
    });
    names.map(str::to_owned).collect()
}

/// Returns a service's code with its unit tests, as one text.
pub(crate) fn code_of(service: &str) -> String {
    let files = rust_files(&corpus::repository().join(service).join("src"));
    files.iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

#[test]
fn list_names_exactly_the_metrics_of_the_code() {
    for service in ["ingestor", "notifier"] {
        let listed: BTreeSet<String> = listed(service).into_keys().collect();
        assert_eq!(
            listed,
            coded(service),
            "docs/operations.md differs from the {service}'s code"
        );
    }
}

/// Returns the name, kind and labels of every metric that an endpoint exports.
pub(crate) async fn shown(http: &str) -> BTreeMap<String, Listed> {
    let text = get(&format!("http://{http}/metrics")).await;
    let mut found: BTreeMap<String, Listed> = BTreeMap::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            let row = Listed {
                kind: kind.to_owned(),
                labels: BTreeSet::new(),
            };
            found.insert(name.to_owned(), row);
        } else if let Some((name, labels)) = line.split_once('{')
            && let Some(row) = found.get_mut(name)
        {
            let labels = labels
                .split("=\"")
                .filter_map(|part| part.rsplit([',', '{', '"']).next());
            let labels = labels.filter(|label| !label.is_empty() && !label.starts_with('}'));
            row.labels.extend(labels.map(str::to_owned));
        }
    }
    found
}

/// The metrics that a healthy pair of services exports after a few posts.
///
/// The list has more metrics.
const AT_WORK: [(&str, &[&str]); 2] = [
    (
        "ingestor",
        &[
            "killfeed_feed_lag_seconds",
            "killfeed_feed_health",
            "killfeed_log_head_offset",
            "killfeed_log_killmails",
            "killfeed_log_head_age_seconds",
            "killfeed_log_append_seconds",
            "killfeed_streams",
            "killfeed_stream_lag_events",
            "killfeed_stream_lag_seconds",
            "killfeed_stream_events_total",
            "killfeed_ingestor_esi_requests_total",
            "killfeed_ingestor_esi_silent_seconds",
            "killfeed_upload_to_log_seconds",
        ],
    ),
    (
        "notifier",
        &[
            "notifier_match_seconds",
            "notifier_waiting_killmails",
            "notifier_oldest_waiting_seconds",
            "notifier_suspended_destinations",
            "notifier_send_tries_total",
            "notifier_kill_to_post_seconds",
            "notifier_log_to_post_seconds",
            "notifier_stream_lag_seconds",
            "notifier_stream_open",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn running_services_export_the_listed_metrics() {
    let upstream = FakeUpstream::start().await;
    let discord = FakeDiscord::start().await;
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    let rows = row("all", GUILD, CHANNEL, "");
    let mut notifier = TestNotifier::start_with(&ingestor, &discord.settings(), &rows, &[]).await;
    upstream.publish_all(fresh(5));
    eventually("the channel has five posts", TEST_TIMEOUT, async || {
        posted(&discord, CHANNEL).len() == 5
    })
    .await;
    let mut events = from_the_beginning(&ingestor.client(), "");
    killmails(&mut events, 5).await;
    for ((service, at_work), http) in AT_WORK.iter().zip([&ingestor.http, &notifier.http]) {
        // The notifier counts a post after Discord has it.
        for name in *at_work {
            let what = format!("the {service} exports {name}");
            eventually(&what, TEST_TIMEOUT, async || shown(http).await.contains_key(*name)).await;
        }
        let (listed, shown) = (listed(service), shown(http).await);
        for (name, seen) in &shown {
            let said = listed.get(name).unwrap_or_else(|| panic!("{name} is not in the list"));
            assert_eq!(said.kind, seen.kind, "{name}");
            assert!(
                seen.labels.is_subset(&said.labels),
                "{name}: {seen:?}, the list has {said:?}"
            );
        }
    }
    assert_eq!(ingestor.metric("killfeed_log_head_offset").await, 5.0);
    assert_eq!(ingestor.metric("killfeed_log_killmails").await, 5.0);
    eventually("both services export every metric", TEST_TIMEOUT, async || {
        ingestor.metric("killfeed_stream_lag_events").await == 0.0
    })
    .await;
    assert_eq!(notifier.stop().await, Some(0));
}
