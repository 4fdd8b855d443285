//! The sink `discord`: one message, sent once, and exactly what became of it.

use std::{sync::Arc, time::SystemTime};

use async_trait::async_trait;
use http::Method;
use serde::{Deserialize, Serialize};

use super::{
    api::{Api, ApiResponse, Request, RequestError},
    limiter::Route,
    message_lookup,
};
use crate::sink::{AllowedMentions, Destination, Edit, Embed, LookupOutcome, Message, Post, SendOutcome, Sink};

const CREATE_MESSAGE: &str = "POST /channels/{}/messages";
const EDIT_MESSAGE: &str = "PATCH /channels/{}/messages/{}";

/// Sends to Discord with a bot's token.
pub(super) struct DiscordSink {
    pub(super) api: Arc<Api>,
    pub(super) identity: super::BotUser,
}

/// The message with what makes sending it twice harmless.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    message: &'a Message,
    nonce: &'a str,
    enforce_nonce: bool,
}

/// An edit of the embeds alone. Nobody is pinged by an edit, and nothing else of the message changes.
#[derive(Serialize)]
pub(super) struct EditBody<'a> {
    embeds: &'a [Embed],
    allowed_mentions: AllowedMentions,
}

impl<'a> EditBody<'a> {
    pub(super) fn new(edit: &'a Edit) -> Self {
        Self {
            embeds: &edit.embeds,
            allowed_mentions: AllowedMentions::default(),
        }
    }
}

#[async_trait]
impl Sink for DiscordSink {
    async fn send(&self, post: &Post) -> SendOutcome {
        let channel = match post.destination {
            Destination::Channel(channel) => channel,
            Destination::Webhook(webhook) => return no_webhook(webhook),
        };
        let body = Body {
            message: &post.message,
            nonce: &post.nonce,
            enforce_nonce: true,
        };
        let route = Route {
            template: CREATE_MESSAGE,
            major: channel,
        };
        let path = format!("/channels/{channel}/messages");
        call(&self.api, Method::POST, route, &path, &body).await
    }

    async fn edit(&self, edit: &Edit) -> SendOutcome {
        let channel = match edit.destination {
            Destination::Channel(channel) => channel,
            Destination::Webhook(webhook) => return no_webhook(webhook),
        };
        let route = Route {
            template: EDIT_MESSAGE,
            major: channel,
        };
        let path = format!("/channels/{channel}/messages/{}", edit.message_id);
        call(&self.api, Method::PATCH, route, &path, &EditBody::new(edit)).await
    }

    async fn send_dm(&self, user: u64, text: &str) -> bool {
        match send_dm(&self.api, user, text).await {
            SendOutcome::Sent { .. } => true,
            outcome => {
                tracing::info!(user, ?outcome, "direct message not delivered");
                false
            }
        }
    }

    async fn lookup(&self, post: &Post, since: SystemTime) -> LookupOutcome {
        match post.destination {
            Destination::Channel(channel) => {
                message_lookup::find(&self.api, &self.identity, channel, post, since).await
            }
            Destination::Webhook(_) => LookupOutcome::Inconclusive,
        }
    }
}

/// Opens the channel between the bot and a person, which Discord gives again if it is there, and writes into it.
async fn send_dm(api: &Api, user: u64, text: &str) -> SendOutcome {
    let route = |template, major| Route { template, major };
    let recipient = serde_json::json!({"recipient_id": user.to_string()});
    let opening = call(
        api,
        Method::POST,
        route("POST /users/@me/channels", 0),
        "/users/@me/channels",
        &recipient,
    );
    let SendOutcome::Sent { message_id: channel } = opening.await else {
        return SendOutcome::Unknown {
            reason: "no direct message channel".into(),
        };
    };
    let message = Message {
        content: text.to_owned(),
        ..Message::default()
    };
    let path = format!("/channels/{channel}/messages");
    call(api, Method::POST, route(CREATE_MESSAGE, channel), &path, &message).await
}

/// One request with a JSON body whose answer carries an id.
pub(super) async fn call(
    api: &Api,
    method: Method,
    route: Route,
    path: &str,
    body: &(impl Serialize + Sync),
) -> SendOutcome {
    let body = match serde_json::to_vec(body) {
        Ok(body) => body,
        Err(error) => return refused(0, 0, format!("the message cannot be written as JSON: {error}")),
    };
    let request = Request {
        method,
        route,
        path,
        body: Some(body),
    };
    outcome(api.call(request).await)
}

