//! Access to NATS: TLS with a private authority, credentials, and the errors when they are unusable.

use killfeed_ingestor::log::{JetStreamLog, JetStreamOptions, LogRead as _};
use killfeed_support::nats::Nats;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::engine::{T0, batch, killmail, options, reaches, records, try_open};

#[tokio::test(flavor = "multi_thread")]
async fn log_requires_a_valid_server_certificate_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(at(name), issuer.pem()).unwrap();
        issuer
    };
    let (ours, _other) = (authority("ca.pem"), authority("other.pem"));
    let own = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    std::fs::write(at("cert.pem"), params.signed_by(&own, &ours).unwrap().pem()).unwrap();
    std::fs::write(at("key.pem"), own.serialize_pem()).unwrap();
    let config = format!(
        "tls {{ cert_file: {:?}, key_file: {:?} }}\n",
        at("cert.pem"),
        at("key.pem")
    );
    let Some(nats) = Nats::single_with(&config).await else {
        return;
    };

    let data = tempfile::tempdir().unwrap();
    let with = |ca: &str| JetStreamOptions {
        ca: Some(at(ca)),
        ..options(&nats, &data, 1 << 20)
    };
    let log = JetStreamLog::open(with("ca.pem")).await.unwrap();
    let (_, note) = tokio::sync::watch::channel(String::new());
    let leadership = log.acquire(note).await;
    let head = leadership
        .writer()
        .append(batch([killmail(1, 0, T0)], "one"))
        .await
        .unwrap();
    let mut heads = log.head();
    heads.wait_for(|now| now.offset >= head.offset).await.unwrap();
    leadership.release().await;
    drop(log);

    // With another authority or none, no attempt connects; the attempts go on for half a minute.
    let (other, none) = tokio::join!(JetStreamLog::open(with("other.pem")), try_open(&nats, 0));
    let error = other.unwrap_err();
    assert!(
        !error.is_configuration() && error.to_string().contains("cannot connect to NATS"),
        "{error}"
    );
    assert!(none.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn error_names_the_unusable_file_and_its_setting() {
    let Some(nats) = Nats::single().await else { return };
    let data = tempfile::tempdir().unwrap();
    let (missing, wrong) = (data.path().join("missing"), data.path().join("wrong"));
    std::fs::write(&wrong, "neither a certificate nor credentials").unwrap();
    for path in [missing, wrong] {
        for variable in ["INGESTOR_NATS_CREDS_FILE", "INGESTOR_NATS_CA"] {
            let own = tempfile::tempdir().unwrap();
            let mut options = options(&nats, &own, 0);
            match variable {
                "INGESTOR_NATS_CA" => options.ca = Some(path.clone()),
                _ => options.creds_file = Some(path.clone()),
            }
            let error = JetStreamLog::open(options).await.unwrap_err();
            assert!(error.is_configuration());
            let said = format!("{variable}={}: ", path.display());
            assert!(error.to_string().starts_with(&said), "{error}");
        }
    }
    // A folder admits one process, as with the embedded log.
    let first = JetStreamLog::open(options(&nats, &data, 0)).await.unwrap();
    let error = JetStreamLog::open(options(&nats, &data, 0)).await.unwrap_err();
    assert!(
        error.is_configuration() && error.to_string().contains("in use by another killfeed-ingestor"),
        "{error}"
    );
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn error_reports_unsupported_replicas() {
    let Some(nats) = Nats::single().await else { return };
    let data = tempfile::tempdir().unwrap();
    let three = JetStreamOptions {
        replicas: 3,
        ..options(&nats, &data, 0)
    };
    let error = JetStreamLog::open(three).await.unwrap_err();
    assert!(
        error.is_configuration() && error.to_string().contains("replicas > 1 not supported"),
        "{error}"
    );
    // The next start, with a supported setting, finds no partial state.
    let end = try_open(&nats, 0).await.unwrap();
    let leadership = super::engine::lead(&end).await;
    let head = leadership
        .writer()
        .append(batch([killmail(1, 0, T0)], "one"))
        .await
        .unwrap();
    reaches(&end, head).await;
    assert_eq!(records(&end, 0).await, [(1, 0)]);
}
