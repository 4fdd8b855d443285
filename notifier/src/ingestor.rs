//! What is asked of an ingestor beside the stream: trees for filters.

use async_trait::async_trait;
use killfeed::{
    client::Client,
    v1::{CompileFilterRequest, Filter, GetFeedStatusRequest},
};

use crate::{
    settings::{Secret, Settings},
    subscriptions::{Compile, CompileError},
};
use killfeed::setting::BadSetting;

/// The client for the ingestors of the settings. Nothing is connected yet.
pub fn client(settings: &Settings) -> Result<Client, BadSetting> {
    let read = |variable: &str, path: &std::path::Path| {
        std::fs::read(path).map_err(|error| {
            BadSetting::new(
                variable,
                &path.to_string_lossy(),
                format!("a readable PEM file ({error})"),
            )
        })
    };
    let mut builder = Client::builder()
        .endpoints(settings.ingestor_urls.iter())
        .client_name(concat!("killfeed-notifier/", env!("CARGO_PKG_VERSION")));
    if let Some(token) = settings.ingestor_token.as_ref().map(Secret::reveal) {
        builder = builder.token(token);
    }
    if let Some(path) = &settings.ingestor_ca {
        builder = builder.ca_certificate(read("NOTIFIER_INGESTOR_CA", path)?);
    }
    if let Some((certificate, key)) = &settings.ingestor_identity {
        builder = builder.client_certificate(
            read("NOTIFIER_INGESTOR_CERT", certificate)?,
            read("NOTIFIER_INGESTOR_KEY", key)?,
        );
    }
    builder.build().map_err(|error| {
        BadSetting::new(
            "NOTIFIER_INGESTOR_URLS",
            &settings.ingestor_urls.join(","),
            error.to_string(),
        )
    })
}

/// Compiles with an ingestor.
#[derive(Debug, Clone)]
pub struct Ingestor(pub Client);

#[async_trait]
impl Compile for Ingestor {
    async fn static_data_build(&self) -> Result<String, CompileError> {
        let answer = self.0.killmails().get_feed_status(GetFeedStatusRequest {}).await;
        answer
            .map(|status| status.into_inner().static_data_build)
            .map_err(|status| CompileError::Unavailable(status.message().to_owned()))
    }

    async fn compile(&self, filter: &str) -> Result<Filter, CompileError> {
        let request = CompileFilterRequest {
            filter: filter.to_owned(),
        };
        let answer = self.0.universe().compile_filter(request).await;
        // Bad text is no error of the call: whatever is one says nothing about the filter.
        let answer = answer
            .map_err(|status| CompileError::Unavailable(status.message().to_owned()))?
            .into_inner();
        for warning in &answer.warnings {
            tracing::info!(
                filter,
                warning = warning.message,
                "the filter is valid, but probably not what was meant"
            );
        }
        answer.filter.ok_or(CompileError::Bad(answer.diagnostics))
    }
}
