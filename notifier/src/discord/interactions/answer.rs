//! Sends answers, and fetches attachments. Interactions carry their own token: no bot's token goes along, and they do not
//! count against the bot's limits.

use std::time::Duration;

use bytes::BytesMut;
use killfeed::backoff::Backoff;
use reqwest::multipart::{Form, Part};
use serde::Deserialize;
use serde_json::Value;

use super::{
    call::Invocation,
    reply::{self, Attachment, InteractionResponse, Reply},
};

/// Discord waits 3 s for the first answer: two tries must fit.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(700);
const CALLBACK_TIMEOUT: Duration = Duration::from_millis(1_200);
/// For what comes later.
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ATTEMPTS: u32 = 4;
/// The delay between two attempts of what comes later.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(750), Duration::from_millis(2_250));
/// The contract's largest attachment.
pub(in crate::discord) const MAX_FILE_BYTES: usize = 1024 * 1024;
/// Where Discord keeps attachments.
const CDN: [&str; 2] = ["https://cdn.discordapp.com/", "https://media.discordapp.net/"];
/// Discord's code for an interaction that somebody else has answered.
const ALREADY_ACKNOWLEDGED: u32 = 40_060;

/// Answers interactions.
#[derive(Debug)]
pub(in crate::discord) struct InteractionClient {
    http: reqwest::Client,
    api_url: String,
}

/// Why an answer did not arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum RespondError {
    #[error("HTTP {status}: {message} (code {code})")]
    Rejected { status: u16, code: u32, message: String },
    #[error("{0}")]
    Lost(String),
}

impl RespondError {
    /// Whether another process has answered it.
    pub(super) fn by_another(&self) -> bool {
        matches!(self, Self::Rejected { code, .. } if *code == ALREADY_ACKNOWLEDGED)
    }
}

/// The responses to one interaction.
pub(super) trait Respond {
    /// Sends the first response.
    fn respond(
        &self,
        call: &Invocation,
        answer: &InteractionResponse,
    ) -> impl Future<Output = Result<(), RespondError>> + Send;

    /// Announces to Discord that the response comes later. `updates`: the response replaces the message that was pressed.
    fn defer(&self, call: &Invocation, updates: bool) -> impl Future<Output = Result<(), RespondError>> + Send;

    /// Sends the response in place of a deferred one.
    fn edit_response(&self, call: &Invocation, reply: &Reply) -> impl Future<Output = Result<(), RespondError>> + Send;
}

impl Respond for InteractionClient {
    async fn respond(&self, call: &Invocation, answer: &InteractionResponse) -> Result<(), RespondError> {
        self.callback(call.id, &call.token, &answer.callback(), answer.file())
            .await
    }

    async fn defer(&self, call: &Invocation, updates: bool) -> Result<(), RespondError> {
        let body = reply::deferred(updates);
        self.callback(call.id, &call.token, &body, None).await
    }

    async fn edit_response(&self, call: &Invocation, reply: &Reply) -> Result<(), RespondError> {
        self.edit(call.application, &call.token, reply).await
    }
}

impl InteractionClient {
    pub(in crate::discord) fn new(api_url: &str) -> Result<Self, String> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("DiscordBot (killfeed, ", env!("CARGO_PKG_VERSION"), ")"))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("cannot create an HTTP client: {error}"))?;
        Ok(Self {
            http,
            api_url: api_url.trim_end_matches('/').to_owned(),
        })
    }

    /// The first answer, as raw JSON.
    async fn callback(
        &self,
        id: u64,
        token: &str,
        body: &Value,
        file: Option<&Attachment>,
    ) -> Result<(), RespondError> {
        let url = format!("{}/api/v10/interactions/{id}/{token}/callback", self.api_url);
        let mut tries = 0;
        loop {
            tries += 1;
            let result = self.send(self.http.post(&url), body, file, CALLBACK_TIMEOUT).await;
            match result {
                // Whether the first try arrived is not known; if it did, the second is refused as acknowledged already.
                Err(RespondError::Lost(_) | RespondError::Rejected { status: 500.., .. }) if tries < 2 => {}
                Err(error) if tries > 1 && error.by_another() => return Ok(()),
                result => return result,
            }
        }
    }

    /// In place of a deferred answer.
    async fn edit(&self, application: u64, token: &str, reply: &Reply) -> Result<(), RespondError> {
        let url = format!(
            "{}/api/v10/webhooks/{application}/{token}/messages/@original",
            self.api_url
        );
        let body = reply.json();
        let mut backoff = BACKOFF;
        loop {
            let result = self
                .send(self.http.patch(&url), &body, reply.file.as_ref(), TIMEOUT)
                .await;
            let again = match &result {
                Err(RespondError::Lost(_)) => true,
                Err(RespondError::Rejected { status, .. }) => *status == 429 || *status >= 500,
                Ok(()) => false,
            };
            if !again || backoff.failures() + 1 == MAX_ATTEMPTS {
                return result;
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        body: &Value,
        file: Option<&Attachment>,
        timeout: Duration,
    ) -> Result<(), RespondError> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Said {
            code: u32,
            message: String,
            errors: Option<Value>,
        }
        let request = match file {
            None => request.json(body),
            Some(file) => {
                let part = Part::text(file.text.clone()).file_name(file.name.clone());
                let part = part
                    .mime_str("application/json")
                    .map_err(|error| RespondError::Lost(error.to_string()))?;
                let json = Part::text(body.to_string());
                let json = json
                    .mime_str("application/json")
                    .map_err(|error| RespondError::Lost(error.to_string()))?;
                request.multipart(Form::new().part("payload_json", json).part("files[0]", part))
            }
        };
        let sent = request.timeout(timeout).send().await;
        // The address has the interaction's token in it.
        let response = sent.map_err(|error| RespondError::Lost(error.without_url().to_string()))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let said: Said = response.json().await.unwrap_or_default();
        let errors = said.errors.map(|errors| format!(": {errors}")).unwrap_or_default();
        Err(RespondError::Rejected {
            status: status.as_u16(),
            code: said.code,
            message: format!("{}{errors}", said.message).chars().take(1_000).collect(),
        })
    }

    /// The text of an attachment; only from where Discord keeps them.
    pub(in crate::discord) async fn fetch(&self, url: &str) -> Result<String, String> {
        let own = format!("{}/", self.api_url);
        if !CDN.iter().any(|cdn| url.starts_with(cdn)) && !url.starts_with(&own) {
            return Err("it is not hosted by Discord".to_owned());
        }
        let lost = |error: reqwest::Error| error.without_url().to_string();
        let mut response = self.http.get(url).timeout(TIMEOUT).send().await.map_err(lost)?;
        if !response.status().is_success() {
            return Err(format!("Discord answered HTTP {}", response.status().as_u16()));
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len() + chunk.len() > MAX_FILE_BYTES {
                return Err("it is larger than 1 MiB".to_owned());
            }
            body.extend_from_slice(&chunk);
        }
        String::from_utf8(body.to_vec()).map_err(|_| "it is not UTF-8 text".to_owned())
    }
}
