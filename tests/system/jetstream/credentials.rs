//! Servers in operator mode: a user with credentials and only the permissions in docs/operations.md.

use std::time::{Duration, SystemTime};

use futures::future::join_all;
use killfeed::{cursor::Offset, id::KillmailId};
use killfeed_ingestor::log::{JetStreamLog, JetStreamOptions, LogRead as _};
use killfeed_support::{
    FakeUpstream, corpus,
    nats::{Nats, Operator, Permissions},
};
use tempfile::TempDir;
use tokio::{sync::watch, time::timeout};

use super::engine::{ALL, T0, batch, killmail, mark, options};
use crate::harness::{TEST_TIMEOUT, TestIngestor};

/// Returns the permissions that docs/operations.md lists for an ingestor's user.
fn listed() -> Permissions {
    let text = std::fs::read_to_string(corpus::repository().join("docs/operations.md")).unwrap();
    let (_, table) = text
        .split_once("<!-- permissions -->")
        .expect("docs/operations.md has the table of permissions");
    let (table, _) = table.split_once("<!-- end -->").expect("the table has an end");
    let mut permissions = Permissions::default();
    for row in table.lines() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let to = match cells.get(1) {
            Some(&"publish") => &mut permissions.publish,
            Some(&"subscribe") => &mut permissions.subscribe,
            _ => continue,
        };
        to.extend(cells[2].split('`').skip(1).step_by(2).map(str::to_owned));
    }
    permissions
}

