//! The sink of webhooks: no bot, no gateway, only a secret URL. A webhook knows no nonce: that nothing is posted twice is not
//! promised here; an unknown outcome is sent once more by whoever delivers.

use std::{sync::Arc, time::SystemTime};

use async_trait::async_trait;
use http::Method;

use super::{
    api::Api,
    limiter::Route,
    sink::{EditBody, call, no_webhook},
};
use crate::{
    settings::Secret,
    sink::{Destination, Edit, LookupOutcome, Post, SendOutcome, Sink},
};

/// The URL of a webhook by its id, as the subscriptions say now.
pub type WebhookUrls = Arc<dyn Fn(u64) -> Option<Secret> + Send + Sync>;

/// Sends through webhooks.
pub struct Webhooks {
    api: Api,
    urls: WebhookUrls,
}

impl Webhooks {
    /// Fails if no HTTP client can be made.
    pub fn new(urls: WebhookUrls) -> Result<Self, String> {
        // Every request has a whole URL: there is no base.
        let api = Api::without_token("")?;
        Ok(Self { api, urls })
    }

    async fn request(
        &self,
        destination: &Destination,
        method: Method,
        template: &'static str,
        rest: &str,
        body: &(impl serde::Serialize + Sync),
    ) -> SendOutcome {
        let id = match destination {
            Destination::Webhook(id) => *id,
            Destination::Channel(_) => {
                return SendOutcome::Rejected {
                    status: 0,
                    code: 0,
                    message: "channels need a bot, not a webhook".into(),
                };
            }
        };
        let Some(base) = (self.urls)(id).and_then(|url| versioned(url.reveal())) else {
            return no_webhook(id);
        };
        let route = Route { template, major: id };
        match call(&self.api, method, route, &format!("{base}{rest}"), body).await {
            // Of a bot this would mean that its token is dead; here it is this webhook's alone.
            SendOutcome::Unauthorized => SendOutcome::Rejected {
                status: 401,
                code: 50_027,
                message: "the webhook's token is invalid".into(),
            },
            outcome => outcome,
        }
    }
}

#[async_trait]
impl Sink for Webhooks {
    async fn send(&self, post: &Post) -> SendOutcome {
        // Without `wait` Discord answers before it has posted, and says no id.
        let template = "POST /webhooks/{}/{}";
        self.request(&post.destination, Method::POST, template, "?wait=true", &post.message)
            .await
    }

    /// A webhook cannot read.
    async fn lookup(&self, _post: &Post, _since: SystemTime) -> LookupOutcome {
        LookupOutcome::Inconclusive
    }

    async fn edit(&self, edit: &Edit) -> SendOutcome {
        let rest = format!("/messages/{}", edit.message_id);
        let template = "PATCH /webhooks/{}/{}/messages/{}";
        self.request(&edit.destination, Method::PATCH, template, &rest, &EditBody::new(edit))
            .await
    }
}

/// Channels go through a bot where there is one, webhooks never do.
pub struct Routed {
    /// `None`: no bot runs.
    pub bot: Option<Arc<dyn Sink>>,
    /// For webhooks.
    pub webhooks: Webhooks,
}

impl Routed {
    fn of(&self, destination: &Destination) -> &dyn Sink {
        match (destination, &self.bot) {
            (Destination::Channel(_), Some(bot)) => bot.as_ref(),
            _ => &self.webhooks,
        }
    }
}

#[async_trait]
impl Sink for Routed {
    async fn send(&self, post: &Post) -> SendOutcome {
        self.of(&post.destination).send(post).await
    }

    async fn lookup(&self, post: &Post, since: SystemTime) -> LookupOutcome {
        self.of(&post.destination).lookup(post, since).await
    }

    async fn edit(&self, edit: &Edit) -> SendOutcome {
        self.of(&edit.destination).edit(edit).await
    }

    async fn send_dm(&self, user: u64, text: &str) -> bool {
        match &self.bot {
            Some(bot) => bot.send_dm(user, text).await,
            None => false,
        }
    }
}

/// People copy URLs without a version of the API; its answers are promised for one only.
fn versioned(url: &str) -> Option<String> {
    let (base, rest) = url.split_once("/api/webhooks/")?;
    Some(format!("{base}/api/v10/webhooks/{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_named() {
        assert_eq!(
            versioned("https://discord.com/api/webhooks/77/abc").as_deref(),
            Some("https://discord.com/api/v10/webhooks/77/abc")
        );
        assert_eq!(versioned("https://discord.com/77"), None);
    }

    #[tokio::test]
    async fn a_webhook_without_url_is_gone_and_a_channel_needs_a_bot() {
        let none: WebhookUrls = Arc::new(|_| None);
        let routed = Routed {
            bot: None,
            webhooks: Webhooks::new(none).unwrap(),
        };
        let mut post = Post {
            destination: Destination::Webhook(1),
            nonce: String::new(),
            killmails: vec![],
            message: Default::default(),
        };
        assert!(matches!(
            routed.send(&post).await,
            SendOutcome::Rejected { code: 10_015, .. }
        ));
        post.destination = Destination::Channel(1);
        assert!(matches!(
            routed.send(&post).await,
            SendOutcome::Rejected { code: 0, .. }
        ));
        assert!(!routed.send_dm(1, "x").await);
    }
}
