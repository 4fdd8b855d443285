//! Numbers for Prometheus: what both services do alike. Their names are each service's own.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// How often the exporter tidies up: it keeps the samples of histograms until they are rendered or tidied.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Makes a recorder the process's own; `buckets`: which histogram has which. In a process that has another recorder already
/// (the demo runs both services) the numbers go there, and this one stays empty.
pub fn install(buckets: &[(&str, &[f64])]) -> PrometheusHandle {
    // Fails for an empty list only.
    let builder = buckets
        .iter()
        .fold(PrometheusBuilder::new(), |builder, (name, buckets)| {
            let matcher = Matcher::Full((*name).into());
            builder
                .set_buckets_for_metric(matcher, buckets)
                .unwrap_or_else(|_| PrometheusBuilder::new())
        });
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::debug!("metrics recorder is already installed");
    }
    handle
}

/// Keeps what is shown tidy, for ever.
pub async fn upkeep(shown: &PrometheusHandle) {
    let mut tick = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        tick.tick().await;
        shown.run_upkeep();
    }
}
