//! Operator errors: the program names the error in one line, exits with code 78 and changes nothing.

use killfeed_support::{
    FakeUpstream,
    process::{Binary, Service, free_address},
};

use crate::harness::{TestIngestor, bytes_below};

async fn refused(binary: Binary, settings: &[(&str, String)]) -> String {
    let mut service = Service::start(binary, settings).await;
    let status = service.end().await;
    assert_eq!(status.code(), Some(78), "{}", service.stderr());
    service.stderr()
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_setting_ends_the_program_before_it_binds_a_port() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // The port is taken: a program that bound it before it checked its settings would report the port first.
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("never created");
    for (binary, prefix, variable, value) in [
        (Binary::Ingestor, "INGESTOR", "INGESTOR_FEED_RATE", "fast"),
        (Binary::Ingestor, "INGESTOR", "INGESTOR_CONTACT", ""),
        (Binary::Ingestor, "INGESTOR", "INGESTOR_GRPC_ADDR", "0.0.0.0:1"),
        (Binary::Notifier, "NOTIFIER", "NOTIFIER_SHARDS", "3/2"),
        (Binary::Notifier, "NOTIFIER", "NOTIFIER_DISCORD_TOKEN", ""),
        (Binary::Notifier, "NOTIFIER", "NOTIFIER_MAX_AGE", "6 hours"),
    ] {
        let (http, folder) = (format!("{prefix}_HTTP_ADDR"), format!("{prefix}_DATA_DIR"));
        let settings = [
            (http.as_str(), address.clone()),
            (folder.as_str(), data.display().to_string()),
            ("INGESTOR_CONTACT", "tests@example.com".to_owned()),
            (variable, value.to_owned()),
        ];
        let said = refused(binary, &settings).await;
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.contains(variable) && said.contains(value) && said.contains("expected"),
            "{said}"
        );
        assert!(!data.exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn second_ingestor_on_a_data_folder_names_it_and_exits() {
    let upstream = FakeUpstream::start().await;
    let mut ingestor = TestIngestor::start(&upstream, &[]).await;
    let mut settings = ingestor.settings();
    settings.extend([
        ("INGESTOR_GRPC_ADDR", free_address()),
        ("INGESTOR_HTTP_ADDR", free_address()),
    ]);
    let said = refused(Binary::Ingestor, &settings).await;
    let folder = ingestor.data.path().display().to_string();
    assert!(said.contains(&folder) && said.lines().count() == 1, "{said}");
    assert_eq!(ingestor.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn corrupt_data_folder_is_named_and_left_untouched() {
    let upstream = FakeUpstream::start().await;
    let mut ingestor = TestIngestor::start(&upstream, &[]).await;
    ingestor.stop().await;
    let log = ingestor.data.path().join("log.redb");
    std::fs::write(&log, b"this is not a database, but an operator may want to inspect it").unwrap();
    let before = bytes_below(ingestor.data.path());
    let said = refused(Binary::Ingestor, &ingestor.settings()).await;
    assert!(
        said.contains(&log.display().to_string()) && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(bytes_below(ingestor.data.path()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_data_folder_is_named_and_left_untouched() {
    let upstream = FakeUpstream::start().await;
    let mut ingestor = TestIngestor::start(&upstream, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = notifier_settings(&ingestor, folder.path());
    let mut notifier = Service::start(Binary::Notifier, &settings).await;
    notifier.ready().await;
    notifier.stop().await;
    ingestor.stop().await;

    let log = redb::Database::open(ingestor.data.path().join("log.redb")).unwrap();
    let write = log.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, &[u8]>::new("meta");
    write
        .open_table(meta)
        .unwrap()
        .insert("schema", &99_u32.to_le_bytes()[..])
        .unwrap();
    write.commit().unwrap();
    drop(log);
    let before = bytes_below(ingestor.data.path());
    let said = refused(Binary::Ingestor, &ingestor.settings()).await;
    assert!(
        said.contains("log.redb was written by a newer") && said.contains("99"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(bytes_below(ingestor.data.path()), before);

    let database = sled::open(folder.path().join("sled")).unwrap();
    let meta = database.open_tree("meta").unwrap();
    meta.insert("schema", &99_u32.to_be_bytes()).unwrap();
    database.flush().unwrap();
    drop((meta, database));
    let said = refused(Binary::Notifier, &settings).await;
    let path = folder.path().display().to_string();
    assert!(said.contains(&path) && said.contains("schema 99"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let database = sled::open(folder.path().join("sled")).unwrap();
    let schema = database.open_tree("meta").unwrap().get("schema").unwrap().unwrap();
    assert_eq!(
        &schema[..],
        99_u32.to_be_bytes(),
        "the program does not overwrite the schema"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn second_notifier_on_a_data_folder_names_it_and_exits() {
    let upstream = FakeUpstream::start().await;
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut notifier = Service::start(Binary::Notifier, &notifier_settings(&ingestor, folder.path())).await;
    notifier.ready().await;
    let said = refused(Binary::Notifier, &notifier_settings(&ingestor, folder.path())).await;
    let path = folder.path().display().to_string();
    assert!(said.contains(&path) && said.lines().count() == 1, "{said}");
    assert_eq!(notifier.stop().await.code(), Some(0));
}

fn notifier_settings(ingestor: &TestIngestor, folder: &std::path::Path) -> Vec<(&'static str, String)> {
    vec![
        ("NOTIFIER_INGESTOR_URLS", ingestor.url()),
        ("NOTIFIER_HTTP_ADDR", free_address()),
        ("NOTIFIER_ADMIN_ADDR", String::new()),
        ("NOTIFIER_DATA_DIR", folder.display().to_string()),
        ("NOTIFIER_SINK", "console".to_owned()),
    ]
}
