//! SIGHUP to a real process reloads tokens and certificates without a disturbance of other clients.

use std::{fs, path::Path};

use killfeed::{
    client::Client,
    v1::{
        GetFeedStatusRequest, StreamKillmailsRequest, StreamKillmailsResponse,
        killmail_service_client::KillmailServiceClient,
    },
};
use killfeed_support::{
    FakeUpstream,
    process::{Binary, Service, eventually, free_address},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::time::timeout;
use tonic::{Code, Request, Status, Streaming, transport::Channel};

use crate::harness::TEST_TIMEOUT;

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
async fn sighup_reloads_tokens() {
    let upstream = FakeUpstream::start().await;
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

    // An invalid file changes nothing, and the log names it.
    fs::write(&tokens, "only-one-word\n").unwrap();
    ingestor.signal("HUP").await;
    eventually("the log names the invalid file", TEST_TIMEOUT, async || {
        ingestor.stderr().contains("reloading tokens failed")
    })
    .await;
    assert!(
        !ingestor.stderr().contains("only-one-word"),
        "the log contains no token"
    );
    open(&grpc, "bot-token").await.unwrap();

    fs::write(&tokens, "ops ops-token\nnew new-token\n").unwrap();
    ingestor.signal("HUP").await;
    let ends = async {
        loop {
            match gone.message().await {
                Ok(event) => drop(event.expect("the stream ends with a status")),
                Err(status) => break status,
            }
        }
    };
    let ended = timeout(TEST_TIMEOUT, ends)
        .await
        .expect("the stream of the removed token ends in time");
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
    open(&grpc, "new-token").await.unwrap();
    assert_eq!(
        open(&grpc, "bot-token").await.unwrap_err().code(),
        Code::Unauthenticated
    );
    kept.message()
        .await
        .unwrap()
        .expect("the stream of the kept token continues");
    assert!(ingestor.stop().await.success());
}

/// Writes a certificate for localhost, signed by a new authority, and its key.
///
/// Returns the authority's certificate.
fn new_certificate(cert: &Path, key: &Path) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let own = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let signed = params.signed_by(&own, &authority).unwrap();
    fs::write(cert, signed.pem()).unwrap();
    fs::write(key, own.serialize_pem()).unwrap();
    authority.pem()
}

#[tokio::test]
async fn sighup_reloads_certificates() {
    let upstream = FakeUpstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let before = new_certificate(&cert, &key);
    let (grpc, http) = (free_address(), free_address());
    let mut settings = upstream.settings().to_vec();
    settings.extend([
        ("INGESTOR_GRPC_ADDR", grpc.clone()),
        ("INGESTOR_HTTP_ADDR", http),
        ("INGESTOR_DATA_DIR", folder.path().join("data").display().to_string()),
        ("INGESTOR_TLS_CERT", cert.display().to_string()),
        ("INGESTOR_TLS_KEY", key.display().to_string()),
    ]);
    let mut ingestor = Service::start(Binary::Ingestor, &settings).await;
    ingestor.ready().await;
    let (_, port) = grpc.rsplit_once(':').unwrap();
    let endpoint = format!("https://localhost:{port}");
    // Each client has its own connection, so each performs its own handshake.
    let client = |authority: &str| {
        let builder = Client::builder().endpoint(endpoint.clone());
        builder.ca_certificate(authority).build().unwrap()
    };
    let gets_in = async |authority: &str| {
        let answer = client(authority)
            .killmails()
            .get_feed_status(GetFeedStatusRequest {})
            .await;
        answer.is_ok()
    };
    assert!(gets_in(&before).await);
    let stays = client(&before);
    let opened = stays
        .killmails()
        .stream_killmails(StreamKillmailsRequest::default())
        .await;
    let mut stream = opened.unwrap().into_inner();
    stream.message().await.unwrap().expect("a Progress");

    // A certificate without its key changes nothing, and the log names the file.
    let good = fs::read(&cert).unwrap();
    fs::write(&cert, "no certificate").unwrap();
    ingestor.signal("HUP").await;
    eventually("the log names the invalid file", TEST_TIMEOUT, async || {
        ingestor.stderr().contains("reloading certificates failed")
    })
    .await;
    assert!(gets_in(&before).await);
    fs::write(&cert, good).unwrap();

    let after = new_certificate(&cert, &key);
    ingestor.signal("HUP").await;
    eventually("the server presents the new certificate", TEST_TIMEOUT, async || {
        gets_in(&after).await
    })
    .await;
    assert!(
        !gets_in(&before).await,
        "the server no longer presents the old certificate"
    );
    stream.message().await.unwrap().expect("the open stream continues");
    assert!(ingestor.stop().await.success());
}
