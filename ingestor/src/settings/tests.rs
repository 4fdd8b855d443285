use super::*;

fn load(given: &[(&str, &str)]) -> Result<Settings, String> {
    let lookup = |setting: &Setting| {
        let found = given.iter().find(|(variable, _)| *variable == setting.variable);
        found.map(|(_, value)| (*value).to_owned())
    };
    Settings::load(lookup).map_err(|error| error.to_string())
}

#[test]
fn the_defaults_need_only_a_contact() {
    let error = load(&[]).unwrap_err();
    assert!(
        error.starts_with("INGESTOR_CONTACT: expected an e-mail address or URL"),
        "{error}"
    );
    let settings = load(&[("INGESTOR_CONTACT", "me@example.com")]).unwrap();
    assert_eq!(
        settings.user_agent(),
        format!("killfeed/{} (me@example.com)", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(
        settings
            .feed_hole_rechecks
            .iter()
            .map(Duration::as_secs)
            .collect::<Vec<_>>(),
        [60, 300, 1800, 21600]
    );
}

#[test]
fn bad_values_are_named() {
    let contact = ("INGESTOR_CONTACT", "me@example.com");
    for (variable, value) in [
        ("INGESTOR_GRPC_ADDR", "localhost"),
        ("INGESTOR_GRPC_ADDR", "0.0.0.0:50051"),
        ("INGESTOR_FEED_URL", "r2z2.zkillboard.com"),
        ("INGESTOR_FEED_POLL_INTERVAL", "1s"),
        ("INGESTOR_FEED_RATE", "11"),
        ("INGESTOR_FEED_RATE", "1e-9"),
        ("INGESTOR_FEED_RATE", "0"),
        ("INGESTOR_FEED_RATE", "inf"),
        ("INGESTOR_FEED_START", "newest"),
        ("INGESTOR_FEED_START", "0"),
        ("INGESTOR_FEED_START", "18446744073709551615"),
        ("INGESTOR_FEED_HOLE_RECHECKS", "5m,1m"),
        ("INGESTOR_FEED_HOLE_RECHECKS", "0s"),
        ("INGESTOR_RETENTION", "500ms"),
        ("INGESTOR_MAX_STREAMS", "0"),
        ("INGESTOR_MAX_CALLS", "-1"),
        ("INGESTOR_LOG", "postgres"),
        ("INGESTOR_LOG", "nats://user:secret@localhost"),
        ("INGESTOR_SOURCE", "relay:other:50051"),
        ("INGESTOR_SOURCE", "replay:"),
        ("INGESTOR_SOURCE", "zkillboard"),
        ("INGESTOR_ALLOW_ANONYMOUS", "yes"),
        ("INGESTOR_CONTACT", "nobody"),
        ("INGESTOR_CONTACT", "me@example.com)\r\nX: y"),
        ("LOG_FORMAT", "xml"),
    ] {
        // The first match wins in the lookup, so a bad contact stands before the good one.
        let error = load(&[(variable, value), contact]).unwrap_err();
        assert!(
            error.starts_with(&format!("{variable}={value:?}: expected ")),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1);
    }
    let error = load(&[("INGESTOR_TLS_CERT", "cert.pem"), contact]).unwrap_err();
    assert!(error.starts_with("INGESTOR_TLS_KEY: expected a PEM file"), "{error}");
}

#[test]
fn other_hosts_may_be_asked_faster_and_need_no_contact() {
    let elsewhere = [
        ("INGESTOR_FEED_URL", "http://127.0.0.1:9999/"),
        ("INGESTOR_ESI_URL", "http://127.0.0.1:9999"),
        ("INGESTOR_STATIC_DATA_URL", "http://127.0.0.1:9999"),
        ("INGESTOR_FEED_POLL_INTERVAL", "50ms"),
        ("INGESTOR_FEED_RATE", "1000"),
    ];
    let settings = load(&elsewhere).unwrap();
    assert_eq!(settings.feed_url, "http://127.0.0.1:9999");
}

#[test]
fn a_public_address_needs_tokens_or_consent() {
    let contact = ("INGESTOR_CONTACT", "me@example.com");
    let public = ("INGESTOR_GRPC_ADDR", "[::]:50051");
    assert!(load(&[contact, public, ("INGESTOR_TOKENS_FILE", "tokens")]).is_ok());
    assert!(load(&[contact, public, ("INGESTOR_ALLOW_ANONYMOUS", "true")]).is_ok());
    assert!(load(&[contact, public]).is_err());
}

#[test]
fn a_shared_log_has_rules_of_its_own() {
    let contact = ("INGESTOR_CONTACT", "me@example.com");
    let nats = ("INGESTOR_LOG", "nats://a:4222,b:4222");
    let settings = load(&[contact, nats, ("INGESTOR_NATS_REPLICAS", "3")]).unwrap();
    match settings.engine {
        Engine::Nats(nats) => {
            assert_eq!(nats.servers, ["nats://a:4222", "nats://b:4222"]);
            assert_eq!((nats.stream.as_str(), nats.replicas), ("killfeed", 3));
        }
        Engine::Embedded => panic!("expected NATS"),
    }
    for (variable, value) in [
        ("INGESTOR_SOURCE", "relay:http://other:50051"),
        ("INGESTOR_RETENTION", "30m"),
        ("INGESTOR_NATS_STREAM", "a.b"),
        ("INGESTOR_NATS_REPLICAS", "2"),
    ] {
        let error = load(&[contact, nats, (variable, value)]).unwrap_err();
        assert!(
            error.starts_with(&format!("{variable}={value:?}: expected ")),
            "{error}"
        );
        // The same is fine with the embedded log, or not looked at.
        assert!(load(&[contact, (variable, value)]).is_ok(), "{variable}");
    }
}