/// Runs every operation of two ingestors of one user over new servers, and returns any error.
///
/// Returns `None` if nats-server is not installed.
async fn everything(operator: &Operator, permissions: &Permissions) -> Option<Result<(), String>> {
    let nats = Nats::single_with(operator.config()).await?;
    let data = tempfile::tempdir().unwrap();
    let creds = data.path().join("killfeed.creds");
    std::fs::write(&creds, operator.user(permissions, None)).unwrap();
    let with = |retention, own: &TempDir| JetStreamOptions {
        creds_file: Some(creds.clone()),
        retention: Duration::from_secs(retention),
        ..options(&nats, own, 0)
    };
    let did = async {
        let (own, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = JetStreamLog::open(with(86_400, &own)).await;
        let first = first.map_err(|error| error.to_string())?;
        let leadership = start(&first).await?;
        let written = leadership.writer().append(batch([killmail(1, 0, T0)], "one")).await;
        let head = written.map_err(|error| error.to_string())?;
        leadership.release().await;

        // The second log has another retention and an empty window.
        let second = JetStreamLog::open(with(2 * 86_400, &others)).await;
        let second = second.map_err(|error| error.to_string())?;
        let leadership = start(&second).await?;
        let written = leadership.writer().append(batch([killmail(2, 0, T0)], "two")).await;
        written.map_err(|error| error.to_string())?;
        let marks = leadership.writer().dedup_entries(&[KillmailId(1), KillmailId(2)]).await;
        assert_eq!(marks.unwrap(), [Some(mark(1, 0)), Some(mark(2, 0))]);
        let mut heads = first.head();
        let both = heads.wait_for(|now| now.offset.0 == head.offset.0 + 1);
        timeout(TEST_TIMEOUT, both)
            .await
            .expect("both logs open in time")
            .unwrap();
        assert_eq!(first.read(Offset(0), ALL).await.unwrap().len(), 2);
        leadership.release().await;
        Ok(())
    };
    let did = timeout(2 * TEST_TIMEOUT, did)
        .await
        .expect("the operations end in time");
    Some(did)
}

async fn start(log: &JetStreamLog) -> Result<killfeed_ingestor::log::Leadership, String> {
    let (_, note) = watch::channel(String::new());
    let mut hindered = log.election_error();
    tokio::select! {
        leadership = log.acquire(note) => Ok(leadership),
        hindrance = hindered.wait_for(Option::is_some) => Err(hindrance.unwrap().clone().unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_permissions_are_sufficient_and_necessary() {
    let operator = Operator::new();
    let all = listed();
    match everything(&operator, &all).await {
        None => return,
        Some(did) => assert_eq!(did, Ok(())),
    }
    let without = |which: &str| {
        let others = |subjects: &[String]| subjects.iter().filter(|subject| *subject != which).cloned().collect();
        Permissions {
            publish: others(&all.publish),
            subscribe: others(&all.subscribe),
        }
    };
    let each: Vec<String> = all.publish.iter().chain(&all.subscribe).cloned().collect();
    assert!(each.len() > 10, "{each:?}");
    let tries = each.iter().map(|subject| {
        let (operator, permissions) = (&operator, without(subject));
        async move { (subject, everything(operator, &permissions).await) }
    });
    for (subject, did) in join_all(tries).await {
        let said = did.expect("nats-server is installed").expect_err(subject);
        let begins = subject.trim_end_matches(['*', '>']);
        // The error quotes the server.
        assert!(
            said.contains("Permissions Violation for") && said.contains(&format!("to \"{begins}")),
            "without {subject}: {said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ingestor_needs_valid_credentials() {
    let operator = Operator::new();
    let Some(nats) = Nats::single_with(operator.config()).await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (url, upstream) = (nats.url(), FakeUpstream::start().await);
    upstream.publish_all(corpus::some(20));
    let creds = write("killfeed.creds", operator.user(&listed(), None));
    let settings = [
        ("INGESTOR_LOG", url.as_str()),
        ("INGESTOR_NATS_CREDS_FILE", creds.as_str()),
    ];
    let mut ingestor = TestIngestor::start(&upstream, &settings).await;
    ingestor.wait_for_killmails(20).await;
    assert_eq!(ingestor.stop().await, Some(0));

    // One user is unknown to these servers, and the credentials of the other are expired. Each attempt lasts half a
    // minute.
    let over = SystemTime::now() - Duration::from_secs(60);
    let refused = async |name: &str, text: String| {
        let own = tempfile::tempdir().unwrap();
        let options = JetStreamOptions {
            creds_file: Some(write(name, text).into()),
            ..options(&nats, &own, 0)
        };
        JetStreamLog::open(options).await.unwrap_err().to_string()
    };
    let (stranger, late) = tokio::join!(
        refused("stranger.creds", Operator::new().user(&listed(), None)),
        refused("late.creds", operator.user(&listed(), Some(over)))
    );
    for error in [stranger, late] {
        assert!(
            error.contains("rejected this ingestor's credentials") && error.contains("INGESTOR_NATS_CREDS_FILE"),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_credentials_are_replaced_in_place() {
    let operator = Operator::new();
    let Some(nats) = Nats::single_with(operator.config()).await else {
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let creds = data.path().join("killfeed.creds");
    let options = || JetStreamOptions {
        creds_file: Some(creds.clone()),
        ..options(&nats, &data, 1 << 20)
    };
    // The lifetime must suffice for the connection; it doubles each time that this machine takes longer.
    let mut lifetime = Duration::from_secs(5);
    let log = loop {
        let soon = SystemTime::now() + lifetime;
        std::fs::write(&creds, operator.user(&listed(), Some(soon))).unwrap();
        match JetStreamLog::open(options()).await {
            Ok(log) => break log,
            Err(error) => assert!(lifetime < TEST_TIMEOUT, "{error}"),
        }
        lifetime *= 2;
    };
    let mut trouble = log.trouble();
    // The log reports the reason until the file is replaced.
    let said = trouble.wait_for(|said| said.as_ref().is_some_and(|said| said.to_lowercase().contains("auth")));
    let said = timeout(TEST_TIMEOUT, said)
        .await
        .expect("the log reports the reason in time")
        .unwrap()
        .clone();
    println!("{said:?}");
    std::fs::write(&creds, operator.user(&listed(), None)).unwrap();
    timeout(TEST_TIMEOUT, trouble.wait_for(Option::is_none))
        .await
        .expect("the log recovers in time")
        .unwrap();
    let leadership = timeout(TEST_TIMEOUT, start(&log))
        .await
        .expect("the log acquires the lease in time")
        .unwrap();
    let head = leadership.writer().append(batch([killmail(1, 0, T0)], "one")).await;
    assert_eq!(head.unwrap().offset, Offset(1));
    leadership.release().await;
}
