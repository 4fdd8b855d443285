//! TLS, with and without client certificates.

use killfeed::{client::Client, v1::GetFeedStatusRequest};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::{FakeLog, GrpcSettings, Harness};
use crate::grpc;

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
            tls: Some(grpc::tls(certificate.as_bytes(), key.as_bytes(), client_ca).unwrap()),
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
        let error = grpc::tls(certificate.as_bytes(), key.as_bytes(), ca.map(str::as_bytes)).unwrap_err();
        assert!(error.to_string().starts_with("TLS cannot be set up: "), "{error}");
    }
}
