//! A collector behind TLS, with a certificate from a private authority.

use std::path::PathBuf;

use killfeed_service::trace::ids;
use killfeed_support::{
    FakeUpstream,
    process::{Binary, Service, eventually},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tonic::transport::{Identity, Server, ServerTlsConfig};

use super::Collector;
use crate::{
    harness::{TEST_TIMEOUT, TestIngestor},
    notifier::fresh,
};

/// Starts a collector at an `https://` address and writes the certificate of its authority to a file.
async fn secure(folder: &TempDir) -> (Collector, String, PathBuf) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let signed = params.signed_by(&key, &authority).unwrap();
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(signed.pem(), key.serialize_pem()));
    let (collector, address) = Collector::serve(Server::builder().tls_config(tls).unwrap()).await;
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    (collector, format!("https://localhost:{}", address.port()), ca)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_collector_requires_a_trusted_authority() {
    let folder = tempfile::tempdir().unwrap();
    let (collector, endpoint, ca) = secure(&folder).await;
    let upstream = FakeUpstream::start().await;
    let mut ingestor = TestIngestor::start(&upstream, &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]).await;
    let documents = fresh(2);
    let traces = [0, 1].map(|index: usize| ids::trace(documents[index]["killmail_id"].as_u64().unwrap(), 0).to_bytes());
    // Public authorities did not sign this certificate. The log gives the reason once.
    upstream.publish(documents[0].clone());
    ingestor.wait_for_killmails(1).await;
    eventually("the ingestor logs the failure", TEST_TIMEOUT, async || {
        let said = ingestor.service().stderr();
        said.contains("sending spans to the collector failed")
    })
    .await;
    let said = ingestor.service().stderr();
    assert!(said.contains("UnknownIssuer"), "{said}");
    assert_eq!(ingestor.stop().await, Some(0));
    assert!(collector.0.lock().unwrap().is_empty());

    ingestor.set("OTEL_EXPORTER_OTLP_CERTIFICATE", ca.to_str().unwrap());
    ingestor.launch().await;
    upstream.publish(documents[1].clone());
    ingestor.wait_for_killmails(2).await;
    eventually("the killmail's append span", TEST_TIMEOUT, async || {
        collector.of(&traces[1]).contains_key("append")
    })
    .await;
    assert_eq!(ingestor.stop().await, Some(0));
}

#[tokio::test]
async fn invalid_ca_file_ends_both_services_with_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, "no certificate").unwrap();
    for (binary, settings) in [
        (
            Binary::Ingestor,
            [
                ("INGESTOR_DATA_DIR", data.as_str()),
                ("INGESTOR_CONTACT", "a@example.com"),
            ],
        ),
        (
            Binary::Notifier,
            [("NOTIFIER_DATA_DIR", data.as_str()), ("NOTIFIER_SINK", "console")],
        ),
    ] {
        let tls = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://localhost:4317"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", file.to_str().unwrap()),
        ];
        let settings = settings.into_iter().chain(tls);
        let settings: Vec<_> = settings.map(|(variable, value)| (variable, value.to_owned())).collect();
        let mut service = Service::start(binary, &settings).await;
        assert_eq!(service.end().await.code(), Some(78));
        let said = service.stderr();
        let expected = "ca.pem\": expected a PEM file that contains a certificate";
        assert!(
            said.contains("OTEL_EXPORTER_OTLP_CERTIFICATE=") && said.contains(expected),
            "{said}"
        );
    }
}
