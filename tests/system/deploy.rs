//! Files in deploy/ name only metrics and settings that exist.

use std::{collections::BTreeSet, fs};

use killfeed_support::{
    FakeUpstream, corpus,
    process::{Binary, Service, free_address},
};

use crate::{harness::TestIngestor, notifier::TestNotifier};

use crate::metrics::code_of;

/// Returns the metric names in a text: lower-case words that start with our prefixes.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_name = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_';
    text.split(|character| !is_name(character))
        .filter(|word| word.starts_with("killfeed_") || word.starts_with("notifier_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn dashboards_and_alerts_name_metrics_that_exist() {
    let root = corpus::repository();
    let code = code_of("ingestor") + &code_of("notifier");
    for file in [
        "deploy/grafana/dashboards/killfeed.json",
        "deploy/prometheus/alerts.yml",
    ] {
        let named = metrics_in(&fs::read_to_string(root.join(file)).unwrap());
        assert!(named.len() > 5, "{file} names metrics");
        for name in named {
            // The code does not contain the names of a histogram's parts.
            let name = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|part| name.strip_suffix(part))
                .unwrap_or(&name);
            assert!(
                code.contains(&format!("\"{name}\"")),
                "{file} names {name}, but no service has this metric"
            );
        }
    }
}

#[test]
fn deployments_use_settings_that_exist() {
    let root = corpus::repository();
    let known: Vec<(&str, bool)> = killfeed_ingestor::settings::SETTINGS
        .iter()
        .chain(killfeed_notifier::settings::SETTINGS)
        .map(|setting| (setting.variable, setting.secret))
        .collect();
    for file in [
        "docker-compose.yml",
        ".env.example",
        "Dockerfile",
        "deploy/kubernetes/killfeed.yaml",
        "deploy/systemd/killfeed-ingestor.service",
        "deploy/systemd/killfeed-notifier.service",
    ] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let is_name =
            |character: char| character.is_ascii_uppercase() || character.is_ascii_digit() || character == '_';
        let variables = text
            .split(|character| !is_name(character))
            .filter(|word| word.starts_with("INGESTOR_") || word.starts_with("NOTIFIER_"));
        for variable in variables {
            let exists = known
                .iter()
                .any(|(name, secret)| *name == variable || (*secret && variable.strip_suffix("_FILE") == Some(name)));
            assert!(exists, "{file} sets {variable}, but no service reads this setting");
        }
    }
}

/// Checks that both programs have the health command that the Dockerfile calls.
#[tokio::test(flavor = "multi_thread")]
async fn health_command_of_the_dockerfile_reports_readiness() {
    let dockerfile = fs::read_to_string(corpus::repository().join("Dockerfile")).unwrap();
    let asked = async |binary: Binary, variable: &'static str, address: String| {
        let check = format!("CMD [\"{}\", \"health\"]", binary.name());
        assert!(dockerfile.contains(&check), "the Dockerfile has {check}");
        let settings = [(variable, address), ("INGESTOR_CONTACT", "test@example.com".to_owned())];
        let mut service = Service::start_with_arguments(binary, &settings, &["health"]).await;
        let status = service.end().await;
        (status.code(), service.stdout(), service.stderr())
    };
    for (binary, variable) in [
        (Binary::Ingestor, "INGESTOR_HTTP_ADDR"),
        (Binary::Notifier, "NOTIFIER_HTTP_ADDR"),
    ] {
        let (code, _, said) = asked(binary, variable, free_address()).await;
        assert_eq!(code, Some(1), "nothing listens at the address: {said}");
        assert!(said.contains("/readyz"), "{said}");
    }
    let upstream = FakeUpstream::start_with_sample().await;
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    let console = [("NOTIFIER_SINK", "console".to_owned())];
    let notifier = TestNotifier::start_with(&ingestor, &console, "", &[]).await;
    for (binary, variable, address) in [
        (Binary::Ingestor, "INGESTOR_HTTP_ADDR", &ingestor.http),
        (Binary::Notifier, "NOTIFIER_HTTP_ADDR", &notifier.http),
    ] {
        let (code, said, error) = asked(binary, variable, address.clone()).await;
        assert_eq!(code, Some(0), "{error}");
        assert!(said.starts_with("ready"), "{said}");
    }
}
