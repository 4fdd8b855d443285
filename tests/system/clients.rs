//! The examples of docs/clients.md, run as written, and the killmail that the page shows as JSON.

use std::{fs, path::PathBuf, process::Stdio};

use killfeed_support::{
    FakeUpstream, corpus,
    process::{Example, eventually},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::harness::{TEST_TIMEOUT, TestIngestor};

/// Returns the ids of the killmails whose links a program printed.
fn links(output: &str) -> Vec<u64> {
    let id = |line: &str| line.rsplit("/kill/").next()?.trim_end_matches('/').parse().ok();
    output.lines().filter_map(id).collect()
}

fn ids(documents: &[Value]) -> Vec<u64> {
    documents
        .iter()
        .filter_map(|document| document["killmail_id"].as_u64())
        .collect()
}

/// Runs a program to its end and returns its stdout.
async fn output(mut command: Command) -> String {
    command.current_dir(corpus::repository()).kill_on_drop(true);
    let run = tokio::time::timeout(TEST_TIMEOUT, command.output()).await;
    let output = run.expect("the program ends in time").unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the path in a variable that `.ci/run` sets, or `None` if the path does not exist.
fn tool(variable: &str, what: &str) -> Option<String> {
    let path = std::env::var(variable).ok().filter(|path| PathBuf::from(path).exists());
    if path.is_none() {
        eprintln!("note: {variable} does not name a {what}: not tested");
    }
    path
}

#[tokio::test]
async fn rust_example_prints_every_killmail() {
    let upstream = FakeUpstream::start_with_sample().await;
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    let documents: Vec<Value> = corpus::sample().into_iter().take(20).collect();
    let mut example = Command::new(Example::Follow.path().await)
        .env("KILLFEED_INGESTOR", ingestor.url())
        .arg("npc OR NOT npc")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    eventually("the example opens a stream", TEST_TIMEOUT, async || {
        ingestor.metric("killfeed_streams").await == 1.0
    })
    .await;
    upstream.publish_all(documents.iter().cloned());
    let mut lines = BufReader::new(example.stdout.take().unwrap()).lines();
    let mut printed = String::new();
    for _ in 0..documents.len() {
        let line = tokio::time::timeout(TEST_TIMEOUT, lines.next_line())
            .await
            .expect("the example prints a line in time");
        printed.push_str(&line.unwrap().expect("the example keeps running"));
        printed.push('\n');
    }
    assert_eq!(links(&printed), ids(&documents));
    // The page promises ten lines, without the imports.
    let code = fs::read_to_string(corpus::repository().join("examples/follow.rs")).unwrap();
    let body = code.split("anyhow::Result<()> {\n").nth(1).unwrap();
    assert!(
        body.trim_end().lines().count() <= 10,
        "the example has more than ten lines: {body}"
    );
}

#[tokio::test]
async fn node_example_resumes_without_loss_or_repeat() {
    let Some(modules) = tool("KILLFEED_TEST_NODE_MODULES", "folder with examples/node's modules") else {
        return;
    };
    let upstream = FakeUpstream::start_with_sample().await;
    let mut ingestor = TestIngestor::start(&upstream, &[]).await;
    let documents = corpus::sample();
    upstream.publish_all(documents.iter().cloned());
    let scratch = tempfile::tempdir().unwrap();
    let follow = async |state: &str, count: usize, more: &[&str]| {
        let mut command = Command::new("node");
        command
            .env("NODE_PATH", &modules)
            .args(["examples/node/follow.js", "--earliest", "--target", &ingestor.grpc])
            .args(["--count", &count.to_string(), "--state"])
            .arg(scratch.path().join(state))
            .args(more);
        links(&output(command).await)
    };
    let first = follow("state.json", 20, &[]).await;
    let second = follow("state.json", documents.len() - 20, &[]).await;
    assert_eq!([first, second].concat(), ids(&documents));
    let filtered = follow("other.json", 2, &["--filter", "space:lowsec"]).await;
    assert_eq!(filtered.len(), 2);
    assert_eq!(ingestor.stop().await, Some(0));
}

/// Returns a killmail of the sample that is short to read: few attackers, some items.
fn small() -> Value {
    let size = |document: &Value| document.to_string().len();
    let mut documents = corpus::sample();
    documents.retain(|document| {
        let victim = &document["esi"]["victim"];
        victim["items"].as_array().is_some_and(|items| items.len() >= 2) && victim["character_id"].is_u64()
    });
    documents
        .into_iter()
        .min_by_key(size)
        .expect("the sample has a killmail with items")
}

/// Compares the killmail in docs/clients.md with the output of `buf curl`.
///
/// `KILLFEED_BLESS=1` rewrites the page.
#[tokio::test]
async fn buf_curl_prints_the_documented_killmail() {
    let Some(buf) = tool("KILLFEED_TEST_BUF", "buf") else {
        return;
    };
    let upstream = FakeUpstream::start_with_sample().await;
    let document = small();
    upstream.publish(document.clone());
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    ingestor.wait_for_killmails(1).await;
    let curl = async |data: &str, call: &str| {
        let mut command = Command::new(&buf);
        command.args(["curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", data]);
        command.arg(format!("{}/killfeed.v1.{call}", ingestor.url()));
        output(command).await
    };
    let id = document["killmail_id"].as_u64().unwrap();
    let text = curl(&format!("{{\"killmailId\": \"{id}\"}}"), "KillmailService/GetKillmail").await;
    let compiled = curl("{\"filter\": \"ship:Rifterr\"}", "UniverseService/CompileFilter").await;
    let compiled: Value = serde_json::from_str(&compiled).unwrap();
    assert!(!compiled["diagnostics"].as_array().unwrap().is_empty(), "{compiled}");

    let mut printed: Value = serde_json::from_str(&text).unwrap();
    let now = printed["killmail"]["ingestedTime"].as_str().unwrap().to_owned();
    // The ingestion time is the only field that differs between runs.
    let fixed = printed["killmail"]["publishedTime"].as_str().unwrap().to_owned();
    printed["killmail"]["ingestedTime"] = fixed.clone().into();
    let path = corpus::repository().join("docs/clients.md");
    let mut docs = fs::read_to_string(&path).unwrap();
    let begin = "<!-- killmail -->\n```json\n";
    let start = docs.find(begin).expect("docs/clients.md has a marker for the killmail") + begin.len();
    let end = start
        + docs[start..]
            .find("```")
            .expect("docs/clients.md has an end of the killmail");
    if std::env::var_os("KILLFEED_BLESS").is_some() {
        docs.replace_range(start..end, &in_field_order(&text.replace(&now, &fixed)));
        fs::write(path, docs).unwrap();
    } else {
        let documented: Value = serde_json::from_str(&docs[start..end]).unwrap();
        assert_eq!(documented, printed, "rewrite the killmail with KILLFEED_BLESS=1");
    }
}

/// Indents JSON by two spaces and keeps the order of its fields, which `serde_json::Value` would sort.
fn in_field_order(text: &str) -> String {
    let (mut out, mut depth, mut quoted, mut escaped) = (String::new(), 0_usize, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    for character in text.chars() {
        if quoted {
            out.push(character);
            quoted = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        match character {
            '{' | '[' => {
                depth += 1;
                out.push(character);
                line(&mut out, depth);
            }
            '}' | ']' => {
                depth -= 1;
                line(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(',');
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            white if white.is_whitespace() => {}
            other => {
                quoted = other == '"';
                out.push(other);
            }
        }
    }
    out.push('\n');
    out
}

#[test]
fn json_formatter_keeps_field_order() {
    let text = r#"{"b":1,"a":  {"x":"a, \"b\": {"},"c":[1, 2]}"#;
    let pretty = in_field_order(text);
    assert_eq!(
        pretty,
        "{\n  \"b\": 1,\n  \"a\": {\n    \"x\": \"a, \\\"b\\\": {\"\n  },\n  \"c\": [\n    1,\n    2\n  ]\n}\n"
    );
}

#[tokio::test]
async fn grpcurl_example_returns_the_log_id() {
    let found = Command::new("grpcurl")
        .arg("-version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    if !found.is_ok_and(|status| status.success()) {
        eprintln!("note: grpcurl is not on the PATH: not tested");
        return;
    }
    let upstream = FakeUpstream::start_with_sample().await;
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    let mut command = Command::new("grpcurl");
    command.args([
        "-plaintext",
        &ingestor.grpc,
        "killfeed.v1.KillmailService/GetFeedStatus",
    ]);
    let status: Value = serde_json::from_str(&output(command).await).unwrap();
    assert_eq!(status["logId"].as_str().unwrap().len(), 16);
}
