//! TLS, with and without client certificates; tokens and certificates that change while it serves.

use killfeed::{client::Client, v1::GetFeedStatusRequest};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use tonic::Code;

use super::{FakeLog, GrpcSettings, Harness, earliest, unary::with_token, until_caught_up, word};
use crate::grpc::{Tls, Tokens};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key.
    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

#[tokio::test]
async fn a_client_that_knows_the_authority_gets_in_and_others_do_not() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (certificate, key) = ours.sign("localhost");
    for client_ca in [None, Some(ours.pem())] {
        let client_ca = client_ca.as_ref().map(String::as_bytes);
        let settings = GrpcSettings {
            tls: Some(Tls::new(certificate.as_bytes(), key.as_bytes(), client_ca).unwrap()),
            ..GrpcSettings::default()
        };
        let harness = Harness::start(settings, FakeLog::new()).await;
        let endpoint = format!("https://localhost:{}", harness.addr.port());
        let builder = || Client::builder().endpoint(endpoint.clone());
        let (client_certificate, client_key) = ours.sign("notifier");
        let (stranger_certificate, stranger_key) = theirs.sign("notifier");
        let trusting = builder().ca_certificate(ours.pem());
        let known = trusting.clone().client_certificate(client_certificate, client_key);
        let stranger = trusting.clone().client_certificate(stranger_certificate, stranger_key);
        let elsewhere = builder().ca_certificate(theirs.pem());
        let mutual = client_ca.is_some();
        for (client, expected) in [
            (known, true),
            (trusting, !mutual),
            (stranger, !mutual),
            (elsewhere, false),
        ] {
            let client = client.build().unwrap();
            let answer = client.killmails().get_feed_status(GetFeedStatusRequest {}).await;
            assert_eq!(answer.is_ok(), expected, "mutual {mutual}: {answer:?}");
        }
    }
}

#[test]
fn what_is_no_certificate_is_refused_before_a_port_is_bound() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("localhost");
    let (_, other_key) = authority.sign("localhost");
    for (certificate, key, ca) in [
        ("", key.as_str(), None),
        (certificate.as_str(), "", None),
        (certificate.as_str(), other_key.as_str(), None),
        (certificate.as_str(), key.as_str(), Some("no pem")),
    ] {
        let error = Tls::new(certificate.as_bytes(), key.as_bytes(), ca.map(str::as_bytes)).unwrap_err();
        assert!(error.to_string().starts_with("cannot set up TLS: "), "{error}");
    }
}

#[tokio::test]
async fn certificates_change_without_a_restart() {
    let (before, after) = (Authority::new(), Authority::new());
    let tls = |authority: &Authority| {
        let (certificate, key) = authority.sign("localhost");
        Tls::new(certificate.as_bytes(), key.as_bytes(), None).unwrap()
    };
    let serving = tls(&before);
    let settings = GrpcSettings {
        tls: Some(serving.clone()),
        ..GrpcSettings::default()
    };
    let harness = Harness::start(settings, FakeLog::of(1)).await;
    let client = |authority: &Authority| {
        let endpoint = format!("https://localhost:{}", harness.addr.port());
        let builder = Client::builder().endpoint(endpoint).ca_certificate(authority.pem());
        builder.build().unwrap()
    };
    let connected = client(&before);
    let ask = async |client: &Client| {
        client
            .killmails()
            .get_feed_status(GetFeedStatusRequest {})
            .await
            .is_ok()
    };
    assert!(ask(&connected).await && !ask(&client(&after)).await);
    serving.replace(&tls(&after));
    assert!(ask(&client(&after)).await && !ask(&client(&before)).await);
    assert!(ask(&connected).await, "a connection that exists stays");
}

#[tokio::test]
async fn tokens_change_without_a_restart_and_streams_of_those_that_went_end() {
    let folder = tempfile::tempdir().unwrap();
    let read = |text: &str| {
        let file = folder.path().join("tokens");
        std::fs::write(&file, text).unwrap();
        Tokens::read(&file).unwrap()
    };
    let tokens = read("ops ops-token\nbot bot-token");
    let settings = GrpcSettings {
        tokens: Some(tokens.clone()),
        ..GrpcSettings::default()
    };
    let harness = Harness::start(settings, FakeLog::of(1)).await;
    let open = async |token| {
        let mut client = harness.client().await;
        let opened = client.stream_killmails(with_token(token, earliest())).await;
        opened.map(tonic::Response::into_inner)
    };
    let mut kept = open("ops-token").await.unwrap();
    let mut gone = open("bot-token").await.unwrap();
    until_caught_up(&mut kept).await;
    until_caught_up(&mut gone).await;
    tokens.replace(&read("ops ops-token\nnew new-token"));
    let status = gone.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(open("bot-token").await.unwrap_err().code(), Code::Unauthenticated);
    open("new-token").await.unwrap();
    harness.log.more(1);
    assert_eq!(word(&kept.message().await.unwrap().unwrap()), "k2");
}
