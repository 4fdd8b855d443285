//! The Prometheus exporter of both services. Each service defines its own metrics.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// The interval between two upkeep runs. The exporter keeps all samples of histograms until one, or until it renders
/// them.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Installs the recorder of the process; `buckets` has the buckets of each histogram.
///
/// If the process already has a recorder, as in the demo, which runs both services, that recorder receives the metrics
/// and the new one stays empty.
pub fn install(buckets: &[(&str, &[f64])]) -> PrometheusHandle {
    // `set_buckets_for_metric` fails only if the list of buckets is empty.
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

/// Runs the exporter's upkeep at an interval. Never returns.
pub async fn upkeep(shown: &PrometheusHandle) {
    let mut tick = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        tick.tick().await;
        shown.run_upkeep();
    }
}
