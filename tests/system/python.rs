//! The Python example client, run as the README says.

use std::{collections::HashSet, path::Path, process::Stdio};

use killfeed_support::{FakeUpstream, corpus};
use tokio::process::Command;

use crate::harness::{TEST_TIMEOUT, TestIngestor};

/// Returns a Python that has the packages of examples/python/requirements.txt.
///
/// `KILLFEED_TEST_PYTHON` names it; the default is `python3`.
async fn python() -> Option<String> {
    let python = std::env::var("KILLFEED_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut probe = Command::new(&python);
    probe
        .args(["-c", "import grpc, grpc_tools, grpc_status"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let usable = probe.status().await.is_ok_and(|status| status.success());
    if !usable {
        eprintln!(
            "note: {python} does not have the packages of examples/python/requirements.txt: not tested; set KILLFEED_TEST_PYTHON"
        );
    }
    usable.then_some(python)
}

/// Runs the client and returns the ids that it printed.
async fn follow(python: &str, target: &str, state: &Path, more: &[&str]) -> Vec<u64> {
    let mut command = Command::new(python);
    command
        .current_dir(corpus::repository())
        .arg("examples/python/follow.py")
        .args(["--target", target, "--earliest", "--state"]);
    command.arg(state).args(more).kill_on_drop(true);
    let run = tokio::time::timeout(TEST_TIMEOUT, command.output()).await;
    let output = run.expect("the example ends in time").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let id = |line: &str| line.rsplit("/kill/").next()?.trim_end_matches('/').parse().ok();
    text.lines().filter_map(id).collect()
}

#[tokio::test]
async fn python_example_resumes_without_loss_or_repeat() {
    let Some(python) = python().await else { return };
    let upstream = FakeUpstream::start_with_sample().await;
    let mut ingestor = TestIngestor::start(&upstream, &[]).await;
    let documents = corpus::sample();
    let ids: Vec<u64> = documents
        .iter()
        .filter_map(|document| document["killmail_id"].as_u64())
        .collect();
    upstream.publish_all(documents);

    let scratch = tempfile::tempdir().unwrap();
    let state = scratch.path().join("state.json");
    let first = follow(&python, &ingestor.grpc, &state, &["--count", "20"]).await;
    let rest = (ids.len() - 20).to_string();
    let second = follow(&python, &ingestor.grpc, &state, &["--count", &rest]).await;
    assert_eq!([first, second].concat(), ids);

    let other = scratch.path().join("other.json");
    let lowsec = follow(
        &python,
        &ingestor.grpc,
        &other,
        &[
            "--count",
            "3",
            "--filter",
            "space:lowsec victim.group:(Dreadnought OR Carrier OR \"Force Auxiliary\")",
        ],
    )
    .await;
    assert_eq!(lowsec.len(), 3);
    assert!(lowsec.iter().collect::<HashSet<_>>().len() == 3);
    assert_eq!(ingestor.stop().await, Some(0));
}
