//! SIGHUP over a real process: tokens change, and nobody who may stay is disturbed.

use std::{fs, time::Duration};

use killfeed::v1::{StreamKillmailsRequest, StreamKillmailsResponse, killmail_service_client::KillmailServiceClient};
use killfeed_support::{
    Upstream,
    process::{Binary, Service, eventually, free_address},
};
use tonic::{Code, Request, Status, Streaming, transport::Channel};

async fn open(address: &str, token: &str) -> Result<Streaming<StreamKillmailsResponse>, Status> {
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut request = Request::new(StreamKillmailsRequest::default());
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    let opened = KillmailServiceClient::new(channel).stream_killmails(request).await;
    opened.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn tokens_are_read_again_on_sighup() {
    let upstream = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    fs::write(&tokens, "ops ops-token\nbot bot-token\n").unwrap();
    let (grpc, http) = (free_address(), free_address());
    let mut settings = upstream.settings().to_vec();
    settings.extend([
        ("INGESTOR_GRPC_ADDR", grpc.clone()),
        ("INGESTOR_HTTP_ADDR", http),
        ("INGESTOR_DATA_DIR", folder.path().join("data").display().to_string()),
        ("INGESTOR_TOKENS_FILE", tokens.display().to_string()),
    ]);
    let mut ingestor = Service::start(Binary::Ingestor, &settings).await;
    ingestor.ready().await;
    let mut kept = open(&grpc, "ops-token").await.unwrap();
    let mut gone = open(&grpc, "bot-token").await.unwrap();
    kept.message().await.unwrap().expect("a Progress");
    gone.message().await.unwrap().expect("a Progress");

    // A file that cannot be used changes nothing, and is named.
    fs::write(&tokens, "only-one-word\n").unwrap();
    ingestor.signal("HUP").await;
    eventually("the bad file is named", Duration::from_secs(20), async || {
        ingestor.stderr().contains("tokens stay as they were")
    })
    .await;
    assert!(!ingestor.stderr().contains("only-one-word"), "no token in the log");
    open(&grpc, "bot-token").await.unwrap();

    fs::write(&tokens, "ops ops-token\nnew new-token\n").unwrap();
    ingestor.signal("HUP").await;
    let ended = loop {
        if let Err(status) = gone.message().await {
            break status;
        }
    };
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
    open(&grpc, "new-token").await.unwrap();
    assert_eq!(
        open(&grpc, "bot-token").await.unwrap_err().code(),
        Code::Unauthenticated
    );
    kept.message().await.unwrap().expect("goes on");
    assert!(ingestor.stop().await.success());
}