/// What became of the message, from the answer alone.
fn outcome(answer: Result<ApiResponse, RequestError>) -> SendOutcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(RequestError::NotSent { retry_after, reason }) => {
            tracing::debug!(reason, "message waits");
            return SendOutcome::RateLimited { retry_after };
        }
        Err(RequestError::TokenDead) => return SendOutcome::Unauthorized,
        Err(RequestError::Lost(reason)) => return SendOutcome::Unknown { reason },
    };
    match answer.status.as_u16() {
        200..=299 => sent(&answer),
        401 => SendOutcome::Unauthorized,
        429 => SendOutcome::RateLimited {
            retry_after: answer.feedback.retry_after().unwrap_or_default(),
        },
        // A proxy that lost patience in the middle: nobody knows what it passed on.
        408 => SendOutcome::Unknown {
            reason: "HTTP 408".into(),
        },
        400..=499 => {
            let refusal = answer.refusal();
            refused(refusal.status, refusal.code, refusal.message)
        }
        status => SendOutcome::Unknown {
            reason: format!("HTTP {status}"),
        },
    }
}

fn sent(answer: &ApiResponse) -> SendOutcome {
    #[derive(Deserialize)]
    struct Created<'a> {
        #[serde(borrow)]
        id: std::borrow::Cow<'a, str>,
    }
    let read = serde_json::from_slice::<Created<'_>>(&answer.body).map_err(|error| error.to_string());
    let id = read.and_then(|created| created.id.parse().map_err(|_| format!("{:?} is not an id", created.id)));
    match id {
        Ok(message_id) => SendOutcome::Sent { message_id },
        Err(error) => SendOutcome::Unknown {
            reason: format!("HTTP {} with an unreadable body: {error}", answer.status.as_u16()),
        },
    }
}

fn refused(status: u16, code: u32, message: String) -> SendOutcome {
    SendOutcome::Rejected { status, code, message }
}

/// As Discord answers for a webhook that is gone (404, 10015): without its URL there is nothing else to say.
pub(super) fn no_webhook(webhook: u64) -> SendOutcome {
    refused(
        404,
        10_015,
        format!("no URL is known for webhook {webhook}; add it to the subscriptions file"),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::{super::limiter::Feedback, *};

    fn answered(status: u16, headers: &[(&'static str, &str)], body: &'static str) -> SendOutcome {
        let status = StatusCode::from_u16(status).unwrap();
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        outcome(Ok(ApiResponse {
            status,
            feedback: Feedback::read(status, &headers),
            body: Bytes::from_static(body.as_bytes()),
        }))
    }

    #[test]
    fn each_answer_has_one_meaning() {
        assert_eq!(
            answered(200, &[], r#"{"id":"42","x":1}"#),
            SendOutcome::Sent { message_id: 42 }
        );
        assert_eq!(answered(401, &[], ""), SendOutcome::Unauthorized);
        let retry_after = Duration::from_millis(1_500);
        assert_eq!(
            answered(429, &[("retry-after", "1.5")], ""),
            SendOutcome::RateLimited { retry_after }
        );
        assert_eq!(
            answered(404, &[], r#"{"message":"Unknown Channel","code":10003}"#),
            refused(404, 10_003, "Unknown Channel".into())
        );
        assert_eq!(answered(403, &[], "<html>"), refused(403, 0, "Forbidden".into()));
        let with_errors = r#"{"message":"Invalid Form Body","code":50035,"errors":{"content":{}}}"#;
        let message = r#"Invalid Form Body: {"content":{}}"#.to_owned();
        assert_eq!(answered(400, &[], with_errors), refused(400, 50_035, message));
        for (status, body) in [
            (500, ""),
            (502, ""),
            (301, ""),
            (408, ""),
            (200, ""),
            (200, r#"{"id":"x"}"#),
        ] {
            assert!(
                matches!(answered(status, &[], body), SendOutcome::Unknown { .. }),
                "{status} {body}"
            );
        }
    }

    #[test]
    fn what_was_not_sent_may_be_sent_again() {
        let retry_after = Duration::from_secs(3);
        let reason = String::new();
        assert_eq!(
            outcome(Err(RequestError::NotSent { retry_after, reason })),
            SendOutcome::RateLimited { retry_after }
        );
        assert_eq!(outcome(Err(RequestError::TokenDead)), SendOutcome::Unauthorized);
        assert!(matches!(
            outcome(Err(RequestError::Lost("cut".into()))),
            SendOutcome::Unknown { .. }
        ));
    }

    #[test]
    fn the_body_carries_the_nonce_and_always_says_who_is_pinged() {
        let message = Message {
            content: "hello".into(),
            ..Message::default()
        };
        let body = Body {
            message: &message,
            nonce: "abc",
            enforce_nonce: true,
        };
        assert_eq!(
            serde_json::to_string(&body).unwrap(),
            r#"{"content":"hello","allowed_mentions":{"parse":[]},"nonce":"abc","enforce_nonce":true}"#
        );
    }
}
